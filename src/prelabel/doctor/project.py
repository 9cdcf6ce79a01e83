"""Checks of a project in Label Studio: its label config, and whether its images can be had."""

import time
from itertools import islice

from prelabel.assembly import parts
from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped, warning
from prelabel.errors import LabelStudioError, TaskError
from prelabel.labelstudio.config import LabelConfig
from prelabel.labelstudio.regions.check import names_gone
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api.client import all_of
from prelabel.labelstudio_api.session import Json
from prelabel.media.decode import decode
from prelabel.media.fetch import Fetcher
from prelabel.media.references import ImageReference, Origin, shown
from prelabel.plan import Plan
from prelabel.steps import PoseStep, Step, VideoStep

SAMPLES = 3

PREDICTED_SAMPLES = 40
"""Tasks whose predictions are looked at: a label config is changed for all, or for none."""

_PREDICTED: Json = {
    "filter": "filter:tasks:total_predictions",
    "operator": "greater",
    "type": "Number",
    "value": 0,
}


def project(case: Case) -> Diagnosis:
    """Whether the project exists and has tasks."""
    if case.settings.project_id is None:
        return skipped("which one? Give --project N, or set PROJECT_ID")
    try:
        found = case.project
    except LabelStudioError as error:
        return failure(
            f"{case.settings.project_id}: {error.cause}",
            "None of its tasks can be read.",
            f"{case.studio.url}/projects   # lists the projects that this user may see",
        )
    named = f"{found['id']} “{found['title']}”"
    page = f"{case.studio.url}/projects/{found['id']}/data"
    if not found.get("task_number"):
        return warning(
            f"{named} has no tasks",
            "There is nothing to predict.",
            f"Import images with the Import button of {page}",
        )
    with_predictions = found.get("total_predictions_number", 0)
    return ok(f"{named}: {found['task_number']} tasks, {with_predictions} predictions")


def label_config(case: Case) -> Diagnosis:
    """Whether the project's label config has something that prelabel fills.

    Raises:
        InvalidRequest: It cannot be read.
    """
    plan = case.plan
    config_page = f"{case.studio.url}/projects/{case.project['id']}/settings/labeling"
    if not plan.fills:
        return failure(
            "; ".join(plan.warnings),
            "Every task of this project stays without a prediction.",
            f"Add RectangleLabels or KeyPointLabels on an Image at {config_page}\n"
            "prelabel config boxes   # prints one that works; so does prelabel config pose",
        )
    found = "; ".join(_words(step) for step in (*plan.steps, *plan.videos))
    by_people = _left_to_people(plan)
    found += f"; left to people: {', '.join(by_people)}" if by_people else ""
    if plan.warnings:
        return warning(
            f"{found} ({'; '.join(plan.warnings)})",
            "What the config says there is not obeyed.",
            f"Correct it at {config_page}",
        )
    return ok(found)


def predictions(case: Case) -> Diagnosis:
    """Whether tasks that are predicted hold a prediction that fits the label config of today."""
    number = int(case.project["id"])
    tasks = case.studio.list_tasks(number, all_of(_PREDICTED), PREDICTED_SAMPLES).get("tasks") or []
    if not tasks:
        return ok("no task holds one yet")
    gone = [names for task in tasks if (names := _names_gone(task, case.plan.config))]
    if not gone:
        return ok(f"those of {len(tasks)} tasks looked at fit the label config")
    named = ", ".join(sorted({name for names in gone for name in names}))
    return warning(
        f"those of {len(gone)} of {len(tasks)} tasks looked at name {named}, which the label "
        "config does not have any more",
        "Label Studio hides what they name, and does not ask for these tasks again.",
        f"prelabel run --project {number} --force   # makes them anew",
    )


def _names_gone(task: Json, config: LabelConfig) -> set[str]:
    """What a task's predictions name and the config has not; nothing where one of them fits."""
    predictions = task.get("predictions") or []
    of_each = [names_gone(one.get("result") or [], config) for one in predictions]
    return {name for names in of_each for name in names} if all(of_each) else set()


def images(case: Case) -> Diagnosis:
    """Whether images of the first tasks can be fetched and decoded, and how long that takes."""
    if not case.plan.steps:
        return skipped("no model looks at its videos")
    number = int(case.project["id"])
    rows = islice(case.studio.tasks(number, page_size=SAMPLES), SAMPLES)
    tasks = [Task.model_validate(row) for row in rows]
    if not tasks:
        return skipped("the project has no tasks")
    origin = Origin(
        case.settings.label_studio_url, case.studio.auth, case.settings.label_studio_aliases
    )
    fetcher = parts.fetcher(case.settings)
    begin = time.monotonic()
    sizes, errors = [], []
    try:
        for task in tasks:
            try:
                sizes.append(_looked_at(task, case, fetcher, origin))
            except TaskError as error:
                errors.append(error)
    finally:
        fetcher.close()
    each_ms = (time.monotonic() - begin) / len(tasks) * 1000
    if not errors:
        return ok(f"{len(tasks)} of {len(tasks)} had in {each_ms:.0f} ms each, {sizes[0]}")
    first = errors[0]
    say = failure if len(errors) == len(tasks) else warning
    return say(
        f"{len(errors)} of {len(tasks)} could not be had; {first.thing}: {first.cause}",
        "Tasks whose image cannot be had get no prediction.",
        first.next_step,
    )


def _looked_at(task: Task, case: Case, fetcher: Fetcher, origin: Origin) -> str:
    """The size of a task's first image, for people.

    Raises:
        TaskError: It cannot be had.
    """
    uri = case.plan.steps[0].image.uris(task.data)[0]
    login, password = (case.project.get(f"task_data_{key}") for key in ("login", "password"))
    data = fetcher.fetch(ImageReference(uri, task.number, login, password, origin))
    image = decode(data, f"{task}, {shown(uri)}", parts.limits(case.settings))
    return f"{image.width} x {image.height} px"


def _words(step: Step | VideoStep) -> str:
    if isinstance(step, VideoStep):
        return f"{step.control.name}: tracks that people began, once trained"
    if isinstance(step, PoseStep):
        box = f" in {step.parent.label} boxes" if step.parent else ""
        number = sum(len(one.labels) for one in step.points)
        return f"{', '.join(step.control_names)}: {number} keypoints of people{box}"
    labels = dict.fromkeys(phrase.label for phrase in step.ask.phrases)
    part = f", with {step.part_choice.control.name}" if step.part_choice else ""
    return f"{step.control.name}: boxes of {', '.join(labels)}{part}"


def _left_to_people(plan: Plan) -> list[str]:
    """Names of the controls that no step fills."""
    filled = {name for step in plan.steps for name in step.control_names}
    for video in plan.videos:
        filled |= {video.control.name, *([video.labels.name] if video.labels else [])}
    for step in plan.steps:
        if isinstance(step, PoseStep):
            filled |= {step.parent.control.name} if step.parent else set()
        elif step.part_choice:
            filled.add(step.part_choice.control.name)
    return [control.name for control in plan.config.controls if control.name not in filled]
