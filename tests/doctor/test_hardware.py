"""Devices, threads, memory and disks."""

import pytest

from prelabel.doctor import hardware
from prelabel.doctor.case import Case
from prelabel.doctor.machine import Trial

TORCH = {"torch": "2.8.0", "transformers": "5.1.0"}


@pytest.mark.parametrize(
    ("device", "trial", "status"),
    [
        ("cpu", Trial(ok=False, said="torch is not even tried"), "ok"),
        ("cuda:1", Trial(ok=True, said="True"), "ok"),
        ("cuda", Trial(ok=True, said="False"), "warning"),
        ("cuda", Trial(ok=False, said="libcudnn.so.9 is missing"), "warning"),
        ("mps", Trial(ok=True, said="True"), "ok"),
    ],
)
def test_the_device_of_grounding_dino_is_tried(machine, settings, device, trial, status):
    made = machine(packages=TORCH, run=lambda _: trial)
    chosen = settings(boxes_predictor="grounding-dino", grounding_dino_device=device)
    diagnosis = hardware.boxes_device(Case(made, chosen))
    assert diagnosis.status == status
    assert status == "ok" or trial.ok or trial.said in diagnosis.finding


def test_no_device_is_tried_for_what_is_not_used_or_not_installed(machine, settings):
    wanted = {"boxes_predictor": "grounding-dino", "grounding_dino_device": "cuda"}
    for chosen in (settings(), settings(**wanted)):
        assert hardware.boxes_device(Case(machine(), chosen)).status == "skipped"
    bare = Case(machine(packages={}), settings(device="cuda"))
    assert hardware.poses_device(bare).status == "skipped"
    elsewhere = Case(machine(), settings(device="gpu", backend="openvino"))
    assert hardware.poses_device(elsewhere).status == "skipped"


@pytest.mark.parametrize(
    ("device", "providers", "status"),
    [
        ("cpu", "", "ok"),
        ("cuda:1", "CUDAExecutionProvider CPUExecutionProvider", "ok"),
        ("cuda", "CPUExecutionProvider", "warning"),
        ("mps", "CoreMLExecutionProvider CPUExecutionProvider", "ok"),
        ("mps", "CPUExecutionProvider", "warning"),
    ],
)
def test_the_device_of_the_pose_models_is_one_that_onnxruntime_offers(
    machine, settings, device, providers, status
):
    made = machine(run=lambda _: Trial(ok=True, said=providers))
    diagnosis = hardware.poses_device(Case(made, settings(device=device)))
    assert diagnosis.status == status
    if device == "cuda":
        assert "pip install onnxruntime-gpu" in diagnosis.mend


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, "ok"),
        ({"workers": 4}, "ok"),
        ({"workers": 5}, "warning"),
        ({"workers": 2, "pose_threads": 2}, "ok"),
        ({"workers": 2, "pose_threads": 3}, "warning"),
        ({"workers": 2, "boxes_predictor": "grounding-dino"}, "warning"),
        ({"workers": 2, "boxes_predictor": "grounding-dino", "grounding_dino_threads": 2}, "ok"),
        (
            {
                "workers": 2,
                "boxes_predictor": "grounding-dino",
                "grounding_dino_device": "cuda",
            },
            "ok",
        ),
    ],
)
def test_workers_have_no_more_threads_together_than_there_are_cores(
    machine, settings, values, status
):
    diagnosis = hardware.threads(Case(machine(packages=TORCH, cores=4), settings(**values)))
    assert diagnosis.status == status


def test_too_many_threads_are_mended_by_the_number_that_fits(machine, settings):
    chosen = settings(workers=2, boxes_predictor="grounding-dino")
    diagnosis = hardware.threads(Case(machine(packages=TORCH, cores=8), chosen))
    assert diagnosis.mend == "Set GROUNDING_DINO_THREADS=4."


@pytest.mark.parametrize(
    ("gigabytes", "workers", "status"), [(1, 1, "warning"), (4, 1, "ok"), (4, 3, "warning")]
)
def test_memory_is_enough_for_the_models_of_all_workers(
    machine, settings, gigabytes, workers, status
):
    made = machine(memory_bytes=gigabytes * 1_000_000_000)
    chosen = settings(workers=workers, boxes_predictor="grounding-dino", poses_predictor="rtmlib")
    assert hardware.memory(Case(made, chosen)).status == status


def test_a_full_disk_is_a_warning_before_a_download_breaks_off(machine, settings, tmp_path):
    asked = []

    def free_bytes(folder):
        asked.append(folder)
        return 100_000_000

    chosen = settings(model_dir=tmp_path / "not" / "made" / "yet")
    diagnosis = hardware.disk_space(Case(machine(free_bytes=free_bytes), chosen))
    assert set(asked) == {tmp_path}
    assert diagnosis.status == "warning"
    assert "MODEL_DIR and DATA_DIR" in diagnosis.mend
    assert hardware.disk_space(Case(machine(), chosen)).status == "ok"
