"""What an earlier run predicted and did not push, of tasks that are not there any more.

A Label Studio that is restored from a backup gives the ids of tasks that it lost to new ones. What
was predicted of a lost one is no prediction of the task that has its id now.
"""

import structlog

from prelabel.batch.push import Target
from prelabel.labelstudio_api.client import IDS_PER_QUERY, all_of, among, created_s
from prelabel.store.journal import Journal

log = structlog.get_logger(__name__)


def forget_lost_tasks(target: Target, journal: Journal) -> None:
    """Forget predictions of tasks that are gone, or were made after their prediction was.

    A clock of Label Studio that is ahead costs time: the tasks are predicted again.

    Args:
        target: The project.
        journal: What earlier runs left.

    Raises:
        LabelStudioError: Label Studio cannot be asked.
        StoreUnavailable: The database does not answer.
    """
    left = journal.not_pushed()
    ids = sorted(left)
    made: dict[int, int] = {}
    for start in range(0, len(ids), IDS_PER_QUERY):
        some = ids[start : start + IDS_PER_QUERY]
        answer = target.studio.list_tasks(
            target.project, all_of(among(some)), len(some), "id,created_at"
        )
        made |= {int(row["id"]): created_s(row) for row in answer.get("tasks") or []}
    lost = [task for task in ids if task not in made or made[task] > left[task]]
    if lost:
        log.warning("predictions of tasks that are gone are forgotten", tasks=len(lost))
        journal.forget(lost)
