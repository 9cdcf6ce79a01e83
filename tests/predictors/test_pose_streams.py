"""One model on several crops at the same time."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from prelabel.errors import ModelError
from prelabel.predictors.backends import open_session
from prelabel.predictors.pose_models import embedded_models
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.sessions import Runtime
from prelabel.predictors.streams import inputs_alone, open_streams
from prelabel.predictors.wholebody import People, PoseEstimator, images_in_a_call
from prelabel.types import Image

PATIENCE_S = 20


class RememberingOpener:
    """Opens sessions that say what they were opened for, and keeps the list."""

    def __init__(self, device="cpu"):
        self.device = device
        self.opened = []

    def __call__(self, path, runtime, probe_hw, fits=None):
        self.opened.append(runtime)
        return FakeSession(self.device, runtime.threads)


class FakeSession:
    reason = ""
    input_shape = (None, 3, None, None)
    own_hw = None

    def __init__(self, device, threads):
        self.device = device
        self.threads = threads

    def run(self, inputs):
        return [inputs]


def opened(opener, **runtime):
    return open_streams(Path("pose.onnx"), Runtime(**runtime), (256, 192), opener)


def threads_and_rows(session, rows):
    return session.threads, rows.start, rows.stop


@pytest.mark.parametrize(
    ("total", "count", "alone"),
    [
        (0, 1, 0),
        (0, 2, 0),
        (9, 1, 0),
        (1, 2, 0),
        (2, 2, 2),
        (3, 2, 2),
        (16, 2, 16),
        (3, 4, 0),
        (15, 4, 12),
        (7, 8, 7),
        (15, 8, 15),
    ],
)
def test_streams_get_what_fills_them_and_the_rest_shares_all_threads(total, count, alone):
    assert inputs_alone(total, count) == alone


def test_nothing_to_run_runs_nothing_and_opens_nothing():
    opener = RememberingOpener()

    assert opened(opener, threads=2).each(0, threads_and_rows) == []
    assert len(opener.opened) == 1


def test_a_single_input_gets_all_threads_and_needs_no_second_session():
    opener = RememberingOpener()

    assert opened(opener, threads=2).each(1, threads_and_rows) == [(2, 0, 1)]
    assert [runtime.threads for runtime in opener.opened] == [2]


def test_several_inputs_get_a_thread_each_and_answers_keep_their_order():
    def slow_first(session, rows):
        if rows.start == 0:
            second_is_done.wait(PATIENCE_S)
        else:
            second_is_done.set()
        return threads_and_rows(session, rows)

    second_is_done = threading.Event()

    answers = opened(RememberingOpener(), threads=2).each(5, slow_first)

    assert answers == [(1, 0, 1), (1, 1, 2), (1, 2, 3), (1, 3, 4), (2, 4, 5)]


def test_two_inputs_run_at_the_same_time():
    both = threading.Barrier(2, timeout=PATIENCE_S)

    opened(RememberingOpener(), threads=2).each(2, lambda session, rows: both.wait())


def test_the_caller_needs_nobody_where_all_helpers_are_busy():
    def first(session, rows):
        if rows.start == 0:
            is_busy.set()
            may_end.wait(PATIENCE_S)
        return rows.start

    is_busy, may_end = threading.Event(), threading.Event()
    streams = opened(RememberingOpener(), threads=2)
    streams._helpers.submit(first, None, slice(0, 1))
    is_busy.wait(PATIENCE_S)

    assert streams.each(4, lambda session, rows: rows.start) == [0, 1, 2, 3]
    may_end.set()


def test_what_one_input_raises_is_raised():
    def fail(session, rows):
        if rows.start == 3:
            raise ModelError("model", "it failed", "Look at the image.")

    with pytest.raises(ModelError, match="it failed"):
        opened(RememberingOpener(), threads=2).each(6, fail)


@pytest.mark.parametrize(
    ("device", "runtime"),
    [
        ("cuda", {"device": "cuda", "threads": 2}),
        ("cpu", {"backend": "openvino", "threads": 2}),
        ("cpu", {"backend": "opencv", "threads": 2}),
        ("cpu", {"threads": 1}),
    ],
)
def test_what_does_not_gain_by_streams_gets_everything_at_once(device, runtime):
    opener = RememberingOpener(device)

    assert len(opened(opener, **runtime).each(9, lambda session, rows: rows)) == 1
    assert len(opener.opened) == 1


def test_streams_of_a_device_that_fell_back_are_opened_on_the_cpu():
    opener = RememberingOpener(device="cpu")

    opened(opener, device="cuda", threads=2).each(2, threads_and_rows)

    assert [runtime.device for runtime in opener.opened] == ["cuda", "cpu"]


def test_keypoints_of_streams_are_those_of_one_run():
    pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")
    pixels = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    corners = np.random.default_rng(1).uniform(0, 200, (5, 2))
    boxes = np.concatenate([corners, np.add(corners, (120, 180))], 1).astype(np.float32)
    people = People(boxes, np.ones(5, np.float32))
    models = embedded_models(PoseSettings.of({}))

    def poses(threads):
        estimator = PoseEstimator.opened(models, Runtime(threads=threads), "pose")
        return estimator.poses_of([Image(pixels)], [people], min_score=0)[0]

    one, several = poses(threads=1), poses(threads=2)

    assert several.keypoints_xy == pytest.approx(one.keypoints_xy, abs=1e-3)
    assert several.keypoint_scores == pytest.approx(one.keypoint_scores, abs=1e-5)


def test_several_images_are_looked_at_side_by_side_as_each_by_itself(shared_data):
    pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")
    path = shared_data / "images" / "astronaut.png"
    photo = Image(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    turned = Image(np.ascontiguousarray(photo.pixels_rgb[:, ::-1]))
    images = [photo, turned, Image(np.zeros_like(photo.pixels_rgb)), photo]
    opened_with = []

    def opener(path, runtime, probe_hw, fits=None):
        opened_with.append((path.name, runtime.threads))
        return open_session(path, runtime, probe_hw, fits)

    models = embedded_models(PoseSettings.of({}))
    estimator = PoseEstimator.opened(models, Runtime(threads=2), "pose", opener)

    alone = [estimator.poses([image], min_score=0)[0] for image in images]
    together = estimator.poses(images, min_score=0)

    assert (models.detector_path.name, 1) in opened_with
    assert [len(poses) for poses in together] == [len(poses) for poses in alone]
    assert len(alone[0]) == 1
    for one, other in zip(alone, together, strict=True):
        assert other.boxes_xyxy == pytest.approx(one.boxes_xyxy, abs=1e-2)
        assert other.keypoints_xy == pytest.approx(one.keypoints_xy, abs=1e-2)


def test_a_call_has_an_image_for_each_thread():
    assert images_in_a_call(Runtime(threads=2)) == 4
    assert images_in_a_call(Runtime(threads=16)) == 16
    assert images_in_a_call(Runtime(threads=128)) == 32
    assert images_in_a_call(Runtime(device="cuda", threads=2)) == 32
