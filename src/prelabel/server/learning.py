"""The learning loop as the server sees it: events start trainings, trainings teach plans."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prelabel.errors import NoSuchJob
from prelabel.jobs.learner import Learner
from prelabel.jobs.requests import Trainings
from prelabel.jobs.work import Runner
from prelabel.labelstudio.messages import FitRequest, TrainRequest, project_number
from prelabel.labelstudio.regions.write import SHAPES
from prelabel.plan import Plan
from prelabel.plan import Taught as Lesson
from prelabel.server.records import SHOWN_JOBS, Recorded, Taught, Version
from prelabel.store.jobs import Job, Jobs

TRAIN_EVENTS = frozenset({"START_TRAINING", "TRAIN"})
"""What a person sends who presses the button."""

ANNOTATION_EVENTS = frozenset(
    {
        *("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED"),
        *("ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED"),
    }
)
"""What comes by itself when people annotate; the last is how Label Studio 1.x says deleted."""

NOTED = "The event was taken; it starts no training."
NO_PROJECT = "The event names no project: nothing is trained."
QUEUED = "The training is queued; the status page and /job_status show how it goes."
OWED = "The database does not answer: the training is queued when it does, or start it again."

DRAWN = (*SHAPES, "videorectangle")
SHOWN_PROJECTS = 12
"""Projects whose learner the status page and the metrics show."""
_STOPPING_S = 5.0

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Learning:
    """The parts of the learning loop.

    Attributes:
        trainings: Starts trainings and knows how they go.
        learner: What was learnt, in memory.
        runner: Does the trainings.
        jobs: The table of jobs.
        min_samples: Annotated objects that a sequence needs to be learnt.
        prefer: Whether what was learnt goes before what a model finds.
        on_annotations: Whether submitted annotations start trainings.
    """

    trainings: Trainings
    learner: Learner
    runner: Runner
    jobs: Jobs
    min_samples: int
    prefer: bool
    on_annotations: bool

    def start(self) -> None:
        """Begin to do jobs and to hear of new versions."""
        self.learner.refresh()
        self.learner.start()
        self.runner.start()

    def stop(self) -> None:
        """Hand back what is being done."""
        self.runner.stop(_STOPPING_S)
        self.learner.stop()

    def teach(self, plan: Plan, project: int | str | None, created: int | None) -> Plan:
        """The plan with what was learnt from the project's annotations, if anything was."""
        number = project_number(project)
        known = None if number is None else self.learner.of(number, created)
        if known is None:
            return plan
        version, learned = known
        return plan.taught(Lesson(version, learned, self.prefer))

    async def event(
        self, action: str, project: int | str | None, created: int | None = None
    ) -> Answer:
        """Take an event of Label Studio about a project made at a time; returns at once."""
        if action in TRAIN_EVENTS:
            return await self._click(project, created, delayed=False)
        if action in ANNOTATION_EVENTS and self.on_annotations:
            return await self._click(project, created, delayed=True)
        return taken(NOTED)

    async def fit(self, request: FitRequest) -> Answer:
        """Take an event in the words of older backends."""
        project = request.data.get("project")
        named = project.get("id") if isinstance(project, dict) else project
        return await self.event(request.event, named if isinstance(named, int | str) else None)

    async def train(self, request: TrainRequest, *, is_read: bool = True) -> Answer:
        """Start a training, on the tasks in the request if it has some.

        Args:
            request: What is asked.
            is_read: Whether somebody reads the answer. Else a training says where everybody sees
                it that there is too little to learn.
        """
        if request.tasks is not None and is_read:
            drawn = drawn_regions(request.tasks)
            if drawn < self.min_samples:
                return insufficient(drawn, self.min_samples)
        number = project_number(request.project)
        if number is None:
            return taken(NO_PROJECT)
        job = await asyncio.to_thread(
            self.trainings.start,
            number,
            payload_tasks=request.tasks,
            label_config=request.label_config,
            created=request.project_created,
        )
        return queued(job)

    async def job(self, job_id: str) -> Answer:
        """How a job is getting on.

        Raises:
            NoSuchJob: Nothing is known of it.
        """
        job = await asyncio.to_thread(self.trainings.status, job_id)
        if job is None:
            raise no_such_job(job_id)
        return {**(job.result or {}), **described(job), "job": job.id, "job_status": job.status}

    async def cancel(self, job_id: str) -> bool:
        """End a job that waits or runs; False where there is none of this id.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        return await asyncio.to_thread(self.jobs.cancel, job_id)

    def recorded(self) -> Recorded:
        """The latest jobs and learnt versions; waits for the database.

        Raises:
            StoreUnavailable: It does not answer.
        """
        return Recorded(
            self.jobs.recent(None, SHOWN_JOBS),
            [
                Taught(scope.project, [Version.of(one) for one in versions])
                for scope, versions in self.learner.histories(SHOWN_PROJECTS).items()
            ],
        )

    async def _click(
        self, project: int | str | None, created: int | None, *, delayed: bool
    ) -> Answer:
        number = project_number(project)
        if number is None:
            return taken(NO_PROJECT)
        start = self.trainings.start_for_click
        return queued(await asyncio.to_thread(start, number, created=created, delayed=delayed))


def no_such_job(job_id: str) -> NoSuchJob:
    """Nothing is known of a job."""
    return NoSuchJob(
        f"job {job_id!r}", "is not known here", "Start the training again, if it matters."
    )


def queued(job: Job | None) -> Answer:
    """The answer to a training that was asked for; without a job where it is not written down."""
    return taken(OWED) if job is None else {"status": "queued", "job": job.id, "message": QUEUED}


def taken(message: str) -> Answer:
    """The answer to an event that starts nothing."""
    return {"status": "ok", "job": None, "message": message}


def insufficient(samples: int, required: int) -> Answer:
    """The answer to tasks of which certainly nothing can be learnt."""
    return {
        "status": "insufficient-data",
        "job": None,
        "sample_count": samples,
        "required_samples": required,
        "message": f"{samples} annotated objects of at least {required}: "
        f"annotate {required - samples} more, or lower SEQUENCE_MIN_TRAIN_SAMPLES.",
    }


def drawn_regions(tasks: Iterable[Mapping[str, Any]]) -> int:
    """How many objects people drew on tasks: the most samples that can be learnt from them."""
    return sum(
        1
        for task in tasks
        for annotation in _objects(task.get("annotations"))
        if not annotation.get("was_cancelled")
        for region in _objects(annotation.get("result"))
        if region.get("type") in DRAWN
    )


def _objects(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def described(job: Job) -> Answer:
    """What anybody wants to know of a job."""
    return {
        "kind": job.kind,
        "project": job.project.rpartition("#")[2],
        "progress": round(job.progress, 3),
        "message": job.message,
        "created": job.created.isoformat(timespec="seconds"),
        "finished": job.finished.isoformat(timespec="seconds") if job.finished else None,
        "attempts": job.attempts,
    }
