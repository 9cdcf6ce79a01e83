"""Tracks through a video: keyframes to marks, and paths to keyframes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.labelstudio.config import VideoTag, parse
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.video import (
    LOOKS,
    Track,
    VideoLength,
    length_of,
    read_tracks,
    video_regions,
)

CONFIG = parse("""
<View>
  <Labels name="what" toName="video"><Label value="car"/><Label value="person"/></Labels>
  <Video name="video" value="$video" frameRate="25"/>
  <VideoRectangle name="box" toName="video"/>
  <Choices name="state" toName="video" perRegion="true">
    <Choice value="moving"/><Choice value="parked"/>
  </Choices>
</View>
""")
(VIDEO,) = CONFIG.videos
WHAT, BOX, STATE = CONFIG.controls
LENGTH = VideoLength(frames_count=100, duration_s=4.0)


def keyframe(frame, x=10, *, enabled=True, **others):
    return {
        "frame": frame, "time": frame / 25, "enabled": enabled,
        "x": x, "y": 20, "width": 10, "height": 30, "rotation": 0, **others,
    }  # fmt: skip


def drawn(*keyframes, identity="t1", label="car"):
    """A region as the editor stores it."""
    value = {"framesCount": 100, "duration": 4.0, "sequence": list(keyframes), "labels": [label]}
    return {
        "id": identity, "from_name": "box", "to_name": "video", "type": "videorectangle",
        "origin": "manual", "value": value,
    }  # fmt: skip


def seen(region):
    """The frames at which a region's object is, True, or is not, False."""
    (track,) = read_tracks([region], CONFIG, VIDEO)
    return {frame: mark is not None for frame, mark in track.marks.items()}


def still(frame):
    return np.array([100, 200, 200, 500], np.float32), 0.0


def moved(by):
    box, turn = still(0)
    return box + np.float32(by), turn


def track(box_at=still, lives=((50,),), **changed):
    fields = {
        "name": "t1", "label": "car", "score": 0.8, "source": "sequence",
        "lives": lives, "box_at": box_at, "attributes": {}, **changed,
    }  # fmt: skip
    return Track(**fields)


def written(*tracks):
    return video_regions(tracks, BOX, WHAT, LENGTH, {"state": STATE})


def frames_of(region):
    return [one["frame"] for one in region["value"]["sequence"]]


def shown(region, frame):
    """The box that the editor shows: straight between keyframes, gone behind a disabled one."""
    before = after = None
    for one in region["value"]["sequence"]:
        if one["frame"] <= frame:
            before = one
        else:
            after = after or one
    if before is None or (not before["enabled"] and before["frame"] != frame):
        return None
    along = (frame - before["frame"]) / (after["frame"] - before["frame"]) if after else 0
    after = after or before
    return [
        before[key] + along * (after[key] - before[key]) for key in ("x", "y", "width", "height")
    ]


def test_the_config_names_the_video_and_its_data_key():
    assert CONFIG.videos == (VideoTag("video", "$video"),)
    assert CONFIG.images == ()
    assert CONFIG.labels_beside(BOX) == WHAT


def test_an_empty_annotation_has_no_tracks():
    assert read_tracks([], CONFIG, VIDEO) == []


def test_a_keyframe_is_a_mark_in_the_pixels_of_a_nominal_picture():
    state = {**drawn(), "from_name": "state", "type": "choices", "value": {"choices": ["parked"]}}
    (track,) = read_tracks([drawn(keyframe(1)), state], CONFIG, VIDEO)
    mark = track.marks[1]
    assert mark.box_xyxy.tolist() == [100, 200, 200, 500]
    assert (mark.control, mark.label, mark.track) == ("box", "car", "t1")
    assert mark.attributes == {"state": ("parked",)}
    assert length_of(track.region["value"]) == LENGTH


def test_a_disabled_keyframe_is_the_last_of_its_life():
    region = drawn(keyframe(1), keyframe(40, enabled=False), keyframe(60), keyframe(90))
    assert seen(region) == {1: True, 40: True, 41: False, 59: False, 60: True, 90: True}


def test_before_its_first_keyframe_an_object_is_not_there():
    assert seen(drawn(keyframe(8))) == {7: False, 8: True}


def test_a_life_that_begins_where_another_ends_has_no_gap():
    region = drawn(keyframe(1), keyframe(40, enabled=False), keyframe(41))
    assert seen(region) == {1: True, 40: True, 41: True}


def test_keyframes_in_disorder_are_read_in_order():
    assert list(seen(drawn(keyframe(9), keyframe(1)))) == [1, 9]


@pytest.mark.parametrize(
    "region",
    [
        None,
        {**drawn(keyframe(1)), "value": None},
        {**drawn(keyframe(1)), "id": None},
        {**drawn(keyframe(1)), "from_name": "gone"},
        {**drawn(keyframe(1)), "from_name": "state"},
        drawn(keyframe(1), label="bus"),
        drawn(),
        drawn(keyframe(0)),
        drawn({**keyframe(1), "frame": "1"}),
        drawn(keyframe(1, x=math.nan)),
        drawn(keyframe(1, width=0)),
        drawn(keyframe(1, width="wide")),
        drawn(keyframe(1, rotation="10")),
        {**drawn(), "value": {"labels": ["car"], "sequence": None}},
        {**drawn(), "value": {"labels": ["car"], "sequence": [None]}},
    ],
)
def test_what_is_broken_or_not_of_the_config_is_passed_over(region):
    assert read_tracks([region, drawn(keyframe(1), identity="whole")], CONFIG, VIDEO)[0].name == (
        "whole"
    )


def test_a_length_that_is_not_told_is_not_known():
    assert length_of({}) is None
    assert length_of({"framesCount": 0, "duration": 1}) is None
    assert length_of({"framesCount": 10, "duration": "1"}) is None


@pytest.mark.parametrize(("frames", "seconds"), [(0, 1.0), (10, 0.0), (10, math.nan)])
def test_a_clip_without_length_is_refused(frames, seconds):
    with pytest.raises(ValueError, match="frames_count, duration_s"):
        VideoLength(frames, seconds)


def test_nothing_to_write_is_an_empty_result():
    assert written() == []


def test_an_object_that_is_never_there_or_has_a_label_of_old_is_not_written():
    assert written(track(lambda _: None), track(label="bus")) == []


def test_a_still_object_needs_its_first_and_last_keyframe_only():
    (region,) = written(track())
    assert problems([region], CONFIG) == []
    assert frames_of(region) == [1, 50, 100]
    assert region["value"]["sequence"][0] == {
        "frame": 1, "time": 0.04, "enabled": True,
        "x": 10.0, "y": 20.0, "width": 10.0, "height": 30.0, "rotation": 0,
    }  # fmt: skip
    assert region["value"]["sequence"][-1]["enabled"]
    assert (region["value"]["framesCount"], region["value"]["duration"]) == (100, 4.0)
    assert region["value"]["labels"] == ["car"]
    assert (region["score"], region["meta"]) == (0.8, {"source": "sequence"})


def test_the_end_of_a_life_is_a_disabled_keyframe():
    def box_at(frame):
        return still(frame) if frame <= 30 or frame >= 50 else None

    (region,) = written(track(box_at, lives=((1, 28), (51,))))
    assert [(one["frame"], one["enabled"]) for one in region["value"]["sequence"]] == [
        (1, True), (28, True), (30, False), (50, True), (51, True), (100, True),
    ]  # fmt: skip


def test_an_object_of_one_frame_is_one_disabled_keyframe():
    (region,) = written(track(lambda frame: still(frame) if frame == 7 else None, lives=((7,),)))
    assert [(one["frame"], one["enabled"]) for one in region["value"]["sequence"]] == [(7, False)]
    assert problems([region], CONFIG) == []


def test_frames_that_people_drew_are_keyframes_also_on_a_straight_way():
    (region,) = written(track(lives=((10, 40, 77),)))
    assert frames_of(region) == [1, 10, 40, 77, 100]


def test_lives_that_meet_stay_two():
    (region,) = written(track(lives=((10,), (40,))))
    assert [(one["frame"], one["enabled"]) for one in region["value"]["sequence"]] == [
        (1, True), (10, True), (39, False), (40, True), (100, True),
    ]  # fmt: skip


def test_frames_behind_the_end_of_the_video_are_left_out():
    (region,) = written(track(lives=((10, 120), (130,))))
    assert frames_of(region) == [1, 10, 100]


def test_an_object_that_lives_behind_the_end_of_the_video_costs_the_others_nothing():
    (region,) = written(track(lives=((120, 130),)), track())
    assert frames_of(region) == [1, 50, 100]


def test_where_nothing_is_known_within_a_life_the_way_is_straight():
    def box_at(frame):
        return moved(np.float32(frame)) if frame in (10, 90) else None

    (region,) = written(track(box_at, lives=((10, 90),)))
    assert [(one["frame"], one["enabled"]) for one in region["value"]["sequence"]] == [
        (10, True), (90, False),
    ]  # fmt: skip


def test_of_a_long_way_only_some_places_are_looked_at():
    asked = []

    def box_at(frame):
        asked.append(frame)
        return still(frame) if 1 <= frame <= 100_000 else None

    long = VideoLength(100_000, 4000.0)
    (region,) = video_regions([track(box_at, lives=((1, 100_000),))], BOX, WHAT, long)
    assert frames_of(region) == [1, 100_000]
    assert len(asked) <= LOOKS + 2


@st.composite
def lives_of(draw):
    """Lives so short that each of their frames is looked at, with the frames drawn in them."""
    edges = sorted(draw(st.sets(st.integers(1, 100), min_size=1, max_size=6)))
    lives = []
    for first, behind in zip(edges, [*edges[1:], 101], strict=True):
        last = draw(st.integers(first, min(behind - 1, first + LOOKS)))
        inner = draw(st.sets(st.integers(first, last), max_size=3))
        lives.append(tuple(sorted({first, last} | inner)))
    return tuple(lives)


@given(lives_of(), st.lists(st.floats(0, 600), min_size=100, max_size=100))
def test_the_editor_shows_every_way_within_one_percent(lives, ways):
    there = {frame for life in lives for frame in range(life[0], life[-1] + 1)}

    def box_at(frame):
        return moved([ways[frame - 1], 0] * 2) if frame in there else None

    (region,) = written(track(box_at, lives=lives))
    assert problems([region], CONFIG) == []
    drawn_frames = {frame for life in lives for frame in life}
    for frame in range(1, 101):
        expected, box = box_at(frame), shown(region, frame)
        assert (box is None) == (expected is None), frame
        if box is not None:
            tolerance = 1e-3 if frame in drawn_frames else 1.001
            assert box[0] == pytest.approx(expected[0][0] / 10, abs=tolerance)


def test_what_was_written_is_read_back_as_the_same_keyframes():
    def box_at(frame):
        return moved([3 * frame, 0, 3 * frame, 0]) if frame > 20 else None

    regions = written(track(box_at, lives=((30, 60),), attributes={"state": ("moving", "gone")}))
    (back,) = read_tracks(regions, CONFIG, VIDEO)
    assert list(back.marks) == [20, 21, 30, 60, 100]
    assert back.marks[60].box_xyxy == pytest.approx(box_at(60)[0])
    assert back.marks[60].attributes == {"state": ("moving",)}


@given(st.lists(st.floats(-180, 180), min_size=3, max_size=3), st.booleans())
def test_turned_keyframes_come_back_as_they_were_drawn(turns, at_the_edge):
    x = 90 if at_the_edge else 40
    keyframes = [
        keyframe(frame, x=x, rotation=turn) for frame, turn in zip((10, 50, 90), turns, strict=True)
    ]
    (was,) = read_tracks([drawn(*keyframes)], CONFIG, VIDEO)

    def box_at(frame):
        mark = was.marks.get(frame)
        return None if mark is None else (mark.box_xyxy, mark.turn)

    (region,) = written(track(box_at, lives=((10, 50, 90),)))
    assert problems([region], CONFIG) == []
    for before, after in zip(keyframes, region["value"]["sequence"], strict=True):
        assert after["frame"] == before["frame"]
        for key in ("x", "y", "width", "height"):
            assert after[key] == pytest.approx(before[key], abs=0.01)
        apart = math.remainder(after["rotation"] - before["rotation"], 360)
        assert apart == pytest.approx(0, abs=1e-3)
    (back,) = read_tracks([region], CONFIG, VIDEO)
    assert back.marks[50].box_xyxy == pytest.approx(was.marks[50].box_xyxy, abs=0.1)


def test_the_editor_turns_a_box_the_short_way_round():
    def box_at(frame):
        return still(frame)[0], math.remainder(350 + frame / 2, 360)

    (region,) = written(track(box_at, lives=((1, 100),)))
    angles = [one["rotation"] for one in region["value"]["sequence"]]
    assert angles == sorted(angles)
    assert angles[-1] - angles[0] == pytest.approx(49.5)


def test_what_was_chosen_stands_under_the_same_id_without_the_labels():
    region, state = written(track(attributes={"state": ("moving",), "gone": ("x",)}))
    assert problems([region, state], CONFIG) == []
    assert (state["id"], state["type"], state["from_name"]) == (region["id"], "choices", "state")
    assert state["value"]["choices"] == ["moving"]
    told_again = {**state, "value": {**state["value"], "labels": ["car"]}}
    assert len(problems([region, told_again], CONFIG)) == 1


def test_a_project_without_labels_for_its_video_has_tracks_without():
    bare = parse(
        '<View><Video name="video" value="$v"/><VideoRectangle name="box" toName="video"/></View>'
    )
    (region,) = video_regions([track(label="")], bare.controls[0], None, LENGTH)
    assert "labels" not in region["value"]
    assert problems([region], bare) == []
    assert read_tracks([region], bare, bare.videos[0])[0].marks[1].label == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"framesCount": None}, "framesCount or duration"),
        ({"duration": 0}, "framesCount or duration"),
        ({"sequence": []}, "no keyframes"),
        ({"labels": ["bus"]}, "labels"),
        ({"labels": None}, "labels"),
        ({"sequence": [None]}, "keyframe None"),
        ({"sequence": [keyframe(0)]}, "keyframe 0"),
        ({"sequence": [keyframe(101)]}, "keyframe 101"),
        ({"sequence": [keyframe(1), keyframe(1)]}, "behind 1"),
        ({"sequence": [keyframe(1, x=-1.0)]}, "x -1.0"),
        ({"sequence": [keyframe(1, enabled=None)]}, "enabled"),
        ({"sequence": [keyframe(1, time=None)]}, "no time"),
        ({"sequence": [{"frame": 1, "time": 1.0, "enabled": True, "x": 1.0}]}, "no box"),
    ],
)
def test_a_track_that_the_editor_would_misdraw_is_found(change, reason):
    (region,) = written(track())
    wrong = {**region, "value": {**region["value"], **change}}
    assert any(reason in problem for problem in problems([wrong], CONFIG))
