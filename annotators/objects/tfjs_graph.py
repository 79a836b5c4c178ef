"""Convert a TensorFlow.js graph to an ONNX file, which OpenCV runs.

A TF.js graph lists its operations in a JSON file and its weights in a binary one. TensorFlow keeps
images as (N, H, W, C), ONNX as (N, C, H, W). The converter therefore keeps, for each tensor, the
order in which its axes are stored, and a transposition in the graph changes only this order:
transpositions are written only where an operation needs its input in another order. Only the
operations between the input and the wanted outputs are converted, so that each network ends at its
feature maps; what follows (the best boxes) is a few lines of NumPy.

The layout of both files is that of TensorFlow's ``GraphDef`` and of the TF.js converter.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from annotators.objects import onnx_file
from data.arrays import FloatArray, IndexArray

Shape = tuple[int, ...]
Array = FloatArray | IndexArray

_CHANNELS_FIRST: Final = (0, 3, 1, 2)
"""The axes (N, H, W, C) of an image in the order in which ONNX stores them."""

_ACTIVATIONS: Final = ("Relu", "Relu6", "Sigmoid", "LeakyRelu")
_ELEMENTWISE: Final = {"Add": "Add", "AddV2": "Add", "Mul": "Mul"}
_CONVOLUTIONS: Final = ("Conv2D", "_FusedConv2D")
_DEPTHWISE: Final = ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
_FLOAT_TYPES: Final = {"float16": "<f2", "float32": "<f4", "int32": "<i4"}


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the ONNX graph.

    Attributes:
        name: its name there.
        shape: its shape in the TF.js graph.
        order: axes of the TF.js graph in the order in which they are stored.
    """

    name: str
    shape: Shape
    order: Shape

    @property
    def stored_shape(self) -> Shape:
        return tuple(self.shape[axis] for axis in self.order)

    def place_of(self, axis: int) -> int:
        """Return the stored place of an axis of the TF.js graph, which may be negative."""
        return self.order.index(axis % len(self.shape))


@dataclass(frozen=True, slots=True)
class _Node:
    """An operation of the TF.js graph.

    Attributes:
        name: its name, which is also that of its first output.
        operator: what it does.
        sources: names of its inputs.
        attributes: its numbers.
    """

    name: str
    operator: str
    sources: tuple[str, ...]
    attributes: Mapping[str, Any]


def to_onnx(topology: bytes, weights: bytes, outputs: Sequence[str]) -> bytes:
    """Return a TF.js graph as an ONNX file.

    Args:
        topology: content of the ``.json`` file.
        weights: content of the ``.bin`` file.
        outputs: names of the tensors to compute, e.g. ``head/Split:1`` for the second output of a
            node. They get these names, and are stored as in the TF.js graph.

    Raises:
        ValueError: the files are no TF.js graph, or it has an operation without a counterpart here.
    """
    try:
        graph = json.loads(topology)
        nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}
        converter = _Converter(nodes, read_weights(graph["weightsManifest"], weights))
        return converter.convert(outputs)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"expected a TensorFlow.js graph, found: {error!r}") from error


def read_weights(manifest: Sequence[Mapping[str, Any]], content: bytes) -> dict[str, Array]:
    """Return the constants of a TF.js graph by name: float32, or int64.

    Raises:
        ValueError: the content is shorter or longer than the manifest says.
    """
    constants: dict[str, Array] = {}
    at = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        stored_as = entry.get("quantization", entry)["dtype"]
        kind = np.dtype(_FLOAT_TYPES[stored_as])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        end = at + count * kind.itemsize
        if end > len(content):
            break
        values = np.frombuffer(content[at:end], kind).reshape(entry["shape"])
        is_index = kind.kind == "i"
        constants[entry["name"]] = (
            values.astype(np.int64) if is_index else values.astype(np.float32)
        )
        at = end
    else:
        if at == len(content):
            return constants
    raise ValueError(f"weights: expected as many bytes as the manifest says, found {len(content)}")


class _Converter:
    """Writes the operations that some outputs need.

    Args:
        nodes: nodes of the TF.js graph by name.
        constants: its constants by name.
    """

    def __init__(self, nodes: Mapping[str, Mapping[str, Any]], constants: Mapping[str, Array]):
        self._nodes = nodes
        self._constants = constants
        self._tensors: dict[str, _Tensor] = {}
        self._written: list[bytes] = []
        self._stored: dict[str, bytes] = {}
        self._inputs: dict[str, Shape] = {}
        self._handlers: Mapping[str, Callable[[_Node], None]] = {
            "Placeholder": self._input,
            "Identity": self._identity,
            "Transpose": self._transpose,
            "Pad": self._pad,
            "PadV2": self._pad,
            "MaxPool": self._max_pool,
            "Mean": self._mean,
            "ConcatV2": self._concat,
            "SplitV": self._split,
            "ResizeBilinear": self._resize,
            **dict.fromkeys(_ACTIVATIONS, self._activation),
            **dict.fromkeys(_ELEMENTWISE, self._elementwise),
            **dict.fromkeys((*_CONVOLUTIONS, *_DEPTHWISE), self._convolution),
        }

    def convert(self, outputs: Sequence[str]) -> bytes:
        for name in self._in_order(outputs):
            self._convert(name, self._nodes[name])
        shapes: dict[str, Shape] = {}
        for name in outputs:
            found = self._tensors[name]
            in_order = self._reordered(found, tuple(range(len(found.shape))))
            self._write("Identity", [in_order.name], f"out/{name}", found.shape)
            shapes[f"out/{name}"] = found.shape
        return onnx_file.model(self._written, list(self._stored.values()), self._inputs, shapes)

    def _in_order(self, outputs: Sequence[str]) -> list[str]:
        """Return the needed nodes that are no constants, each after those that it needs."""
        order: dict[str, None] = {}
        pending = [_node_of(name) for name in reversed(outputs)]
        while pending:
            name = pending[-1]
            missing = [
                source
                for source in map(_node_of, self._nodes[name].get("input", ()))
                if source not in order and source not in self._constants
            ]
            if missing:
                pending += missing
            else:
                order[pending.pop()] = None
        return list(order)

    # ---------------------------------------------------------------------------- operations

    def _convert(self, name: str, node: Mapping[str, Any]) -> None:
        handler = self._handlers.get(node["op"])
        if handler is None:
            raise ValueError(
                f"{name}: expected one of the operations that are converted, found {node['op']}"
            )
        handler(_Node(name, node["op"], tuple(node.get("input", ())), node.get("attr", {})))

    def _input(self, node: _Node) -> None:
        shape = tuple(int(dim["size"]) for dim in node.attributes["shape"]["shape"]["dim"])
        self._inputs[node.name] = shape
        self._tensors[node.name] = _Tensor(node.name, shape, tuple(range(len(shape))))

    def _identity(self, node: _Node) -> None:
        self._tensors[node.name] = self._tensors[node.sources[0]]

    def _transpose(self, node: _Node) -> None:
        source = self._tensors[node.sources[0]]
        axes = tuple(int(axis) for axis in self._constants[node.sources[1]])
        shape = tuple(source.shape[axis] for axis in axes)
        order = tuple(axes.index(axis) for axis in source.order)
        self._tensors[node.name] = _Tensor(source.name, shape, order)

    def _activation(self, node: _Node) -> None:
        source = self._tensors[node.sources[0]]
        operator, inputs, numbers = node.operator, [source.name], {}
        if operator == "Relu6":
            operator = "Clip"
            inputs += [self._scalar(0.0), self._scalar(6.0)]
        elif operator == "LeakyRelu":
            numbers = {"alpha": float(node.attributes["alpha"]["f"])}
        self._write(operator, inputs, node.name, source.shape, source.order, numbers)

    def _elementwise(self, node: _Node) -> None:
        tensors = [self._tensors.get(source) for source in node.sources]
        # The larger operand decides the order, so that a gate of one pixel is turned, not a map.
        main = max((t for t in tensors if t is not None), key=lambda t: np.prod(t.shape))
        inputs = [
            self._reordered(tensor, main.order).name
            if tensor is not None
            else self._broadcast(source, main)
            for source, tensor in zip(node.sources, tensors, strict=True)
        ]
        operator = _ELEMENTWISE[node.operator]
        self._write(operator, inputs, node.name, main.shape, main.order)

    def _convolution(self, node: _Node) -> None:
        name, attributes = node.name, node.attributes
        source = self._reordered(self._tensors[node.sources[0]], _CHANNELS_FIRST)
        kernel = self._constants[node.sources[1]]
        height, width, channels, multiple = kernel.shape
        if node.operator in _DEPTHWISE:
            # (H, W, C, M) to (C M, 1, H, W)
            kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiple, 1, height, width)
            groups = channels
        else:
            kernel = kernel.transpose(3, 2, 0, 1)
            groups = source.shape[3] // channels
        strides, dilations = _pair(attributes["strides"]), _pair(attributes["dilations"])
        sizes = tuple(1 + (k - 1) * d for k, d in zip((height, width), dilations, strict=True))
        counts, pads = _windows(source.shape[1:3], sizes, strides, attributes)
        inputs = [source.name, self._constant(f"{name}/kernel", kernel)]
        fused = [
            _text(step) for step in attributes.get("fused_ops", {"list": {}})["list"].get("s", ())
        ]
        if "BiasAdd" in fused:
            inputs.append(self._constant(f"{name}/bias", self._constants[node.sources[2]]))
        activations = [step for step in fused if step != "BiasAdd"]
        numbers = {
            "kernel_shape": (height, width),
            "strides": strides,
            "dilations": dilations,
            "pads": pads,
            "group": groups,
        }
        shape = (source.shape[0], *counts, kernel.shape[0])
        plain = f"{name}/plain" if activations else name
        self._write("Conv", inputs, plain, shape, _CHANNELS_FIRST, numbers)
        for step in activations:
            if step not in {"Relu", "Relu6"}:
                raise ValueError(f"{name}: expected a fused Relu or Relu6, found {step}")
            self._activation(_Node(name, step, (plain,), {}))

    def _pad(self, node: _Node) -> None:
        name, sources = node.name, node.sources
        source, pads_D2 = self._tensors[sources[0]], self._constants[sources[1]]
        value = float(self._constants[sources[2]]) if len(sources) > 2 else 0.0
        shape = tuple(
            size + int(low + high) for size, (low, high) in zip(source.shape, pads_D2, strict=True)
        )
        stored = pads_D2[list(source.order)].T.reshape(-1)
        inputs = [source.name, self._constant(f"{name}/pads", stored), self._scalar(value)]
        self._write("Pad", inputs, name, shape, source.order, {"mode": "constant"})

    def _max_pool(self, node: _Node) -> None:
        attributes = node.attributes
        source = self._reordered(self._tensors[node.sources[0]], _CHANNELS_FIRST)
        size, strides = _pair(attributes["ksize"]), _pair(attributes["strides"])
        (height, width), pads = _windows(source.shape[1:3], size, strides, attributes)
        shape = (source.shape[0], height, width, source.shape[3])
        numbers = {"kernel_shape": size, "strides": strides, "pads": pads}
        self._write("MaxPool", [source.name], node.name, shape, _CHANNELS_FIRST, numbers)

    def _mean(self, node: _Node) -> None:
        axes = {int(axis) % 4 for axis in self._constants[node.sources[1]].reshape(-1)}
        if axes != {1, 2} or not node.attributes["keep_dims"]["b"]:
            raise ValueError(
                f"{node.name}: expected a mean over the pixels that keeps them as axes"
            )
        source = self._reordered(self._tensors[node.sources[0]], _CHANNELS_FIRST)
        shape = (source.shape[0], 1, 1, source.shape[3])
        self._write("GlobalAveragePool", [source.name], node.name, shape, _CHANNELS_FIRST)

    def _concat(self, node: _Node) -> None:
        first, *others = (self._tensors[source] for source in node.sources[:-1])
        parts = [first, *(self._reordered(part, first.order) for part in others)]
        axis = int(self._constants[node.sources[-1]]) % len(first.shape)
        length = sum(part.shape[axis] for part in parts)
        shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
        numbers = {"axis": first.place_of(axis)}
        self._write("Concat", [part.name for part in parts], node.name, shape, first.order, numbers)

    def _split(self, node: _Node) -> None:
        name, sources = node.name, node.sources
        source = self._tensors[sources[0]]
        sizes, axis = self._constants[sources[1]], int(self._constants[sources[2]])
        axis %= len(source.shape)
        names = [name if part == 0 else f"{name}:{part}" for part in range(len(sizes))]
        for part_name, size in zip(names, sizes, strict=True):
            shape = (*source.shape[:axis], int(size), *source.shape[axis + 1 :])
            self._tensors[part_name] = _Tensor(part_name, shape, source.order)
        inputs = [source.name, self._constant(f"{name}/sizes", sizes)]
        self._written.append(
            onnx_file.node("Split", inputs, names, {"axis": source.place_of(axis)})
        )

    def _resize(self, node: _Node) -> None:
        name, sources, attributes = node.name, node.sources, node.attributes
        if attributes["align_corners"]["b"]:
            raise ValueError(f"{name}: expected a resize that does not align corners")
        source = self._reordered(self._tensors[sources[0]], _CHANNELS_FIRST)
        height, width = (int(size) for size in self._constants[sources[1]])
        shape = (source.shape[0], height, width, source.shape[3])
        sizes = np.array([shape[axis] for axis in _CHANNELS_FIRST])
        halves = attributes["half_pixel_centers"]["b"]
        inputs = [source.name, "", "", self._constant(f"{name}/sizes", sizes)]
        numbers = {
            "mode": "linear",
            "coordinate_transformation_mode": "half_pixel" if halves else "asymmetric",
        }
        self._write("Resize", inputs, name, shape, _CHANNELS_FIRST, numbers)

    # ------------------------------------------------------------------------------- tensors

    def _write(
        self,
        operator: str,
        inputs: Sequence[str],
        name: str,
        shape: Shape,
        order: Shape | None = None,
        attributes: Mapping[str, onnx_file.Attribute] | None = None,
    ) -> None:
        self._written.append(onnx_file.node(operator, inputs, [name], attributes or {}))
        self._tensors[name] = _Tensor(name, shape, order or tuple(range(len(shape))))

    def _reordered(self, source: _Tensor, order: Shape) -> _Tensor:
        """Return a tensor whose axes are stored in an order; it is written once."""
        if source.order == order:
            return source
        name = f"{source.name}/{''.join(map(str, source.order))}-{''.join(map(str, order))}"
        if name not in self._tensors:
            moves = tuple(source.order.index(axis) for axis in order)
            self._write("Transpose", [source.name], name, source.shape, order, {"perm": moves})
        return self._tensors[name]

    def _broadcast(self, source: str, other: _Tensor) -> str:
        """Return the name of a constant that is stored in the order of another operand."""
        values = self._constants[source]
        values = values.reshape((1,) * (len(other.shape) - values.ndim) + values.shape)
        order = "".join(map(str, other.order))
        return self._constant(f"{source}/{order}", values.transpose(other.order))

    def _scalar(self, value: float) -> str:
        return self._constant(f"scalar/{value}", np.array(value, np.float32))

    def _constant(self, name: str, values: Array) -> str:
        self._stored.setdefault(name, onnx_file.tensor(name, values))
        return name


def _node_of(name: str) -> str:
    """Return the node of a tensor's name: ``split:1`` is the second output of ``split``."""
    return name.removeprefix("^").split(":")[0]


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def _pair(attribute: Mapping[str, Any]) -> tuple[int, int]:
    """Return the two numbers of an attribute (1, height, width, 1)."""
    _, height, width, _ = (int(value) for value in attribute["list"]["i"])
    return height, width


def _windows(
    shape: Shape, sizes: Shape, strides: Shape, attributes: Mapping[str, Any]
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Return the number of windows along both axes, and the pads (top, left, bottom, right)."""
    counts: list[int] = []
    lows: list[int] = []
    highs: list[int] = []
    is_same = _text(attributes["padding"]["s"]) == "SAME"
    for length, size, stride in zip(shape, sizes, strides, strict=True):
        count = -(-length // stride) if is_same else (length - size) // stride + 1
        spare = max(0, (count - 1) * stride + size - length) if is_same else 0
        counts.append(count)
        lows.append(spare // 2)
        highs.append(spare - spare // 2)
    return (counts[0], counts[1]), (lows[0], lows[1], highs[0], highs[1])
