"""Checks of Python and of the packages that get into each other's way."""

import re
from collections.abc import Iterable

from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped, warning
from prelabel.doctor.machine import Machine

GROUNDING_DINO = "grounding-dino"
WHY_BOXES = "Boxes come from the OpenCV detector instead, which sees only what flickers."
LOWEST_PYTHON = (3, 11)
OPENCV_BUILDS = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)
"""All of these own the same folder, cv2/: the one installed last overwrites the others."""
ONNXRUNTIME_BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
"""All of these own the folder onnxruntime/."""
OPENCV_PIN = "'opencv-python-headless>=4.11,<5'"
LAST_OPENCV = 4

_DEBIAN_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libxcb.so.1": "libxcb1",
}
"""Which Debian package has a library that GUI builds of OpenCV load."""


def python(case: Case) -> Diagnosis:
    """Whether this Python is new enough."""
    version = ".".join(str(part) for part in case.machine.python)
    if case.machine.python >= LOWEST_PYTHON:
        return ok(f"{version} at {case.machine.executable}")
    lowest = ".".join(str(part) for part in LOWEST_PYTHON)
    return failure(
        f"{version} at {case.machine.executable}",
        f"prelabel is written for Python {lowest} and newer.",
        f"python{lowest} -m venv .venv && .venv/bin/pip install prelabel",
    )


def opencv_builds(case: Case) -> Diagnosis:
    """Whether exactly one build of OpenCV 4 is installed."""
    builds = _installed(case.machine, OPENCV_BUILDS)
    found = ", ".join(f"{name} {version}" for name, version in builds.items())
    if len(builds) > 1:
        return failure(
            f"{len(builds)} builds at once: {found}",
            "They write into one folder, cv2/, so that what is imported is a mixture; rtmlib "
            "asks for two of them.",
            anew(case.machine, OPENCV_BUILDS, OPENCV_PIN),
        )
    if not builds:
        return warning(
            "no build of OpenCV from PyPI",
            "prelabel reads images with it; one from elsewhere may lack parts.",
            case.machine.pip(f"install {OPENCV_PIN}"),
        )
    if int(next(iter(builds.values())).partition(".")[0]) > LAST_OPENCV:
        return failure(
            found,
            "OpenCV 5 lacks parts that prelabel uses, and fails on pose models.",
            anew(case.machine, OPENCV_BUILDS, OPENCV_PIN),
        )
    return ok(found)


def opencv_import(case: Case) -> Diagnosis:
    """Whether cv2 can be imported."""
    trial = case.machine.run("import cv2; cv2.imdecode; print(cv2.__version__)")
    if trial.ok:
        return ok(f"cv2 {trial.said}")
    missing = re.search(r"(\S+\.so[.\d]*): cannot open shared object", trial.said)
    library = missing[1] if missing else ""
    if library in _DEBIAN_PACKAGES:
        return failure(
            trial.said,
            f"A GUI build of OpenCV wants {library}, which this system lacks; the headless build "
            "does not.",
            f"{anew(case.machine, OPENCV_BUILDS, OPENCV_PIN)}\n"
            "or, to keep the GUI build on Debian or Ubuntu: "
            f"apt-get install -y {_DEBIAN_PACKAGES[library]}",
        )
    return failure(
        trial.said,
        "prelabel reads every image with OpenCV.",
        anew(case.machine, OPENCV_BUILDS, OPENCV_PIN),
    )


def onnxruntime(case: Case) -> Diagnosis:
    """Whether one build of ONNX Runtime is installed, where pose models run in it."""
    builds = onnxruntime_builds(case.machine)
    found = ", ".join(f"{name} {version}" for name, version in builds.items())
    if len(builds) > 1:
        keep = "onnxruntime-gpu" if case.settings.device.startswith("cuda") else "onnxruntime"
        return failure(
            f"{len(builds)} builds at once: {found}",
            "They write into one folder, so that the GPU is silently not used, or nothing works.",
            anew(case.machine, builds, keep),
        )
    if not builds and case.settings.backend == "onnxruntime":
        return warning(
            "not installed",
            "Without it there are no poses, and no body parts in boxes of the OpenCV detector.",
            case.machine.pip("install 'prelabel[pose]'"),
        )
    return ok(found) if builds else skipped(f"not installed; BACKEND is {case.settings.backend}")


def grounding_dino(case: Case) -> Diagnosis:
    """Whether torch and transformers are installed, where they are to find boxes."""
    if case.settings.boxes_predictor != GROUNDING_DINO:
        return skipped(f"BOXES_PREDICTOR is {case.settings.boxes_predictor}")
    there = case.machine.packages
    missing = [name for name in ("torch", "transformers") if name not in there]
    if not missing:
        return ok(f"torch {there['torch']}, transformers {there['transformers']}")
    return warning(
        f"not installed: {', '.join(missing)}",
        WHY_BOXES,
        case.machine.pip("install 'prelabel[grounding-dino]'"),
    )


def onnxruntime_builds(machine: Machine) -> dict[str, str]:
    """The builds of ONNX Runtime that are installed, with their versions."""
    return _installed(machine, ONNXRUNTIME_BUILDS)


def anew(machine: Machine, builds: Iterable[str], keep: str) -> str:
    """The commands that install one build, all others out first.

    Removing one takes files of the rest along, so that the order matters.
    """
    out = machine.pip(f"uninstall -y {' '.join(builds)}")
    return f"{out} && {machine.pip(f'install {keep}')}"


def _installed(machine: Machine, names: tuple[str, ...]) -> dict[str, str]:
    return {name: machine.packages[name] for name in names if name in machine.packages}
