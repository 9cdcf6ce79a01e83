"""Opens ONNX files, once per process, in the backend that is asked for."""

import threading
from pathlib import Path
from typing import Protocol

import structlog

from prelabel.errors import ModelError
from prelabel.predictors.backend_errors import cause, not_supported
from prelabel.predictors.free_size import with_free_size
from prelabel.predictors.onnxruntime_backend import open_onnxruntime
from prelabel.predictors.opencv_backend import open_opencv
from prelabel.predictors.openvino_backend import open_openvino
from prelabel.predictors.sessions import Fits, Runtime, Session, probe
from prelabel.predictors.trimming import give_back_freed_memory

log = structlog.get_logger(__name__)


class _BackendOpener(Protocol):
    def __call__(
        self,
        path: Path,
        runtime: Runtime,
        probe_hw: tuple[int, int],
        content: bytes | None = None,
    ) -> Session:
        """As `open_session`, in one backend; `content` stands for what is in the file."""


_OPENERS: dict[str, _BackendOpener] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "opencv": open_opencv,
}

_opened: dict[tuple[Path, Runtime, Fits | None], Session] = {}
"""A model takes up to 550 MB, so that the process keeps one of each, whoever asks for it."""
_opening = threading.Lock()


def open_session(
    path: Path, runtime: Runtime, probe_hw: tuple[int, int], fits: Fits | None = None
) -> Session:
    """The process's one session for this file and runtime, opened and tried out by the first call.

    Args:
        path: An `.onnx` file.
        runtime: What runs it, and on what.
        probe_hw: Height and width for the trial run where the file leaves them free.
        fits: Where given, a file that fixes the size of its input is opened for inputs of any size,
            if the model runs at a smaller one and its outputs fit that.

    Raises:
        MissingPackage: The backend is not installed.
        SettingsError: The backend cannot run this model.
        WeightsUnavailable: The file is not a model.
    """
    key = (path.resolve(), runtime, fits)
    with _opening:
        if key not in _opened:
            session = _open_for_any_size(path, runtime, fits) if fits else None
            try:
                _opened[key] = session or _OPENERS[runtime.backend](path, runtime, probe_hw)
            except ModelError as error:  # its trial run failed, and so would every other
                raise not_supported(path, runtime.backend, error) from error
            give_back_freed_memory()
        return _opened[key]


def _open_for_any_size(path: Path, runtime: Runtime, fits: Fits) -> Session | None:
    """The model of a file that fixes the size of its input, if it runs at others too."""
    if runtime.backend == "opencv":
        return None
    try:
        freed = with_free_size(path)
        if freed is None:
            return None
        content, own_hw = freed
        # Smaller by half and by a quarter; nets halve their input up to five times.
        smaller_hw = (-(-own_hw[0] // 64) * 32, -(-own_hw[1] * 3 // 128) * 32)
        session = _OPENERS[runtime.backend](path, runtime, smaller_hw, content)
        if fits(probe(session, smaller_hw), smaller_hw):
            session.own_hw = own_hw
            return session
    except Exception as error:  # noqa: BLE001 - what is wrong with the file, its own size will tell
        log.info("model_keeps_its_size", path=str(path), reason=cause(error))
    return None
