"""A stranger's package with a predictor that takes its time, for servers in processes of theirs."""

from tests.services import stranger

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
    return {**stranger.install(folder, "sleepy", _MODULE), "SLEEPY_S": str(seconds)}
