"""The rules by which a track is carried."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsRegressor

from prelabel.learning import motion


def window(frames, at, per_side=8):
    frames, at = np.array(frames, np.int64), np.atleast_1d(np.array(at, np.int64))
    everything = np.zeros(len(at), np.int64), np.full(len(at), len(frames))
    return motion.look(frames, at, (at - 1, at + 1), everything, per_side)


def answer(rule, frames, samples, at):
    seen = window(frames, at)
    return motion.answers(seen, rule(seen), np.array(samples, float)[:, None])[0, 0]


def knn(seen):
    return motion.knn(seen, 4)


def local_linear(seen):
    return motion.local_linear(seen, 4)


RULES = (motion.copy, motion.linear, knn, local_linear)


@pytest.mark.parametrize("rule", RULES)
def test_of_one_sample_every_rule_makes_a_copy(rule):
    assert answer(rule, [3], [7.0], 5) == pytest.approx(7.0)


@pytest.mark.parametrize("rule", RULES)
@given(frames=st.sets(st.integers(0, 60), min_size=1, max_size=12), at=st.integers(-5, 65))
def test_the_weights_of_a_query_add_up_to_one(rule, frames, at):
    seen = window(sorted(frames - {at}) or [at + 1], at)
    assert rule(seen).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("frames", "at", "expected"),
    [([0, 10], 4, 4.0), ([0, 10, 12], 4, 4.0), ([0, 1, 3], 6, 6.0), ([4, 5], 1, 1.0)],
)
def test_linear_stays_on_the_line_between_samples_and_past_them(frames, at, expected):
    assert answer(motion.linear, frames, frames, at) == pytest.approx(expected)


@given(
    slope=st.floats(-5, 5), frames=st.sets(st.integers(0, 60), min_size=2, max_size=12),
    at=st.integers(-5, 65),
)  # fmt: skip
def test_local_linear_finds_a_straight_line_again(slope, frames, at):
    frames = sorted(frames - {at})
    if len(frames) > 1:
        samples = [slope * frame for frame in frames]
        assert answer(local_linear, frames, samples, at) == pytest.approx(slope * at, abs=1e-6)


@given(frames=st.sets(st.integers(0, 100), min_size=1, max_size=12), at=st.integers(-5, 105))
def test_knn_is_the_regressor_of_scikit_learn(frames, at):
    frames = np.array(sorted(frames - {at}) or [at + 1])
    away = np.abs(frames - at)
    k = min(4, len(frames))
    if k < len(frames) and np.sort(away)[k - 1] == np.sort(away)[k]:
        return  # which of two equally far neighbours counts, scikit-learn leaves open
    samples = np.sin(frames) * 10
    reference = KNeighborsRegressor(k, weights="distance").fit(frames[:, None], samples)
    assert answer(knn, frames, samples, at) == pytest.approx(reference.predict([[at]])[0])


def test_samples_are_looked_at_nearest_first_and_the_earlier_of_two():
    seen = window([0, 4, 8, 20], 6)
    assert seen.offsets[0].tolist()[:4] == [-2.0, 2.0, -6.0, 14.0]
    assert seen.present.sum() == 4


def test_states_are_the_boxes_again():
    boxes = np.array([[1.0, 2.0, 5.0, 9.0], [0.0, 0.0, 300.0, 1.0]])
    assert motion.boxes(motion.states(boxes)) == pytest.approx(boxes)
