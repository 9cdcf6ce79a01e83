"""Videos: from the keyframes that people drew to tracks that are written."""

import itertools
from dataclasses import replace

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


def test_the_tracks_of_a_video_are_counted_together():
    """Four objects of two keyframes each are as much to learn from as one of eight."""
    frames = [10, 40]
    tracks = [region(name, frames, ends=[40]) for name in "abcd"]
    length, found = tracks_through(learnt(*tracks), VIDEO, BOX, 7)
    assert len(found) == 4
    assert len(video_regions(found, BOX, WHAT, length)) == 4


def test_a_track_of_two_keyframes_far_apart_does_not_jump_between_them():
    tracks = [region(name, [10, 40], ends=[40]) for name in "abcd"]
    _length, (track, *_) = tracks_through(learnt(*tracks), VIDEO, BOX, 7)
    path = [track.box_at(frame) for frame in range(10, 41)]
    steps = [
        float(abs(b[0] - a[0]).max())
        for a, b in itertools.pairwise(path)
        if a is not None and b is not None
    ]
    straight = abs(swing(40) - swing(10)) * 10 / 30
    assert max(steps, default=0) <= 1.5 * straight + 1


def test_a_track_is_written_only_a_little_past_its_last_keyframe():
    asked = []
    _length, (track,) = tracks_through(learnt(region("a", range(1, 81, 8))), VIDEO, BOX, 7)

    def everywhere(frame):
        asked.append(frame)
        return track.box_at(1)

    endless = VideoLength(100_000, 4_000.0)
    video_regions([replace(track, box_at=everywhere)], BOX, WHAT, endless)
    assert max(asked) <= 73 + 250
