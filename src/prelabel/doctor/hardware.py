"""Checks of what prelabel runs on: devices, threads, memory and disks."""

from pathlib import Path

from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, ok, skipped, warning
from prelabel.doctor.machine import existing
from prelabel.doctor.packages import GROUNDING_DINO, anew, onnxruntime_builds
from prelabel.predictors.pose_settings import PoseSettings

LEAST_FREE_BYTES = 2_000_000_000
"""Twice the models of one mode and grounding-dino-tiny: an archive is unpacked beside itself."""

SERVER_BYTES = 200_000_000
BYTES_OF_MODELS = {"grounding-dino": 1_700_000_000, "rtmlib": 900_000_000}
"""Peak memory of a process for its models, measured: grounding-dino-tiny on images of 480 x 800
in fp32; YOLOX-m and RTMW-l. What is not listed needs little."""

_OF_TORCH = {"cuda": "torch.cuda.is_available()", "mps": "torch.backends.mps.is_available()"}
_OF_ONNXRUNTIME = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}


def boxes_device(case: Case) -> Diagnosis:
    """Whether Grounding DINO can use the device that it was given."""
    device = case.settings.grounding_dino_device
    kind = device.partition(":")[0]
    if case.settings.boxes_predictor != GROUNDING_DINO:
        return skipped(f"BOXES_PREDICTOR is {case.settings.boxes_predictor}")
    if kind == "cpu":
        return ok("cpu, as GROUNDING_DINO_DEVICE says")
    if "torch" not in case.machine.packages:
        return skipped("torch is not installed")
    trial = case.machine.run(f"import torch; print({_OF_TORCH.get(kind, False)})")
    if trial.ok and trial.said == "True":
        return ok(f"{device} can be used")
    return warning(
        f"{device} cannot be used{'' if trial.ok else f' ({trial.said})'}",
        f"GROUNDING_DINO_DEVICE is {device}, but boxes are found on the CPU, many times slower.",
        f"{_show_driver(kind)}{case.machine.pip('install --force-reinstall torch')}\n"
        "or set GROUNDING_DINO_DEVICE=cpu",
    )


def poses_device(case: Case) -> Diagnosis:
    """Whether the pose models can use the device that they were given."""
    device, backend = case.settings.device, case.settings.backend
    kind = device.partition(":")[0]
    if kind == "cpu":
        return ok("cpu, as DEVICE says")
    if backend != "onnxruntime":
        return skipped(f"BACKEND is {backend}, whose devices are known when it opens a model")
    builds = onnxruntime_builds(case.machine)
    if not builds:
        return skipped("ONNX Runtime is not installed")
    trial = case.machine.run("import onnxruntime; print(*onnxruntime.get_available_providers())")
    if trial.ok and _OF_ONNXRUNTIME.get(kind, kind) in trial.said.split():
        return ok(f"{device} can be used")
    keep = "onnxruntime-gpu" if kind == "cuda" else "onnxruntime"
    return warning(
        f"{device} cannot be used ({f'it offers {trial.said}' if trial.ok else trial.said})",
        f"DEVICE is {device}, but poses run on the CPU, many times slower.",
        f"{_show_driver(kind)}{anew(case.machine, builds, keep)}\nor set DEVICE=cpu",
    )


def threads(case: Case) -> Diagnosis:
    """Whether the workers together have no more threads than there are cores."""
    settings, cores = case.settings, case.machine.cores
    # Without a setting, pose models take cores / workers, and torch takes all cores.
    asked = {"POSE_THREADS": settings.pose_threads or max(cores // settings.workers, 1)}
    if (
        settings.boxes_predictor == GROUNDING_DINO
        and settings.grounding_dino_device == "cpu"
        and "torch" in case.machine.packages
    ):
        asked["GROUNDING_DINO_THREADS"] = settings.grounding_dino_threads or cores
    found = f"{settings.workers * max(asked.values())} threads on {cores} cores"
    over = [name for name, number in asked.items() if number * settings.workers > cores]
    if not over:
        return ok(found)
    if settings.workers > cores:
        return warning(
            found, "Each worker waits for the others, and holds models of its own.",
            f"Set WORKERS={max(cores // 2, 1)}.",
        )  # fmt: skip
    share = max(cores // settings.workers, 1)
    return warning(
        found,
        "Threads that wait for each other's cores make every image slower.",
        f"Set {' and '.join(f'{name}={share}' for name in over)}.",
    )


def memory(case: Case) -> Diagnosis:
    """Whether there is memory for the models of all workers."""
    settings, there = case.settings, case.machine.memory_bytes
    models = (settings.boxes_predictor, settings.poses_predictor)
    each = SERVER_BYTES + settings.image_cache_mb * 2**20
    each += sum(BYTES_OF_MODELS.get(name, 0) for name in models)
    found = f"{there / 1e9:.1f} GB, of which {settings.workers * each / 1e9:.1f} GB may be needed"
    if settings.workers * each <= there:
        return ok(found)
    mend = "Give the machine or the container more memory, or set BOXES_PREDICTOR=opencv-fallback."
    return warning(
        found,
        "The system ends a process that asks for more, in the middle of its work.",
        f"Set WORKERS=1. {mend}" if settings.workers > 1 else mend,
    )


def disk_space(case: Case) -> Diagnosis:
    """Whether there is room where models, reports and the database are kept."""
    pose = PoseSettings.of(case.settings.options())
    folders = {"MODEL_DIR": pose.model_dir, "DATA_DIR": case.settings.data_folder}
    if "huggingface-hub" in case.machine.packages:
        from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

        folders["HF_HUB_CACHE"] = Path(constants.HF_HUB_CACHE)
    free = {name: case.machine.free_bytes(existing(folder)) for name, folder in folders.items()}
    found = ", ".join(f"{free[name] / 1e9:.1f} GB for {folders[name]}" for name in folders)
    tight = [name for name in folders if free[name] < LEAST_FREE_BYTES]
    if not tight:
        return ok(found)
    return warning(
        found,
        f"A download of models may need {LEAST_FREE_BYTES / 1e9:.0f} GB, and a full disk stops "
        "whatever writes.",
        f"Make room, or set {' and '.join(tight)} to a folder on a larger disk.",
    )


def _show_driver(kind: str) -> str:
    return "nvidia-smi   # shows the driver, if it works; then\n" if kind == "cuda" else ""
