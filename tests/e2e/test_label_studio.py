"""A real Label Studio asks the real backend, and stores what it should."""

import re
import shutil
import time
from collections import Counter

import httpx2
import pytest
from PIL import Image

from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.login import PasswordAuth

pytestmark = pytest.mark.e2e


def release(project):
    """The release of Label Studio, for example (1, 23)."""
    return tuple(map(int, project.servers.client.version().split(".")[:2]))


def faults(verdicts):
    return {verdict.name: verdict.faults for verdict in verdicts if verdict.faults}


def test_every_frame_gets_the_prediction_it_should_have_and_a_second_click_adds_none(
    project, demo_frames
):
    task_ids = project.upload(demo_frames.paths)
    project.retrieve()
    verdicts = project.verdicts_on_boxes(demo_frames)
    assert faults(verdicts) == {}
    assert sum(verdict.expected for verdict in verdicts) > 0
    first = project.predictions(task_ids)

    project.retrieve()
    assert project.predictions(task_ids) == first


def test_the_version_that_label_studio_stores_is_the_one_that_setup_gives(project, demo_frames):
    task_ids = project.upload(demo_frames.paths[:2])
    project.retrieve(task_ids)
    [backend] = project.servers.client.ml_backends(project.id)
    assert backend["state"] == "CO"
    assert backend["model_version"] == project.servers.model_version()
    versions = project.servers.client.model_versions(project.id)
    assert {name: count for name, count in versions.items() if count} == {
        backend["model_version"]: 2
    }


def test_a_broken_image_costs_only_its_own_prediction(project, demo_frames, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(demo_frames.paths[0].read_bytes()[:900])
    first, second, third = project.upload([demo_frames.paths[0], broken, demo_frames.paths[1]])
    project.retrieve()
    until = time.monotonic() + 60  # before 1.13 a job brings them
    while (found := list(map(len, project.predictions([first, second, third])))) != [1, 0, 1]:
        assert release(project) < (1, 13), found
        assert time.monotonic() < until, found
        time.sleep(0.2)
    failures = project.servers.status(project.id)["last_failures"]
    assert {failure["task"] for failure in failures} == {f"task {second}"}


def test_a_small_selection_leaves_the_other_tasks_alone(project, demo_frames):
    task_ids = project.upload(demo_frames.paths[:3])
    project.retrieve(task_ids[1:2])
    assert [len(found) for found in project.predictions(task_ids)] == [0, 1, 0]


def test_opening_a_task_brings_its_prediction(project, demo_frames):
    [task_id] = project.upload(demo_frames.paths[:1])
    task = project.servers.client.task(task_id)
    assert len(task["predictions"]) <= 1
    project.retrieve([task_id])
    assert len(project.predictions([task_id])[0]) == 1


def test_files_that_label_studio_serves_itself_are_fetched_through_it(project, demo_frames):
    """Local Files storage: the backend has no such folder and asks Label Studio, with its token."""
    servers = project.servers
    folder = servers.files_root / f"project-{project.id}"
    folder.mkdir()
    shutil.copy(demo_frames.paths[0], folder / "a frame.jpg")
    storage = {"project": project.id, "path": str(folder), "use_blob_urls": True}
    httpx2.post(
        f"{servers.label_studio_url}/api/storages/localfiles",
        json=storage,
        auth=servers.client.auth,
    ).raise_for_status()
    address = f"/data/local-files/?d={folder.name}/a%20frame.jpg"
    task_ids = servers.client.import_tasks(project.id, [{"data": {"image": address}}])
    project.retrieve()
    if release(project) < (1, 12):
        [failure] = servers.status(project.id)["last_failures"]
        assert "Before 1.12 it takes no token for such files" in failure["reason"]
    else:
        assert [len(found) for found in project.predictions(task_ids)] == [1]


def test_an_upright_photo_and_one_that_says_it_is_turned_get_their_upright_size(project, tmp_path):
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.radial_gradient("L").resize((320, 200)).save(turned, exif=exif)
    task_ids = project.upload([turned])
    project.retrieve()
    [[prediction]] = project.predictions(task_ids)
    sizes = {(r["original_width"], r["original_height"]) for r in prediction["result"]}
    assert sizes <= {(200, 320)}


def test_an_interactive_call_is_answered_with_an_object(project, demo_frames):
    [task_id] = project.upload(demo_frames.paths[:1])
    drawn = {
        "id": "drawn",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 100,
        "original_height": 100,
        "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["body_distortion"]},
    }
    assert isinstance(project.interactive(task_id, drawn), list)


def test_events_and_start_training_are_taken_without_an_error(project, demo_frames, artefacts):
    servers = project.servers
    [task_id] = project.upload(demo_frames.paths[:1])
    before = _events(servers.backend_url)
    httpx2.post(
        f"{servers.label_studio_url}/api/tasks/{task_id}/annotations/",
        json={"result": [], "lead_time": 1.5},
        auth=servers.client.auth,
    ).raise_for_status()
    servers.client.start_training(project.backend_id)
    start = "START_TRAINING" if release(project) >= (1, 12) else "TRAIN"
    deadline = time.monotonic() + 10
    while missing := {"ANNOTATION_CREATED", start} - set(_events(servers.backend_url) - before):
        assert time.monotonic() < deadline, f"{missing} did not arrive"
        time.sleep(0.1)
    [backend] = servers.client.ml_backends(project.id)
    assert backend["state"] == "CO"
    assert not backend["error_message"]


def test_a_legacy_token_works_where_the_organization_allows_it(project, demo_frames):
    """Off in a new organization since 1.17; an owner can switch it on."""
    servers = project.servers
    with httpx2.Client(
        base_url=servers.label_studio_url,
        auth=PasswordAuth(servers.label_studio_url, servers.user.username, servers.user.password),
    ) as session:
        both = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
        if release(project) >= (1, 17):
            session.post("/api/jwt/settings", json=both).raise_for_status()
        legacy = session.get("/api/current-user/token").raise_for_status().json()["token"]
    with LabelStudio(servers.label_studio_url, token=legacy) as client:
        [task_id] = client.upload_files(project.id, demo_frames.paths[:1])
        client.retrieve_predictions(project.id, [task_id])
        assert len(client.predictions(task_id)) == 1


def _events(backend_url):
    """How often each event arrived, by the backend's metrics."""
    text = httpx2.get(f"{backend_url}/metrics").raise_for_status().text
    counts = re.findall(r'^prelabel_events_total{action="(\w+)"} (\S+)$', text, re.MULTILINE)
    return Counter({action: float(count) for action, count in counts})
