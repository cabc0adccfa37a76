"""The protected distribution of one number: atoms and smooth cells, from which every numeric encoder is built.

A released distribution may name every single value. Here no value of fewer than `rare_threshold` persons survives (of
rows, where persons are not known): values that many share stay atoms, the others are pooled into cells of at least
`rare_threshold` persons whose ends lie on a fixed grid (see `shared_cells.py`), and inside a cell the density is
uniform. The k smallest and k largest count as lying in the outermost cell that is left. What was released with noise,
or is not protected, is pooled by mass, and a wide gap between its values (`pooled_cells.py`) belongs to no cell.

Where marginals are to be parametric the smooth part is replaced by the best of some families, fitted to quantiles of
the protected distribution, never to rows. Heaped values stay atoms. The choice is by the smallest Kolmogorov-Smirnov
distance to the protected distribution.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from raysynth.encoding.pooled_cells import Grid, pooled, tolerance
from raysynth.encoding.shared_cells import Values, shared_cells
from raysynth.statistics.released import NumericDistribution

ATOM_SHARE = 0.0005  # a value of at least this share of the rows is kept as itself (heaping)
FEW_VALUES = 150  # up to this many distinct values every one with enough rows is an atom
SMOOTH_CELLS = 1024  # the rest is pooled into about this many cells of equal mass

CellSize: TypeAlias = Literal["least", "doubled", "coarse"]
MANY = 10_000  # values from which on a compiled loop pays


@dataclass(frozen=True)
class SmoothDistribution:
    """Ordered cells [low, high] with shares; low == high is an atom.

    Args:
        low, high: float64 (cells,), ascending, disjoint.
        share: share of the present values in each cell (cells,), sums to 1.
        missing_share: share of rows without a value.
        decimals: digits after the point (None: as many as float has).
        step: all values are `offset` plus a multiple of it; 0 where unknown.
        offset: see step.
        exact_atoms: atoms that the grid misses by what arithmetic left in them (2.1999999999999997) keep their bits.
    """

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray
    missing_share: float
    decimals: int | None
    step: float = 0.0
    offset: float = 0.0
    exact_atoms: bool = False

    @property
    def cumulative(self) -> np.ndarray:
        """Rank of the left edge of each cell, and 1 at the end: shape (cells + 1,)."""
        total = np.concatenate([[0.0], np.cumsum(self.share)])
        return total / total[-1]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Ranks of the left edges, ends and shares of the cells, as the compiled loops take them."""
        return self.cumulative, self.low, self.high, self.share

    @property
    def boundaries(self) -> np.ndarray:
        """Values that separate neighbouring cells, shape (cells - 1,): a value >= the boundary is in the right one.

        The middle of neighbouring doubles rounds to one of them, and a cell may begin where the atom before it lies:
        an atom keeps its own value, so the boundary behind it is a larger one.
        """
        ends, starts = self.high[:-1], self.low[1:]
        behind_atom = np.where(self.low[:-1] == ends, np.nextafter(ends, np.inf), ends)
        return np.maximum(np.minimum(ends / 2 + starts / 2, starts), behind_atom)

    def cell_of(self, x: np.ndarray) -> np.ndarray:
        """Index of the cell that each value belongs to; values outside go to the first or last."""
        return np.searchsorted(self.boundaries, x, side="right")

    def is_atom(self, x: np.ndarray) -> np.ndarray:
        """Whether each value (N,) is, to the last bit, that of an atom."""
        atoms = np.append(-np.inf, self.low[self.low == self.high])  # ascending
        found: np.ndarray = atoms[behind(atoms[1:], x)] == x
        return found

    def rank(self, x: np.ndarray) -> np.ndarray:
        """Rank in [0, 1] of each value; the middle of its jump for an atom."""
        cell = self.cell_of(x)
        width = self.high[cell] - self.low[cell]
        inside = np.where(
            width > 0,
            (np.clip(x, self.low[cell], self.high[cell]) - self.low[cell]) / np.where(width > 0, width, 1),
            0.5,
        )
        return self.cumulative[cell] + inside * self.share[cell]

    def rank_below(self, x: float, *, inclusive: bool) -> float:
        """P(value < x), or P(value <= x) when `inclusive`, as a decoded (rounded) value sees it."""
        edge = self._edge(x, inclusive)
        part = np.where(
            self.high > self.low,
            np.clip((edge - self.low) / np.where(self.high > self.low, self.high - self.low, 1), 0, 1),
            (self.low <= edge) if inclusive else (self.low < edge),
        )
        cumulative, whole = self.cumulative, int((part >= 1).sum())  # the same sums as everywhere, to the last bit
        if whole == len(part):
            return float(cumulative[-1])
        return float(cumulative[whole] + part[whole] * (cumulative[whole + 1] - cumulative[whole]))

    def quantile(self, rank: np.ndarray) -> np.ndarray:
        """Value at each rank in [0, 1], not yet rounded."""
        if len(rank) >= MANY:
            from raysynth.encoding.quantiles import quantiles

            return quantiles(rank, self.arrays)
        cumulative = self.cumulative
        cell = np.searchsorted(cumulative[1:-1], rank, side="right")
        inside = (rank - cumulative[cell]) / np.maximum(self.share[cell], 1e-300)
        return self.low[cell] + np.clip(inside, 0, 1) * (self.high[cell] - self.low[cell])

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Values on the grid of the real ones (decimals, step), inside the protected range."""
        drawn = x
        if self.step > 0:
            x = self.on_grid(np.rint((x - self.offset) / self.step))
        elif self.decimals is not None:
            x = np.round(x, self.decimals)
        if self.exact_atoms:
            x = np.where(self.is_atom(drawn), drawn, x)
        return np.clip(x, *self.ends)

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value on the grid of the real ones that lie in the protected range."""
        low, high = float(self.low[0]), float(self.high[-1])
        if self.unit == 0:
            return low, high
        inner_low = self.inner(low, upwards=True) if low < self.high[0] else low
        inner_high = self.inner(high, upwards=False) if self.low[-1] < high else high
        return (inner_low, inner_high) if inner_low <= inner_high else (low, high)

    def inner(self, end: float, *, upwards: bool) -> float:
        """The value of the grid at an end, else the next one upwards or downwards."""
        place = (end - self.offset) / self.unit
        whole = np.ceil(place - tolerance(place)) if upwards else np.floor(place + tolerance(place))
        return float(self.on_grid(whole))

    def possible(self, x: np.ndarray) -> np.ndarray:
        """Rounded values, those between two cells moved to the nearest one: for decoders that draw from no cell."""
        x = self.rounded(x)
        cell = self.cell_of(x)
        held = np.clip(x, self.low[cell], self.high[cell])
        return x if (held == x).all() else np.where(held == x, x, self.rounded(held))

    @property
    def unit(self) -> float:
        """Distance of neighbouring values on the grid; 0 where there is none."""
        return self.step if self.step > 0 else _unit(self.decimals)

    def on_grid(self, places: Any) -> Any:
        """The values at whole places of the grid."""
        if self.step > 0:
            x = self.offset + places * self.step
            return np.round(x, self.decimals) if self.decimals else x
        return np.round(places * self.unit, self.decimals or 0)

    def inwards(self, low: float, high: float) -> tuple[float, float]:
        """The smallest and the largest value of the grid inside a closed range."""
        return self._edge(low, False) + self.unit / 2, self._edge(high, True) - self.unit / 2

    def _edge(self, x: float, inclusive: bool) -> float:
        """Values below it, and no others, round to less than x (to x or less when `inclusive`)."""
        unit = self.unit
        if not np.isfinite(x) or unit == 0:
            return x
        place = (x - self.offset) / unit
        on_grid = abs(place - np.rint(place)) <= tolerance(place)
        on_grid = on_grid or bool(np.float32(self.on_grid(np.rint(place))) == x)  # as a column of float32 has it
        whole = np.rint(place) if on_grid else np.floor(place) if inclusive else np.ceil(place)
        return float(self.offset + (whole + (0.5 if inclusive else -0.5)) * unit)


def behind(edges: np.ndarray, x: np.ndarray) -> np.ndarray:
    """How many of the ascending edges are at most each value (N,)."""
    if len(x) < MANY or not len(edges):
        return np.searchsorted(edges, x, side="right")
    from raysynth.encoding.quantiles import searched

    return searched(edges, x)


def _unit(decimals: int | None) -> float:
    return 0.0 if decimals is None else 10.0**-decimals


def smooth(distribution: NumericDistribution, rare_threshold: int, size: CellSize = "least") -> SmoothDistribution:
    """The protected form of a released distribution; see the module for what survives.

    Args:
        distribution: of the values. rare_threshold: persons who must share what leaves.
        size: of a cell, where it is protected: 'least', the rows that must share it; 'doubled', twice that, as leaves
            of trees hold; 'coarse', no smaller a share than a middle rank's standard error, 1 / (2 sqrt(n)) of n
            independent rows. Values that are drawn from cells of m rows are a real row's 1 / m more often than
            another's, and so small a share tells of the sample alone.
    """
    if len(distribution.low) == 0:  # no value at all: any will do
        return SmoothDistribution(np.zeros(1), np.zeros(1), np.ones(1), 1.0, 0)
    distribution = _without_empty(distribution)
    step, offset = _step(distribution)
    unit = step if step > 0 else _unit(distribution.decimals)
    sizes = _rows_of_cells(distribution, rare_threshold, size)
    grid = Grid(unit, offset)
    if rare_threshold > 1:
        low, high, counts = _protected(distribution, rare_threshold, grid, *sizes)
    else:
        low, high, counts = pooled(distribution, grid, *sizes)
    result = SmoothDistribution(
        low,
        high,
        counts / max(counts.sum(), 1e-300),
        distribution.missing / max(distribution.total + distribution.missing, 1.0),
        distribution.decimals,
        step,
        offset,
    )
    atoms = low[low == high]
    if not np.array_equal(result.rounded(atoms), atoms):
        result = replace(result, exact_atoms=True)
    return result if rare_threshold > 1 else ends_on_grid(result)


def _protected(
    distribution: NumericDistribution, rare_threshold: int, grid: Grid, atom_rows: float, rows_per_cell: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells (low, high, rows) that enough persons share."""
    holders = _Rows.of(distribution, rare_threshold) if distribution.sharers is None else distribution.sharers
    values = Values(distribution.low, distribution.high, distribution.counts, grid.unit, grid.offset)
    cells = shared_cells(values, holders, atom_rows, rows_per_cell, float(rare_threshold))
    low, high, rows = (np.array([getattr(c, name) for c in cells]) for name in ("low", "high", "rows"))
    return low, high, rows


def _rows_of_cells(distribution: NumericDistribution, rare_threshold: int, size: CellSize) -> tuple[float, float]:
    """Rows that make a value an atom, and those of a cell of several values."""
    rows = distribution.total
    atom_rows = max(rare_threshold, 1 if len(distribution.low) <= FEW_VALUES else ATOM_SHARE * rows)
    least = float(rare_threshold)
    if rare_threshold > 1 and size != "least":
        each = _rows_as_one(distribution)
        least = max(least, (rows * each) ** 0.5 / 2) if size == "coarse" else 2 * least * each
    return atom_rows, max(least, rows / SMOOTH_CELLS)


def _rows_as_one(distribution: NumericDistribution) -> float:
    """How often a person has a value, on average, by the values that fewer than k persons have; such rows are one.

    A date of birth says the same in all rows of a person, a measurement something new in each.
    """
    if distribution.sharers is None:
        return 1.0
    persons = distribution.sharers.counts(len(distribution.low))
    few = persons < distribution.sharers.most
    return max(float(distribution.counts[few].sum()) / max(int(persons[few].sum()), 1), 1.0)


@dataclass(frozen=True)
class _Rows:
    """Each row is a person: the rows up to each cell, shape (cells + 1,), and how many are enough."""

    before: np.ndarray
    enough: int

    @classmethod
    def of(cls, distribution: NumericDistribution, enough: int) -> _Rows:
        """Those of a distribution."""
        return cls(np.concatenate([[0.0], np.cumsum(distribution.counts, dtype=float)]), enough)

    def are_enough(self, first: int, after: int) -> bool:
        """Whether there are enough rows in the cells first .. after - 1."""
        return bool(self.before[after] - self.before[first] >= self.enough)


def _without_empty(distribution: NumericDistribution) -> NumericDistribution:
    """Without cells that no row is in (noised counts can be 0), unless none is left."""
    seen = distribution.counts > 0
    if seen.all() or not seen.any():
        return distribution
    return replace(
        distribution, low=distribution.low[seen], high=distribution.high[seen], counts=distribution.counts[seen]
    )


def ends_on_grid(distribution: SmoothDistribution) -> SmoothDistribution:
    """Both ends moved inwards to values with the column's decimals and step, since clipping gives the ends."""
    if distribution.unit == 0:
        return distribution
    low, high = distribution.low.copy(), distribution.high.copy()
    if low[0] < high[0]:
        inward = distribution.inner(low[0], upwards=True)
        low[0] = inward if inward <= high[0] else low[0]
    if low[-1] < high[-1]:
        inward = distribution.inner(high[-1], upwards=False)
        high[-1] = inward if inward >= low[-1] else high[-1]
    return replace(distribution, low=low, high=high)


def _step(distribution: NumericDistribution) -> tuple[float, float]:
    """Step and offset of numbers and times that are all a multiple apart; (0, 0) where there is none."""
    least = 1.5 * (_unit(distribution.decimals) or 1)  # the last digit itself is no step
    if distribution.step is None or distribution.step < least or not len(distribution.low):
        return 0.0, 0.0
    if distribution.decimals:
        return float(distribution.step), float(np.round(distribution.low[0] % distribution.step, distribution.decimals))
    offset = float(distribution.low[0] % distribution.step)
    if min(offset, distribution.step - offset) <= np.spacing(distribution.low[0]):
        offset = 0.0  # the smallest value is beyond the whole numbers that float64 holds
    return float(distribution.step), offset


FAMILIES = ("norm", "lognorm", "gamma", "expon", "weibull_min", "beta", "uniform", "t", "gumbel_r")
KEPT_ATOM_SHARE = 0.02  # a heaped value has this share of the rows at least,
HEAPED = 5  # and this many times the median cell's
FEW_CELLS = 20
N_POINTS = 1000
N_CELLS = 1000


def parametric(distribution: SmoothDistribution) -> tuple[SmoothDistribution, str]:
    """The distribution with its smooth part in parametric form, and the name of the family.

    Families: those of `FAMILIES` (scipy.stats), each with free location and scale. A distribution of at most 20 cells,
    or mostly of heaped values, stays as it is ('empirical').
    """
    heaped = max(KEPT_ATOM_SHARE, HEAPED * float(np.median(distribution.share)))
    atom = (distribution.low == distribution.high) & (distribution.share >= heaped)
    rest = ~atom
    if len(rest) <= FEW_CELLS or distribution.share[rest].sum() < 0.3:
        return distribution, "empirical"
    smooth = replace(
        distribution,
        low=distribution.low[rest],
        high=distribution.high[rest],
        share=distribution.share[rest] / distribution.share[rest].sum(),
    )
    name, fitted = _best_family(smooth)
    edges = np.clip(fitted.ppf(np.linspace(0, 1, N_CELLS + 1)), distribution.low[0], distribution.high[-1])
    low, high, share = _merged_cells(np.unique(edges), fitted, distribution, atom)
    return replace(distribution, low=low, high=high, share=share), name


def _best_family(smooth: SmoothDistribution) -> tuple[str, Any]:
    """Name and frozen scipy distribution of the family with the smallest KS distance."""
    from scipy import stats

    ranks = (np.arange(N_POINTS) + 0.5) / N_POINTS
    points = smooth.quantile(ranks)
    best: tuple[float, str, Any] | None = None
    for name in FAMILIES:
        family = getattr(stats, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                fitted = family(*family.fit(points))
                distance = float(np.abs(fitted.cdf(points) - ranks).max())
            except (ValueError, FloatingPointError, stats.FitError):
                continue  # this family cannot hold these values; another one can
        if np.isfinite(distance) and (best is None or distance < best[0]):
            best = distance, name, fitted
    assert best is not None  # the uniform family always fits
    return best[1], best[2]


def _merged_cells(
    edges: np.ndarray, fitted: Any, distribution: SmoothDistribution, atom: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth cells between the edges, cut at the atoms, with the atoms among them."""
    at = distribution.low[atom]
    edges = np.union1d(edges, at)
    mass = np.diff(fitted.cdf(edges))
    mass = mass / mass.sum() * (1 - distribution.share[atom].sum())
    low, high = np.concatenate([edges[:-1], at]), np.concatenate([edges[1:], at])
    share = np.concatenate([mass, distribution.share[atom]])
    order = np.lexsort((high, low))
    keep = share[order] > 0
    return low[order][keep], high[order][keep], share[order][keep]
