"""A stranger's package with a predictor that takes its time, for servers in processes of theirs."""

_MODULE = """
import os
import time

import numpy as np

from prelabel.types import Detections


class Sleepy:
    name = "sleepy"
    fingerprint = ""
    wants_neighbours = False
    batch_size = 1

    def check(self): ...

    def load(self): ...

    def health(self):
        return {"loaded": True, "device": "none"}

    def predict(self, images, ask):
        time.sleep(float(os.environ["SLEEPY_S"]) * len(images))
        return [Detections.none(self.name) for _ in images]


def build(options):
    return Sleepy()
"""


def install(folder, seconds):
    """Put the package into a folder; the settings that make a server use it.

    Args:
        folder: Where to.
        seconds: How long it takes for an image.
    """
    about = folder / "sleepy-1.0.dist-info"
    about.mkdir()
    (folder / "sleepy.py").write_text(_MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sleepy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[prelabel.predictors]\nsleepy = sleepy:build\n")
    chosen = {"BOXES_PREDICTOR": "sleepy", "POSES_PREDICTOR": "embedded-pose"}
    return {"PYTHONPATH": str(folder), "SLEEPY_S": str(seconds), **chosen}
