"""Whole-body pose here and through plain rtmlib in a loop, timed side by side."""

import io
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from threading import Lock
from time import perf_counter, process_time, sleep, thread_time
from typing import Any

import numpy as np

from prelabel.benchmarks import random_pose
from prelabel.errors import MissingPackage
from prelabel.predictors import simcc
from prelabel.predictors.backends import open_session
from prelabel.predictors.cores import usable_cores
from prelabel.predictors.modes import MODES
from prelabel.predictors.person_detector import (
    TABLES_BGR,
    People,
    canvas_size,
    letterbox,
    size_check,
)
from prelabel.predictors.planes import IMAGENET_RGB, planes
from prelabel.predictors.pose_models import (
    PoseModel,
    WholeBodyModels,
    detector_named,
    embedded_models,
)
from prelabel.predictors.pose_settings import PoseSettings
from prelabel.predictors.sessions import Fits, Outputs, Runtime, Session, require_known
from prelabel.predictors.wholebody import PoseEstimator, images_in_a_call
from prelabel.types import Float32Array, Image, UInt8Array

PEOPLE = (1, 4, 16)
IMAGE_HW = (1080, 1920)
PERSON_WH = (220, 560)
MODELS = ("embedded", "balanced", "lightweight")
PAUSE_S = 0.05  # idle threads of the way before may still be spinning
BUSY_LOOP = "while True: pass"


def pose(
    runs: int, models: Sequence[str], people: Sequence[int], device: str, *, busy: bool
) -> None:
    """Time detector and pose per image against rtmlib, on the same weights and boxes.

    Balanced and lightweight are architecture-equal twins with random weights, which cost the same
    time as the real ones. Both sides look for people and are then given the same boxes.

    Args:
        runs: Timed runs of each row.
        models: Of `MODELS`; empty for all.
        people: Persons per image, of each row; empty for `PEOPLE`.
        device: cpu, cuda, cuda:1 or mps.
        busy: Keep one core busy with another process meanwhile.
    """
    photo = np.random.default_rng(0).integers(0, 256, (*IMAGE_HW, 3), np.uint8)
    print(_method(runs, device, busy=busy))
    print(f"{'models':<12} {'people':>6} {'way':<24} {'median ms':>9} {'slowest':>8}", end="")
    print(f" {'against rtmlib':>14} {'in the models':>13} {'of CPU time':>11}")
    with tempfile.TemporaryDirectory() as folder, _one_core_taken(busy):
        for name in models or MODELS:
            ways = list(_ways(name, Path(folder), device))
            for count in people or PEOPLE:
                _print_rows(f"{name:<12} {count:>6}", ways, photo, _boxes(count), runs)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to look at images, and what sees its models run.

    Attributes:
        look: Takes images (H, W, 3) and the boxes (N, 4) of the people in each.
        at_once: How many images it is given at a time.
    """

    name: str
    look: Callable[[Sequence[UInt8Array], Float32Array], None]
    stopwatch: "_Stopwatch"
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class _Look:
    """What one image took, and the models' shares of its time and of its CPU time."""

    seconds: float
    share: float
    cpu_share: float


class _Stopwatch:
    """Adds up the time in which at least one model runs.

    Attributes:
        clock_s: Seconds by the clock.
        cpu_s: Seconds of CPU that the runs took.
    """

    def __init__(self) -> None:
        self.clock_s = 0.0
        self.cpu_s = 0.0
        self._running = 0
        self._turn = Lock()

    @contextmanager
    def runs(self, cpu_time: Callable[[], float]) -> Iterator[None]:
        """Inside, a model runs.

        Args:
            cpu_time: CPU seconds of whom it runs on: of this thread, or, where it runs on several
                and no other model beside it, of all.
        """
        with self._turn:
            if not self._running:
                self.clock_s -= perf_counter()
            self._running += 1
        started = cpu_time()
        try:
            yield
        finally:
            took_cpu_s = cpu_time() - started
            with self._turn:
                self.cpu_s += took_cpu_s
                self._running -= 1
                if not self._running:
                    self.clock_s += perf_counter()


class _TimedSession:
    """A session whose runs a stopwatch sees."""

    def __init__(self, session: Session, stopwatch: _Stopwatch, runtime: Runtime) -> None:
        self.device, self.reason = session.device, session.reason
        self.input_shape, self.own_hw = session.input_shape, session.own_hw
        self._session = session
        self._stopwatch = stopwatch
        on_caller = runtime.backend == "onnxruntime" and runtime.threads == 1
        self._cpu_time = thread_time if on_caller else process_time

    def run(self, inputs: Float32Array) -> Outputs:
        with self._stopwatch.runs(self._cpu_time):
            return self._session.run(inputs)


class _TimedRuns:
    """A session of ONNX Runtime, as rtmlib calls it, whose runs a stopwatch sees."""

    def __init__(self, session: Any, stopwatch: _Stopwatch) -> None:
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self._session = session
        self._stopwatch = stopwatch

    def run(self, outputs: list[str], inputs: dict[str, Float32Array]) -> Outputs:
        with self._stopwatch.runs(process_time):
            found: Outputs = self._session.run(outputs, inputs)
        return found


def _ways(name: str, folder: Path, device: str) -> Iterator[_Way]:
    files = _models(name, folder)
    yield _rtmlib(files, device)
    cores = usable_cores()
    runtime = Runtime(device=device, threads=cores)
    yield _bare(files, runtime)
    yield _prelabel("prelabel", files, runtime)
    yield _prelabel("prelabel", files, runtime, images_in_a_call(runtime))
    if device == "cpu" and find_spec("openvino"):
        for precision in ("fp32", "bf16"):
            runtime = Runtime("openvino", device, cores, precision)
            yield _prelabel(f"prelabel openvino {precision}", files, runtime)


def _models(name: str, folder: Path) -> WholeBodyModels:
    """The embedded models, or twins of a mode's that are written into `folder`."""
    require_known("--models", name, MODELS)
    if name == "embedded":
        return embedded_models(PoseSettings.of({}))
    mode = MODES[name]
    detector, pose = folder / f"yolox_{name}.onnx", folder / f"rtmw_{name}.onnx"
    light = name == "lightweight"
    random_pose.write_yolox(
        detector,
        depth=0.33 if light else 0.67,
        width=0.375 if light else 0.75,
        side=mode.detector_side,
    )
    random_pose.write_rtmw(
        pose,
        depth=0.67 if light else 1.0,
        width=0.75 if light else 1.0,
        input_hw=mode.pose_input_hw,
    )
    return WholeBodyModels(
        detector,
        detector_named(detector.name, side=mode.detector_side, rectangular=True),
        pose,
        PoseModel(mode.pose_input_hw, scores="logits"),
    )


def _prelabel(name: str, files: WholeBodyModels, runtime: Runtime, at_once: int = 1) -> _Way:
    stopwatch = _Stopwatch()

    def opener(
        path: Path, runtime: Runtime, probe_hw: tuple[int, int], fits: Fits | None = None
    ) -> Session:
        return _TimedSession(open_session(path, runtime, probe_hw, fits), stopwatch, runtime)

    estimator = PoseEstimator.opened(files, runtime, name, opener)
    if estimator.reason:
        name = f"{name} ({estimator.device}!)"
    if at_once > 1:
        name = f"{name}, {at_once} at once"

    def look(pictures_rgb: Sequence[UInt8Array], boxes_xyxy: Float32Array) -> None:
        images = [Image(pixels_rgb) for pixels_rgb in pictures_rgb]
        estimator.people(images)
        people = People(boxes_xyxy, np.ones(len(boxes_xyxy), np.float32))
        estimator.poses_of(images, [people] * len(images), min_score=0.3)

    return _Way(name, look, stopwatch, at_once)


def _bare(files: WholeBodyModels, runtime: Runtime) -> _Way:
    """The models, one person at a time, and the arrays they are fed: nothing found is read.

    What it spends outside the models, any program spends that gives them the same pixels: with one
    person its share is the most that there is to have.
    """
    stopwatch = _Stopwatch()
    side = files.detector.side

    def opened(path: Path, probe_hw: tuple[int, int], fits: Fits | None = None) -> Session:
        return _TimedSession(open_session(path, runtime, probe_hw, fits), stopwatch, runtime)

    detector = opened(files.detector_path, (side, side), size_check(files.detector))
    pose = opened(files.pose_path, files.pose.input_hw)
    _, _, height, width = detector.input_shape
    rectangular = files.detector.rectangular and height is None and width is None
    input_hw = (height or side, width or side)
    tables = TABLES_BGR[files.detector.family]

    def look(pictures_rgb: Sequence[UInt8Array], boxes_xyxy: Float32Array) -> None:
        (pixels_rgb,) = pictures_rgb
        canvas_hw, ratio = canvas_size(IMAGE_HW, input_hw, rectangular=rectangular)
        detector.run(planes([letterbox(pixels_rgb, canvas_hw, ratio)], tables, swap=True))
        centres, sizes = simcc.crop_regions(boxes_xyxy, files.pose.input_hw)
        for centre, size in zip(centres, sizes, strict=True):
            crop = simcc.crop(pixels_rgb, centre, size, files.pose.input_hw)
            for bins in pose.run(planes([crop], IMAGENET_RGB, swap=False)):
                bins.argmax(-1)

    return _Way("models and pixels alone", look, stopwatch)


def _rtmlib(files: WholeBodyModels, device: str) -> _Way:
    """Plain rtmlib as its own `Wholebody` calls it, with its own sessions."""
    try:
        import rtmlib
    except ImportError as error:
        raise MissingPackage(
            "rtmlib",
            "there is nothing to compare with",
            "Run pip install --no-deps rtmlib==0.0.16.",
        ) from error
    detectors = {"yolox": rtmlib.YOLOX, "rtmdet": rtmlib.RTMDet}
    square = (files.detector.side, files.detector.side)
    with redirect_stdout(io.StringIO()):  # it prints what it loads
        detector = detectors[files.detector.family](str(files.detector_path), square, device=device)
        pose = rtmlib.RTMPose(str(files.pose_path), files.pose.input_hw[::-1], device=device)

    stopwatch = _Stopwatch()
    for tool in (detector, pose):
        tool.session = _TimedRuns(tool.session, stopwatch)

    def look(pictures_bgr: Sequence[UInt8Array], boxes_xyxy: Float32Array) -> None:
        for pixels_bgr in pictures_bgr:
            detector(pixels_bgr)
            pose(pixels_bgr, boxes_xyxy)

    return _Way("rtmlib in a loop", look, stopwatch)


def _boxes(count: int) -> Float32Array:
    """Boxes of people standing all over the image."""
    corners = np.random.default_rng(count).uniform(
        (0, 0), (IMAGE_HW[1] - PERSON_WH[0], IMAGE_HW[0] - PERSON_WH[1]), (count, 2)
    )
    return np.concatenate([corners, corners + PERSON_WH], 1).astype(np.float32)


def _print_rows(
    start: str, ways: list[_Way], photo: UInt8Array, boxes: Float32Array, runs: int
) -> None:
    """Time the ways in turn, so that what else the machine does meets all of them alike.

    Then each by itself, image after image, for its models' shares.
    """
    photos = [photo.copy() for _ in range(max(way.at_once for way in ways))]
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(runs + 1):
        for way, took in zip(ways, seconds, strict=True):
            sleep(PAUSE_S)
            look = _timed(way, photos, boxes)
            if turn > 0:  # the first turn warms up
                took.append(look.seconds)
    first_s = median(seconds[0])
    for way, took in zip(ways, seconds, strict=True):
        looks = [_timed(way, photos, boxes) for _ in range(runs + 1)][1:]
        print(
            f"{start} {way.name:<24} {median(took) * 1e3:>9.0f} {max(took) * 1e3:>8.0f} "
            f"{first_s / median(took):>13.2f}x {median(look.share for look in looks):>13.1%} "
            f"{median(look.cpu_share for look in looks):>11.1%}",
            flush=True,
        )


def _timed(way: _Way, photos: Sequence[UInt8Array], boxes: Float32Array) -> _Look:
    watch = way.stopwatch
    models_s, models_cpu_s = watch.clock_s, watch.cpu_s
    cpu_started, started = process_time(), perf_counter()
    way.look(photos[: way.at_once], boxes)
    took_s, took_cpu_s = perf_counter() - started, process_time() - cpu_started
    return _Look(
        took_s / way.at_once,
        share=(watch.clock_s - models_s) / took_s,
        cpu_share=(watch.cpu_s - models_cpu_s) / took_cpu_s,
    )


@contextmanager
def _one_core_taken(wanted: bool) -> Iterator[None]:
    """Another process that computes without end, where wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BUSY_LOOP])  # noqa: S603 - our own loop
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _method(runs: int, device: str, *, busy: bool) -> str:
    packages = ["onnxruntime", "rtmlib", "numpy"]
    packages += ["openvino"] if find_spec("openvino") else []
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    others = "with another process busy on one core" if busy else "nothing else started"
    height, width = IMAGE_HW
    return f"""\
Milliseconds from an image in memory to its keypoints: detector once, pose for each person.
Machine: {platform.system()} {platform.machine()}, {usable_cores()} cores, {others};
Python {platform.python_version()}, {versions}. Device: {device}.
Image: noise of {width} x {height}. Persons: boxes of {PERSON_WH[0]} x {PERSON_WH[1]}, the same
for every way. Embedded: real weights. Balanced, lightweight: rtmlib's architectures with random
weights. rtmlib pads the detector's input to a square; here it is cut to the shape of the image.
Rows of one block take turns, {PAUSE_S} s apart: one run each to warm up, {runs} timed.
In the models: the share of the time in which at least one model ran; of CPU time: of what all
threads together took, which neighbours and the number of threads hardly change. Both of {runs} more
images, one after another, of each way by itself.
"""
