"""What a run says about how to go on."""

import pytest

from prelabel.batch.remaining import how_to_go_on
from prelabel.batch.selection import Selection
from prelabel.batch.summary import Counts

AGAIN = "run the same command again"


@pytest.mark.parametrize(
    ("counts", "limit", "is_cut_short", "lasting", "words"),
    [
        ({}, None, False, 0, ""),
        ({"left": 1}, None, True, 0, f"1 task left: {AGAIN}, it goes on where this one ended."),
        (
            {"left": 2000},
            50,
            False,
            0,
            f"2,000 tasks left: {AGAIN} for the next 50, or with the limit all.",
        ),
        ({"failed": 3}, None, False, 0, "3 tasks failed: the same command tries them again."),
        (
            {"failed": 3},
            None,
            False,
            1,
            "1 task failed: mend what the reasons name, then run again with --retry-failed.",
        ),
    ],
)
def test_a_run_says_how_many_tasks_are_left_and_what_to_do(
    counts, limit, is_cut_short, lasting, words
):
    chosen = Selection(limit=limit)
    said = how_to_go_on(
        Counts(**counts), chosen, is_dry=False, is_cut_short=is_cut_short, lasting=lasting
    )
    assert said == words
