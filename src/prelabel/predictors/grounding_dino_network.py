"""The loaded Grounding DINO network on one device: the one place that speaks torch."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import structlog

from prelabel.errors import ModelError, OutOfMemory, SettingsError, first_line
from prelabel.predictors.cores import usable_cores
from prelabel.predictors.download import refusal
from prelabel.predictors.grounding_dino_options import GroundingDinoOptions, weights_unavailable
from prelabel.predictors.phrases import Reading
from prelabel.types import UInt8Array

log = structlog.get_logger(__name__)

_WANTS_A_TOKEN = (" 401", " 403")
"""Ends of refusals that the user's own token, which transformers sends, may turn into a yes."""

FULL_PRECISION = "fp32"
SHORT_EDGE_ON_CPU = 480
SHORT_EDGE_ON_GPU = 800
LONG_TO_SHORT_EDGE = 1333 / 800
"""The proportion that the published models were trained and evaluated with."""

_DEVICE_ERROR = re.compile(r"\b(CUDA|cuDNN|CUBLAS|HIP|MPS)\b.*(error|failed)", re.IGNORECASE)
_MEMORY_ERROR = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)


class DeviceFailed(Exception):
    """The device is missing or broken; the same work may succeed on another."""


class Network(Protocol):
    """A detector that has been loaded. One thread at a time.

    Attributes:
        device: Where it runs: "cpu", "cuda", "cuda:1", "mps".
        max_tokens: How many tokens of text it reads.
        delimiters: Token ids that end a phrase, and those of start, end and padding.
    """

    device: str
    max_tokens: int
    delimiters: frozenset[int]

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, with start and end token."""

    def resized_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """The height and width at which it looks at an image of this height and width."""

    def can_read(self, resized_hw: tuple[int, int]) -> bool:
        """Whether an image resized to this has enough room for all candidate boxes."""

    def run(self, images_rgb: Sequence[UInt8Array], text: str) -> list[Reading]:
        """Look at images of one resized size.

        Args:
            images_rgb: (H, W, 3) uint8 each.
            text: The prompt; the same for all.

        Raises:
            OutOfMemory: The device has no room for so many images.
            DeviceFailed: The device is broken.
            ModelError: The model failed in another way.
        """


class TransformersNetwork:
    """A `Network` made of a processor and a model of the transformers library.

    Batches hold images of one resized size only, so nothing is padded: the backbone ignores the
    padding mask, and features change by 5-18 % where a batch is padded.
    """

    def __init__(
        self, processor: Any, model: Any, *, device: str, short_edge: int, precision: str
    ) -> None:
        """Take a loaded model.

        Args:
            processor: A `GroundingDinoProcessor`.
            model: The model, in float32, in evaluation mode, on `device`.
            device: Where the model is.
            short_edge: Pixels of the shorter side after resizing; the longer side is limited to
                `LONG_TO_SHORT_EDGE` times that.
            precision: "fp32", or "bf16" or "fp16" for autocast.
        """
        self.device = device
        self.max_tokens = int(model.config.max_text_len)
        tokenizer = processor.tokenizer
        marks = tokenizer.convert_tokens_to_ids([".", "?"])
        specials = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
        self.delimiters = frozenset({*marks, *specials})
        self._size = {
            "shortest_edge": short_edge,
            "longest_edge": round(short_edge * LONG_TO_SHORT_EDGE),
        }
        self._processor = processor
        self._model = model
        self._precision = precision
        self._has_worked = False

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, with start and end token."""
        return list(self._processor.tokenizer(text)["input_ids"])

    def resized_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """The height and width at which it looks at an image of this height and width."""
        from transformers.image_transforms import get_size_with_aspect_ratio  # noqa: PLC0415 - heavy

        short, long = self._size["shortest_edge"], self._size["longest_edge"]
        height, width = get_size_with_aspect_ratio(image_hw, short, long)
        return int(height), int(width)

    def can_read(self, resized_hw: tuple[int, int]) -> bool:
        """Whether the feature maps have a cell for each candidate box (900 in the real models).

        The maps are 8, 16, 32, ... times smaller than the image. With fewer cells than candidates
        the model fails with "selected index k out of range".
        """
        height, width = resized_hw
        config = self._model.config
        strides = [8 * 2**level for level in range(config.num_feature_levels)]
        cells = sum(-(-height // stride) * -(-width // stride) for stride in strides)
        return bool(cells >= config.num_queries)

    def run(self, images_rgb: Sequence[UInt8Array], text: str) -> list[Reading]:
        """Look at images of one resized size; see `Network.run`."""
        try:
            readings = self._forward(images_rgb, text)
        except Exception as error:  # whatever it is, it concerns these images only
            raise self._failure(error, len(images_rgb)) from error
        self._has_worked = True
        return readings

    def _forward(self, images_rgb: Sequence[UInt8Array], text: str) -> list[Reading]:
        import torch  # noqa: PLC0415 - heavy and optional

        pixels = torch.cat([self._pixels(image) for image in images_rgb]).to(self.device)
        tokens = self._processor.tokenizer(text, return_tensors="pt", return_token_type_ids=True)
        repeated = {
            name: ids.expand(len(images_rgb), -1).to(self.device) for name, ids in tokens.items()
        }
        with torch.inference_mode(), self._autocast():
            outputs = self._model(pixel_values=pixels, **repeated)
        probabilities = outputs.logits.float().sigmoid().cpu().numpy()
        boxes = outputs.pred_boxes.float().cpu().numpy()
        return [Reading(*each) for each in zip(probabilities, boxes, strict=True)]

    def _pixels(self, image_rgb: UInt8Array) -> Any:
        """The image resized and normalised: (1, 3, H, W) float32."""
        from PIL import Image  # noqa: PLC0415 - needed only here

        prepared = self._processor.image_processor(
            Image.fromarray(image_rgb), size=self._size, return_tensors="pt"
        )
        return prepared["pixel_values"]

    def _autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision, or none.

        The model itself stays float32: in pure half precision on a CPU, `grid_sample` of torch
        2.13 reads garbage and every box is NaN.
        """
        import torch  # noqa: PLC0415 - heavy and optional

        if self._precision == FULL_PRECISION:
            return nullcontext()
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[self._precision]
        context: AbstractContextManager[Any] = torch.autocast(self.device.split(":")[0], dtype)
        return context

    def _failure(self, error: Exception, images: int) -> Exception:
        import torch  # noqa: PLC0415 - heavy and optional

        text = first_line(error)
        out_of_memory = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if out_of_memory or _MEMORY_ERROR.search(text):
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            return OutOfMemory(
                f"{images} image(s) on {self.device}",
                "the device has no room for them",
                "Set a lower GROUNDING_DINO_SHORT_EDGE, or free memory on the device.",
            )
        # Before the first success an error speaks against the device, after it against the input.
        blames_device = not self._has_worked or _DEVICE_ERROR.search(text) is not None
        if isinstance(error, RuntimeError) and self.device != "cpu" and blames_device:
            return DeviceFailed(text)
        return ModelError(
            f"{images} image(s)", f"the model failed: {text}", "Try the image in another size."
        )


def open_network(options: GroundingDinoOptions, device: str) -> TransformersNetwork:
    """Load a model of the Grounding DINO family.

    Args:
        options: How it is to look.
        device: "cpu", "cuda", "cuda:1", "mps"; the one in `options` may have been given up.

    Raises:
        WeightsUnavailable: The model is not here and cannot be had, or does not open.
        SettingsError: The model is of another family.
        DeviceFailed: The device is missing, or the model does not get onto it.
    """
    import torch  # noqa: PLC0415 - heavy and optional

    _require_device(device)
    # By itself torch takes the cores of the machine, of which a container may have few.
    torch.set_num_threads(options.threads or min(torch.get_num_threads(), usable_cores()))
    processor, model = _read(options.source, local_only=options.local_only)
    try:
        model = model.to(device).eval()
    except RuntimeError as error:
        raise DeviceFailed(first_line(error)) from error
    precision = _precision(device, options.autocast)
    short_edge = options.short_edge or (SHORT_EDGE_ON_CPU if device == "cpu" else SHORT_EDGE_ON_GPU)
    log.info(
        "grounding_dino_ready",
        model=options.source,
        device=device,
        short_edge=short_edge,
        precision=precision,
        threads=torch.get_num_threads() if device == "cpu" else None,
    )
    return TransformersNetwork(
        processor, model, device=device, short_edge=short_edge, precision=precision
    )


def _read(model_id: str, *, local_only: bool) -> tuple[Any, Any]:
    """Processor and model, the model in float32 on the CPU."""
    import torch  # noqa: PLC0415 - heavy and optional
    import transformers  # noqa: PLC0415 - heavy and optional
    from safetensors import SafetensorError  # noqa: PLC0415 - comes with transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    log.info("loading_model", model=model_id, downloads=not local_only)
    if not local_only:
        require_hub(model_id)
    try:
        processor = transformers.AutoProcessor.from_pretrained(
            model_id, local_files_only=local_only
        )
        if not isinstance(processor, transformers.GroundingDinoProcessor):
            raise _other_family(model_id, type(processor).__name__)
        model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(
            model_id, dtype=torch.float32, local_files_only=local_only
        )
    except (OSError, ImportError, RuntimeError, ValueError, SafetensorError) as error:
        raise weights_unavailable(model_id, first_line(error)) from error
    return processor, model


def require_hub(model_id: str) -> None:
    """Ask the hub for the model once; on its own, transformers asks for minutes, file by file.

    Raises:
        WeightsUnavailable: The hub cannot be reached, or does not have the model.
    """
    from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

    cause = refusal(f"{constants.ENDPOINT}/{model_id}/resolve/main/config.json")
    if cause and not cause.endswith(_WANTS_A_TOKEN):
        raise weights_unavailable(model_id, f"the hub cannot be asked: {cause}")


def _other_family(model_id: str, processor_name: str) -> SettingsError:
    """The error for a model whose text and scores work in another way."""
    return SettingsError(
        f"GROUNDING_DINO_MODEL_ID {model_id}",
        f"it opens with {processor_name}, not with GroundingDinoProcessor",
        "Choose a Grounding DINO, MM Grounding DINO or LLMDet model.",
    )


def _require_device(device: str) -> None:
    import torch  # noqa: PLC0415 - heavy and optional

    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise DeviceFailed(f"torch {torch.__version__} finds no device {device}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceFailed(f"torch {torch.__version__} finds no device mps")


def _precision(device: str, autocast: str) -> str:
    """The precision to run in: "fp32", or what autocast uses on this device."""
    import torch  # noqa: PLC0415 - heavy and optional

    kind = device.partition(":")[0]
    if autocast == "off":
        return FULL_PRECISION
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if native else "fp16"
    if autocast == "on":
        return "bf16" if kind == "cpu" else "fp16"
    return "bf16" if kind == "cpu" and _cpu_has_bf16() else FULL_PRECISION


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 by itself; emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # not Linux
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
