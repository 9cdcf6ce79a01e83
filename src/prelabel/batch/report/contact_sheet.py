"""Pictures of a few tasks with what was found in them: the surest, the least sure, the empty."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from prelabel.batch.packing import Squeeze, jpeg, shrunk
from prelabel.batch.summary import RunSummary, Sample
from prelabel.batch.words import counted
from prelabel.errors import PrelabelError
from prelabel.labelstudio.config import ImageTag, LabelConfig
from prelabel.labelstudio.regions.read import read
from prelabel.labelstudio.regions.write import SHAPES, Region
from prelabel.preview.overlay import draw
from prelabel.types import Image, UInt8Array

log = structlog.get_logger(__name__)

TILES_PER_GROUP = 12
LONGEST_SIDE_PX = 480
MOST_BYTES = 40_000
"""Of one picture."""
PATIENCE_S = 20.0
"""Time for all pictures: who waits for a report can do without some."""

_LOADERS = 4
_QUALITIES = (82, 70, 55, 40, 25, 10)

LoadImage: TypeAlias = Callable[[str, int], Image]
"""The upright image at an address, of a task; PrelabelError where that is impossible."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One task of the contact sheet.

    Attributes:
        task_id: The task.
        score: The prediction's score.
        found: What was found, in words.
        jpeg: The picture with what was found drawn over it; b"" where it could not be had.
    """

    task_id: int
    score: float
    found: str
    jpeg: bytes = b""


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """The pictures of a report, in its order."""

    surest: tuple[Tile, ...] = ()
    least_sure: tuple[Tile, ...] = ()
    empty: tuple[Tile, ...] = ()


def contact_sheet(
    summary: RunSummary, config: LabelConfig, load: LoadImage, *, patience_s: float = PATIENCE_S
) -> ContactSheet:
    """Fetch the images of a run's samples again, and draw what was found.

    Args:
        summary: The run.
        config: The project's label config.
        load: Where images come from; called by several threads.
        patience_s: What is not loaded by then is left without a picture.
    """
    until = time.monotonic() + patience_s
    surest = {sample.task_id for sample in summary.surest}
    least_sure = [one for one in summary.least_sure if one.task_id not in surest]
    groups = (summary.surest, least_sure, summary.empty)
    threads = ThreadPoolExecutor(_LOADERS)
    try:
        begun = [
            [_Begun(one, threads.submit(_tile, one, config, load)) for one in group]
            for group in (group[:TILES_PER_GROUP] for group in groups)
        ]
        return ContactSheet(*(tuple(one.tile(until) for one in group) for group in begun))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A tile in the making."""

    sample: Sample
    future: Future[Tile]

    def tile(self, until: float) -> Tile:
        """The tile, without its picture where that is not there by then (`time.monotonic`)."""
        try:
            return self.future.result(timeout=max(until - time.monotonic(), 0))
        except TimeoutError:
            return _without_picture(self.sample)


def _tile(sample: Sample, config: LabelConfig, load: LoadImage) -> Tile:
    try:
        tag, page = _most_telling(sample.result, config)
        image = load(tag.uris(sample.data)[page], sample.task_id)
        pixels_rgb = shrunk(image.pixels_rgb, LONGEST_SIDE_PX)
        picture = _jpeg(_drawn(pixels_rgb, sample.result, config, tag, page))
    except PrelabelError as error:
        log.info("picture left out", task=sample.task_id, reason=str(error))
        return _without_picture(sample)
    except Exception:  # whatever it is, the report is worth more than one picture
        log.exception("picture left out", task=sample.task_id)
        return _without_picture(sample)
    return replace(_without_picture(sample), jpeg=picture)


def _without_picture(sample: Sample) -> Tile:
    return Tile(sample.task_id, sample.score, _words(sample.result))


def _words(result: Sequence[Region]) -> str:
    """What a result holds: `2 body_distortion, 97 keypoints`."""
    boxes = Counter(
        str(label)
        for region in result
        for label in region.get("value", {}).get("rectanglelabels", ())
    )
    found = [f"{count} {label}" for label, count in boxes.most_common()]
    points = sum(region.get("type") == "keypointlabels" for region in result)
    if points:
        found.append(counted(points, "keypoint"))
    return ", ".join(found) or "nothing found"


def _most_telling(result: Sequence[Region], config: LabelConfig) -> tuple[ImageTag, int]:
    """The image of a task with the most regions, and its page; the first where all are empty."""
    places = Counter(
        (str(region.get("to_name")), int(region.get("item_index", 0)))
        for region in result
        if region.get("type") in SHAPES
    )
    for (name, page), _ in places.most_common(1):
        tag = config.image(name)
        if tag is not None:
            return tag, page
    return config.images[0], 0


def _drawn(
    pixels_rgb: UInt8Array, result: Sequence[Region], config: LabelConfig, tag: ImageTag, page: int
) -> UInt8Array:
    """The picture with the regions that lie on it."""
    height, width = pixels_rgb.shape[:2]
    here = [
        {**region, "original_width": width, "original_height": height}
        for region in result
        if region.get("to_name") == tag.name
    ]
    drawn = read(here, config, page if tag.is_list else None)
    return draw(pixels_rgb, drawn.boxes, drawn.people)


def _jpeg(pixels_rgb: UInt8Array) -> bytes:
    """The best JPEG of at most `MOST_BYTES`."""
    for quality in _QUALITIES:
        encoded = jpeg(pixels_rgb, Squeeze(quality, LONGEST_SIDE_PX))
        if len(encoded) <= MOST_BYTES:
            break
    return encoded
