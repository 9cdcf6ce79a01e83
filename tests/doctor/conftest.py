"""A made-up machine on which all is well, to be spoilt by each test."""

from dataclasses import replace

import pytest

from prelabel.doctor.machine import Machine, Trial
from prelabel.settings import Settings

WELL = Machine(
    python=(3, 11, 7),
    executable="/venv/bin/python",
    packages={"opencv-python-headless": "4.12.0.88", "onnxruntime": "1.22.0"},
    names=frozenset({"PATH", "HOME", "PORT"}),
    run=lambda lines: Trial(ok=True, said="4.12.0" if "cv2" in lines else "CPUExecutionProvider"),
    free_bytes=lambda _: 50_000_000_000,
)


@pytest.fixture
def machine():
    def made(**changes):
        return replace(WELL, **changes)

    return made


@pytest.fixture
def settings(tmp_path):
    def made(**changes):
        own = {"boxes_predictor": "opencv-fallback", "poses_predictor": "embedded-pose"}
        return Settings.model_construct(**{"model_dir": tmp_path, **own, **changes})

    return made
