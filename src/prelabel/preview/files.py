"""Image files in, overlays and result JSON out, by the pipeline that answers Label Studio."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from prelabel.errors import ImageMissing, InvalidRequest, PrelabelError, SettingsError
from prelabel.gathering import Access, ImageSource, Studio
from prelabel.labelstudio.config import LabelConfig
from prelabel.labelstudio.regions.read import Drawn, read
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.media.cache import ImageCache
from prelabel.media.decode import decode
from prelabel.media.limits import Limits
from prelabel.media.local import read_below
from prelabel.media.references import ImageReference
from prelabel.pipeline import Outcome, predict_tasks
from prelabel.plan import Plan, Predictors, make_plan
from prelabel.preview.overlay import draw
from prelabel.runtime.deadline import Deadline
from prelabel.steps import BoxStep, PoseStep
from prelabel.types import Image, UInt8Array

Find = Literal["boxes", "poses", "both"]

JPEG_QUALITY = 93
_PATIENCE_S = 24 * 3600.0  # somebody watches, and can stop it
_IMAGES_AT_ONCE = 3  # a frame and its neighbours
_STEPS: dict[Find, tuple[type[BoxStep | PoseStep], ...]] = {
    "boxes": (BoxStep,),
    "poses": (PoseStep,),
    "both": (BoxStep, PoseStep),
}


@dataclass(frozen=True, slots=True)
class Preview:
    """What came of one image file.

    Attributes:
        image: The file, as it was given.
        drawn: What was found, or why it could not be looked at.
        seconds: How long it took to read and predict it, with its neighbouring frames.
        overlay: The picture that was written; beside it lies the result JSON. None on an error.
    """

    image: Path
    drawn: Drawn | PrelabelError
    seconds: float
    overlay: Path | None


def preview_plan(find: Find, label_config: str | None, predictors: Predictors) -> Plan:
    """What to look for: what a label config says, else body distortions and all 133 keypoints.

    Raises:
        InvalidRequest: The label config cannot be read, or has nothing of what is to be found.
    """
    texts = [label_config] if label_config else [boxes_config(), pose_config("133")]
    plans = [make_plan(text, predictors) for text in texts]
    steps = tuple(step for plan in plans for step in plan.steps if isinstance(step, _STEPS[find]))
    if not steps:
        raise InvalidRequest(
            "label config",
            f"it has nothing to fill with {'boxes or poses' if find == 'both' else find}",
            "Add RectangleLabels or KeyPointLabels on an Image to it, or choose another --find.",
        )
    return Plan(
        config=LabelConfig(
            images=plans[0].config.images,
            controls=tuple(control for plan in plans for control in plan.config.controls),
        ),
        steps=steps,
        notes=tuple(note for plan in plans for note in plan.notes),
        wishes=tuple(step.wish for step in steps if step.wish),
    )


def preview_files(
    paths: Sequence[Path], folder: Path, plan: Plan, limits: Limits
) -> Iterator[Preview]:
    """Predict each file, with the frames beside it among the others, and write what was found.

    Args:
        paths: Image files; one that is named twice is looked at once.
        folder: Where overlays (NAME.jpg) and results (NAME.json) go; it is made where need be.
        plan: What to look for.
        limits: What the images are held to.

    Raises:
        OperatorError: The folder cannot be used, or a model cannot be loaded.
    """
    paths = list({path.absolute(): path for path in paths}.values())
    _make_folder(folder, paths)
    for step in plan.steps:
        step.predictor.load()  # so that the time of the first image is its own
    tasks = [
        Task(id=number, data=_data(plan.config, path.absolute().as_uri()))
        for number, path in enumerate(paths)
    ]
    images = _local_images(limits)
    with ThreadPoolExecutor(_IMAGES_AT_ONCE) as fetchers:
        studio = Studio(images, fetchers, siblings=lambda _: tasks)
        for path, name, task in zip(paths, _names(paths), tasks, strict=True):
            begin = time.perf_counter()
            outcome = _predict(task, plan, studio)
            seconds = time.perf_counter() - begin
            if isinstance(outcome, PrelabelError):
                yield Preview(path, outcome, seconds, None)
                continue
            drawn = read(outcome.result, plan.config)
            pixels = images.load(ImageReference(path.absolute().as_uri())).pixels_rgb
            overlay = folder / f"{name}.jpg"
            _write(overlay, draw(pixels, drawn.boxes, drawn.people))
            result = json.dumps(asdict(outcome), indent=1)
            overlay.with_suffix(".json").write_text(result + "\n", encoding="utf-8")
            yield Preview(path, drawn, seconds, overlay)


def _predict(task: Task, plan: Plan, studio: Studio) -> Outcome:
    """One task at a time, so that each has a time of its own."""
    outcomes = predict_tasks([task], plan, studio, Access(), Deadline.after(_PATIENCE_S))
    ((_, outcome),) = outcomes
    return outcome


def _local_images(limits: Limits) -> ImageSource:
    def load(reference: ImageReference) -> Image:
        path = Path(url2pathname(urlsplit(reference.uri).path))
        if path.is_dir():
            raise ImageMissing(str(path), "it is a folder", "Name the image files in it.")
        target = path.resolve()
        data = read_below(target.parent, target.name, limits, str(path))
        if data is None:
            raise ImageMissing(str(path), "it is no file that can be read", "Check the path.")
        return decode(data, str(path), limits)

    return ImageCache(load)


def _data(config: LabelConfig, uri: str) -> dict[str, Any]:
    """Task data that holds the address wherever the label config reads one."""
    data: dict[str, Any] = {}
    for tag in config.images:
        data = tag.with_uris(data, [uri])
    return data


def _make_folder(folder: Path, paths: Sequence[Path]) -> None:
    if folder.resolve() in {path.resolve().parent for path in paths}:
        raise SettingsError(
            f"--out {folder}",
            "the images themselves lie there, and could be overwritten",
            "Name another folder.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--out {folder}", f"it cannot be made ({error})", "Name another folder."
        ) from error


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each file's results: its stem, numbered where two would be the same."""
    names: list[str] = []
    for path in paths:
        name, number = path.stem, 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}"
        names.append(name)
    return names


def _write(path: Path, pixels_rgb: UInt8Array) -> None:
    import cv2  # noqa: PLC0415 - heavy

    # Colour in full resolution: at half of it thin lines turn grey.
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    _, encoded = cv2.imencode(".jpg", pixels_rgb[:, :, ::-1], options)
    path.write_bytes(encoded.tobytes())
