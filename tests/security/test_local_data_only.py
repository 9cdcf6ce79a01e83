"""LOCAL_DATA_ONLY: nothing leaves the machine but to Label Studio and the hosts that are named."""

import base64
import os
import subprocess
import sys
from importlib.util import find_spec

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.assembly.parts import require_named
from prelabel.errors import ImageRefused, SettingsError
from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.launch.processes import Child, free_port
from prelabel.media.addresses import AddressPolicy
from prelabel.media.fetch import Fetcher
from prelabel.media.limits import Limits
from prelabel.media.references import ImageReference, Origin
from prelabel.settings import Settings, load

from .conftest import QUICK
from .observed import Observed

FRAMES = 12


def png(shade=90):
    return cv2.imencode(".png", np.full((64, 64, 3), shade, np.uint8))[1].tobytes()


def hostile(decoy):
    """Addresses that would tell somebody that, or where, this data is worked on."""
    return [
        decoy.url + "/image.png",
        decoy.url.replace("127.0.0.3", "localhost") + "/image.png",
        "http://data-of-ours.tracker.example/image.png",
        "https://huggingface.co/image.png",
        "http://93.184.216.34/image.png",
        "http://[2606:4700::1111]/image.png",
        "http://169.254.169.254/latest/meta-data/",
        "s3://bucket/image.png",
        "gs://bucket/image.png",
        "//tracker.example/image.png",
        "ftp://tracker.example/image.png",
        "file://tracker.example/share/image.png",
        "\\\\tracker.example\\share\\image.png",
    ]


@pytest.fixture
def observed(tmp_path):
    return Observed(tmp_path)


@pytest.fixture
def start_observed(observed, tmp_path):
    """Starts an observed server that may reach a Label Studio only; gives its address."""
    children = []

    def start(label_studio_url, **settings):
        port = free_port()
        environment = {
            "LOCAL_DATA_ONLY": "true",
            "LABEL_STUDIO_URL": label_studio_url,
            "DATA_DIR": str(tmp_path / "data"),
            # The models that are the default, and none of their files: the hubs must not be asked.
            "MODEL_DIR": str(tmp_path / "models"),
            "HF_HOME": str(tmp_path / "hub"),
            "LOG_LEVEL": "DEBUG",
            **settings,
        }
        command = observed.command("serve", "--port", port)
        log_path = tmp_path / "server.log"
        children.append(Child.start("server", command, log_path=log_path, environment=environment))
        children[-1].wait_until_answers(f"http://127.0.0.1:{port}/live", timeout_s=120)
        return f"http://127.0.0.1:{port}"

    yield start
    for child in children:
        child.stop()


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_no_library_that_runs_models_reports_to_its_maker(tmp_path, runtime):
    """OpenVINO did: from a fork, at its import."""
    if find_spec(runtime) is None:
        pytest.skip(f"no {runtime}; pip install {runtime}")
    observed = Observed(tmp_path)
    if not observed.sees_all:
        pytest.skip("what native code does is seen by strace only; install the package strace")
    script = (
        "from importlib.resources import files; from pathlib import Path; "
        "from prelabel.predictors.backends import open_session; "
        "from prelabel.predictors.sessions import Runtime; "
        "path = Path(str(files('prelabel') / 'weights')).glob('*.onnx'); "
        f"open_session(sorted(path)[0], Runtime({runtime!r}, 'cpu'), (256, 192))"
    )
    subprocess.run([*observed.strace, sys.executable, "-c", script], check=True, timeout=120)
    assert observed.reached == set()


def ask(url, method, path, **content):
    answer = httpx2.request(method, url + path, timeout=120, **content)
    assert answer.status_code < 500, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


def test_whatever_is_asked_of_it_a_server_reaches_label_studio_and_named_hosts_only(
    start_observed, observed, http_server
):
    studio, named, decoy = (http_server(f"127.0.0.{number}") for number in (1, 2, 3))
    for server in (studio, named):
        server.answer("/data/upload/1/a.png", png())
        server.answer("/away.png", status=302, Location=decoy.url + "/image.png")
    url = start_observed(studio.url, FETCH_ALLOWED_HOSTS="127.0.0.2")
    good = [
        "/data/upload/1/a.png",
        named.url + "/data/upload/1/a.png",
        "data:image/png;base64," + base64.b64encode(png()).decode(),
    ]
    bad = [*hostile(decoy), "/away.png", named.url + "/away.png"]
    tasks = [{"id": n, "data": {"image": uri}} for n, uri in enumerate([*good, *bad], 1)]
    for config in (boxes_config(), pose_config("17")):
        introduced = {"hostname": f"http://tracker.example:{decoy.port}", "access_token": "a" * 40}
        ask(url, "POST", "/setup", json={"project": "1.2", "schema": config, **introduced})
        body = {"tasks": tasks, "project": "1.2", "label_config": config}
        results = ask(url, "POST", "/predict", json=body)["results"]
        assert [entry != [] for entry in results] == [True] * len(good) + [False] * len(bad)
    for path in ("/", "/status", "/metrics", "/health", "/versions"):
        ask(url, "GET", path)
    ask(url, "POST", "/train", json={"project": "1.2"})
    ask(url, "POST", "/webhook", json={"action": "START_TRAINING", "project": {"id": 1}})

    assert decoy.asked == []
    allowed = {("127.0.0.1", studio.port), ("127.0.0.2", named.port)}
    assert observed.reached == allowed
    assert observed.looked_up <= {"127.0.0.1", "127.0.0.2", "::1"}
    told = ask(url, "GET", "/status")["projects"][0]["last_failures"]
    assert any("LOCAL_DATA_ONLY" in one["reason"] for one in told)


def test_the_record_of_a_server_that_may_reach_others_shows_that_it_did(
    start_observed, observed, http_server
):
    """That the observation above sees what it should: the same, with the setting off."""
    studio, other = http_server("127.0.0.1"), http_server("127.0.0.3")
    other.answer("/image.png", png())
    settings = {"LOCAL_DATA_ONLY": "false", "FETCH_ALLOWED_HOSTS": "127.0.0.3"}
    url = start_observed(studio.url, BOXES_PREDICTOR="opencv-fallback", **settings)
    images = [other.url + "/image.png", "http://data-of-ours.tracker.invalid/image.png"]
    tasks = [{"id": n, "data": {"image": uri}} for n, uri in enumerate(images)]
    ask(url, "POST", "/predict", json={"tasks": tasks, "label_config": boxes_config()})
    assert other.paths == ["/image.png"]
    assert ("127.0.0.3", other.port) in observed.reached
    assert "data-of-ours.tracker.invalid" in observed.looked_up


def policy(*allowed):
    return AddressPolicy(allowed, local_only=True)


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.org/a.png",
        "http://8.8.8.8/a.png",
        "http://134744072/a.png",
        "http://[2606:4700::1111]/a.png",
        "http://studio.example:81/a.png",  # its name, another port
        "http://studio.example.evil.example/a.png",
        "http://10.0.0.0/a.png",
        "http://named.example.evil.example/a.png",
    ],
)
def test_what_is_not_named_is_refused_and_not_even_looked_up(uri):
    asked = []
    fetcher = Fetcher(
        Limits(), policy("named.example", "10.1.0.0/16"), resolve=lambda *name: asked.append(name)
    )
    label_studio = Origin("http://studio.example")
    with pytest.raises(ImageRefused, match="LOCAL_DATA_ONLY") as caught:
        fetcher.fetch(ImageReference(uri, label_studio=label_studio))
    assert "FETCH_ALLOWED_HOSTS" in caught.value.next_step
    assert asked == []
    fetcher.close()


@pytest.mark.parametrize("entry", ["127.0.0.0/8", "127.0.0.1"])
def test_what_is_named_is_fetched(http_server, entry):
    server = http_server()
    server.answer("/a.png", b"x")
    fetcher = Fetcher(Limits(), policy(entry))
    assert fetcher.fetch(ImageReference(server.url + "/a.png")) == b"x"
    fetcher.close()


def test_it_forbids_downloads_too(monkeypatch):
    monkeypatch.setenv("ALLOW_DOWNLOADS", "true")
    kept = Settings(_env_file=None, local_data_only=True, label_studio_url="http://studio")
    assert not kept.allow_downloads
    assert not kept.options()["ALLOW_DOWNLOADS"]
    assert Settings(_env_file=None).allow_downloads


def test_it_wants_to_know_which_label_studio_it_may_ask(monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    with pytest.raises(SettingsError, match="needs LABEL_STUDIO_URL"):
        load(local_data_only=True)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:9090", True),
        ("http://localhost:9090", True),
        ("http://[::1]:9090", True),
        ("http://gpu.lab.example:9090/s3cret", True),
        ("http://10.0.0.5:9090", False),
        ("https://ann:pw@elsewhere.example/s3cret", False),
    ],
)
def test_images_are_sent_to_another_backend_only_where_it_is_named(url, allowed):
    settings = Settings(
        _env_file=None,
        local_data_only=True,
        label_studio_url="http://studio",
        fetch_allowed_hosts="gpu.lab.example",
    )
    require_named(Settings(_env_file=None), url)  # without the setting to any
    if allowed:
        require_named(settings, url)
    else:
        with pytest.raises(SettingsError, match="LOCAL_DATA_ONLY") as caught:
            require_named(settings, url)
        assert "ann:pw" not in str(caught.value)


def test_libraries_of_models_find_their_reports_switched_off(tmp_path):
    script = (
        "import os, sys; from prelabel.assembly.parts import predictors; "
        "from prelabel.settings import load; predictors(load()); "
        "print({name: os.environ.get(name) for name in "
        "('HF_HUB_DISABLE_TELEMETRY', 'DO_NOT_TRACK', 'HF_HUB_OFFLINE')})"
    )
    base = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
    for local, offline in (("false", None), ("true", "1")):
        more = {"LOCAL_DATA_ONLY": local, "LABEL_STUDIO_URL": "http://studio", **QUICK}
        said = subprocess.run(
            [sys.executable, "-c", script],
            env={**base, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        expected = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": offline}
        assert said.stdout.strip() == str(expected)
