"""The example of a predictor: installed like a stranger's package, and asked through the server."""

import base64
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest

from prelabel.launch.processes import Child, free_port

from .pages import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "predictor"
PRELABEL = ("-c", "from prelabel.cli import main; main()")
RED, BLUE = (220, 20, 20), (20, 40, 220)


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    """A copy of the example's folder, as its author has it."""
    return shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("example") / "predictor")


@pytest.fixture(scope="module")
def python(example, tmp_path_factory) -> Path:
    """A Python into which the example is installed; what it needs is taken from here."""
    folder = tmp_path_factory.mktemp("example") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    program = folder / "bin" / "python"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", program, "install", "--quiet", "--no-deps",
         str(example)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = "\n".join(f"import site; site.addsitedir({one!r})" for one in site.getsitepackages())
    (packages / "ours.pth").write_text(f"{ours}\n")
    return program


@pytest.fixture
def serve(python, tmp_path):
    """Starts the real server with the example for boxes; gives its address."""
    started = []

    def start(**settings):
        address = f"http://127.0.0.1:{free_port()}"
        child = Child.start(
            "the server", [str(python), *PRELABEL, "serve", "--port", address.rpartition(":")[2]],
            log_path=tmp_path / f"server-{len(started)}.log",
            environment={
                "BOXES_PREDICTOR": "colour-blobs", "POSES_PREDICTOR": "embedded-pose",
                "DATA_DIR": str(tmp_path / "data"), "LABEL_STUDIO_URL": "", **settings,
            },
        )  # fmt: skip
        started.append(child)
        child.wait_until_answers(f"{address}/ready", timeout_s=120)
        return address

    yield start
    for child in started:
        child.stop()


def picture(*spots, width=200, height=100):
    """A data URI of a grey picture with spots: box x1, y1, x2, y2 and colour."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    for (x1, y1, x2, y2), colour in spots:
        pixels[y1:y2, x1:x2] = colour
    _, encoded = cv2.imencode(".png", pixels[..., ::-1])
    return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"


def predict(address, *pictures):
    body = {
        "tasks": [{"id": number, "data": {"image": one}} for number, one in enumerate(pictures)],
        "project": "7.1",
        "label_config": (EXAMPLE / "label_config.xml").read_text("utf-8"),
    }
    answer = httpx2.post(f"{address}/predict", json=body, timeout=120).raise_for_status()
    return answer.json()["results"]


def test_the_server_answers_with_what_the_example_finds(serve):
    address = serve()
    car_and_sky = picture(((10, 20, 50, 60), RED), ((100, 0, 200, 50), BLUE))
    seen, nothing, failed = predict(address, car_and_sky, picture(), picture(width=12, height=12))
    regions = {
        region["value"]["rectanglelabels"][0]: [
            region["value"][side] for side in ("x", "y", "width", "height")
        ]
        for region in seen["result"]
    }
    assert regions == {"red": [5, 20, 20, 40], "sky": [50, 0, 50, 50]}
    assert seen["model_version"].startswith("colour-blobs")
    assert nothing["result"] == []
    assert nothing["model_version"] == seen["model_version"]
    assert failed == []
    (project,) = httpx2.get(f"{address}/status").raise_for_status().json()["projects"]
    assert "is smaller than 16 pixels" in project["last_failures"][0]["reason"]


def test_a_setting_of_the_example_changes_the_model_version_and_what_is_found(serve, tmp_path):
    palette = tmp_path / "colours.toml"
    palette.write_text("blue = [96, 128]\n")
    car_and_sky = picture(((10, 20, 50, 60), RED), ((100, 0, 200, 50), BLUE))
    (before,) = predict(serve(), car_and_sky)
    (after,) = predict(serve(COLOUR_BLOBS_PALETTE=str(palette)), car_and_sky)
    labels = [one["value"]["rectanglelabels"] for one in after["result"]]
    assert (len(before["result"]), labels) == (2, [["sky"]])
    assert after["model_version"].startswith("colour-blobs")
    assert after["model_version"] != before["model_version"]


def test_without_its_weights_the_detector_of_the_package_answers_and_says_why(serve):
    address = serve(COLOUR_BLOBS_PALETTE="missing.toml")
    (answer,) = predict(address, picture(((10, 20, 50, 60), RED)))
    assert answer["model_version"].startswith("opencv-fallback")
    health = httpx2.get(f"{address}/health").raise_for_status().json()
    assert "Correct COLOUR_BLOBS_PALETTE" in health["predictors"]["boxes"]["reason"]


def test_a_wrong_setting_of_the_example_ends_the_start_with_what_to_do(python, tmp_path):
    done = subprocess.run(
        [python, *PRELABEL, "serve", "--port", str(free_port())],
        env={
            **os.environ, "BOXES_PREDICTOR": "colour-blobs", "COLOUR_BLOBS_MIN_AREA": "many",
            "DATA_DIR": str(tmp_path),
        },
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Give a number above 0 and below 1" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_tests_of_the_example_pass(python, example):
    pass_all(python, example, "tests")


@pytest.mark.parametrize("name", ["opencv-fallback", "embedded-pose"])
def test_the_contract_holds_for_what_the_package_brings(python, example, name):
    pytest.importorskip("onnxruntime", reason="pip install '.[pose]'")
    pass_all(python, example, "tests/test_contract.py", "--predictor", name)


def pass_all(python, example, *arguments):
    done = subprocess.run(
        [python, "-m", "pytest", "-q", *arguments],
        cwd=example, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
