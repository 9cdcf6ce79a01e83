"""Copies a MediaPipe landmark net from TensorFlow Lite into an ONNX graph."""

from pathlib import Path
from typing import Any

import numpy as np
import tflite
from graph import SMALLEST_HALF, Graph, read_checked

OPERATOR_NAMES = {
    number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)
}
ELEMENT_TYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
NO_ACTIVATION, RELU, RELU6 = 0, 1, 3
PADDING_VALID = 1
IMAGE_AXES = 4
NHWC_TO_NCHW = (0, 3, 1, 2)


class TfliteNet:
    """One net. Images are NHWC in it and NCHW in what is made of it."""

    def __init__(self, path: Path, sha256: str) -> None:
        """Read and check the file."""
        model = tflite.Model.GetRootAs(read_checked(path, sha256), 0)
        self._net = model.Subgraphs(0)
        tensors = [self._net.Tensors(i) for i in range(self._net.TensorsLength())]
        self._names = [tensor.Name().decode() for tensor in tensors]
        self._shapes = [
            tuple(tensor.ShapeAsNumpy()) if tensor.ShapeLength() else () for tensor in tensors
        ]
        self._constants = {}
        for index, tensor in enumerate(tensors):
            data = model.Buffers(tensor.Buffer()).DataAsNumpy()
            if not isinstance(data, int):
                values = np.frombuffer(data.tobytes(), ELEMENT_TYPES[tensor.Type()])
                self._constants[index] = values.reshape(self._shapes[index])
        self._operators = [self._net.Operators(i) for i in range(self._net.OperatorsLength())]
        self._kinds = []
        for operator in self._operators:
            code = model.OperatorCodes(operator.OpcodeIndex())
            self._kinds.append(
                OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            )
            if self._kinds[-1] == "DEQUANTIZE" and operator.Inputs(0) in self._constants:
                self._constants[operator.Outputs(0)] = self._constants[operator.Inputs(0)]

    def copy_into(self, graph: Graph, image: str, outputs: list[str], prefix: str) -> list[str]:
        """Add what `outputs` need; returns their ONNX names.

        Args:
            graph: To add to.
            image: The ONNX value of the input, NCHW.
            outputs: Names in the net; outputs of 1 by 1 cells come flat.
            prefix: Begins the names of the weights.
        """
        wanted = [self._names.index(name) for name in outputs]
        copy = _Copy(graph, prefix, {self._net.Inputs(0): image}, self._constants, self._shapes)
        for place in sorted(self._needed(wanted)):
            copy.add(self._operators[place], self._kinds[place])
        return [copy.flat(index) for index in wanted]

    def _needed(self, wanted: list[int]) -> set[int]:
        """Places of the operators that the wanted tensors depend on."""
        maker = {
            operator.Outputs(i): place
            for place, operator in enumerate(self._operators)
            for i in range(operator.OutputsLength())
        }
        needed: set[int] = set()
        open_ends = list(wanted)
        while open_ends:
            tensor = open_ends.pop()
            if tensor in self._constants or tensor not in maker or maker[tensor] in needed:
                continue
            place = maker[tensor]
            needed.add(place)
            open_ends += _inputs(self._operators[place])
        return needed


class _Copy:
    """The copying of one net: ONNX values by tensor."""

    def __init__(
        self,
        graph: Graph,
        prefix: str,
        values: dict[int, str],
        constants: dict[int, np.ndarray],
        shapes: list[tuple[int, ...]],
    ) -> None:
        self._graph = graph
        self._prefix = prefix
        self._values = values
        self._constants = constants
        self._shapes = shapes

    def add(self, operator: Any, kind: str) -> None:  # noqa: C901, PLR0912 - one case per operator
        """Add one operator."""
        inputs, output, options = _inputs(operator), operator.Outputs(0), operator.BuiltinOptions()
        op = self._graph.op
        match kind:
            case "DEQUANTIZE":
                return
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                result = self._convolution(inputs, options, depthwise=kind != "CONV_2D")
            case "ADD":
                activation = _read(tflite.AddOptions, options).FusedActivationFunction()
                both = [self._value(inputs[0]), self._value(inputs[1])]
                result = self._activated(op("Add", both), activation)
            case "PAD":
                result = self._padding(inputs)
            case "MAX_POOL_2D":
                result = self._pooling(inputs[0], _read(tflite.Pool2DOptions, options))
            case "RESIZE_BILINEAR":
                read = _read(tflite.ResizeBilinearOptions, options)
                result = self._resize(inputs[0], output, read)
            case "PRELU":
                slopes = self._constants[inputs[1]].astype(np.float32).reshape(-1, 1, 1)
                result = op("PRelu", [self._value(inputs[0]), self._weights(slopes)])
            case "LOGISTIC":
                result = op("Sigmoid", [self._value(inputs[0])])
            case "RESHAPE":
                result = self._flattened(inputs[0])
            case "MEAN":
                pooled = op("GlobalAveragePool", [self._value(inputs[0])])
                result = op("Reshape", [pooled, self._graph.integers(0, -1)])
            case "FULLY_CONNECTED":
                read = _read(tflite.FullyConnectedOptions, options)
                result = self._fully_connected(inputs, read)
            case "STRIDED_SLICE":
                channels = int(self._constants[inputs[2]][3])
                result = self._graph.slice(self._value(inputs[0]), 0, channels, 1)
            case _:
                raise NotImplementedError(kind)
        self._values[output] = result

    def flat(self, tensor: int) -> str:
        """The tensor's value, flattened where it has 1 by 1 cells."""
        value = self._values[tensor]
        shape = self._shapes[tensor]
        if len(shape) == IMAGE_AXES and shape[1:3] == (1, 1):
            return self._graph.op("Reshape", [value, self._graph.integers(0, -1)])
        return value

    def _value(self, tensor: int) -> str:
        if tensor not in self._values:
            values = self._constants[tensor].astype(np.float32)
            if values.ndim == IMAGE_AXES:
                values = values.transpose(NHWC_TO_NCHW)
            self._values[tensor] = self._weights(values)
        return self._values[tensor]

    def _weights(self, values: np.ndarray) -> str:
        """Weights, kept in half precision (as most are stored) where they are many."""
        kind = np.float16 if values.size > SMALLEST_HALF else np.float32
        return self._graph.weights(np.ascontiguousarray(values).astype(kind), self._prefix)

    def _activated(self, value: str, activation: int) -> str:
        if activation == NO_ACTIVATION:
            return value
        if activation == RELU:
            return self._graph.op("Relu", [value])
        assert activation == RELU6
        limits = [self._graph.floats(0.0), self._graph.floats(6.0)]
        return self._graph.op("Clip", [value, *limits])

    def _convolution(self, inputs: list[int], options: Any, *, depthwise: bool) -> str:
        kinds = tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions
        read = _read(kinds, options)
        kernel = self._constants[inputs[1]].astype(np.float32)
        size = list(kernel.shape[1:3])
        # Depthwise kernels are (1, height, width, channels) here and (channels, 1, ...) in ONNX.
        kernel = kernel.transpose((3, 0, 1, 2) if depthwise else NHWC_TO_NCHW)
        strides = [read.StrideH(), read.StrideW()]
        dilations = [read.DilationHFactor(), read.DilationWFactor()]
        operands = [self._value(inputs[0]), self._weights(kernel)]
        if len(inputs) > 2:  # noqa: PLR2004 - the third input is the bias
            operands.append(self._graph.constant(self._constants[inputs[2]].astype(np.float32)))
        extents = [(side - 1) * step + 1 for side, step in zip(size, dilations, strict=True)]
        result = self._graph.op(
            "Conv",
            operands,
            kernel_shape=size,
            strides=strides,
            dilations=dilations,
            pads=self._pads(inputs[0], extents, strides, read.Padding()),
            group=kernel.shape[0] if depthwise else 1,
        )
        return self._activated(result, read.FusedActivationFunction())

    def _pads(self, tensor: int, extents: list[int], strides: list[int], padding: int) -> list[int]:
        """ONNX's pads (top, left, bottom, right) of TensorFlow's SAME, which may be uneven."""
        if padding == PADDING_VALID:
            return [0, 0, 0, 0]
        before, after = [], []
        sides = self._shapes[tensor][1:3]
        for side, extent, stride in zip(sides, extents, strides, strict=True):
            total = max((-(-side // stride) - 1) * stride + extent - side, 0)
            before.append(total // 2)
            after.append(total - total // 2)
        return [*before, *after]

    def _padding(self, inputs: list[int]) -> str:
        margins = self._constants[inputs[1]].reshape(-1, 2)
        margins = margins[list(NHWC_TO_NCHW)] if len(margins) == IMAGE_AXES else margins
        value = self._value(inputs[0])
        limits = self._graph.integers(*margins[:, 0].tolist(), *margins[:, 1].tolist())
        return self._graph.op("Pad", [value, limits, self._graph.floats(0.0)], mode="constant")

    def _pooling(self, tensor: int, read: Any) -> str:
        size = [read.FilterHeight(), read.FilterWidth()]
        strides = [read.StrideH(), read.StrideW()]
        result = self._graph.op(
            "MaxPool",
            [self._value(tensor)],
            kernel_shape=size,
            strides=strides,
            pads=self._pads(tensor, size, strides, read.Padding()),
        )
        return self._activated(result, read.FusedActivationFunction())

    def _resize(self, tensor: int, output: int, read: Any) -> str:
        before, after = self._shapes[tensor][1:3], self._shapes[output][1:3]
        mode = "half_pixel" if read.HalfPixelCenters() else "asymmetric"
        factors = [new / old for new, old in zip(after, before, strict=True)]
        value = self._value(tensor)
        return self._graph.op(
            "Resize",
            [value, "", self._graph.floats(1, 1, *factors)],
            mode="linear",
            coordinate_transformation_mode="align_corners" if read.AlignCorners() else mode,
        )

    def _flattened(self, tensor: int) -> str:
        """Each image's numbers in a row, in TensorFlow's order."""
        value = self._value(tensor)
        if len(self._shapes[tensor]) == IMAGE_AXES:
            value = self._graph.op("Transpose", [value], perm=[0, 2, 3, 1])
        return self._graph.op("Reshape", [value, self._graph.integers(0, -1)])

    def _fully_connected(self, inputs: list[int], read: Any) -> str:
        value = self._value(inputs[0])
        if len(self._shapes[inputs[0]]) == IMAGE_AXES:
            value = self._flattened(inputs[0])
        bias = self._graph.constant(self._constants[inputs[2]].astype(np.float32))
        operands = [value, self._weights(self._constants[inputs[1]].astype(np.float32)), bias]
        result = self._graph.op("Gemm", operands, transB=1)
        return self._activated(result, read.FusedActivationFunction())


def _inputs(operator: Any) -> list[int]:
    indices = [operator.Inputs(i) for i in range(operator.InputsLength())]
    return [index for index in indices if index >= 0]


def _read(kind: Any, options: Any) -> Any:
    read = kind()
    read.Init(options.Bytes, options.Pos)
    return read
