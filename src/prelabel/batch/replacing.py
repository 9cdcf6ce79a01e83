"""Taking away the predictions whose place new ones take, just before these are sent."""

from collections.abc import Callable, Sequence

from prelabel.batch.push import Target
from prelabel.batch.selection import Mode, Selection
from prelabel.labelstudio_api.predictions import delete_all_of, delete_prediction, stored_ids


def clearing(target: Target, selection: Selection) -> Callable[[Sequence[int]], None]:
    """What is to be done with the tasks of a chunk before it is sent.

    The new predictions are in the journal by then, so that a run which is killed in between loses
    nothing.
    """
    if selection.mode is Mode.REPLACE:
        return lambda ids: delete_all_of(target.studio, target.project, ids)
    if selection.anew:
        return lambda ids: _delete_own(target, ids)
    return lambda _: None


def _delete_own(target: Target, task_ids: Sequence[int]) -> None:
    """Delete the predictions of this version; other versions stay."""
    held = target.holders(task_ids)
    alone = [task_id for task_id, predictions in held.items() if predictions == 1]
    if alone:
        delete_all_of(target.studio, target.project, alone)
    for task_id in held.keys() - set(alone):
        for number, version in stored_ids(target.studio, task_id):
            if version == target.version:
                delete_prediction(target.studio, number)
