"""Attaching the backend to a project: what `prelabel connect` does.

Doing it again changes nothing: a project is found by its title and keeps its label config, a
backend that is attached already is left alone, and so is its webhook.
"""

from dataclasses import dataclass
from typing import Any

import httpx2

from prelabel.errors import RequestRefused, SettingsError
from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.refusals import base_address
from prelabel.labelstudio_api.session import Json

_CONNECTED = "CO"
_BACKEND_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What the backend answered for one task, asked through Label Studio.

    Attributes:
        task_id: The task that Label Studio chose.
        answered: Whether there was a prediction; otherwise the task failed in the backend.
        regions: How many regions the prediction has.
        model_version: The version that the prediction carries, or None.
    """

    task_id: int
    answered: bool
    regions: int
    model_version: str | None


@dataclass(frozen=True, slots=True)
class Connection:
    """A project with its backend, and what was done to get there.

    Attributes:
        project_id: The project.
        project_title: Its title.
        project_url: Where its tasks are seen.
        project_action: "created" or "found".
        backend_id: The backend within Label Studio.
        backend_url: Its address, as Label Studio sees it.
        backend_action: "attached", "updated" or "unchanged".
        model_version: The version that the backend gave, or None.
        webhook_action: "created", "moved", "unchanged", or "missing" where Label Studio refused.
        warnings: What an operator should know, each a full sentence.
    """

    project_id: int
    project_title: str
    project_url: str
    project_action: str
    backend_id: int
    backend_url: str
    backend_action: str
    model_version: str | None
    webhook_action: str
    warnings: tuple[str, ...]


def connect_project(
    studio: LabelStudio,
    backend_url: str,
    *,
    project_title: str = "Body distortion",
    project_id: int | None = None,
    label_config: str | None = None,
    basic_auth: tuple[str, str] | None = None,
) -> Connection:
    """Find or make a project and attach the backend to it.

    Args:
        studio: Label Studio.
        backend_url: The backend's address as Label Studio sees it.
        project_title: The project to find by its title, or to make.
        project_id: The project itself; goes before the title.
        label_config: The config of a project that is made, by default the shipped one; a
            project that exists keeps its own.
        basic_auth: User name and password of the backend.

    Raises:
        LabelStudioError: Label Studio cannot be reached, or refused a step.
        SettingsError: The backend's address is none, or several projects have the title.
    """
    backend_url = base_address(backend_url)
    warnings: list[str] = []
    project, project_action = _project(studio, project_title, project_id, label_config, warnings)
    warnings += _doubts(backend_url, project["label_config"], basic_auth)
    number = int(project["id"])
    before = studio.ml_backends(number)
    backend, backend_action = _backend(studio, number, before, backend_url, basic_auth)
    if len(before) > 1:
        others = ", ".join(other["url"] for other in before[1:])
        warnings.append(
            f"Label Studio asks the first backend only; {others} is attached and never asked. "
            "Remove it under Settings, Model."
        )
    if basic_auth is not None and httpx2.URL(backend_url).path in {"", "/"}:
        warnings.append(
            "Label Studio sends events without the password; for the backend to hear of "
            f"annotations, set its SECRET_PATH and attach it as {backend_url}/<SECRET_PATH>."
        )
    old_url = str(before[0]["url"]) if before else None
    webhook_action = _webhook(studio, number, old_url, backend_url, warnings)
    return Connection(
        project_id=number,
        project_title=project["title"],
        project_url=f"{studio.url}/projects/{number}/data",
        project_action=project_action,
        backend_id=int(backend["id"]),
        backend_url=backend_url,
        backend_action=backend_action,
        model_version=backend["model_version"],
        webhook_action=webhook_action,
        warnings=tuple(warnings),
    )


def try_prediction(studio: LabelStudio, backend_id: int) -> Trial:
    """Have Label Studio ask the backend about a task of its choice; nothing is stored.

    Raises:
        LabelStudioError: The project has no tasks, the backend did not answer, or Label Studio
            knows no such test.
    """
    try:
        answer = studio.test_prediction(backend_id)
    except RequestRefused as refused:
        if not refused.cause.startswith("status 404"):
            raise
        raise RequestRefused(
            "the test prediction",
            "Label Studio makes none before 1.12",
            "Open a task of the project in Label Studio: that asks the backend, too.",
        ) from refused
    entries: Any = answer["response"]
    entry = entries[0] if isinstance(entries, list) and entries else []
    predictions = [entry] if isinstance(entry, dict) else list(entry)
    return Trial(
        task_id=int(answer["task"]["id"]),
        answered=bool(predictions),
        regions=sum(len(prediction.get("result", [])) for prediction in predictions),
        model_version=predictions[0].get("model_version") if predictions else None,
    )


def _project(
    studio: LabelStudio,
    title: str,
    project_id: int | None,
    label_config: str | None,
    warnings: list[str],
) -> tuple[Json, str]:
    if project_id is not None:
        found = [studio.project(project_id)]
    else:
        found = studio.projects_titled(title)
    if len(found) > 1:
        ids = ", ".join(str(project["id"]) for project in found)
        raise SettingsError(
            title,
            f"{len(found)} projects have this title (ids {ids})",
            "Name one of them with --project-id.",
        )
    if not found:
        return studio.create_project(title, label_config or boxes_config()), "created"
    if label_config is not None and label_config.strip() != found[0]["label_config"].strip():
        warnings.append(
            "The project has a label config of its own, which was kept; to use the given one, "
            "paste it under Settings, Labeling Interface."
        )
    return found[0], "found"


def _doubts(backend_url: str, label_config: str, basic_auth: tuple[str, str] | None) -> list[str]:
    """What the backend thinks of a label config, asked from here.

    The address is meant for Label Studio's eyes; that it is none from here is only a doubt.
    """
    asked = f"{backend_url}/validate"
    try:
        answer = httpx2.post(
            asked, json={"config": label_config}, auth=basic_auth, timeout=_BACKEND_TIMEOUT_S
        )
        found = answer.json()["warnings"]
    except httpx2.RequestError as error:
        return [f"Label config not checked: {asked} gives no answer from here ({error})."]
    except (ValueError, KeyError, TypeError):
        return [f"Label config not checked: {asked} answers with status {answer.status_code}."]
    return [f"Label config: {warning}." for warning in found]


def _backend(
    studio: LabelStudio,
    project_id: int,
    attached: list[Json],
    url: str,
    basic_auth: tuple[str, str] | None,
) -> tuple[Json, str]:
    if not attached:
        added = studio.add_ml_backend(project_id, url, basic_auth=basic_auth)
        return added, "attached"
    first = attached[0]
    same_url = first["url"].rstrip("/") == url
    # Before 1.12 a backend has no user; it is the same then.
    user = basic_auth[0] if basic_auth else None
    same_user = user is None or first.get("basic_auth_user", user) == user
    if same_url and same_user and first["state"] == _CONNECTED:
        return first, "unchanged"
    # Also where only its state is bad: the update has Label Studio say why it is.
    updated = studio.update_ml_backend(int(first["id"]), project_id, url, basic_auth=basic_auth)
    return updated, "updated"


def _webhook(
    studio: LabelStudio,
    project_id: int,
    old_url: str | None,
    url: str,
    warnings: list[str],
) -> str:
    """Have the project's events sent to the backend.

    Label Studio makes the webhook itself when a backend is attached, silently makes none where
    it does not like the host name, and leaves it as it is when the backend's address changes.
    """
    hooks = {hook["url"]: hook for hook in studio.webhooks(project_id)}
    wanted = f"{url}/webhook"
    if wanted in hooks:
        return "unchanged" if old_url else "created"
    stale = hooks.get(f"{old_url.rstrip('/')}/webhook") if old_url else None
    try:
        if stale is not None:
            studio.update_webhook(int(stale["id"]), url=wanted)
            return "moved"
        studio.add_webhook(project_id, wanted)
    except RequestRefused as refused:
        warnings.append(
            "Predictions work, but the backend will not hear of annotations: Label Studio "
            f"refused the webhook {wanted} ({refused.cause}). {refused.next_step}"
        )
        return "missing"
    return "created"
