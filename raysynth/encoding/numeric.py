"""Numbers to codes and back, in two forms: bins, and modes (CTGAN section 4.2).

Both are built from a `SmoothDistribution`, so that decoding gives values of the protected distribution, never
a real row's. Datetimes and timedeltas are integers of their unit. Values that are null, NaN or infinite are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.encoding.block import EncodedColumn
from raysynth.encoding.calendar import Calendar, calendar_of
from raysynth.encoding.distribution import SmoothDistribution, smooth
from raysynth.encoding.mixture import Mixture, fit_mixture
from raysynth.errors import ModelFileError
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.released import NumericDistribution

LOOKUP_SPAN = 1 << 16
_EXACT_DOUBLE = float(1 << 53)  # whole numbers up to here are exact as float64
_LARGEST_INT64 = float((1 << 63) - 1024)  # the largest doubles inside the types
_LARGEST_UINT64 = float((1 << 64) - 2048)


@dataclass(frozen=True)
class NumericEncoder:
    """What both forms share: the column, its protected distribution, and Arrow to float64 and back."""

    name: str
    kind: Kind
    dtype: pa.DataType
    distribution: SmoothDistribution
    calendar: Calendar | None = field(default=None, kw_only=True)

    def placed(
        self, x: np.ndarray, rng: np.random.Generator, bounds: tuple[float, float] = (-np.inf, np.inf)
    ) -> np.ndarray:
        """Drawn values (N,) on the steps of the calendar that the column keeps, inside closed bounds."""
        return x if self.calendar is None else self.calendar.placed(x, self.distribution, rng, bounds)

    def to_arrow(self, x: np.ndarray, missing: np.ndarray) -> pa.Array:
        """Rounded values as the column's Arrow type, null where `missing`."""
        x = self.distribution.rounded(x)
        mask = missing if missing.any() else None
        if pa.types.is_floating(self.dtype):
            return pa.array(x.astype(self.dtype.to_pandas_dtype()), mask=mask)
        if pa.types.is_decimal(self.dtype):
            return pa.array(x, mask=mask).cast(self.dtype, safe=False)
        whole = self._whole(np.where(missing, self.distribution.low[0], x))
        if pa.types.is_date32(self.dtype):
            return pa.array(whole.astype(np.int32), mask=mask).cast(self.dtype)
        return pa.array(whole, mask=mask).cast(self.dtype)

    def reaches(self, x: float) -> bool:
        """Whether a decoded value can be exactly x, as far as range, decimals, step and type go."""
        nearest, _ = to_float(self.to_arrow(np.array([x]), np.zeros(1, bool)))
        return bool(nearest[0] == x)

    def _whole(self, x: np.ndarray) -> np.ndarray:
        """Rounded values as integers within the type; steps are counted in integers, which have more digits."""
        low, high = self.distribution.low[0], self.distribution.high[-1]
        if pa.types.is_uint64(self.dtype):
            return np.clip(x, 0, _LARGEST_UINT64).astype(np.uint64)
        if self.distribution.step > 0 and max(abs(low), abs(high)) > _EXACT_DOUBLE:
            step, offset = int(self.distribution.step), int(self.distribution.offset)
            return np.rint((x - offset) / step).astype(np.int64) * step + offset
        whole = np.rint(np.clip(x, -_LARGEST_INT64, _LARGEST_INT64)).astype(np.int64)
        if pa.types.is_integer(self.dtype):
            info = np.iinfo(self.dtype.to_pandas_dtype())
            whole = np.clip(whole, info.min, info.max)
        return whole


def to_float(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """float64 values (N,) and a mask of the missing ones, or None when all are finite; datetimes as integers."""
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.int32() if pa.types.is_date32(array.type) else pa.int64())
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    scale = array.type.scale if pa.types.is_decimal(array.type) else None
    if not pa.types.is_float64(array.type) and not pa.types.is_integer(array.type):
        array = array.cast(pa.float64(), safe=False)
    if array.null_count:
        null = array.is_null().to_numpy(zero_copy_only=False)
        x = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    else:
        null, x = None, array.to_numpy(zero_copy_only=False)
    x = x.astype(np.float64, copy=False)
    if scale is not None:
        x = _nearest_doubles(x, scale)
    if pa.types.is_integer(array.type):
        return x, null
    finite = np.isfinite(x)
    if finite.all():
        return x, null
    return np.where(finite, x, 0.0), ~finite if null is None else ~finite | null


def _nearest_doubles(x: np.ndarray, scale: int) -> np.ndarray:
    """Decimals as Arrow's cast gives them, which misses the nearest double by a bit for some."""
    exact = np.abs(x) * 10.0**scale < _EXACT_DOUBLE
    return np.where(exact, np.rint(x * 10.0**scale) / 10.0**scale, x)


@dataclass(frozen=True)
class BinEncoder(NumericEncoder):
    """A number as one code: an atom of its own, or a quantile bin; the last code is 'missing'.

    Args:
        first_cell: index of the first cell of the distribution in each code, ascending, shape (cardinality - 1,).
    """

    first_cell: np.ndarray

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
        x, missing = to_float(array)
        boundaries = self.distribution.boundaries[self.first_cell[1:] - 1]
        codes = interval_of(x, boundaries, pa.types.is_integer(array.type))
        if missing is not None:
            codes[missing] = self.cardinality - 1
        return codes, None

    def decode(
        self, codes: np.ndarray, values: None, rng: np.random.Generator, bounds: tuple[float, float] | None = None
    ) -> pa.Array:
        """Arrow array (N,): a random rank inside the code (and inside `bounds`, closed), turned into a value."""
        missing = codes == self.cardinality - 1
        if bounds is None:
            return self.to_arrow(self.placed(self._drawn(codes, rng), rng), missing)
        ranks = self.ranks
        code = np.where(missing, 0, codes)
        low = np.maximum(ranks[code], self.distribution.rank_below(bounds[0], inclusive=False))
        high = np.minimum(ranks[code + 1], self.distribution.rank_below(bounds[1], inclusive=True))
        high = np.maximum(low, high)
        x = self.distribution.quantile(low + rng.random(len(codes)) * (high - low))
        x = np.where(high > low, np.clip(x, *self.distribution.inwards(*bounds)), x)  # ranks have fewer digits
        return self.to_arrow(self.placed(x, rng, bounds), missing)

    def _drawn(self, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A value (N,) for each code, any for 'missing'; a code that is one atom needs no draw."""
        cells = self.distribution
        first, after = self.first_cell, np.append(self.first_cell[1:], len(cells.share))
        is_atom = (after == first + 1) & (cells.low[first] == cells.high[first])
        x: np.ndarray = np.append(cells.low[first], cells.low[0])[codes]
        spread = np.flatnonzero(np.append(~is_atom, False)[codes])
        if len(spread):
            ranks, code = self.ranks, codes[spread]
            low = ranks[code]
            x[spread] = cells.quantile(low + rng.random(len(spread)) * (ranks[code + 1] - low))
        return x

    def condition_weights(self, bounds: tuple[float, float]) -> np.ndarray:
        """P(low <= value <= high | code), shape (cardinality,); missing never satisfies."""
        ranks = self.ranks
        low = self.distribution.rank_below(bounds[0], inclusive=False)
        high = self.distribution.rank_below(bounds[1], inclusive=True)
        overlap = np.minimum(ranks[1:], high) - np.maximum(ranks[:-1], low)
        return np.append(np.clip(overlap / np.maximum(np.diff(ranks), 1e-300), 0, 1), 0.0)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta, arrays = _distribution_state(self)
        return meta, {**arrays, "first_cell": self.first_cell}

    @classmethod
    def from_state(cls, column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> BinEncoder:
        """The inverse of `to_state`."""
        first = arrays["first_cell"]
        distribution, calendar = _distribution_of(column, meta, arrays)
        is_partition = first.ndim == 1 and len(first) > 0 and first[0] == 0 and bool((np.diff(first) > 0).all())
        if not (first.dtype.kind in "iu" and is_partition and first[-1] < len(distribution.share) <= 65_000):
            raise _inconsistent(column.name)
        return cls(column.name, column.kind, column.arrow_type, distribution, first, calendar=calendar)


@dataclass(frozen=True)
class ModeEncoder(NumericEncoder):
    """Mode-specific normalisation (Xu et al. 2019, section 4.2): code = mode, value = (x - mean) / (4 std) in it.

    Heavy atoms (heaped values) are modes of width 0. The mode of a value is the most probable one, so that encoding
    is a pure function. The last code is 'missing'.

    Args:
        mixture: the modes, fitted to the protected distribution.
    """

    mixture: Mixture

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
        x, missing = to_float(array)
        mixture = self.mixture
        mode = mixture.interval_mode[interval_of(x, mixture.boundaries, pa.types.is_integer(array.type))]
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
        return self.to_arrow(self.placed(x, rng), missing)

    def condition_weights(self, bounds: tuple[float, float]) -> np.ndarray:
        """P(low <= value <= high | code), shape (cardinality,): by the distribution on each mode's intervals."""
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
        meta, arrays = _distribution_state(self)
        return meta, {**arrays, **{f"mixture_{f.name}": getattr(self.mixture, f.name) for f in fields(Mixture)}}

    @classmethod
    def from_state(cls, column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> ModeEncoder:
        """The inverse of `to_state`."""
        mixture = Mixture(**{f.name: arrays[f"mixture_{f.name}"] for f in fields(Mixture)})
        modes, intervals = len(mixture.weight), mixture.interval_mode
        shapes = (mixture.mean.shape, mixture.std.shape, (len(mixture.boundaries) + 1,))
        if shapes != ((modes,), (modes,), intervals.shape) or intervals.dtype.kind not in "iu":
            raise _inconsistent(column.name)
        if modes == 0 or intervals.min() < 0 or intervals.max() >= modes or not np.isfinite(mixture.mean).all():
            raise _inconsistent(column.name)
        distribution, calendar = _distribution_of(column, meta, arrays)
        return cls(column.name, column.kind, column.arrow_type, distribution, mixture, calendar=calendar)


def build_bins(column: ColumnSchema, released: NumericDistribution, *, rare_threshold: int, n_bins: int) -> BinEncoder:
    """About n_bins codes: heavy values (half of 1 / n_bins of the rows) as they are, the rest in bins of equal mass.

    The rest is divided by its own mass, so that a column of mostly zeros keeps as fine a view of its others. Every
    cell of a column with at most 1.5 n_bins of them gets a code of its own.
    """
    distribution = smooth(_of_type(released, column.arrow_type), rare_threshold)
    n_cells = len(distribution.share)
    if n_cells <= 1.5 * n_bins:
        first = np.arange(n_cells)
    else:
        heavy = (distribution.low == distribution.high) & (distribution.share >= 0.5 / n_bins)
        rest = np.where(heavy, 0.0, distribution.share)
        middle = (np.cumsum(rest) - rest / 2) / max(rest.sum(), 1e-300)
        target = np.where(heavy, -1, np.floor(middle * max(n_bins - heavy.sum(), 1)))
        changes = (target[1:] != target[:-1]) | heavy[1:] | heavy[:-1]
        first = np.flatnonzero(np.concatenate([[True], changes]))
    calendar = calendar_of(released.calendar, distribution, released.total, rare_threshold)
    return BinEncoder(column.name, column.kind, column.arrow_type, distribution, first, calendar=calendar)


def build_modes(
    column: ColumnSchema, released: NumericDistribution, *, rare_threshold: int, n_modes: int
) -> ModeEncoder:
    """Encoder of modes: heavy atoms, and a Gaussian mixture for the rest, both from a released distribution."""
    distribution = smooth(_of_type(released, column.arrow_type), rare_threshold)
    mixture = fit_mixture(distribution, n_modes)
    kept = np.isin(distribution.low, mixture.mean[mixture.std == 0])
    calendar = calendar_of(released.calendar, distribution, released.total, rare_threshold, kept=kept)
    return ModeEncoder(column.name, column.kind, column.arrow_type, distribution, mixture, calendar=calendar)


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


def _of_type(released: NumericDistribution, dtype: pa.DataType) -> NumericDistribution:
    """Decimals have their scale for certain, whatever the doubles that were counted seem to need."""
    if not pa.types.is_decimal(dtype):
        return released
    low, high = (_nearest_doubles(edge, dtype.scale) for edge in (released.low, released.high))
    return replace(released, low=low, high=high, decimals=min(dtype.scale, 15))


def interval_of(x: np.ndarray, boundaries: np.ndarray, whole: bool) -> np.ndarray:
    """Index (N,) uint16 of the interval of each value; whole numbers of a small span by one look-up."""
    if whole and len(x) > LOOKUP_SPAN // 8 and len(boundaries):
        low, high = x.min(), x.max()
        if high - low < LOOKUP_SPAN:
            table = np.searchsorted(boundaries, np.arange(low, high + 1), side="right").astype(np.uint16)
            return table[(x - low).astype(np.int32)]
    return np.searchsorted(boundaries, x, side="right").astype(np.uint16)


def _distribution_state(encoder: NumericEncoder) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    distribution, scalars = encoder.distribution, ("missing_share", "decimals", "step", "offset")
    meta = {k: getattr(distribution, k) for k in scalars}
    if encoder.calendar is not None:
        meta["calendar"] = encoder.calendar.to_meta()
    return meta, {k: getattr(distribution, k) for k in ("low", "high", "share")}


def _distribution_of(
    column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[SmoothDistribution, Calendar | None]:
    low, high, share = (arrays[k] for k in ("low", "high", "share"))
    fits = low.ndim == 1 and len(low) > 0 and low.shape == high.shape == share.shape
    if not fits or not np.isfinite([*low, *high]).all() or (high < low).any() or (low[1:] < high[:-1]).any():
        raise _inconsistent(column.name)
    if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise _inconsistent(column.name)
    try:
        calendar = Calendar.from_meta(meta.get("calendar"), column.arrow_type)
    except (ValueError, TypeError, KeyError):
        raise _inconsistent(column.name) from None
    return SmoothDistribution(low, high, share, **{k: v for k, v in meta.items() if k != "calendar"}), calendar


def _inconsistent(column: str) -> ModelFileError:
    return ModelFileError(f"the encoder of column '{column}' in the model file is inconsistent; refit the model")
