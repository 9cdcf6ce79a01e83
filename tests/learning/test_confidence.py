"""The learner's confidence is the overlap that it reaches."""

import numpy as np
import pytest

from prelabel.geometry import pairwise_iou
from prelabel.learning import motion
from prelabel.learning.carry import Carrier
from prelabel.learning.frames import FrameKey
from prelabel.learning.samples import Samples
from prelabel.learning.sequence import Options, learn
from prelabel.learning.tracks import link

COUNT = 160
T = np.arange(COUNT)


def steady(chance):
    return 100 + 2 * T


def speeding_up(chance):
    return 50 + 0.015 * T**2


def still(chance):
    return np.full(COUNT, 300.0)


def stop_and_go(chance):
    return 60 + 3 * np.cumsum((T // 20) % 2)


def shaking(chance):
    return 300 + np.cumsum(chance.normal(0, 2, COUNT)).clip(-250, 250)


PATHS = {path.__name__: path for path in (steady, speeding_up, still, stop_and_go, shaking)}


def frames_and_truth(path, stride, jitter, mark, frame, seed):
    chance = np.random.default_rng(seed)
    x = path(chance).clip(0, 590)
    truth = np.stack([x, x * 0 + 100, x + 40, x * 0 + 180], 1).astype(np.float32)
    drawn = truth + chance.normal(0, jitter, truth.shape) * [40, 80, 40, 80]
    return truth, [
        frame(f, mark(drawn[f, 0], drawn[f, 1], size=np.maximum(drawn[f, 2:] - drawn[f, :2], 1)))
        for f in range(0, COUNT, stride)
    ]


@pytest.mark.parametrize("jitter", [0.0, 0.05])
@pytest.mark.parametrize("name", PATHS)
def test_what_is_claimed_is_reached(name, jitter, mark, frame):
    claimed, reached = [], []
    for stride in (2, 5, 10, 20):
        for seed in range(3):
            truth, frames = frames_and_truth(PATHS[name], stride, jitter, mark, frame, seed)
            learned = learn(frames, Options()).learned
            for index in range(COUNT):
                answer = learned.at(FrameKey("clip", index))
                if index % stride and answer and answer.carried:
                    (one,) = answer.carried
                    claimed.append(one.confidence)
                    overlap = pairwise_iou(one.mark.box_xyxy[None], truth[index][None])
                    reached.append(float(overlap[0, 0]))
    claimed, reached = np.array(claimed), np.array(reached)
    assert len(claimed) > 500
    assert reached.mean() >= claimed.mean() - 0.05
    sure = claimed >= 0.8
    assert not sure.any() or reached[sure].mean() >= 0.8


def expected(path, mode, at, mark, frame, *, stride=5, until=101, jitter=0.0):
    _, frames = frames_and_truth(path, stride, jitter, mark, frame, 0)
    frames = [one for one in frames if one.key.index < until]
    marks = [one.marks for one in frames]
    tracks = link([one.key.index for one in frames], marks, 1000)
    carried = Carrier(tracks, mode, 4, (480, 640), stride).carry(np.array(at))
    return carried.confidence


def test_confidence_falls_with_the_distance_past_an_end(mark, frame):
    falling = expected(shaking, "auto", [101, 103, 105], mark, frame)
    assert falling.tolist() == sorted(falling, reverse=True)


def test_confidence_is_highest_next_to_an_annotated_frame(mark, frame):
    chance = np.random.default_rng(7)
    path = 300 + np.cumsum(chance.normal(0, 3, 80))
    frames = [frame(f, mark(path[f])) for f in range(0, 80, 8)]
    clip = learn(frames, Options()).learned
    near, middle = (clip.at(FrameKey("clip", f)).carried[0].confidence for f in (33, 36))
    assert near > middle + 0.02


def test_a_jumpy_object_is_trusted_less_than_a_steady_one(mark, frame):
    assert expected(shaking, "auto", [52], mark, frame) < expected(
        steady, "auto", [52], mark, frame
    )


@pytest.mark.parametrize("jitter", [0.0, 0.05])
@pytest.mark.parametrize("stride", [1, 5, 10])
@pytest.mark.parametrize("name", PATHS)
def test_auto_is_about_as_good_as_the_best_mode(name, stride, jitter, mark, frame):
    reached = {"auto": [], "linear": [], "knn": [], "local_linear": []}
    for seed in range(3):
        truth, frames = frames_and_truth(PATHS[name], stride, jitter, mark, frame, seed)
        for end in np.random.default_rng(seed).integers(50, COUNT - 10, 5).tolist():
            seen = [one for one in frames if one.key.index <= end]
            tracks = link([one.key.index for one in seen], [one.marks for one in seen], 1000)
            last = seen[-1].key.index
            between = [index for index in range(last) if index % stride]
            asked = np.array([*between, *range(last + 1, last + 6)])
            for mode, ious in reached.items():
                carried = Carrier(tracks, mode, 4, (480, 640), stride).carry(asked)
                overlaps = pairwise_iou(carried.boxes_xyxy, truth[carried.frames]).diagonal()
                ious.append(float(overlaps.sum()) / len(asked))
    means = {mode: np.mean(ious) for mode, ious in reached.items()}
    assert means["auto"] >= max(means.values()) - 0.02


def test_of_two_samples_little_is_claimed(mark, frame):
    frames = [frame(0, mark(10)), frame(5, mark(20))]
    learned = learn(frames, Options(min_samples=1)).learned
    (between,) = learned.at(FrameKey("clip", 2)).carried
    assert 0.5 <= between.confidence <= 0.6


def test_mode_knn_and_the_closed_form_that_is_tried_out_agree(mark, frame):
    _, frames = frames_and_truth(shaking, 5, 0.0, mark, frame, 0)
    tracks = link([one.key.index for one in frames], [one.marks for one in frames], 1000)
    carrier = Carrier(tracks, "knn", 4, (480, 640), 5)
    asked = np.array([1, 7, 52, 158])
    window = Samples.of(tracks).look(np.zeros(4, np.int64), asked, 4)
    by_hand = motion.answers(window, motion.knn(window, 4), Samples.of(tracks).states)
    assert carrier.carry(asked).boxes_xyxy == pytest.approx(motion.boxes(by_hand), abs=1e-2)
