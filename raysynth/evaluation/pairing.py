"""The tables of one evaluation, checked against each other, and the kind of each column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysynth.errors import DataError, ParameterError
from raysynth.schema import Kind, TableSchema
from raysynth.table import Table, as_table


LABELS = ("real", "synthetic", "holdout")


@dataclass(frozen=True)
class Tables:
    """The real, the synthetic and (optionally) the holdout table with the same columns, and each column's kind."""

    real: Table
    synthetic: Table
    holdout: Table | None
    kinds: dict[str, Kind]

    @property
    def compared(self) -> list[str]:
        """Columns that are compared: all but identifiers and personal data."""
        return [n for n, k in self.kinds.items() if k not in (Kind.IDENTIFIER, Kind.PERSONAL)]


def pair_tables(
    real: Any,
    synthetic: Any,
    holdout: Any = None,
    *,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    schema: TableSchema | None = None,
) -> Tables:
    """Read and check the tables; raises `DataError` that names the column and the cure."""
    tables = [as_table(d, min_rows=0) for d in (real, synthetic, holdout) if d is not None]
    for label, table in zip(LABELS, tables, strict=False):
        if table.n_rows == 0:
            raise DataError(f"the {label} table has no rows; nothing can be compared")
        if table is not tables[0]:
            _check_same_columns(tables[0], table, label)
    kinds = _kinds(tables[0], categorical_columns, continuous_columns, schema)
    for label, table in zip(LABELS, tables, strict=False):
        for name, kind in kinds.items():
            if kind.is_numeric and not _holds_numbers(table.schema.field(name).type):
                raise DataError(
                    f"column '{name}' is {kind} but holds {table.schema.field(name).type} in the {label} table; "
                    "convert it, or list it in categorical_columns"
                )
    return Tables(tables[0], tables[1], tables[2] if len(tables) > 2 else None, kinds)


def _check_same_columns(real: Table, other: Table, label: str) -> None:
    missing = [n for n in real.names if n not in other.names]
    extra = [n for n in other.names if n not in real.names]
    if missing or extra:
        found = [f"lacks {_quoted(missing)}"] if missing else []
        found += [f"has {_quoted(extra)}, which the real table lacks"] if extra else []
        raise DataError(f"the {label} table {' and '.join(found)}; give both tables the same columns")


def _kinds(
    real: Table, categorical: Iterable[str] | None, continuous: Iterable[str] | None, schema: TableSchema | None
) -> dict[str, Kind]:
    kinds = {f.name: _kind_of(f.type) for f in real.schema}
    if schema is not None:
        kinds.update({c.name: c.kind for c in schema.columns if c.name in kinds and c.kind is not Kind.CONSTANT})
    for names, kind in ((categorical, Kind.CATEGORICAL), (continuous, Kind.CONTINUOUS)):
        for name in names or ():
            if name not in kinds:
                raise ParameterError(
                    f"column '{name}' is listed as {kind}, but the tables have: {_quoted(list(kinds))}"
                )
            if not (kind is Kind.CONTINUOUS and kinds[name].is_numeric):
                kinds[name] = kind
    return kinds


def _kind_of(dtype: pa.DataType) -> Kind:
    if pa.types.is_dictionary(dtype):
        return _kind_of(dtype.value_type) if not pa.types.is_string(dtype.value_type) else Kind.CATEGORICAL
    if pa.types.is_boolean(dtype):
        return Kind.BOOLEAN
    if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
        return Kind.DATETIME
    if pa.types.is_duration(dtype):
        return Kind.TIMEDELTA
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
        return Kind.CONTINUOUS
    return Kind.CATEGORICAL


def _holds_numbers(dtype: pa.DataType) -> bool:
    return _kind_of(dtype).is_numeric or pa.types.is_boolean(dtype) or pa.types.is_null(dtype)


def _quoted(names: list[str]) -> str:
    shown = ", ".join(f"'{n}'" for n in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
