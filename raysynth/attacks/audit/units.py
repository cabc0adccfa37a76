"""The tables that an audit fits: without the canary, with it, and with many; a canary is one unit of the guarantee.

A unit is a row, all rows of one person (`privacy_unit`), or a whole sequence: all rows of one entity of a long table,
or one sequence of an array. Canaries come after all others, because a fit counts units in the order in which they come
(`training/canaries.py`).

The canary is a row, or a sequence of rows, that shows up wherever a release depends on single ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.sequences import from_numbers, numbers_of, rows_of_array
from raysynth.errors import DataError, ParameterError
from raysynth.kinds.arrow_text import plain, plain_type
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema
from raysynth.statistics.cell_counts import as_doubles
from raysynth.statistics.units import CHOICES

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer
    from raysynth.methods.sequences.synthesizer import SequenceSynthesizer


BEYOND_CAP = 1000  # rows of a canary over those that count of an entity: without the cap nobody could miss it


class Units(Protocol):
    """What is fitted, by units."""

    @property
    def n_units(self) -> int:
        """Units without a canary."""

    def with_canaries(self, n: int) -> Any:
        """The data with so many canaries, all alike, after the others."""


@dataclass(frozen=True)
class RowUnits:
    """Rows, and one that is a canary."""

    rows: pa.Table
    canary: pa.Table

    @property
    def n_units(self) -> int:
        """Number of rows: each is one unit of the guarantee."""
        return int(self.rows.num_rows)

    def with_canaries(self, n: int) -> pa.Table:
        """The rows, and the canary so many times."""
        return pa.concat_tables([self.rows, *[self.canary] * n])


@dataclass(frozen=True)
class EntityUnits:
    """A long table, and the rows of an entity (or of a person) that is a canary.

    Args:
        rows: the table.
        canary: rows of one entity; what they have for a key does not count.
        key: name of the key's column.
        cap: most rows of each of many canaries: as many as count, or one, where a fit numbers rows and not entities.
        n_units: sequences that a fit makes of the table, or rows that it takes of all persons; 0 where noise decides
            how many.
    """

    rows: pa.Table
    canary: pa.Table
    key: str
    cap: int
    n_units: int

    def with_canaries(self, n: int) -> pa.Table:
        """The table, and so many entities with keys of their own; of many each has no more rows than count."""
        if not n:
            return self.rows
        each = self.canary.num_rows if n == 1 else min(self.canary.num_rows, self.cap)
        repeated = self.canary.take(pa.array(np.tile(np.arange(each), n)))
        keys = self._new_keys(n).take(pa.array(np.repeat(np.arange(n), each)))
        at = repeated.column_names.index(self.key)
        return pa.concat_tables([self.rows, repeated.set_column(at, self.rows.schema.field(self.key), keys)])

    def _new_keys(self, n: int) -> pa.Array:
        """So many keys that no entity has."""
        type_ = self.rows.schema.field(self.key).type
        taken = set(self.rows.column(self.key).to_pylist())
        candidates = range(len(taken) + n)
        text = pt.is_string(type_) or pt.is_large_string(type_)
        named = (f"canary {i}" if text else i for i in candidates)
        try:
            return pa.array([k for k in named if k not in taken][:n], type_)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ParameterError(
                f"the key '{self.key}' holds {type_}, which has no further values for {n} canaries: turn it into "
                "text or int64"
            ) from error


@dataclass(frozen=True)
class ArrayUnits:
    """Sequences of an array (N, T, F), and one that is a canary (1, T, F)."""

    sequences: np.ndarray
    canary: np.ndarray

    @property
    def n_units(self) -> int:
        """Number of sequences: each is one unit of the guarantee."""
        return len(self.sequences)

    def with_canaries(self, n: int) -> np.ndarray:
        """The array, and the canary so many times."""
        return np.concatenate([self.sequences, np.repeat(self.canary, n, axis=0)])


def units_of(synthesizer: Synthesizer, data: Any, given: Mapping[str, Any] | None) -> Units:
    """The units of what a synthesizer is to be audited with.

    Args:
        synthesizer: its claim is by row, by person or by sequence.
        data: as `fit` takes it.
        given: values of the canary.

    Raises:
        ParameterError, DataError, SchemaError: about the canary, or what `fit` would raise about names and types.
    """
    from raysynth.methods.sequences.synthesizer import SequenceSynthesizer

    if isinstance(synthesizer, SequenceSynthesizer):
        return _sequence_units(synthesizer, data, given)
    rows = _plain_rows(data)
    canary = canary_row(rows, synthesizer._declared_schema(), given)
    if synthesizer.privacy_unit is None:
        return RowUnits(rows, canary)
    unit, most = synthesizer.privacy_unit, synthesizer.max_rows_per_unit
    if most is None:  # chosen with noise: the canary has more rows than any choice, and rows have no fixed numbers
        return EntityUnits(rows, canary.take(pa.array([0] * 2 * int(CHOICES[-1]))), unit, 1, 0)
    return EntityUnits(
        rows, canary.take(pa.array([0] * BEYOND_CAP * most)), unit, 1, _rows_of_persons(rows, unit, most)
    )


def _rows_of_persons(rows: pa.Table, unit: str, most: int) -> int:
    """That a fit takes of a table: which of a person is drawn, how many is not."""
    from raysynth.data.table import as_table
    from raysynth.dp.mechanisms.noise import OsNoise
    from raysynth.statistics.units import bounded

    n = bounded(as_table(rows, min_rows=1), unit, most, OsNoise()).n_rows
    assert n is not None
    return n


def _sequence_units(model: SequenceSynthesizer, data: Any, given: Mapping[str, Any] | None) -> Units:
    from raysynth.methods.sequences.synthesizer import is_array

    model.check_private()
    if is_array(data):
        return _array_units(model, np.asarray(data), given)
    rows = _plain_rows(data)
    n = _n_sequences(model, rows)
    assert model.sequence_key is not None and model.sequence_length is not None
    canary = canary_sequence(
        rows,
        model._declared_schema(),
        given,
        steps=BEYOND_CAP * model.sequence_length,
        key=model.sequence_key,
        time=model.time_column,
    )
    units = EntityUnits(rows, canary, model.sequence_key, model.sequence_length, n)
    if _n_sequences(model, units.with_canaries(1)) != n + 1:
        raise ParameterError(f"canary: rows without '{model.time_column}' are left out of a fit; give it a time")
    return units


def _array_units(model: SequenceSynthesizer, values: np.ndarray, given: Mapping[str, Any] | None) -> ArrayUnits:
    if not _n_sequences(model, values):
        raise DataError("the array holds no sequence; an audit needs some that are not the canary")
    values = values.astype(np.float64)
    n_steps = values.shape[1]
    rows = rows_of_array(values).rows
    canary = canary_sequence(rows, model._declared_schema(), given, steps=n_steps)
    if canary.num_rows != n_steps:
        raise ParameterError(
            f"canary has {canary.num_rows} steps, and the array {n_steps}: give a list of {n_steps} values for each "
            "feature, or one value for all steps"
        )
    return ArrayUnits(values, np.stack([canary.column(n).to_numpy() for n in rows.column_names], axis=1)[None])


def _n_sequences(model: SequenceSynthesizer, data: Any) -> int:
    """That a fit makes of the data: rows without a key or a time are left out."""
    from raysynth.dp.mechanisms.noise import OsNoise
    from raysynth.methods.sequences.private import bounded_sequences

    return len(bounded_sequences(model, data, OsNoise()).windows)


def _plain_rows(data: Any) -> pa.Table:
    """All rows in memory, text as text (a dictionary would list its values beside them)."""
    from raysynth.data.table import as_table

    rows = as_table(data, min_rows=1).to_arrow()
    return pa.table({n: plain(rows.column(n)) for n in rows.column_names}).combine_chunks()


UNSEEN = "a value of the canary alone"
FARTHER = 1000.0  # times the largest number of a column, where no bounds are declared
LATER = 4.0  # the same for times, whose years have four digits
LARGEST = 2.0**100  # of a number; an infinite one would count as missing


def canary_row(rows: pa.Table, schema: TableSchema | None, given: Mapping[str, Any] | None = None) -> pa.Table:
    """One row of the table's types: numbers far outside, categories of nobody else's, as far as the schema allows.

    Declared bounds and categories are kept: the canary then has the bound that is farther from the median, and the
    rarest of the declared values.

    Args:
        rows: the table without the canary.
        schema: what is declared; None: nothing.
        given: values of the user's own.

    Raises:
        ParameterError: `given` names a column that is not there, or has a value of another type.
    """
    given = dict(given or {})
    if unknown := [n for n in given if n not in rows.column_names]:
        raise ParameterError(f"canary names column '{unknown[0]}'; the table has: {', '.join(rows.column_names)}")
    columns = {}
    for name in rows.column_names:
        declared = schema[name] if schema is not None and name in schema else None
        type_ = rows.schema.field(name).type
        value = given[name] if name in given else _extreme(rows.column(name).combine_chunks(), declared)
        try:
            columns[name] = _as_type(value, type_)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ParameterError(f"canary: {value!r} is no {type_}, as column '{name}' has it ({error})") from error
    return pa.table(columns)


def canary_sequence(
    rows: pa.Table,
    schema: TableSchema | None,
    given: Mapping[str, Any] | None = None,
    *,
    steps: int,
    key: str | None = None,
    time: str | None = None,
) -> pa.Table:
    """Rows of one sequence, all of them as `canary_row`, so that whichever of them count, they are the worst.

    Where nothing is said of the time, the rows follow each other at equal and long intervals.

    Args:
        rows, schema: as in `canary_row`.
        given: for a column one value for all steps, or a list with one for each step.
        steps: rows, where no list says how many.
        key, time: names of the columns; None where there is none.

    Raises:
        ParameterError: as `canary_row`, or lists of different lengths, or the key is given.
    """
    given = dict(given or {})
    if key in given:
        raise ParameterError(f"canary names '{key}', the key of the sequences: leave it out, a canary has its own")
    lists = {n: list(v) for n, v in given.items() if isinstance(v, (list, tuple, np.ndarray))}
    lengths = {len(v) for v in lists.values()}
    if len(lengths) > 1 or 0 in lengths:
        found = ", ".join(f"{len(v)} of '{n}'" for n, v in lists.items())
        raise ParameterError(f"canary: lists must have one value for each step, all of them as many; found {found}")
    n_rows, n_different = max(lengths, default=steps), max(lengths, default=1)
    step_values = [{n: v[i] for n, v in lists.items()} for i in range(n_different)]
    different = pa.concat_tables([canary_row(rows, schema, {**given, **own}) for own in step_values])
    canary = different.take(pa.array(np.arange(n_rows) % n_different))
    if time is None or time in given:
        return canary
    at, field = canary.column_names.index(time), canary.schema.field(time)
    return canary.set_column(at, field, _far_apart(canary.column(time), field.type))


def _far_apart(times: pa.ChunkedArray, type_: pa.DataType) -> pa.Array:
    """Equal times, each further one later by as much as the first is from zero, or by what the type has room for."""
    first = numbers_of(times)
    gap = np.abs(first[0])
    if not pt.is_floating(type_):
        room = 2 ** (type_.bit_width - 1) - 1 - int(gap)
        gap = max(0, min(int(gap), room // len(first)))
    return from_numbers(first + np.arange(len(first)) * gap, type_)


def _extreme(array: pa.Array, declared: ColumnSchema | None) -> Any:
    type_ = plain_type(array.type)
    if declared is not None and declared.categories is not None:
        counts = {v["values"]: v["counts"] for v in array.value_counts().to_pylist()}
        return min(declared.categories, key=lambda v: counts.get(v, 0))
    if pt.is_boolean(type_):
        return bool((pc.mean(array.cast(pa.float64())).as_py() or 0.0) < 0.5)
    if not (pt.is_floating(type_) or pt.is_integer(type_) or pt.is_decimal(type_) or pt.is_temporal(type_)):
        return UNSEEN
    x = as_doubles(array)
    x = x[np.isfinite(x)] if np.isfinite(x).any() else np.zeros(1)
    if declared is not None and declared.bounds is not None:
        low, high = (float(b) for b in declared.bounds)
        farther = high if high - np.median(x) >= np.median(x) - low else low
        return int(farther) if not pt.is_floating(type_) else farther
    most = (LATER if pt.is_temporal(type_) else FARTHER) * float(np.abs(x).max(initial=1.0))
    if pt.is_floating(type_):
        return min(most, LARGEST)
    return int(min(most, 2.0 ** (type_.bit_width - 2))) if not pt.is_decimal(type_) else int(np.abs(x).max())


def _as_type(value: Any, type_: pa.DataType) -> pa.Array:
    if pt.is_dictionary(type_):
        return pa.array([value], type_.value_type).dictionary_encode().cast(type_)
    if pt.is_temporal(type_) and isinstance(value, int):
        return pa.array([value], pa.int64()).cast(type_)
    return pa.array([value], type_)
