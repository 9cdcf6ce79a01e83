"""Whether a new version of the learner may answer."""

import json

import numpy as np
import pytest

from prelabel.learning.gate import figures, judge
from prelabel.learning.hidden import hidden_in_turn
from prelabel.learning.sequence import Options, learn

EVERY_FIFTH = range(0, 100, 5)


def taught(frames, **options):
    return learn(frames, Options(**options)).learned


@pytest.fixture
def walking(mark, frame):
    def walk(frames=EVERY_FIFTH, sequence="clip", wrong=()):
        """Two objects; on wrong frames they were drawn somewhere else."""
        chance = np.random.default_rng(0)
        return [
            frame(f, mark(x, 100 + f), mark(x + 250, 300 - f), sequence=sequence)
            for f in frames
            for x in [chance.uniform(0, 300) if f in wrong else 60 + 2 * f]
        ]

    return walk


def verdict(new, old):
    return judge(new, taught(new), taught(old))


def test_the_first_version_is_accepted(walking):
    assert judge(walking(), taught(walking()), None).accepted


def test_the_same_annotations_are_accepted(walking):
    same = verdict(walking(), walking())
    assert (same.accepted, same.new_iou) == (True, same.old_iou)


def test_wrong_annotations_where_there_were_right_ones_are_refused(walking):
    refused = verdict(walking(wrong=range(20, 80, 10)), walking())
    assert not refused.accepted
    assert refused.new_iou < refused.old_iou - 0.02
    assert f"{refused.new_iou:.3f}" in refused.reason


def test_correcting_wrong_annotations_is_accepted(walking):
    corrected = verdict(walking(), walking(wrong=range(20, 80, 10)))
    assert corrected.accepted
    assert corrected.new_iou > corrected.old_iou + 0.1


def test_annotating_the_frames_between_is_accepted(walking):
    assert verdict(walking(range(0, 100, 2)), walking(range(0, 100, 10))).accepted


def test_annotating_another_harder_video_is_accepted(walking):
    hard = walking(sequence="hard", wrong=EVERY_FIFTH)
    both = verdict([*walking(), *hard], walking())
    assert both.accepted
    assert both.new_iou == both.old_iou


def test_deleting_frames_that_were_wrong_is_accepted(walking):
    wrong = range(20, 80, 15)
    right = [one for one in walking(wrong=wrong) if one.key.index not in wrong]
    assert verdict(right, walking(wrong=wrong)).accepted


def test_deleting_an_object_that_was_never_there_is_accepted(walking, frame):
    without = [frame(one.key.index, one.marks[0]) for one in walking()]
    deleted = verdict(without, walking())
    assert deleted.accepted
    assert deleted.old_iou < deleted.new_iou


@pytest.mark.parametrize("gone", [(13,), (13, 33), (12, 13, 48)])
def test_an_object_that_flickers_is_accepted(walking, frame, gone):
    flickers = [frame(f, walking([f])[0].marks[1]) for f in gone]
    assert verdict([*walking(), *flickers], walking()).accepted


def test_taking_a_wrong_mark_off_a_frame_is_accepted(walking, frame):
    frames = walking()
    corrected = [frame(f.key.index, f.marks[0]) if f.key.index == 20 else f for f in frames]
    assert verdict(corrected, frames).accepted


def test_saying_that_a_whole_video_shows_nothing_is_accepted(walking, frame):
    empty = [frame(f, sequence="empty") for f in EVERY_FIFTH]
    drawn = walking(sequence="empty")
    assert verdict([*walking(), *empty], [*walking(), *drawn]).accepted


def test_a_label_that_people_gave_up_is_not_held_against_the_new_version(walking, mark, frame):
    def relabelled(one):
        return frame(
            one.key.index, *(mark(m.box_xyxy[0], m.box_xyxy[1], label="hand") for m in one.marks)
        )

    assert verdict([relabelled(one) for one in walking()], walking()).accepted


def test_another_mode_that_does_worse_is_refused(walking):
    sparse = walking(range(0, 120, 10))
    assert not judge(sparse, taught(sparse, mode="knn"), taught(sparse)).accepted


def test_losing_most_of_the_right_annotations_is_refused(mark, frame):
    chance = np.random.default_rng(3)
    path = 300 + np.cumsum(chance.normal(0, 8, 200)).clip(-250, 250)
    frames = [frame(f, mark(path[f])) for f in range(0, 200, 2)]
    assert not verdict(frames[::8], frames).accepted


def test_figures_show_the_learner_beside_copying_and_interpolation(walking):
    report = figures(walking(), taught(walking()))
    assert json.loads(json.dumps(report)) == report
    for part in ("leave_one_out", "leave_a_gap_out"):
        learner, nearest, linear = (report[part][who] for who in ("learner", "nearest", "linear"))
        assert learner["marks"] == nearest["marks"] == 2 * 18
        assert (learner["found"], learner["missed"], learner["extra"]) == (36, 0, 0)
        assert learner["mean_iou"] >= linear["mean_iou"] - 0.01
        assert learner["mean_iou"] > nearest["mean_iou"] + 0.2
    assert sum(row["count"] for row in report["reliability"]) == 2 * 36


def test_centre_errors_are_in_pixels_and_in_percent_of_the_diagonal(mark, frame):
    frames = [frame(f, mark(100 + 8 * (f == 5))) for f in range(11)]
    nearest = figures(frames, taught(frames))["leave_one_out"]["nearest"]
    # Of nine frames that are asked for, frame 5 and the one that copies from it are 8 pixels off.
    assert nearest["centre_error_px"] == pytest.approx(16 / 9, abs=1e-3)
    assert nearest["centre_error_pct"] == pytest.approx(100 * 16 / 9 / 800, abs=1e-3)


def test_an_answer_where_nobody_drew_anything_is_extra(mark, frame):
    frames = [frame(f, mark(10), *([mark(400)] if f % 4 else [])) for f in range(20)]
    report = figures(frames, taught(frames))["leave_one_out"]
    assert report["nearest"]["extra"] > 0


@pytest.mark.parametrize("count", [1, 2])
def test_where_nothing_lies_between_annotated_frames_there_are_no_figures(mark, frame, count):
    frames = [frame(f, *(mark(x) for x in range(0, 600, 60))) for f in range(count)]
    report = figures(frames, taught(frames))
    assert report["leave_one_out"]["learner"]["mean_iou"] is None
    assert judge(frames, taught(frames), taught(frames)).accepted


@pytest.mark.parametrize("run", [1, 2])
def test_every_frame_between_has_its_turn_and_the_ends_never(walking, run):
    turns = hidden_in_turn(walking(), run)
    assert sorted(key.index for key in turns) == list(EVERY_FIFTH)[1:-1]
    hidden = [turns[key] for key in sorted(turns, key=lambda key: key.index)]
    assert all(hidden[place] != hidden[place + run] for place in range(len(hidden) - run))
