"""Python, OpenCV and ONNX Runtime: what is wrong, and the command that mends it."""

import pytest

from prelabel.doctor import packages
from prelabel.doctor.machine import Trial

OPENCV_ANEW = (
    "/venv/bin/python -m pip uninstall -y opencv-python opencv-contrib-python "
    "opencv-python-headless opencv-contrib-python-headless && "
    "/venv/bin/python -m pip install 'opencv-python-headless>=4.11,<5'"
)


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10, 14), "failed"), ((3, 11, 0), "ok"), ((3, 14, 1), "ok"), ((4, 0, 0), "ok")],
)
def test_python_is_3_11_or_newer(machine, settings, version, state):
    assert packages.python(machine(python=version), settings()).state == state


@pytest.mark.parametrize(
    ("builds", "state"),
    [
        ({}, "warning"),
        ({"opencv-python-headless": "4.12.0.88"}, "ok"),
        ({"opencv-contrib-python": "4.11.0.86"}, "ok"),
        ({"opencv-python-headless": "5.0.0.93"}, "failed"),
        ({"opencv-python": "4.12.0.88", "opencv-contrib-python": "4.12.0.88"}, "failed"),
        ({"opencv-python": "4.12.0.88", "opencv-python-headless": "4.11.0.86"}, "failed"),
    ],
)
def test_one_build_of_opencv_4_is_right(machine, settings, builds, state):
    assert packages.opencv_builds(machine(packages=builds), settings()).state == state


def test_two_builds_are_mended_by_taking_all_out_and_one_in(machine, settings):
    builds = {"opencv-python": "4.12.0.88", "opencv-python-headless": "4.11.0.86"}
    finding = packages.opencv_builds(machine(packages=builds), settings())
    assert "opencv-python 4.12.0.88, opencv-python-headless 4.11.0.86" in finding.found
    assert finding.mend == OPENCV_ANEW


def test_a_path_with_a_blank_is_quoted_in_the_command(machine):
    command = machine(executable="/my venv/bin/python").pip("install prelabel")
    assert command == "'/my venv/bin/python' -m pip install prelabel"


def failing(said):
    return lambda _: Trial(ok=False, said=said)


@pytest.mark.parametrize(
    ("library", "package"), [("libGL.so.1", "libgl1"), ("libgthread-2.0.so.0", "libglib2.0-0")]
)
def test_a_missing_system_library_is_named_with_its_debian_package(
    machine, settings, library, package
):
    said = f"ImportError: {library}: cannot open shared object file: No such file or directory"
    finding = packages.opencv_import(machine(run=failing(said)), settings())
    assert finding.state == "failed"
    assert library in finding.why
    headless, debian = finding.mend.splitlines()
    assert headless == OPENCV_ANEW
    assert debian.endswith(f"apt-get install -y {package}")


def test_any_other_import_error_of_opencv_is_mended_by_installing_it_anew(machine, settings):
    said = "AttributeError: module 'cv2' has no attribute 'imdecode'"
    finding = packages.opencv_import(machine(run=failing(said)), settings())
    assert (finding.state, finding.found, finding.mend) == ("failed", said, OPENCV_ANEW)


@pytest.mark.parametrize(
    ("builds", "device", "providers", "state"),
    [
        ([], "cpu", "", "warning"),
        (["onnxruntime"], "cpu", "", "ok"),
        (["onnxruntime-gpu"], "cuda:1", "CUDAExecutionProvider CPUExecutionProvider", "ok"),
        (["onnxruntime"], "cuda", "CPUExecutionProvider", "warning"),
        (["onnxruntime", "onnxruntime-gpu"], "cpu", "", "failed"),
    ],
)
def test_one_build_of_onnxruntime_that_has_the_device_is_right(
    machine, settings, builds, device, providers, state
):
    made = machine(
        packages=dict.fromkeys(builds, "1.22.0"), run=lambda _: Trial(ok=True, said=providers)
    )
    assert packages.onnxruntime(made, settings(device=device)).state == state


def test_of_two_onnxruntimes_the_one_that_the_device_needs_is_kept(machine, settings):
    both = machine(packages={"onnxruntime": "1.22.0", "onnxruntime-gpu": "1.22.0"})
    assert packages.onnxruntime(both, settings(device="cuda")).mend.endswith(" onnxruntime-gpu")
    assert packages.onnxruntime(both, settings(device="cpu")).mend.endswith(" onnxruntime")


def test_without_onnxruntime_all_is_well_where_another_backend_runs_the_models(machine, settings):
    assert packages.onnxruntime(machine(packages={}), settings(backend="openvino")).state == "ok"
