"""Build nanodet_person.onnx from the TensorFlow.js graph of NanoDet-g; see README.md.

The graph ends in 80 class logits and four distance distributions per cell. Added here: decoding,
the choice of cells whose best class is person, and the suppression of duplicates.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from graph import Graph, read_checked
from onnx import TensorProto

DIGESTS = {
    "nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    "nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
SCOPE = "PartitionedCall/"
HEADS = {8: "transpose_99", 16: "transpose_105", 32: "transpose_111"}  # by stride
RESIZES = {"resize": 2.0, "resize_1": 2.0, "resize_2": 0.5, "resize_3": 0.5}
CLASSES, DISTANCES = 80, 11
MIN_SCORE, NMS_IOU = 0.05, 0.55
BEFORE_NMS, AFTER_NMS = 300, 100
LOWEST = -3e38  # a finite stand-in for minus infinity


class TensorFlowJsGraph:
    """Copies a TensorFlow.js graph model into ONNX, depth first from the values that are wanted.

    The model was itself converted from PyTorch: its transposes only turn NCHW to NHWC and back
    around each operator, so that here they change the meaning of the axes and nothing else.
    """

    def __init__(self, graph: Graph, folder: Path, inputs: dict[str, str]) -> None:
        """Read the model in `folder`; `inputs` names the ONNX value of each placeholder."""
        model = json.loads(read_checked(folder / "nanodet.json", DIGESTS["nanodet.json"]))
        data = read_checked(folder / "nanodet.bin", DIGESTS["nanodet.bin"])
        self._graph = graph
        self._nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        self._constants = _constants(model, data)
        self._values = dict(inputs)
        self._axes = dict.fromkeys(inputs, "NCHW")
        self._weights: dict[str, str] = {}

    def value(self, name: str) -> str:
        """The ONNX value of a node, copied with everything that it needs."""
        name = name.removesuffix(":0")
        if name in self._constants:
            values = self._constants[name].astype(np.float32)
            return self._weight(name, values.reshape(-1, 1, 1) if values.ndim == 1 else values)
        if name not in self._values:
            node = self._nodes[name]
            inputs = [given.removesuffix(":0") for given in node["input"]]
            self._values[name] = self._copy(name, node, inputs)
        return self._values[name]

    def _copy(self, name: str, node: dict[str, Any], inputs: list[str]) -> str:
        graph, kind = self._graph, node["op"]
        first = self.value(inputs[0]) if inputs[0] not in self._constants else ""
        axes = self._axes[name] = self._axes.get(inputs[0], "")
        if kind in ("Add", "AddV2"):
            result = graph.op("Add", [self.value(inputs[0]), self.value(inputs[1])])
            self._axes[name] = axes or self._axes[inputs[1]]
            return result
        if kind == "Conv2D":
            return self._convolution(first, node, inputs[1])
        if kind == "LeakyRelu":
            return graph.op("LeakyRelu", [first], alpha=float(node["attr"]["alpha"]["f"]))
        if kind == "Transpose":
            self._axes[name] = "NHWC" if axes == "NCHW" else "NCHW"
            return first
        if kind in ("Pad", "PadV2"):
            return self._padding(first, axes, inputs)
        if kind == "MaxPool":
            return graph.op(
                "MaxPool",
                [first],
                kernel_shape=_integers(node, "ksize")[1:3],
                strides=_integers(node, "strides")[1:3],
            )
        if kind == "ConcatV2":
            axis = int(self._constants[inputs[-1]])
            values = [self.value(given) for given in inputs[:-1]]
            return graph.op("Concat", values, axis=axes.index("NCHW"[axis] if False else "C"))
        if kind == "ResizeBilinear":
            return self._resize(first, node, name)
        raise NotImplementedError(f"{kind} at {name}")
