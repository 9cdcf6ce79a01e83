"""Builds the prediction store, and what asks it before a model."""

from collections.abc import Callable, Iterator
from pathlib import Path

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
    settings: Settings,
    queued: Callable[[Predictors], Predictors] = lambda unqueued: unqueued,
) -> Predictors:
    """The same predictors, each asked only for what is not known.

    Args:
        found_by: What finds boxes and poses.
        known: What is known; None where nothing is remembered.
        settings: Where weights of one's own lie.
        queued: Puts queues in front of predictors; what is known waits in none.
    """
    if known is None:
        return queued(found_by)
    boxes = _stamp(Path(settings.grounding_dino_model_id).expanduser())
    poses = _stamp(*(Path(one) for one in (settings.pose_detector, settings.pose_model) if one))
    behind = queued(
        Predictors(Noted(found_by.boxes, known, boxes), Noted(found_by.poses, known, poses))
    )
    return Predictors(
        Remembered(behind.boxes, known, boxes), Remembered(behind.poses, known, poses)
    )


def _stamp(*own: Path) -> str:
    """What changes when somebody trains weights of their own anew under the same name."""
    files = sorted({file for path in own for file in _files(path)})
    return repr([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (file for file in path.iterdir() if file.is_file())
