"""Finding the location of a column: a robust sum over the few columns that it follows most closely.

Two forms are tried: a sum of values (a bill less a payment, a sum of parts), and a sum of smooth functions of ranks,
among them what share of the column lies below the other's value. Both minimise absolute errors, since what follows
another column closely seldom does so in all rows; coefficients are of all rows, or of those between two of eight knots.

Shape legend: N rows, F inputs, R codes, K targets, D terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysynth.encoding.distribution import SmoothDistribution, smooth
from raysynth.methods.trees.columns import ColumnView
from raysynth.methods.trees.located import Location, OnRanks, ranks_without
from raysynth.statistics.released import NumericDistribution

SPIKE = 0.01  # share of the rows that makes a code a spike
MOST_SPIKES = 12
HEAVY = 0.05  # share of the rows that makes a residual a kind of its own
FEWEST_CODES, FEWEST_ROWS, LEAST_SHARE = 64, 500, 0.3  # of a column that is worth it, and of rows that are no spikes
CLOSE = 1 / 128  # ranks from the location that a quarter of the rows keep, at most: ties and sums do
FOLLOWED = 4  # columns that a location is made of
FITTED_ROWS = 4_096
KNOTS = 8
ROUNDS = 8  # of reweighted least squares
GRID = 1 << 14  # residuals are multiples of 1 / GRID
WINDOW = 1 / 256  # ranks to either side that count as right
_NEAR = 1 / 1024


@dataclass(frozen=True)
class LocatedColumn:
    """A column coded as residuals.

    Args:
        location: what turns codes of residuals into the column's.
        location_N: of each row.
        own_N: codes of residuals.
        targets_NK: numbers whose variance splits shall lower.
        plain, coded: what the column's own codes and those of residuals say of its ranks.
    """

    location: Location
    location_N: np.ndarray
    own_N: np.ndarray
    targets_NK: np.ndarray
    plain: OnRanks
    coded: OnRanks

    @property
    def cardinality(self) -> int:
        """Codes of residuals, spikes and 'missing'."""
        return len(self.location.low) + len(self.location.spikes) + 1


def located_column(
    own_N: np.ndarray, view: ColumnView, inputs_FN: Sequence[np.ndarray], views: Sequence[ColumnView], rare: int
) -> LocatedColumn | None:
    """The column coded as residuals; None where it follows no others closely.

    Args:
        own_N: its codes. view: of the column.
        inputs_FN: codes of the columns before it. views: theirs.
        rare: rows that a cell of residuals needs.
    """
    if view.ranks is None or view.middle is None or view.cardinality < FEWEST_CODES or not len(inputs_FN):
        return None
    share = np.bincount(own_N, minlength=view.cardinality)[:-1] / len(own_N)
    spikes = np.flatnonzero(share >= SPIKE)
    rows = np.flatnonzero(~np.isin(own_N, np.append(spikes, view.cardinality - 1)))
    if len(rows) < max(FEWEST_ROWS, LEAST_SHARE * len(own_N)) or len(spikes) > MOST_SPIKES:
        return None
    ranks = ranks_without(view, spikes)
    none = np.zeros(0)
    blank = Location({}, False, none, none, spikes.astype(np.uint16), ranks, view.middle)
    some = rows if len(rows) <= FITTED_ROWS else rows[np.linspace(0, len(rows) - 1, FITTED_ROWS).astype(np.int64)]
    fitting = _Fitting(blank, own_N[some], [c[some] for c in inputs_FN], views, 2 * rare)
    location = min((fitting.of_values(), fitting.of_ranks()), key=fitting.loss)
    location_N = location.of(inputs_FN)
    own_rank_N = np.append(ranks[:-1] / 2 + ranks[1:] / 2, 0.5)[own_N]
    residual_N = np.rint((own_rank_N - location_N) * GRID) / GRID
    if np.quantile(np.abs(residual_N[rows]), 0.25) > CLOSE:
        return None
    cells = _cells(residual_N[rows], rare)
    location = replace(location, low=cells.low, high=cells.high)
    return _coded(location, cells, own_N, rows, location_N, residual_N)


def _cells(residual_N: np.ndarray, rare: int) -> SmoothDistribution:
    """Protected cells of residuals, as of any number."""
    values, counts = np.unique(residual_N, return_counts=True)
    spread = float(residual_N.std())
    exact = NumericDistribution(values, values, counts, 0.0, float(residual_N.mean()), spread, None, True, 0.0)
    return smooth(exact, rare)


def _coded(
    location: Location,
    cells: SmoothDistribution,
    own_N: np.ndarray,
    rows: np.ndarray,
    location_N: np.ndarray,
    residual_N: np.ndarray,
) -> LocatedColumn:
    n, ranks = len(own_N), location.ranks
    fixed = location.fixed[own_N]
    codes_N = np.where(fixed >= 0, fixed, cells.cell_of(residual_N)).astype(np.uint16)
    numbers = np.stack([cells.rank(residual_N), np.clip(residual_N, *np.quantile(residual_N[rows], [0.01, 0.99]))], 1)
    numbers = np.where((fixed >= 0)[:, None], numbers[rows].mean(0), numbers)
    heavy = np.flatnonzero(np.bincount(codes_N, minlength=len(cells.low)) >= HEAVY * len(own_N))
    kinds = [codes_N == code for code in np.union1d(heavy, fixed[fixed >= 0])]
    targets = np.column_stack([numbers, *kinds])
    own = own_N.astype(np.int64)
    low, high = (np.append(e, 0.0)[own] for e in (ranks[:-1], ranks[1:]))
    middle = low / 2 + high / 2
    window = np.stack([np.minimum(low, middle - WINDOW), np.maximum(high, middle + WINDOW)], 1)
    plain = OnRanks(ranks[:-1], ranks[1:], np.zeros(n), window, np.where(fixed >= 0, own, -1), own_N)
    coded = OnRanks(cells.low, cells.high, location_N, window, fixed, codes_N)
    return LocatedColumn(location, location_N, codes_N, targets / np.maximum(targets.std(0), 1e-9), plain, coded)


class _Fitting:
    """Fits locations to rows without spikes and missing values; no coefficient is of fewer than `fewest` of them."""

    def __init__(
        self,
        blank: Location,
        own_N: np.ndarray,
        inputs_FN: Sequence[np.ndarray],
        views: Sequence[ColumnView],
        fewest: int,
    ) -> None:
        self.blank, self.inputs_FN, self.views, self.fewest = blank, inputs_FN, views, fewest
        self.centres = blank.ranks[:-1] / 2 + blank.ranks[1:] / 2
        self.rank_N, self.value_N = self.centres[own_N], blank.middle[own_N]

    def loss(self, location: Location) -> float:
        """Mean logarithm of the distance between ranks and locations: small where many rows lie close."""
        return float(np.log(np.abs(self.rank_N - location.of(self.inputs_FN)) + _NEAR).mean())

    def of_values(self) -> Location:
        """A sum of values, with whole coefficients where these do as well."""
        numbers = {
            place: np.append(view.middle, view.middle @ np.diff(view.ranks))
            for place, view in enumerate(self.views)
            if view.middle is not None and view.ranks is not None
        }
        chosen = self._followed({p: [t] for p, t in numbers.items()}, self.value_N)
        if not chosen:
            return replace(self.blank, tables={0: np.full(self.views[0].cardinality, 0.5)})
        terms_ND = np.stack([numbers[p][self.inputs_FN[p]] for p in chosen], 1)
        weights = _least_absolute(np.column_stack([terms_ND, np.ones(len(terms_ND))]), self.value_N)[:-1]
        whole = np.rint(weights)
        candidates = [self._linear(chosen, numbers, terms_ND, w) for w in (whole, np.round(weights, 4))]
        return min(candidates, key=self.loss)

    def _linear(
        self, chosen: Sequence[int], numbers: dict[int, np.ndarray], terms_ND: np.ndarray, weights: np.ndarray
    ) -> Location:
        rest = float(np.median(self.value_N - terms_ND @ weights))
        tables = {p: w * numbers[p] for p, w in zip(chosen, weights.tolist(), strict=True)}
        tables[chosen[0]] = tables[chosen[0]] + rest
        return replace(self.blank, tables=tables, of_values=True)

    def of_ranks(self) -> Location:
        """A sum of piecewise linear functions of ranks, and of the column's share below the other's values."""
        lines = {p: self._lines(p, view) for p, view in enumerate(self.views)}
        chosen = self._followed(lines, self.rank_N)
        if not chosen:
            return replace(self.blank, tables={0: np.full(self.views[0].cardinality, 0.5)})
        bases = [np.column_stack([*lines[p], *self._hats(p)]) for p in chosen]
        terms_ND = np.column_stack([b[self.inputs_FN[p]] for p, b in zip(chosen, bases, strict=True)])
        weights = _least_absolute(np.column_stack([terms_ND, np.ones(len(terms_ND))]), self.rank_N)
        parts = np.split(weights[:-1], np.cumsum([b.shape[1] for b in bases])[:-1])
        tables = {p: b @ w for p, b, w in zip(chosen, bases, parts, strict=True)}
        tables[chosen[0]] = tables[chosen[0]] + weights[-1]
        return replace(self.blank, tables=tables)

    def _lines(self, place: int, view: ColumnView) -> list[np.ndarray]:
        """Numbers (R,) for each code of an input that the column may follow."""
        if view.ordered and view.middle is not None:
            below = np.interp(view.middle, self.blank.middle, self.centres)
            return [view.rank, np.append(below, below.mean())]
        if view.ordered:
            return [view.rank]
        rows = np.bincount(self.inputs_FN[place], minlength=view.cardinality)
        total = np.bincount(self.inputs_FN[place], weights=self.rank_N, minlength=view.cardinality)
        mean = self.rank_N.mean()
        return [np.where(rows >= self.fewest, (total + 20 * mean) / (rows + 20), mean)]

    def _hats(self, place: int) -> list[np.ndarray]:
        """Piecewise linear terms (R,) of an ordered input, and whether it is missing."""
        view = self.views[place]
        if not view.ordered:
            return []
        missing = np.arange(view.cardinality) == view.cardinality - 1
        if (self.inputs_FN[place] == view.cardinality - 1).sum() < self.fewest:
            missing[-1] = False
        knots = np.arange(1, KNOTS) / KNOTS
        return [*(np.where(missing, 0.0, np.maximum(view.rank - k, 0.0)) for k in knots), missing.astype(float)]

    def _followed(self, lines: dict[int, list[np.ndarray]], target_N: np.ndarray) -> list[int]:
        """The inputs that the target follows most, one after the other (orthogonal matching pursuit)."""
        places = [p for p, tables in lines.items() for _ in tables]
        if not places:
            return []
        terms_ND = np.column_stack([t[self.inputs_FN[p]] for p, tables in lines.items() for t in tables])
        terms_ND = terms_ND - terms_ND.mean(0)
        terms_ND = terms_ND / np.maximum(np.sqrt((terms_ND**2).sum(0)), 1e-9)
        rest_N = target_N - target_N.mean()
        chosen: list[int] = []
        for _ in range(FOLLOWED):
            with_target = np.abs(terms_ND.T @ rest_N)
            with_target[np.isin(places, chosen)] = -1.0
            best = places[int(with_target.argmax())]
            if with_target.max() <= 1e-6 * np.linalg.norm(target_N - target_N.mean()):
                break
            chosen.append(best)
            own = terms_ND[:, np.isin(places, chosen)]
            centred = target_N - target_N.mean()
            rest_N = centred - own @ np.linalg.lstsq(own, centred, rcond=None)[0]
        return chosen


def _least_absolute(terms_ND: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    """Coefficients (D,) of least absolute errors, by reweighted least squares with a trace of ridge."""
    scale = np.maximum(np.abs(terms_ND).mean(0), 1e-12)
    terms = terms_ND / scale
    ridge = np.eye(terms.shape[1]) * 1e-6
    ridge[-1, -1] = 0.0  # the constant term
    weight_N, coefficients = np.ones(len(terms)), np.zeros(terms.shape[1])
    for _ in range(ROUNDS):
        weighted = terms * (weight_N / weight_N.sum())[:, None]
        coefficients = np.linalg.lstsq(weighted.T @ terms + ridge, weighted.T @ target_N, rcond=None)[0]
        error_N = np.abs(target_N - terms @ coefficients)
        weight_N = 1.0 / np.maximum(error_N, max(1e-3 * float(np.median(error_N)), 1e-9))
    return coefficients / scale
