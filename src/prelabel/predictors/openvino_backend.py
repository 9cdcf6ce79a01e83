"""ONNX files in OpenVINO."""

import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from prelabel.errors import MissingPackage, ModelError, SettingsError
from prelabel.predictors.backend_errors import not_a_model, not_supported, run_error
from prelabel.predictors.sessions import Outputs, Runtime, Session, probe
from prelabel.types import Float32Array

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""What OpenVINO calls ours."""


class OpenVinoSession:
    """A model in OpenVINO, whose requests serve one caller at a time: each thread has its own."""

    def __init__(self, path: Path, compiled: Any, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        self.own_hw: tuple[int, int] | None = None
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
            raise run_error(self._path, error) from error

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
        raise not_a_model(path, error) from error

    def start(device: str, reason: str = "") -> Session:
        session = _start_openvino(core, path, model, runtime, device)
        session.reason = "; ".join(filter(None, (reason, session.reason)))
        probe(session, probe_hw)
        return session

    device = runtime.device.upper().replace(":", ".")
    if device == "CPU":
        return start(device)
    if device.partition(".")[0] not in {name.partition(".")[0] for name in core.available_devices}:
        return start("CPU", f"OpenVINO has no {runtime.device}; running on the CPU")
    try:
        return start(device)
    except (ModelError, SettingsError) as error:
        return start("CPU", f"{runtime.device} does not work ({error.cause}); running on the CPU")


def _start_openvino(
    core: Any, path: Path, model: Any, runtime: Runtime, device: str
) -> OpenVinoSession:
    precision, reason = PRECISIONS[runtime.precision], ""
    # Without the hint OpenVINO chooses bf16 by itself where the CPU has it.
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    if device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = runtime.threads
    try:
        capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in capabilities:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
            reason = f"this {device} has no bf16; running in fp32"
        compiled = core.compile_model(model, device, settings)
    except RuntimeError as error:
        raise not_supported(path, "openvino", error) from error
    return OpenVinoSession(path, compiled, device.lower(), reason)


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
