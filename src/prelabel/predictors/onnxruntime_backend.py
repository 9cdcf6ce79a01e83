"""ONNX files in ONNX Runtime."""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from prelabel.errors import MissingPackage, ModelError, WeightsUnavailable
from prelabel.predictors.backend_errors import not_a_model, run_error
from prelabel.predictors.sessions import Outputs, Runtime, Session, probe
from prelabel.types import Float32Array

Provider = tuple[str, dict[str, object]]

SPIN_DURATION_SINCE = (1, 31)  # the oldest release of ONNX Runtime that we have seen obey it


class OnnxRuntimeSession:
    """A model in ONNX Runtime, which lets any number of threads run it at once."""

    def __init__(self, path: Path, session: Any, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        self.own_hw: tuple[int, int] | None = None
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
            raise run_error(self._path, error) from error
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
    options.log_severity_level = 4 if content else 3  # what may fail is no error on the terminal
    providers = [*([provider] if provider else []), "CPUExecutionProvider"]
    try:
        opened = onnxruntime.InferenceSession(content or str(path), options, providers=providers)
    except Exception as error:  # its errors have no common class of their own
        raise not_a_model(path, error) from error
    opened._model_bytes = None  # noqa: SLF001 - kept for a change of providers, 100 MB of YOLOX-m
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
