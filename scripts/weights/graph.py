"""An ONNX graph under construction, shared by the scripts that rebuild the embedded weights."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
SMALLEST_HALF = 16  # constants with more numbers than this may be stored as float16


class Graph:
    """Nodes and constants, with names numbered in the order of their making."""

    def __init__(self) -> None:
        """Start empty."""
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._count = 0

    def unique(self, prefix: str) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{prefix}_{self._count}"

    def constant(self, values: ArrayLike, name: str = "") -> str:
        """Add an array as it is."""
        name = name or self.unique("c")
        self.constants[name] = np.asarray(values)
        return name

    def floats(self, *values: float) -> str:
        """Add a float32 vector, or a scalar where there is one value."""
        return self.constant(np.array(values if len(values) > 1 else values[0], np.float32))

    def integers(self, *values: int) -> str:
        """Add an int64 vector."""
        return self.constant(np.array(values, np.int64))

    def weights(self, values: np.ndarray, prefix: str) -> str:
        """Add weights of a net; large float16 arrays stay so and are widened when they are used."""
        name = self.unique(f"{prefix}_w")
        if values.dtype == np.float16 and values.size > SMALLEST_HALF:
            return self.op("Cast", [self.constant(values, name)], to=TensorProto.FLOAT)
        return self.constant(values.astype(np.float32), name)

    def op(self, kind: str, inputs: list[str], *, name: str = "", **attributes: Any) -> str:
        """Add an operator with one output, whose name is returned."""
        output = name or self.unique(kind.lower())
        self._add(kind, inputs, [output], attributes)
        return output

    def op_of_two(self, kind: str, inputs: list[str], **attributes: Any) -> tuple[str, str]:
        """Add an operator with two outputs."""
        first, second = self.unique(kind.lower()), self.unique(kind.lower())
        self._add(kind, inputs, [first, second], attributes)
        return first, second

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        """A range along an axis."""
        limits = [self.integers(start), self.integers(end), self.integers(axis)]
        return self.op("Slice", [value, *limits])

    def share_constants(self) -> None:
        """Keep one of each set of equal constants."""
        kept: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        renamed = {}
        for name, values in list(self.constants.items()):
            key = (values.dtype.str, values.shape, values.tobytes())
            if key in kept:
                renamed[name] = kept[key]
                del self.constants[name]
            else:
                kept[key] = name
        for node in self.nodes:
            _rename_inputs(node, renamed)

    def share_casts(self) -> None:
        """Keep one of each set of equal casts of a constant."""
        kept: dict[str, str] = {}
        renamed: dict[str, str] = {}
        nodes = []
        for node in self.nodes:
            _rename_inputs(node, renamed)
            if node.op_type == "Cast" and node.input[0] in self.constants:
                if node.input[0] in kept:
                    renamed[node.output[0]] = kept[node.input[0]]
                    continue
                kept[node.input[0]] = node.output[0]
            nodes.append(node)
        self.nodes = nodes

    def save(
        self,
        path: Path,
        *,
        name: str,
        producer: str,
        inputs: dict[str, list[int | str]],
        outputs: dict[str, tuple[int, list[int | str]]],
        notes: dict[str, str],
    ) -> None:
        """Check and write the model, and print its digest.

        Args:
            path: The file to write.
            name: Name of the graph.
            producer: Who made it.
            inputs: Shapes of the float32 inputs.
            outputs: Element type and shape of each output.
            notes: What to write into the file's properties.
        """
        graph = helper.make_graph(
            self.nodes,
            name,
            [_value(key, TensorProto.FLOAT, shape) for key, shape in inputs.items()],
            [_value(key, kind, shape) for key, (kind, shape) in outputs.items()],
            [numpy_helper.from_array(values, key) for key, values in self.constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=producer,
        )
        helper.set_model_props(model, notes)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path)

    def _add(self, kind: str, inputs: list[str], outputs: list[str], attributes: Any) -> None:
        name = self.unique(f"n_{kind}")
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, **attributes))


def read_checked(path: Path, sha256: str) -> bytes:
    """A file's bytes, or the end of the script where they are not the expected ones."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{path}: sha256 is {digest}, expected {sha256}")
    return data


def _value(name: str, kind: int, shape: list[int | str]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _rename_inputs(node: Any, renamed: dict[str, str]) -> None:
    for place, name in enumerate(node.input):
        if name in renamed:
            node.input[place] = renamed[name]
