"""The calls of Label Studio's HTTP API that prelabel makes, checked against 1.23.2.

Every failure is a `LabelStudioError` that names the next step. Reads are repeated after broken
connections and while Label Studio is overloaded; a write is repeated only where it is certain
that it was not applied.
"""

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeAlias

import httpx2
import stamina

from prelabel import __version__
from prelabel.labelstudio_api.login import auth_for
from prelabel.labelstudio_api.refusals import (
    OVERLOADED,
    base_address,
    not_json,
    refusal,
    unreachable,
)

Json: TypeAlias = dict[str, Any]

_LONGEST_PAUSE_S = 60.0
_FILES_PER_UPLOAD = 50  # Django refuses forms of more than 100 files
_BACKEND_TIMEOUT_S = 600.0  # Label Studio asks the backend, and waits 100 s for each answer


class LabelStudio:
    """A Label Studio, signed in to. A context manager; safe to share between threads.

    Args:
        url: Its address, with its sub-path if it has one.
        token: A token of any kind.
        username: With `password`, what to log in with where there is no token.
        password: See `username`.
        timeout_s: Time to wait for an answer.
        attempts: How often a request is made that may succeed the next time.
        verify: Whether certificates are checked, or a file or folder of authorities to trust.
        transport: What carries the requests; by default the network.

    Attributes:
        url: The address, without a slash at its end.
        auth: Signs requests of any synchronous client; for requests to `url` only.

    Raises:
        SettingsError: `url` is no address, or there is nothing to sign in with.
        LoginRefused: The token is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout_s: float = 30.0,
        attempts: int = 4,
        verify: bool | str = True,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = base_address(url)
        self._attempts = attempts
        self.auth = auth_for(self.url, token=token, username=username, password=password)
        self._http = httpx2.Client(
            base_url=self.url,
            auth=self.auth,
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            verify=_authorities(verify) if isinstance(verify, str) else verify,
            transport=transport,
            headers={"Accept": "application/json", "User-Agent": f"prelabel/{__version__}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def version(self) -> str:
        """The release, for example "1.23.2"."""
        return str(self._object("GET", "/api/version/").get("release", "unknown"))

    def whoami(self) -> Json:
        """The user that is signed in."""
        return self._object("GET", "/api/current-user/whoami")

    def projects_titled(self, title: str) -> list[Json]:
        """All projects of exactly this title, oldest first."""
        found: list[Json] = []
        page = 1
        while True:
            # Label Studio's own filter finds every title that contains the words.
            params = {"title": title, "page": page, "page_size": 100}
            answer = self._object("GET", "/api/projects/", params=params)
            found += [project for project in answer["results"] if project["title"] == title]
            if not answer["next"]:
                return sorted(found, key=lambda project: int(project["id"]))
            page += 1

    def project(self, project_id: int) -> Json:
        """One project, with its `label_config`."""
        return self._object("GET", f"/api/projects/{project_id}/")

    def create_project(self, title: str, label_config: str, **fields: Any) -> Json:
        """Make a project; its title needs at least three characters."""
        body = {"title": title, "label_config": label_config, **fields}
        return self._object("POST", "/api/projects/", json=body)

    def update_project(self, project_id: int, **fields: Any) -> Json:
        """Change the named fields of a project."""
        return self._object("PATCH", f"/api/projects/{project_id}/", json=fields)

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add tasks, such as `{"data": {"image": url}}`.

        Returns:
            The ids of the new tasks, in order.
        """
        return self._import(project_id, json=list(tasks))

    def upload_files(self, project_id: int, paths: Sequence[Path]) -> list[int]:
        """Upload images, many to a request; each becomes a task.

        Returns:
            The ids of the new tasks, in order.
        """
        ids: list[int] = []
        for start in range(0, len(paths), _FILES_PER_UPLOAD):
            with ExitStack() as stack:
                # Of files under one field name, Label Studio 1.23.2 keeps the last only.
                files = {
                    f"file{number}": (path.name, stack.enter_context(path.open("rb")))
                    for number, path in enumerate(paths[start : start + _FILES_PER_UPLOAD])
                }
                ids += self._import(project_id, files=files)
        return ids

    def _import(self, project_id: int, **content: Any) -> list[int]:
        path = f"/api/projects/{project_id}/import"
        params = {"return_task_ids": "true"}
        answer = self._object("POST", path, params=params, timeout=_BACKEND_TIMEOUT_S, **content)
        return [int(task_id) for task_id in answer["task_ids"]]

    def tasks(
        self, project_id: int, *, after_id: int = 0, page_size: int = 500, annotations: bool = False
    ) -> Iterator[Json]:
        """The tasks of a project in the order of their ids, with `id` and raw `data`.

        Each page starts behind the last id seen, so that tasks which come or go meanwhile shift
        nothing.

        Args:
            project_id: The project.
            after_id: Leave out this id and all before it.
            page_size: Tasks per request.
            annotations: Give all fields, annotations and predictions among them.
        """
        # With "all", an "include" would be applied to each annotation too, and leave only its id.
        fields = {"fields": "task_only", "include": "id,data"}
        while True:
            answer = self._object(
                "GET",
                "/api/tasks/",
                params={
                    "project": project_id,
                    "page": 1,
                    "page_size": page_size,
                    "resolve_uri": "false",
                    "query": _after(after_id),
                    **({"fields": "all"} if annotations else fields),
                },
            )
            page: list[Json] = answer.get("tasks") or []
            yield from page
            if (
                not page or len(page) >= answer["total"]
            ):  # the server may have a smaller page size of its own
                return
            after_id = page[-1]["id"]

    def task(self, task_id: int) -> Json:
        """One task with its annotations and predictions.

        Label Studio asks the backend for a prediction where the task has none.
        """
        return self._object("GET", f"/api/tasks/{task_id}/", timeout=_BACKEND_TIMEOUT_S)

    def predictions(self, task_id: int) -> list[Json]:
        """The stored predictions of a task."""
        return self._list("/api/predictions/", task=task_id)

    def model_versions(self, project_id: int) -> dict[str, int]:
        """How many predictions each model version has; a backend's title is listed with 0."""
        return self._object("GET", f"/api/projects/{project_id}/model-versions/")

    def ml_backends(self, project_id: int) -> list[Json]:
        """The backends of a project, each checked anew; Label Studio asks the first only."""
        return self._list("/api/ml/", project=project_id)

    def add_ml_backend(
        self,
        project_id: int,
        url: str,
        *,
        title: str = "prelabel",
        basic_auth: tuple[str, str] | None = None,
    ) -> Json:
        """Attach a backend; Label Studio calls its `/health` and `/setup` first.

        Args:
            project_id: The project.
            url: The backend's address as Label Studio sees it.
            title: What Label Studio shows.
            basic_auth: User name and password of the backend.
        """
        body = {"project": project_id, "url": url, "title": title, **_basic(basic_auth)}
        return self._object("POST", "/api/ml/", json=body)

    def update_ml_backend(
        self,
        backend_id: int,
        project_id: int,
        url: str,
        *,
        basic_auth: tuple[str, str] | None = None,
    ) -> Json:
        """Change a backend; Label Studio calls its `/health` and `/setup` first.

        Label Studio checks with what this request holds, not with what it has stored: the
        address, the project and the password are always needed.
        """
        body = {"project": project_id, "url": url, **_basic(basic_auth)}
        return self._object("PATCH", f"/api/ml/{backend_id}", json=body)

    def test_prediction(self, backend_id: int) -> Json:
        """Have Label Studio ask the backend about a random task; nothing is stored.

        Returns:
            Among others `task`, as it was sent, and `response`, the backend's `results`.
        """
        path = f"/api/ml/{backend_id}/predict/test"
        return self._object("POST", path, params={"random": "true"}, timeout=_BACKEND_TIMEOUT_S)

    def retrieve_predictions(self, project_id: int, task_ids: Sequence[int] | None = None) -> Json:
        """Do what the button Retrieve Predictions does, for some tasks or, with None, for all.

        Label Studio says "Retrieved N predictions" whatever came back; look at `model_versions`.
        """
        selected: Json = {"all": True, "excluded": []}
        if task_ids is not None:
            selected = {"all": False, "included": list(task_ids)}
        return self._object(
            "POST",
            "/api/dm/actions/",
            params={"id": "retrieve_tasks_predictions", "project": project_id},
            json={"selectedItems": selected},
            timeout=_BACKEND_TIMEOUT_S,
        )

    def start_training(self, backend_id: int) -> None:
        """Do what the button Start Training does; Label Studio does not tell how it went."""
        self._send("POST", f"/api/ml/{backend_id}/train", json={}, timeout=_BACKEND_TIMEOUT_S)

    def webhooks(self, project_id: int) -> list[Json]:
        """The addresses that hear of what happens in a project."""
        return self._list("/api/webhooks/", project=project_id)

    def add_webhook(self, project_id: int, url: str) -> Json:
        """Send all events of a project to an address."""
        body = {
            "project": project_id,
            "url": url,
            "send_payload": True,
            "send_for_all_actions": True,
        }
        return self._object("POST", "/api/webhooks/", json=body)

    def update_webhook(self, webhook_id: int, **fields: Any) -> Json:
        """Change the named fields of a webhook."""
        return self._object("PATCH", f"/api/webhooks/{webhook_id}/", json=fields)

    def _list(self, path: str, **params: Any) -> list[Json]:
        response = self._send("GET", path, params=params)
        found = _parsed(response)
        if not isinstance(found, list):
            raise not_json(response)
        return found

    def _object(self, method: str, path: str, **content: Any) -> Json:
        response = self._send(method, path, **content)
        found = _parsed(response)
        if not isinstance(found, dict):
            raise not_json(response)
        return found

    def _send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """A successful answer."""
        repeat = _read_may_succeed_later if method == "GET" else _was_not_applied
        try:
            for attempt in stamina.retry_context(
                on=repeat,
                attempts=self._attempts,
                timeout=None,
                wait_initial=0.25,
                wait_jitter=0.5,
                wait_max=_LONGEST_PAUSE_S,
            ):
                with attempt:
                    response = self._http.request(method, path, **content)
                    _raise_if_overloaded(response)
        except _Overloaded as overloaded:
            raise refusal(overloaded.response) from None
        except httpx2.RequestError as error:
            raise unreachable(self.url, error) from error
        if not response.is_success:
            raise refusal(response)
        return response


class _Overloaded(Exception):
    """Label Studio, or a proxy before it, cannot answer just now."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"status {response.status_code}")
        self.response = response

    @property
    def pause_s(self) -> float | bool:
        """How long it asks to wait; True leaves that to us."""
        wish = self.response.headers.get("Retry-After", "")
        return min(float(wish), _LONGEST_PAUSE_S) if wish.isdecimal() else True


def _raise_if_overloaded(response: httpx2.Response) -> None:
    if response.status_code in OVERLOADED:
        raise _Overloaded(response)


def _read_may_succeed_later(error: Exception) -> float | bool:
    if isinstance(error, _Overloaded):
        return error.pause_s
    return isinstance(
        error, httpx2.NetworkError | httpx2.ConnectTimeout | httpx2.RemoteProtocolError
    )


def _was_not_applied(error: Exception) -> float | bool:
    """Whether a write certainly changed nothing: not sent at all, or turned away at the door."""
    if isinstance(error, _Overloaded):
        too_many = error.response.status_code == HTTPStatus.TOO_MANY_REQUESTS
        return error.pause_s if too_many else False
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


def _parsed(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise not_json(response) from error


def _after(task_id: int) -> str:
    """The data manager's query for all tasks behind an id, in order."""
    items = [
        {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task_id}
    ]
    return json.dumps({"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]})


def _basic(credentials: tuple[str, str] | None) -> Json:
    # An empty password makes Label Studio 1.23.2 answer 500: leave the fields out.
    if credentials is None:
        return {}
    user, password = credentials
    return {
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": user,
        "basic_auth_pass": password,
    }


def _authorities(path: str) -> ssl.SSLContext:
    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
