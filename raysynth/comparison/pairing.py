"""The tables of one evaluation, checked against each other, with their statistics and the kind of each column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.comparison.coding import Marginal, microseconds
from raysynth.data.arrow_types import is_text
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, listed
from raysynth.fitting.persons import divided_by
from raysynth.kinds.arrow_text import held
from raysynth.kinds.registry import kind_held
from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import dated, declared_types, with_forms
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.key_order import with_keys_in_order
from raysynth.statistics.numeric import is_numeric
from raysynth.statistics.released import NumericDistribution
from raysynth.statistics.table_statistics import TableStatistics, collect, require_finite

LABELS = ("real", "synthetic", "holdout")
_FEWEST_PERSONS = 2


@dataclass(frozen=True)
class Tables:
    """The tables of one evaluation, all with the real table's columns.

    Args:
        real, synthetic, holdout: the tables; no holdout: None.
        real_statistics, synthetic_statistics: of all rows, from one pass over each.
        schema: of the real table, declared or inferred.
        entity: the column of persons, where they have several rows: rows are then divided by it. None: by rows.
        undivided: a column of persons or series of whom there are too few to divide rows by.
        synthetic_alone: the synthetic table as both, its kinds by the given schema or by itself: what may be shared.
    """

    real: Table
    synthetic: Table
    holdout: Table | None
    real_statistics: TableStatistics
    synthetic_statistics: TableStatistics
    schema: TableSchema
    entity: str | None = None
    synthetic_alone: Tables | None = None
    undivided: str | None = None

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kind of each column; a constant column is of the kind of its type."""
        return {
            c.name: _kind_of_constant(self.real, c.name) if c.kind.is_constant else c.kind for c in self.schema.columns
        }

    @property
    def compared(self) -> list[str]:
        """Columns that are compared: all but identifiers and personal data, which are made anew."""
        return [n for n, k in self.kinds.items() if k.is_modelled]

    @cached_property
    def keys_in_order(self) -> list[str]:
        """Keys, numbers in all tables, whose order tells of other columns of the real one: attackers know them."""
        tables = [t.schema for t in (self.real, self.synthetic, self.holdout) if t is not None]
        known = with_keys_in_order(self.real, replace(self.schema, entity=self.entity), self.real_statistics)
        names = [c.name for c in known.columns if c.in_order and c.name not in self.compared]
        return [n for n in names if all(is_numeric(t.field(n).type) for t in tables)]

    def marginals(self) -> dict[str, tuple[Marginal, Marginal]]:
        """Released statistics of each compared column, real and synthetic; times in microseconds."""
        kinds = self.kinds
        return {
            n: (_marginal(self.real_statistics, n, kinds[n]), _marginal(self.synthetic_statistics, n, kinds[n]))
            for n in self.compared
        }


WHOLE = (
    "compare whole databases by evaluate_synthetic_database (raysynth evaluate REAL SYNTHETIC on folders), or leave "
    "the model out"
)


def check_of_one_table(model: Any, cure: str = WHOLE) -> None:
    """Raise `ParameterError`, with its `cure`, for a model of several tables, of which one tells next to nothing."""
    from raysynth.related.synthesizer import RelationalSynthesizer

    if isinstance(model, RelationalSynthesizer):
        raise ParameterError(f"this model makes several tables, and here one is compared: {cure}")


def pair_tables(
    real: Any,
    synthetic: Any,
    holdout: Any = None,
    *,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    schema: TableSchema | None = None,
    entity: str | None = None,
) -> Tables:
    """Read and check the tables; raises `DataError` or `SchemaError` that names the column and the cure.

    Column names of frames that are not text (numbers, say) are compared as text. `entity`: see `Tables`; None: that of
    the schema, or one that looks like it.
    """
    types, given = declared_types(schema), [d for d in (real, synthetic, holdout) if d is not None]
    tables = [as_table(_with_text_names(d), min_rows=0, declared=types) for d in given]
    categorical_columns, continuous_columns = (
        None if names is None else [str(n) for n in names] for names in (categorical_columns, continuous_columns)
    )
    for label, table in zip(LABELS, tables, strict=False):
        if table.n_rows == 0:
            raise DataError(f"the {label} table has no rows; nothing can be compared")
        if table is not tables[0]:
            _check_same_columns(tables[0], table, label)
    tables = [t.select(tables[0].names) if t.names != tables[0].names else t for t in tables]
    statistics = [
        collect(t, label=f"Reading the {label} table", check_values=False)
        for label, t in zip(LABELS[:2], tables[:2], strict=True)
    ]
    for label, found in zip(LABELS, statistics, strict=False):
        if found.n_rows == 0:
            raise DataError(f"the {label} table has no rows; nothing can be compared")
        require_finite(found, f" of the {label} table")
    alone = _alone(tables[1], statistics[1], categorical_columns, continuous_columns, schema)
    tables, statistics = _dated(tables, statistics, schema, categorical_columns)
    kinds = _listed(tables[0], statistics[0], categorical_columns, continuous_columns, schema)
    seen = infer_schema(tables[0], statistics[0], schema, kinds, check_rows=False)
    seen, persons = divided_by(seen, statistics[0], entity)
    few = persons if persons and statistics[0].columns[persons].n_distinct < _FEWEST_PERSONS else None
    others, persons = tables[2] if len(tables) > 2 else None, None if few else persons
    result = Tables(tables[0], tables[1], others, statistics[0], statistics[1], seen, persons, alone, few)
    _check_kinds(result, tables)
    return result


def person_notes(tables: Tables, rows: Mapping[str, pa.Table]) -> Iterator[str]:
    """What a reader must know of persons: that rows were divided by them, and holdout rows of persons in the fit.

    Args:
        tables: of the evaluation. rows: of each table in memory, by label, with the column of persons.
    """
    if tables.undivided is not None:
        n = tables.real_statistics.columns[tables.undivided].n_distinct
        yield f"'{tables.undivided}' has {n} value{'s' * (n > 1)} only: privacy is judged by rows, not by whole series"
    if tables.entity is None:
        return
    yield f"rows were divided by persons, the values of '{tables.entity}'"
    if "holdout" in rows:
        real, held = (pc.unique(rows[label].column(tables.entity).cast(pa.string())) for label in ("real", "holdout"))
        if both := int(pc.sum(pc.is_in(held, value_set=real)).as_py() or 0):
            yield (
                f"{both:,} of the {len(held):,} persons of the holdout table are in the real table too: it was divided "
                f"by rows, so copying is told too small; divide it by '{tables.entity}'"
            )


def _alone(
    table: Table,
    statistics: TableStatistics,
    categorical: Sequence[str] | None,
    continuous: Sequence[str] | None,
    schema: TableSchema | None,
) -> Tables:
    """A table as both of a pair: nothing of another one decides what its columns are."""
    table, statistics = dated(table, statistics, schema, {Kind.CATEGORICAL: categorical})
    kinds = _listed(table, statistics, categorical, continuous, schema)
    seen = infer_schema(table, statistics, schema, kinds, check_rows=False)
    return Tables(table, table, None, statistics, statistics, seen)


def _dated(
    tables: list[Table],
    statistics: list[TableStatistics],
    schema: TableSchema | None,
    categorical: Sequence[str] | None,
) -> tuple[list[Table], list[TableStatistics]]:
    """All tables with the dates that the real one writes as text; raises `DataError` where another has another form."""
    real, first = dated(tables[0], statistics[0], schema, {Kind.CATEGORICAL: categorical})
    forms = real.text_forms
    if not forms:
        return tables, statistics
    others = [with_forms(table, forms) for table in tables[1:]]
    second = collect(others[0], label="Reading the synthetic table's dates", check_values=False)
    for name, form in forms.items():
        held, left = statistics[1].columns[name], second.columns[name]
        if held.missing < statistics[1].n_rows == left.missing:
            raise DataError(
                f"column '{name}' holds dates of the form {form.format} in the real table, but text of another form in "
                "the synthetic table; write both alike, or list it in categorical_columns"
            )
    return [real, *others], [first, second]


def _with_text_names(data: Any) -> Any:
    """A frame whose column names are text; anything else as it is."""
    names = list(getattr(data, "columns", ()))
    if not names or all(isinstance(n, str) for n in names) or not hasattr(data, "set_axis"):
        return data
    return data.set_axis([str(n) for n in names], axis=1)


def _check_same_columns(real: Table, other: Table, label: str) -> None:
    missing = [n for n in real.names if n not in other.names]
    extra = [n for n in other.names if n not in real.names]
    if missing or extra:
        found = [f"lacks {listed(map(repr, missing))}"] if missing else []
        found += [f"has {listed(map(repr, extra))}, which the real table lacks"] if extra else []
        raise DataError(f"the {label} table {' and '.join(found)}; give all tables the same columns")


def _check_kinds(result: Tables, tables: list[Table]) -> None:
    for name in result.compared:
        kind = result.kinds[name]
        for label, table in zip(LABELS, tables, strict=False):
            dtype = table.schema.field(name).type
            if kind.is_numeric and not (is_numeric(dtype) or pt.is_null(dtype) or pt.is_boolean(dtype)):
                held = "text" if is_text(dtype) else str(dtype)
                raise DataError(
                    f"column '{name}' is {kind} in the real table but {held} in the {label} table; "
                    "convert it, or list it in categorical_columns"
                )


def _listed(
    real: Table,
    statistics: TableStatistics,
    categorical: Sequence[str] | None,
    continuous: Sequence[str] | None,
    schema: TableSchema | None,
) -> dict[Kind, list[str]]:
    """Kinds by the user's lists; times stay times, and a column without any value is of no importance."""
    for names in (categorical, continuous):
        if unknown := [n for n in names or () if n not in real.names]:
            raise ParameterError(
                f"column '{unknown[0]}' is listed, but the tables have: {listed(map(repr, real.names))}"
            )
    known = {*(categorical or ()), *(continuous or ()), *(schema.names if schema is not None else ())}
    empty = [n for n, c in statistics.columns.items() if c.missing == statistics.n_rows and n not in known]
    times = [n for n in continuous or () if pt.is_temporal(real.schema.field(n).type)]
    return {
        Kind.CATEGORICAL: [*(categorical or ()), *empty],
        Kind.CONTINUOUS: [n for n in continuous or () if n not in times],
    }


def _marginal(statistics: TableStatistics, name: str, kind: Kind) -> Marginal:
    column = statistics.columns[name]
    if kind.is_discrete or not is_numeric(column.type):
        return column.categories().value if kind.is_discrete else _no_numbers(column.missing)
    found, unit = column.distribution().value, microseconds(column.type)
    if unit == 1.0:
        return found
    return replace(found, low=found.low * unit, high=found.high * unit, mean=found.mean * unit, std=found.std * unit)


def _no_numbers(missing: float) -> NumericDistribution:
    import numpy as np

    nothing = np.zeros(0)
    return NumericDistribution(nothing, nothing, nothing, missing, 0.0, 0.0, None, True, 0.0)


def _kind_of_constant(real: Table, name: str) -> Kind:
    dtype = real.schema.field(name).type
    if (by_type := kind_held(held(dtype))) is not None:
        return by_type
    return Kind.CONTINUOUS if is_numeric(dtype) else Kind.CATEGORICAL
