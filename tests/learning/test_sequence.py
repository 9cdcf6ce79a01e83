"""What the learner makes of annotated frames, and what it answers for the others."""

import math
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prelabel.geometry import around_turned, clip_boxes
from prelabel.learning.carry import Carrier
from prelabel.learning.clip import Clip
from prelabel.learning.frames import FrameKey
from prelabel.learning.gate import figures, judge
from prelabel.learning.sequence import Learned, Options, learn
from prelabel.learning.tracks import Track


def taught(frames, **options):
    learned = learn(frames, Options(**options)).learned
    assert learned is not None
    return learned


def tracks(learned):
    clip = Clip(learned.frames, learned.kinds["clip"], learned.options)
    return [track for carrier in clip.carriers for track in carrier.tracks]


def left_edges(answer):
    return [round(float(one.mark.box_xyxy[0]), 2) for one in answer.carried]


@pytest.fixture
def walking(mark, frame):
    """Every fifth frame, with somebody who goes 2 pixels a frame."""
    return [frame(f, mark(100 + 2 * f), drawn=b"[%d]" % f) for f in range(0, 60, 5)]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_samples_are_an_answer_and_no_error(mark, frame, count):
    lesson = learn([frame(f, mark(10)) for f in range(count)], Options())
    assert (lesson.learned, lesson.sample_count, lesson.required_samples) == (None, count, 8)
    assert lesson.warnings == ()


def test_samples_are_counted_per_sequence_and_label(mark, frame):
    frames = [frame(f, mark(10), mark(200, label="other"), sequence=s)
              for s in ("a", "b") for f in range(6)]  # fmt: skip
    assert learn(frames, Options()).sample_count == 6


@pytest.mark.parametrize("mode", ["auto", "linear", "local_linear", "knn"])
def test_an_annotated_frame_is_what_people_drew_there(walking, mode):
    answer = taught(walking, mode=mode).at(FrameKey("clip", 20))
    assert answer.drawn == b"[20]"
    assert answer.image_hw == (480, 640)
    assert [one.mark for one in answer.carried] == list(walking[4].marks)
    assert [one.confidence for one in answer.carried] == [1.0]


def test_the_frames_between_are_filled_in(walking):
    learned = taught(walking)
    for index in (1, 22, 54):
        answer = learned.at(FrameKey("clip", index))
        assert answer.drawn is None
        assert left_edges(answer) == [100 + 2 * index]
        assert answer.carried[0].confidence > 0.9


def test_five_frames_past_an_end_are_filled_in_and_no_more(walking):
    learned = taught(walking)
    assert left_edges(learned.at(FrameKey("clip", 60))) == [220.0]
    assert learned.at(FrameKey("clip", 61)) is None


def test_an_unknown_sequence_has_no_answer(walking):
    learned = taught(walking)
    assert learned.at(FrameKey("other", 5)) is None


def test_between_empty_frames_people_say_that_nothing_is_there(walking, frame):
    learned = taught([*walking, frame(60), frame(65), frame(70)])
    assert learned.at(FrameKey("clip", 67)).carried == ()
    assert learned.at(FrameKey("clip", 65)).drawn == b"[]"
    assert learned.at(FrameKey("clip", 71)) is None


def test_what_was_refused_is_shown_on_its_own_frame_and_carried_nowhere(walking, mark, frame):
    learned = taught(walking)
    moved = frame(20, mark(400), drawn=b"[400]")
    kept = [one for one in walking if one.key.index not in (20, 40)]
    showing = learned.showing([*kept, moved])
    assert showing.digest != learned.digest
    assert showing.at(FrameKey("clip", 20)).drawn == b"[400]"
    assert showing.at(FrameKey("clip", 40)) is None, "nobody annotates it any more"
    for index in (19, 21, 39):
        assert left_edges(showing.at(FrameKey("clip", index))) == [100 + 2 * index]


def test_a_sequence_that_nobody_annotates_any_more_is_forgotten(walking):
    showing = taught(walking).showing([])
    assert all(showing.at(FrameKey("clip", index)) is None for index in range(60))


def test_what_is_shown_already_makes_no_other_learner(walking):
    learned = taught(walking)
    assert learned.showing(list(reversed(walking))).digest == learned.digest


def test_no_side_becomes_more_than_twice_the_longest_drawn(mark, frame):
    sides = dict.fromkeys([*range(0, 50, 5), 54], 20) | {55: 60}
    frames = [frame(n, mark(100, size=(s, s))) for n, s in sides.items()]
    x1, y1, x2, y2 = taught(frames, mode="linear").at(FrameKey("clip", 60)).carried[0].mark.box_xyxy
    assert (x2 - x1, y2 - y1) == pytest.approx((120, 120), rel=1e-4)


def test_an_object_fades_towards_the_frame_on_which_it_is_gone(walking, frame):
    learned = taught([*walking, frame(65)])
    confidences = [learned.at(FrameKey("clip", f)).carried[0].confidence for f in (56, 57, 58)]
    assert confidences == sorted(confidences, reverse=True)
    assert learned.at(FrameKey("clip", 63)) is None
    assert learned.at(FrameKey("clip", 65)).carried == ()


def test_a_track_does_not_cross_a_frame_without_the_object(walking, frame):
    frames = [frame(20) if one.key.index == 20 else one for one in walking]
    learned = taught(frames)
    assert [track.frames[[0, -1]].tolist() for track in tracks(learned)] == [[0, 15], [25, 55]]
    assert learned.at(FrameKey("clip", 19)) is None
    assert learned.at(FrameKey("clip", 21)) is None


def test_between_a_few_frames_here_and_a_few_there_objects_are_filled_in(mark, frame):
    few = [start + step for start in (0, 40, 80) for step in range(4)]
    learned = taught([frame(f, mark(100 + 2 * f), mark(500 - 2 * f, 300)) for f in few])
    assert [len(track) for track in tracks(learned)] == [12, 12]
    for index in (20, 60):
        assert sorted(left_edges(learned.at(FrameKey("clip", index)))) == pytest.approx(
            sorted([100 + 2 * index, 500 - 2 * index]), abs=1
        )


def test_a_lone_sample_is_copied_over_two_frames(walking, mark, frame):
    frames = [*walking, frame(60, mark(220), mark(500, 300))]
    learned = taught(frames)
    assert left_edges(learned.at(FrameKey("clip", 62))) == [224.0, 500.0]
    assert left_edges(learned.at(FrameKey("clip", 63))) == [226.0]


def test_a_label_with_too_few_samples_is_not_carried_but_known_where_it_was_drawn(
    walking, mark, frame
):
    frames = [*walking[:-1], frame(55, mark(210), mark(20, label="rare"))]
    learned = taught(frames)
    assert [m.mark.label for m in learned.at(FrameKey("clip", 56)).carried] == ["distortion"]
    assert len(learned.at(FrameKey("clip", 55)).carried) == 2


def test_two_videos_under_one_name_are_left_out_with_a_word_on_what_to_do(walking, mark, frame):
    other = [frame(f, mark(10), sequence="mixed") for f in (0, 1, 1, 2)]
    lesson = learn([*walking, *other], Options())
    (warning,) = lesson.warnings
    assert "'mixed'" in warning
    assert "`video`" in warning
    assert list(lesson.learned.sequences) == ["clip"]


def test_the_order_of_the_frames_does_not_matter(walking):
    assert taught(walking).digest == taught(walking[::-1]).digest


def test_the_digest_tells_what_was_drawn_and_how_it_was_learnt(walking, mark, frame):
    moved = [*walking[:-1], frame(55, mark(211), drawn=b"[55]")]
    versions = [walking, moved, [*walking, frame(60)]]
    digests = [taught(version).digest for version in versions]
    assert len({*digests, taught(walking, mode="linear").digest}) == 4


def test_most_samples_say_what_an_attribute_is_and_the_nearest_where_they_are_even(mark, frame):
    parts = ["hand"] * 5 + ["face"] * 5
    frames = [frame(f, mark(10, attributes={"body_part": (part,)}))
              for f, part in zip(range(0, 50, 5), parts, strict=True)]  # fmt: skip
    said = [
        taught(frames).at(FrameKey("clip", at)).carried[0].mark.attributes for at in (2, 18, 23, 44)
    ]
    assert said == [{"body_part": (part,)} for part in ("hand", "hand", "face", "face")]
    third = taught([*frames, frame(50, mark(10, attributes={"body_part": ("hand",)}))])
    assert third.at(FrameKey("clip", 49)).carried[0].mark.attributes == {"body_part": ("hand",)}


def test_frames_of_another_size_are_scaled(mark, frame):
    frames = [frame(f, mark(100 + 2 * f)) for f in range(0, 50, 5)]
    small = mark(70, 50, size=(20, 40))
    frames[4] = frame(20, small, image_hw=(240, 320))
    learned = taught(frames)
    answer = learned.at(FrameKey("clip", 18))
    assert (answer.image_hw, left_edges(answer)) == ((480, 640), [136.0])
    known = learned.at(FrameKey("clip", 20))
    assert (known.image_hw, known.carried[0].mark) == ((240, 320), small)


def test_a_box_is_cut_to_the_image_and_gone_when_it_has_left_it(mark, frame):
    frames = [frame(f, mark(500 + 10 * f)) for f in range(11)]
    learned = taught(frames)
    box = learned.at(FrameKey("clip", 12)).carried[0].mark.box_xyxy
    assert box.tolist() == pytest.approx([620, 100, 640, 180], abs=0.1)
    assert learned.at(FrameKey("clip", 15)) is None


def test_a_point_is_carried_where_it_is_seen_on_the_frames_around(mark, frame):
    def person(f):
        points = np.array([[100 + 2 * f, 110], [105 + 2 * f, 150]], np.float32)
        return mark(100 + 2 * f, points_xy=points, points_seen=np.array([True, f < 25]))

    learned = taught([frame(f, person(f)) for f in range(0, 60, 5)])
    both, one = (learned.at(FrameKey("clip", at)).carried[0].mark for at in (17, 22))
    assert both.points_seen.tolist() == [True, True]
    assert both.points_xy.ravel().tolist() == pytest.approx([134, 110, 139, 150], abs=0.01)
    assert one.points_seen.tolist() == [True, False]
    assert one.points_xy[0].tolist() == pytest.approx([144, 110], abs=0.01)


def test_timestamps_in_microseconds_are_frame_numbers_too(mark, frame):
    start = 1_700_000_000_000_000
    frames = [frame(start + 40_000 * f, mark(100 + f), mark(300, 300)) for f in range(0, 60, 5)]
    learned = taught(frames)
    assert sorted(left_edges(learned.at(FrameKey("clip", start + 40_000 * 7)))) == [107.0, 300.0]


def test_two_controls_never_share_a_track(mark, frame):
    frames = [frame(f, mark(10, control="box" if f % 2 else "point")) for f in range(20)]
    learned = taught(frames)
    assert {len(track) for track in tracks(learned)} == {1}


def test_threads_may_ask_at_once(walking):
    learned = taught(walking)
    keys = [FrameKey("clip", f) for f in range(60)] * 5
    with ThreadPoolExecutor(8) as pool:
        together = [left_edges(answer) for answer in pool.map(learned.at, keys)]
    assert together == [left_edges(learned.at(key)) for key in keys]


def test_what_is_carried_to_many_frames_at_once_is_what_is_carried_to_each(mark, frame):
    frames = [frame(f, mark(100 + 2 * f), *([mark(500, 300)] if f % 15 == 0 else ()))
              for f in range(0, 60, 5)]  # fmt: skip
    clip = Clip(frames, [("label", "distortion")], Options())
    asked = np.array([f for f in range(70, -5, -1) if f % 5])
    (carrier,) = clip.carriers
    together = carrier.carry(asked)
    told = list(zip(together.frames.tolist(), together.tracks.tolist(), strict=True))
    assert told == sorted(told)
    apart = [carrier.carry(asked[[place]]) for place in np.argsort(asked)]
    for name in ("frames", "tracks", "boxes_xyxy", "confidence", "rules"):
        alone = np.concatenate([getattr(one, name) for one in apart])
        assert np.allclose(getattr(together, name), alone), name
    assert len(told) > len(asked)


def test_memory_does_not_grow_with_frames_times_tracks():
    tracks = [
        Track("label", "distortion", np.array([f]), np.array([[0, 0, 9, 9]], np.float32),
              np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), bool), ({},), np.zeros(1))
        for f in range(0, 30_000, 10)
    ]  # fmt: skip
    carrier = Carrier(tracks, "auto", 4, (480, 640), 10.0)
    tracemalloc.start()
    try:
        carried = carrier.carry(np.arange(5, 30_000, 10))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(carried.tracks) == 0
    assert peak < 8 * len(tracks) ** 2 / 10, "a tenth of one table of frames and tracks"


BOXES = st.tuples(st.floats(0, 600), st.floats(0, 440), st.floats(1, 300), st.floats(1, 300))
TURNS = st.just(0.0) | st.floats(-180, 180)
CLIPS = st.dictionaries(
    st.integers(0, 40),
    st.lists(st.tuples(BOXES, st.sampled_from(["", "a", "b"]), st.booleans(), TURNS), max_size=3),
    min_size=1, max_size=10,
)  # fmt: skip


def upright_within(mark):
    return clip_boxes(around_turned(mark.box_xyxy[None], mark.turn), (480, 640))[0]


def test_a_turned_box_is_carried_at_the_angle_between_the_short_way_round(mark, frame):
    frames = [frame(10 * n, mark(100 + 10 * n, turn=t)) for n, t in enumerate([170, -170, -150])]
    learned = taught(frames, min_samples=3)
    (between,) = learned.at(FrameKey("clip", 5)).carried
    assert math.remainder(between.mark.turn, 360) == pytest.approx(180)
    assert between.mark.box_xyxy == pytest.approx([105, 100, 145, 180], abs=1)
    (past,) = learned.at(FrameKey("clip", 22)).carried
    assert math.remainder(past.mark.turn, 360) == pytest.approx(-150)


def test_a_turned_box_at_the_edge_is_not_cut(mark, frame):
    """A cut of the box turned back would move edges that lie inside the image."""
    tall = {"size": (20.0, 400.0), "turn": 90.0}  # lies flat, from 120 to 520, at y 80
    learned = taught([frame(10 * n, mark(310, -120, **tall)) for n in range(3)], min_samples=3)
    (carried,) = learned.at(FrameKey("clip", 5)).carried
    assert carried.mark.box_xyxy.tolist() == [310, -120, 330, 280]
    assert upright_within(carried.mark).tolist() == pytest.approx([120, 70, 520, 90])


@settings(max_examples=60, deadline=None)  # the first use of scikit-learn imports it
@given(clip=CLIPS, mode=st.sampled_from(["auto", "linear", "knn", "local_linear"]))
def test_whatever_people_draw_answers_are_boxes_inside_the_image(mark, frame, clip, mode):
    def one(box, track, seen, turn):
        points = np.array([[box[0], box[1]]], np.float32)
        return mark(
            box[0],
            box[1],
            size=box[2:],
            track=track,
            points_xy=points,
            points_seen=np.array([seen]),
            turn=turn,
        )

    frames = [frame(f, *(one(*drawn) for drawn in marks)) for f, marks in clip.items()]
    learned = Learned(frames, Options(mode, min_samples=1))
    for index in range(50):
        answer = learned.at(FrameKey("clip", index))
        for carried in answer.carried if answer and answer.drawn is None else ():
            x1, y1, x2, y2 = carried.mark.box_xyxy
            if carried.mark.turn:  # it is not cut, but shows
                x1, y1, x2, y2 = upright_within(carried.mark)
            assert 0 <= x1 < x2 <= 640
            assert 0 <= y1 < y2 <= 480
            assert 0.5 <= carried.confidence <= 1
    report = figures(frames, learned)
    assert report["leave_one_out"]["learner"]["extra"] >= 0
    assert judge(frames, learned, learned).accepted
