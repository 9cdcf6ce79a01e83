"""Packages, devices, files and room of the models."""

import hashlib
from pathlib import Path

import pytest

from prelabel.doctor import models
from prelabel.doctor.case import Case
from prelabel.predictors.modes import MODES, weights_file

TORCH = {"torch": "2.8.0", "transformers": "5.1.0"}


def test_a_folder_of_grounding_dino_that_is_not_there_is_named(machine, settings, tmp_path):
    pytest.importorskip("huggingface_hub", reason="pip install 'prelabel[grounding-dino]'")
    chosen = settings(
        boxes_predictor="grounding-dino", grounding_dino_model_id=str(tmp_path / "dino")
    )
    diagnosis = models.boxes_weights(Case(machine(packages=TORCH), chosen))
    assert diagnosis.status == "warning"
    assert str(tmp_path / "dino") in diagnosis.finding
    (tmp_path / "dino").mkdir()
    assert models.boxes_weights(Case(machine(packages=TORCH), chosen)).status == "ok"


@pytest.mark.parametrize("allowed", [True, False])
def test_pose_models_that_are_not_here_are_named_with_the_command_that_fetches_them(
    machine, settings, tmp_path, allowed
):
    chosen = settings(poses_predictor="rtmlib", mode="lightweight", allow_downloads=allowed)
    diagnosis = models.pose_weights(Case(machine(), chosen))
    assert diagnosis.status == "warning"
    assert diagnosis.mend == f"MODEL_DIR={tmp_path} prelabel models download lightweight"
    assert ("ALLOW_DOWNLOADS" in diagnosis.why) is not allowed
    for path in (MODES["lightweight"].detector, MODES["lightweight"].pose):
        (tmp_path / weights_file(path).onnx_name).touch()
    assert models.pose_weights(Case(machine(), chosen)).status == "ok"


def test_pose_models_of_ones_own_are_looked_for_where_they_are(machine, settings, tmp_path):
    own = {"pose_detector": str(tmp_path / "d.onnx"), "pose_model": str(tmp_path / "p.zip")}
    chosen = settings(poses_predictor="rtmlib", **own)
    diagnosis = models.pose_weights(Case(machine(), chosen))
    assert (diagnosis.status, diagnosis.mend) == ("warning", "Check the path.")
    assert diagnosis.finding == f"{tmp_path / 'd.onnx'}: there is no such file"
    for path in own.values():
        Path(path).touch()
    assert models.pose_weights(Case(machine(), chosen)).status == "ok"


def test_the_models_of_the_package_are_whole(machine, settings):
    assert models.embedded_weights(Case(machine(), settings())).status == "ok"


@pytest.mark.parametrize("recorded", [True, False])
def test_a_damaged_pose_model_is_found_by_the_digest_it_came_with(
    machine, settings, tmp_path, recorded
):
    names = [
        weights_file(path).onnx_name
        for path in (MODES["lightweight"].detector, MODES["lightweight"].pose)
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"cut short")
        if recorded:
            (tmp_path / f"{name}.sha256").write_text("0" * 64 + "\n")
    chosen = settings(poses_predictor="rtmlib", mode="lightweight")
    diagnosis = models.pose_weights(Case(machine(), chosen))
    assert diagnosis.status == ("failure" if recorded else "ok")
    assert all(name in diagnosis.finding for name in names)
    assert diagnosis.mend.startswith("rm ") is recorded


@pytest.mark.parametrize("damaged", [True, False])
def test_a_damaged_file_in_the_cache_of_the_hub_is_found_by_its_name(
    machine, settings, tmp_path, monkeypatch, damaged
):
    constants = pytest.importorskip(
        "huggingface_hub.constants", reason="pip install 'prelabel[grounding-dino]'"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    chosen = settings(boxes_predictor="grounding-dino", grounding_dino_model_id="a/dino")
    case = Case(machine(packages=TORCH), chosen)
    assert "not here yet" in models.boxes_weights(case).finding
    model = tmp_path / "models--a--dino"
    content = b"weights"
    digest = "0" * 64 if damaged else hashlib.sha256(content).hexdigest()
    for folder in ("blobs", "snapshots/1"):
        (model / folder).mkdir(parents=True)
    (model / "blobs" / digest).write_bytes(content)
    (model / "blobs" / "0a1b2c").write_bytes(b"a small file, named otherwise")
    (model / "snapshots/1/model.safetensors").symlink_to(model / "blobs" / digest)
    diagnosis = models.boxes_weights(case)
    assert diagnosis.status == ("failure" if damaged else "ok")
    assert ("--force-download a/dino" in diagnosis.mend) is damaged
