"""Sequences: the rows of each entity in the order of time, from a long table or from an array; windows, gaps, context.

A long table has one row for each moment of each entity: a key column says whose row it is, a time column when. Columns
that are the same in all rows of each entity belong to the entity (static); the others vary along the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.data.arrow_types import is_text
from raysynth.data.fragments import Table
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.schema.constraints.base import one_array

LENGTH = "sequence length"  # names of what is modelled beside the user's columns
SEGMENT, MIN_SEGMENTS = 3, 10  # of `held_back`
SERIES_STEPS, SERIES_SHARE = 24, 8  # rows of a window of a single series: so many, or its eighth where that is less
MOST_STEPS = 1000  # longest sequence that is modelled without being asked to


@dataclass(frozen=True)
class OrderedRows:
    """All rows, entity after entity, each in the order of time.

    Args:
        rows: the columns, in the user's order.
        starts: first row of each entity, and the number of rows at the end (entities + 1).
        key, time: names of the key and of the time column; None where there is none.
    """

    rows: pa.Table
    starts: np.ndarray
    key: str | None = None
    time: str | None = None

    @property
    def n_entities(self) -> int:
        """Number of entities."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each entity."""
        return np.diff(self.starts)

    @property
    def first_in_entity(self) -> np.ndarray:
        """For each row whether it is its entity's first."""
        first = np.zeros(self.rows.num_rows, bool)
        first[self.starts[:-1]] = True
        return first


@dataclass(frozen=True)
class Windows:
    """Runs of consecutive rows of one entity each.

    Args:
        start: first row of each window.
        length: rows of each window, at least 1.
    """

    start: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def order_rows(table: Table, key: str | None, time: str | None) -> OrderedRows:
    """A long table ordered by entity and time; rows of the same time stay as they came.

    Args:
        table: in memory, or small enough for it.
        key: column that names the entity; required.
        time: column to order by: dates, times or numbers; None: rows of an entity are in order already.

    Raises:
        ParameterError: no key is named. SchemaError: a column is not in the table.
        DataError: a key or time is missing, or the time column holds no times and no numbers.
    """
    key = check_order(table, key, time)
    rows = table.to_arrow()
    for role, name in (("sequence_key", key), ("time_column", time)):
        if name is not None and (missing := _n_missing(rows.column(name))):
            raise DataError(f"{role} '{name}' is missing in {missing:,} rows; drop these rows or fill them in")
    entity = codes_of(rows.column(key))
    moment = [] if time is None else [numbers_of(rows.column(time))]
    order = np.lexsort([*moment, entity])
    entity = entity[order]
    changes = np.flatnonzero(np.diff(entity)) + 1
    starts = np.concatenate([[0], changes, [len(entity)]]) if len(entity) else np.zeros(1, np.int64)
    return OrderedRows(rows.take(pa.array(order)), starts, key, time)


def check_order(table: Table, key: str | None, time: str | None) -> str:
    """The key of a long table; raises as `order_rows` does about names and types, and reads no row."""
    if key is None:
        raise ParameterError(
            "sequence_key is missing: name the column that says which rows belong to one sequence (for one long "
            f"series add a column with one value; the table has: {', '.join(table.names)})"
        )
    if key == time:
        raise ParameterError(f"sequence_key and time_column are both '{key}'; they must be two columns")
    for role, name in (("sequence_key", key), ("time_column", time)):
        if name is not None and name not in table.names:
            raise SchemaError(f"{role} '{name}' is no column of the table; it has: {', '.join(table.names)}")
    if time is not None and not _is_time(table.schema.field(time).type):
        raise DataError(
            f"time_column '{time}' holds {table.schema.field(time).type}; turn it into dates, times or numbers, "
            f"for example with `pd.to_datetime(df['{time}'])`"
        )
    return key


def rows_of_array(values: np.ndarray) -> OrderedRows:
    """An array (sequences, steps, features) as rows with columns 'feature 1', 'feature 2' and so on."""
    n, steps, features = values.shape
    flat = values.reshape(n * steps, features).astype(np.float64)
    rows = pa.table({f"feature {i + 1}": flat[:, i] for i in range(features)})
    return OrderedRows(rows, np.arange(n + 1) * steps)


def rows_of_sliding_windows(values: np.ndarray) -> OrderedRows:
    """As `rows_of_array`; sequences that are one another moved on by a step are windows of one series, and become one.

    `windows_of` with step 1 gives the sequences back in their order.
    """
    n, steps, features = values.shape
    moved = (values[1:, :-1] == values[:-1, 1:]).all((1, 2)) if steps > 2 else np.zeros(n - 1, bool)
    is_start = np.concatenate([[True], ~moved])
    takes = np.where(is_start, steps, 1)  # rows that each sequence adds
    sequence = np.repeat(np.arange(n), takes)
    step = np.where(np.repeat(is_start, takes), np.arange(takes.sum()) - np.repeat(np.cumsum(takes) - takes, takes), -1)
    flat = values[sequence, step].astype(np.float64)
    rows = pa.table({f"feature {i + 1}": flat[:, i] for i in range(features)})
    return OrderedRows(rows, np.append((np.cumsum(takes) - takes)[is_start], takes.sum()))


def array_of(data: Any, *, length: int | None, features: int | None) -> np.ndarray:
    """A checked array (sequences, steps, features) of finite numbers.

    Raises:
        DataError: another shape or type, missing or infinite numbers.
    """
    values = np.asarray(data)
    if values.ndim != 3 or 0 in values.shape:
        raise DataError(
            f"an array of sequences has the shape (sequences, steps, features), none of them 0; found {values.shape}"
        )
    if values.dtype.kind not in "fiub":
        raise DataError(f"an array of sequences holds numbers; found type {values.dtype}; give categories as a table")
    values = values.astype(np.float64)
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(
            f"{bad:,} of the array's numbers are missing or infinite; fill them in, or give a long table, where "
            "missing values are modelled"
        )
    if length is not None and values.shape[1] != length:
        raise DataError(
            f"sequence_length is {length}, but the array has {values.shape[1]} steps in each sequence; "
            f"set sequence_length={values.shape[1]}, or cut windows of {length} steps"
        )
    if features is not None and values.shape[2] != features:
        raise DataError(f"features is {features}, but the array has {values.shape[2]}; set features={values.shape[2]}")
    if len(values) < 2:
        raise DataError("the array holds one sequence; at least 2 are needed to learn from")
    return values


def static_columns(ordered: OrderedRows, declared: Sequence[str] | None) -> tuple[str, ...]:
    """The columns of the entity: those declared, else all that never change within an entity.

    Raises:
        SchemaError: a declared column is not in the table.
        DataError: a declared column changes within an entity.
    """
    candidates = [n for n in ordered.rows.column_names if n not in (ordered.key, ordered.time)]
    if declared is not None:
        if unknown := [n for n in declared if n not in candidates]:
            raise SchemaError(
                f"static_columns: '{unknown[0]}' is no column of the table beside key and time; "
                f"it has: {', '.join(candidates)}"
            )
        changing = [n for n in declared if (found := _n_changes(ordered, n)) and found]
        if changing:
            raise DataError(
                f"static column '{changing[0]}' changes within {_n_changes(ordered, changing[0]):,} of "
                f"{ordered.n_entities:,} entities; leave it out of static_columns, or correct these rows"
            )
        return tuple(declared)
    if (ordered.lengths == 1).all():
        return ()
    return tuple(n for n in candidates if _n_changes(ordered, n) == 0)


def windows_of(ordered: OrderedRows, length: int, step: int) -> Windows:
    """Whole entities of at most `length` rows; of longer ones the windows of `length` rows that begin every `step` rows
    (and the one at the end)."""
    starts, lengths = [], []
    for first, n in zip(ordered.starts[:-1], ordered.lengths, strict=True):
        offsets = np.arange(0, max(n - length, 0) + 1, step)
        if n > length and offsets[-1] != n - length:
            offsets = np.append(offsets, n - length)
        starts.append(first + offsets)
        lengths.append(np.full(len(offsets), min(n, length)))
    return Windows(np.concatenate(starts), np.concatenate(lengths))


def held_back(
    ordered: OrderedRows, windows: Windows, share: float, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Windows that tell when to stop learning, and those that share rows with them, from which nothing is learned.

    Entities are cut into segments of `SEGMENT` windows' rows, and whole segments are held back: single windows would
    share most of their rows with others. Nothing is held back of fewer than ten segments.

    Args:
        ordered, windows: the rows, and the windows of them.
        share: of the windows.
        most: windows at most.
        rng: of the draw.

    Returns:
        Ascending indices of the windows held back, and of those left out.
    """
    rows = SEGMENT * int(windows.length.max())
    in_entity = np.maximum(ordered.lengths // rows, 1)
    offset, first = np.cumsum(in_entity) - in_entity, ordered.starts[:-1]
    place = np.arange(ordered.rows.num_rows) - np.repeat(first, ordered.lengths)
    last = np.repeat(in_entity - 1, ordered.lengths)
    segment = np.repeat(offset, ordered.lengths) + np.minimum(place // rows, last)
    begins, ends = segment[windows.start], segment[windows.start + windows.length - 1]
    inside = np.bincount(begins[begins == ends], minlength=in_entity.sum())
    order = rng.permutation(len(inside))
    drawn = order[np.cumsum(inside[order]) <= min(share * len(windows), most)]
    if share > 0 and len(inside) >= MIN_SEGMENTS and not len(drawn):
        drawn = order[:1]
    is_drawn = np.zeros(len(inside), bool)
    is_drawn[drawn] = len(inside) >= MIN_SEGMENTS
    held = is_drawn[begins] & (begins == ends)
    return np.flatnonzero(held), np.flatnonzero((is_drawn[begins] | is_drawn[ends]) & ~held)


def longest(ordered: OrderedRows, wanted: int | None) -> int:
    """Steps of the longest sequence to model; one long series is learned in windows where nothing is said.

    Raises:
        ParameterError: none is given, and an entity has more rows than can be modelled at once.
    """
    found = int(ordered.lengths.max())
    if wanted is None and ordered.n_entities == 1:
        return max(2, min(SERIES_STEPS, found // SERIES_SHARE))
    if wanted is None and found > MOST_STEPS:
        raise ParameterError(
            f"the longest sequence has {found:,} rows; give sequence_length (for example 24): longer sequences are "
            "then learned in windows of that many rows"
        )
    return found if wanted is None else wanted


def gaps(ordered: OrderedRows) -> pa.Array:
    """For each row the time since the row before, in the unit of the time column; the first row of an entity has that
    of its second (the median where there is none)."""
    times = numbers_of(ordered.rows.column(ordered.time))
    first = ordered.first_in_entity
    gap = np.zeros_like(times)
    gap[1:] = times[1:] - times[:-1]
    follows = np.flatnonzero(first)
    has_second = ordered.lengths > 1
    usual = np.median(gap[~first]) if (~first).any() else 0
    gap[follows] = usual
    gap[follows[has_second]] = gap[follows[has_second] + 1]
    return pa.array(gap)


def times_from(start: pa.Array, gap: np.ndarray, lengths: np.ndarray) -> pa.Array:
    """Times of all rows of sequences: the start of each, and the gaps of its further rows added up.

    Args:
        start: time of the first row of each sequence.
        gap: for each row the time since the one before, in the unit of the time's type (rows of all sequences).
        lengths: rows of each sequence.
    """
    numbers = numbers_of(start)
    first_rows = np.cumsum(lengths) - lengths
    own = gap.astype(numbers.dtype, copy=True)
    own[first_rows] = 0
    total = np.cumsum(own)
    since = total - np.repeat(total[first_rows], lengths)
    return from_numbers(np.repeat(numbers, lengths) + since, start.type)


def numbers_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Times and whole numbers as int64, other numbers as float64; without missing values."""
    array = one_array(column)
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    whole = pa.types.is_temporal(array.type) or pa.types.is_integer(array.type)
    return np.asarray(array.cast(pa.int64() if whole else pa.float64(), safe=False))


def from_numbers(numbers: np.ndarray, dtype: pa.DataType) -> pa.Array:
    """The inverse of `numbers_of`."""
    if pa.types.is_date32(dtype):
        return pa.array(numbers.astype(np.int32)).cast(dtype)
    return pa.array(numbers).cast(dtype, safe=False)


def codes_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A whole number for each row, the same for equal values (missing ones too), in the order of first appearance."""
    array = one_array(column)
    if pa.types.is_dictionary(array.type):
        codes = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False)
        values = codes_of(array.dictionary)  # a dictionary may name a value twice
        return np.where(codes < 0, -1, values[np.maximum(codes, 0)]) if len(values) else codes
    encoded = pc.dictionary_encode(array, null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False)


def _n_changes(ordered: OrderedRows, name: str) -> int:
    """Entities within which a column changes."""
    codes = codes_of(ordered.rows.column(name))
    changed = np.concatenate([[False], codes[1:] != codes[:-1]]) & ~ordered.first_in_entity
    return int(np.count_nonzero(np.add.reduceat(changed, ordered.starts[:-1])))


def _n_missing(column: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0)


def _is_time(type_: pa.DataType) -> bool:
    times = pa.types.is_timestamp(type_) or pa.types.is_date32(type_) or pa.types.is_duration(type_)
    return not is_text(type_) and (times or pa.types.is_integer(type_) or pa.types.is_floating(type_))
