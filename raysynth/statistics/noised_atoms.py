"""Single values named under a budget: of a number at which many rows pile up, and of a column that has no names yet.

A histogram of intervals shows that a narrow one is full, not of which value; spread over the interval, all of these
rows lie beside the place where the table's are. So a further release names values that enough rows share, within the
intervals that the noised histogram shows to be denser than their neighbours.

Unit: one row (k rows of one privacy unit). The cells are values, one row is in one of them at most: L2 sensitivity 1
(k), by stability (`counts.stable_counts`) with a part of delta. The intervals come from noised counts, so they are
public by then. Both events are fixed, and charged, before a row is read.

A second look at one column of undeclared categories: fifty values of a fiftieth of the rows each pass no threshold
under the noise that twenty columns share, and a column without a name is lost with all its relations. So a part of the
budget is kept for one column, chosen by how many rows its unnamed values have beyond what a second release needs to
name them: a column of few values, all named, and one of free text have none such.

Unit: one row (k rows of one privacy unit). Choice: one row changes one value's count by 1, and with it the sum over
values of max(count - T, 0) by at most 1 (k); T follows from noise alone; exponential mechanism (`counts.chosen`).
Release: counts of disjoint values, L2 sensitivity 1 (k): Gaussian noise for values named before, which are public by
now, stability for the others (`counts.stable_counts`). All three events have parameters that are fixed before a row is
read; that the column follows from earlier answers is adaptive composition, as in `noised_range.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.ledger import Event
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import chosen, noised_counts, stability_threshold, stable_counts
from raysynth.running.runner import summarise
from raysynth.schema.columns import ColumnSchema
from raysynth.statistics.cell_counts import CellCounts, OpenCells
from raysynth.statistics.released import Noised, NumericDistribution

ATOM_SHARE = 0.1  # of a column's rho, where values may pile up that its histogram does not tell one by one
DENSER = 3.0  # times as dense as its neighbours is an interval that may hold a value of many rows
SEEN = 3.0  # standard deviations: fewer rows beside the named values of an interval are taken for noise


@dataclass(frozen=True)
class AtomRelease:
    """Of one column, fixed before a row is read.

    Args:
        name: of the column.
        multiplier: of its noise.
        delta: of naming.
        k: most rows of a unit.
    """

    name: str
    multiplier: float
    delta: float
    k: int

    @property
    def events(self) -> list[Event]:
        """What the ledger charges: the counts, and that they have names."""
        return [
            events.discrete_gaussian(f"rows of single values of '{self.name}'", self.multiplier, rows=self.k),
            events.approximate(f"which single values of '{self.name}' occur", 0.0, self.delta),
        ]

    @property
    def least(self) -> float:
        """Noised rows from which a value is named."""
        return stability_threshold(self.multiplier, self.delta / self.k, sensitivity=self.k)

    def named(self, by_value: Mapping[float, int], scope: PrivacyScope) -> tuple[np.ndarray, np.ndarray]:
        """Values that may be named, ascending, and their noised counts."""
        values = np.array(sorted(v for v in by_value if v is not None), dtype=np.float64)
        exact = np.array([by_value[v] for v in values.tolist()], dtype=np.float64)
        passed, noised = stable_counts(exact, self.multiplier, self.delta / self.k, scope.noise, sensitivity=self.k)
        return values[passed], noised


def may_pile_up(column: ColumnSchema) -> bool:
    """Whether single values may hide in intervals of a column's histogram: of numbers without declared digits."""
    return column.kind.is_number and column.decimals is None and pt.is_floating(column.arrow_type)


def with_atoms(
    table: Table,
    numbers: Mapping[str, Noised[NumericDistribution]],
    releases: Mapping[str, AtomRelease],
    scope: PrivacyScope,
) -> dict[str, Noised[NumericDistribution]]:
    """The noised distributions of some columns, with the values named that many rows have.

    Args:
        table: with the schema's types.
        numbers: what was released of these columns.
        releases: by name, charged.
        scope: its noise.
    """
    dense = {name: dense_cells(own.value, releases[name].least) for name, own in numbers.items()}
    cells = {
        name: OpenCells(numbers[name].value.low[cell], numbers[name].value.high[cell])
        for name, cell in dense.items()
        if len(cell)
    }
    counted = CellCounts({})
    if cells:
        counted = summarise(table, partial(CellCounts, cells), columns=list(cells), label="values of many rows")
    found = {}
    for name, own in numbers.items():  # of a column without such intervals, too: it is charged
        release, event = releases[name], own.event
        sigmas = event.noise_multiplier * event.sensitivity, release.multiplier * release.k
        values, rows = release.named(counted.open.get(name, {}), scope)
        found[name] = Noised(joined(own.value, values, rows, *sigmas), event) if len(values) else own
    return found


def dense_cells(numbers: NumericDistribution, least: float) -> np.ndarray:
    """Indices of intervals with at least so many rows that are denser than those beside them."""
    width = numbers.high - numbers.low
    rows, beside = (np.pad(x, (0, 2))[1:-1] + np.pad(x, (1, 0))[:-1] for x in (numbers.counts, width))
    dense = numbers.counts * beside >= DENSER * rows * width
    return np.flatnonzero((width > 0) & (numbers.counts >= least) & dense)


def joined(
    numbers: NumericDistribution, values: np.ndarray, rows: np.ndarray, sigma: float, sigma_of_values: float
) -> NumericDistribution:
    """Each interval cut where named values lie in it; both releases agree on its rows, by inverse variance.

    Args:
        numbers: a histogram with noise of `sigma`.
        values: named ones, ascending (V,). rows: of each, with noise of `sigma_of_values`.
    """
    at = np.searchsorted(numbers.low, values, side="right") - 1
    parts: list[tuple[float, float, float]] = []
    for i, (low, high, all_rows) in enumerate(zip(numbers.low, numbers.high, numbers.counts, strict=True)):
        own, own_rows = values[at == i], rows[at == i]
        if not len(own):
            parts.append((low, high, all_rows))
            continue
        variance = sigma**2 + len(own) * sigma_of_values**2
        left = all_rows - own_rows.sum()
        if left <= SEEN * np.sqrt(variance):
            own_rows = np.maximum(own_rows + left * sigma_of_values**2 / variance, 0.0)
            own_rows, left = own_rows * (all_rows / max(own_rows.sum(), 1e-300)), 0.0
        starts = np.append(low, np.nextafter(own, np.inf))
        ends = np.append(np.nextafter(own, -np.inf), high)
        gaps = np.maximum(ends - starts, 0.0)
        for j in range(len(starts)):
            if left > 0 and gaps[j] > 0:
                parts.append((starts[j], ends[j], left * gaps[j] / gaps.sum()))
            if j < len(own):
                parts.append((own[j], own[j], own_rows[j]))
    low, high, counts = np.array(parts).T
    largest = float(counts[low < high].max(initial=0.0) / max(counts.sum(), 1e-300))
    exact = bool((low == high).all())
    return replace(numbers, low=low, high=high, counts=counts, exact=exact, rank_error=largest)


NAMING_SHARE = 0.4  # of the statistics' rho, where categories are undeclared
CHOICE_SHARE = 0.02
NEEDED = 4.0  # standard deviations of the second release: values of so many rows begin to be named

Named = tuple[list[Any], np.ndarray]


@dataclass(frozen=True)
class SecondLook:
    """The release, fixed before a row is read.

    Args:
        columns: names of those it may be of.
        multiplier: of its noise. epsilon: of the choice.
        delta: of naming.
    """

    columns: tuple[str, ...]
    multiplier: float
    epsilon: float
    delta: float

    @classmethod
    def planned(
        cls, columns: Sequence[str], scope: PrivacyScope, share: float, delta_share: float, delta: float
    ) -> SecondLook:
        """Within `share` of the budget's rho, where naming has `delta_share` of delta, and here `delta`."""
        multiplier = scope.share_multiplier(share * (1 - CHOICE_SHARE), delta_share)
        epsilon = 2 / scope.share_multiplier(share * CHOICE_SHARE, delta_share)  # rho = epsilon^2 / 8
        return cls(tuple(columns), multiplier, epsilon, delta)

    def events(self, k: int) -> tuple[Event, ...]:
        """What the ledger charges where one unit has at most k rows: the choice, the counts, the names."""
        return (
            events.exponential("which column has further values", self.epsilon, sensitivity=k),
            events.discrete_gaussian("counts of that column's values", self.multiplier, rows=k),
            events.approximate("which further values occur", 0.0, self.delta),
        )

    def column(self, counts: Mapping[str, Mapping[Any, int]], named: Mapping[str, Named], scope: PrivacyScope) -> str:
        """The column whose unnamed values have most rows that a second release could name."""
        k = scope.rows_per_unit
        scores = [_nameable(counts[n], named[n][0], NEEDED * self.multiplier * k) for n in self.columns]
        return self.columns[chosen(np.array(scores), self.epsilon, scope.noise, sensitivity=k)]

    def named(
        self,
        by_value: Mapping[Any, int],
        before: Named,
        name: Callable[[Mapping[Any, int]], Named],
        scope: PrivacyScope,
    ) -> Named:
        """Values and noised counts of the column: those named before, counted anew, and others that `name` gives."""
        exact = np.array([by_value.get(v, 0) for v in before[0]], dtype=np.float64)
        again = noised_counts(exact, self.multiplier, scope.noise, sensitivity=scope.rows_per_unit)
        rows = dict(zip(before[0], again, strict=True))
        further, counts = name({v: n for v, n in by_value.items() if v not in rows})
        rows |= dict(zip(further, counts, strict=True))
        return list(rows), np.array(list(rows.values()))


def _nameable(by_value: Mapping[Any, int], named: Sequence[Any], needed: float) -> float:
    known = set(named)
    return float(sum(max(n - needed, 0.0) for v, n in by_value.items() if v is not None and v not in known))
