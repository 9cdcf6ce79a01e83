"""What a run leaves to do, and how to go on."""

from collections import Counter

import structlog

from prelabel.batch.feed import Feed
from prelabel.batch.push import Target
from prelabel.batch.selection import Mode, Selection
from prelabel.batch.summary import Counts
from prelabel.batch.words import counted
from prelabel.errors import PrelabelError
from prelabel.labelstudio_api import listing
from prelabel.labelstudio_api.predictions import holds
from prelabel.labelstudio_api.session import Json
from prelabel.store.journal import Journal, State

log = structlog.get_logger(__name__)


def tasks_left(
    target: Target, selection: Selection, journal: Journal, feed: Feed, counts: Counts
) -> int:
    """How many tasks of the selection have no prediction of this version, failures aside."""
    done = counts.predicted + counts.empty + counts.failed
    known = _known(journal)
    waiting = known[State.PREDICTED] + known[State.SENDING]
    if feed.is_complete and done >= feed.wanted and not waiting:
        return 0
    at_most = feed.most - done + waiting
    if selection.anew:
        return at_most
    more = (
        [_is_zero("total_annotations")] if selection.mode in (Mode.UNANNOTATED, Mode.KEEP) else []
    )
    more += [_is_zero("total_predictions")] if selection.mode is Mode.KEEP else []
    try:
        all_of = listing.count(target.studio, target.project, selection.which, *more)
        held = listing.count(
            target.studio, target.project, selection.which, *more, holds(target.version)
        )
    except PrelabelError as error:
        log.info("tasks left are not counted", reason=str(error))
        return at_most
    return max(all_of - held - known[State.FAILED], 0)


def how_to_go_on(
    counts: Counts, selection: Selection, *, is_dry: bool, is_cut_short: bool, lasting: int
) -> str:
    """What to do after a run; "" where nothing is left.

    Args:
        counts: What became of its tasks.
        selection: Which they were.
        is_dry: Whether nothing was pushed.
        is_cut_short: Whether it ended before its end.
        lasting: How many of the failures do not pass by themselves.
    """
    if is_dry:
        return "Nothing was pushed: look at the report, then run without --dry-run."
    left = f"{counted(counts.left, 'task')} left"
    steps = []
    if is_cut_short and counts.left:
        steps.append(f"{left}: run the same command again, it goes on where this one ended.")
    elif counts.left and selection.limit is not None:
        steps.append(
            f"{left}: run the same command again for the next {selection.limit}, or with the limit "
            "all."
        )
    if lasting:
        steps.append(
            f"{counted(lasting, 'task')} failed: mend what the reasons name, then run again with "
            "--retry-failed."
        )
    elif counts.failed and not steps:
        steps.append(f"{counted(counts.failed, 'task')} failed: the same command tries them again.")
    return " ".join(steps)


def _known(journal: Journal) -> Counter[State]:
    """How many tasks are in each state; nothing where the database is what ended the run."""
    try:
        return journal.counts()
    except PrelabelError as error:
        log.info("the journal is not counted", reason=str(error))
        return Counter()


def _is_zero(column: str) -> Json:
    name = f"filter:tasks:{column}"
    return {"filter": name, "operator": "equal", "type": "Number", "value": 0}
