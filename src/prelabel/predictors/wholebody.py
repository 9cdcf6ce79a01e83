"""Whole-body pose: people first, then 133 keypoints of each, in COCO-WholeBody's order."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import structlog

from prelabel import keypoints
from prelabel.errors import InvalidRequest, ModelError, SettingsError
from prelabel.geometry import clip_boxes
from prelabel.predictors import simcc
from prelabel.predictors.backends import open_session
from prelabel.predictors.base import Answer
from prelabel.predictors.person_detector import (
    People,
    PersonDetector,
    size_check,
    without_degenerate,
)
from prelabel.predictors.planes import IMAGENET_RGB, planes
from prelabel.predictors.pose_models import (
    WholeBodyModels,
    embedded_models,
    require_rtmlib_models,
    rtmlib_models,
)
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.sessions import (
    Opener,
    Outputs,
    Runtime,
    Session,
    probe,
    run_in_batches,
)
from prelabel.predictors.streams import Streams, open_streams
from prelabel.types import Ask, Float32Array, Image, Poses, UInt8Array

log = structlog.get_logger(__name__)

# On a CPU larger batches of crops gain under 5 % and cost 50 to 180 MB; a GPU wants them.
BATCH_ON_CPU = 4
BATCH_ON_GPU = 32

MOST_IMAGES = 32  # of full HD these are 200 MB


class WholeBody:
    """A `Predictor` of `Poses` with K = 133.

    Keypoints under the threshold (`Ask.min_score`, else the setting) keep their place and get the
    score 0; nothing is left out, so that index and name always fit.
    """

    wants_neighbours = False

    def __init__(
        self,
        name: str,
        settings: PoseSettings,
        find_models: Callable[[PoseSettings], WholeBodyModels],
        require_models: Callable[[PoseSettings], None] | None = None,
    ) -> None:
        """Nothing is read or loaded yet.

        Args:
            name: As in `model_version`.
            settings: How it is to look.
            find_models: Called once by `load`; may download, may raise WeightsUnavailable.
            require_models: Raises WeightsUnavailable where `find_models` is bound to.
        """
        self.name = name
        self.fingerprint = settings.fingerprint
        self._settings = settings
        self._find_models = find_models
        self._require_models = require_models
        self._estimator: PoseEstimator | None = None
        self._loading = Lock()

    @property
    def batch_size(self) -> int:
        """How many images in one call pay off on the device."""
        return images_in_a_call(self._settings.runtime)

    def check(self) -> None:
        """Look whether the files are here or can be fetched.

        Raises:
            WeightsUnavailable: Neither.
        """
        if self._require_models is not None:
            self._require_models(self._settings)

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
            return {"loaded": False, "device": self._settings.runtime.device}
        health: dict[str, object] = {"loaded": True, "device": estimator.device}
        if estimator.reason:
            health["reason"] = estimator.reason
        return health

    def _threshold(self, ask: Ask) -> float:
        return self._settings.min_score if ask.min_score is None else ask.min_score

    def _loaded(self) -> "PoseEstimator":
        with self._loading:
            if self._estimator is None:
                models, runtime = self._find_models(self._settings), self._settings.runtime
                self.fingerprint = self._settings.fingerprint  # files of one's own may have changed
                self._estimator = PoseEstimator.opened(models, runtime, self.name)
                log.info("pose_loaded", name=self.name, device=self._estimator.device)
                if self._estimator.reason:
                    log.warning("pose_fell_back", name=self.name, reason=self._estimator.reason)
            return self._estimator


class PoseEstimator:
    """Two opened models and the arithmetic around them; safe to call from several threads."""

    def __init__(
        self, models: WholeBodyModels, detector: Streams, pose: Streams, source: str
    ) -> None:
        """Take both models, opened, and the name that the poses are to carry."""
        self._detector = detector
        self._detector_model = models.detector
        self._detector_batch = _batch_on(detector.session.device)
        self._pose = pose
        self._pose_batch = _batch_on(pose.session.device)
        self._model = models.pose
        _, _, height, width = pose.session.input_shape
        self._input_hw = (height or models.pose.input_hw[0], width or models.pose.input_hw[1])
        self._source = source
        self.device = pose.session.device
        self.reason = detector.session.reason or pose.session.reason

    @classmethod
    def opened(
        cls, models: WholeBodyModels, runtime: Runtime, source: str, opener: Opener = open_session
    ) -> "PoseEstimator":
        """Open both files with `opener`.

        Raises:
            SettingsError: The pose model is of another kind; other errors as of `open_session`.
        """
        side = models.detector.side
        fits = size_check(models.detector)
        detector = open_streams(models.detector_path, runtime, (side, side), opener, fits)
        pose = open_streams(models.pose_path, runtime, models.pose.input_hw, opener)
        estimator = cls(models, detector, pose, source)
        outputs = probe(pose.session, models.pose.input_hw)
        _require_whole_body(models.pose_path.name, outputs, estimator._input_hw)
        return estimator

    def people(self, images: Sequence[Image]) -> list[People]:
        """The people in each image, of several images side by side or in batches."""

        def look(session: Session, rows: slice) -> list[People]:
            detector = PersonDetector(session, self._detector_model)
            return detector.find(images[rows], self._detector_batch)

        looks = self._detector.each(len(images), look)
        return [found for people in looks for found in people]

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
        inputs = planes(crops, IMAGENET_RGB, swap=self._model.channel_order == "bgr")
        found: list[tuple[Float32Array, Float32Array]] = []
        done = 0
        for simcc_x, simcc_y in run_in_batches(session, inputs, self._pose_batch):
            rows = slice(done, done + len(simcc_x))
            found.append(simcc.decode(simcc_x, simcc_y, centres[rows], sizes[rows], self._input_hw))
            done = rows.stop
        places, raw_scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return places, raw_scores


def images_in_a_call(runtime: Runtime) -> int:
    """How many images in one call pay off on the device; on a CPU at least one for each thread."""
    return max(_batch_on(runtime.device), min(runtime.threads, MOST_IMAGES))


def build(options: Mapping[str, Any]) -> WholeBody:
    """The predictor `rtmlib`, named after its mode; nothing is loaded or fetched yet."""
    settings = PoseSettings.of(options)
    return WholeBody(f"rtmlib-{settings.mode}", settings, rtmlib_models, require_rtmlib_models)


def build_embedded(options: Mapping[str, Any]) -> WholeBody:
    """The predictor `embedded-pose`, which needs no download; nothing is loaded yet."""
    return WholeBody("embedded-pose", PoseSettings.of(options), embedded_models)


def _require_whole_body(file_name: str, outputs: Outputs, input_hw: tuple[int, int]) -> None:
    found = [output.shape[1:] for output in outputs]
    wanted = [(len(keypoints.NAMES), int(side * simcc.BINS_PER_PIXEL)) for side in input_hw[::-1]]
    if found != wanted:
        raise SettingsError(
            "POSE_MODEL",
            f"{file_name} answers arrays of {_in_words(found)} for each person, not the SimCC rows "
            f"of 133 whole-body keypoints, {_in_words(wanted)}",
            "Use a whole-body file of RTMW, RTMPose or DWPose.",
        )


def _in_words(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(" x ".join(str(size) for size in shape) for shape in shapes)


def _batch_on(device: str) -> int:
    return BATCH_ON_CPU if device == "cpu" else BATCH_ON_GPU
