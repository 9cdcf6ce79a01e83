"""LOCAL_DATA_ONLY beside a real Label Studio, with all that prelabel does in the background."""

import time

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.login import login_with_password
from prelabel.launch import label_studio
from prelabel.launch.processes import Child, free_port

from .observed import Observed

pytestmark = pytest.mark.e2e

FRAMES, ANNOTATED = 30, range(0, 30, 3)
USER = label_studio.FirstUser("annotator@example.com", "a-long-password")


def until(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.2)
    return found


@pytest.fixture
def studio(label_studio_program, tmp_path):
    """A client of a new Label Studio, and the token it is signed in with."""
    url = f"http://127.0.0.1:{free_port()}"
    installation = label_studio.Installation(
        label_studio_program, data_dir=tmp_path / "studio", first_user=USER
    )
    with installation.start(url, log_path=tmp_path / "label-studio.log") as child:
        child.wait_until_answers(f"{url}/health", timeout_s=label_studio.FIRST_START_TIMEOUT_S)
        token = login_with_password(url, USER.username, USER.password)
        with LabelStudio(url, token=token) as client:
            yield client, token


@pytest.fixture
def backend(studio, tmp_path):
    """The address of a server under observation, and what it was seen to reach."""
    client, token = studio
    observed, port = Observed(tmp_path), free_port()
    environment = {
        "LOCAL_DATA_ONLY": "true",
        "LABEL_STUDIO_URL": client.url,
        "LABEL_STUDIO_API_KEY": token,
        "DATA_DIR": str(tmp_path / "data"),
        "MODEL_DIR": str(tmp_path / "models"),
        "HF_HOME": str(tmp_path / "hub"),
        "REQUEST_DELAY_SECONDS": "0",
        "PREDICT_DEADLINE_SECONDS": "1",
    }
    command = observed.command("serve", "--port", port)
    log_path = tmp_path / "server.log"
    with Child.start("server", command, log_path=log_path, environment=environment) as child:
        child.wait_until_answers(f"http://127.0.0.1:{port}/live", timeout_s=120)
        yield f"http://127.0.0.1:{port}", observed


def frames(folder):
    folder.mkdir()
    paths = [folder / f"walk_{frame:04}.png" for frame in range(FRAMES)]
    noise = np.random.default_rng(1).integers(0, 255, (180, 320, 3), np.uint8)
    for shift, path in enumerate(paths):
        assert cv2.imwrite(str(path), np.roll(noise, shift, 1))
    return paths


def region(frame):
    box = {"x": 5 + frame, "y": 30, "width": 12, "height": 25, "rotation": 0}
    return {
        "id": f"walk-{frame}", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": 320, "original_height": 180, "image_rotation": 0,
        "value": {**box, "rectanglelabels": ["body_distortion"]},
    }  # fmt: skip


def annotate(client, task_id, frame):
    httpx2.post(
        f"{client.url}/api/tasks/{task_id}/annotations/",
        json={"result": [region(frame)]},
        auth=client.auth,
        timeout=30,
    ).raise_for_status()


def test_boxes_poses_training_and_backfills_reach_label_studio_alone(studio, backend, tmp_path):
    client, _ = studio
    url, observed = backend

    def jobs(kind):
        told = httpx2.get(f"{url}/status", timeout=30).raise_for_status().json()["jobs"]
        return [job for job in told if job["kind"] == kind]

    project = client.create_project("boxes", boxes_config())["id"]
    attached = client.add_ml_backend(project, url)["id"]
    task_ids = client.upload_files(project, frames(tmp_path / "frames"))
    outside = "http://data-of-ours.tracker.example/a.png"
    client.import_tasks(project, [{"data": {"image": outside}}])
    client.retrieve_predictions(project)  # one second is not enough: the rest is a backfill
    until(lambda: sum(client.model_versions(project).values()) == FRAMES)
    assert until(lambda: jobs("backfill"))

    for frame in ANNOTATED:
        annotate(client, task_ids[frame], frame)
    client.start_training(attached)
    training = until(lambda: [job for job in jobs("training") if job["status"] == "done"])
    assert training

    poses = client.create_project("poses", pose_config("17"))["id"]
    client.add_ml_backend(poses, url)
    client.upload_files(poses, frames(tmp_path / "people")[:2])
    client.retrieve_predictions(poses)
    until(lambda: sum(client.model_versions(poses).values()) == 2)

    port = int(client.url.rpartition(":")[2])
    assert observed.reached == {("127.0.0.1", port)}
    assert observed.looked_up <= {"127.0.0.1", "::1"}
