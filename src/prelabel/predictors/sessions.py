"""What an opened ONNX model is, and how it is run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from prelabel.errors import OutOfMemory, SettingsError
from prelabel.types import Float32Array

log = structlog.get_logger(__name__)

BACKENDS = ("onnxruntime", "openvino", "opencv")
PRECISIONS = ("fp32", "bf16")
DEVICES = ("cpu", "cuda", "mps", "gpu", "npu")

Outputs: TypeAlias = list[NDArray[Any]]


def require_known(setting: str, value: str, known: tuple[str, ...]) -> None:
    """Raise SettingsError unless the setting's value is one of `known`."""
    if value not in known:
        raise SettingsError(setting, f"{value!r} is unknown", f"Set it to {' or '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the models, and on what.

    Attributes:
        backend: One of `BACKENDS`.
        device: One of `DEVICES`; `cuda:1` names the second card.
        threads: CPU threads of one run. Workers times threads should be the number of cores.
        precision: One of `PRECISIONS`; bf16 takes about half the time on CPUs that have it, with
            OpenVINO, and moves keypoints: those of the embedded models by 1 to 5 pixels in the
            median of our photos, single ones much further.

    Raises:
        SettingsError: A value is unknown, or the backend cannot do the precision.
    """

    backend: str = "onnxruntime"
    device: str = "cpu"
    threads: int = 1
    precision: str = "fp32"

    def __post_init__(self) -> None:
        require_known("BACKEND", self.backend, BACKENDS)
        kind, colon, number = self.device.partition(":")
        require_known("DEVICE", kind, DEVICES)
        if colon and not number.isdecimal():
            raise SettingsError(
                "DEVICE", f"{number!r} is no number of a device", "Set it to cuda:0 or cuda:1."
            )
        require_known("POSE_PRECISION", self.precision, PRECISIONS)
        if self.threads < 1:
            raise SettingsError(
                "POSE_THREADS", f"{self.threads} is not a number of threads", "Set it to 1 or more."
            )
        if self.precision == "bf16" and self.backend != "openvino":
            raise SettingsError(
                "POSE_PRECISION",
                f"{self.backend} has no bf16",
                "Set BACKEND=openvino, or POSE_PRECISION=fp32.",
            )


class Session(Protocol):
    """An opened model. `run` may be called from several threads at once."""

    @property
    def device(self) -> str:
        """Where it runs, which is the CPU where the device asked for could not be had."""

    @property
    def reason(self) -> str:
        """Why it runs elsewhere or otherwise than asked, or ""."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(batch, 3, H, W) as the file fixes it; None where a size is free."""

    own_hw: tuple[int, int] | None
    """Height and width that the file was written for, where it is opened for others too."""

    def run(self, inputs: Float32Array) -> Outputs:
        """Outputs in the file's order for `inputs` (batch, 3, H, W).

        Raises:
            ModelError: The run failed; OutOfMemory where the device had no room.
        """


Fits: TypeAlias = Callable[[Outputs, tuple[int, int]], bool]
"""Whether a model's outputs are what it must answer to an input of this height and width."""


class Opener(Protocol):
    """Opens the model of a file."""

    def __call__(
        self, path: Path, runtime: Runtime, probe_hw: tuple[int, int], fits: Fits | None = None
    ) -> Session:
        """See `backends.open_session`."""


def run_in_batches(session: Session, inputs: Float32Array, size: int) -> Iterator[Outputs]:
    """Run `inputs` (N, 3, H, W) in batches of at most `size`, as large as the device has room for.

    A model with a batch size of its own gets that one, the last batch filled up with zeros.

    Yields:
        The outputs of each batch, in order; those of a batch that was too large for the device
        come as the outputs of its halves.
    """
    own_size = session.input_shape[0]
    size = own_size or size
    start = 0
    while start < len(inputs):
        batch = inputs[start : start + size]
        try:
            outputs = session.run(_filled(batch, own_size or 0))
        except OutOfMemory:
            if len(batch) == 1 or own_size:
                raise
            size = len(batch) // 2
            log.warning("pose_batch_halved", device=session.device, batch=size)
            continue
        yield [output[: len(batch)] for output in outputs]
        start += len(batch)


def _filled(batch: Float32Array, size: int) -> Float32Array:
    if len(batch) >= size:
        return batch
    zeros = np.zeros((size - len(batch), *batch.shape[1:]), np.float32)
    return np.concatenate([batch, zeros])


def probe(session: Session, probe_hw: tuple[int, int]) -> Outputs:
    """Run the model once on zeros: warms it up, and finds a device or a model that does not work.

    Raises:
        ModelError: It does not work.
    """
    batch, _, height, width = session.input_shape
    zeros = np.zeros((batch or 1, 3, height or probe_hw[0], width or probe_hw[1]), np.float32)
    return session.run(zeros)
