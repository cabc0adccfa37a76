"""A column of numbers between Arrow and float64: what its encoders share.

Numbers stand at float64 places: floats, decimals, and whole numbers below 2**53 at themselves, larger ones on a line of
their own (`whole_line.py`). Datetimes and timedeltas are integers of their unit. Null, NaN and infinite are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.encoding.calendar import Calendar, calendar_of
from raysynth.encoding.distribution import MANY, SmoothDistribution, ends_on_grid, smooth
from raysynth.encoding.whole_line import WholeLine, on_line, through_cells
from raysynth.errors import ModelFileError
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.released import EXACT_DOUBLE, NumericDistribution

LOOKUP_SPAN = 1 << 16
_SCALARS = ("missing_share", "decimals", "step", "offset")
_LARGEST_INT64 = float((1 << 63) - 1024)  # the largest doubles inside the types
_LARGEST_UINT64 = float((1 << 64) - 2048)


@dataclass(frozen=True, kw_only=True)
class NumericEncoder:
    """What both forms share: the column, its protected distribution, and Arrow to float64 and back.

    Args:
        name, kind, dtype: of the column.
        distribution: of the values, or of their places on the line.
        line: of whole numbers that float64 does not hold; None for all others.
        calendar: the steps of the calendar that drawn times are put on; None for none.
    """

    name: str
    kind: Kind
    dtype: pa.DataType
    distribution: SmoothDistribution
    line: WholeLine | None = None
    calendar: Calendar | None = None

    def with_calendar(self, released: NumericDistribution, rare_threshold: int, kept: np.ndarray) -> Self:
        """The encoder with the steps of the calendar that its times keep to.

        Args:
            released: the distribution that it was built from.
            rare_threshold: rows that a step needs to survive.
            kept: which cells of the distribution are made as they are if they are atoms, (cells,) bool.
        """
        cells = self.distribution
        at = np.flatnonzero(kept & (cells.low == cells.high))
        step = cells.step if self.line is None else self.line.step
        atoms = self._whole(cells.low[at]) if released.calendar is not None else at
        rows = cells.share[at] * released.total
        return replace(self, calendar=calendar_of(released.calendar, atoms, rows, step, rare_threshold))

    def places(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
        """Where values (N,) stand on the axis of the distribution, float64, and a mask of the missing ones or None."""
        if self.line is None:
            return to_float(array)
        x, missing = to_numbers(array)
        return self.line.place(x), missing

    def place(self, x: float) -> float:
        """Where one value, or one end of a range, stands on the axis of the distribution."""
        return float(x) if self.line is None else self.line.place_of(x)

    def to_arrow(self, x: np.ndarray, missing: np.ndarray) -> pa.Array:
        """Values at places (N,), rounded, as the column's Arrow type, null where `missing`."""
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

    def drawn_to_arrow(
        self,
        x: np.ndarray,
        missing: np.ndarray,
        rng: np.random.Generator,
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> pa.Array:
        """As `to_arrow`, drawn times put on the steps of the calendar; those of atoms stay, and no bound is crossed."""
        if self.calendar is None:
            return self.to_arrow(x, missing)
        cells = self.distribution
        atoms = np.append(-np.inf, cells.low[cells.low == cells.high])  # ascending
        is_atom = atoms[_behind(atoms[1:], x)] == x
        free = np.flatnonzero(~is_atom & ~missing)
        if not len(free):
            return self.to_arrow(x, missing)
        whole = self._whole(cells.rounded(np.where(missing, cells.low[0], x)))
        low, high = self._whole(cells.rounded(np.array([cells.low[0], cells.high[-1]]))).tolist()
        ends = self._whole(np.concatenate([cells.low, cells.high])).astype(float)
        at = _behind(cells.low, x[free]) - 1
        widths = (ends[len(cells.low) :] - ends[: len(cells.low)])[np.clip(at, 0, None)]
        whole[free] = self.calendar.placed(whole[free], max(low, bounds[0]), min(high, bounds[1]), rng, widths)
        plain = pa.int32() if pa.types.is_date32(self.dtype) else pa.int64()
        return pa.array(whole, mask=missing if missing.any() else None).cast(plain).cast(self.dtype)

    def reaches(self, x: float) -> bool:
        """Whether a decoded value can be exactly x, as far as range, decimals, step and type go."""
        nearest, _ = to_numbers(self.to_arrow(np.array([self.place(x)]), np.zeros(1, bool)))
        return bool(nearest[0].item() == x)

    def _interval_of(self, x: np.ndarray, boundaries: np.ndarray, array: pa.Array) -> np.ndarray:
        return interval_of(x, boundaries, self.line is None and pa.types.is_integer(array.type))

    def _shared_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta = {k: getattr(self.distribution, k) for k in _SCALARS}
        arrays = {k: getattr(self.distribution, k) for k in ("low", "high", "share")}
        if self.calendar is not None:
            meta["calendar"] = self.calendar.to_meta()
        if self.line is None:
            return meta, arrays
        line = {"line_knots": self.line.knots, "line_places": self.line.places}
        return {**meta, "line_step": self.line.step}, {**arrays, **line}

    def _whole(self, x: np.ndarray) -> np.ndarray:
        """Rounded values as integers within the type."""
        if self.line is not None:
            return self.line.number(x)
        if pa.types.is_uint64(self.dtype):
            return np.clip(x, 0, _LARGEST_UINT64).astype(np.uint64)
        whole = np.rint(np.clip(x, -_LARGEST_INT64, _LARGEST_INT64)).astype(np.int64)
        if pa.types.is_integer(self.dtype):
            info = np.iinfo(self.dtype.to_pandas_dtype())
            whole = np.clip(whole, info.min, info.max)
        return whole


def _behind(edges: np.ndarray, x: np.ndarray) -> np.ndarray:
    """How many of the ascending edges are at most each value (N,)."""
    if len(x) < MANY or not len(edges):
        return np.searchsorted(edges, x, side="right")
    from raysynth.encoding.quantiles import searched

    return searched(edges, x)


def to_numbers(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Values (N,), whole numbers as int64 or uint64 and others as float64, and a mask of the missing ones, or None when
    all are finite; datetimes as integers."""
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
    if pa.types.is_integer(array.type):
        return x.astype(np.uint64 if pa.types.is_uint64(array.type) else np.int64, copy=False), null
    if scale is not None:
        x = _nearest_doubles(x, scale)
    finite = np.isfinite(x)
    if finite.all():
        return x, null
    return np.where(finite, x, 0.0), ~finite if null is None else ~finite | null


def to_float(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """`to_numbers` with whole numbers as the nearest float64."""
    x, missing = to_numbers(array)
    return x.astype(np.float64, copy=False), missing


def _nearest_doubles(x: np.ndarray, scale: int) -> np.ndarray:
    """Decimals as Arrow's cast gives them, which misses the nearest double by a bit for some."""
    exact = np.abs(x) * 10.0**scale < EXACT_DOUBLE
    return np.where(exact, np.rint(x * 10.0**scale) / 10.0**scale, x)


def protected_fields(column: ColumnSchema, released: NumericDistribution, rare_threshold: int) -> dict[str, Any]:
    """The fields of `NumericEncoder` of a column."""
    placed, line = on_line(_of_type(released, column.arrow_type))
    distribution = smooth(placed, rare_threshold)
    if line is not None:
        low, high, line = through_cells(distribution.low, distribution.high, line)
        distribution = ends_on_grid(replace(distribution, low=low, high=high))
    return {
        "name": column.name,
        "kind": column.kind,
        "dtype": column.arrow_type,
        "distribution": distribution,
        "line": line,
    }


def _of_type(released: NumericDistribution, dtype: pa.DataType) -> NumericDistribution:
    """Decimals have at most the digits of their scale, whatever the doubles that were counted seem to need."""
    if not pa.types.is_decimal(dtype):
        return released
    low, high = (_nearest_doubles(edge, dtype.scale) for edge in (released.low, released.high))
    needed = 15 if released.decimals is None else released.decimals
    return replace(released, low=low, high=high, decimals=min(dtype.scale, needed))


def interval_of(x: np.ndarray, boundaries: np.ndarray, whole: bool) -> np.ndarray:
    """Index (N,) uint16 of the interval of each value; whole numbers of a small span by one look-up."""
    if whole and len(x) > LOOKUP_SPAN // 8 and len(boundaries):
        low, high = x.min(), x.max()
        if high - low < LOOKUP_SPAN:
            table = np.searchsorted(boundaries, np.arange(low, high + 1), side="right").astype(np.uint16)
            return table[(x - low).astype(np.int32)]
    return np.searchsorted(boundaries, x, side="right").astype(np.uint16)


def stored_fields(column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The fields of `NumericEncoder` from a model file; raises `ModelFileError` where they do not fit together."""
    low, high, share = (arrays[k] for k in ("low", "high", "share"))
    fits = low.ndim == 1 and len(low) > 0 and low.shape == high.shape == share.shape
    if not fits or not np.isfinite([*low, *high]).all() or (high < low).any() or (low[1:] < high[:-1]).any():
        raise inconsistent(column.name)
    if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise inconsistent(column.name)
    try:
        calendar = Calendar.from_meta(meta.get("calendar"), column.arrow_type)
    except (ValueError, TypeError, KeyError):
        raise inconsistent(column.name) from None
    line = None
    if "line_step" in meta:
        line = WholeLine(arrays["line_knots"], arrays["line_places"], meta["line_step"])
        expected = np.uint64 if pa.types.is_uint64(column.arrow_type) else np.int64
        if line.knots.dtype != expected or not line.is_sound:
            raise inconsistent(column.name)
    return {
        "name": column.name,
        "kind": column.kind,
        "dtype": column.arrow_type,
        "distribution": SmoothDistribution(low, high, share, **{k: meta[k] for k in _SCALARS}),
        "line": line,
        "calendar": calendar,
    }


def inconsistent(column: str) -> ModelFileError:
    """The error for a column whose part of a model file does not fit together."""
    return ModelFileError(f"the encoder of column '{column}' in the model file is inconsistent; refit the model")
