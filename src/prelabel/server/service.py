"""What the routes do: set up, predict, tell how it goes. Knows no HTTP."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, Literal

import structlog

from prelabel import __version__
from prelabel.errors import OperatorError
from prelabel.gathering import Access, Studio, not_reached
from prelabel.jobs.retrieves import Scope
from prelabel.labelstudio.messages import PredictRequest, SetupRequest
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio.templates import boxes_config
from prelabel.media.references import Origin
from prelabel.pipeline import Outcome, predict_tasks
from prelabel.plan import Plan, Predictors
from prelabel.predictors.base import Predictor
from prelabel.runtime.batcher import first_hang
from prelabel.runtime.callers import Caller, Priority
from prelabel.runtime.deadline import Deadline
from prelabel.runtime.hanging import Hang
from prelabel.server.admission import Admission, Stay
from prelabel.server.afterwards import Afterwards
from prelabel.server.backfilling import Backfilling
from prelabel.server.gaps import has_gaps, without_gaps
from prelabel.server.gauges import OfAdmission, OfPredictors, OfRecords, OfState
from prelabel.server.introduction import Introduction, believed_origin
from prelabel.server.learning import Learning
from prelabel.server.metrics import Metrics
from prelabel.server.outcomes import (
    entry,
    log_crash,
    log_failures,
    never_begun,
    no_room,
    nothing_found,
)
from prelabel.server.plans import Plans
from prelabel.server.projects import Project, Projects, kind_of
from prelabel.server.records import Recorded, Records
from prelabel.server.retrieve import Retrieve, scope_of
from prelabel.server.retrieve_here import LOOK_FOR_CALLER_S, RetrieveHere
from prelabel.server.signing_in import SigningIn
from prelabel.server.under_way import UnderWay

log = structlog.get_logger(__name__)

_ANSWER_MARGIN_S = 0.2
_SINGLES, _SINGLE_FETCHES = 16, 8
"""Enough single tasks under way to fill the batch of a GPU; those behind them hold no thread."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A predict request with all that is known of its project."""

    tasks: Sequence[Task]
    plan: Plan
    project: Project
    login: str | None
    password: str | None
    interactive: bool


class Service:
    """The backend behind the routes.

    Args:
        predictors: What finds things.
        studio: Where images come from.
        origin: The configured Label Studio; None where none is.
        deadline_s: Time in which `predict` answers.
        threads: Predict requests that are worked on at a time.
        learning: The learning loop; None where it is off.
        backfilling: What goes on after an answer; None without a login of Label Studio.
        admission: How much may wait.
        metrics: Where its work is counted; what its parts were given, too.
        afterwards: Finds for the next click what was not reached; None where jobs do that.
        signing_in: Whether Label Studio takes our login; None without one.
        closing: Called when no new work is begun any more.
    """

    def __init__(
        self,
        predictors: Predictors,
        studio: Studio,
        *,
        origin: Origin | None,
        deadline_s: float,
        threads: int,
        learning: Learning | None = None,
        backfilling: Backfilling | None = None,
        admission: Admission | None = None,
        metrics: Metrics | None = None,
        afterwards: Afterwards | None = None,
        signing_in: SigningIn | None = None,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self.projects = Projects()
        self.predictors = {"boxes": predictors.boxes, "poses": predictors.poses}
        self.metrics = metrics or Metrics()
        recording = learning or backfilling
        self.records = Records(recording.recorded if recording else Recorded)
        self.learning = learning
        self.backfilling = backfilling
        self.admission = admission or Admission()
        self.metrics.watch(OfPredictors(self.predictors))
        self.metrics.watch(OfRecords(self.records), of_all=True)
        self.metrics.watch(OfAdmission(self.admission.occupancy))
        self.metrics.watch(OfState(lambda: self.state))
        self._studio = studio = replace(studio, clock=self.metrics)
        self._origin = origin
        self._deadline_s = deadline_s
        self._runners = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        # A person waits for a single task: it does not queue behind retrieves of thousands.
        self._single_runners = ThreadPoolExecutor(_SINGLES, thread_name_prefix="predict-one")
        self._single_studio = replace(
            studio,
            fetchers=ThreadPoolExecutor(_SINGLE_FETCHES, thread_name_prefix="fetch-one"),
            room=None,
        )
        self._afterwards = afterwards
        self._under_way = UnderWay()
        self._signing_in = signing_in or SigningIn(lambda: None)
        self._closing = closing
        self._settled = Event()
        self._stopping = Event()
        self._started = time.monotonic()
        self.plan_for = Plans(predictors)

    @property
    def label_studio_url(self) -> str:
        """Where Label Studio is, as the settings say; "" where they do not."""
        return self._origin.url if self._origin else ""

    def set_up(self, request: SetupRequest, introduction: Introduction | None) -> Plan:
        """Remember a project's label config and say what will answer it.

        Args:
            request: What Label Studio says of the project.
            introduction: Who sent it, in its own words.
        """
        project = self.projects.get(request.project)
        plan = self._plan(request.label_config, project)
        if request.label_config:
            self.projects.planned(project, plan, len(request.label_config))
        project.introduction = introduction or project.introduction
        return self._taught(plan, request.project, request.project_created)

    async def predict(
        self,
        request: PredictRequest,
        request_id: str,
        is_gone: Callable[[], Awaitable[bool]],
        stay: Stay,
        *,
        takes_gaps: bool = True,
    ) -> list[Any]:
        """Answer a predict request in time: one entry per task, in order.

        A task that failed or was not reached gets `[]`; in an interactive call, where the editor
        needs an object, an empty result.

        Args:
            request: What is asked.
            request_id: For the records of failures.
            is_gone: Whether the caller has hung up; nothing is then worked on any more.
            stay: The room that `admission` gave the request.
            takes_gaps: Whether the caller takes `[]` for a task; else see `without_gaps`.

        Raises:
            Overloaded: There is no room for its tasks.
        """
        deadline = Deadline.after(self._deadline_s)
        asked = self._understand(request)
        self.metrics.asked(len(asked.tasks))
        # Others than Label Studio store nothing: what they are answered is not looked for there.
        scope = scope_of(request, asked.plan) if stay.asks_again else None
        with closing(self._retrieve(scope, asked.tasks)) as retrieve:
            found = await self._found(retrieve, asked, deadline, is_gone, stay)
            is_lost = not takes_gaps and not asked.interactive and has_gaps(found, asked.tasks)
            gone = bool(found) and (is_lost or await is_gone())
            outcomes = await retrieve.end(found, gone=gone)
        if found and (afterwards := self._goes_on(asked, stay)):
            access = await asyncio.to_thread(self._access, asked)  # it may look a name up
            afterwards.go_on(asked.project.key, found, asked.plan, access)
        for task, outcome in zip(asked.tasks, outcomes, strict=True):
            self.projects.record(asked.project, task, outcome, request_id)
            self.metrics.predicted(kind_of(outcome), outcome)
        log_failures(outcomes, request_id)
        instead = [] if not asked.interactive else nothing_found(asked.plan.model_version)
        entries = [entry(outcome, instead) for outcome in outcomes]
        return entries if takes_gaps else without_gaps(entries, brought=retrieve.brings)

    def begin(self) -> None:
        """Read what was learnt before, so that the first answer knows it, and go on with jobs."""
        self._signing_in.start()
        if self.learning:
            self.learning.start()
        if self.backfilling:
            self.backfilling.start()

    def settle(self) -> None:
        """Find out which predictors can answer, so that `/setup` names them from the start."""
        try:
            for predictor in self.predictors.values():
                _check(predictor)
        finally:
            self._settled.set()

    @property
    def hangs(self) -> bool:
        """Whether a model does not come back, and this process is to be started anew."""
        return self._hang is not None

    @property
    def state(self) -> Literal["starting", "ok", "hanging", "stopping"]:
        """Whether requests may be sent here; only "ok" says so."""
        if self._stopping.is_set():
            return "stopping"
        if self.hangs:
            return "hanging"
        return "ok" if self._settled.is_set() else "starting"

    def health(self) -> dict[str, object]:
        """What `GET /health` tells; never waits."""
        health = {what: {"name": p.name, **p.health()} for what, p in self.predictors.items()}
        hung = self._hang
        return {
            **({"status": "degraded", "reason": str(hung)} if hung else {"status": "ok"}),
            "model_loaded": any(bool(one.get("loaded")) for one in health.values()),
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "predictors": health,
            "label_studio_trouble": self._signing_in.trouble,
        }

    def versions(self) -> list[str]:
        """The model versions of the default project and of all projects that were set up."""
        plans = [self.plan_for(boxes_config())]
        known = self.projects.all()
        plans += [self._taught(one.plan, one.key, None) for one in known if one.plan]
        return sorted({plan.model_version for plan in plans if plan.fills})

    def stop_intake(self) -> None:
        """Take no more predict requests; of those for many tasks, answer what is done by now."""
        self._stopping.set()
        self.admission.close()

    async def cancel(self, job_id: str) -> bool:
        """End a job that waits or runs; False where there is none of this id.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        holder = self.backfilling or self.learning
        return holder is not None and await holder.cancel(job_id)

    def close(self) -> None:
        """Begin no new work and let go of the threads."""
        self.stop_intake()
        self._signing_in.stop()
        self.records.close()
        if self.backfilling:
            self.backfilling.stop()
        if self.learning:
            self.learning.stop()
        fetchers = (self._studio.fetchers, self._single_studio.fetchers)
        for pool in (self._runners, self._single_runners, *fetchers):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._afterwards:
            self._afterwards.stop()
        self._closing()

    @property
    def _hang(self) -> Hang | None:
        """The call from which a model does not come back, if there is one; never waits."""
        return first_hang(self.predictors.values())

    def _understand(self, request: PredictRequest) -> Asked:
        project = self.projects.get(request.project)
        plan = self._plan(request.label_config, project)
        plan = self._taught(plan, request.project, request.project_created)
        drawn = request.context.get("result")
        params = request.params
        return Asked(
            tasks=request.each_task,
            plan=plan.interactive(drawn) if isinstance(drawn, list) and drawn else plan,
            project=project,
            login=params.login if params else None,
            password=params.password if params else None,
            interactive=bool(request.context),
        )

    def _plan(self, label_config: str | None, project: Project) -> Plan:
        last = None if label_config else project.plan
        return last or self.plan_for(label_config or boxes_config())

    def _taught(self, plan: Plan, project: int | str | None, created: int | None) -> Plan:
        return self.learning.teach(plan, project, created) if self.learning else plan

    def _access(self, asked: Asked) -> Access:
        """What images may be fetched with; where no Label Studio is set, one may be believed."""
        origin, introduction = self._origin, asked.project.introduction
        if origin is None and introduction is not None and asked.plan.steps:
            origin = believed_origin(introduction)
        return Access(asked.login, asked.password, origin)

    def _retrieve(self, scope: Scope | None, tasks: Sequence[Task]) -> Retrieve | RetrieveHere:
        if self.backfilling:
            return Retrieve(self.backfilling, scope, tasks)
        return RetrieveHere(self._under_way, scope, tasks)

    def _goes_on(self, asked: Asked, stay: Stay) -> Afterwards | None:
        """What finds what this request does not reach; None where nobody asks for it again."""
        return self._afterwards if stay.asks_again and not asked.interactive else None

    async def _found(
        self,
        retrieve: Retrieve | RetrieveHere,
        asked: Asked,
        deadline: Deadline,
        is_gone: Callable[[], Awaitable[bool]],
        stay: Stay,
    ) -> list[tuple[Task, Outcome]]:
        """The tasks that are this request's to predict, each with its outcome."""

        async def is_over() -> bool:
            return self._stopping.is_set() or await is_gone()

        afterwards = self._goes_on(asked, stay)
        found: list[tuple[Task, Outcome]] = []
        mine = await retrieve.begin()
        while mine or (mine := await retrieve.freed(deadline, is_over)):
            if afterwards and len(asked.tasks) > 1:  # who waits for one goes before it anyway
                afterwards.give_way(asked.project.key)
            taken = replace(asked, tasks=mine[: stay.take(len(mine))])
            outcomes = await self._outcomes(taken, deadline, is_gone, stay) if taken.tasks else []
            outcomes += [no_room(task) for task in mine[len(outcomes) :]]
            found += zip(mine, outcomes, strict=True)
            mine = ()
        return found

    async def _outcomes(
        self,
        asked: Asked,
        deadline: Deadline,
        is_gone: Callable[[], Awaitable[bool]],
        stay: Stay,
    ) -> list[Outcome]:
        """One outcome per task; what has none at the deadline was not reached."""
        reached: dict[int, Outcome] = {}
        single = len(asked.tasks) == 1
        studio = self._single_studio if single else self._studio
        caller = Caller(Priority.PERSON if single else Priority.BULK, deadline)
        plan = asked.plan.at(caller)
        queued = time.perf_counter()

        def run() -> None:
            self.metrics.took("queue", time.perf_counter() - queued)
            steps = predict_tasks(asked.tasks, plan, studio, self._access(asked), deadline)
            for index, outcome in steps:
                reached[index] = outcome
                stay.done()
                self.metrics.found(asked.tasks[index].number, outcome)
                if caller.has_left or self._stopping.is_set():
                    return

        if asked.plan.fills:
            runners = self._single_runners if single else self._runners
            begun = runners.submit(run)
            running = asyncio.wrap_future(begun)
            running.add_done_callback(log_crash)
            while not running.done() and not caller.has_left:
                left_s = deadline.remaining_s() + _ANSWER_MARGIN_S
                await asyncio.wait({running}, timeout=min(left_s, LOOK_FOR_CALLER_S))
                cut_short = self._stopping.is_set() and not single
                if deadline.passed or cut_short or (not running.done() and await is_gone()):
                    caller.leave()
                    begun.cancel()
        else:
            run()
        done = dict(reached)
        late = not_reached if done else never_begun(asked.plan)
        return [done.get(index) or late(task, deadline) for index, task in enumerate(asked.tasks)]


def _check(predictor: Predictor) -> None:
    try:
        predictor.check()
    except OperatorError as error:  # nothing stands behind it; its tasks will say the same
        log.warning("predictor not usable", name=predictor.name, reason=str(error))
