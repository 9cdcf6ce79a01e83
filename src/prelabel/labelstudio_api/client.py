"""The calls of Label Studio's HTTP API that prelabel makes, checked against 1.23.2."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from prelabel.labelstudio_api.session import Json, Session

IDS_PER_QUERY = 200  # proxies take addresses of 8 kB
_FIELDS = "id,inner_id,data"
_FILES_PER_UPLOAD = 50  # Django refuses forms of more than 100 files
_SUBMITTED = {
    "filter": "filter:tasks:total_annotations",
    "operator": "greater",
    "type": "Number",
    "value": 0,
}
_BACKEND_TIMEOUT_S = 600.0  # Label Studio asks the backend, and waits 100 s for each answer


class LabelStudio(Session):
    """A Label Studio, signed in to."""

    def version(self) -> str:
        """The release, for example "1.23.2"."""
        return str(self.object("GET", "/api/version/").get("release", "unknown"))

    def whoami(self) -> Json:
        """The user that is signed in."""
        return self.object("GET", "/api/current-user/whoami")

    def projects_titled(self, title: str) -> list[Json]:
        """All projects of exactly this title, oldest first."""
        found: list[Json] = []
        page = 1
        while True:
            # Label Studio's own filter finds every title that contains the words.
            params = {"title": title, "page": page, "page_size": 100}
            answer = self.object("GET", "/api/projects/", params=params)
            found += [project for project in answer["results"] if project["title"] == title]
            if not answer["next"]:
                return sorted(found, key=lambda project: int(project["id"]))
            page += 1

    def project(self, project_id: int) -> Json:
        """One project, with its `label_config`."""
        return self.object("GET", f"/api/projects/{project_id}/")

    def create_project(self, title: str, label_config: str, **fields: Any) -> Json:
        """Make a project; its title needs at least three characters."""
        body = {"title": title, "label_config": label_config, **fields}
        return self.object("POST", "/api/projects/", json=body)

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
        answer = self.object("POST", path, params=params, timeout=_BACKEND_TIMEOUT_S, **content)
        return [int(task_id) for task_id in answer["task_ids"]]

    def tasks(
        self, project_id: int, *, after_id: int = 0, page_size: int = 500, annotations: bool = False
    ) -> Iterator[Json]:
        """The tasks of a project in the order of their ids, with `id`, `inner_id` and raw `data`.

        Each page starts behind the last id seen, so that tasks which come or go meanwhile shift
        nothing.

        Args:
            project_id: The project.
            after_id: Leave out this id and all before it.
            page_size: Tasks per request.
            annotations: Give all fields, annotations and predictions among them.
        """
        return self._pages(project_id, after_id, page_size, "" if annotations else _FIELDS)

    def annotated_tasks(self, project_id: int) -> Iterator[Json]:
        """The tasks that someone submitted an annotation of, with all fields, as `tasks` lists.

        A task that was only skipped is not among them.
        """
        page_size = 100  # with all its keypoints, a task may be 100 KB
        return self._pages(project_id, 0, page_size, "", _SUBMITTED)

    def annotated_task_count(self, project_id: int) -> int:
        """How many tasks `annotated_tasks` lists.

        The project's own `num_tasks_with_annotations` leaves out imported annotations.
        """
        return int(self.list_tasks(project_id, all_of(_SUBMITTED), 1, "id")["total"])

    def list_tasks(self, project_id: int, filters: Json, page_size: int, include: str = "") -> Json:
        """The first tasks of a project that pass filters, in the order of their ids.

        Args:
            project_id: The project.
            filters: As the data manager knows them; `all_of` joins some.
            page_size: How many tasks at most; Label Studio may have a lower limit of its own.
            include: Names of fields, joined by commas; by default all.

        Returns:
            The `tasks`, and in `total` how many pass.
        """
        # With "all", an "include" would be applied to each annotation too, and leave only its id.
        fields = {"fields": "task_only", "include": include} if include else {"fields": "all"}
        params = {
            "project": project_id,
            "page": 1,
            "page_size": page_size,
            "resolve_uri": "false",
            "query": json.dumps({"filters": filters, "ordering": ["tasks:id"]}),
            **fields,
        }
        return self.object("GET", "/api/tasks/", params=params)

    def _pages(
        self, project_id: int, after_id: int, page_size: int, include: str, *filters: Json
    ) -> Iterator[Json]:
        while True:
            these = all_of(behind(after_id), *filters)
            answer = self.list_tasks(project_id, these, page_size, include)
            page: list[Json] = answer.get("tasks") or []
            yield from page
            if not page or len(page) >= answer["total"]:
                return
            after_id = page[-1]["id"]

    def task(self, task_id: int) -> Json:
        """One task with its annotations and predictions.

        Label Studio asks the backend for a prediction where the task has none.
        """
        return self.object("GET", f"/api/tasks/{task_id}/", timeout=_BACKEND_TIMEOUT_S)

    def predictions(self, task_id: int) -> list[Json]:
        """The stored predictions of a task."""
        return self.list_of("/api/predictions/", task=task_id)

    def model_versions(self, project_id: int) -> dict[str, int]:
        """How many predictions each model version has; a backend's title is listed with 0."""
        found = self.object("GET", f"/api/projects/{project_id}/model-versions/")
        # A project that has no version yet is listed as one without a name before 1.12.
        return {name: number for name, number in found.items() if name or number}

    def ml_backends(self, project_id: int) -> list[Json]:
        """The backends of a project, each checked anew; Label Studio asks the first only."""
        return self.list_of("/api/ml/", project=project_id)

    def add_ml_backend(
        self,
        project_id: int,
        url: str,
        *,
        basic_auth: tuple[str, str] | None = None,
    ) -> Json:
        """Attach a backend; Label Studio calls its `/health` and `/setup` first.

        Args:
            project_id: The project.
            url: The backend's address as Label Studio sees it.
            basic_auth: User name and password of the backend.
        """
        body = {"project": project_id, "url": url, "title": "prelabel", **_basic(basic_auth)}
        return self.object("POST", "/api/ml/", json=body)

    def update_ml_backend(
        self,
        backend_id: int,
        project_id: int,
        url: str,
        *,
        basic_auth: tuple[str, str] | None,
    ) -> Json:
        """Change a backend; Label Studio calls its `/health` and `/setup` first.

        Label Studio checks with what this request holds, not with what it has stored: the
        address, the project and the password are always needed.
        """
        body = {"project": project_id, "url": url, **_basic(basic_auth)}
        return self.object("PATCH", f"/api/ml/{backend_id}", json=body)

    def test_prediction(self, backend_id: int) -> Json:
        """Have Label Studio ask the backend about a random task; nothing is stored.

        Returns:
            Among others `task`, as it was sent, and `response`, the backend's `results`.
        """
        path = f"/api/ml/{backend_id}/predict/test"
        return self.object("POST", path, params={"random": "true"}, timeout=_BACKEND_TIMEOUT_S)

    def retrieve_predictions(self, project_id: int, task_ids: Sequence[int] | None = None) -> Json:
        """Do what the button Retrieve Predictions does, for some tasks or, with None, for all.

        Label Studio says "Retrieved N predictions" whatever came back; look at `model_versions`.
        """
        selected: Json = {"all": True, "excluded": []}
        if task_ids is not None:
            selected = {"all": False, "included": list(task_ids)}
        return self.object(
            "POST",
            "/api/dm/actions/",
            params={"id": "retrieve_tasks_predictions", "project": project_id},
            json={"selectedItems": selected},
            timeout=_BACKEND_TIMEOUT_S,
        )

    def start_training(self, backend_id: int) -> None:
        """Do what the button Start Training does; Label Studio does not tell how it went."""
        self.send("POST", f"/api/ml/{backend_id}/train", json={}, timeout=_BACKEND_TIMEOUT_S)

    def webhooks(self, project_id: int) -> list[Json]:
        """The addresses that hear of what happens in a project."""
        return self.list_of("/api/webhooks/", project=project_id)

    def add_webhook(self, project_id: int, url: str) -> Json:
        """Send all events of a project to an address."""
        body = {
            "project": project_id,
            "url": url,
            "send_payload": True,
            "send_for_all_actions": True,
        }
        return self.object("POST", "/api/webhooks/", json=body)

    def update_webhook(self, webhook_id: int, **fields: Any) -> Json:
        """Change the named fields of a webhook."""
        return self.object("PATCH", f"/api/webhooks/{webhook_id}/", json=fields)


def created_s(project: Json) -> int:
    """When a project was made, in whole seconds since 1970, as Label Studio tells backends."""
    return int(datetime.fromisoformat(project["created_at"]).timestamp())


def behind(task_id: int) -> Json:
    """The data manager's filter for all tasks behind an id."""
    return {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task_id}


def among(task_ids: Sequence[int]) -> Json:
    """The data manager's filter for tasks by their ids, at most `IDS_PER_QUERY`."""
    ids = list(task_ids)
    return {"filter": "filter:tasks:id", "operator": "in_list", "type": "List", "value": ids}


def all_of(*filters: Json) -> Json:
    """Filters for what passes every one of them."""
    return {"conjunction": "and", "items": list(filters)}


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
