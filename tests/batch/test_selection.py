"""Which tasks are predicted, for each way to treat what is there already."""

import pytest

from prelabel.batch.selection import (
    FAILED_BEFORE,
    HAS_ANNOTATION,
    HAS_ANYTHING,
    HAS_VERSION,
    WAITS,
    Mode,
    Selection,
    choose,
)
from prelabel.labelstudio_api.listing import Listed
from prelabel.store.journal import Entry, State

BARE = Listed(1, 1, {}, 0, 0)
ANNOTATED = Listed(1, 1, {}, 1, 0)
PREDICTED = Listed(1, 1, {}, 0, 1)
WANTED = None


def reason(task, selection, *, held=False, entry=None, anew_since=None):
    entries = {task.id: entry} if entry else {}
    choice = choose([task], selection, {task.id} if held else set(), entries, anew_since)
    assert len(choice.wanted) + choice.skipped.total() == 1
    return next(iter(choice.skipped), None)


def test_of_no_tasks_none_is_wanted():
    choice = choose([], Selection(), set(), {}, None)
    assert (choice.wanted, choice.skipped) == ([], {})


@pytest.mark.parametrize(
    ("mode", "task", "held", "expected"),
    [
        (Mode.MISSING, BARE, False, WANTED),
        (Mode.MISSING, ANNOTATED, False, WANTED),
        (Mode.MISSING, PREDICTED, False, WANTED),
        (Mode.MISSING, PREDICTED, True, HAS_VERSION),
        (Mode.UNANNOTATED, BARE, False, WANTED),
        (Mode.UNANNOTATED, ANNOTATED, False, HAS_ANNOTATION),
        (Mode.UNANNOTATED, PREDICTED, False, WANTED),
        (Mode.UNANNOTATED, PREDICTED, True, HAS_VERSION),
        (Mode.KEEP, BARE, False, WANTED),
        (Mode.KEEP, ANNOTATED, False, HAS_ANYTHING),
        (Mode.KEEP, PREDICTED, False, HAS_ANYTHING),
        (Mode.REPLACE, PREDICTED, False, WANTED),
        (Mode.REPLACE, PREDICTED, True, HAS_VERSION),
    ],
)
def test_what_a_task_holds_decides(mode, task, held, expected):
    assert reason(task, Selection(mode=mode), held=held) == expected


@pytest.mark.parametrize("state", [State.PREDICTED, State.SENDING])
@pytest.mark.parametrize("anew", [False, True])
def test_what_an_earlier_run_predicted_is_not_predicted_again(state, anew):
    entry = Entry(state, 100.0, retry=False)
    assert reason(BARE, Selection(anew=anew), entry=entry) == WAITS


def test_what_label_studio_holds_counts_not_what_the_journal_remembers():
    pushed = Entry(State.PUSHED, 100.0, retry=False)
    assert reason(BARE, Selection(), entry=pushed) is WANTED


@pytest.mark.parametrize(
    ("retry", "retry_failed", "expected"),
    [(True, False, WANTED), (False, False, FAILED_BEFORE), (False, True, WANTED)],
)
def test_failures_that_do_not_pass_by_themselves_wait_to_be_asked_for(
    retry, retry_failed, expected
):
    failed = Entry(State.FAILED, 100.0, retry=retry)
    assert reason(BARE, Selection(retry_failed=retry_failed), entry=failed) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, WANTED),
        (Entry(State.PUSHED, 99.0, retry=False), WANTED),
        (Entry(State.PUSHED, 101.0, retry=False), HAS_VERSION),
    ],
)
def test_predicting_anew_goes_on_where_it_was_interrupted(entry, expected):
    selection = Selection(anew=True)
    assert reason(PREDICTED, selection, held=True, entry=entry, anew_since=100.0) == expected
