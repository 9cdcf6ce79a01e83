"""Keypoints that are no part of a person: carried as the points that they are."""

import numpy as np
import pytest

from prelabel.labelstudio.config import parse
from prelabel.learning.frames import FrameKey
from prelabel.learning.lessons import lessons
from prelabel.learning.marks import carried_boxes
from prelabel.learning.sequence import Options, learn

CONFIG = parse(
    '<View><Image name="image" value="$image"/>'
    '<KeyPointLabels name="kp" toName="image"><Label value="tip"/></KeyPointLabels></View>'
)
IMAGE_HW = 200, 400


def task(frame, x, y):
    region = {
        "id": "p", "from_name": "kp", "to_name": "image", "type": "keypointlabels",
        "original_width": IMAGE_HW[1], "original_height": IMAGE_HW[0],
        "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": ["tip"]},
    }  # fmt: skip
    data = {"image": "x.png", "video": "clip", "frame": frame}
    return {"id": frame + 1, "data": data, "annotations": [{"id": 1, "result": [region]}]}


def taught(x_of, y=50.0, mode="auto"):
    tasks = [task(frame, x_of(frame), y) for frame in range(0, 60, 5)]
    learned = learn(lessons(tasks, CONFIG, (6.0, 10.0)).frames, Options(mode)).learned
    assert learned is not None
    return learned


def centres(learned, frame, image_hw=IMAGE_HW):
    boxes = carried_boxes(learned.at(FrameKey("clip", frame)), "kp", {"tip"}, image_hw).boxes_xyxy
    assert (boxes >= 0).all()
    assert (boxes[:, [2, 3]] <= [image_hw[1], image_hw[0]]).all()
    return ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()


@pytest.mark.parametrize("y", [0.5, 50.0, 99.0])
@pytest.mark.parametrize("start", [0.5, 40.0, 97.0])
def test_a_point_near_an_edge_stays_where_it_is_drawn(start, y):
    learned = taught(lambda frame: start + 0.02 * frame, y)
    for frame in (2, 33, 54):
        (centre,) = centres(learned, frame)
        assert centre == pytest.approx([(start + 0.02 * frame) * 4, y * 2], abs=0.05)


def test_a_point_on_the_very_edge_is_off_by_a_quarter_of_a_pixel_at_most():
    (centre,) = centres(taught(lambda _: 0.0), 12)
    assert centre == pytest.approx([0, 100], abs=0.26)


def test_a_point_that_left_the_image_is_gone_though_its_box_is_not():
    learned = taught(lambda frame: 55 - frame, mode="linear")
    assert len(centres(learned, 54)) == 1
    assert learned.at(FrameKey("clip", 56)).carried
    assert centres(learned, 56) == []


def test_a_point_is_scaled_to_a_frame_of_another_size():
    (centre,) = centres(taught(lambda frame: 10 + frame), 12, image_hw=(100, 100))
    assert np.allclose(centre, [22, 50], atol=0.1)
