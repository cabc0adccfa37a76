"""Rows under a public schema: what does not fit a declared type is missing, and no value raises."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from raysynth.data.table import as_table
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.public_schema import as_declared, total_cast

NUMBERS = [1.0, 2.6, None, float("nan"), float("inf"), -float("inf"), 300.0, -1e300, 1e19]


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        (pa.array(NUMBERS), pa.int64(), [1, 3, None, None, None, None, 300, None, None]),
        (pa.array(NUMBERS), pa.int8(), [1, 3, None, None, None, None, None, None, None]),
        (pa.array(NUMBERS), pa.uint64(), [1, 3, None, None, None, None, 300, None, None]),
        (pa.array([2**62, -1, None]), pa.int32(), [None, -1, None]),
        (pa.array(NUMBERS[:7]), pa.decimal128(4, 2), [Decimal(1), Decimal("2.60"), *[None] * 5]),
        (pa.array([2**60 + 1, None]), pa.float64(), [float(2**60), None]),
        (pa.array([1e300, 0.5]), pa.float32(), [float("inf"), 0.5]),
        (pa.nulls(2), pa.int64(), [None, None]),
    ],
)
def test_numbers_of_any_size_become_the_declared_type(values: pa.Array, type_: pa.DataType, expected: Any) -> None:
    assert total_cast(values, type_).to_pylist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_size_become_the_declared_type(unit: str) -> None:
    """Nanoseconds hold three centuries: a time beyond is some other one, and no error tells of it."""
    times = pa.array([datetime(1500, 1, 1), datetime(2020, 5, 1, 1, 2, 3, 4), datetime(9999, 12, 31), None])
    found = total_cast(times, pa.timestamp(unit))
    assert found.type == pa.timestamp(unit) and len(found) == 4 and found.null_count >= 1
    lengths = pa.array([timedelta(days=100_000_000), timedelta(microseconds=1), None])
    assert len(total_cast(lengths, pa.duration(unit))) == 3


def test_a_table_of_wild_values_is_read_under_its_declared_types() -> None:
    table = as_table(pa.table({"n": pa.array(NUMBERS), "day": pa.array([datetime(9999, 1, 1)] * 9)}))
    schema = TableSchema(
        (ColumnSchema("n", Kind.CONTINUOUS, "int16"), ColumnSchema("day", Kind.DATETIME, "timestamp[ns]"))
    )
    rows = as_declared(table, schema).to_arrow()
    assert rows.column("n").to_pylist() == [1, 3, None, None, None, None, 300, None, None]
    assert rows.num_rows == 9
