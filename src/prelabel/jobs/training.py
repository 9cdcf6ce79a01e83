"""The training job: fetch what people annotated, learn from it, check it, keep what is better."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import structlog

from prelabel.errors import SettingsError
from prelabel.jobs.work import Report
from prelabel.labelstudio.config import parse
from prelabel.labelstudio_api.client import LabelStudio, created_s
from prelabel.learning.archive import dumps, loads
from prelabel.learning.gate import figures, judge
from prelabel.learning.lessons import (
    Lessons,
    lessons,
    mixed_sequences,
    uploaded_sequences,
    without,
)
from prelabel.learning.sequence import Learned, Lesson, Options, learn
from prelabel.store.jobs import Job
from prelabel.store.learned import Active, LearnedVersions, Scope

log = structlog.get_logger(__name__)

KIND = "training"

Outcome = Literal["trained", "unchanged", "kept-old", "insufficient-data"]

_FETCHED, _LEARNT, _CHECKED = 0.5, 0.7, 0.95
"""How far a training is after each of its steps, roughly as they take time."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What to train.

    Attributes:
        project: Its number in Label Studio.
        tasks: Tasks with annotations, where they came with the request; else they are fetched.
        label_config: The project's, where it came with them.
        created: When the project was made, in whole seconds since 1970, where that is known.
    """

    project: int
    tasks: list[dict[str, Any]] | None = None
    label_config: str | None = None
    created: int | None = None

    def write(self) -> bytes:
        """As a job's payload."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, payload: bytes) -> Self:
        """Out of a job's payload."""
        return cls(**json.loads(payload))


@dataclass(frozen=True, slots=True)
class _Material:
    """What a training works on.

    Attributes:
        scope: The project for all time.
        label_config: As XML.
        tasks: Its tasks, fetched as they are read.
        expected: How many there will be.
    """

    scope: Scope
    label_config: str
    tasks: Iterable[Mapping[str, Any]]
    expected: int


class Training:
    """Trains projects of one Label Studio. Done twice, it adds nothing the second time.

    Args:
        versions: Where learnt versions are kept.
        studio: The Label Studio, signed in to; None where no login is set.
        url: Its address.
        options: How to learn.
        default_box_pct: Width and height that a lone keypoint counts as, percent of the image.
        learnt: Called when another version answers.
    """

    def __init__(
        self,
        versions: LearnedVersions,
        studio: LabelStudio | None,
        url: str,
        *,
        options: Options,
        default_box_pct: tuple[float, float],
        learnt: Callable[[], None] = lambda: None,
    ) -> None:
        self._versions = versions
        self._studio = studio
        self._url = url
        self._options = options
        self._default_box_pct = default_box_pct
        self._learnt = learnt

    def __call__(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Do a training that was asked for with a job."""
        if not job.payload:
            raise _no_login(f"project {job.project.rpartition('#')[2]}")
        return self.train(TrainingRequest.read(job.payload), report)

    def train(
        self, request: TrainingRequest, report: Report, *, force: bool = False
    ) -> dict[str, Any]:
        """Learn from a project's annotations, and let the outcome answer if it is no worse.

        Too few annotations are an outcome, not an error; an earlier version then goes on. So does
        one that is better; either shows on annotated frames what people say of them today.

        Args:
            request: What to train.
            report: Is told how far it is.
            force: Let it answer even where it is worse than what answers now.

        Returns:
            As JSON: `status` (an `Outcome`), `message`, `version` that answers now or None,
            `sample_count`, `required_samples`, `annotated_tasks`, `figures`, `warnings`,
            `seconds`.

        Raises:
            SettingsError: The tasks must be fetched, and there is no login.
            LabelStudioError: They cannot be fetched.
            StoreUnavailable: The database does not answer.
        """
        started = time.monotonic()
        material = self._material(request)
        told = _told(material, report)
        config = parse(material.label_config)
        taught = lessons(told, config, self._default_box_pct)
        uploads = uploaded_sequences(taught.frames)
        if request.tasks is None and uploads and self._studio is not None:
            report(_FETCHED, "looking whether two videos have frames of equal names")
            every = self._studio.tasks(request.project)
            taught = without(taught, mixed_sequences(every, config, uploads))
        report(_FETCHED, f"learning from {len(taught.frames)} annotated frames")
        lesson = learn(taught.frames, self._options)
        outcome = self._keep(material.scope, taught, lesson, report, force=force)
        if outcome["status"] in ("insufficient-data", "kept-old") and request.tasks is None:
            self._show_today(material.scope, lesson, outcome)
        return {**outcome, "seconds": round(time.monotonic() - started, 2)}

    def _material(self, request: TrainingRequest) -> _Material:
        tasks, xml, created = request.tasks, request.label_config, request.created
        if self._studio is not None and (tasks is None or xml is None or created is None):
            project = self._studio.project(request.project)
            xml = xml if tasks is not None and xml else project["label_config"]
            if created not in (None, created_s(project)):
                raise _not_the_same(self._url, request.project)
            created = created_s(project)
        scope = Scope(self._url, request.project, created or 0)
        if tasks is not None and xml:
            return _Material(scope, xml, tasks, len(tasks))
        if self._studio is None:
            raise _no_login(f"project {request.project}")
        assert xml is not None
        fetched = self._studio.annotated_tasks(request.project)
        return _Material(scope, xml, fetched, self._studio.annotated_task_count(request.project))

    def _keep(
        self, scope: Scope, taught: Lessons, lesson: Lesson, report: Report, *, force: bool
    ) -> dict[str, Any]:
        """Store what was learnt and decide which version answers; gives the outcome."""
        active = self._versions.active(scope)
        about = {
            "sample_count": lesson.sample_count,
            "required_samples": lesson.required_samples,
            "annotated_tasks": taught.annotated,
            "warnings": [*taught.warnings, *lesson.warnings],
        }
        answering = active.version if active else None
        learned = lesson.learned
        if learned is None:
            return _outcome("insufficient-data", _too_few(lesson, active), answering, about)
        if active and active.digest == learned.digest:
            said = f"Nothing was annotated or changed since version {active.version}."
            about["figures"] = active.report.get("figures", {})
            return _outcome("unchanged", said, answering, about)
        report(_LEARNT, f"checking on {len(taught.frames)} annotated frames")
        about["figures"] = figures(taught.frames, learned)
        verdict = judge(taught.frames, learned, _loaded(active))
        report(_CHECKED, "keeping it")
        accepted = verdict.accepted or force
        status: Outcome = "trained" if accepted else "kept-old"
        source = f"{len(taught.frames)} annotated frames: {verdict.reason}."
        stored = _outcome(status, f"Learnt from {source}", None, about)
        blob = dumps(learned)
        version = self._versions.add(scope, blob, learned.digest, stored, activate=accepted)
        if not accepted:
            return _outcome(
                status,
                f"Version {answering} goes on: {verdict.reason}. "
                f"`prelabel train --project {scope.project} --force` lets the new one answer.",
                answering,
                about,
            )
        self._learnt()
        return _outcome(status, f"Version {version} answers, learnt from {source}", version, about)

    def _show_today(self, scope: Scope, lesson: Lesson, outcome: dict[str, Any]) -> None:
        """Let what goes on show on annotated frames what people say of them now."""
        active = self._versions.active(scope)
        goes_on = _loaded(active)
        if active is None or goes_on is None:
            return
        showing = goes_on.showing(lesson.frames)
        if showing.digest == active.digest:
            return
        said = f"The tracks of version {active.version}, and what people drew since."
        stored = {**outcome, "figures": active.report["figures"], "version": None}
        stored |= {"status": "kept-old", "message": said}
        version = self._versions.add(scope, dumps(showing), showing.digest, stored, activate=True)
        self._learnt()
        outcome["version"] = version
        outcome["message"] += (
            f" As version {version} it shows on annotated frames what people drew since."
        )


def _outcome(
    status: Outcome, message: str, version: int | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    return {"status": status, "message": message, "version": version, "figures": {}, **about}


def _told(material: _Material, report: Report) -> Iterator[Mapping[str, Any]]:
    """The tasks, with a word on how many have come."""
    for count, task in enumerate(material.tasks):
        share = min(1.0, count / max(1, material.expected))
        report(_FETCHED * share, f"fetching annotated task {count + 1} of {material.expected}")
        yield task


def _loaded(active: Active | None) -> Learned | None:
    if active is None:
        return None
    try:
        return loads(active.model)
    except ValueError as error:  # whatever was learnt now is better than what cannot be read
        log.warning("learnt version cannot be read", version=active.version, reason=str(error))
        return None


def _too_few(lesson: Lesson, active: Active | None) -> str:
    goes_on = f" Version {active.version} goes on." if active and _loaded(active) else ""
    return (
        f"One label needs {lesson.required_samples} annotated objects in one sequence, the best "
        f"has {lesson.sample_count}. Annotate more frames, then train again.{goes_on}"
    )


def _not_the_same(url: str, project: int) -> SettingsError:
    return SettingsError(
        f"project {project} of {url}",
        "is not the project that is to be trained, but one of the same number, made another time",
        "Set LABEL_STUDIO_URL to the Label Studio in which training was started, and restart.",
    )


def _no_login(thing: str) -> SettingsError:
    return SettingsError(
        thing,
        "what to learn did not come with the request, and cannot be fetched without a login",
        "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY where prelabel runs, and train again.",
    )
