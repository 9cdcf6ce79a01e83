"""Detectors whose files fix the size of their input, and that run at others all the same."""

import builtins

import cv2
import numpy as np
import pytest

from prelabel.benchmarks.random_pose import write_yolox
from prelabel.errors import WeightsUnavailable
from prelabel.predictors import backends
from prelabel.predictors.backends import open_session
from prelabel.predictors.free_size import with_free_size
from prelabel.predictors.onnxruntime_backend import open_onnxruntime
from prelabel.predictors.person_detector import DetectorModel, PersonDetector, size_check
from prelabel.predictors.pose_models import embedded_folder
from prelabel.predictors.sessions import Runtime
from prelabel.types import Image

onnx = pytest.importorskip("onnx", reason="pip install 'prelabel[pose]'")
pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")

SIDE = 96
ROWS = (144, 36, 9)  # cells of 8, 16 and 32 pixels
YOLOX = DetectorModel("yolox", side=SIDE)
CHECK = size_check(YOLOX)


@pytest.fixture(autouse=True)
def no_sessions_of_other_tests(monkeypatch):
    monkeypatch.setattr(backends, "_opened", {})


@pytest.fixture(scope="module")
def yolox(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "yolox.onnx"
    write_yolox(path, depth=0.33, width=0.125, side=SIDE)
    return path


def opened(path, backend="onnxruntime", check=CHECK):
    return open_session(path, Runtime(backend), (SIDE, SIDE), check)


def with_sizes_in_the_graph(path, target):
    """The same detector with the rows of its three heads as numbers, as some exporters have it."""
    model = onnx.load(str(path))
    reshapes = [node.input[1] for node in model.graph.node if node.op_type == "Reshape"]
    rows_of = dict(zip(reshapes, ROWS, strict=True))
    for tensor in model.graph.initializer:
        if tensor.name in rows_of:
            shape = np.array([0, 6, rows_of[tensor.name]])
            tensor.CopyFrom(onnx.numpy_helper.from_array(shape, tensor.name))
    onnx.save(model, str(target))
    return target


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_it_takes_any_size_and_answers_its_own_as_before(yolox, backend):
    pytest.importorskip(backend)
    noise = np.random.default_rng(0).uniform(0, 255, (1, 3, SIDE, SIDE)).astype(np.float32)

    free, fixed = opened(yolox, backend), opened(yolox, backend, check=None)

    assert fixed.input_shape[2:] == (SIDE, SIDE)
    assert free.input_shape[2:] == (None, None)
    assert free.run(noise)[0] == pytest.approx(fixed.run(noise)[0], abs=1e-4)
    assert free.run(noise[:, :, :32])[0].shape == (1, 4 * 12 + 2 * 6 + 3, 6)


def test_its_own_size_stays_the_largest_whatever_the_mode_would_have(yolox):
    tall = Image(np.zeros((300, 200, 3), np.uint8))
    session = opened(yolox)
    inputs = []
    run = session.run
    session.run = lambda batch: inputs.append(batch) or run(batch)

    PersonDetector(session, DetectorModel("yolox", side=640)).find([tall], 1)

    assert session.own_hw == (SIDE, SIDE)
    assert [batch.shape for batch in inputs] == [(1, 3, SIDE, 64)]


def test_weights_in_a_file_beside_it_are_those_of_that_folder(yolox, tmp_path, monkeypatch):
    beside = tmp_path / "models" / "yolox.onnx"
    beside.parent.mkdir()
    onnx.save(
        onnx.load(str(yolox)),
        str(beside),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=1000,
    )
    other = np.zeros((beside.parent / "weights.bin").stat().st_size, np.uint8)
    other.tofile(tmp_path / "weights.bin")
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).uniform(0, 255, (1, 3, SIDE, SIDE)).astype(np.float32)

    free = opened(beside)

    assert free.input_shape[2:] == (None, None)
    assert free.run(noise)[0] == pytest.approx(opened(yolox).run(noise)[0], abs=1e-4)


def test_the_bytes_that_it_was_opened_from_are_given_up(yolox):
    content, _ = with_free_size(yolox)

    session = open_onnxruntime(yolox, Runtime(), (SIDE, SIDE), content)

    assert not any(content is held or content == held for held in vars(session._session).values())


def test_one_with_its_size_in_the_graph_keeps_it(yolox, tmp_path):
    session = opened(with_sizes_in_the_graph(yolox, tmp_path / "yolox_of_one_size.onnx"))

    assert session.input_shape[2:] == (SIDE, SIDE)
    assert session.run(np.zeros((1, 3, SIDE, SIDE), np.float32))[0].shape == (1, sum(ROWS), 6)


def test_opencv_keeps_the_size_of_the_file(yolox):
    assert opened(yolox, "opencv").input_shape[2:] == (SIDE, SIDE)


def test_without_the_package_onnx_it_keeps_its_size(yolox, monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "onnx":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)

    assert opened(yolox).input_shape[2:] == (SIDE, SIDE)


def test_a_file_that_leaves_the_size_free_is_left_alone():
    assert with_free_size(embedded_folder() / "nanodet_person.onnx") is None


def test_a_file_that_suppresses_duplicates_itself_is_left_alone(yolox, tmp_path):
    model = onnx.load(str(yolox))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, [1, 100])
    )
    onnx.save(model, str(tmp_path / "yolox.onnx"))

    assert with_free_size(tmp_path / "yolox.onnx") is None


@pytest.mark.parametrize(
    "model", [DetectorModel("yolox", SIDE, rectangular=False), DetectorModel("rtmdet", SIDE)]
)
def test_only_raw_heads_that_may_be_cut_are_tried(model):
    assert size_check(model) is None


@pytest.mark.parametrize(
    ("rows", "numbers", "fits"), [(sum(ROWS), 6, True), (100, 6, False), (sum(ROWS), 5, False)]
)
def test_raw_heads_have_a_row_for_each_cell(rows, numbers, fits):
    assert CHECK([np.zeros((1, rows, numbers), np.float32)], (SIDE, SIDE)) is fits


def test_a_real_yolox_finds_the_person_of_a_photo_without_the_padding(shared_data):
    path = shared_data / "weights" / "yolox_nano_coco.onnx"
    photo = Image(
        cv2.imread(str(shared_data / "images" / "000000000785.jpg"), cv2.IMREAD_COLOR_RGB)
    )

    session = open_session(path, Runtime(), (416, 416), CHECK)
    (people,) = PersonDetector(session, DetectorModel("yolox", 416)).find([photo], 1)

    assert session.input_shape == (1, 3, None, None)
    assert len(people.scores) == 1
    annotated_xyxy = [281, 45, 499, 391]
    assert people.boxes_xyxy[0] == pytest.approx(annotated_xyxy, abs=25)


def test_a_file_that_is_not_there_is_named_by_what_opens_it(tmp_path):
    with pytest.raises(WeightsUnavailable, match=r"gone\.onnx"):
        opened(tmp_path / "gone.onnx")
