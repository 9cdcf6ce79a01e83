"""What a run adds up, in memory that does not grow."""

from collections import Counter

from prelabel.batch.summary import Counts
from prelabel.batch.tally import MOST_FAILURES, Tally
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Prediction
from prelabel.store.journal import Failed


def prediction(*scores):
    regions = [
        {"type": "rectanglelabels", "score": score, "value": {"rectanglelabels": ["cat"]}}
        for score in scores
    ]
    mean = sum(scores) / len(scores) if scores else 0.0
    return Prediction(regions, mean, "v")


def filled(tally, scores):
    for number, score in enumerate(scores, 1):
        tally.predicted(Task(id=number), prediction(score))
    return tally


def test_a_tally_of_nothing_is_all_zero(tally):
    assert tally.counts() == Counts()
    assert tally.samples() == {"surest": (), "least_sure": (), "empty": ()}


def test_found_and_empty_are_told_apart(tally):
    tally.predicted(Task(id=1), prediction(0.5, 0.7))
    tally.predicted(Task(id=2), prediction())
    counts = tally.counts(left=4)
    assert (counts.predicted, counts.empty, counts.left) == (1, 1, 4)
    assert tally.labels == {"cat": 2}
    assert [sample.task_id for sample in tally.samples()["empty"]] == [2]


def test_the_surest_and_the_least_sure_are_kept_in_order(tally):
    samples = filled(tally, [n / 100 for n in range(100)]).samples()
    assert [sample.task_id for sample in samples["surest"]] == list(range(100, 88, -1))
    assert [sample.task_id for sample in samples["least_sure"]] == list(range(1, 13))


def test_of_very_many_scores_a_fair_sample_is_kept():
    scores = filled(Tally(), [n / 10_000 for n in range(10_000)]).scores()["cat"]
    assert len(scores) == 2000
    assert 0.47 < sum(scores) / len(scores) < 0.53


def test_choices_are_no_regions_of_their_own(tally):
    choice = {"type": "choices", "value": {"choices": ["hand"]}}
    tally.predicted(Task(id=1), Prediction([choice], 0.5, "v"))
    assert tally.labels == {}


def test_all_failures_are_counted_and_the_last_ones_kept(tally):
    for number in range(MOST_FAILURES + 5):
        tally.failed(Failed(number, "ImageUnreachable", "gone", retry=False))
    assert tally.counts().failed == MOST_FAILURES + 5
    assert tally.failure_kinds == {"ImageUnreachable": MOST_FAILURES + 5}
    assert len(tally.failures) == MOST_FAILURES


def test_skipped_tasks_are_counted_by_reason(tally):
    tally.skip(Counter(there=3))
    tally.skip(Counter(there=1, annotated=1))
    assert tally.counts().skipped == 5
    assert tally.skipped == {"there": 4, "annotated": 1}
