"""Videos: from the keyframes that people drew to tracks that are written."""

import numpy as np
import pytest

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.video import VideoLength, video_regions
from prelabel.learning.lessons import lessons
from prelabel.learning.sequence import Options, learn
from prelabel.learning.videos import tracks_through

CONFIG = parse(
    '<View><Labels name="what" toName="video"><Label value="car"/></Labels>'
    '<Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/></View>'
)
(VIDEO,) = CONFIG.videos
WHAT, BOX = CONFIG.controls


def swing(frame):
    """Where a swinging object's left edge is, in percent."""
    return 40 + 30 * np.sin(frame / 12)


def region(identity, frames, *, ends=()):
    keyframes = [
        {"frame": f, "enabled": f not in ends, "x": swing(f), "y": 20, "width": 10, "height": 30}
        for f in frames
    ]
    value = {"labels": ["car"], "framesCount": 200, "duration": 8.0, "sequence": keyframes}
    return {
        "id": identity, "from_name": "box", "to_name": "video", "type": "videorectangle",
        "value": value,
    }  # fmt: skip


def learnt(*regions):
    task = {"id": 7, "data": {"video": "/v.mp4"}, "annotations": [{"id": 1, "result": [*regions]}]}
    learned = learn(lessons([task], CONFIG, (6.0, 10.0)).frames, Options()).learned
    assert learned is not None
    return learned


def test_a_task_in_which_nobody_drew_a_track_has_none():
    learned = learnt(region("a", range(1, 81, 8)))
    assert tracks_through(learned, VIDEO, BOX, task_id=8) == (None, [])
    assert tracks_through(learned, VIDEO, BOX, task_id=70) == (None, [])


def test_a_track_has_a_keyframe_wherever_people_drew_it():
    drawn = list(range(1, 122, 12))
    length, tracks = tracks_through(learnt(region("a", drawn, ends=[121])), VIDEO, BOX, 7)
    assert length == VideoLength(200, 8.0)
    (written,) = video_regions(tracks, BOX, WHAT, length)
    assert problems([written], CONFIG) == []
    assert (written["id"], written["meta"]) == ("a", {"source": "sequence"})
    assert 0.5 <= written["score"] <= 1
    keyframes = {one["frame"]: one for one in written["value"]["sequence"]}
    assert max(keyframes) == 121
    assert not keyframes[121]["enabled"]
    for frame in drawn:
        assert keyframes[frame]["x"] == pytest.approx(swing(frame), abs=1e-3)


def test_a_track_with_few_keyframes_goes_straight_between_them():
    learned = learnt(region("a", range(1, 81, 8)), region("b", [10, 40], ends=[40]))
    length, tracks = tracks_through(learned, VIDEO, BOX, 7)
    few = video_regions(tracks, BOX, WHAT, length)[1]
    assert [(one["frame"], one["enabled"]) for one in few["value"]["sequence"]] == [
        (10, True),
        (40, False),
    ]


def test_an_object_that_left_and_came_back_has_two_lives():
    frames = [*range(1, 50, 8), *range(101, 150, 8)]
    length, (track,) = tracks_through(learnt(region("a", frames, ends=[49])), VIDEO, BOX, 7)
    assert [(life[0], life[-1]) for life in track.lives] == [(1, 49), (101, 149)]
    (written,) = video_regions([track], BOX, WHAT, length)
    keyframes = written["value"]["sequence"]
    assert next(one["frame"] for one in keyframes if not one["enabled"]) == 49
    assert not [one for one in keyframes if 49 < one["frame"] < 101]


def test_tracks_of_another_control_are_not_its_own():
    other = parse(
        '<View><Video name="video" value="$video"/><VideoRectangle name="second" toName="video"/>'
        "</View>"
    ).controls[0]
    _, tracks = tracks_through(learnt(region("a", range(1, 81, 8))), VIDEO, other, 7)
    assert tracks == []
