"""Grounding DINO: boxes for phrases in words, through transformers on CPU, CUDA or MPS."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from threading import Lock
from typing import Any

import structlog

from prelabel.errors import (
    MissingPackage,
    ModelError,
    OperatorError,
    OutOfMemory,
    PrelabelError,
    TaskError,
)
from prelabel.predictors.base import Answer, Predictor
from prelabel.predictors.grounding_dino_network import (
    DeviceFailed,
    Network,
    open_network,
    require_hub,
)
from prelabel.predictors.grounding_dino_options import GroundingDinoOptions, require_weights
from prelabel.predictors.phrases import Prompt, Reading, Selection, detections_from, prompts_for
from prelabel.types import Ask, Detections, Image

log = structlog.get_logger(__name__)

SMALLEST_SIDE = 8
"""Pixels; a thinner image has no side left after resizing."""

BATCH_SIZE_ON_CUDA = 4
"""About 1.1 GB per image at short edge 800; on a CPU a batch makes each image slower."""

OpenNetwork = Callable[[GroundingDinoOptions, str], Network]
"""Loads the network of these options onto a device, or raises as `open_network` does."""


def build(options: Mapping[str, Any]) -> Predictor:
    """Grounding DINO as these settings want it, not yet loaded.

    Args:
        options: Settings by their names, as `GroundingDinoOptions.of` takes them.

    Raises:
        SettingsError: A setting is out of its range.
        MissingPackage: torch or transformers is not installed.
        WeightsUnavailable: The folder does not exist, or the model is not in the hub's cache and
            may not be downloaded.
    """
    settings = GroundingDinoOptions.of(options)
    _require_packages()
    require_weights(settings)
    return GroundingDino(settings)


class GroundingDino:
    """Finds what phrases name. Loaded once, at warm-up or with the first image.

    A device that is missing or breaks is given up for the CPU: once, for good, with a warning in
    the log and the reason in `health()`.
    """

    wants_neighbours = False

    def __init__(self, options: GroundingDinoOptions, open_on: OpenNetwork = open_network) -> None:
        """Keep what is needed to load later.

        Args:
            options: How to look.
            open_on: Loads the network; tests pass their own.
        """
        self.name = options.name
        self.fingerprint = options.fingerprint
        self._options = options
        self._open_on = open_on
        self._network: Network | None = None
        self._reason: str | None = None
        self._roomy_batch: int | None = None  # learnt from running out of memory
        self._lock = Lock()  # around everything that loads or uses the network

    @property
    def batch_size(self) -> int:
        """How many images of equal size go into one run."""
        device = self._network.device if self._network else self._options.device
        if not device.startswith("cuda"):
            return 1
        return self._roomy_batch or self._options.batch_size or BATCH_SIZE_ON_CUDA

    def check(self) -> None:
        """Ask the hub for the model, where it is not here.

        Raises:
            WeightsUnavailable: The hub cannot be reached, or does not have it.
        """
        if not self._options.local_only:
            require_hub(self._options.model_id)

    def load(self) -> None:
        """Load the network, if that has not been done.

        Raises:
            WeightsUnavailable: The model is not here and cannot be had.
            SettingsError: The model is of another family.
        """
        if self._network is None:
            with self._lock:
                self._loaded()

    def health(self) -> dict[str, object]:
        """Whether it is loaded, on which device, and why not on the wanted one. Never waits."""
        network = self._network
        return {
            "loaded": network is not None,
            "device": network.device if network else self._options.device,
            "reason": self._reason,
        }

    def predict(self, images: Sequence[Image], ask: Ask) -> Answer:
        """Look for the phrases in each image.

        Args:
            images: Of any sizes; those of equal resized size share batches.
            ask: What to look for. Its `min_score` takes the place of the box threshold, and of
                the text threshold where that is higher.

        Returns:
            Per image the detections, or the error that concerns it alone.

        Raises:
            OperatorError: The model cannot be loaded.
        """
        nothing = Detections.none(self.name)
        if not images or not ask.phrases:
            return [nothing] * len(images)
        with self._lock:
            network = self._loaded()
            try:
                prompts = prompts_for(
                    ask.phrases, network.tokenize, network.delimiters, network.max_tokens
                )
            except ModelError as error:
                return [error] * len(images)
        if not prompts:
            return [nothing] * len(images)
        answers: dict[int, Detections | PrelabelError] = {
            index: refusal
            for index, image in enumerate(images)
            if (refusal := _refusal(image, network))
        }
        selection = self._selection(ask)
        for batch in self._batches(images, network, leave_out=answers):
            readings = self._look([images[index] for index in batch], prompts)
            for index, read in zip(batch, readings, strict=True):
                answers[index] = self._answer(images[index], prompts, read, selection)
        return [answers[index] for index in range(len(images))]

    def _loaded(self) -> Network:
        """The network, loaded now if need be; the lock is held."""
        if self._network is None:
            self.fingerprint = self._options.fingerprint  # a folder's files may have changed
            try:
                self._network = self._open_on(self._options, self._options.device)
            except DeviceFailed as error:
                self._network = self._on_cpu(error)
            except OperatorError as error:
                self._reason = str(error)
                raise
            else:
                self._reason = None
        return self._network

    def _on_cpu(self, failure: DeviceFailed) -> Network:
        self._reason = f"{self._options.device} given up for cpu: {failure}"
        log.warning(
            "device_given_up", model=self.name, wanted=self._options.device, reason=str(failure)
        )
        return self._open_on(self._options, "cpu")

    def _selection(self, ask: Ask) -> Selection:
        options = self._options
        if ask.min_score is None:
            thresholds = options.box_threshold, options.text_threshold
        else:
            thresholds = ask.min_score, min(ask.min_score, options.text_threshold)
        return Selection(*thresholds, max_detections=options.max_detections)

    def _batches(
        self, images: Sequence[Image], network: Network, leave_out: Mapping[int, object]
    ) -> Iterator[list[int]]:
        """Indices of images of one resized size, as many as one run takes."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            if index not in leave_out:
                resized_hw = network.resized_hw((image.height, image.width))
                by_size.setdefault(resized_hw, []).append(index)
        for same_size in by_size.values():
            done = 0
            while done < len(same_size):
                batch = same_size[done : done + self.batch_size]  # it may shrink in between
                yield batch
                done += len(batch)

    def _look(
        self, images: Sequence[Image], prompts: Sequence[Prompt]
    ) -> list[list[Reading] | PrelabelError]:
        """Per image its reading for each prompt, or its error. A batch that fails is halved."""
        try:
            return self._run(images, prompts)
        except DeviceFailed:
            # The CPU has taken over; sizes that were equal on the old device need not be on it.
            return [read for image in images for read in self._look([image], prompts)]
        except ModelError as error:
            if len(images) == 1:
                return [error]
            half = len(images) // 2
            if isinstance(error, OutOfMemory):
                self._roomy_batch = half
                log.warning("batch_halved", model=self.name, batch_size=half, reason=error.cause)
            return self._look(images[:half], prompts) + self._look(images[half:], prompts)

    def _run(
        self, images: Sequence[Image], prompts: Sequence[Prompt]
    ) -> list[list[Reading] | PrelabelError]:
        with self._lock:
            network = self._loaded()
            pixels = [image.pixels_rgb for image in images]
            try:
                by_prompt = [network.run(pixels, prompt.text) for prompt in prompts]
            except DeviceFailed as failure:
                self._network = self._on_cpu(failure)
                raise
        return [list(readings) for readings in zip(*by_prompt, strict=True)]

    def _answer(
        self,
        image: Image,
        prompts: Sequence[Prompt],
        read: list[Reading] | PrelabelError,
        selection: Selection,
    ) -> Detections | PrelabelError:
        if isinstance(read, PrelabelError):
            return type(read)(image.name, read.cause, read.next_step)
        if not all(reading.is_finite for reading in read):
            return ModelError(
                image.name,
                f"{self.name} answered with NaN",
                "Set GROUNDING_DINO_AUTOCAST=off, or where it is off GROUNDING_DINO_DEVICE=cpu.",
            )
        return detections_from(
            prompts,
            read,
            image_hw=(image.height, image.width),
            selection=selection,
            source=self.name,
        )


def _refusal(image: Image, network: Network) -> TaskError | None:
    """Why this image cannot be looked at, or None."""
    image_hw = image.height, image.width
    if min(image_hw) >= SMALLEST_SIDE and network.can_read(network.resized_hw(image_hw)):
        return None
    return TaskError(
        image.name,
        f"an image of {image.width} x {image.height} pixels is too small or too narrow for it",
        "Remove the task, or cut the image into pieces that are less elongated.",
    )


def _require_packages() -> None:
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise MissingPackage(
            " and ".join(missing),
            "not installed, and Grounding DINO needs it",
            'Run `pip install "prelabel[grounding-dino]"`.',
        )
