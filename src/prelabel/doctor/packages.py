"""Checks of Python and of the packages that get into each other's way."""

import re
from collections.abc import Iterable

from prelabel.doctor.finding import Finding, failed, ok, warning
from prelabel.doctor.machine import Machine
from prelabel.settings import Settings

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


def python(machine: Machine, settings: Settings) -> Finding:
    """Whether this Python is new enough."""
    del settings
    version = ".".join(str(part) for part in machine.python)
    if machine.python >= LOWEST_PYTHON:
        return ok(f"{version} at {machine.executable}")
    lowest = ".".join(str(part) for part in LOWEST_PYTHON)
    return failed(
        f"{version} at {machine.executable}",
        f"prelabel is written for Python {lowest} and newer.",
        f"python{lowest} -m venv .venv && .venv/bin/pip install prelabel",
    )


def opencv_builds(machine: Machine, settings: Settings) -> Finding:
    """Whether exactly one build of OpenCV 4 is installed."""
    del settings
    builds = _installed(machine, OPENCV_BUILDS)
    found = ", ".join(f"{name} {version}" for name, version in builds.items())
    if len(builds) > 1:
        return failed(
            f"{len(builds)} builds at once: {found}",
            "They write into one folder, cv2/, so that what is imported is a mixture; rtmlib "
            "asks for two of them.",
            _anew(machine, OPENCV_BUILDS, OPENCV_PIN),
        )
    if not builds:
        return warning(
            "no build of OpenCV from PyPI",
            "prelabel reads images with it; one from elsewhere may lack parts.",
            machine.pip(f"install {OPENCV_PIN}"),
        )
    if int(next(iter(builds.values())).partition(".")[0]) > LAST_OPENCV:
        return failed(
            found,
            "OpenCV 5 lacks parts that prelabel uses, and fails on pose models.",
            _anew(machine, OPENCV_BUILDS, OPENCV_PIN),
        )
    return ok(found)


def opencv_import(machine: Machine, settings: Settings) -> Finding:
    """Whether cv2 can be imported."""
    del settings
    trial = machine.run("import cv2; cv2.imdecode; print(cv2.__version__)")
    if trial.ok:
        return ok(f"cv2 {trial.said}")
    missing = re.search(r"(\S+\.so[.\d]*): cannot open shared object", trial.said)
    library = missing[1] if missing else ""
    if library in _DEBIAN_PACKAGES:
        return failed(
            trial.said,
            f"A GUI build of OpenCV wants {library}, which this system lacks; the headless build "
            "does not.",
            f"{_anew(machine, OPENCV_BUILDS, OPENCV_PIN)}\n"
            "or, to keep the GUI build on Debian or Ubuntu: "
            f"apt-get install -y {_DEBIAN_PACKAGES[library]}",
        )
    return failed(
        trial.said,
        "prelabel reads every image with OpenCV.",
        _anew(machine, OPENCV_BUILDS, OPENCV_PIN),
    )


def onnxruntime(machine: Machine, settings: Settings) -> Finding:
    """Whether one build of ONNX Runtime is installed, where pose models run in it."""
    builds = _installed(machine, ONNXRUNTIME_BUILDS)
    found = ", ".join(f"{name} {version}" for name, version in builds.items())
    if len(builds) > 1:
        keep = "onnxruntime-gpu" if settings.device.startswith("cuda") else "onnxruntime"
        return failed(
            f"{len(builds)} builds at once: {found}",
            "They write into one folder, so that the GPU is silently not used, or nothing works.",
            _anew(machine, builds, keep),
        )
    if not builds and settings.backend == "onnxruntime":
        return warning(
            "not installed",
            "Without it there are no poses, and no body parts in boxes of the OpenCV detector.",
            machine.pip("install 'prelabel[pose]'"),
        )
    if not builds or not settings.device.startswith("cuda"):
        return ok(found or f"not installed; BACKEND is {settings.backend}")
    trial = machine.run("import onnxruntime; print(*onnxruntime.get_available_providers())")
    if trial.ok and "CUDAExecutionProvider" in trial.said.split():
        return ok(f"{found} with CUDA")
    return warning(
        f"{found}: {f'it offers {trial.said}' if trial.ok else trial.said}",
        f"DEVICE is {settings.device}, but poses run on the CPU.",
        _anew(machine, builds, "onnxruntime-gpu"),
    )


def _installed(machine: Machine, names: tuple[str, ...]) -> dict[str, str]:
    return {name: machine.packages[name] for name in names if name in machine.packages}


def _anew(machine: Machine, builds: Iterable[str], keep: str) -> str:
    """Install one build, all others out first: removing one takes files of the rest along."""
    out = machine.pip(f"uninstall -y {' '.join(builds)}")
    return f"{out} && {machine.pip(f'install {keep}')}"
