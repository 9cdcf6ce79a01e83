"""Python, OpenCV and ONNX Runtime: what is wrong, and the command that mends it."""

import pytest

from prelabel.doctor import packages
from prelabel.doctor.case import Case
from prelabel.doctor.machine import Trial

OPENCV_ANEW = (
    "/venv/bin/python -m pip uninstall -y opencv-python opencv-contrib-python "
    "opencv-python-headless opencv-contrib-python-headless && "
    "/venv/bin/python -m pip install 'opencv-python-headless>=4.11,<5'"
)


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10, 14), "failure"), ((3, 11, 0), "ok"), ((3, 14, 1), "ok"), ((4, 0, 0), "ok")],
)
def test_python_is_3_11_or_newer(machine, settings, version, state):
    assert packages.python(Case(machine(python=version), settings())).status == state


@pytest.mark.parametrize(
    ("builds", "state"),
    [
        ({}, "warning"),
        ({"opencv-python-headless": "4.12.0.88"}, "ok"),
        ({"opencv-contrib-python": "4.11.0.86"}, "ok"),
        ({"opencv-python-headless": "5.0.0.93"}, "failure"),
        ({"opencv-python": "4.12.0.88", "opencv-contrib-python": "4.12.0.88"}, "failure"),
        ({"opencv-python": "4.12.0.88", "opencv-python-headless": "4.11.0.86"}, "failure"),
    ],
)
def test_one_build_of_opencv_4_is_right(machine, settings, builds, state):
    assert packages.opencv_builds(Case(machine(packages=builds), settings())).status == state


def test_two_builds_are_mended_by_taking_all_out_and_one_in(machine, settings):
    builds = {"opencv-python": "4.12.0.88", "opencv-python-headless": "4.11.0.86"}
    diagnosis = packages.opencv_builds(Case(machine(packages=builds), settings()))
    assert "opencv-python 4.12.0.88, opencv-python-headless 4.11.0.86" in diagnosis.finding
    assert diagnosis.mend == OPENCV_ANEW


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
    diagnosis = packages.opencv_import(Case(machine(run=failing(said)), settings()))
    assert diagnosis.status == "failure"
    assert library in diagnosis.why
    headless, debian = diagnosis.mend.splitlines()
    assert headless == OPENCV_ANEW
    assert debian.endswith(f"apt-get install -y {package}")


def test_any_other_import_error_of_opencv_is_mended_by_installing_it_anew(machine, settings):
    said = "AttributeError: module 'cv2' has no attribute 'imdecode'"
    diagnosis = packages.opencv_import(Case(machine(run=failing(said)), settings()))
    assert (diagnosis.status, diagnosis.finding, diagnosis.mend) == ("failure", said, OPENCV_ANEW)


@pytest.mark.parametrize(
    ("builds", "backend", "status"),
    [
        ([], "onnxruntime", "warning"),
        ([], "openvino", "skipped"),
        (["onnxruntime"], "onnxruntime", "ok"),
        (["onnxruntime-gpu"], "onnxruntime", "ok"),
        (["onnxruntime", "onnxruntime-gpu"], "onnxruntime", "failure"),
    ],
)
def test_one_build_of_onnxruntime_is_right(machine, settings, builds, backend, status):
    made = machine(packages=dict.fromkeys(builds, "1.22.0"))
    assert packages.onnxruntime(Case(made, settings(backend=backend))).status == status


def test_of_two_onnxruntimes_the_one_that_the_device_needs_is_kept(machine, settings):
    both = machine(packages={"onnxruntime": "1.22.0", "onnxruntime-gpu": "1.22.0"})
    assert packages.onnxruntime(Case(both, settings(device="cuda"))).mend.endswith(
        " onnxruntime-gpu"
    )
    assert packages.onnxruntime(Case(both, settings(device="cpu"))).mend.endswith(" onnxruntime")


def test_torch_is_not_asked_for_where_the_opencv_detector_is_chosen(machine, settings):
    assert packages.grounding_dino(Case(machine(), settings())).status == "skipped"


@pytest.mark.parametrize("there", [{}, {"torch": "2.8.0"}, {"transformers": "5.1.0"}])
def test_missing_packages_of_grounding_dino_are_named(machine, settings, there):
    chosen = settings(boxes_predictor="grounding-dino")
    diagnosis = packages.grounding_dino(Case(machine(packages=there), chosen))
    assert diagnosis.status == "warning"
    assert diagnosis.mend == "/venv/bin/python -m pip install 'prelabel[grounding-dino]'"
    assert all(name in diagnosis.finding for name in {"torch", "transformers"} - there.keys())
