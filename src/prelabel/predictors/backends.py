"""Opens ONNX files, once per process: in ONNX Runtime, OpenVINO or OpenCV's dnn."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog

from prelabel.errors import (
    MissingPackage,
    ModelError,
    OutOfMemory,
    SettingsError,
    WeightsUnavailable,
    first_line,
)
from prelabel.predictors.free_size import with_free_size
from prelabel.predictors.sessions import Fits, Outputs, Runtime, Session, probe
from prelabel.predictors.trimming import give_back_freed_memory
from prelabel.types import Float32Array

log = structlog.get_logger(__name__)

Provider = tuple[str, dict[str, object]]


class _BackendOpener(Protocol):
    def __call__(
        self,
        path: Path,
        runtime: Runtime,
        probe_hw: tuple[int, int],
        content: bytes | None = None,
    ) -> Session:
        """As `open_session`, in one backend; `content` stands for what is in the file."""


SPIN_DURATION_SINCE = (1, 31)  # the oldest release of ONNX Runtime that we have seen obey it


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
            session = _open_for_any_size(path, runtime, probe_hw, fits) if fits else None
            _opened[key] = session or _OPENERS[runtime.backend](path, runtime, probe_hw)
            give_back_freed_memory()
        return _opened[key]


def _open_for_any_size(
    path: Path, runtime: Runtime, probe_hw: tuple[int, int], fits: Fits
) -> Session | None:
    """The model of a file that fixes the size of its input, if it runs at others too."""
    if runtime.backend == "opencv":
        return None
    # Smaller by half and by a quarter; nets halve their input up to five times.
    smaller_hw = (-(-probe_hw[0] // 64) * 32, -(-probe_hw[1] * 3 // 128) * 32)
    try:
        content = with_free_size(path)
        session = content and _OPENERS[runtime.backend](path, runtime, smaller_hw, content)
        if session and fits(probe(session, smaller_hw), smaller_hw):
            return session
    except Exception as error:  # noqa: BLE001 - what is wrong with the file, its own size will tell
        log.info("model_keeps_its_size", path=str(path), reason=first_line(error))
    return None


class OnnxRuntimeSession:
    """A model in ONNX Runtime, which lets any number of threads run it at once."""

    def __init__(self, path: Path, session: Any, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        self._path = path
        self._session = session
        first = session.get_inputs()[0]
        self._input_name = first.name
        self.input_shape = tuple(size if isinstance(size, int) else None for size in first.shape)

    def run(self, inputs: Float32Array) -> Outputs:
        """See `Session.run`."""
        try:
            outputs: Outputs = self._session.run(None, {self._input_name: inputs})
        except Exception as error:  # its errors have no common class of their own
            raise _run_error(self._path, error) from error
        return outputs


def open_onnxruntime(
    path: Path, runtime: Runtime, probe_hw: tuple[int, int], content: bytes | None = None
) -> Session:
    """See `open_session`. Falls back to the CPU, with a reason, where the device does not work."""
    try:
        import onnxruntime  # noqa: PLC0415 - optional and heavy
    except ImportError as error:
        raise MissingPackage(
            "onnxruntime", "it is not installed", "Run pip install 'prelabel[pose]'."
        ) from error

    def start(provider: Provider | None, reason: str = "") -> Session:
        session = _start_onnxruntime(onnxruntime, path, content, runtime, provider)
        session.reason = session.reason or reason
        probe(session, probe_hw)
        return session

    kind, _, number = runtime.device.partition(":")
    if kind == "cpu":
        return start(None)
    name = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}.get(kind, kind)
    if name not in onnxruntime.get_available_providers():
        return start(None, f"this onnxruntime has no {runtime.device}; running on the CPU")
    # An exhaustive search for the best convolution would start again at every new batch size.
    cuda = {"device_id": int(number or 0), "cudnn_conv_algo_search": "HEURISTIC"}
    try:
        return start((name, cuda if kind == "cuda" else {}))
    except (ModelError, WeightsUnavailable) as error:
        return start(None, f"{runtime.device} does not work ({error.cause}); running on the CPU")


def _start_onnxruntime(
    onnxruntime: Any,
    path: Path,
    content: bytes | None,
    runtime: Runtime,
    provider: Provider | None,
) -> OnnxRuntimeSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    _tame_spinning(onnxruntime, options)
    if provider is None:
        _register_arena(onnxruntime)
        options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 3
    providers = [*([provider] if provider else []), "CPUExecutionProvider"]
    try:
        opened = onnxruntime.InferenceSession(content or str(path), options, providers=providers)
    except Exception as error:  # its errors have no common class of their own
        raise _not_a_model(path, error) from error
    if provider and opened.get_providers()[0] != provider[0]:
        # ONNX Runtime itself only prints a warning and goes on.
        reason = f"{runtime.device} could not be initialised; running on the CPU"
        return OnnxRuntimeSession(path, opened, "cpu", reason)
    return OnnxRuntimeSession(path, opened, runtime.device if provider else "cpu", "")


def _tame_spinning(onnxruntime: Any, options: Any) -> None:
    """Keep idle threads from holding cores that others could use.

    Threads spin for about a millisecond by default, which a busy machine pays for (1.1 to 1.7 times
    the time measured with one core of two taken); without any spinning a quiet one is 5 % slower.
    A spin of 20 microseconds is as good as the better of the two in both cases.
    """
    release = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if release >= SPIN_DURATION_SINCE:
        options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")


@lru_cache(maxsize=1)
def _register_arena(onnxruntime: Any) -> None:
    """Have one arena for the memory that sessions on the CPU need while they run.

    Each would keep one of its own, as large as its largest run: two models, each opened for one run
    on all threads and for several on one, take 100 to 160 MB less together.
    """
    arena, plain = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    memory = onnxruntime.OrtMemoryInfo("Cpu", arena, 0, plain)
    with suppress(RuntimeError):  # somebody else in this process has registered one
        onnxruntime.create_and_register_allocator(memory, None)


class OpenVinoSession:
    """A model in OpenVINO, whose requests serve one caller at a time: each thread has its own."""

    def __init__(self, path: Path, compiled: Any, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        self._path = path
        self._compiled = compiled
        self._of_this_thread = threading.local()
        self.input_shape = tuple(
            size.get_length() if size.is_static else None
            for size in compiled.input(0).partial_shape
        )

    def run(self, inputs: Float32Array) -> Outputs:
        """See `Session.run`."""
        try:
            request = self._request()
            request.infer({0: inputs})
            # The request writes its next answer into the same memory, hence the copies.
            return [np.array(tensor.data) for tensor in request.output_tensors]
        except RuntimeError as error:
            raise _run_error(self._path, error) from error

    def _request(self) -> Any:
        if not hasattr(self._of_this_thread, "request"):
            self._of_this_thread.request = self._compiled.create_infer_request()
        return self._of_this_thread.request


def open_openvino(
    path: Path, runtime: Runtime, probe_hw: tuple[int, int], content: bytes | None = None
) -> Session:
    """See `open_session`. Falls back to the CPU, with a reason, where the device does not work."""
    core = _openvino_core()
    try:
        model = core.read_model(content or str(path))
    except RuntimeError as error:
        raise _not_a_model(path, error) from error
    device, reason = runtime.device.upper(), ""
    if device.partition(":")[0] not in {name.partition(".")[0] for name in core.available_devices}:
        device, reason = "CPU", f"OpenVINO has no {runtime.device}; running on the CPU"
    precision = {"fp32": "f32", "bf16": "bf16"}[runtime.precision]
    if precision == "bf16" and "BF16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        precision, reason = "f32", "this CPU has no bf16; running in fp32"
    # Without the hint OpenVINO chooses bf16 by itself where the CPU has it.
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    if device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = runtime.threads
    try:
        compiled = core.compile_model(model, device, settings)
    except RuntimeError as error:
        raise _not_supported(path, "openvino", error) from error
    session = OpenVinoSession(path, compiled, device.lower(), reason)
    probe(session, probe_hw)
    return session


@lru_cache(maxsize=1)
def _openvino_core() -> Any:
    """The process's one core, which no model outlives.

    Each core gives its thread a stack for signals, and puts back the one before it when it goes.
    Where it goes before a later one, that one puts back memory that is no longer there, and the
    next signal ends the process with a segmentation fault (OpenVINO 2026.4, CPUs with amx).
    """
    # At its import OpenVINO tells Google Analytics of it, from a fork of this process. A module
    # that is None counts as not installed; OpenVINO then does without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: PLC0415 - optional and heavy
    except ImportError as error:
        raise MissingPackage(
            "openvino", "it is not installed", "Run pip install openvino."
        ) from error
    return openvino.Core()


class OpenCvSession:
    """A model in OpenCV's dnn, which serves one caller and one image at a time."""

    reason = ""

    def __init__(self, path: Path, net: Any, input_hw: tuple[int, int]) -> None:
        self.device = "cpu"
        self.input_shape = (1, 3, *input_hw)
        self._path = path
        self._net = net
        self._output_names = net.getUnconnectedOutLayersNames()
        self._turn = threading.Lock()

    def run(self, inputs: Float32Array) -> Outputs:
        """See `Session.run`."""
        import cv2  # noqa: PLC0415 - the server imports this module at its start

        try:
            with self._turn:
                self._net.setInput(inputs)
                return [np.array(output) for output in self._net.forward(self._output_names)]
        except cv2.error as error:
            raise _run_error(self._path, error) from error


def open_opencv(
    path: Path, runtime: Runtime, probe_hw: tuple[int, int], content: bytes | None = None
) -> Session:
    """See `open_session`. The CPU only: the OpenCV of the package indexes is built without CUDA."""
    import cv2  # noqa: PLC0415 - the server imports this module at its start

    if runtime.device != "cpu":
        raise SettingsError(
            "DEVICE",
            f"OpenCV cannot use {runtime.device}",
            "Set DEVICE=cpu or BACKEND=onnxruntime.",
        )
    try:
        net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8) if content else str(path))
        session = OpenCvSession(path, net, probe_hw)
        probe(session, probe_hw)
    except (cv2.error, ModelError) as error:
        raise _not_supported(path, "opencv", error) from error
    return session


_OPENERS: dict[str, _BackendOpener] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "opencv": open_opencv,
}


def _run_error(path: Path, error: Exception) -> ModelError:
    text = first_line(error)
    if any(sign in text.lower() for sign in ("out of memory", "failed to allocate", "bad alloc")):
        return OutOfMemory(path.name, text, "Use a smaller MODE, or give the machine more memory.")
    return ModelError(path.name, text, "Try another BACKEND or MODE, and report it if it stays.")


def _not_a_model(path: Path, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(
        str(path),
        f"it cannot be opened as an ONNX model ({first_line(error)})",
        "Delete it and run prelabel models download.",
    )


def _not_supported(path: Path, backend: str, error: Exception) -> SettingsError:
    return SettingsError(
        "BACKEND",
        f"{backend} cannot run {path.name} ({first_line(error)})",
        "Set BACKEND=onnxruntime.",
    )
