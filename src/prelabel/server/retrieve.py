"""One predict request of Label Studio in the ledger: what of it is in work already, what goes on.

The ledger is there for answers that come late. Where the database does not answer, a request is
answered as if there were none.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from prelabel.errors import PrelabelError, StoreUnavailable
from prelabel.jobs.retrieves import Retrieves, Scope, goes_on, in_work
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.store.ledger import Seen

log = structlog.get_logger(__name__)

_PATIENCE_S = 5.0
"""How long a request waits for the ledger; Label Studio waits 15 s longer than the deadline."""

_Answer = TypeVar("_Answer")


class Retrieve:
    """One request.

    Args:
        retrieves: The ledgers; None where there is no login of Label Studio.
        scope: Who asks; None where the request is not one that Label Studio stores.
        tasks: What is asked for.
    """

    def __init__(
        self, retrieves: Retrieves | None, scope: Scope | None, tasks: Sequence[Task]
    ) -> None:
        self._retrieves = retrieves
        self._scope = scope
        self._tasks = tasks
        self._known: dict[int | None, Outcome] = {}

    async def begin(self) -> Sequence[Task]:
        """Write the request down; gives the tasks that are to be predicted for it."""
        retrieves, scope = self._retrieves, self._scope
        numbers = [task.number for task in self._tasks if task.number is not None]
        is_clear = bool(numbers) and len(set(numbers)) == len(self._tasks)
        if retrieves is None or scope is None or not is_clear:
            self._retrieves = None
            return self._tasks
        if len(numbers) == 1:
            return await self._take(retrieves, scope, numbers[0])
        mine = await self._ask(lambda: retrieves.begin(scope, numbers))
        if mine is None:
            self._retrieves = None
            return self._tasks
        theirs = [task for task in self._tasks if task.number not in mine]
        self._known = {task.number: in_work(task) for task in theirs}
        return [task for task in self._tasks if task.number in mine]

    async def end(self, found: Sequence[tuple[Task, Outcome]], *, gone: bool) -> list[Outcome]:
        """Write down what is answered, and leave the rest to a job.

        Args:
            found: The tasks that `begin` gave, each with its outcome.
            gone: Whether nobody waits for the answer any more.

        Returns:
            One outcome per task of the request, in its order.
        """
        retrieves, scope = self._retrieves, self._scope
        if retrieves is None or scope is None:
            return [outcome for _, outcome in found]
        outcomes = {task.number: outcome for task, outcome in found}
        number = self._tasks[0].number
        if len(self._tasks) == 1 and number is not None:
            await self._give(retrieves, scope, number, found)
        elif gone:
            await self._ask(lambda: retrieves.abandon(scope, found))
        elif found:
            answered = await self._ask(lambda: retrieves.end(scope, found))
            for task, outcome in found:
                late = isinstance(outcome, PrelabelError) and goes_on(outcome)
                sent = isinstance(outcome, Prediction) and task.number not in (answered or ())
                if answered is not None and (late or sent):
                    outcomes[task.number] = in_work(task)
        outcomes |= self._known
        return [outcomes[task.number] for task in self._tasks]

    async def _take(self, retrieves: Retrieves, scope: Scope, number: int) -> Sequence[Task]:
        """A person waits: what a job has made is given at once, and the rest is made at once."""
        taken = await self._ask(lambda: retrieves.take(scope, number))
        if isinstance(taken, Prediction):
            self._known[number] = taken
            return ()
        if taken is Seen.SENT:
            self._known[number] = in_work(self._tasks[0])
            return ()
        if taken is not Seen.OPEN:
            self._retrieves = None
        return self._tasks

    async def _give(
        self,
        retrieves: Retrieves,
        scope: Scope,
        number: int,
        found: Sequence[tuple[Task, Outcome]],
    ) -> None:
        for task, outcome in found:
            if isinstance(outcome, Prediction):
                given = await self._ask(lambda: retrieves.give(scope, number))
                if given is False:
                    self._known[number] = in_work(task)

    async def _ask(self, question: Callable[[], _Answer]) -> _Answer | None:
        """What the ledger answers; None where it does not."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(question), _PATIENCE_S)
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("retrieve not written down", reason=str(error) or "the database is slow")
            return None
