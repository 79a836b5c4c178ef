"""Write ONNX files: the few messages of the format that a network of float tensors needs.

ONNX is a protocol buffer. The package ``onnx`` would be a dependency of 17 MB for the four messages
below, of which each is a list of numbered fields. Field numbers are those of ``onnx.proto``.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from data.arrays import FloatArray, IndexArray

Attribute = float | int | str | Sequence[int]

_IR_VERSION: Final = 8
_OPSET: Final = 13
_FLOAT, _INT64 = 1, 7
"""Types of tensors."""
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
"""Kinds of fields of a protocol buffer."""


def tensor(name: str, values: FloatArray | IndexArray) -> bytes:
    """Return a constant (``TensorProto``): 32-bit floats, or 64-bit integers."""
    is_float = values.dtype.kind == "f"
    raw = values.astype("<f4" if is_float else "<i8").tobytes()
    dims = b"".join(_integer(1, size) for size in values.shape)
    return dims + _integer(2, _FLOAT if is_float else _INT64) + _bytes(8, name) + _bytes(9, raw)


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, Attribute],
) -> bytes:
    """Return an operation (``NodeProto``)."""
    return b"".join(
        [
            *(_bytes(1, name) for name in inputs),
            *(_bytes(2, name) for name in outputs),
            # OpenCV asks for unique names of operations.
            _bytes(3, outputs[0]),
            _bytes(4, operator),
            *(_bytes(5, _attribute(name, value)) for name, value in attributes.items()),
        ]
    )


def model(
    nodes: Sequence[bytes],
    constants: Sequence[bytes],
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int]],
) -> bytes:
    """Return an ONNX file.

    Args:
        nodes: operations of :func:`node`, each after those that it needs.
        constants: tensors of :func:`tensor`.
        inputs: shape of each input, all of floats.
        outputs: shape of each output, all of floats.
    """
    graph = b"".join(
        [
            *(_bytes(1, part) for part in nodes),
            _bytes(2, "graph"),
            *(_bytes(5, part) for part in constants),
            *(_bytes(11, _value(name, shape)) for name, shape in inputs.items()),
            *(_bytes(12, _value(name, shape)) for name, shape in outputs.items()),
        ]
    )
    return _integer(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _integer(2, _OPSET))


def _value(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_bytes(1, _integer(1, size)) for size in shape)
    kind = _bytes(1, _integer(1, _FLOAT) + _bytes(2, dims))
    return _bytes(1, name) + _bytes(2, kind)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        field = _key(2, _FIXED32) + struct.pack("<f", value) + _integer(20, _ATTRIBUTE_FLOAT)
    elif isinstance(value, int):
        field = _integer(3, value) + _integer(20, _ATTRIBUTE_INT)
    elif isinstance(value, str):
        field = _bytes(4, value) + _integer(20, _ATTRIBUTE_STRING)
    else:
        field = b"".join(_integer(8, v) for v in value) + _integer(20, _ATTRIBUTE_INTS)
    return _bytes(1, name) + field


def _integer(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(int(value))


def _bytes(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return _key(field, _BYTES) + _varint(len(raw)) + raw


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _varint(value: int) -> bytes:
    """Return an integer in groups of seven bits, the lowest first; negative ones as 64 bits."""
    rest = int(np.uint64(value & (1 << 64) - 1))
    groups = bytearray()
    while rest >= 0x80:
        groups.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*groups, rest])
