"""Which tasks of a project a run is to predict, and why the others need nothing."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from prelabel.labelstudio_api.listing import Listed, Which
from prelabel.store.journal import Entry, State


class Mode(StrEnum):
    """What is done with tasks that hold something already."""

    MISSING = "missing"
    UNANNOTATED = "only-unannotated"
    KEEP = "keep"
    REPLACE = "replace"


HAS_VERSION = "holds a prediction of this model version"
HAS_ANNOTATION = "is annotated (--only-unannotated)"
HAS_ANYTHING = "holds a prediction or an annotation (--keep)"
WAITS = "was predicted by an earlier run, which this one ends"
FAILED_BEFORE = "failed before; --retry-failed tries again"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks are to be predicted.

    Attributes:
        which: Which tasks are looked at.
        limit: Most tasks to predict; None for all.
        mode: What is done with tasks that hold something already. MISSING predicts whatever has no
            prediction of this model version; UNANNOTATED of these only what nobody annotated; KEEP
            only what holds neither predictions nor annotations; REPLACE like MISSING, and the new
            prediction takes the place of those of other versions.
        anew: Predict tasks that hold this model version, too; the new prediction takes the place
            of the old one.
        retry_failed: Try tasks again that failed for a reason which does not pass by itself.
    """

    which: Which = field(default_factory=Which)
    limit: int | None = None
    mode: Mode = Mode.MISSING
    anew: bool = False
    retry_failed: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be done with a page of tasks.

    Attributes:
        wanted: To be predicted.
        skipped: How many are not, by reason.
    """

    wanted: list[Listed]
    skipped: Counter[str]


def choose(
    page: Sequence[Listed],
    selection: Selection,
    held: Container[int],
    entries: Mapping[int, Entry],
    anew_since: float | None,
) -> Choice:
    """Divide a page of tasks.

    Args:
        page: Tasks as they are listed.
        selection: What is asked for.
        held: The tasks that hold a prediction of this model version.
        entries: What the journal knows of them.
        anew_since: With `selection.anew`, since when pushed predictions count as new.
    """
    wanted, skipped = [], Counter[str]()
    for task in page:
        entry = entries.get(task.id)
        reason = _reason_to_skip(task, selection, task.id in held, entry, anew_since)
        if reason is None:
            wanted.append(task)
        else:
            skipped[reason] += 1
    return Choice(wanted, skipped)


def _reason_to_skip(
    task: Listed,
    selection: Selection,
    holds_version: bool,
    entry: Entry | None,
    anew_since: float | None,
) -> str | None:
    if entry is not None and entry.state in (State.PREDICTED, State.SENDING):
        return WAITS
    is_new = (
        anew_since is not None
        and entry is not None
        and entry.state is State.PUSHED
        and entry.changed_at >= anew_since
    )
    if holds_version and (not selection.anew or is_new):
        return HAS_VERSION
    if selection.mode is Mode.KEEP and (task.predictions or task.annotations):
        return HAS_ANYTHING
    if selection.mode is Mode.UNANNOTATED and task.annotations:
        return HAS_ANNOTATION
    failed = entry is not None and entry.state is State.FAILED and not entry.retry
    if failed and not (selection.retry_failed or selection.anew):
        return FAILED_BEFORE
    return None
