"""Grounding DINO here and through the library's own pipeline, timed side by side."""

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

from prelabel.errors import PrelabelError
from prelabel.media.decode import decode
from prelabel.media.limits import Limits
from prelabel.predictors.base import Predictor
from prelabel.types import Ask, Image, Phrase

SHORT_EDGES = (480, 800)


def detect(runs: int, model: str | None, device: str, image: Path | None) -> None:
    """Time Grounding DINO at 480 and 800 pixels, against transformers' own pipeline.

    Random weights cost the same time as real ones and find nothing of meaning.
    """
    photo = _photo(image)
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            from transformers import GroundingDinoConfig

            from prelabel.benchmarks.random_grounding_dino import write_random_model

            write_random_model(Path(folder), GroundingDinoConfig())
        name = model or "architecture of grounding-dino-tiny, random weights"
        print(_method(name, device, runs, f"{photo.width} x {photo.height}"))
        print(
            f"{'way':<21} {'edge':>4} {'precision':>9} {'median s':>9} {'slowest':>8} {'cpu-s':>7}"
        )
        for short_edge in SHORT_EDGES:
            ways = _ways(model or folder, device, short_edge, photo)
            for way, times in zip(ways, _times(ways, runs), strict=True):
                print(f"{way.name:<21} {short_edge:>4} {way.precision:>9} {times}", flush=True)


@dataclass(frozen=True, slots=True)
class _Way:
    name: str
    precision: str
    look: Callable[[], object]


def _ways(model_id: str, device: str, short_edge: int, photo: Image) -> list[_Way]:
    """Ours in two precisions and the library's pipeline, on the same weights."""
    from PIL import Image as PillowImage
    from transformers import pipeline

    from prelabel.labelstudio.prompts import DISTORTION_PROMPTS
    from prelabel.predictors.grounding_dino import GroundingDino
    from prelabel.predictors.grounding_dino_network import LONG_TO_SHORT_EDGE
    from prelabel.predictors.grounding_dino_options import GroundingDinoOptions

    ask = Ask(tuple(Phrase(text, "body_distortion", part) for part, text in DISTORTION_PROMPTS))
    ways = []
    for autocast, precision in (("off", "fp32"), ("on", "autocast")):
        options = GroundingDinoOptions(
            model_id=model_id, device=device, short_edge=short_edge, autocast=autocast
        )
        ways.append(_Way("prelabel", precision, partial(_look, GroundingDino(options), photo, ask)))
    library = pipeline("zero-shot-object-detection", model=model_id, device=device)
    long_edge = round(short_edge * LONG_TO_SHORT_EDGE)
    library.image_processor.size = {"shortest_edge": short_edge, "longest_edge": long_edge}
    picture = PillowImage.fromarray(photo.pixels_rgb)
    prompt = ". ".join(phrase.text for phrase in ask.phrases) + "."
    look = partial(library, picture, candidate_labels=[prompt])
    ways.append(_Way("transformers pipeline", "fp32", look))
    return ways


def _look(predictor: Predictor, photo: Image, ask: Ask) -> None:
    """One image; its error is raised, so that a failure is not timed as a success."""
    for entry in predictor.predict([photo], ask):
        if isinstance(entry, PrelabelError):
            raise entry


def _times(ways: list[_Way], runs: int) -> list[str]:
    """Columns of each way's row: median and slowest seconds, median cpu-seconds.

    The ways take turns, so that what else the machine does meets all of them alike.
    """
    seconds: list[list[float]] = [[] for _ in ways]
    cpu_seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(runs + 1):
        for number, way in enumerate(ways):
            wall, cpu = perf_counter(), process_time()
            way.look()
            if turn > 0:  # the first turn warms up
                seconds[number].append(perf_counter() - wall)
                cpu_seconds[number].append(process_time() - cpu)
    return [
        f"{median(wall):>9.2f} {max(wall):>8.2f} {median(cpu):>7.2f}"
        for wall, cpu in zip(seconds, cpu_seconds, strict=True)
    ]


def _method(model: str, device: str, runs: int, size: str) -> str:
    import torch

    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    gpu = f" {torch.cuda.get_device_name(device)}," if device.startswith("cuda") else ""
    return f"""\
Seconds from an image in memory to its boxes: resizing, network, boxes.
Machine: {platform.system()} {platform.machine()},{gpu} {os.cpu_count()} cores, \
{torch.get_num_threads()} torch threads; Python {platform.python_version()}, {versions}.
Model: {model}. Device: {device}. Image: {size}, seven phrases.
Rows of one edge take turns: one run each to warm up, then {runs} timed; same weights and image.
The pipeline gets the whole prompt as one label; given a list it would run once per label.
"""


def _photo(image: Path | None) -> Image:
    if image is not None:
        return decode(image.read_bytes(), str(image), Limits())
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    return Image(noise, "the image")
