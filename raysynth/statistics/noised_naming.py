"""A second look at one column of undeclared categories, which the first gave no names: one with many middling values.

Fifty values of a fiftieth of the rows each pass no threshold under the noise that twenty columns share, and a column
without a name is lost with all its relations. So a part of the budget is kept for one column, chosen by how many rows
its unnamed values have beyond what a second release needs to name them: a column of few values, all named, and one of
free text have none such.

Unit: one row (k rows of one privacy unit). Choice: one row changes one value's count by 1, and with it the sum over
values of max(count - T, 0) by at most 1 (k); T follows from noise alone; exponential mechanism (`counts.chosen`).
Release: counts of disjoint values, L2 sensitivity 1 (k): Gaussian noise for values named before, which are public by
now, stability for the others (`counts.stable_counts`). All three events have parameters that are fixed before a row is
read; that the column follows from earlier answers is adaptive composition, as in `noised_range.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.ledger import Event
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import chosen, noised_counts

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
