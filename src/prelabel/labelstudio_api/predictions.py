"""Predictions in Label Studio: who holds which, bulk import, and what became of a write.

Label Studio's bulk import has no key by which it would notice that it gets the same predictions
twice. So a write is made once, and what is known of it afterwards is a `Receipt`; whoever sends it
again looks first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

import httpx2

from prelabel.errors import LabelStudioError, RequestRefused
from prelabel.labelstudio_api.client import IDS_PER_QUERY, LabelStudio, all_of, among, behind
from prelabel.labelstudio_api.refusals import not_json, refusal, unreachable
from prelabel.labelstudio_api.session import Json
from prelabel.overload import retry_after_s

IMPORT_TIMEOUT_S = 300.0
"""A chunk of 500 predictions took 4 s on two cores; gateways give up after 60 to 120 s."""

_FIELDS = "id,total_predictions,predictions_model_versions"
_LONGEST_COLUMN = 500  # where Label Studio cuts `predictions_model_versions`
_CUT_SETTLES_S = 10.0
_GATEWAY_SETTLES_S = 60.0


class Fate(Enum):
    """What is known of a write."""

    TAKEN = "taken"
    TURNED_AWAY = "it certainly changed nothing, and may succeed later"
    IN_DOUBT = "it may have been applied"
    REFUSED = "it was understood and refused for what it holds"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one write.

    Attributes:
        fate: What is known of it.
        created: How many predictions Label Studio says it made.
        error: Why it was not taken.
        retry_after_s: How long Label Studio asks to wait; None where it says nothing.
        settles_s: For how long a write in doubt may still be at work in Label Studio.
    """

    fate: Fate
    created: int = 0
    error: LabelStudioError | None = None
    retry_after_s: float | None = None
    settles_s: float = 0.0


def import_predictions(studio: LabelStudio, project_id: int, body: bytes) -> Receipt:
    """Send predictions in bulk, once.

    Args:
        studio: Where to.
        project_id: The project.
        body: A JSON array of `{"task", "result", "score", "model_version"}`.

    Raises:
        LabelStudioError: Nothing of this kind will be taken: the token may not write, or the
            project is gone.
    """
    return _write(studio, f"/api/projects/{project_id}/import/predictions", body)


def create_prediction(studio: LabelStudio, body: bytes) -> Receipt:
    """Send one prediction, once; unlike the bulk import, Label Studio says what is wrong with it.

    Raises:
        LabelStudioError: The token may not write.
    """
    return _write(studio, "/api/predictions/", body)


def holders(
    studio: LabelStudio, project_id: int, version: str, task_ids: Sequence[int]
) -> dict[int, int]:
    """Which of these tasks hold a prediction of a model version.

    Returns:
        The number of predictions of all versions, by the ids of those tasks.
    """
    found: dict[int, int] = {}
    for start in range(0, len(task_ids), IDS_PER_QUERY):
        ids = task_ids[start : start + IDS_PER_QUERY]
        found |= _holders(studio, project_id, version, among(ids), len(ids))
    return found


def holders_between(
    studio: LabelStudio, project_id: int, version: str, first_id: int, last_id: int
) -> dict[int, int]:
    """Like `holders`, for all tasks whose ids are not before the first or behind the last."""
    bounds = {"min": first_id, "max": last_id}
    between = {"filter": "filter:tasks:id", "operator": "in", "type": "Number", "value": bounds}
    return _holders(studio, project_id, version, between, last_id - first_id + 1)


def number_of_holders(studio: LabelStudio, project_id: int, version: str) -> int:
    """How many tasks hold a prediction of a model version."""
    names = studio.model_versions(project_id)
    if any(version in name and version != name for name in names):
        # Label Studio would count those, too.
        return sum(1 for _ in all_holders(studio, project_id, version))
    return int(studio.list_tasks(project_id, all_of(holds(version)), 1, _FIELDS)["total"])


def holds(version: str) -> Json:
    """The filter for tasks that hold a version whose name contains this one."""
    column = "filter:tasks:predictions_model_versions"
    return {"filter": column, "operator": "contains", "type": "List", "value": [version]}


def all_holders(studio: LabelStudio, project_id: int, version: str) -> Iterator[int]:
    """The tasks that hold a prediction of a model version, in the order of their ids."""
    after_id = 0
    while True:
        these = all_of(behind(after_id), holds(version))
        answer = studio.list_tasks(project_id, these, 500, _FIELDS)
        rows = answer.get("tasks") or []
        yield from _exactly(studio, version, rows)
        if len(rows) >= int(answer["total"]):
            return
        after_id = int(rows[-1]["id"])


def stored_ids(studio: LabelStudio, task_id: int) -> Iterator[tuple[int, str]]:
    """The id and the model version of each prediction that a task holds, oldest first."""
    for stored in sorted(studio.predictions(task_id), key=lambda row: int(row["id"])):
        yield int(stored["id"]), str(stored["model_version"])


def delete_prediction(studio: LabelStudio, prediction_id: int) -> None:
    """Delete one prediction; one that is gone already is no error."""
    response = studio.ask_once("DELETE", f"/api/predictions/{prediction_id}/")
    if not response.is_success and response.status_code != HTTPStatus.NOT_FOUND:
        raise refusal(response)


def delete_all_of(studio: LabelStudio, project_id: int, task_ids: Sequence[int]) -> None:
    """Delete all predictions of tasks, of whatever version."""
    studio.object(
        "POST",
        "/api/dm/actions/",
        params={"id": "delete_tasks_predictions", "project": project_id},
        json={"selectedItems": {"all": False, "included": list(task_ids)}},
        timeout=IMPORT_TIMEOUT_S,
    )


def delete_version(studio: LabelStudio, project_id: int, version: str) -> int:
    """Delete all predictions of a model version; the number of predictions deleted."""
    path = f"/api/projects/{project_id}/model-versions/"
    try:
        answer = studio.object("DELETE", path, json={"model_version": version}, timeout=600.0)
    except RequestRefused as refused:
        if "not allowed" not in refused.cause:
            raise
        return _delete_each(studio, project_id, version)  # Label Studio before 1.12
    return int(answer.get("deleted_predictions", 0))


def _delete_each(studio: LabelStudio, project_id: int, version: str) -> int:
    held = [
        number
        for task_id in list(all_holders(studio, project_id, version))
        for number, name in stored_ids(studio, task_id)
        if name == version
    ]
    for number in held:
        delete_prediction(studio, number)
    return len(held)


def _holders(
    studio: LabelStudio, project_id: int, version: str, tasks: Json, most: int
) -> dict[int, int]:
    answer = studio.list_tasks(project_id, all_of(tasks, holds(version)), most, _FIELDS)
    return _exactly(studio, version, answer.get("tasks") or [])


def _exactly(studio: LabelStudio, version: str, rows: Sequence[Json]) -> dict[int, int]:
    """Of the tasks that hold a version whose name contains this one, those that hold this one."""
    found = {}
    for row in rows:
        column, task_id = str(row["predictions_model_versions"]), int(row["id"])
        holds = version in {name.strip() for name in column.split(",")}
        if not holds and len(column) >= _LONGEST_COLUMN:
            holds = any(name == version for _, name in stored_ids(studio, task_id))
        if holds:
            found[task_id] = int(row["total_predictions"])
    return found


def _write(studio: LabelStudio, path: str, body: bytes) -> Receipt:
    headers = {"Content-Type": "application/json"}
    try:
        response = studio.ask_once(
            "POST", path, content=body, headers=headers, timeout=IMPORT_TIMEOUT_S
        )
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        return Receipt(Fate.TURNED_AWAY, error=unreachable(studio.url, error))
    except httpx2.RequestError as error:
        settles_s = _GATEWAY_SETTLES_S if isinstance(error, httpx2.ReadTimeout) else _CUT_SETTLES_S
        return Receipt(Fate.IN_DOUBT, error=unreachable(studio.url, error), settles_s=settles_s)
    if response.is_success:
        return Receipt(Fate.TAKEN, created=_created(response))
    return _not_taken(response)


def _not_taken(response: httpx2.Response) -> Receipt:
    """What an answer that is no success says about the write.

    Raises:
        LabelStudioError: It says that no such write will be taken.
    """
    error, status = refusal(response), response.status_code
    wait_s = retry_after_s(response.headers.get("Retry-After"))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Receipt(Fate.TURNED_AWAY, error=error, retry_after_s=wait_s)
    if status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}:
        return Receipt(Fate.IN_DOUBT, 0, error, wait_s, _GATEWAY_SETTLES_S)
    # A 503 comes from Label Studio when it has ended, or from a gateway that did not ask it.
    # Of a locked database the predictions may be stored, and only the counters missing.
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Receipt(Fate.IN_DOUBT, 0, error, wait_s)
    content_is_wrong = {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
    if status in content_is_wrong:
        return Receipt(Fate.REFUSED, error=error)
    raise error


def _created(response: httpx2.Response) -> int:
    try:
        answer = response.json()
        return int(answer.get("created", 1))  # a single prediction is answered with itself
    except (ValueError, AttributeError) as error:
        raise not_json(response) from error
