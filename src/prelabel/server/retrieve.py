"""One predict request of Label Studio in the ledger: what of it is in work already, what goes on.

The ledger is there for answers that come late. Where the database does not answer, a request is
answered as if there were none.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from threading import Lock

from prelabel.errors import PrelabelError
from prelabel.jobs.retrieves import Answered, Scope, goes_on, in_work
from prelabel.labelstudio.messages import PredictRequest, project_number
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, Prediction
from prelabel.plan import Plan
from prelabel.server.backfilling import Backfilling
from prelabel.store.ledger import Seen


class Retrieve:
    """One request.

    Args:
        backfilling: Where it is written down.
        scope: Who asks; None where the request is not one that Label Studio stores.
        tasks: What is asked for.

    Attributes:
        brings: Once it has ended with `gone`: whether a job brings what was found.
    """

    brings = False

    def __init__(
        self, backfilling: Backfilling, scope: Scope | None, tasks: Sequence[Task]
    ) -> None:
        self._backfilling: Backfilling | None = backfilling
        self._scope = scope
        self._tasks = tasks
        self._known: dict[int | None, Outcome] = {}
        self._late = _Late()

    async def begin(self) -> Sequence[Task]:
        """Write the request down; gives the tasks that are to be predicted for it."""
        there, scope = self._backfilling, self._scope
        numbers = [task.number for task in self._tasks if task.number is not None]
        is_clear = bool(numbers) and len(set(numbers)) == len(self._tasks)
        if there is None or scope is None or not is_clear:
            self._backfilling = None
            return self._tasks
        if len(numbers) == 1:
            return await self._take(there, scope, numbers[0])
        mine = await there.ask(lambda: there.retrieves.begin(scope, numbers), self._late.begun)
        if mine is None:
            # It may be written down all the same, and a job would then predict what is answered
            # here: as soon as it is, the answer is written down, too.
            self._late.end = partial(_end_late, there, scope)
            self._backfilling = None
            return self._tasks
        theirs = [task for task in self._tasks if task.number not in mine]
        self._known = {task.number: in_work(task) for task in theirs}
        return [task for task in self._tasks if task.number in mine]

    async def freed(self, *_: object) -> Sequence[Task]:
        """No further tasks: what others have and do not answer, a job brings."""
        return ()

    def close(self) -> None:
        """Nothing: what this request has and did not answer, a job brings."""

    async def end(self, found: Sequence[tuple[Task, Outcome]], *, gone: bool) -> list[Outcome]:
        """Write down what is answered, and leave the rest to a job.

        Args:
            found: The tasks that `begin` gave, each with its outcome.
            gone: Whether nobody waits for the answer any more.

        Returns:
            One outcome per task of the request, in its order.
        """
        there, scope = self._backfilling, self._scope
        if there is None or scope is None:
            self._late.ended(found, gone=gone)
            return [outcome for _, outcome in found]
        outcomes = {task.number: outcome for task, outcome in found}
        number = self._tasks[0].number
        if len(self._tasks) == 1 and number is not None:
            await self._give(there, scope, number, found)
        elif gone:
            self.brings = bool(await there.ask(lambda: there.retrieves.abandon(scope, found)))
        elif found:
            answered = await there.ask(lambda: there.retrieves.end(scope, found))
            for task, outcome in found:
                late = isinstance(outcome, PrelabelError) and goes_on(outcome)
                sent = isinstance(outcome, Prediction) and task.number not in (answered or ())
                if answered is not None and (late or sent):
                    outcomes[task.number] = in_work(task)
        outcomes |= self._known
        return [outcomes[task.number] for task in self._tasks]

    async def _take(self, there: Backfilling, scope: Scope, number: int) -> Sequence[Task]:
        """A person waits: what a job has made is given at once, and the rest is made at once."""
        taken = await there.ask(lambda: there.retrieves.take(scope, number))
        if isinstance(taken, Prediction):
            self._known[number] = taken
            return ()
        if taken is Seen.SENT:
            self._known[number] = in_work(self._tasks[0])
            return ()
        if taken is not Seen.OPEN:
            self._backfilling = None
        return self._tasks

    async def _give(
        self,
        there: Backfilling,
        scope: Scope,
        number: int,
        found: Sequence[tuple[Task, Outcome]],
    ) -> None:
        for task, outcome in found:
            if isinstance(outcome, Prediction):
                given = await there.ask(lambda: there.retrieves.give(scope, number))
                if given is False:
                    self._known[number] = in_work(task)


def scope_of(request: PredictRequest, plan: Plan) -> Scope | None:
    """Who asks, where it is Label Studio, which stores what it is answered; else None."""
    number, created = project_number(request.project), request.project_created
    if number is None or created is None or request.context or not plan.steps:
        return None
    return Scope(number, created, plan.model_version)


class _Late:
    """A request that was written down when nobody waited for that any more.

    It begins in a thread of the ledgers and ends in the event loop, in either order.

    Attributes:
        end: Writes down what the tasks that were taken were answered; None while none is late.
    """

    def __init__(self) -> None:
        self.end: Callable[[Collection[int], Answered, bool], None] | None = None
        self._mine: Collection[int] | None = None
        self._found: tuple[Answered, bool] | None = None
        self._lock = Lock()

    def begun(self, mine: Collection[int]) -> None:
        """It is written down, with these tasks."""
        with self._lock:
            self._mine = mine
            found = self._found
        if found is not None and self.end is not None:
            self.end(mine, *found)

    def ended(self, found: Answered, *, gone: bool) -> None:
        """It is about to be answered."""
        with self._lock:
            self._found = (found, gone)
            mine = self._mine
        if mine is not None and self.end is not None:
            self.end(mine, found, gone)


def _end_late(
    there: Backfilling, scope: Scope, mine: Collection[int], found: Answered, gone: bool
) -> None:
    taken = [(task, outcome) for task, outcome in found if task.number in mine]
    write = there.retrieves.abandon if gone else there.retrieves.end
    if taken:
        there.later(lambda: write(scope, taken))
