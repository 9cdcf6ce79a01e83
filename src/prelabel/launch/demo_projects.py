"""The projects that the demo shows: their pictures, what these are known to show, and the check."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from prelabel.errors import ModelError, OperatorError
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.labelstudio_api.backends import Connection, connect_project
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.session import Json
from prelabel.launch.verify import (
    Stored,
    Verdict,
    VisiblePerson,
    verdict_on_boxes,
    verdict_on_poses,
)
from prelabel.types import Float32Array

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Showcase:
    """A project to be shown.

    Attributes:
        title: Its title in Label Studio.
        label_config: What it is made with.
        pictures_dir: JPEG files, taken in the order of their names.
    """

    title: str
    label_config: str
    pictures_dir: Path

    def pictures(self) -> list[Path]:
        """The files in order.

        Raises:
            OperatorError: There are none.
        """
        found = sorted(self.pictures_dir.glob("*.jpg"))
        if not found:
            raise OperatorError(
                str(self.pictures_dir),
                "holds no JPEG files",
                "Name another folder with --frames or --people.",
            )
        return found


def boxes_showcase(frames_dir: Path) -> Showcase:
    """Frames of one sequence, for boxes of body distortions."""
    return Showcase("prelabel demo: boxes", boxes_config(), frames_dir)


def poses_showcase(photos_dir: Path) -> Showcase:
    """Photos, for the whole-body keypoints of the people in them."""
    return Showcase("prelabel demo: poses", pose_config("133"), photos_dir)


def show(client: LabelStudio, backend_url: str, showcase: Showcase, say: Say) -> Connection:
    """Make the project, attach the backend, upload what is missing, retrieve predictions."""
    connection = connect_project(
        client, backend_url, project_title=showcase.title, label_config=showcase.label_config
    )
    number, pictures = connection.project_id, showcase.pictures()
    say(f"{showcase.title}: project {number} {connection.project_action}; backend attached")
    for warning in connection.warnings:
        say(f"{showcase.title}: {warning}")
    there = {picture_name(task, pictures) for task in client.tasks(number)}
    missing = [picture for picture in pictures if picture.name not in there]
    if missing:
        client.upload_files(number, missing)
    say(f"{showcase.title}: {len(missing)} pictures uploaded, {len(there)} were there")
    client.retrieve_predictions(number)
    counts = client.model_versions(number).items()
    versions = ", ".join(f"{count} by {version}" for version, count in counts if count)
    say(f"{showcase.title}: predictions stored: {versions or 'none'}")
    tasks = client.tasks(number, annotations=True)
    filled = [task["id"] for task in tasks if any(one["result"] for one in task["predictions"])]
    say(f"{showcase.title}: found something in tasks {', '.join(map(str, filled)) or '(none)'}")
    return connection


def check_boxes(
    client: LabelStudio, connection: Connection, showcase: Showcase, planted_file: Path | None
) -> list[Verdict]:
    """Hold what Label Studio stores for the frames against what was planted in them.

    Args:
        client: Label Studio.
        connection: The project.
        showcase: Its frames.
        planted_file: What was planted; None for a predictor that need not find it.
    """
    planted = json.loads(planted_file.read_text("utf-8")) if planted_file else {}
    label_config, version = _asked_again(client, connection)
    return [
        verdict_on_boxes(stored, planted_xyxy(planted, stored.name), version, parse(label_config))
        for stored in stored_predictions(client, connection.project_id, showcase.pictures())
    ]


def check_poses(
    client: LabelStudio, connection: Connection, showcase: Showcase, visible_file: Path
) -> list[Verdict]:
    """Hold what Label Studio stores for the photos against the people whom they show."""
    visible = json.loads(visible_file.read_text("utf-8"))
    label_config, version = _asked_again(client, connection)
    return [
        verdict_on_poses(stored, visible_people(visible, stored.name), version, parse(label_config))
        for stored in stored_predictions(client, connection.project_id, showcase.pictures())
    ]


def stored_predictions(
    client: LabelStudio, project_id: int, pictures: Sequence[Path]
) -> list[Stored]:
    """What Label Studio holds for each picture; nothing for one without a task."""
    tasks = {picture_name(task, pictures): int(task["id"]) for task in client.tasks(project_id)}
    found = []
    for path in pictures:
        with Image.open(path) as picture:
            image_hw = (picture.height, picture.width)
        predictions = client.predictions(tasks[path.name]) if path.name in tasks else []
        found.append(Stored(path.name, image_hw, predictions))
    return found


def planted_xyxy(planted: Json, name: str) -> Float32Array:
    """(N, 4) float32 pixels: what was planted in a frame, from what `planted.json` holds."""
    boxes = [spot["box_xyxy"] for spot in planted.get(name, [])]
    return np.array(boxes, np.float32).reshape(-1, 4)


def visible_people(visible: Json, name: str) -> list[VisiblePerson]:
    """Whom a photo shows, from what `visible.json` holds."""
    return [
        VisiblePerson(np.array(person["box_xyxy"], np.float32), person["keypoints"])
        for person in visible.get(name, [])
    ]


def version_by_setup(backend_url: str, project_id: int, label_config: str) -> str:
    """The model version that the backend's `/setup` gives for a project."""
    body = {"project": f"{project_id}.1", "schema": label_config}
    answer = httpx2.post(f"{backend_url}/setup", json=body)
    if not answer.is_success:
        raise ModelError(
            f"POST {backend_url}/setup", f"answered {answer.status_code}", "Read the backend's log."
        )
    return str(answer.json()["model_version"])


def picture_name(task: Any, pictures: Sequence[Path]) -> str | None:
    """Which picture a task shows: Label Studio puts its own prefix before an uploaded name."""
    address = str(task["data"].get("image", ""))
    return next((path.name for path in pictures if address.endswith(path.name)), None)


def _asked_again(client: LabelStudio, connection: Connection) -> tuple[str, str]:
    """Retrieve predictions once more, which must add nothing; the label config and the version."""
    client.retrieve_predictions(connection.project_id)
    label_config = str(client.project(connection.project_id)["label_config"])
    return label_config, version_by_setup(
        connection.backend_url, connection.project_id, label_config
    )
