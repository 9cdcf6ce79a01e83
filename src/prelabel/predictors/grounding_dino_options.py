"""How Grounding DINO is to look, checked, and where its weights may come from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from prelabel.errors import SettingsError, WeightsUnavailable
from prelabel.predictors.download import content_mark
from prelabel.predictors.registry import fingerprint

DEFAULT_MODEL_ID = "IDEA-Research/grounding-dino-tiny"

SMALLEST_SHORT_EDGE = 224
"""Below this the real models' feature maps have fewer cells than candidate boxes (900)."""

_FIELDS = {
    "GROUNDING_DINO_MODEL_ID": "model_id",
    "GROUNDING_DINO_DEVICE": "device",
    "GROUNDING_DINO_BOX_THRESHOLD": "box_threshold",
    "GROUNDING_DINO_TEXT_THRESHOLD": "text_threshold",
    "GROUNDING_DINO_MAX_DETECTIONS": "max_detections",
    "GROUNDING_DINO_SHORT_EDGE": "short_edge",
    "GROUNDING_DINO_AUTOCAST": "autocast",
    "GROUNDING_DINO_BATCH_SIZE": "batch_size",
    "GROUNDING_DINO_THREADS": "threads",
    "ALLOW_DOWNLOADS": "allow_downloads",
}
"""The settings that are read, and the option that each one fills."""


@dataclass(frozen=True, slots=True)
class GroundingDinoOptions:
    """How to look.

    Attributes:
        model_id: A hub id, or a folder; any model that opens with `GroundingDinoProcessor`.
        device: "cpu", "cuda", "cuda:1" or "mps".
        box_threshold: Lowest score of a finding, 0..1; see `phrases.Selection`.
        text_threshold: Lowest probability of a matched token, 0..1; see `phrases.Selection`.
        max_detections: At most so many findings per image.
        short_edge: Pixels of the shorter side after resizing; None is 480 on CPU, 800 elsewhere.
        autocast: Mixed precision "on" or "off"; "auto" is bf16 on CPUs that have it, bf16 or fp16
            on CUDA, and none elsewhere.
        batch_size: Images of equal size per run on CUDA; None is 4. Elsewhere always 1.
        threads: CPU threads; None leaves torch's own choice.
        allow_downloads: Whether a model that is not here may be fetched from the hub.
    """

    model_id: str = DEFAULT_MODEL_ID
    device: str = "cpu"
    box_threshold: float = 0.22
    text_threshold: float = 0.20
    max_detections: int = 20
    short_edge: int | None = None
    autocast: str = "auto"
    batch_size: int | None = None
    threads: int | None = None
    allow_downloads: bool = True

    def __post_init__(self) -> None:
        _require(bool(self.name), "GROUNDING_DINO_MODEL_ID", self.model_id, "a hub id or a folder")
        devices = re.fullmatch(r"cpu|mps|cuda(:\d+)?", self.device) is not None
        _require(devices, "GROUNDING_DINO_DEVICE", self.device, "cpu, cuda, cuda:0 or mps")
        for field in ("box_threshold", "text_threshold"):
            value = getattr(self, field)
            _require(0 <= value <= 1, f"GROUNDING_DINO_{field.upper()}", value, "a value in 0..1")
        for field in ("max_detections", "batch_size", "threads"):
            value = getattr(self, field)
            fits = value is None or value >= 1
            _require(fits, f"GROUNDING_DINO_{field.upper()}", value, "a whole number from 1 on")
        wide = self.short_edge is None or self.short_edge >= SMALLEST_SHORT_EDGE
        pixels = f"at least {SMALLEST_SHORT_EDGE} pixels"
        _require(wide, "GROUNDING_DINO_SHORT_EDGE", self.short_edge, pixels)
        known = self.autocast in {"auto", "on", "off"}
        _require(known, "GROUNDING_DINO_AUTOCAST", self.autocast, "auto, on or off")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Options from settings by their names; one that is absent or None keeps its default.

        Raises:
            SettingsError: A setting is out of its range.
        """
        given = {_FIELDS[name]: value for name, value in settings.items() if name in _FIELDS}
        return cls(**{field: value for field, value in given.items() if value is not None})

    @property
    def name(self) -> str:
        """The last component of the model id."""
        return re.split(r"[\\/]+", self.model_id.rstrip("\\/"))[-1]

    @property
    def source(self) -> str:
        """What the transformers library is to open: the folder, or the hub id."""
        return str(Path(self.model_id).expanduser()) if _is_folder(self.model_id) else self.model_id

    @property
    def fingerprint(self) -> str:
        """A digest of the options that change what is found; "" with the defaults.

        A folder counts by what is in its files now, wherever it lies.
        """
        neutral = {"device", "batch_size", "threads", "allow_downloads"}
        defaults = {field.name: field.default for field in fields(self)}
        values = {name: getattr(self, name) for name in defaults if name not in neutral}
        if _is_folder(self.model_id):
            values["model_id"] = content_mark(Path(self.source))
        return fingerprint(values, defaults)

    @property
    def local_only(self) -> bool:
        """Whether the hub need not, or may not, be asked."""
        return _is_folder(self.model_id) or _in_hub_cache(self.model_id) or not self.may_download

    @property
    def may_download(self) -> bool:
        """Whether the hub may be asked: by these options and by HF_HUB_OFFLINE."""
        from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

        return self.allow_downloads and not constants.HF_HUB_OFFLINE


def require_weights(options: GroundingDinoOptions) -> None:
    """Raise where it is plain, without importing torch, that the model is not to be had.

    Raises:
        WeightsUnavailable: The folder does not exist, or the model is not in the hub's cache and
            may not be downloaded.
    """
    if _is_folder(options.model_id):
        return
    if _is_path(options.model_id):
        raise weights_unavailable(options.model_id, "there is no such folder")
    if not _in_hub_cache(options.model_id) and not options.may_download:
        forbidden = "ALLOW_DOWNLOADS or HF_HUB_OFFLINE forbids fetching it"
        raise weights_unavailable(options.model_id, f"it is not in the cache, and {forbidden}")


def weights_unavailable(model_id: str, cause: str) -> WeightsUnavailable:
    """The error for a model that is not here or does not open, with where it was looked for."""
    if _is_path(model_id):
        return WeightsUnavailable(
            f"GROUNDING_DINO_MODEL_ID, folder {model_id}",
            cause,
            f"Fill it by `hf download {DEFAULT_MODEL_ID} --local-dir {model_id}`, or set "
            "GROUNDING_DINO_MODEL_ID to another folder or to a hub id.",
        )
    from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

    return WeightsUnavailable(
        f"GROUNDING_DINO_MODEL_ID {model_id}, hub cache {constants.HF_HUB_CACHE}",
        cause,
        f"Run `hf download {model_id}` where the hub can be reached (HF_HUB_OFFLINE unset), or set "
        "GROUNDING_DINO_MODEL_ID to a folder that holds the model.",
    )


def _is_path(model_id: str) -> bool:
    """Whether this can only be a folder: hub ids are `owner/name` or `name`."""
    looks_so = re.match(r"[/\\.~]|[A-Za-z]:", model_id) is not None or model_id.count("/") > 1
    return looks_so or _is_folder(model_id)


def _is_folder(model_id: str) -> bool:
    """Whether a model id is a folder on this machine."""
    return Path(model_id).expanduser().is_dir()


def _in_hub_cache(model_id: str) -> bool:
    """Whether the hub's cache holds a complete download; weights are what arrives last."""
    from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

    snapshots = (
        Path(constants.HF_HUB_CACHE) / f"models--{model_id.replace('/', '--')}" / "snapshots"
    )
    return any(snapshots.glob("*/*.safetensors")) or any(snapshots.glob("*/*.bin"))


def _require(fits: bool, setting: str, value: object, wanted: str) -> None:
    if not fits:
        raise SettingsError(f"{setting}={value}", "it is out of range", f"Set it to {wanted}.")
