"""The Modal app, defined with the real package and without an account."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prelabel.settings import known_names

REPOSITORY = Path(__file__).resolve().parents[2]
APP = REPOSITORY / "deploy" / "modal" / "app.py"
WHY = "the Modal app is not tried without it; pip install modal"
PROTECTED = {"API_TOKEN": "t0ken", "SECRET_PATH": "s3cret"}

# Defines the app where no address can be reached, builds the server, and asks it.
ASK = """
import importlib.util, json, socket, sys

def refuse(*_):
    raise AssertionError("defining the app needs the network")

connect, socket.socket.connect = socket.socket.connect, refuse
spec = importlib.util.spec_from_file_location("modal_app", sys.argv[1])
defined = importlib.util.module_from_spec(spec)
spec.loader.exec_module(defined)
socket.socket.connect = connect

from fastapi.testclient import TestClient
told = {"app": defined.app.name, "serve": type(defined.serve).__name__}
with TestClient(defined.protected_server()) as client:
    for name, path, header in json.loads(sys.argv[2]):
        answer = client.get(path, headers={"Authorization": header} if header else {})
        told[name] = [answer.status_code, answer.json().get("status")]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def defined():
    pytest.importorskip("modal", reason=WHY)
    spec = importlib.util.spec_from_file_location("modal_app", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(folder, settings, requests=()):
    """Run the app where Modal does: as a file by itself, in a folder without the checkout."""
    pytest.importorskip("modal", reason=WHY)
    copy = folder / "root" / "app.py"
    copy.parent.mkdir()
    shutil.copy(APP, copy)
    given = {
        "BIND_ADDRESS": "0.0.0.0",
        "DATA_DIR": str(folder / "data"),
        "ALLOW_DOWNLOADS": "false",
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK, str(copy), json.dumps(requests)],
        cwd=copy.parent, env=os.environ | given | settings,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_server_asks_for_the_token_or_the_path(tmp_path):
    done = ask(
        tmp_path,
        PROTECTED,
        [
            ("with neither", "/health", ""),
            ("with another token", "/health", "Bearer other"),
            ("with the token", "/health", "Bearer t0ken"),
            ("with the path", "/s3cret/health", ""),
            ("whether it is ready", "/ready", ""),
        ],
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "app": "prelabel",
        "serve": "Function",
        "with neither": [401, 401],
        "with another token": [401, 401],
        "with the token": [200, "ok"],
        "with the path": [200, "ok"],
        "whether it is ready": [200, "ok"],
    }


def test_a_server_that_everybody_could_use_does_not_start(tmp_path):
    done = ask(tmp_path, dict.fromkeys(PROTECTED, ""))
    assert done.returncode != 0
    assert "this server would answer everybody" in done.stderr


def test_every_variable_of_the_image_is_a_setting(defined):
    assert set(defined.SETTINGS) <= known_names()
    assert set(PROTECTED) <= known_names()


def test_weights_are_kept_on_the_volume(defined):
    assert defined.SETTINGS["MODEL_DIR"] == defined.MODELS


def test_the_gpu_is_used_for_boxes_and_poses(defined):
    assert defined.SETTINGS["DEVICE"] == defined.SETTINGS["GROUNDING_DINO_DEVICE"] == "cuda"


def test_modal_waits_longer_than_label_studio_and_that_longer_than_the_answer_takes(defined):
    from prelabel.settings import Settings  # noqa: PLC0415 - only its default is of interest

    label_studio_waits_s = 100
    deadline_s = Settings.model_fields["predict_deadline_seconds"].default
    assert deadline_s < label_studio_waits_s < defined.ANSWER_S


def test_what_the_app_copies_into_its_image_is_there():
    named = re.findall(r'REPOSITORY((?:\s*/\s*"[^"]+")+)', APP.read_text("utf-8"))
    paths = ["/".join(re.findall(r'"([^"]+)"', one)) for one in named]
    assert {"pyproject.toml", "src", "deploy/docker/requirements.py"} <= set(paths)
    assert not [one for one in paths if not (REPOSITORY / one).exists()]


def test_it_installs_what_the_image_for_gpus_does(defined, tmp_path):
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    assert f"ARG TORCH_VERSION={defined.TORCH_VERSION}\n" in dockerfile
    assert f"ARG EXTRAS={defined.EXTRAS}\n" in dockerfile
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copy(REPOSITORY / "deploy" / "docker" / "requirements.py", tmp_path / "write.py")
    (command,) = re.findall(r'f"(python write.py [^"]+)"', APP.read_text("utf-8"))
    words = command.format(EXTRAS=defined.EXTRAS, TORCH_VERSION=defined.TORCH_VERSION).split()
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
    assert f"torch=={defined.TORCH_VERSION}" in (tmp_path / "torch.txt").read_text("utf-8")
    others = (tmp_path / "others.txt").read_text("utf-8")
    assert "onnxruntime-gpu" in others
    assert "psycopg" in others


def test_the_package_has_what_the_docs_call():
    modal = pytest.importorskip("modal", reason=WHY)
    assert callable(modal.Function.from_name)
    assert callable(modal.Function.update_autoscaler)
    page = (REPOSITORY / "docs" / "cloud_gpu.md").read_text("utf-8")
    assert "modal.Function.from_name('prelabel', 'serve').update_autoscaler(" in page
