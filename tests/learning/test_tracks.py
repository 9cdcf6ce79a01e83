"""Objects followed over annotated frames."""

import pytest

from prelabel.learning.tracks import link, reach


def lines(tracks):
    return [[(int(f), float(b[0])) for f, b in zip(t.frames, t.boxes_xyxy, strict=True)]
            for t in tracks]  # fmt: skip


def test_no_frames_make_no_tracks():
    assert link([], [], 10) == []
    assert link([1, 2], [[], []], 10) == []


def test_two_objects_that_pass_each_other_keep_their_identity(mark):
    frames = list(range(0, 50, 5))
    marks = [[mark(100 + 5 * f), mark(350 - 5 * f, 110)] for f in frames]
    tracks = link(frames, marks, 15)
    assert lines(tracks) == [
        [(f, 100.0 + 5 * f) for f in frames],
        [(f, 350.0 - 5 * f) for f in frames],
    ]


def test_an_object_is_expected_where_it_would_be_if_it_moved_on(mark):
    frames = list(range(0, 30, 5))  # on one line: where one was, the other is next
    marks = [[mark(100 + 8 * f), mark(300 - 8 * f)] for f in frames]
    assert lines(link(frames, marks, 15)) == [
        [(f, 100.0 + 8 * f) for f in frames],
        [(f, 300.0 - 8 * f) for f in frames],
    ]


def test_a_frame_without_the_object_ends_its_track(mark):
    (first, second) = link([0, 1, 2, 3, 4], [[mark(10)], [mark(10)], [], [mark(10)], []], 10)
    assert (first.frames.tolist(), first.absent_before, first.absent_after) == ([0, 1], None, 2)
    assert (second.frames.tolist(), second.absent_before, second.absent_after) == ([3], 2, 4)


def test_a_track_does_not_cross_a_long_gap(mark):
    assert len(link([0, 1, 2, 50], [[mark(10)]] * 4, 8)) == 2


def test_names_that_people_gave_are_trusted_over_any_distance(mark):
    marks = [
        [mark(10, track="a"), mark(300, track="b")],
        [mark(10, track="b"), mark(300, track="a")],
    ]
    tracks = link([0, 900], marks, 8)
    assert [track.name for track in tracks] == ["a", "b"]
    assert lines(tracks)[0] == [(0, 10.0), (900, 300.0)]


def test_a_name_that_two_marks_of_a_frame_carry_says_nothing(mark):
    marks = [[mark(10, track="a"), mark(300, track="a")]] * 2
    assert lines(link([0, 1], marks, 8)) == [[(0, 10.0), (1, 10.0)], [(0, 300.0), (1, 300.0)]]


def test_another_body_part_is_rather_another_object(mark):
    def hand(x):
        return mark(x, attributes={"body_part": ("hand",)})

    def face(x):
        return mark(x, attributes={"body_part": ("face",)})

    tracks = link([0, 1], [[hand(100), face(115)], [face(104), hand(111)]], 8)
    assert lines(tracks) == [[(0, 100.0), (1, 111.0)], [(0, 115.0), (1, 104.0)]]


def test_an_object_elsewhere_is_another_one(mark):
    assert len(link([0, 1], [[mark(10)], [mark(400)]], 8)) == 2


@pytest.mark.parametrize(
    ("frames", "stride", "usual"),
    [([], 1.0, 1), ([7], 1.0, 1), ([0, 5, 10, 15], 5.0, 5), ([0, 9, 18, 19], 9.0, 9),
     ([0, 1, 2, 30, 31, 32, 60], 1.0, 10)],
)  # fmt: skip
def test_the_reach_follows_the_usual_distance_between_annotated_frames(frames, stride, usual):
    assert reach(frames) == (stride, 8 * usual)


def test_the_jitter_of_two_neighbouring_frames_throws_nobody_off_before_a_long_gap(mark):
    frames = [0, 1, 2, 3, 30, 31, 32, 33]
    shake = [0, 3, 0, 6, 0, 3, 0, 6]  # pixels; 6 of them a frame would be 162 over the gap
    marks = [[mark(100 + s), mark(260 + s)] for s in shake]
    assert [len(track) for track in link(frames, marks, 40)] == [8, 8]
