"""One row more changes no summary by more than its sensitivity, whatever the row holds and wherever it is added.

The rows are of a hostile pool: each value that has several spellings, or that some library between a file and a count
takes for another one. All summaries of the package are found; one that nobody has a rule for fails.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
import pytest
from import_graph import tree_of
from scipy.special import ndtri

from raysynth.data.arrow_types import is_text
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.fitting.prepared import EncodedCounts
from raysynth.methods.copula.private import Axis, ScoreMoments, products_norm
from raysynth.running.runner import summarise
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.cell_counts import CellCounts, DomainCells, NumberCells, OpenCells, PresenceCells
from raysynth.statistics.contingency import ContingencyCounts
from raysynth.statistics.families import FamilyCells
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import CategoryCounts, Noised, NumericDistribution
from raysynth.statistics.table_statistics import BooleanSummary, NullSummary
from raysynth.statistics.text import TextSummary
from raysynth.tuning.private_plan import CoarseCells, CoarseCounts

PACKAGE = Path(__file__).parent.parent.parent.parent / "raysynth"
Vectors = Mapping[str, Mapping[Hashable, float]]

NAN = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF4000000000000], np.uint64).view(np.float64)
CLOCK_SET_BACK = [1604210400, 1604214000]  # 01:00 twice in New York: two instants that Python takes for one
INT64 = [0, 1, -1, (1 << 63) - 1, -(1 << 63), (1 << 53) + 1, 1 << 53, None]
POOL: dict[str, pa.Array] = {
    "double": pa.array([0.0, -0.0, 1.0, -1.0, *NAN, np.inf, -np.inf, 5e-324, -5e-324, 1.7e308, 0.1, None]),
    "float": pa.array(np.array([0.0, -0.0, 1.0, np.nan, np.inf, 1e-45, 3e38], np.float32)),
    "whole": pa.array(INT64, pa.int64()),
    "unsigned": pa.array([0, 1, (1 << 64) - 1, (1 << 63), (1 << 53) + 1, None], pa.uint64()),
    "text": pa.array(["", " ", "0", "-0", "é", "e\u0301", "ﬁ", "NaN", "a" * 999, "\u202e", "\x00", None], pa.string()),
    "codes": pa.DictionaryArray.from_arrays([0, 1, 2, 3, None], pa.array(["a", "b", "a", None], pa.string())),
    "truth": pa.array([True, False, None]),
    "second": pa.array([*CLOCK_SET_BACK, 0, (1 << 62), -(1 << 62), None], pa.int64()).cast(
        pa.timestamp("s", "America/New_York")
    ),
    "moment": pa.array([0, 1, 999, 1000, (1 << 63) - 1, -(1 << 63), None], pa.int64()).cast(pa.timestamp("ns")),
    "day": pa.array([0, 1, (1 << 31) - 1, -(1 << 31), None], pa.int32()).cast(pa.date32()),
    "length": pa.array([0, (1 << 63) - 1, -(1 << 63), None], pa.int64()).cast(pa.duration("s")),
    "amount": pa.array([Decimal("0.00"), Decimal("-0.01"), Decimal("9" * 20), None], pa.decimal128(38, 2)),
    "nothing": pa.nulls(3),
}
PLACES = ("first", "in the middle", "last")


def row(i: int) -> pa.Table:
    """The i-th hostile row: of each column another value, with a dictionary of its own."""
    return pa.table({name: values.take([i % len(values)]) for name, values in POOL.items()})


@cache
def tables(i: int, place: str) -> tuple[Table, Table]:
    """Neighbours: some hostile rows, a few of them many times; and one more."""
    many = np.random.default_rng(i).integers(0, 40, 300)
    rows = pa.table({name: values.take(many % len(values)) for name, values in POOL.items()})
    at = {"first": 0, "in the middle": 150, "last": 300}[place]
    more = pa.concat_tables([rows.slice(0, at), row(i), rows.slice(at)])
    if i % 2:  # one chunk, whose dictionary names a value twice
        more = pa.table({n: _joined(c) for n, c in zip(more.column_names, more.columns, strict=True)})
    return as_table(rows, min_rows=0, private=True), as_table(more, min_rows=0, private=True)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if not pt.is_dictionary(column.type):
        return column.combine_chunks()
    offset, indices, values = 0, [], []
    for chunk in column.chunks:
        indices += [None if k is None else k + offset for k in chunk.indices.to_pylist()]
        values += chunk.dictionary.to_pylist()
        offset += len(chunk.dictionary)
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(values, pa.string()))


# ---- what is released of each summary, and how much a row may change it ---------------------------------------------


def schema_of(table: Table) -> TableSchema:
    """Each column as categories, as the counts of every method see it."""
    columns = []
    for field in table.schema:
        is_number = pt.is_floating(field.type) or pt.is_temporal(field.type)
        kind = Kind.BOOLEAN if pt.is_boolean(field.type) else Kind.CONTINUOUS if is_number else Kind.CATEGORICAL
        columns.append(ColumnSchema(field.name, kind, "string" if is_text(field.type) else str(field.type)))
    return TableSchema(tuple(c for c in columns if c.name != "nothing"), rare_threshold=1)


class Released:
    """Statistics of one column, as an encoder wants them."""

    n_rows, missing = 300.0, 10.0

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def categories(self) -> Noised[CategoryCounts]:
        n = len(self.values)
        return Noised(CategoryCounts(tuple(self.values), np.full(n, 30.0), 10.0, n, False, 20.0), None)

    def distribution(self) -> Noised[NumericDistribution]:
        cells = np.linspace(-1e6, 1e6, 20)
        return Noised(NumericDistribution(cells[:-1], cells[1:], np.ones(19), 10.0, 0.0, 1e6, None, False, 0.1), None)


def encoder_of(table: Table) -> TableEncoder:
    values: dict[str, list[Any]] = {"text": ["", "é", "0"], "codes": ["a", "b"], "truth": [False, True]}
    values |= {"whole": [0, 1, 1 << 53], "unsigned": [0, 1], "amount": [Decimal("0.00"), Decimal("-0.01")]}
    schema = schema_of(table)
    return build_encoder(schema, {c.name: Released(values.get(c.name, [])) for c in schema.columns}, numeric="bins")


def cells_of(table: Table) -> dict[str, Any]:
    """Every kind of cells that goes with a column, under a name of its own."""
    edges = np.append(-np.inf, np.linspace(-1e6, 1e6, 9))
    found: dict[str, Any] = {}
    for field in table.schema:
        found[f"open {field.name}"], found[f"there {field.name}"] = OpenCells(), PresenceCells()
        if is_text(field.type):
            found[f"family {field.name}"] = FamilyCells()
        if pt.is_floating(field.type) or pt.is_integer(field.type) or pt.is_temporal(field.type):
            found[f"line {field.name}"] = NumberCells(edges)
            found[f"some {field.name}"] = OpenCells(np.array([-1.0, 0.1]), np.array([0.1, 2.0**53]))
    found["list text"] = DomainCells(("", "é", "a"), pa.string())
    found["list double"] = DomainCells((0.0, 1.0), pa.float64())
    found["list truth"] = DomainCells((False, True), pa.bool_())
    return found


class RenamedCounts(CellCounts):
    """Cells under names of their own, each of the column that the name ends with."""

    def update(self, batch: pa.RecordBatch) -> None:
        columns = {name: batch.column(name.split()[-1]) for name in self.cells}
        super().update(pa.RecordBatch.from_pydict(columns))


class EachColumn:
    """A summary of one column for each that it goes with."""

    def __init__(self, table: Table, of: type, fits: Callable[[pa.DataType], bool], make: Callable[[Any], Any]) -> None:
        self.own = {f.name: make(f.type) for f in table.schema if fits(f.type)}

    def update(self, batch: pa.RecordBatch) -> None:
        for name, summary in self.own.items():
            summary.update(batch.column(name))

    def merge(self, other: EachColumn) -> None:
        for name, summary in self.own.items():
            summary.merge(other.own[name])


def _is_number(type_: pa.DataType) -> bool:
    return not (is_text(type_) or pt.is_boolean(type_) or pt.is_null(type_))


def _of_text(s: TextSummary) -> dict[Hashable, float]:
    counts = s.categories()
    return {**dict(zip(counts.values, counts.counts.tolist(), strict=True)), None: s.missing}


def _of_numbers(s: NumericSummary) -> dict[Hashable, float]:
    cells = dict(zip(s.cells.low.tolist(), s.cells.counts.tolist(), strict=True))
    return {**cells, "missing": s.missing, "infinite": s.n_inf}


def _tables(counts: ContingencyCounts) -> Vectors:
    return {str(s): dict(enumerate(table.reshape(-1).tolist())) for s, table in counts.tables.items()}


def _array(values: np.ndarray) -> dict[Hashable, float]:
    return dict(enumerate(np.asarray(values, dtype=float).reshape(-1).tolist()))


class Codes:
    """`ContingencyCounts` of encoded rows."""

    def __init__(self, encoder: TableEncoder) -> None:
        self.encoder = encoder
        self.counts = ContingencyCounts(encoder.cardinalities, _pairs(encoder))

    def update(self, batch: pa.RecordBatch) -> None:
        self.counts.update_codes(self.encoder.encode(batch).codes_NC)

    def merge(self, other: Codes) -> None:
        self.counts.merge(other.counts)


def _pairs(encoder: TableEncoder) -> tuple[tuple[int, ...], ...]:
    return tuple((i, i + 1) for i in range(len(encoder.columns) - 1))


def _axes(encoder: TableEncoder) -> tuple[Axis, ...]:
    return tuple(
        Axis(i, ndtri((np.arange(n) + 0.5) / n), np.full(n, 1 / n), 1.0) for i, n in enumerate(encoder.cardinalities)
    )


RADIUS = 1.5
BOUNDS: dict[type, tuple[Callable[[Table], Callable[[], Any]], Callable[[Any], Vectors], float]] = {
    CellCounts: (
        lambda t: lambda: RenamedCounts(cells_of(t)),
        lambda s: {**{n: _array(c) for n, c in s.fixed.items()}, **s.open, "rows": {0: s.n_rows}},
        1.0,
    ),
    TextSummary: (
        lambda t: lambda: EachColumn(t, TextSummary, is_text, lambda _: TextSummary()),
        lambda s: {n: _of_text(own) for n, own in s.own.items()},
        1.0,
    ),
    NumericSummary: (
        lambda t: lambda: EachColumn(t, NumericSummary, _is_number, NumericSummary),
        lambda s: {n: _of_numbers(own) for n, own in s.own.items()},
        1.0,
    ),
    BooleanSummary: (
        lambda t: lambda: EachColumn(t, BooleanSummary, pt.is_boolean, lambda _: BooleanSummary()),
        lambda s: {n: {1: own.true, 0: own.false, None: own.missing} for n, own in s.own.items()},
        1.0,
    ),
    NullSummary: (
        lambda t: lambda: EachColumn(t, NullSummary, pt.is_null, lambda _: NullSummary()),
        lambda s: {n: {None: own.missing} for n, own in s.own.items()},
        1.0,
    ),
    ContingencyCounts: (lambda t: lambda: Codes(encoder_of(t)), lambda s: _tables(s.counts), 1.0),
    EncodedCounts: (
        lambda t: lambda: EncodedCounts(encoder_of(t), _pairs(encoder_of(t))),
        lambda s: _tables(s.counts),
        1.0,
    ),
    CoarseCounts: (
        lambda t: (
            lambda: CoarseCounts(
                CoarseCells(encoder_of(t), tuple(np.arange(n) % 5 for n in encoder_of(t).cardinalities))
            )
        ),
        lambda s: _tables(s.counts),
        1.0,
    ),
    ScoreMoments: (
        lambda t: lambda: ScoreMoments(encoder_of(t), _axes(encoder_of(t)), RADIUS),
        lambda s: {"moments": _array(s.sums_DD[np.triu_indices(len(s.sums_DD), 1)])},
        products_norm(RADIUS, len(POOL) - 1),  # a score of each column but 'nothing'
    ),
}
# Parts of those above, or never released with noise: exact statistics, checks and evaluation are the holder's own.
OTHERS = {
    "_Counts",  # of relations between columns, which are looked for without a budget alone
    "_Gaps",  # of columns missing together, which are looked for without a budget alone
    "_Patterns",  # of missing cells that are rules of the table, likewise
    "_RowHashes",
    "PersonSummary",  # of persons, without a budget alone
    "PairMoments",  # of wide tables, without a budget alone
    "TableSummary",
    "ExactSum",
    "DistinctSample",
    "BrokenRows",
    "PassSummary",
    "Summary",
    "CalendarCounts",
}


def summaries() -> Iterator[str]:
    """Names of the package's classes that add up rows."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                methods = {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
                if "merge" in methods and methods & {"update", "update_codes", "add"}:
                    yield node.name


def test_every_summary_has_its_rule() -> None:
    assert set(summaries()) == {c.__name__ for c in BOUNDS} | OTHERS


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("of", BOUNDS, ids=lambda c: c.__name__)
def test_a_row_changes_a_summary_by_no_more_than_its_sensitivity(of: type, place: str) -> None:
    make, vectors, most = BOUNDS[of]
    for i in range(14):  # each value of the longest pool once
        before, after = tables(i, place)
        first, second = (vectors(summarise(t, make(t), where="local")) for t in (before, after))
        for name in first.keys() | second.keys():
            one, two = first.get(name, {}), second.get(name, {})
            change = np.sqrt(sum((one.get(k, 0) - two.get(k, 0)) ** 2 for k in {*one, *two}))
            assert change <= most * (1 + 1e-9), f"{of.__name__} of {name}, row {i} added {place}: {change}"


def test_the_pool_reaches_the_counts_as_it_is_written() -> None:
    """Each spelling of one value is one value, and texts of other code points are others."""
    table = as_table(pa.table({n: v for n, v in POOL.items() if n in ("double",)}), min_rows=0, private=True)
    counts = summarise(table, lambda: CellCounts({"double": OpenCells()}), where="local").open["double"]
    assert counts[0.0] == 2 and not np.signbit(next(v for v in counts if v == 0)) and counts[None] == 6
    text = as_table(pa.table({"text": POOL["text"]}), min_rows=0).to_arrow()["text"]
    assert text.combine_chunks().dictionary.to_pylist() == POOL["text"].to_pylist()[:-1]
    codes = as_table(pa.table({"codes": POOL["codes"]}), min_rows=0).to_arrow()["codes"].combine_chunks()
    assert codes.dictionary.to_pylist() == ["a", "b"] and codes.to_pylist() == ["a", "b", "a", None, None]
