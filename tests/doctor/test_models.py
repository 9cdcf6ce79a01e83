"""Packages, devices, files and room of the models."""

from pathlib import Path

import pytest

from prelabel.doctor import models
from prelabel.doctor.machine import Trial
from prelabel.predictors.modes import MODES, weights_file

TORCH = {"torch": "2.8.0", "transformers": "5.1.0"}


def test_torch_is_not_asked_for_where_the_opencv_detector_is_chosen(machine, settings):
    finding = models.boxes_packages(machine(), settings(boxes_predictor="opencv-fallback"))
    assert finding.state == "ok"


@pytest.mark.parametrize("there", [{}, {"torch": "2.8.0"}, {"transformers": "5.1.0"}])
def test_missing_packages_of_grounding_dino_are_named(machine, settings, there):
    finding = models.boxes_packages(
        machine(packages=there), settings(boxes_predictor="grounding-dino")
    )
    assert finding.state == "warning"
    assert finding.mend == "/venv/bin/python -m pip install 'prelabel[grounding-dino]'"
    assert all(name in finding.found for name in TORCH.keys() - there.keys())


@pytest.mark.parametrize(
    ("device", "trial", "state"),
    [
        ("cpu", Trial(ok=False, said="torch is not even tried"), "ok"),
        ("cuda:1", Trial(ok=True, said="True"), "ok"),
        ("cuda", Trial(ok=True, said="False"), "warning"),
        ("cuda", Trial(ok=False, said="libcudnn.so.9 is missing"), "warning"),
        ("mps", Trial(ok=True, said="True"), "ok"),
    ],
)
def test_the_device_of_grounding_dino_is_tried(machine, settings, device, trial, state):
    finding = models.boxes_packages(
        machine(packages=TORCH, run=lambda _: trial),
        settings(boxes_predictor="grounding-dino", grounding_dino_device=device),
    )
    assert finding.state == state
    assert trial.said in finding.found or trial.said in ("True", "False") or device == "cpu"


def test_a_folder_of_grounding_dino_that_is_not_there_is_named(machine, settings, tmp_path):
    pytest.importorskip("huggingface_hub", reason="pip install 'prelabel[grounding-dino]'")
    chosen = settings(
        boxes_predictor="grounding-dino", grounding_dino_model_id=str(tmp_path / "dino")
    )
    finding = models.boxes_weights(machine(packages=TORCH), chosen)
    assert finding.state == "warning"
    assert str(tmp_path / "dino") in finding.found
    (tmp_path / "dino").mkdir()
    assert models.boxes_weights(machine(packages=TORCH), chosen).state == "ok"


@pytest.mark.parametrize("allowed", [True, False])
def test_pose_models_that_are_not_here_are_named_with_the_command_that_fetches_them(
    machine, settings, tmp_path, allowed
):
    chosen = settings(poses_predictor="rtmlib", mode="lightweight", allow_downloads=allowed)
    finding = models.pose_weights(machine(), chosen)
    assert finding.state == "warning"
    assert finding.mend == f"MODEL_DIR={tmp_path} prelabel models download lightweight"
    assert ("ALLOW_DOWNLOADS" in finding.why) is not allowed
    for path in (MODES["lightweight"].detector, MODES["lightweight"].pose):
        (tmp_path / weights_file(path).onnx_name).touch()
    assert models.pose_weights(machine(), chosen).state == "ok"


def test_pose_models_of_ones_own_are_looked_for_where_they_are(machine, settings, tmp_path):
    own = {"pose_detector": str(tmp_path / "d.onnx"), "pose_model": str(tmp_path / "p.zip")}
    chosen = settings(poses_predictor="rtmlib", **own)
    assert models.pose_weights(machine(), chosen).state == "warning"
    for path in own.values():
        Path(path).touch()
    assert models.pose_weights(machine(), chosen).state == "ok"


def test_the_models_of_the_package_are_whole(machine, settings):
    assert models.embedded_weights(machine(), settings()).state == "ok"


def test_a_full_disk_is_a_warning_before_a_download_breaks_off(machine, settings, tmp_path):
    asked = []

    def free_bytes(folder):
        asked.append(folder)
        return 100_000_000

    chosen = settings(model_dir=tmp_path / "not" / "made" / "yet")
    finding = models.disk_space(machine(free_bytes=free_bytes), chosen)
    assert asked == [tmp_path]
    assert finding.state == "warning"
    assert "MODEL_DIR" in finding.mend
    assert models.disk_space(machine(), chosen).state == "ok"
