"""Statistics of a whole table: small, picklable, independent of the split, honest about infinite numbers."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.errors import DataError, SchemaError
from raysynth.statistics import TableSummary, collect
from raysynth.statistics.released import from_integers, from_plain, to_plain
from raysynth.statistics.table_statistics import NullSummary


def table(n: int = 2000) -> pd.DataFrame:
    """Sampled, with a fixed seed: values of each kind, missing in two columns at once."""
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "text": rng.choice(["a", "b", "nan"], n),
            "number": rng.normal(size=n),
            "whole": rng.integers(0, 9, n),
            "flag": rng.random(n) < 0.4,
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 999, n), unit="h"),
        }
    )
    gone = rng.random(n) < 0.2
    frame.loc[gone, ["text", "number"]] = None
    frame.loc[rng.random(n) < 0.1, "when"] = pd.NaT
    return frame


def test_counts_moments_and_missing_agree_with_pandas() -> None:
    frame = table()
    statistics = pickle.loads(pickle.dumps(collect(as_table(frame))))
    assert statistics.n_rows == len(frame) and list(statistics.columns) == list(frame.columns)
    for name, column in statistics.columns.items():
        assert column.missing == frame[name].isna().sum()
        assert column.n_distinct == frame[name].nunique()
    counts = statistics.columns["text"].categories().value
    assert dict(zip(counts.values, counts.counts, strict=True)) == frame["text"].value_counts().to_dict()
    number = statistics.columns["number"].distribution().value
    assert number.mean == pytest.approx(frame["number"].mean()) and number.std == pytest.approx(
        frame["number"].std(ddof=0)
    )
    assert {n: c.missing for n, c in statistics.columns.items()} == frame.isna().sum().to_dict()


def test_blocks_of_any_size_give_identical_statistics() -> None:
    whole = as_table(table())
    blocks = list(whole.blocks())
    parts = []
    for start in (0, 3, 700, 1999):
        part = TableSummary(whole.schema)
        end = {0: 3, 3: 700, 700: 1999, 1999: 2000}[start]
        for block in blocks:
            part.update(block.slice(start, end - start))
        parts.append(part)
    merged = parts[2]
    for other in (parts[0], parts[3], parts[1]):
        merged.merge(other)
    for a, b in zip(collect(whole).columns.values(), merged.finish().columns.values(), strict=True):
        if a.extremes is not None:
            x, y = a.distribution().value, b.distribution().value
            assert (x.mean, x.std, x.missing, x.decimals) == (y.mean, y.std, y.missing, y.decimals)
            np.testing.assert_array_equal(x.counts, y.counts)
        else:
            x, y = a.categories().value, b.categories().value
            assert x.values == y.values
            np.testing.assert_array_equal(x.counts, y.counts)


def test_infinite_numbers_are_an_error_that_names_the_column_unless_unchecked() -> None:
    frame = pd.DataFrame({"ok": [1.0, 2.0], "bad": [1.0, np.inf]})
    with pytest.raises(DataError, match=r"'bad' holds 1 infinite.*replace"):
        collect(as_table(frame))
    column = collect(as_table(frame), check_values=False).columns["bad"]
    assert column.n_inf == 1 and column.distribution().value.missing == 1


def test_text_has_no_distribution() -> None:
    with pytest.raises(SchemaError, match="'text'.*categorical"):
        collect(as_table(table())).columns["text"].distribution()


def test_nan_in_arrow_floats_is_missing_like_null() -> None:
    batch = pa.RecordBatch.from_pydict({"a": pa.array([1.0, float("nan"), None]), "b": pa.array([None, None, 3])})
    summary = TableSummary(batch.schema)
    summary.update(batch)
    assert {n: c.missing for n, c in summary.finish().columns.items()} == {"a": 2, "b": 2}


def test_a_column_without_values_has_no_category() -> None:
    summary = NullSummary()
    summary.update(pa.nulls(4))
    found = summary.categories()
    assert (found.values, len(found.counts), found.missing, found.n_distinct) == ((), 0, 4.0, 0)


@pytest.mark.parametrize(
    ("values", "is_unique"),
    [([True, None], True), ([True, False], True), ([False, None], True), ([True, True], False), ([False] * 2, False)],
)
def test_truth_values_are_unique_where_none_comes_twice(values: list[bool | None], is_unique: bool) -> None:
    found = value_of(lambda: collect(as_table(pa.table({"b": values}))).columns["b"])
    assert found.all_unique == is_unique


@pytest.mark.parametrize(
    ("dtype", "values", "plain"),
    [
        (pa.date32(), [dt.date(1970, 1, 3), None], [2, None]),
        (pa.timestamp("ms"), [dt.datetime(1970, 1, 1, 0, 0, 1), None], [1000, None]),
        (pa.duration("s"), [dt.timedelta(minutes=2), None], [120, None]),
        (pa.decimal128(5, 2), [Decimal("1.20"), None], ["1.20", None]),
        (pa.int64(), [2**60, None], [2**60, None]),
        (pa.string(), ["a", None], ["a", None]),
    ],
)
def test_values_are_written_as_json_has_them_and_read_again(
    dtype: pa.DataType, values: list[Any], plain: list[Any]
) -> None:
    assert value_of(lambda: to_plain(values, dtype)) == plain == json.loads(json.dumps(plain))
    assert value_of(lambda: from_plain(plain, dtype)) == values
    assert value_of(lambda: from_integers(plain, dtype)) == (plain if pa.types.is_decimal(dtype) else values)
