"""Hashes of values: equal where values are equal, however they are stored, else different."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.schemas import SCHEMAS
from data.upkeep.hashing import hash_rows, hash_values

VALUES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.string(), ["", "a", "b", "ab", None, "é", "a" * 1000]),
    (pa.int16(), [0, 1, -1, None, 256]),
    (pa.float32(), [0.0, 1.0, -1.0, 0.5, None, float("inf"), 1e-45]),
    (pa.float64(), [0.0, 1.0, None, 1.0000000000000002, float("nan")]),
    (pa.bool_(), [True, False, None]),
    (pa.list_(pa.float32()), [[], [0.0], [0.0, 0.0], [1.0, 2.0], [2.0, 1.0], None, [None]]),
    (pa.list_(pa.string()), [["a", "b"], ["b", "a"], ["ab"], [], [""], None]),
    (
        pa.list_(pa.struct([("x", pa.int32()), ("s", pa.struct([("t", pa.string())]))])),
        [
            [],
            [{"x": 1, "s": {"t": "a"}}],
            [{"x": 1, "s": {"t": "b"}}],
            [{"x": 1, "s": None}],
            [{"x": 1, "s": {"t": None}}, None],
            [None, {"x": 1, "s": {"t": None}}],
        ],
    ),
]


@pytest.mark.parametrize(("kind", "values"), VALUES)
def test_different_values_have_different_hashes_and_equal_ones_equal(
    kind: pa.DataType, values: list[Any]
) -> None:
    hashes = hash_values(pa.array(values, kind))
    assert len(set(hashes.tolist())) == len(values)
    # The same values in another order, in pieces and as slices.
    again = pa.chunked_array([pa.array(values[3:], kind), pa.array(values[:3], kind)])
    np.testing.assert_array_equal(hash_values(again), np.roll(hashes, -3))
    sliced = pa.array([*values, *values], kind).slice(2, len(values))
    np.testing.assert_array_equal(hash_values(sliced), np.roll(hashes, -2))
    assert hash_values(pa.array([], kind)).shape == (0,)


def test_rows_of_every_table_can_be_hashed() -> None:
    for schema in SCHEMAS.values():
        assert hash_rows(schema.empty_table(), schema.names).shape == (0,)
        nulls = pa.Table.from_pylist([dict.fromkeys(schema.names)] * 2, schema)
        first, second = hash_rows(nulls, schema.names)
        assert first == second


def test_values_that_change_columns_change_the_row() -> None:
    table = pa.table({"a": ["x", "y"], "b": ["y", "x"]})
    assert len(set(hash_rows(table, ["a", "b"]).tolist())) == 2


def test_a_foreign_type_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a type of the dataset's tables, found binary"):
        hash_values(pa.array([b"x"]))
