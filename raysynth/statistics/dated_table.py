"""A table whose columns of dates written as text become datetimes, and a schema that says how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table, TextForm
from raysynth.errors import SchemaError
from raysynth.kinds.arrow_text import dtype_text, is_text
from raysynth.kinds.date_text import DateFormat
from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.table_statistics import ColumnStatistics, TableStatistics, collect
from raysynth.statistics.text import TextSummary
from raysynth.statistics.text_dates import MOST, DateReading, is_nothing, read_dates, settled

_DIGITS = (1_01_01, 2100_12_31_23_59_59)  # whole numbers that could be dates
_FEWEST_NUMBERS = 3  # distinct whole numbers that can be taken for dates


def dated(
    table: Table,
    statistics: TableStatistics,
    declared: TableSchema | None = None,
    kinds: Mapping[Kind, Iterable[str] | None] | None = None,
) -> tuple[Table, TableStatistics]:
    """The table with its dates read, and its statistics then; both as they were where there are none.

    Args:
        table: any.
        statistics: of the same table.
        declared: a `date_format` there is taken; another kind than datetime leaves the text alone.
        kinds: lists of column names by kind, as `infer_schema` takes them.

    Raises:
        SchemaError: a declared format does not fit the rows, or a declared datetime is in no known form.
    """
    forms = text_forms(table, statistics, declared, kinds or {})
    if not forms:
        return table, statistics
    result = with_forms(table, forms)
    again = collect(result.select(list(forms)), label="statistics of dates", check_values=False)
    return result, replace(statistics, columns={**statistics.columns, **again.columns})


def with_forms(table: Table, forms: Mapping[str, TextForm]) -> Table:
    """The table with these columns read as datetimes; text of another form is missing. No row is looked at now."""
    wanted = {n: f for n, f in forms.items() if n in table.names and not pt.is_temporal(table.schema.field(n).type)}
    if not wanted:
        return table
    read = partial(_read, {n: f.format for n, f in wanted.items()})
    if table.memory is not None and all(type(f).__name__ == "MemoryFragment" for f in table.fragments):
        from raysynth.data.sources.frame import table_from_arrow

        memory = table_from_arrow(read(table.memory), table.source)
        result = replace(table, schema=memory.schema, fragments=memory.fragments, memory=memory.memory)
    else:
        result = table.mapped(read)
    return replace(result, text_forms={**table.text_forms, **wanted})


def declared_types(schema: TableSchema | None) -> dict[str, pa.DataType] | None:
    """The types that a schema declares, for reading files that have none themselves."""
    return None if schema is None else {c.name: c.arrow_type for c in schema.columns}


def declared_forms(schema: TableSchema | None) -> dict[str, TextForm]:
    """The forms that a schema declares."""
    columns = () if schema is None else schema.columns
    return {c.name: TextForm(c.date_format, c.dtype, c.reason) for c in columns if c.date_format is not None}


def as_written(schema: TableSchema, table: Table) -> TableSchema:
    """The schema of a table of `dated` as the user knows the table: dates are text, with a `date_format`."""
    columns = []
    for column in schema.columns:
        form = table.text_forms.get(column.name)
        if form is not None and column.kind.is_dated:
            reason = form.reason or column.reason
            dtype = table.pandas_dtypes.get(column.name)
            column = replace(column, dtype=form.dtype, date_format=form.format, pandas_dtype=dtype, reason=reason)
        elif form is not None and column.kind.is_constant:  # all missing
            column = replace(column, dtype=form.dtype, pandas_dtype=table.pandas_dtypes.get(column.name))
        columns.append(column)
    return replace(schema, columns=tuple(columns))


def text_forms(
    table: Table,
    statistics: TableStatistics,
    declared: TableSchema | None,
    kinds: Mapping[Kind, Iterable[str] | None],
) -> dict[str, TextForm]:
    """How the columns of dates among texts and digits are written; raises as `dated`."""
    listed = {name: kind for kind, names in kinds.items() if not isinstance(names, str) for name in names or ()}
    readings: dict[str, DateReading] = {}
    forms: dict[str, TextForm] = {}
    for name in table.names:
        seen = statistics.columns[name]
        known = declared[name] if declared is not None and name in declared else None
        kind = listed.get(name, None if known is None else known.kind)
        is_dated = kind is not None and kind.is_dated
        if not _can_be_dates(seen) or table.pandas_dtypes.get(name) == "category":
            continue
        if known is not None and known.date_format is not None and is_dated:
            odd = _other_texts(seen, known.date_format)
            forms[name] = TextForm(known.date_format, dtype_text(seen.type), known.reason, odd)
        elif is_dated or (kind is None or kind.is_number and is_text(seen.type)):
            reading = _reading(seen, asked=is_dated)
            if reading is not None:
                readings[name] = reading
            elif is_dated and is_text(seen.type) and seen.n_distinct:
                raise SchemaError(
                    f"column '{name}' is declared datetime, but its text is in no known form of dates, for example "
                    f"{seen.examples(1)[0]!r}; say its `date_format` in the schema, for example '%d/%m/%Y'"
                )
    for name, reading in settled(readings).items():
        seen = statistics.columns[name]
        reason = reading.reason(seen.n_rows - seen.missing)
        odd = tuple(e for e in reading.examples if not is_nothing(e))
        forms[name] = TextForm(reading.format, dtype_text(seen.type), reason, odd)
    return {n: forms[n] for n in table.names if n in forms}


def _can_be_dates(seen: ColumnStatistics) -> bool:
    if isinstance(seen.summary, TextSummary):
        return seen.n_distinct > 1
    if not (isinstance(seen.summary, NumericSummary) and pt.is_integer(seen.type) and not pt.is_uint64(seen.type)):
        return False
    values = seen.summary.cells.low_values
    values = values[values != 0]  # a sign for missing
    low, high = (int(values[0]), int((seen.extremes or (0, 0))[1])) if len(values) else (0, 0)
    return seen.n_distinct >= _FEWEST_NUMBERS and low >= _DIGITS[0] and high <= _DIGITS[1]


def _reading(seen: ColumnStatistics, *, asked: bool) -> DateReading | None:
    values, counts = _distinct(seen)
    return read_dates(seen.name, values, counts, digits=not is_text(seen.type), asked=asked)


def _distinct(seen: ColumnStatistics) -> tuple[list[str], np.ndarray]:
    """Distinct values as text and their rows: all, or a sample where there are very many."""
    if isinstance(seen.summary, TextSummary):
        known = seen.summary.sampled if seen.summary.overflowed else seen.summary.counted
        return known.values.to_pylist(), known.counts
    assert isinstance(seen.summary, NumericSummary)
    cells = seen.summary.cells
    return [str(v) for v in cells.low_values.tolist()], cells.n_low


def _other_texts(seen: ColumnStatistics, text: str) -> tuple[str, ...]:
    """Some texts of another form than the declared one, which count as missing.

    Raises:
        SchemaError: there are more of them than would be if the form had been found.
    """
    values, counts = _distinct(seen)
    read = DateFormat(text).parse(pa.array(values, pa.string()))
    wrong = read.is_null().to_numpy(zero_copy_only=False)
    wrong &= ~np.array([is_nothing(v.strip()) for v in values], bool)
    examples = [values[i] for i in np.flatnonzero(wrong)[:3]]
    if counts[wrong].sum() > (1 - MOST) * counts.sum():
        raise SchemaError(
            f"column '{seen.name}' has date_format '{text}', but {int(counts[wrong].sum()):,} rows have another form, "
            f"for example {examples[0]!r}; correct the format or the rows"
        )
    return tuple(examples)


def _read(formats: Mapping[str, str], rows: pa.Table) -> pa.Table:
    """Rows with these columns as datetimes."""
    for name, text in formats.items():
        at, date = rows.column_names.index(name), DateFormat(text)
        column = rows.column(at)
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        rows = rows.set_column(at, name, pa.chunked_array([_parsed(c, date) for c in chunks], date.type))
    return rows


def _parsed(array: pa.Array, date: DateFormat) -> pa.Array:
    if pt.is_dictionary(array.type):
        return date.parse(array.dictionary).take(array.indices)
    return date.parse(array.cast(pa.string()))
