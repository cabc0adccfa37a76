"""Numbers to codes and back, in two forms: bins, and modes (CTGAN section 4.2).

Both are built from a `SmoothDistribution`, so that decoding gives values of the protected distribution, never
a real row's. Datetimes and timedeltas are integers of their unit. Values that are null, NaN or infinite are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedColumn
from raysynth.encoding.distribution import MANY, SMOOTH_CELLS, SmoothDistribution
from raysynth.encoding.mixture import Mixture, fit_mixture
from raysynth.encoding.numbers import NumericEncoder, inconsistent, protected_fields, stored_fields
from raysynth.schema.columns import ColumnSchema
from raysynth.statistics.released import NumericDistribution

SPARSE = 0.01  # rows for each place of a grid: of fewer, drawn values meet real ones by .001 too often at most
ALIKE, AS_DENSE = 2.0, 3.0  # times as wide, and as dense, as another: cells that differ by chance


@dataclass(frozen=True, kw_only=True)
class BinEncoder(NumericEncoder):
    """A number as one code: an atom of its own, or a quantile bin; the last code is 'missing'.

    Args:
        first_cell: index of the first cell of the distribution in each code, ascending, shape (cardinality - 1,).
        starts: values from which on each code but the first was learned, (cardinality - 2,); None: the distribution's.
    """

    first_cell: np.ndarray
    starts: np.ndarray | None = None

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return len(self.first_cell) + 1

    @property
    def ranks(self) -> np.ndarray:
        """Rank of the left edge of each code, and 1 at the end: shape (cardinality,)."""
        return self.distribution.cumulative[np.append(self.first_cell, len(self.distribution.share))]

    @property
    def shares(self) -> np.ndarray:
        """Released share of rows of each code, shape (cardinality,)."""
        missing = self.distribution.missing_share
        return np.append(np.diff(self.ranks) * (1 - missing), missing)

    def layout(self) -> EncodedColumn:
        """Where the column stands in encoded blocks."""
        return EncodedColumn(self.name, self.kind, self.cardinality, self.cardinality - 1, ordered=True)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, None]:
        """Codes (N,) uint16."""
        x, missing = self.places(array)
        starts = self.distribution.boundaries[self.first_cell[1:] - 1] if self.starts is None else self.starts
        codes = self._interval_of(x, starts, array)
        if missing is not None:
            codes[missing] = self.cardinality - 1
        return codes, None

    def decode(
        self, codes: np.ndarray, values: None, rng: np.random.Generator, bounds: tuple[float, float] | None = None
    ) -> pa.Array:
        """Arrow array (N,): a random rank inside the code (and inside `bounds`, closed), turned into a value."""
        missing = codes == self.cardinality - 1
        if bounds is None:
            return self.drawn_to_arrow(self._drawn(codes, rng), missing, rng)
        ranks, asked, bounds = self.ranks, bounds, (self.place(bounds[0]), self.place(bounds[1]))
        code = np.where(missing, 0, codes)
        low = np.maximum(ranks[code], self.distribution.rank_below(bounds[0], inclusive=False))
        high = np.minimum(ranks[code + 1], self.distribution.rank_below(bounds[1], inclusive=True))
        high = np.maximum(low, high)
        x = self.distribution.quantile(low + rng.random(len(codes)) * (high - low))
        x = np.where(high > low, np.clip(x, *self.distribution.inwards(*bounds)), x)  # ranks have fewer digits
        return self.drawn_to_arrow(x, missing, rng, asked)

    def _drawn(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value (N,) for each code, any for 'missing'; a code that is one atom needs no draw."""
        cells = self.distribution
        first, after = self.first_cell, np.append(self.first_cell[1:], len(cells.share))
        is_atom = (after == first + 1) & (cells.low[first] == cells.high[first])
        fixed, is_spread = np.append(cells.low[first], cells.low[0]), np.append(~is_atom, False)
        if len(codes) >= MANY:
            from raysynth.encoding.quantiles import drawn

            return drawn(codes, fixed, is_spread, self.ranks, rng, cells.arrays)
        x: np.ndarray = fixed[codes]
        spread = np.flatnonzero(is_spread[codes])
        if len(spread):
            ranks, code = self.ranks, codes[spread]
            low = ranks[code]
            x[spread] = cells.quantile(low + rng.random(len(spread)) * (ranks[code + 1] - low))
        return x

    def evened(self, rows: np.ndarray) -> BinEncoder:
        """The same codes, from which values are drawn as the function `evened` has it.

        Args:
            rows: drawn from each code that is a value, (cardinality - 1,).
        """
        if len(self.first_cell) < len(self.distribution.share):
            return self
        return replace(self, distribution=evened(self.distribution, rows), starts=self.distribution.boundaries)

    def condition_weights(self, bounds: tuple[float, float]) -> np.ndarray:
        """P(low <= value <= high | code), shape (cardinality,); missing never satisfies."""
        ranks = self.ranks
        low = self.distribution.rank_below(self.place(bounds[0]), inclusive=False)
        high = self.distribution.rank_below(self.place(bounds[1]), inclusive=True)
        overlap = np.minimum(ranks[1:], high) - np.maximum(ranks[:-1], low)
        return np.append(np.clip(overlap / np.maximum(np.diff(ranks), 1e-300), 0, 1), 0.0)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta, arrays = self._shared_state()
        starts = {} if self.starts is None else {"starts": self.starts}
        return meta, {**arrays, **starts, "first_cell": self.first_cell}

    @classmethod
    def from_state(cls, column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> BinEncoder:
        """The inverse of `to_state`."""
        first = arrays["first_cell"]
        shared = stored_fields(column, meta, arrays)
        distribution = shared["distribution"]
        is_partition = first.ndim == 1 and len(first) > 0 and first[0] == 0 and bool((np.diff(first) > 0).all())
        if not (first.dtype.kind in "iu" and is_partition and first[-1] < len(distribution.share) <= 65_000):
            raise inconsistent(column.name)
        starts = arrays.get("starts")
        if starts is not None and not (
            starts.shape == (len(first) - 1,) and np.isfinite(starts).all() and (np.diff(starts) >= 0).all()
        ):
            raise inconsistent(column.name)
        return cls(**shared, first_cell=first, starts=starts)


@dataclass(frozen=True, kw_only=True)
class ModeEncoder(NumericEncoder):
    """Mode-specific normalisation (Xu et al. 2019, section 4.2): code = mode, value = (x - mean) / (4 std) in it.

    Heavy atoms (heaped values) are modes of width 0. The mode of a value is the most probable one, so that encoding
    is a pure function. The last code is 'missing'.

    Args:
        mixture: the modes, fitted to the protected distribution.
        keeps_gaps: values between the cells of the distribution are moved to the nearest one (not by files of before).
    """

    mixture: Mixture
    keeps_gaps: bool = True

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return len(self.mixture.weight) + 1

    @property
    def shares(self) -> np.ndarray:
        """Released share of rows of each code, shape (cardinality,)."""
        rank = np.append(np.insert(self.distribution_rank(self.mixture.boundaries), 0, 0.0), 1.0)
        missing = self.distribution.missing_share
        share = np.bincount(self.mixture.interval_mode, weights=np.diff(rank), minlength=len(self.mixture.weight))
        return np.append(share * (1 - missing), missing)

    def distribution_rank(self, x: np.ndarray) -> np.ndarray:
        """P(value < x) under the protected distribution."""
        return np.array([self.distribution.rank_below(v, inclusive=False) for v in x])

    def layout(self) -> EncodedColumn:
        """Where the column stands in encoded blocks (the value's index is set by the table encoder)."""
        return EncodedColumn(self.name, self.kind, self.cardinality, self.cardinality - 1, value_index=0)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Codes (N,) uint16 and normalised values (N,) float32 in [-1, 1]."""
        x, missing = self.places(array)
        mixture = self.mixture
        mode = mixture.interval_mode[self._interval_of(x, mixture.boundaries, array)]
        codes = mode.astype(np.uint16)
        scale = np.where(mixture.std > 0, 4 * mixture.std, np.inf)
        alpha = np.clip((x - mixture.mean[mode]) / scale[mode], -1, 1).astype(np.float32)
        if missing is not None:
            codes[missing] = self.cardinality - 1
            alpha[missing] = 0
        return codes, alpha

    def decode(
        self, codes: np.ndarray, values: np.ndarray, rng: np.random.Generator, bounds: tuple[float, float] | None = None
    ) -> pa.Array:
        """Arrow array (N,) of mean + 4 std value of each row's mode."""
        missing = codes == self.cardinality - 1
        mode = np.where(missing, 0, codes)
        x = self.mixture.mean[mode] + 4 * self.mixture.std[mode] * values.astype(np.float64)
        x = self.distribution.possible(x) if self.keeps_gaps else x
        return self.drawn_to_arrow(x, missing, rng)

    def condition_weights(self, bounds: tuple[float, float]) -> np.ndarray:
        """P(low <= value <= high | code), shape (cardinality,): by the distribution on each mode's intervals."""
        bounds = self.place(bounds[0]), self.place(bounds[1])
        edges = np.concatenate([[-np.inf], self.mixture.boundaries, [np.inf]])
        below = [self._rank_between(e, bounds) for e in edges]
        inside = np.bincount(self.mixture.interval_mode, weights=np.diff(below), minlength=len(self.mixture.weight))
        share = self.shares[:-1] / max(1 - self.distribution.missing_share, 1e-300)
        return np.append(np.clip(inside / np.maximum(share, 1e-300), 0, 1), 0.0)

    def _rank_between(self, x: float, bounds: tuple[float, float]) -> float:
        low = self.distribution.rank_below(bounds[0], inclusive=False)
        high = self.distribution.rank_below(bounds[1], inclusive=True)
        rank = 0.0 if x == -np.inf else 1.0 if x == np.inf else self.distribution.rank_below(x, inclusive=False)
        return float(np.clip(rank, low, high))

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta, arrays = self._shared_state()
        modes = {f"mixture_{f.name}": getattr(self.mixture, f.name) for f in fields(Mixture)}
        return {**meta, "keeps_gaps": self.keeps_gaps}, {**arrays, **modes}

    @classmethod
    def from_state(cls, column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> ModeEncoder:
        """The inverse of `to_state`."""
        mixture = Mixture(**{f.name: arrays[f"mixture_{f.name}"] for f in fields(Mixture)})
        modes, intervals = len(mixture.weight), mixture.interval_mode
        shapes = (mixture.mean.shape, mixture.std.shape, (len(mixture.boundaries) + 1,))
        if shapes != ((modes,), (modes,), intervals.shape) or intervals.dtype.kind not in "iu":
            raise inconsistent(column.name)
        if modes == 0 or intervals.min() < 0 or intervals.max() >= modes or not np.isfinite(mixture.mean).all():
            raise inconsistent(column.name)
        keeps_gaps = meta.get("keeps_gaps") is True
        return cls(**stored_fields(column, meta, arrays), mixture=mixture, keeps_gaps=keeps_gaps)


def build_bins(column: ColumnSchema, released: NumericDistribution, *, rare_threshold: int, n_bins: int) -> BinEncoder:
    """About n_bins codes: heavy values (half of 1 / n_bins of the rows) as they are, the rest in bins of equal mass.

    The rest is divided by its own mass, so that a column of mostly zeros keeps as fine a view of its others. Every
    cell of a column with at most 1.5 n_bins of them gets a code of its own. Where more bins are asked for than
    there are fine cells (`SMOOTH_CELLS`), each is learned beside other columns: they stay finer than chance makes them
    (`BinEncoder.evened`).
    """
    shared = protected_fields(column, released, rare_threshold, "coarse" if n_bins <= SMOOTH_CELLS else "doubled")
    distribution: SmoothDistribution = shared["distribution"]
    n_cells = len(distribution.share)
    if n_cells <= 1.5 * n_bins:
        first = np.arange(n_cells)
    else:
        heavy = (distribution.low == distribution.high) & (distribution.share >= 0.5 / n_bins)
        first = np.flatnonzero(begins_run(distribution.share, heavy, n_bins))
    encoder = BinEncoder(**shared, first_cell=first)
    return encoder.with_calendar(released, rare_threshold, np.ones(n_cells, bool))


def evened(cells: SmoothDistribution, rows: np.ndarray) -> SmoothDistribution:
    """The same cells with ends between which values are even over as many rows as a middle rank's standard error is,
    sqrt(rows) / 2: neighbours that touch and are about as wide and as dense divide what they span by their rows.

    What a cell has by chance more than its neighbours makes it wider, and not its values denser. So values drawn from
    fine cells meet real ones no more often than if cells held so many rows, and stay within a few rows of where they
    were. Where there are so many more places than rows that values hardly meet, cells stay as they are.

    Args:
        rows: as draws from the cells have them, (cells,).
    """
    width = cells.high - cells.low
    joins = ((width[1:] > 0) & (width[:-1] > 0) & (cells.low[1:] == cells.high[:-1])).tolist()
    low, high = cells.low.copy(), cells.high.copy()
    most, widths, counts = float(rows.sum()) ** 0.5 / 2, width.tolist(), rows.tolist()
    first = 0
    while first < len(widths):
        after, inside, span = first + 1, counts[first], widths[first]
        narrow, wide = span, span
        thin = dense = max(inside, 0.5) / span if span > 0 else 0.0
        while after < len(widths) and joins[after - 1] and inside < most:
            own, there = counts[after], widths[after]
            narrow, wide = min(narrow, there), max(wide, there)
            thin, dense = min(thin, max(own, 0.5) / there), max(dense, max(own, 0.5) / there)
            inside, span = inside + own, span + there
            if wide > ALIKE * narrow or dense > AS_DENSE * thin or inside * cells.unit < SPARSE * span:
                break
            after += 1
        up_to = np.cumsum(rows[first:after])
        if after > first + 1 and up_to[-1] > 0:
            low[first + 1 : after] = low[first] + up_to[:-1] / up_to[-1] * (cells.high[after - 1] - low[first])
            high[first : after - 1] = low[first + 1 : after]
        first = after
    return replace(cells, low=low, high=high)


def begins_run(mass: np.ndarray, alone: np.ndarray, most: int) -> np.ndarray:
    """Whether each of neighbouring cells begins a run, of about `most`: some are `alone`, the others have equal mass.

    Args:
        mass: of each cell (cells,). alone: bool (cells,).
    """
    rest = np.where(alone, 0.0, mass)
    middle = (np.cumsum(rest) - rest / 2) / max(rest.sum(), 1e-300)
    target = np.where(alone, -1, np.floor(middle * max(most - alone.sum(), 1)))
    return np.append(True, (target[1:] != target[:-1]) | alone[1:] | alone[:-1])


def build_modes(
    column: ColumnSchema, released: NumericDistribution, *, rare_threshold: int, n_modes: int
) -> ModeEncoder:
    """Encoder of modes: heavy atoms, and a Gaussian mixture for the rest, both from a released distribution."""
    shared = protected_fields(column, released, rare_threshold)
    distribution: SmoothDistribution = shared["distribution"]
    mixture = fit_mixture(distribution, n_modes)
    kept = np.isin(distribution.low, mixture.mean[mixture.std == 0])
    return ModeEncoder(**shared, mixture=mixture).with_calendar(released, rare_threshold, kept)


def build_scaled(column: ColumnSchema, released: NumericDistribution, *, rare_threshold: int) -> ModeEncoder:
    """Encoder for sequences: heavy atoms, and one mode for all the rest that maps its protected range to [-1, 1]."""
    modes = build_modes(column, released, rare_threshold=rare_threshold, n_modes=1)
    smooth = modes.mixture.std > 0
    if not smooth.any():
        return modes
    low, high = modes.distribution.low[0], modes.distribution.high[-1]
    mean = np.where(smooth, low / 2 + high / 2, modes.mixture.mean)
    std = np.where(smooth, high / 8 - low / 8, 0.0)
    return replace(modes, mixture=replace(modes.mixture, mean=mean, std=std))
