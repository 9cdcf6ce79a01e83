"""A real Label Studio and a real backend, started once for all tests of this folder.

Their logs, and the screenshots of the browser test, stay in `artefacts/`.
"""

import importlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.login import login_with_password
from prelabel.launch import backend as backends
from prelabel.launch import label_studio
from prelabel.launch.demo_projects import planted_xyxy, stored_predictions, visible_people
from prelabel.launch.processes import free_port
from prelabel.launch.verify import Verdict, verdict_on_boxes, verdict_on_poses

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "examples" / "demo"
USER = label_studio.FirstUser("annotator@example.com", "a-long-password")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Servers:
    """Label Studio with a backend beside it, and a client that is signed in."""

    label_studio_url: str
    backend_url: str
    client: LabelStudio
    token: str
    user: label_studio.FirstUser
    files_root: Path

    def model_version(self, label_config: str | None = None) -> str:
        """What the backend's `/setup` answers; by default for the shipped boxes."""
        label_config = label_config or boxes_config()
        answer = httpx2.post(f"{self.backend_url}/setup", json={"schema": label_config})
        return answer.raise_for_status().json()["model_version"]

    def status(self, project_id: int) -> dict:
        """What the backend tells about a project."""
        report = httpx2.get(f"{self.backend_url}/status").raise_for_status().json()
        return next(row for row in report["projects"] if row["project"] == str(project_id))


@dataclass(frozen=True)
class Project:
    """A project of one test, attached to the backend."""

    id: int
    servers: Servers
    backend_id: int
    label_config: str

    def upload(self, paths: Sequence[Path]) -> list[int]:
        """Upload images; the ids of their tasks, in order."""
        return self.servers.client.upload_files(self.id, paths)

    def retrieve(self, task_ids: Sequence[int] | None = None) -> None:
        """What the button Retrieve Predictions does."""
        self.servers.client.retrieve_predictions(self.id, task_ids)

    def predictions(self, task_ids: Sequence[int]) -> list[list[dict]]:
        """The stored predictions of each task."""
        return [self.servers.client.predictions(task_id) for task_id in task_ids]

    def interactive(self, task_id: int, region: dict) -> list[dict]:
        """What auto-annotation gives when an annotator has drawn a region with a smart tool."""
        url = f"{self.servers.label_studio_url}/api/ml/{self.backend_id}"
        body = {"project": self.id, "url": self.servers.backend_url, "is_interactive": True}
        with httpx2.Client(auth=self.servers.client.auth, timeout=120) as http:
            http.patch(url, json=body).raise_for_status()
            asked = {"task": task_id, "context": {"result": [region]}}
            answer = http.post(f"{url}/interactive-annotating", json=asked).raise_for_status()
        assert "errors" not in answer.json()
        return answer.json()["data"]["result"]

    def verdicts_on_boxes(self, frames: "DemoPictures") -> list[Verdict]:
        """What is wrong with each frame's predictions, given what was planted in it."""
        version, config = self.servers.model_version(self.label_config), parse(self.label_config)
        return [
            verdict_on_boxes(stored, planted_xyxy(frames.known, stored.name), version, config)
            for stored in stored_predictions(self.servers.client, self.id, frames.paths)
        ]

    def verdicts_on_poses(self, photos: "DemoPictures") -> list[Verdict]:
        """What is wrong with each photo's predictions, given whom it shows."""
        version, config = self.servers.model_version(self.label_config), parse(self.label_config)
        return [
            verdict_on_poses(stored, visible_people(photos.known, stored.name), version, config)
            for stored in stored_predictions(self.servers.client, self.id, photos.paths)
        ]


@dataclass(frozen=True)
class DemoPictures:
    """The demo's frames and what was planted in them, or its photos and whom they show."""

    paths: list[Path]
    known: dict[str, list[dict]]

    def path(self, name: str) -> Path:
        """The picture of this name."""
        return next(path for path in self.paths if path.name == name)


def missing(thing: str, enable: str) -> None:
    """Skip for a tool that is not here; in CI nothing is skipped for that."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI lacks {thing}; `{enable}` makes it")
    pytest.skip(f"no {thing} here; `{enable}` makes it")


@pytest.fixture(scope="session")
def artefacts() -> Path:
    folder = REPOSITORY / "artefacts"
    (folder / "screenshots").mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def label_studio_program() -> Path:
    given = os.environ.get("LABEL_STUDIO_EXECUTABLE")
    program = Path(given or REPOSITORY / ".venv-labelstudio/bin/label-studio")
    if not program.is_file():
        missing("Label Studio", "make .venv-labelstudio")
    return program


@pytest.fixture(scope="session")
def servers(label_studio_program, artefacts, tmp_path_factory) -> Iterator[Servers]:
    files_root = tmp_path_factory.mktemp("served-files")
    installation = label_studio.Installation(
        label_studio_program,
        data_dir=tmp_path_factory.mktemp("label-studio"),
        files_root=files_root,
        first_user=USER,
    )
    studio_url = f"http://localhost:{free_port()}"
    backend_url = f"http://127.0.0.1:{free_port()}"
    with installation.start(studio_url, log_path=artefacts / "label-studio.log") as studio:
        studio.wait_until_answers(
            f"{studio_url}/health", timeout_s=label_studio.FIRST_START_TIMEOUT_S
        )
        token = login_with_password(studio_url, USER.username, USER.password)
        settings = {
            "LABEL_STUDIO_URL": studio_url,
            "LABEL_STUDIO_API_KEY": token,
            "BOXES_PREDICTOR": "opencv-fallback",
            "POSES_PREDICTOR": "embedded-pose",
            "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        }
        with (
            backends.start(backend_url, log_path=artefacts / "backend.log", environment=settings),
            LabelStudio(studio_url, token=token) as client,
        ):
            backends.warm_up(backend_url, backends.plain_picture())
            yield Servers(studio_url, backend_url, client, token, USER, files_root)


@pytest.fixture(scope="session")
def project_numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def new_project(servers, project_numbers, request) -> Callable[[str], Project]:
    """Makes projects with a label config, attached to the backend."""

    def make(label_config: str) -> Project:
        title = f"{next(project_numbers)} {request.node.name}"[:50]
        made = servers.client.create_project(title, label_config)
        attached = servers.client.add_ml_backend(made["id"], servers.backend_url)
        return Project(made["id"], servers, attached["id"], label_config)

    return make


@pytest.fixture
def project(new_project) -> Project:
    """A new project with the shipped label config for boxes."""
    return new_project(boxes_config())


@pytest.fixture(scope="session")
def demo_frames() -> DemoPictures:
    return demo_pictures("frames", "planted.json")


@pytest.fixture(scope="session")
def demo_photos() -> DemoPictures:
    return demo_pictures("people", "visible.json")


def demo_pictures(folder: str, known: str) -> DemoPictures:
    return DemoPictures(
        sorted((DEMO / folder).glob("*.jpg")), json.loads((DEMO / known).read_text("utf-8"))
    )


@pytest.fixture(scope="session")
def playwright_driver():
    try:
        return importlib.import_module("playwright.sync_api").sync_playwright
    except ModuleNotFoundError:
        missing("playwright", "make dev-install")


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if found is None:
        missing("Chromium", "apt-get install chromium")
    return found
