"""ONNX files in OpenCV's dnn."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from prelabel.errors import ModelError, SettingsError
from prelabel.predictors.backend_errors import not_supported, run_error
from prelabel.predictors.sessions import Outputs, Runtime, Session, probe
from prelabel.types import Float32Array


class OpenCvSession:
    """A model in OpenCV's dnn, which serves one caller and one image at a time."""

    reason = ""
    own_hw: tuple[int, int] | None = None

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
            raise run_error(self._path, error) from error


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
        raise not_supported(path, "opencv", error) from error
    return session
