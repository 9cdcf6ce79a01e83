"""One predict request of Label Studio, where nothing is written down: each task in one answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prelabel.errors import NotReached
from prelabel.jobs.retrieves import Scope
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.runtime.deadline import Deadline
from prelabel.server.under_way import Claim, UnderWay

LOOK_FOR_CALLER_S = 1.0
"""How often it is looked whether a caller still waits."""
_STORED_IN_S = 1.0
"""Label Studio stores the prediction of a single task sooner."""


class RetrieveHere:
    """One request.

    Args:
        under_way: What other requests of this process have in work.
        scope: Who asks; None where the request is not one that Label Studio stores.
        tasks: What is asked for.

    Attributes:
        brings: False: no job brings what is not answered.
    """

    brings = False

    def __init__(self, under_way: UnderWay, scope: Scope | None, tasks: Sequence[Task]) -> None:
        self._under_way = under_way
        self._scope = scope
        self._tasks = tasks
        self._claim: Claim | None = None

    async def begin(self) -> Sequence[Task]:
        """Take the tasks that no other request has; they are to be predicted for this one."""
        asked = {task.number: task.updated_at for task in self._tasks if task.number is not None}
        if self._scope is None or not asked or len(asked) != len(self._tasks):
            return self._tasks
        self._claim = self._under_way.begin(self._scope, asked)
        return self._these(self._claim.mine)

    async def freed(
        self, deadline: Deadline, is_over: Callable[[], Awaitable[bool]]
    ) -> Sequence[Task]:
        """Wait for the requests that have the other tasks.

        Args:
            deadline: So long.
            is_over: Whether to wait no longer; looked at once a second.

        Returns:
            Tasks that one of them let go of, to be predicted; none where all have ended.
        """
        claim = self._claim
        while claim is not None and not deadline.passed and not await is_over():
            free = self._under_way.freed(claim)
            if free:
                return self._these(free)
            ends = self._under_way.awaited(claim)
            if not ends:
                break
            await asyncio.wait(
                map(asyncio.wrap_future, ends),
                timeout=min(deadline.remaining_s(), LOOK_FOR_CALLER_S),
                return_when=asyncio.FIRST_COMPLETED,
            )
        if claim is not None and claim.is_single and not claim.mine and not claim.theirs:
            # Label Studio then reads again what it has for the person, and it has it by then.
            await asyncio.sleep(min(deadline.remaining_s(), _STORED_IN_S))
        return ()

    async def end(self, found: Sequence[tuple[Task, Outcome]], *, gone: bool) -> list[Outcome]:
        """Let go of all tasks; those that are answered are not given to others for a while.

        Args:
            found: The tasks that `begin` and `freed` gave, each with its outcome.
            gone: Whether nobody waits for the answer any more.

        Returns:
            One outcome per task of the request, in its order.
        """
        claim = self._claim
        if claim is None:
            return [outcome for _, outcome in found]
        done = [
            task.number
            for task, outcome in found
            if isinstance(outcome, Prediction) and task.number is not None
        ]
        answered = self._under_way.end(claim, () if gone else done)
        outcomes = {
            task.number: outcome
            for task, outcome in found
            if gone or not isinstance(outcome, Prediction) or task.number in answered
        }
        return [outcomes.get(task.number) or _elsewhere(task, claim) for task in self._tasks]

    def close(self) -> None:
        """Let go of all tasks, where that was not done."""
        if self._claim is not None:
            self._under_way.end(self._claim)

    def _these(self, numbers: set[int]) -> list[Task]:
        return [task for task in self._tasks if task.number in numbers]


def _elsewhere(task: Task, claim: Claim) -> NotReached:
    """The outcome of a task that another request answers, or has answered."""
    again = f" in {claim.again_in_s} s" if claim.again_in_s else ""
    return NotReached(
        str(task),
        "another request has it in work, or was given its prediction a moment ago",
        f"Nothing is to be done. If it has no prediction then, retrieve it again{again}.",
    )
