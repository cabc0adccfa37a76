"""The statistics door under a privacy budget: every figure that a fit learns of a column, as `Noised`.

Three passes at most. The first counts rows, declared and open categories, numbers within declared bounds, and,
for numbers without, the digits that they need and the cells of a public grid over the whole line. From these come, with
noise, whether they are whole and where they lie (`noised_range.py`); there the second pass counts
them, in as many parts of about equally many rows as the noise lets one tell apart. Where outer ones hold noise alone,
tails take their place (`noised_tails.py`). Single values at which many rows pile up are named (`noised_atoms.py`).
Each release is a discrete Gaussian event over disjoint cells ('missing' is one of them), so its L2 sensitivity is 1.
All events are charged before the rows are read.

With k rows of one privacy unit at most (`units.py`), one unit changes each histogram by at most k in L2 norm, and all
noise is k times as much. A unit may then bring up to k values that nobody else has: the delta of naming open categories
is divided among them.

`share` of the budget's rho is divided among the columns by their public numbers of cells K: the total absolute error
sum K sigma is least, at a given sum of 1 / sigma^2, where rho grows with K^(2/3). Open categories take
`SELECTION_DELTA` of delta, in equal parts, single values of numbers as much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.ledger import Event
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import noised_counts, stable_counts
from raysynth.dp.mechanisms.histogram import (
    WIDEST,
    LevelCounts,
    Runs,
    exact_levels,
    level_sizes,
    merged_runs,
    simplex,
    with_ends,
    without_stray,
)
from raysynth.errors import SchemaError
from raysynth.running.runner import summarise
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema
from raysynth.statistics.cell_counts import CellCounts, Cells, DomainCells, NumberCells, OpenCells, PresenceCells
from raysynth.statistics.noised_atoms import (
    ATOM_SHARE,
    NAMING_SHARE,
    AtomRelease,
    Named,
    SecondLook,
    may_pile_up,
    with_atoms,
)
from raysynth.statistics.noised_range import (
    END_COST,
    ZOOMS,
    DigitCells,
    RangeGrid,
    digits_shown,
    interval_shown,
    parts_shown,
    released_spread,
)
from raysynth.statistics.noised_tails import ValueGrid, grid_of, grid_of_parts, wider, with_tails, without_noise_alone
from raysynth.statistics.released import CategoryCounts, Noised, NumericDistribution, from_integers

SELECTION_DELTA = 0.1  # of delta, for naming categories that nobody declared; as much for single values of numbers
RANGE_SHARE = 0.3  # of a column's rho, for finding a range that nobody declared: a half for each of its releases
NUMBER_CELLS, OPEN_CELLS = 30.0, 30.0  # counts that a number is known by, and categories that nobody declared
DIGITS_SHARE = 0.1  # of a column's rho, for finding whether a number of which nothing is declared is whole
LEAST_PRESENT = 0.5  # rows with a number, however many missing ones the noise shows: a distribution needs some
PART_ROWS = 3.5  # standard deviations: so many rows are in a part of a number without declared bounds, on average
FINE_ROWS = 3000.0  # standard deviations: of so many rows the noise shows single values and narrow intervals
CUTS = 64  # parts of a cell of the public grid, whose width is up to 1/256 of the value: too wide for years and dates
SEEN = 3.0  # standard deviations: fewer missing values, or values that have no name, than this are taken for noise


@dataclass(frozen=True)
class NoisedColumn:
    """What one column released; built by `release_statistics` alone.

    Args:
        name: column name.
        n_rows: noised rows of the table.
        missing: noised rows without a value; 0 where the schema declares that none is.
        counts, numbers: of a discrete and of a numeric column.
    """

    name: str
    n_rows: float
    missing: float
    counts: Noised[CategoryCounts] | None = None
    numbers: Noised[NumericDistribution] | None = None

    def categories(self) -> Noised[CategoryCounts]:
        """Noised counts of a discrete column; raises `SchemaError` for others."""
        if self.counts is None:
            raise SchemaError(f"column '{self.name}' released no counts of values; declare it categorical")
        return self.counts

    def distribution(self) -> Noised[NumericDistribution]:
        """Noised distribution of a numeric column; raises `SchemaError` for others."""
        if self.numbers is None:
            raise SchemaError(f"column '{self.name}' released no distribution; declare it continuous")
        return self.numbers


@dataclass(frozen=True)
class NoisedStatistics:
    """What a table released.

    Args:
        n_rows: noised rows.
        columns: by name, in the table's order.
    """

    n_rows: int
    columns: dict[str, NoisedColumn]


@dataclass
class _Plan:
    """Cells and noise of each column, decided before any row is read; `k`: most rows of a unit.

    `multipliers`: of the Gaussian release that has all of a column's rho.
    """

    schema: TableSchema
    multipliers: Mapping[str, float]
    delta: float
    k: int
    cells: dict[str, Cells] = field(default_factory=dict)
    grids: dict[str, ValueGrid] = field(default_factory=dict)
    ranged: list[ColumnSchema] = field(default_factory=list)
    digits: dict[str, DigitCells] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    second: SecondLook | None = None
    named: dict[str, Named] = field(default_factory=dict)
    atoms: dict[str, AtomRelease] = field(default_factory=dict)

    def sigma(self, name: str) -> float:
        """Standard deviation, in rows, of the counts of a column's cells."""
        return self.multipliers[name] * self.k

    def range_multiplier(self, name: str) -> float:
        """Of one of the releases that a range is found by: octaves, then zooms."""
        return self.multipliers[name] / math.sqrt(RANGE_SHARE / (1 + ZOOMS))

    def digits_multiplier(self, name: str) -> float:
        """Of the digits of a number."""
        return self.multipliers[name] / math.sqrt(DIGITS_SHARE)


def release_statistics(
    table: Table, schema: TableSchema, scope: PrivacyScope, *, share: float, n_rows: int | None = None
) -> NoisedStatistics:
    """All statistics that encoders are built from, noised and charged.

    Args:
        table: with the schema's types (`public_schema.as_declared`).
        schema: of public facts alone.
        scope: pays, for the number of rows too.
        share: of the budget's rho.
        n_rows: about how many rows there are, from what was released before; None: their number is released here.
    """
    plan = _planned(schema, scope, share)
    further = list(() if plan.second is None else plan.second.events(plan.k))
    further += [event for own in plan.atoms.values() for event in own.events]
    scope.charge(*(event for own in plan.events.values() for event in own), *further)
    cells_of = partial(CellCounts, plan.cells, plan.digits)
    counted = summarise(table, cells_of, columns=list(plan.cells), label="noised statistics")
    if n_rows is None:
        n_rows = scope.release_row_count(counted.n_rows if plan.cells else sum(len(b) for b in table.blocks()))
    plan.grids.update({c.name: _grid(c, plan, counted, scope, n_rows) for c in plan.ranged})
    if plan.ranged:
        cells = {c.name: NumberCells(plan.grids[c.name].starts) for c in plan.ranged}
        ranged = summarise(table, partial(CellCounts, cells), columns=list(cells), label="numbers in their range")
        counted.fixed.update(ranged.fixed)
    _name_values(plan, counted, scope)
    columns = {c.name: _column(c, plan, counted, scope, n_rows) for c in schema.columns if c.name in plan.cells}
    numbers = {n: c.numbers for n, c in columns.items() if n in plan.atoms and c.numbers is not None}
    for name, found in with_atoms(table, numbers, plan.atoms, scope).items():
        columns[name] = replace(columns[name], numbers=found)
    return NoisedStatistics(n_rows, columns)


def earlier_statistics(scope: PrivacyScope) -> NoisedStatistics:
    """What a resumed fit needs of its statistics beside the encoder, which is kept: the released number of rows."""
    return NoisedStatistics(scope.n_rows, {})


def _planned(schema: TableSchema, scope: PrivacyScope, share: float) -> _Plan:
    seen = [c for c in schema.columns if c.kind.is_modelled or (c.nullable and c.kind.is_made and not c.kind.is_key)]
    texts = [c.name for c in seen if is_open(c) and pt.is_string(c.value_type)]
    n_open, n_piling = sum(is_open(c) for c in seen) + bool(texts), sum(may_pile_up(c) for c in seen)
    delta_share = SELECTION_DELTA * ((n_open > 0) + (n_piling > 0))
    second, of_names = None, scope.budget.delta * SELECTION_DELTA
    delta, atom_delta = of_names / max(n_open, 1), of_names / max(n_piling, 1)
    if texts:
        second = SecondLook.planned(texts, scope, share * NAMING_SHARE, delta_share, delta)
        share *= 1 - NAMING_SHARE
    weights = {c.name: public_cells(c) ** (2 / 3) for c in seen}
    total = sum(weights.values())
    multipliers = {n: scope.share_multiplier(share * w / total, delta_share) for n, w in weights.items()}
    k = scope.rows_per_unit
    plan = _Plan(schema, multipliers, delta, k, second=second)
    for column in seen:
        name, multiplier = column.name, multipliers[column.name]
        counts = events.discrete_gaussian(f"counts of '{name}'", multiplier, rows=k)
        plan.cells[name], plan.events[name] = PresenceCells(), [counts]
        if column.kind.is_discrete:
            domain = declared_domain(column)
            plan.cells[name] = OpenCells() if domain is None else DomainCells(domain, column.value_type)
            if domain is None:
                stable = events.approximate(f"which values of '{name}' occur", 0.0, plan.delta)
                plan.events[name] = [counts, stable]
        elif column.kind.is_numeric:
            atoms = ATOM_SHARE if may_pile_up(column) else 0.0
            if column.bounds is not None:
                plan.grids[name] = grid_of(column, column.bounds)
                plan.cells[name] = NumberCells(plan.grids[name].starts)
                levels = len(level_sizes(len(plan.grids[name].starts)))
                plan.events[name] = [_histogram_event(name, multiplier / math.sqrt(1 - atoms), k, levels)]
            else:
                _plan_range(column, plan, 1 - RANGE_SHARE - atoms)
            if atoms:
                plan.atoms[name] = AtomRelease(name, multiplier / math.sqrt(atoms), atom_delta, k)
    return plan


def _plan_range(column: ColumnSchema, plan: _Plan, rest: float) -> None:
    """The events of a number without bounds: its histogram, with `rest` of its rho, then what that needs."""
    name, k = column.name, plan.k
    plan.ranged.append(column)
    plan.cells[name] = NumberCells(RangeGrid.of(column).starts)
    steps = [f"range of '{name}'", *(f"range of '{name}', zoom {i + 1}" for i in range(ZOOMS))]
    own = [events.discrete_gaussian(step, plan.range_multiplier(name), rows=k) for step in steps]
    if column.kind.is_number and column.decimals is None and column.reason:  # nobody declared it
        rest -= DIGITS_SHARE
        plan.digits[name] = DigitCells()
        own.append(events.discrete_gaussian(f"digits of '{name}'", plan.digits_multiplier(name), rows=k))
    plan.events[name] = [_histogram_event(name, plan.multipliers[name] / math.sqrt(rest), k), *own]


def is_open(column: ColumnSchema) -> bool:
    """Whether a column holds categories that nobody declared."""
    return column.kind.is_discrete and declared_domain(column) is None


def public_cells(column: ColumnSchema) -> float:
    """About how many noised counts say what a column is like, from what is declared of it."""
    if column.kind.is_discrete:
        domain = declared_domain(column)
        return OPEN_CELLS if domain is None else 1.0 + len(domain)
    if not column.kind.is_numeric:
        return 1.0
    if column.bounds is None:
        return NUMBER_CELLS
    leaves = len(grid_of(column, column.bounds).starts)
    return min(float(leaves), NUMBER_CELLS) * math.sqrt(len(level_sizes(leaves)))


def declared_domain(column: ColumnSchema) -> tuple[Any, ...] | None:
    """The public values of a discrete column; None where nobody declared them."""
    if column.categories is not None:
        return column.categories
    return (False, True) if pt.is_boolean(column.arrow_type) else None


def _histogram_event(name: str, multiplier: float, k: int, levels: int | None = None) -> Event:
    """All levels of a histogram together, in each of which one row changes one count; None: the range is not known."""
    known = levels is not None
    return events.discrete_gaussian(f"histogram of '{name}'", multiplier, coordinates=levels or 1, rows=k, known=known)


def _grid(column: ColumnSchema, plan: _Plan, counted: CellCounts, scope: PrivacyScope, n_rows: int) -> ValueGrid:
    """The leaves in which a number without bounds is counted: its range and digits, as far as the noise shows."""
    multiplier = plan.range_multiplier(column.name)

    def noising(exact: np.ndarray) -> np.ndarray:
        return noised_counts(exact, multiplier, scope.noise, sensitivity=plan.k)

    known = (multiplier * plan.k, n_rows, scope.row_count_sigma)
    spread = released_spread(column, counted.fixed[column.name], noising, *known)
    if column.name in plan.digits:
        counts, digits = counted.other[column.name], plan.digits_multiplier(column.name)
        noised = noised_counts(counts, digits, scope.noise, sensitivity=plan.k)
        column = replace(column, decimals=digits_shown(noised, digits * plan.k, n_rows))
    event = plan.events[column.name][0]
    assert event.noise_multiplier is not None
    sigma = event.noise_multiplier * plan.k
    parts = parts_shown(n_rows, sigma, PART_ROWS, WIDEST)
    fine = grid_of(column, wider(column, (spread.edges[0], spread.edges[-1]), parts))
    is_fine = len(fine.starts) <= parts or n_rows >= FINE_ROWS * sigma
    return fine if is_fine else grid_of_parts(column, spread.finer(CUTS).cut(parts))


def _column(column: ColumnSchema, plan: _Plan, counted: CellCounts, scope: PrivacyScope, n_rows: int) -> NoisedColumn:
    own = plan.events[column.name]
    if column.kind.is_numeric:
        return _numbers(column, plan, counted.fixed[column.name], scope, n_rows)
    if isinstance(plan.cells[column.name], OpenCells):
        return _open_values(column, plan, counted, scope, n_rows)
    sigma = plan.sigma(column.name)
    noised = noised_counts(counted.fixed[column.name], sigma, scope.noise)
    if not _seen_missing(column, noised[-1], sigma):
        noised[-1] = -np.inf
    if column.kind.is_discrete and noised[-2] <= SEEN * sigma:
        noised[-2] = -np.inf  # outside the declared domain
    rows = simplex(noised, n_rows)
    if not column.kind.is_discrete:
        return NoisedColumn(column.name, n_rows, float(rows[-1]))
    domain = declared_domain(column)
    assert domain is not None
    if column.categories is None:  # true and false: nothing else can be
        rows[:-2] += rows[-2] / len(domain)
        rows[-2] = 0.0
    counts = CategoryCounts(domain, rows[:-2], float(rows[-1]), len(domain), rows[-2] <= 0, float(rows[-2]))
    return NoisedColumn(column.name, n_rows, float(rows[-1]), counts=Noised(counts, own[0]))


def _seen_missing(column: ColumnSchema, noised: float, sigma: float) -> bool:
    """Whether values are missing, as far as the noise shows: else half of all complete columns would get some."""
    return column.nullable and noised > SEEN * sigma


def _open_values(
    column: ColumnSchema, plan: _Plan, counted: CellCounts, scope: PrivacyScope, n_rows: int
) -> NoisedColumn:
    """Values that enough rows share, by stability; what is left of the rows, beyond noise, has other values."""
    sigma, (kept, noised) = plan.sigma(column.name), plan.named[column.name]
    missing = float(noised_counts(np.array([counted.open[column.name].get(None, 0)]), sigma, scope.noise)[0])
    if not kept and not pt.is_string(column.value_type):
        kept, noised = [0], np.array([float(n_rows)])  # a number must decode to one: a public one
    missing = min(missing, float(n_rows)) if _seen_missing(column, missing, sigma) else 0.0
    left = n_rows - missing - noised.sum()
    event = plan.events[column.name][0]
    assert event.noise_multiplier is not None
    of_left = math.hypot(event.noise_multiplier * plan.k * math.sqrt(len(kept)), sigma, scope.row_count_sigma)
    if left < 0 or (kept and left <= SEEN * of_left):
        noised, left = simplex(noised, n_rows - missing), 0.0
    order = np.argsort(-noised, kind="stable")
    counts = CategoryCounts(
        tuple(kept[i] for i in order), noised[order], missing, len(kept), left <= 0, float(max(left, 0.0))
    )
    return NoisedColumn(column.name, n_rows, missing, counts=Noised(counts, event))


def _name_values(plan: _Plan, counted: CellCounts, scope: PrivacyScope) -> None:
    """The values of open categories, and of one of these columns by a second release."""
    for column in plan.schema.columns:
        if isinstance(plan.cells.get(column.name), OpenCells):
            plan.named[column.name] = _named(counted.open[column.name], column, plan, scope)
    if plan.second is not None:
        name = plan.second.column(counted.open, plan.named, scope)
        again = replace(plan, multipliers={**plan.multipliers, name: plan.second.multiplier})
        naming = partial(_named, column=plan.schema[name], plan=again, scope=scope)
        plan.events[name][0] = plan.second.events(plan.k)[1]
        plan.named[name] = plan.second.named(counted.open[name], plan.named[name], naming, scope)


def _named(
    by_value: Mapping[Any, int], column: ColumnSchema, plan: _Plan, scope: PrivacyScope
) -> tuple[list[Any], np.ndarray]:
    """Values that may be named, and their noised counts."""
    values = sorted((v for v in by_value if v is not None), key=str)
    exact = np.array([by_value[v] for v in values], dtype=np.float64)
    multiplier = plan.multipliers[column.name]
    passed, noised = stable_counts(exact, multiplier, plan.delta / plan.k, scope.noise, sensitivity=plan.k)
    return from_integers([values[i] for i in passed], column.value_type), noised


def _numbers(column: ColumnSchema, plan: _Plan, cells: np.ndarray, scope: PrivacyScope, n_rows: int) -> NoisedColumn:
    event = plan.events[column.name][0]
    assert event.noise_multiplier is not None
    grid = plan.grids[column.name]
    sigma = event.noise_multiplier * plan.k * math.sqrt(len(level_sizes(len(cells) - 1)))
    missing = float(noised_counts(cells[-1:], sigma, scope.noise)[0]) if column.nullable else 0.0
    missing = min(missing, n_rows - LEAST_PRESENT) if _seen_missing(column, missing, sigma) else 0.0
    levels = [LevelCounts(noised_counts(k, sigma, scope.noise), sigma) for k in exact_levels(cells[:-1])]
    known = math.hypot(scope.row_count_sigma, sigma if column.nullable else 0.0)
    mean = grid.mean(levels, n_rows - missing, sigma if column.nullable else 0.0)
    shown = interval_shown(levels[-1].counts, sigma, n_rows - missing, known, cost=END_COST)
    if column.bounds is None and len(levels) == 1:
        grid, rows = with_tails(levels[0], grid, shown, n_rows - missing, column)
        runs = Runs(np.arange(len(rows)), rows, rows)
    elif column.bounds is None:
        levels, grid = without_noise_alone(levels, grid, n_rows - missing, known)
        runs = merged_runs(levels, n_rows - missing)
    else:
        runs = with_ends(without_stray(merged_runs(levels, n_rows - missing), levels, shown), len(grid.starts))
    distribution = replace(grid.distribution(runs.first, runs.counts, missing), noised=mean)
    return NoisedColumn(column.name, n_rows, missing, numbers=Noised(distribution, event))
