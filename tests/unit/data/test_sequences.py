"""Rows of entities in the order of time: from tables and arrays, static columns, windows, gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth.data.sequences import (
    OrderedRows,
    array_of,
    gaps,
    held_back,
    longest,
    order_rows,
    rows_of_array,
    rows_of_sliding_windows,
    static_columns,
    times_from,
    windows_of,
)
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, SchemaError

FRAME = pd.DataFrame(
    {
        "who": ["b", "a", "b", "a", "b", "c"],
        "day": pd.to_datetime(["2024-01-05", "2024-01-03", "2024-01-01", "2024-01-01", "2024-01-02", "2024-02-01"]),
        "sex": ["m", "f", "m", "f", "m", None],
        "x": [1.0, np.nan, 3.0, np.nan, 5.0, 6.0],
        "y": [1.0, np.nan, 3.0, 4.0, 5.0, 6.0],
    }
)


def ordered(frame: pd.DataFrame = FRAME, key: str | None = "who", time: str | None = "day") -> OrderedRows:
    return order_rows(as_table(frame), key, time)


def test_rows_are_ordered_by_entity_and_time() -> None:
    found = ordered()
    assert found.lengths.tolist() == [3, 2, 1]
    assert found.rows.column("y").to_pylist() == [3.0, 5.0, 1.0, 4.0, None, 6.0]
    unordered = ordered(time=None)
    assert unordered.rows.column("y").to_pylist() == [1.0, 3.0, 5.0, None, 4.0, 6.0]


@pytest.mark.parametrize(
    ("change", "key", "time", "error", "message"),
    [
        ({}, None, "day", ParameterError, "sequence_key is missing.*who, day"),
        ({}, "whom", "day", SchemaError, "sequence_key 'whom' is no column.*who, day"),
        ({}, "who", "date", SchemaError, "time_column 'date' is no column"),
        ({}, "who", "who", ParameterError, "both 'who'"),
        ({}, "who", "sex", DataError, "'sex' holds .*pd.to_datetime"),
        ({"who": ["a", None, "b", "b", "b", "b"]}, "who", "day", DataError, "'who' is missing in 1 rows"),
        ({"day": [1.0, 2.0, np.nan, np.nan, 1.0, 1.0]}, "who", "day", DataError, "'day' is missing in 2 rows"),
    ],
)
def test_a_table_that_has_no_sequences_is_refused(
    change: dict[str, Any], key: str | None, time: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ordered(FRAME.assign(**change), key, time)


def test_static_columns_are_those_that_never_change_within_an_entity() -> None:
    assert static_columns(ordered(), None) == ("sex",)
    frame = FRAME.assign(x=[1.0, np.nan, 1.0, np.nan, 1.0, 6.0])  # missing in all rows of 'a': the same value
    assert static_columns(ordered(frame), None) == ("sex", "x")
    assert static_columns(ordered(frame), ["x"]) == ("x",)
    with pytest.raises(DataError, match="'y' changes within 2 of 3 entities"):
        static_columns(ordered(), ["y"])
    with pytest.raises(SchemaError, match="'who' is no column of the table beside key and time"):
        static_columns(ordered(), ["who"])


def test_without_a_second_row_nothing_is_static() -> None:
    assert static_columns(ordered(FRAME.assign(who=list("abcdef"))), None) == ()


def test_windows_cover_every_row_and_stay_inside_entities() -> None:
    lengths = [10, 3, 4, 1]
    rows = OrderedRows(pa.table({"x": np.arange(18)}), np.concatenate([[0], np.cumsum(lengths)]))
    windows = windows_of(rows, 4, 4)
    assert list(zip(windows.start.tolist(), windows.length.tolist(), strict=True)) == [
        (0, 4), (4, 4), (6, 4), (10, 3), (13, 4), (17, 1),
    ]  # fmt: skip
    every = windows_of(rows, 4, 1)
    assert every.start.tolist() == [0, 1, 2, 3, 4, 5, 6, 10, 13, 17]
    assert longest(rows, None) == 10 and longest(rows, 4) == 4


def test_sliding_windows_of_an_array_become_their_series_again() -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(n, 2)) for n in (9, 4, 6)]
    windows = np.concatenate([np.lib.stride_tricks.sliding_window_view(x, 4, axis=0) for x in series]).transpose(
        0, 2, 1
    )
    joined = rows_of_sliding_windows(windows)
    assert joined.lengths.tolist() == [9, 4, 6]
    np.testing.assert_array_equal(np.stack([joined.rows.column(c) for c in (0, 1)], 1), np.concatenate(series))
    again = windows_of(joined, 4, 1)
    at = again.start[:, None] + np.arange(4)
    np.testing.assert_array_equal(joined.rows.column(1).to_numpy()[at], windows[:, :, 1])
    apart = rng.normal(size=(5, 4, 1))
    assert rows_of_sliding_windows(apart).lengths.tolist() == rows_of_array(apart).lengths.tolist() == [4] * 5


@pytest.mark.parametrize("lengths", [[400], [30, 200, 5, 90], [8] * 60])
def test_nothing_that_is_learned_from_shares_a_row_with_what_is_held_back(lengths: list[int]) -> None:
    frame = pd.DataFrame({"who": np.repeat(np.arange(len(lengths)), lengths), "x": 0.0})
    rows = ordered(frame, time=None)
    windows = windows_of(rows, 8, 1)
    held, left_out = held_back(rows, windows, 0.2, 1000, np.random.default_rng(1))
    assert 0 < len(held) <= 0.2 * len(windows) and not set(held) & set(left_out)
    covered = np.zeros((2, sum(lengths)), bool)
    for i, (start, length) in enumerate(zip(windows.start, windows.length, strict=True)):
        if i not in left_out:
            covered[int(i in held), start : start + length] = True
    assert not covered.all(0).any() and covered.any(0).sum() > 0.9 * sum(lengths)
    nothing = held_back(rows, windows, 0.0, 1000, np.random.default_rng(1))
    assert len(nothing[0]) == len(nothing[1]) == 0


def test_of_few_series_nothing_is_held_back() -> None:
    frame = pd.DataFrame({"who": np.repeat(np.arange(3), 20), "x": 0.0})
    rows = ordered(frame, time=None)
    held, left_out = held_back(rows, windows_of(rows, 8, 1), 0.3, 1000, np.random.default_rng(1))
    assert len(held) == len(left_out) == 0


def test_very_long_sequences_need_a_length() -> None:
    rows = OrderedRows(pa.table({"x": np.arange(4000)}), np.array([0, 2000, 4000]))
    with pytest.raises(ParameterError, match="2,000 rows; give sequence_length"):
        longest(rows, None)


@pytest.mark.parametrize("dtype", ["datetime64[us]", "date", "int", "float", "timedelta64[s]"])
def test_times_come_back_from_start_and_gaps(dtype: str) -> None:
    days = np.array([5, 3, 1, 1, 2, 33])
    column: Any = {
        "int": days,
        "float": days / 4,
        "date": pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(days, "D")).dt.date,
    }.get(dtype)
    if column is None:
        column = (
            days.astype("timedelta64[D]").astype(dtype)
            if "timedelta" in dtype
            else days.astype("datetime64[D]").astype(dtype)
        )
    found = ordered(FRAME.assign(day=column))
    gap = gaps(found)
    times = found.rows.column("day").combine_chunks()
    back = times_from(times.take(pa.array(found.starts[:-1])), gap.to_numpy(), found.lengths)
    assert back.equals(times)
    own = gap.to_numpy() / (gap.to_numpy()[0] or 1)
    assert own[0] == own[1]  # the first row of an entity has the gap of its second


ARRAY = np.zeros((3, 4, 2))


@pytest.mark.parametrize(
    ("array", "length", "features", "message"),
    [
        (ARRAY[0], None, None, r"shape \(sequences, steps, features\).*found \(4, 2\)"),
        (ARRAY[:0], None, None, r"none of them 0; found \(0, 4, 2\)"),
        (ARRAY.astype(str), None, None, "holds numbers; found type"),
        (np.where(np.arange(24).reshape(3, 4, 2) == 5, np.nan, 0), None, None, "1 of the array's numbers are missing"),
        (ARRAY, 24, None, "sequence_length is 24, but the array has 4 steps"),
        (ARRAY, 4, 5, "features is 5, but the array has 2"),
        (ARRAY[:1], None, None, "one sequence; at least 2"),
    ],
)
def test_an_array_that_is_none_of_sequences_is_refused(
    array: np.ndarray, length: int | None, features: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        array_of(array, length=length, features=features)
