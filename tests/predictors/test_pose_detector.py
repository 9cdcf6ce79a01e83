"""People's boxes: letterbox and back, each form of output, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import ModelError, OutOfMemory
from prelabel.predictors import person_detector
from prelabel.predictors.person_detector import DetectorModel, People, PersonDetector
from prelabel.predictors.sessions import run_in_batches
from prelabel.types import Image

RTMDET = DetectorModel("rtmdet", side=320)


class RememberingSession:
    """A model that answers what it is told to and remembers what it was asked."""

    device, reason, own_hw = "cpu", "", None

    def __init__(self, rows=(), classes=None, input_shape=(None, 3, None, None), room=1000):
        self.input_shape = input_shape
        self.asked = []
        self._rows = np.array(rows, np.float32).reshape(-1, 5)
        self._classes = np.zeros(len(self._rows), np.int64) if classes is None else classes
        self._room = room

    def run(self, inputs):
        if len(inputs) > self._room:
            raise OutOfMemory("model", "no room", "Buy more.")
        self.asked.append(inputs)
        count = len(inputs)
        return [np.stack([self._rows] * count), np.stack([self._classes] * count)]


def image(height=240, width=320, value=50):
    return Image(np.full((height, width, 3), value, np.uint8))


def raw_heads(size, *cells, classes=2):
    """Raw YOLOX heads for a square input with (row index, x, y, w, h, objectness, *classes)."""
    count = sum((size // stride) ** 2 for stride in person_detector.STRIDES)
    heads = np.zeros((1, count, 5 + classes), np.float32)
    for row, *values in cells:
        heads[0, row] = values
    return heads


@given(st.integers(1, 2000), st.integers(1, 2000), st.booleans())
def test_a_box_comes_back_from_the_letterbox_to_where_it_was(height, width, rectangular):
    (canvas_h, canvas_w), ratio = person_detector.canvas_size(
        (height, width), (320, 320), rectangular=rectangular
    )

    assert canvas_h % 32 == canvas_w % 32 == 0
    assert int(height * ratio) <= canvas_h
    assert int(width * ratio) <= canvas_w
    corner = np.array([[[0, 0, width * ratio, height * ratio, 0.9]]], np.float32)
    people = person_detector.decode([corner], (canvas_h, canvas_w), [ratio])[0]
    assert people.boxes_xyxy[0] == pytest.approx([0, 0, width, height], rel=1e-4)


def test_the_image_lies_at_the_top_left_of_a_grey_canvas():
    canvas = person_detector.letterbox(image(240, 320, 7).pixels_rgb, (320, 320), 0.5)

    assert (canvas[:120, :160] == 7).all()
    assert (canvas[120:] == 114).all()
    assert (canvas[:, 160:] == 114).all()


def test_a_picture_of_one_pixel_by_a_thousand_can_be_looked_at():
    people = PersonDetector(RememberingSession(), RTMDET).find([image(1, 1000)], 1)

    assert len(people[0].scores) == 0


def test_a_free_input_size_is_spared_the_padding():
    session = RememberingSession()

    PersonDetector(session, RTMDET).find([image(240, 320)], 1)
    PersonDetector(session, DetectorModel("rtmdet", 320, rectangular=False)).find([image()], 1)

    assert [asked.shape for asked in session.asked] == [(1, 3, 256, 320), (1, 3, 320, 320)]


def test_a_fixed_input_size_is_kept_and_its_batch_size_too():
    session = RememberingSession(input_shape=(1, 3, 416, 416))

    PersonDetector(session, RTMDET).find([image(), image()], batch_size=8)

    assert [asked.shape for asked in session.asked] == [(1, 3, 416, 416)] * 2


def test_images_of_one_size_go_in_one_run_and_come_back_in_order():
    session = RememberingSession([[0, 0, 32, 32, 0.9]])
    images = [image(240, 320), image(320, 240), image(480, 640)]

    people = PersonDetector(session, RTMDET).find(images, batch_size=8)

    assert [len(asked) for asked in session.asked] == [2, 1]
    assert [found.boxes_xyxy[0, 2] for found in people] == [32, 32, 64]


def test_only_persons_come_back_surest_first_with_their_scores():
    rows = [[0, 0, 50, 90, 0.5], [0, 0, 60, 90, 0.8], [0, 0, 70, 90, 0.9], [0, 0, 80, 90, 0.2]]
    session = RememberingSession(rows, classes=np.array([0, 0, 16, 0]))

    people = PersonDetector(session, RTMDET).find([image(320, 320)], 1)[0]

    assert people.scores == pytest.approx([0.8, 0.5])
    assert people.boxes_xyxy[:, 2].tolist() == [60, 50]


@pytest.mark.parametrize(
    "box",
    [
        [50, 50, 50, 90],
        [90, 90, 50, 50],
        [np.nan, 0, 50, 50],
        [0, 0, np.inf, 50],
        [400, 10, 500, 90],
        [0, 0, 1e5, 1e5],
    ],
    ids=["no width", "inside out", "not a number", "infinite", "outside", "huge"],
)
def test_a_degenerate_box_is_refused_and_the_others_stay(box):
    people = People(np.array([box, [10, 10, 60, 90]], np.float32), np.array([0.9, 0.8], np.float32))

    kept = person_detector.without_degenerate(people, (240, 320))

    assert kept.boxes_xyxy.tolist() == [[10, 10, 60, 90]]


def test_raw_heads_without_a_sure_person_hold_nobody():
    assert len(person_detector.decode([raw_heads(64)], (64, 64), [1.0])[0].scores) == 0


def test_raw_heads_are_decoded_by_cell_and_stride():
    # Cell (1, 2) of the first head, 8 wide: centre (2.5, 1.5) cells, 32 by 16 pixels.
    heads = raw_heads(64, (8 + 2, 0.5, 0.5, np.log(4), np.log(2), 1, 0.9, 0))

    people = person_detector.decode([heads], (64, 64), [0.5])[0]

    assert people.boxes_xyxy[0] == pytest.approx([8, 8, 72, 40], abs=1e-3)
    assert people.scores == pytest.approx([0.9])


def test_raw_heads_of_another_layout_are_refused():
    with pytest.raises(ModelError, match="84 rows for an input of 336 cells"):
        person_detector.decode([raw_heads(64)], (128, 128), [1.0])


def test_boxes_that_were_decoded_inside_the_model_are_not_taken_for_nobody():
    pixels = (10, 300.0, 200.0, 120.0, 260.0, 1, 0.9, 0)

    with pytest.raises(ModelError, match="without --decode_in_inference"):
        person_detector.decode([raw_heads(64, pixels)], (64, 64), [1.0])


def test_raw_heads_tell_a_person_from_a_truck():
    truck = (10, 0.5, 0.5, 1, 1, 1, 0.1, 0.95)

    assert len(person_detector.decode([raw_heads(64, truck)], (64, 64), [1.0])[0].scores) == 0


def test_of_two_boxes_around_one_person_in_raw_heads_the_surer_stays():
    one = (10, 0.5, 0.5, 2, 2, 1, 0.8, 0)
    again = (11, -0.4, 0.5, 2, 2, 1, 0.9, 0)

    people = person_detector.decode([raw_heads(64, one, again)], (64, 64), [1.0])[0]

    assert people.scores == pytest.approx([0.9])


def test_another_kind_of_output_is_named():
    with pytest.raises(ModelError, match=r"shape \(1, 10, 4\)"):
        person_detector.decode([np.zeros((1, 10, 4), np.float32)], (64, 64), [1.0])


def test_a_batch_too_large_for_the_device_is_halved_until_it_fits():
    session = RememberingSession(room=2)

    list(run_in_batches(session, np.zeros((9, 3, 32, 32), np.float32), 8))

    assert [len(asked) for asked in session.asked] == [2, 2, 2, 2, 1]


def test_a_model_with_a_batch_size_of_its_own_gets_full_batches():
    session = RememberingSession([(1, 2, 3, 4, 0.9)], input_shape=(4, 3, 32, 32))

    outputs = list(run_in_batches(session, np.ones((6, 3, 32, 32), np.float32), 8))

    assert [len(asked) for asked in session.asked] == [4, 4]
    assert session.asked[1].max(axis=(1, 2, 3)).tolist() == [1, 1, 0, 0]
    assert [len(boxes) for boxes, _ in outputs] == [4, 2]


def test_a_device_without_room_for_a_whole_batch_of_such_a_model_says_so():
    session = RememberingSession(input_shape=(4, 3, 32, 32), room=2)

    with pytest.raises(OutOfMemory):
        list(run_in_batches(session, np.zeros((4, 3, 32, 32), np.float32), 8))


def test_a_device_without_room_for_one_says_so():
    session = RememberingSession(room=0)

    with pytest.raises(OutOfMemory):
        list(run_in_batches(session, np.zeros((2, 3, 32, 32), np.float32), 8))
