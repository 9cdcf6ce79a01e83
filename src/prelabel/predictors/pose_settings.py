"""The settings of the pose predictors, read from their environment names and checked."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prelabel.errors import SettingsError
from prelabel.media.references import parse_url, shown
from prelabel.predictors.cores import usable_cores
from prelabel.predictors.download import content_mark
from prelabel.predictors.modes import MODES, weights_file
from prelabel.predictors.registry import fingerprint
from prelabel.predictors.sessions import Runtime, require_known
from prelabel.predictors.simcc import ChannelOrder
from prelabel.predictors.weights import ModelFile, WeightsFile

DEFAULTS: dict[str, Any] = {
    "MODE": "balanced",  # which pair of rtmlib's models
    "BACKEND": "onnxruntime",  # or openvino, opencv; BACKEND_TYPE is another name for it
    "DEVICE": "cpu",
    "CONFIDENCE_THRESHOLD": 0.3,  # keypoints under it count as not found
    "MODEL_DIR": "",  # where model files are kept; "" is a folder in the user's cache
    "ALLOW_DOWNLOADS": True,  # whether a missing model file may be fetched
    "MODEL_MIRROR": "",  # address of a mirror of the model host, asked first
    "POSE_DETECTOR": "",  # a detector of one's own instead of the mode's, .onnx or .zip
    "POSE_MODEL": "",  # a pose model of one's own instead of the mode's
    "POSE_CHANNEL_ORDER": "rgb",  # "bgr" feeds pose models what rtmlib feeds them
    "POSE_DETECTOR_SHAPE": "rectangular",  # "square" pads as rtmlib does
    "POSE_PRECISION": "fp32",  # "bf16": half the time on CPUs that have it, with openvino
    "POSE_THREADS": 0,  # CPU threads of one run; 0 is cores divided by WORKERS
    "WORKERS": 1,
}
"""Environment names and their defaults."""

_CHANGE_THE_ANSWER = (
    "CONFIDENCE_THRESHOLD",
    "POSE_DETECTOR",
    "POSE_MODEL",
    "POSE_CHANNEL_ORDER",
    "POSE_DETECTOR_SHAPE",
    "POSE_PRECISION",
)


@dataclass(frozen=True, slots=True)
class PoseSettings:
    """What the pose predictors are told; see `DEFAULTS` for the meaning of each value.

    Attributes:
        mode: One of `modes.MODES`.
        runtime: What runs the models, and on what.
        min_score: Keypoint threshold in 0..1.
        model_dir: Where model files are kept.
        allow_downloads: Whether a missing file may be fetched.
        detector_file: The detector: the mode's, or one of one's own.
        pose_file: The pose model: the mode's, or one of one's own.
        channel_order: What pose models are fed.
        rectangular_detector: Whether a detector that takes any size is spared the padding.
        given: The settings that change an answer, by name.
    """

    mode: str
    runtime: Runtime
    min_score: float
    model_dir: Path
    allow_downloads: bool
    detector_file: ModelFile
    pose_file: ModelFile
    channel_order: ChannelOrder
    rectangular_detector: bool
    given: Mapping[str, object]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "PoseSettings":
        """Settings from `options`, keyed by environment name; what is absent has its default.

        Raises:
            SettingsError: A value cannot be used.
        """
        given = {key: value for key, value in options.items() if value not in (None, "")}
        given.setdefault("BACKEND", given.get("BACKEND_TYPE", DEFAULTS["BACKEND"]))
        values = {key: given.get(key, default) for key, default in DEFAULTS.items()}
        require_known("MODE", values["MODE"], tuple(MODES))
        require_known("POSE_CHANNEL_ORDER", values["POSE_CHANNEL_ORDER"], ("rgb", "bgr"))
        require_known("POSE_DETECTOR_SHAPE", values["POSE_DETECTOR_SHAPE"], _SHAPES)
        mode = MODES[values["MODE"]]
        threads = int(_number(values, "POSE_THREADS"))
        workers = max(int(_number(values, "WORKERS")), 1)
        return cls(
            mode=values["MODE"],
            runtime=Runtime(
                backend=values["BACKEND"],
                device=values["DEVICE"],
                threads=threads or max(usable_cores() // workers, 1),
                precision=values["POSE_PRECISION"],
            ),
            min_score=_number(values, "CONFIDENCE_THRESHOLD"),
            model_dir=_path(values["MODEL_DIR"] or default_model_dir()),
            allow_downloads=_truth(values, "ALLOW_DOWNLOADS"),
            detector_file=_file(values, "POSE_DETECTOR", mode.detector),
            pose_file=_file(values, "POSE_MODEL", mode.pose),
            channel_order=values["POSE_CHANNEL_ORDER"],
            rectangular_detector=values["POSE_DETECTOR_SHAPE"] == "rectangular",
            given={key: values[key] for key in _CHANGE_THE_ANSWER},
        )

    @property
    def fingerprint(self) -> str:
        """A digest of the settings that change an answer, "" where all have their default.

        A file of one's own counts by what is in it now, wherever it lies.
        """
        files = {"POSE_DETECTOR": self.detector_file, "POSE_MODEL": self.pose_file}
        own = {key: content_mark(one) for key, one in files.items() if isinstance(one, Path)}
        return fingerprint({**self.given, **own}, DEFAULTS)


def default_model_dir() -> Path:
    """The folder for model files in the user's cache."""
    return Path.home() / ".cache" / "prelabel" / "models"


_SHAPES = ("rectangular", "square")


def _file(values: Mapping[str, Any], key: str, of_mode: str) -> ModelFile:
    """The file at the path or address that a setting names, else the mode's."""
    own = str(values[key])
    if not own:
        mirror = str(values["MODEL_MIRROR"])
        if mirror:
            _require_address("MODEL_MIRROR", mirror)
        return weights_file(of_mode, mirror)
    if "://" not in own:
        return _path(own)
    url, _, sha256 = own.partition("#sha256=")  # as pip has it
    _require_address(key, url)
    return WeightsFile((url,), sha256.lower(), is_own=True)


def _path(text: str | Path) -> Path:
    with suppress(RuntimeError):  # no such user: then it is a name as any other
        return Path(text).expanduser()
    return Path(text)


def _require_address(key: str, url: str) -> None:
    if parse_url(url) is None:
        step = "Give one that begins with http:// or https:// and names a host."
        raise SettingsError(key, f"{shown(url)} is no address that can be fetched from", step)


def _number(values: Mapping[str, Any], key: str) -> float:
    try:
        return float(values[key])
    except ValueError as error:
        raise SettingsError(
            key, f"{values[key]!r} is not a number", "Set it to a number."
        ) from error


def _truth(values: Mapping[str, Any], key: str) -> bool:
    value = str(values[key]).lower()
    require_known(key, value, ("true", "false", "1", "0"))
    return value in ("true", "1")
