"""Remove unused outputs from a TFLite network, with the operators that only they need.

LiteRT runs every operator of a graph, even if its output is not read. The landmark network spends
38 % of its time on a segmentation mask that is not used here. A ``.tflite`` file is a FlatBuffer,
in which a list is stored as a length and offsets, so the lists of outputs and operators can be
shortened in place. The layout is documented on the FlatBuffers internals page and in ``schema.fbs``
of TensorFlow Lite.
"""

import struct
from collections.abc import Callable
from typing import Final

_SUBGRAPHS: Final = 2
_TENSORS, _GRAPH_OUTPUTS, _OPERATORS = 0, 2, 3
_OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 1, 2
_TENSOR_SHAPE: Final = 0


def without_outputs(content: bytes, is_unwanted: Callable[[tuple[int, ...]], bool]) -> bytes:
    """Return the network without the outputs whose shape is unwanted.

    Args:
        content: bytes of a ``.tflite`` file with one graph.
        is_unwanted: predicate on the shape of an output.

    Raises:
        ValueError: the content is not a ``.tflite`` file with one graph.
    """
    try:
        return _without_outputs(content, is_unwanted)
    except (struct.error, IndexError) as error:
        raise ValueError(f"expected a TFLite network, found broken offsets: {error}") from error


def _without_outputs(content: bytes, is_unwanted: Callable[[tuple[int, ...]], bool]) -> bytes:
    buffer = bytearray(content)
    graphs = _tables(buffer, _field(buffer, _u32(buffer, 0), _SUBGRAPHS))
    if len(graphs) != 1:
        raise ValueError(f"expected a TFLite network with one graph, found {len(graphs)}")
    graph = graphs[0]
    tensors = _tables(buffer, _field(buffer, graph, _TENSORS))
    outputs_at = _field(buffer, graph, _GRAPH_OUTPUTS)
    operators_at = _field(buffer, graph, _OPERATORS)

    def is_kept(tensor: int) -> bool:
        return not is_unwanted(_integers(buffer, _field(buffer, tensors[tensor], _TENSOR_SHAPE)))

    outputs = [tensor for tensor in _integers(buffer, outputs_at) if is_kept(tensor)]
    needed = set(outputs)
    operators: list[int] = []
    for operator in reversed(_tables(buffer, operators_at)):
        if needed.intersection(_integers(buffer, _field(buffer, operator, _OPERATOR_OUTPUTS))):
            operators.append(operator)
            needed.update(_integers(buffer, _field(buffer, operator, _OPERATOR_INPUTS)))
    operators.reverse()

    struct.pack_into(f"<I{len(outputs)}i", buffer, outputs_at, len(outputs), *outputs)
    # An offset is relative to the position where it is stored.
    offsets = [at - (operators_at + 4 + 4 * place) for place, at in enumerate(operators)]
    struct.pack_into(f"<I{len(offsets)}I", buffer, operators_at, len(offsets), *offsets)
    return bytes(buffer)


def _u32(buffer: bytearray, at: int) -> int:
    return struct.unpack_from("<I", buffer, at)[0]


def _field(buffer: bytearray, table: int, number: int) -> int:
    """Return the position of the list in a field of a table, or 0 if the table lacks the field."""
    slots = table - struct.unpack_from("<i", buffer, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", buffer, slots)[0]:
        return 0
    offset = struct.unpack_from("<H", buffer, slots + slot)[0]
    return table + offset + _u32(buffer, table + offset) if offset else 0


def _integers(buffer: bytearray, vector: int) -> tuple[int, ...]:
    if vector == 0:
        return ()
    return struct.unpack_from(f"<{_u32(buffer, vector)}i", buffer, vector + 4)


def _tables(buffer: bytearray, vector: int) -> list[int]:
    """Return the positions of the tables in a list of tables."""
    if vector == 0:
        return []
    places = range(vector + 4, vector + 4 + 4 * _u32(buffer, vector), 4)
    return [place + _u32(buffer, place) for place in places]
