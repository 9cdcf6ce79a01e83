"""The benchmark on the real tracks holds what the documentation promises."""

from importlib.util import find_spec

import numpy as np
import pytest

from prelabel.benchmarks import sequence
from prelabel.benchmarks.tracks import VIDEOS, read_walks

pytestmark = pytest.mark.skipif(
    find_spec("motmetrics") is None,
    reason="the tracks are in the wheel of motmetrics; pip install --no-deps motmetrics",
)


@pytest.mark.parametrize("video", VIDEOS)
def test_auto_is_within_two_hundredths_of_the_best_column(video, monkeypatch):
    monkeypatch.setattr(sequence, "SEEDS", 1)
    walks = read_walks(video)
    sure = []
    for scene, jittered in (("every 5", False), ("every 10", True), ("all, past", True)):
        row = sequence.measure(walks, scene, jittered=jittered)
        iou = {name: float(np.mean(row.iou[name])) for name in sequence.COLUMNS}
        f1 = {name: 2 * met / (said + there) for name, (met, said, there) in row.hits.items()}
        assert iou["auto"] >= max(iou.values()) - 0.02, scene
        assert f1["auto"] >= max(f1.values()) - 0.02, scene
        sure += [reached for confidence, reached in row.sure if confidence >= 0.8]
    assert len(sure) > 100
    assert np.mean(sure) >= 0.7


def test_the_tracks_are_those_of_the_published_annotation():
    walks = [read_walks(video) for video in VIDEOS]
    assert [len(people) for people in walks] == [8, 10]
    assert [sum(len(walk.frames) for walk in people) for people in walks] == [359, 1156]
