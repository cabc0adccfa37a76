"""A column of numbers between Arrow and float64: what its encoders share.

Numbers stand at float64 places: floats, decimals, and whole numbers below 2**53 at themselves, larger ones on a line of
their own. Datetimes and timedeltas are integers of their unit. Null, NaN and infinite are missing.

Whole numbers beyond 2**53 (keys, 64-bit ids, nanoseconds) are places on a shorter line that float64 holds exactly. It
goes through given numbers (knots, such as the ends of cells). Between neighbouring knots it is straight: a place for
each number on the column's grid, or fewer places than numbers where they are more than `MOST_PLACES` apart. So order is
kept, every knot has a place of its own and comes back exactly, and so does every number between near knots.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.encoding.calendar import Calendar, calendar_of
from raysynth.encoding.distribution import CellSize, SmoothDistribution, behind, ends_on_grid, smooth
from raysynth.errors import ModelFileError
from raysynth.kinds.arrow_text import plain, ticks
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.released import NoisedMean, NumericDistribution
from raysynth.statistics.steps import nearest_doubles

MOST_PLACES = 1 << 35  # between two knots: 2**17 of them (65,536 cells) stay within the whole numbers of float64
_LARGEST = np.nextafter(2.0**64, 0)


@dataclass(frozen=True)
class WholeLine:
    """A monotone map of whole numbers to places, whole float64 numbers from 0 on.

    Args:
        knots: ascending, int64 or uint64, shape (knots,).
        places: of the knots, ascending whole numbers, shape (knots,).
        step: distance of the numbers that have a place, at least 1.
    """

    knots: np.ndarray
    places: np.ndarray
    step: int

    @classmethod
    def through(cls, knots: np.ndarray, step: int) -> WholeLine:
        """The line through whole numbers (N,) in any order, neighbours a multiple of `step` apart."""
        knots = np.unique(knots)
        apart = np.minimum(_distance(knots[:-1], knots[1:]) // np.uint64(step), np.uint64(MOST_PLACES))
        return cls(knots, np.concatenate([[0.0], np.cumsum(apart.astype(np.float64))]), step)

    @property
    def is_sound(self) -> bool:
        """Whether the fields fit together, as those of a hostile file may not."""
        knots, places = self.knots, self.places
        if not (isinstance(self.step, int) and 1 <= self.step < 1 << 63 and knots.ndim == 1 and len(knots) > 0):
            return False
        ascending = bool((knots[1:] > knots[:-1]).all()) and knots.shape == places.shape and places.dtype == np.float64
        return ascending and bool(np.isfinite(places).all() and (np.diff(places) >= 1).all())

    @cached_property
    def _steps(self) -> np.ndarray:
        """Steps from each knot to the next one, uint64."""
        return np.append(_distance(self.knots[:-1], self.knots[1:]) // np.uint64(self.step), np.uint64(0))

    @cached_property
    def _scale(self) -> np.ndarray:
        """Places for a step behind each knot: 1, or less where knots are far apart; 0 behind the last one."""
        width = np.append(np.diff(self.places), 0.0)
        return np.where(width == self._steps, 1.0, width / np.maximum(self._steps.astype(np.float64), 1.0))

    def place(self, numbers: np.ndarray) -> np.ndarray:
        """Places (N,) float64 of whole numbers (N,) int64 or uint64; off the grid: half way; outside: half a place."""
        x = _as(numbers, self.knots.dtype)
        at = np.maximum(np.searchsorted(self.knots, x, side="right") - 1, 0)
        inside = _distance(self.knots[at], np.clip(x, self.knots[0], self.knots[-1]))
        whole = (inside // np.uint64(self.step)).astype(np.float64) * self._scale[at]
        between = np.where(inside % np.uint64(self.step) > 0, 0.5 * self._scale[at], 0.0)
        outside = np.where(x < self.knots[0], -0.5, np.where(x > self.knots[-1], 0.5, 0.0))
        return np.asarray(self.places[at] + whole + between + outside)

    def number(self, places: np.ndarray) -> np.ndarray:
        """The whole numbers (N,) at places (N,), of the knots' type; places outside give the first or last knot."""
        p = np.clip(np.rint(places), self.places[0], self.places[-1])
        at = np.searchsorted(self.places, p, side="right") - 1
        inside = np.rint((p - self.places[at]) / np.where(self._scale[at] > 0, self._scale[at], 1.0))
        steps = np.minimum(np.clip(inside, 0, _LARGEST).astype(np.uint64), self._steps[at])
        return (self.knots[at].view(np.uint64) + steps * np.uint64(self.step)).view(self.knots.dtype)

    def place_of(self, bound: float) -> float:
        """The place of one end of a range, which may be infinite or lie between whole numbers."""
        if not math.isfinite(bound):
            return bound
        below, above = map(self._place_of, (math.floor(bound), math.ceil(bound)))
        return below / 2 + above / 2

    def _place_of(self, number: int) -> float:
        """The place of any whole number, also of one beyond the type."""
        if number < int(self.knots[0]):
            return float(self.places[0]) - 0.5
        if number > int(self.knots[-1]):
            return float(self.places[-1]) + 0.5
        return float(self.place(np.array([number], self.knots.dtype))[0])


def on_line(released: NumericDistribution) -> tuple[NumericDistribution, WholeLine | None]:
    """A distribution of whole numbers that float64 does not hold as one of places, and the line; others as they are."""
    if released.whole is None or len(released.low) == 0:
        return released, None
    step = max(1, int(released.step or 1))
    low, high = released.whole
    line = WholeLine.through(np.concatenate([low, high]), step)
    places = replace(released, low=line.place(low), high=line.place(high), decimals=0, step=1, whole=None)
    return places, line


def through_cells(low: np.ndarray, high: np.ndarray, line: WholeLine) -> tuple[np.ndarray, np.ndarray, WholeLine]:
    """Cells as places on a line through their own ends alone, which holds nothing else of the rows.

    Args:
        low, high: ends of ordered cells in places of `line`, shape (cells,).
        line: through numbers that rows have.
    """
    first, last = np.ceil(low), np.floor(high)
    last = np.maximum(first, last)
    of_first, of_last = line.number(first), line.number(last)
    own = WholeLine.through(np.concatenate([of_first, of_last]), line.step)
    half = np.where(low < high, 0.5, 0.0)  # a place is the middle of what rounds to it
    starts, ends = own.place(of_first) - half, own.place(of_last) + half
    return starts, np.append(np.minimum(ends[:-1], starts[1:]), ends[-1]), own


def _distance(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """high - low as uint64, right for any two whole numbers with low <= high."""
    return np.asarray(high.view(np.uint64) - low.view(np.uint64))


def _as(numbers: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The numbers in a type of 64 bits, those beyond it at its end."""
    if numbers.dtype == dtype:
        return numbers
    info = np.iinfo(dtype)
    if numbers.dtype.kind == "f":
        return np.asarray(np.clip(np.rint(numbers), info.min, np.nextafter(float(info.max), 0)).astype(dtype))
    own = np.iinfo(numbers.dtype)
    return np.asarray(np.clip(numbers, max(info.min, own.min), min(info.max, own.max)).astype(dtype))


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
        noised: the mean by noised counts, of numbers and not of places; None without noise, or in files of before.
    """

    name: str
    kind: Kind
    dtype: pa.DataType
    distribution: SmoothDistribution
    line: WholeLine | None = None
    calendar: Calendar | None = None
    noised: NoisedMean | None = None

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
        free = np.flatnonzero(~cells.is_atom(x) & ~missing)
        if not len(free):
            return self.to_arrow(x, missing)
        whole = self._whole(cells.rounded(np.where(missing, cells.low[0], x)))
        low, high = self._whole(cells.rounded(np.array([cells.low[0], cells.high[-1]]))).tolist()
        ends = self._whole(np.concatenate([cells.low, cells.high])).astype(float)
        at = behind(cells.low, x[free]) - 1
        widths = (ends[len(cells.low) :] - ends[: len(cells.low)])[np.clip(at, 0, None)]
        whole[free] = self.calendar.placed(whole[free], max(low, bounds[0]), min(high, bounds[1]), rng, widths)
        whole_type = pa.int32() if pa.types.is_date32(self.dtype) else pa.int64()
        return pa.array(whole, mask=missing if missing.any() else None).cast(whole_type).cast(self.dtype)

    def reaches(self, x: float) -> bool:
        """Whether a decoded value can be exactly x, as far as range, decimals, step and type go."""
        nearest, _ = to_numbers(self.to_arrow(np.array([self.place(x)]), np.zeros(1, bool)))
        return bool(nearest[0].item() == x)

    def _interval_of(self, x: np.ndarray, boundaries: np.ndarray, array: pa.Array) -> np.ndarray:
        return interval_of(x, boundaries, self.line is None and pa.types.is_integer(array.type))

    def _shared_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta = {k: getattr(self.distribution, k) for k in _SCALARS}
        if self.distribution.exact_atoms:
            meta["exact_atoms"] = True
        arrays = {k: getattr(self.distribution, k) for k in ("low", "high", "share")}
        if self.calendar is not None:
            meta["calendar"] = self.calendar.to_meta()
        if self.noised is not None:
            meta["noised_mean"] = asdict(self.noised)
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


def to_numbers(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Values (N,), whole numbers as int64 or uint64 and others as float64, and a mask of the missing ones, or None when
    all are finite; datetimes as integers."""
    array = plain(ticks(array))
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
        x = nearest_doubles(x, scale)
    finite = np.isfinite(x)
    if finite.all():
        return x, null
    return np.where(finite, x, 0.0), ~finite if null is None else ~finite | null


def to_float(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """`to_numbers` with whole numbers as the nearest float64."""
    x, missing = to_numbers(array)
    return x.astype(np.float64, copy=False), missing


def protected_fields(
    column: ColumnSchema, released: NumericDistribution, rare_threshold: int, size: CellSize = "least"
) -> dict[str, Any]:
    """The fields of `NumericEncoder` of a column, its cells of a size as `smooth` has it."""
    placed, line = on_line(_of_type(released, column.arrow_type))
    distribution = smooth(placed, rare_threshold, size)
    if line is not None:
        low, high, line = through_cells(distribution.low, distribution.high, line)
        distribution = ends_on_grid(replace(distribution, low=low, high=high))
    return {
        "name": column.name,
        "kind": column.kind,
        "dtype": column.arrow_type,
        "distribution": distribution,
        "line": line,
        "noised": released.noised,
    }


def _of_type(released: NumericDistribution, dtype: pa.DataType) -> NumericDistribution:
    """Decimals have at most the digits of their scale, whatever the doubles that were counted seem to need."""
    if not pa.types.is_decimal(dtype):
        return released
    low, high = (nearest_doubles(edge, dtype.scale) for edge in (released.low, released.high))
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
        noised = NoisedMean(**{k: float(x) for k, x in meta["noised_mean"].items()}) if "noised_mean" in meta else None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise inconsistent(column.name) from None
    line = None
    if "line_step" in meta:
        line = WholeLine(arrays["line_knots"], arrays["line_places"], meta["line_step"])
        expected = np.uint64 if pa.types.is_uint64(column.arrow_type) else np.int64
        if line.knots.dtype != expected or not line.is_sound:
            raise inconsistent(column.name)
    exact = meta.get("exact_atoms") is True  # files of before round them, too
    return {
        "name": column.name,
        "kind": column.kind,
        "dtype": column.arrow_type,
        "distribution": SmoothDistribution(low, high, share, **{k: meta[k] for k in _SCALARS}, exact_atoms=exact),
        "line": line,
        "calendar": calendar,
        "noised": noised,
    }


def inconsistent(column: str) -> ModelFileError:
    """The error for a column whose part of a model file does not fit together."""
    return ModelFileError(f"the encoder of column '{column}' in the model file is inconsistent; refit the model")
