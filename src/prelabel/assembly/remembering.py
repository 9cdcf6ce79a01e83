"""Builds the prediction store, and what asks it before a model."""

from collections.abc import Callable

import structlog

from prelabel.assembly.parts import database
from prelabel.errors import SettingsError
from prelabel.plan import Predictors
from prelabel.runtime.memory import Memory
from prelabel.runtime.noted import Noted
from prelabel.runtime.remembered import Remembered
from prelabel.settings import Settings
from prelabel.store.findings import Findings

log = structlog.get_logger(__name__)

_MB = 1024 * 1024


def memory(settings: Settings) -> Memory | None:
    """What earlier predictions left; None where it is switched off, or cannot be opened."""
    if not settings.prediction_store_mb:
        return None
    try:
        opened = database(settings)
    except SettingsError as error:
        if settings.database_url:  # it was meant to be there
            raise
        log.warning("no prediction store", reason=str(error))
        return None
    kept = Memory(Findings(opened, settings.prediction_store_mb * _MB))
    opened.dispose()  # the store has connections of its own
    return kept


def remembering(
    found_by: Predictors,
    known: Memory | None,
    queued: Callable[[Predictors], Predictors] = lambda unqueued: unqueued,
) -> Predictors:
    """The same predictors, each asked only for what is not known.

    Args:
        found_by: What finds boxes and poses.
        known: What is known; None where nothing is remembered.
        queued: Puts queues in front of predictors; what is known waits in none.
    """
    if known is None:
        return queued(found_by)
    behind = queued(Predictors(Noted(found_by.boxes, known), Noted(found_by.poses, known)))
    return Predictors(Remembered(behind.boxes, known), Remembered(behind.poses, known))
