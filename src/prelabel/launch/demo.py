"""The demo: a Label Studio with a pre-annotated project, from nothing, without a browser."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from prelabel.errors import ModelError, OperatorError
from prelabel.labelstudio.config import parse
from prelabel.labelstudio_api.backends import Connection, connect_project
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.login import login_with_password
from prelabel.launch import backend, label_studio
from prelabel.launch.processes import Child, ending_on_signals, watch
from prelabel.launch.verify import Frame, Verdict, table, verdict_on

TITLE = "prelabel demo"
USER = label_studio.FirstUser("demo@example.com", "prelabel-demo")
"""Known to everybody; both servers listen on this machine only."""
NEEDS_NO_WEIGHTS = "opencv-fallback"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Demo:
    """What to show, and where.

    Attributes:
        frames_dir: JPEG frames of one sequence, in the order of their names.
        data_dir: Label Studio's database and uploads; made where it is missing.
        logs_dir: Where both logs go.
        label_studio: The `label-studio` program.
        label_studio_url: Where Label Studio is to answer.
        backend_url: Where the backend is to answer.
        boxes_predictor: What the backend finds boxes with: its setting BOXES_PREDICTOR.
    """

    frames_dir: Path
    data_dir: Path
    logs_dir: Path
    label_studio: Path
    label_studio_url: str
    backend_url: str
    boxes_predictor: str = NEEDS_NO_WEIGHTS

    def frames(self) -> list[Path]:
        """The frame files in order.

        Raises:
            OperatorError: There are none.
        """
        found = sorted(self.frames_dir.glob("*.jpg"))
        if not found:
            raise OperatorError(
                str(self.frames_dir), "holds no JPEG frames", "Name their folder with --frames."
            )
        return found


@dataclass(frozen=True, slots=True)
class Running:
    """The demo, up and pre-annotated."""

    client: LabelStudio
    connection: Connection
    children: Sequence[Child]


def keep_up(demo: Demo, say: Say) -> None:
    """Bring the demo up, say where it is, and stay until Ctrl-C."""
    with ending_on_signals(), ExitStack() as started:
        try:
            running = bring_up(demo, started, say)
            say(_where(demo, running))
            watch(running.children)
        except KeyboardInterrupt:
            say("stopping")


def check_once(demo: Demo, planted_file: Path, say: Say) -> bool:
    """Bring the demo up on new data, verify it, print the table, stop it.

    Returns:
        Whether every frame has the prediction that it should have.
    """
    with (
        ending_on_signals(),
        TemporaryDirectory(prefix="prelabel-demo-") as data_dir,
        ExitStack() as started,
    ):
        fresh = replace(demo, data_dir=Path(data_dir))
        verdicts = check(fresh, bring_up(fresh, started, say), planted_file)
    say(table(verdicts))
    return not any(verdict.faults for verdict in verdicts)


def bring_up(demo: Demo, started: ExitStack, say: Say) -> Running:
    """Start both servers, make the project and have it pre-annotated.

    What is there already from an earlier demo in the same data folder is kept and used.

    Args:
        demo: What to show, and where.
        started: Takes the servers that were started; closing it stops them.
        say: Takes each line of the story.

    Raises:
        PrelabelError: Something did not work; what was started is in `started`.
    """
    frames = demo.frames()
    installation = label_studio.Installation(
        demo.label_studio, data_dir=demo.data_dir, first_user=USER
    )
    say("Label Studio: starting (the first start makes its database: a minute or so)")
    studio = installation.start(demo.label_studio_url, log_path=demo.logs_dir / "label-studio.log")
    started.enter_context(studio)
    studio.wait_until_answers(
        f"{demo.label_studio_url}/health", timeout_s=label_studio.FIRST_START_TIMEOUT_S
    )
    token = login_with_password(demo.label_studio_url, USER.username, USER.password, replace=True)
    client = started.enter_context(LabelStudio(demo.label_studio_url, token=token))
    say(f"Label Studio {client.version()}: up, with the user {USER.username} and a token for it")

    if demo.boxes_predictor == NEEDS_NO_WEIGHTS:
        say("backend: boxes by OpenCV, without weights; GROUNDING_DINO=1 takes the real model")
    environment = {
        "LABEL_STUDIO_URL": demo.label_studio_url,
        "LABEL_STUDIO_API_KEY": token,
        "BOXES_PREDICTOR": demo.boxes_predictor,
    }
    server = backend.start(
        demo.backend_url, log_path=demo.logs_dir / "backend.log", environment=environment
    )
    started.enter_context(server)
    for line in backend.story(backend.warm_up(demo.backend_url, frames[0].read_bytes())):
        say(line)
    connection = connect_project(client, demo.backend_url, project_title=TITLE)
    say(f"project {connection.project_id}: {connection.project_action}; backend attached")
    for warning in connection.warnings:
        say(f"project {connection.project_id}: {warning}")
    fill(client, connection.project_id, frames, say)
    return Running(client, connection, (studio, server))


def fill(client: LabelStudio, project_id: int, frames: Sequence[Path], say: Say) -> None:
    """Upload the frames that the project lacks and have Label Studio retrieve predictions."""
    there = {frame_name(task, frames) for task in client.tasks(project_id)}
    missing = [frame for frame in frames if frame.name not in there]
    if missing:
        client.upload_files(project_id, missing)
    say(f"project {project_id}: {len(missing)} frames uploaded, {len(there)} were there")
    client.retrieve_predictions(project_id)
    counts = client.model_versions(project_id).items()
    versions = ", ".join(f"{count} by {version}" for version, count in counts if count)
    say(f"project {project_id}: predictions stored: {versions or 'none'}")


def check(demo: Demo, running: Running, planted_file: Path) -> list[Verdict]:
    """Hold what Label Studio now stores against what was planted in the frames.

    Retrieves predictions once more first: that must add nothing.
    """
    client, project_id = running.client, running.connection.project_id
    client.retrieve_predictions(project_id)
    label_config = str(client.project(project_id)["label_config"])
    version = version_by_setup(demo.backend_url, project_id, label_config)
    planted = json.loads(planted_file.read_text())
    # A text-prompted model owes nothing to damage that was made for the OpenCV detector.
    must_find = planted if demo.boxes_predictor == NEEDS_NO_WEIGHTS else {}
    paths = demo.frames()
    tasks = {frame_name(task, paths): int(task["id"]) for task in client.tasks(project_id)}
    verdicts = []
    for path in paths:
        boxes = [spot["box_xyxy"] for spot in must_find.get(path.name, [])]
        with Image.open(path) as picture:
            image_hw = (picture.height, picture.width)
        predictions = client.predictions(tasks[path.name]) if path.name in tasks else []
        frame = Frame(path.name, image_hw, np.array(boxes, np.float32).reshape(-1, 4), predictions)
        verdicts.append(verdict_on(frame, version, parse(label_config)))
    return verdicts


def version_by_setup(backend_url: str, project_id: int, label_config: str) -> str:
    """The model version that the backend's `/setup` gives for a project."""
    body = {"project": f"{project_id}.1", "schema": label_config}
    answer = httpx2.post(f"{backend_url}/setup", json=body)
    if not answer.is_success:
        raise ModelError(
            f"POST {backend_url}/setup", f"answered {answer.status_code}", "Read the backend's log."
        )
    return str(answer.json()["model_version"])


def frame_name(task: Any, frames: Sequence[Path]) -> str | None:
    """Which frame a task shows: Label Studio puts its own prefix before an uploaded name."""
    address = str(task["data"].get("image", ""))
    return next((path.name for path in frames if address.endswith(path.name)), None)


def _where(demo: Demo, running: Running) -> str:
    return f"""
Open   {running.connection.project_url}
Login  {USER.username}  {USER.password}
Status {demo.backend_url}/
Logs   {demo.logs_dir}
Ctrl-C stops both."""
