"""YOLOX and RTMW with random weights, equal in architecture to the real ones: for timing only.

Layers follow the published configurations (Megvii YOLOX; OpenMMLab RTMW), with batch normalisation
folded into the convolutions as an export does. Multiply-accumulates come out as published: YOLOX-m
36.6 G, YOLOX-tiny 3.2 G, RTMW-l 7.9 G and RTMW-m 4.3 G at 256x192, RTMW-l 17.6 G at 384x288.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prelabel.errors import MissingPackage

STAGES = ((128, 3), (256, 9), (512, 9), (1024, 3))  # channels and blocks of YOLOX's backbone
CSPNEXT_STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))
KEYPOINTS = 133
NOBODY = -8.0  # what the last layers answer everywhere: random boxes are no test of anything


def write_yolox(path: Path, *, depth: float, width: float, side: int) -> float:
    """Write a YOLOX with one class, raw heads and a fixed square input; returns its MACs."""
    net = _Network({"input": (3, side, side)})

    def scaled(channels: int) -> int:
        return int(channels * width)

    def repeated(blocks: int) -> int:
        return max(round(blocks * depth), 1)

    value = net.conv(net.focus("input"), scaled(64), 3)
    features = []
    for stage, (channels, blocks) in enumerate(STAGES):
        last = stage == len(STAGES) - 1
        value = net.conv(value, scaled(channels), 3, stride=2)
        if last:
            value = net.pyramid_pooling(value, scaled(channels))
        value = net.cross_stage(value, scaled(channels), repeated(blocks), residual=not last)
        features.append(value)
    heads = []
    for feature in net.aggregate(features[1:], repeated(3)):
        stem = net.conv(feature, scaled(256))
        classes = net.conv(net.conv(stem, scaled(256), 3), scaled(256), 3)
        boxes = net.conv(net.conv(stem, scaled(256), 3), scaled(256), 3)
        parts = [
            net.conv(boxes, 4, activate=False, spread=0),
            net.op("Sigmoid", [net.conv(boxes, 1, activate=False, bias=NOBODY, spread=0)]),
            net.op("Sigmoid", [net.conv(classes, 1, activate=False, bias=NOBODY, spread=0)]),
        ]
        rows = net.op("Reshape", [net.op("Concat", parts, axis=1), net.integers(0, 6, -1)])
        heads.append(net.op("Transpose", [rows], perm=[0, 2, 1]))
    net.op("Concat", heads, name="output", axis=1)
    net.save(path, {"output": ("batch", "boxes", 6)})
    return net.macs


def write_rtmw(path: Path, *, depth: float, width: float, input_hw: tuple[int, int]) -> float:
    """Write an RTMW with 133 keypoints and a free batch size; returns its MACs."""
    height, across = input_hw
    net = _Network({"input": (3, height, across)})

    def scaled(channels: int) -> int:
        return int(channels * width)

    value = net.conv("input", scaled(32), 3, stride=2)
    value = net.conv(net.conv(value, scaled(32), 3), scaled(64), 3)
    features = []
    for stage, (channels, blocks) in enumerate(CSPNEXT_STAGES):
        last = stage == len(CSPNEXT_STAGES) - 1
        value = net.conv(value, scaled(channels), 3, stride=2)
        if last:
            value = net.pyramid_pooling(value, scaled(channels))
        count = max(round(blocks * depth), 1)
        value = net.cross_stage(
            value, scaled(channels), count, residual=not last, large=True, attention=True
        )
        features.append(value)
    _, middle, top = net.aggregate(features[1:], 2, large=True)
    cells = (height // 32) * (across // 32)
    channels = net.shapes[top][0]
    coarse = net.tokens(net.conv(top, KEYPOINTS, 7), cells)
    fine = net.op("DepthToSpace", [top], blocksize=2, mode="CRD")
    net.shapes[fine] = (channels // 4, height // 16, across // 16)
    fine = net.concat([net.conv(fine, channels // 4, 7), middle])
    fine = net.tokens(net.conv(fine, KEYPOINTS, 7), cells * 4)
    tokens = net.gated_attention(net.op("Concat", [coarse, fine], axis=2))
    for name, bins in (("simcc_x", 2 * across), ("simcc_y", 2 * height)):
        net.linear(tokens, 256, bins, name=name)
    net.save(
        path,
        {
            "simcc_x": ("batch", KEYPOINTS, 2 * across),
            "simcc_y": ("batch", KEYPOINTS, 2 * height),
        },
    )
    return net.macs


class _Network:
    """An ONNX graph under construction, its values' (channels, height, width), and its MACs."""

    def __init__(self, inputs: dict[str, tuple[int, int, int]]) -> None:
        self.shapes = dict(inputs)
        self.macs = 0.0
        self._inputs = inputs
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._random = np.random.default_rng(0)
        try:
            import onnx
        except ImportError as error:
            raise MissingPackage("onnx", "it is not installed", "Run pip install onnx.") from error
        self._onnx = onnx

    def op(self, kind: str, inputs: list[str], *, name: str = "", **attributes: Any) -> str:
        """Add an operator with one output, whose name is returned."""
        name = name or f"{kind}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        """Add an array."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def number(self, value: float) -> str:
        """Add a number."""
        return self.constant(np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Add a list of integers."""
        return self.constant(np.array(values, np.int64))

    def weights(self, spread: float, *shape: int) -> str:
        """Add random weights."""
        return self.constant(self._random.normal(0, spread, shape).astype(np.float32))

    def conv(
        self,
        value: str,
        channels: int,
        size: int = 1,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activate: bool = True,
        bias: float = 0.0,
        spread: float = 1.0,
    ) -> str:
        """Convolution, then SiLU."""
        before, height, width = self.shapes[value]
        each = 1 if depthwise else before
        deviation = spread * math.sqrt(2 / (each * size * size))
        kernel = self.weights(deviation, channels, each, size, size)
        biases = self.constant(np.full(channels, bias, np.float32))
        result = self.op(
            "Conv",
            [value, kernel, biases],
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=channels if depthwise else 1,
        )
        height, width = -(-height // stride), -(-width // stride)
        self.macs += channels * each * size * size * height * width
        if activate:
            result = self.op("Mul", [result, self.op("Sigmoid", [result])])
        self.shapes[result] = (channels, height, width)
        return result

    def concat(self, values: list[str]) -> str:
        """Join along the channels."""
        result = self.op("Concat", values, axis=1)
        channels = sum(self.shapes[value][0] for value in values)
        self.shapes[result] = (channels, *self.shapes[values[0]][1:])
        return result

    def focus(self, value: str) -> str:
        """YOLOX's first layer: each 2 by 2 pixels become one with four times the channels."""
        channels, height, width = self.shapes[value]
        quarters = []
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
            limits = [
                self.integers(row, column),
                self.integers(height, width),
                self.integers(2, 3),
                self.integers(2, 2),
            ]
            quarter = self.op("Slice", [value, *limits])
            self.shapes[quarter] = (channels, height // 2, width // 2)
            quarters.append(quarter)
        return self.concat(quarters)

    def pyramid_pooling(self, value: str, channels: int) -> str:
        """Spatial pyramid pooling."""
        value = self.conv(value, self.shapes[value][0] // 2)
        levels = [value]
        for size in (5, 9, 13):
            pooled = self.op(
                "MaxPool", [value], kernel_shape=[size, size], strides=[1, 1], pads=[size // 2] * 4
            )
            self.shapes[pooled] = self.shapes[value]
            levels.append(pooled)
        return self.conv(self.concat(levels), channels)

    def cross_stage(
        self,
        value: str,
        channels: int,
        blocks: int,
        *,
        residual: bool,
        large: bool = False,
        attention: bool = False,
    ) -> str:
        """A cross-stage-partial layer; `large` has CSPNeXt's 5 by 5 depthwise convolutions."""
        half = channels // 2
        main, short = self.conv(value, half), self.conv(value, half)
        for _ in range(blocks):
            if large:
                inner = self.conv(self.conv(main, half, 3), half, 5, depthwise=True)
                inner = self.conv(inner, half)
            else:
                inner = self.conv(self.conv(main, half), half, 3)
            if residual:
                main, shape = self.op("Add", [main, inner]), self.shapes[main]
                self.shapes[main] = shape
            else:
                main = inner
        joined = self.concat([main, short])
        if attention:
            shape = self.shapes[joined]
            pooled = self.op("GlobalAveragePool", [joined])
            self.shapes[pooled] = (shape[0], 1, 1)
            pooled = self.conv(pooled, shape[0], activate=False)
            gate = self.op("HardSigmoid", [pooled], alpha=1 / 6, beta=0.5)
            joined = self.op("Mul", [joined, gate])
            self.shapes[joined] = shape
        return self.conv(joined, channels)

    def aggregate(self, features: list[str], blocks: int, *, large: bool = False) -> list[str]:
        """Path aggregation of three levels: down from the coarsest, and up again."""
        low, middle, high = features
        narrow, wide, widest = (self.shapes[feature][0] for feature in features)

        def layer(values: list[str], channels: int) -> str:
            joined = self.concat(values)
            return self.cross_stage(joined, channels, blocks, residual=False, large=large)

        from_high = self.conv(high, wide)
        inner = layer([self._doubled(from_high), middle], wide)
        from_inner = self.conv(inner, narrow)
        out_low = layer([self._doubled(from_inner), low], narrow)
        out_middle = layer([self.conv(out_low, narrow, 3, stride=2), from_inner], wide)
        out_high = layer([self.conv(out_middle, wide, 3, stride=2), from_high], widest)
        return [out_low, out_middle, out_high]

    def tokens(self, value: str, cells: int) -> str:
        """One vector of 128 for each keypoint, from its map of cells."""
        flat = self.op("Reshape", [value, self.integers(0, 0, -1)])
        return self.linear(self._normalised(flat, cells), cells, 128)

    def linear(self, value: str, before: int, after: int, name: str = "") -> str:
        """A matrix applied to each keypoint's vector."""
        self.macs += KEYPOINTS * before * after
        matrix = self.weights(1 / math.sqrt(before), before, after)
        return self.op("MatMul", [value, matrix], name=name)

    def gated_attention(self, value: str) -> str:
        """RTMPose's gated attention unit over the keypoints, on vectors of 256."""
        expanded, shared = 512, 128
        mixed = self.linear(self._normalised(value, 256), 256, 2 * expanded + shared)
        mixed = self.op("Mul", [mixed, self.op("Sigmoid", [mixed])])
        names = [f"attention_{part}" for part in ("gate", "value", "base")]
        sizes = self.integers(expanded, expanded, shared)
        self._nodes.append(self._onnx.helper.make_node("Split", [mixed, sizes], names, axis=2))
        gate, content, base = names
        queries, keys = (self.op("Mul", [base, self.weights(1, shared)]) for _ in range(2))
        keys = self.op("Transpose", [keys], perm=[0, 2, 1])
        scale = self.number(math.sqrt(shared))
        kernel = self.op("Relu", [self.op("Div", [self.op("MatMul", [queries, keys]), scale])])
        kernel = self.op("Mul", [kernel, kernel])
        self.macs += KEYPOINTS * KEYPOINTS * (shared + expanded)
        attended = self.op("Mul", [gate, self.op("MatMul", [kernel, content])])
        return self.op("Add", [value, self.linear(attended, expanded, 256)])

    def save(self, path: Path, outputs: dict[str, tuple[int | str, ...]]) -> None:
        """Write the graph, with a free batch size."""
        helper, number = self._onnx.helper, self._onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "random weights, for timing only",
            [
                helper.make_tensor_value_info(name, number, ["batch", *shape])
                for name, shape in self._inputs.items()
            ],
            [helper.make_tensor_value_info(name, number, shape) for name, shape in outputs.items()],
            self._constants,
        )
        opset = helper.make_opsetid("", 17)
        self._onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))

    def _doubled(self, value: str) -> str:
        channels, height, width = self.shapes[value]
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        result = self.op(
            "Resize",
            [value, "", scales],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        self.shapes[result] = (channels, height * 2, width * 2)
        return result

    def _normalised(self, value: str, size: int) -> str:
        """RTMPose's ScaleNorm: vectors divided by their length."""
        squares = self.op("ReduceSum", [self.op("Mul", [value, value]), self.integers(-1)])
        length = self.op("Mul", [self.op("Sqrt", [squares]), self.number(size**-0.5)])
        return self.op("Div", [value, self.op("Max", [length, self.number(1e-5)])])
