"""Whole-body pose: people first, then 133 keypoints of each, in COCO-WholeBody's order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import structlog

from prelabel import keypoints
from prelabel.errors import InvalidRequest, ModelError, WeightsUnavailable
from prelabel.geometry import clip_boxes
from prelabel.predictors import simcc
from prelabel.predictors.backends import open_session
from prelabel.predictors.base import Answer
from prelabel.predictors.download import file_digest
from prelabel.predictors.modes import MODES, detector_named, weights_file
from prelabel.predictors.person_detector import (
    DetectorModel,
    People,
    PersonDetector,
    without_degenerate,
)
from prelabel.predictors.planes import planes
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.sessions import Runtime, Session, run_in_batches
from prelabel.predictors.streams import Opener, Streams, open_streams
from prelabel.predictors.weights import WeightsFolder
from prelabel.types import Ask, Float32Array, Image, Poses, UInt8Array

log = structlog.get_logger(__name__)

# On a CPU larger batches of crops gain under 5 % and cost 50 to 180 MB; a GPU wants them.
BATCH_ON_CPU = 4
BATCH_ON_GPU = 32


@dataclass(frozen=True, slots=True)
class PoseModel:
    """What a SimCC pose file expects and answers.

    Attributes:
        input_hw: Height and width of its input.
        scores: Whether its peaks are in 0..1 already; see `simcc.unit_scores`.
        channel_order: The RTM family was trained on RGB; "bgr" repeats what rtmlib feeds.
    """

    input_hw: tuple[int, int]
    scores: simcc.ScoreKind
    channel_order: simcc.ChannelOrder = "rgb"


@dataclass(frozen=True, slots=True)
class WholeBodyModels:
    """The two files of a whole-body pose, where they are and how they are to be used."""

    detector_path: Path
    detector: DetectorModel
    pose_path: Path
    pose: PoseModel


class WholeBody:
    """A `Predictor` of `Poses` with K = 133.

    Keypoints under the threshold (`Ask.min_score`, else the setting) keep their place and get the
    score 0; nothing is left out, so that index and name always fit.
    """

    wants_neighbours = False

    def __init__(
        self,
        name: str,
        fingerprint: str,
        find_models: Callable[[], WholeBodyModels],
        runtime: Runtime,
        min_score: float,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is read or loaded yet.

        Args:
            name: As in `model_version`.
            fingerprint: "" with default settings.
            find_models: Called once by `load`; may download, may raise WeightsUnavailable.
            runtime: What runs the models, and on what.
            min_score: Keypoint threshold where the ask has none.
            check: Raises WeightsUnavailable where `find_models` is bound to.
        """
        self.name = name
        self.fingerprint = fingerprint
        self._find_models = find_models
        self._runtime = runtime
        self._min_score = min_score
        self._check = check
        self._estimator: PoseEstimator | None = None
        self._loading = Lock()

    @property
    def batch_size(self) -> int:
        """How many images in one call pay off on the device."""
        return BATCH_ON_CPU if self._runtime.device == "cpu" else BATCH_ON_GPU

    def check(self) -> None:
        """Look whether the files are here or can be fetched.

        Raises:
            WeightsUnavailable: Neither.
        """
        self._check()

    def load(self) -> None:
        """Find the files and open them, once.

        Raises:
            MissingPackage: The backend is not installed.
            SettingsError: The backend cannot run these models.
            WeightsUnavailable: The files are not here and cannot be had.
        """
        self._loaded()

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """Poses of the people in each image, or why an image failed.

        With `ask.within_xyxy` each of those boxes is taken for a person; nobody is looked for.
        """
        estimator = self._loaded()
        try:
            if ask.within_xyxy:
                boxes = np.array(ask.within_xyxy, np.float32)
                return [self.pose_in_boxes(image, boxes, ask) for image in images]
            return estimator.poses(images, self._threshold(ask))
        except (InvalidRequest, ModelError) as error:
            if len(images) == 1:
                return [error]
        # One image spoilt the batch: its own answer is an error, the others get theirs.
        return [answer for image in images for answer in self.predict([image], ask)]

    def pose_in_boxes(self, image: Image, boxes_xyxy: Float32Array, ask: Ask) -> Poses:
        """Pose of the person in each given box (N, 4), in that order, without looking for people.

        Raises:
            InvalidRequest: A box has no area in the image, or is not finite.
            ModelError: The model failed.
        """
        given = People(boxes_xyxy.astype(np.float32), np.ones(len(boxes_xyxy), np.float32))
        if len(without_degenerate(given, (image.height, image.width)).scores) < len(boxes_xyxy):
            raise InvalidRequest(
                f"box in {image.name}",
                "it has no area inside the image",
                "Draw the box around a person.",
            )
        return self._loaded().poses_of([image], [given], self._threshold(ask))[0]

    def health(self) -> dict[str, object]:
        """Whether it is loaded, where it runs, and why it runs elsewhere than asked."""
        estimator = self._estimator
        if estimator is None:
            return {"loaded": False, "device": self._runtime.device}
        health: dict[str, object] = {"loaded": True, "device": estimator.device}
        if estimator.reason:
            health["reason"] = estimator.reason
        return health

    def _threshold(self, ask: Ask) -> float:
        return self._min_score if ask.min_score is None else ask.min_score

    def _loaded(self) -> "PoseEstimator":
        with self._loading:
            if self._estimator is None:
                models = self._find_models()
                self._estimator = PoseEstimator.opened(models, self._runtime, self.name)
                log.info("pose_loaded", name=self.name, device=self._estimator.device)
                if self._estimator.reason:
                    log.warning("pose_fell_back", name=self.name, reason=self._estimator.reason)
            return self._estimator


class PoseEstimator:
    """Two opened models and the arithmetic around them; safe to call from several threads."""

    def __init__(
        self, models: WholeBodyModels, detector: Session, pose: Streams, source: str
    ) -> None:
        """Take both models, opened, and the name that the poses are to carry."""
        self._detector = PersonDetector(detector, models.detector)
        self._detector_batch = _batch_on(detector)
        self._pose = pose
        self._pose_batch = _batch_on(pose.session)
        self._model = models.pose
        _, _, height, width = pose.session.input_shape
        self._input_hw = (height or models.pose.input_hw[0], width or models.pose.input_hw[1])
        self._source = source
        self.device = pose.session.device
        self.reason = detector.reason or pose.session.reason

    @classmethod
    def opened(
        cls, models: WholeBodyModels, runtime: Runtime, source: str, opener: Opener = open_session
    ) -> "PoseEstimator":
        """Open both files with `opener`; errors as of `open_session`."""
        side = models.detector.side
        detector = opener(models.detector_path, runtime, (side, side))
        pose = open_streams(models.pose_path, runtime, models.pose.input_hw, opener)
        return cls(models, detector, pose, source)

    def people(self, images: Sequence[Image]) -> list[People]:
        """The people in each image."""
        return self._detector.find(images, self._detector_batch)

    def poses(self, images: Sequence[Image], min_score: float) -> list[Poses]:
        """People and their keypoints in each image."""
        return self.poses_of(images, self.people(images), min_score)

    def poses_of(
        self, images: Sequence[Image], people: Sequence[People], min_score: float
    ) -> list[Poses]:
        """Keypoints of the given people of each image, side by side or in batches."""
        counts = [len(found.scores) for found in people]
        if not sum(counts):
            return [Poses.none(len(keypoints.NAMES), self._source) for _ in images]
        pictures = [
            image.pixels_rgb
            for image, count in zip(images, counts, strict=True)
            for _ in range(count)
        ]
        boxes = np.concatenate([found.boxes_xyxy for found in people])

        def look(session: Session, rows: slice) -> tuple[Float32Array, Float32Array]:
            return self._keypoints(session, pictures[rows], boxes[rows])

        looks = self._pose.each(len(boxes), look)
        places, raw_scores = (np.concatenate(parts) for parts in zip(*looks, strict=True))
        scores = simcc.unit_scores(raw_scores, self._model.scores)
        scores[scores < min_score] = 0
        ends = np.cumsum(counts)
        return [
            Poses(
                boxes_xyxy=clip_boxes(found.boxes_xyxy, (image.height, image.width)),
                box_scores=found.scores,
                keypoints_xy=places[end - count : end],
                keypoint_scores=scores[end - count : end],
                source=self._source,
            )
            for image, found, count, end in zip(images, people, counts, ends, strict=True)
        ]

    def _keypoints(
        self, session: Session, pictures_rgb: Sequence[UInt8Array], boxes_xyxy: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Keypoints (N, K, 2) and raw scores (N, K) of N people, each in a picture of its own."""
        centres, sizes = simcc.crop_regions(boxes_xyxy, self._input_hw)
        crops = [
            simcc.crop(pixels_rgb, centre, size, self._input_hw)
            for pixels_rgb, centre, size in zip(pictures_rgb, centres, sizes, strict=True)
        ]
        # With "bgr" the pixels are swapped but the means are not, which is what rtmlib does.
        swap = self._model.channel_order == "bgr"
        inputs = planes(crops, simcc.TABLES_RGB, swap=swap)
        found: list[tuple[Float32Array, Float32Array]] = []
        done = 0
        for simcc_x, simcc_y in run_in_batches(session, inputs, self._pose_batch):
            rows = slice(done, done + len(simcc_x))
            found.append(simcc.decode(simcc_x, simcc_y, centres[rows], sizes[rows], self._input_hw))
            done = rows.stop
        places, raw_scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return places, raw_scores


EMBEDDED = {
    "nanodet_person.onnx": "6a13b6fe45612dd27f134591597ea226fe4f1dc12da675a2d79fcd702d7dd24d",
    "holistic133_256x192.onnx": "999dec5b794a4d6c16497d3610e1459014042d0f8d888aea97bdba530ba0525d",
}
"""The models inside the package and their sha256; `weights/SOURCES.md` says where they are from."""


def embedded_folder() -> Path:
    """Where the embedded models lie."""
    return Path(str(files("prelabel") / "weights"))


def embedded_models(settings: PoseSettings) -> WholeBodyModels:
    """The models inside the package, after a look at their digests."""
    folder = embedded_folder()
    for name, digest in EMBEDDED.items():
        path = folder / name
        if not path.is_file() or file_digest(path) != digest:
            raise WeightsUnavailable(
                str(path), "it is missing or damaged", "Install prelabel again."
            )
    return WholeBodyModels(
        detector_path=folder / "nanodet_person.onnx",
        detector=DetectorModel("rtmdet", side=416, rectangular=settings.rectangular_detector),
        pose_path=folder / "holistic133_256x192.onnx",
        pose=PoseModel((256, 192), scores="unit", channel_order=settings.channel_order),
    )


def rtmlib_models(settings: PoseSettings) -> WholeBodyModels:
    """The models of the mode, or the user's own; fetched where they are not there and may be.

    Raises:
        SettingsError: The name of a detector of the user's own does not tell its kind.
        WeightsUnavailable: A file is not there and cannot be had.
    """
    mode = MODES[settings.mode]
    folder = WeightsFolder(settings.model_dir, allow_downloads=settings.allow_downloads)

    def found(own: str, table: str) -> Path:
        return folder.find(own) if own else folder.get(weights_file(table, settings.mirror))

    detector_path = found(settings.detector_file, mode.detector)
    pose_path = found(settings.pose_file, mode.pose)
    return WholeBodyModels(
        detector_path=detector_path,
        detector=detector_named(
            detector_path.name,
            side=mode.detector_side,
            rectangular=settings.rectangular_detector,
        ),
        pose_path=pose_path,
        pose=PoseModel(
            mode.pose_input_hw,
            # Our own composed model is the one whose peaks are probabilities.
            scores="unit" if pose_path.name.startswith("holistic133") else "logits",
            channel_order=settings.channel_order,
        ),
    )


def require_rtmlib_models(settings: PoseSettings) -> None:
    """Look whether the models of the mode are here or can be fetched, without fetching them.

    Raises:
        WeightsUnavailable: One of them is not here, and no host answers for it.
    """
    mode = MODES[settings.mode]
    folder = WeightsFolder(settings.model_dir, allow_downloads=settings.allow_downloads)
    for own, table in ((settings.detector_file, mode.detector), (settings.pose_file, mode.pose)):
        if not own:
            folder.require(weights_file(table, settings.mirror))


def build(options: Mapping[str, Any]) -> WholeBody:
    """The predictor `rtmlib`, named after its mode; nothing is loaded or fetched yet."""
    settings = PoseSettings.of(options)
    return WholeBody(
        name=f"rtmlib-{settings.mode}",
        fingerprint=settings.fingerprint,
        find_models=lambda: rtmlib_models(settings),
        runtime=settings.runtime,
        min_score=settings.min_score,
        check=lambda: require_rtmlib_models(settings),
    )


def build_embedded(options: Mapping[str, Any]) -> WholeBody:
    """The predictor `embedded-pose`, which needs no download; nothing is loaded yet."""
    settings = PoseSettings.of(options)
    return WholeBody(
        name="embedded-pose",
        fingerprint=settings.fingerprint,
        find_models=lambda: embedded_models(settings),
        runtime=settings.runtime,
        min_score=settings.min_score,
    )


def _batch_on(session: Session) -> int:
    return BATCH_ON_CPU if session.device == "cpu" else BATCH_ON_GPU
