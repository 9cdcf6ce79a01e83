"""Predictions made for an earlier label config: Label Studio hides them and counts them as there.

A run skips tasks that hold its model version, and Label Studio asks no backend for them either. So
after a control or label was renamed, both would be done at once, and annotators see nothing.
"""

from collections.abc import Iterator

import structlog

from prelabel.batch.push import Target
from prelabel.errors import PrelabelError
from prelabel.labelstudio.config import LabelConfig
from prelabel.labelstudio.regions.check import names_gone
from prelabel.labelstudio_api.client import all_of
from prelabel.labelstudio_api.predictions import holds
from prelabel.labelstudio_api.session import Json

log = structlog.get_logger(__name__)

_LOOKED_AT = 40
"""Tasks whose predictions are looked at: the config was changed for all, or for none."""


def outdated(target: Target, config: LabelConfig) -> tuple[str, ...]:
    """What the operator should know of predictions that are there already, a sentence or none.

    Args:
        target: The project and the model version.
        config: The project's label config as it is now.
    """
    try:
        gone = names_gone(_regions(target), config)
    except PrelabelError as error:  # the run will say it, or it has passed
        log.info("predictions not looked at", reason=str(error))
        return ()
    if not gone:
        return ()
    told = (
        f"Predictions of {target.version} that are there already name {', '.join(sorted(gone))}, "
        "which the label config does not have any more: Label Studio hides them, and their tasks "
        "are skipped. Run once with --force to have them made anew."
    )
    return (told,)


def _regions(target: Target) -> Iterator[Json]:
    """The regions of the first predictions of this version."""
    these = all_of(holds(target.version))
    for row in target.studio.list_tasks(target.project, these, _LOOKED_AT).get("tasks") or []:
        for stored in row.get("predictions") or []:
            if stored.get("model_version") == target.version:
                yield from stored.get("result") or []
