"""Steps that all values of a column lie on: digits after the point, a common step of numbers, the calendar of times.

Of times the largest step that all rows share says little: one row with a time of day among a thousand midnights, and
the step is a microsecond. Counts of rows tell midnights from times, month starts from days, and usual weekdays and
hours from others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.data.arrow_types import EXACT_DOUBLE

MAX_DECIMALS = 15
_SIGNIFICANT = 1e15  # a double holds 15 decimal digits for certain; a match beyond them is chance
_NOISE = 512  # units in the last place by which sums of decimals miss them at most: 0.1 + 0.2, or 0.1 a thousand times
_NOISY = 8e10  # fewer of them for more digits: so many over the digits' multiple, which one value in 3e4 has by chance


def needed_decimals(values: np.ndarray, so_far: int = 0) -> int:
    """The smallest d with round(x, d) == x for every x, at least `so_far`; `MAX_DECIMALS` + 1 where there is none.

    What the rounding of doubles adds to a value of few digits (0.1 + 0.2) counts as none. The result is the largest of
    the values' own needs, so it does not depend on how rows are split.

    Args:
        values: (N,) float32 or float64, finite.
        so_far: what earlier values needed.
    """
    if so_far > MAX_DECIMALS:
        return so_far
    for part in (values[:256], values):  # a few rows settle most columns of full precision
        rest = part[~_held(part, so_far)]
        d = 0
        while len(rest) and d <= MAX_DECIMALS:
            rest = rest[~_held(rest, d)]
            so_far = max(so_far, d if len(rest) == 0 else d + 1)
            d += 1
        if so_far > MAX_DECIMALS:
            break
    return so_far


def nearest_doubles(x: np.ndarray, scale: int) -> np.ndarray:
    """Decimals (N,) as Arrow's cast gives them, which misses the nearest double by a bit for some."""
    exact = np.abs(x) * 10.0**scale < EXACT_DOUBLE
    return np.where(exact, np.rint(x * 10.0**scale) / 10.0**scale, x)


def needed_digits(values: np.ndarray, most: int) -> np.ndarray:
    """For each value the smallest d with round(x, d) == x, up to `most`; `most` + 1 where it needs more.

    Args:
        values: (N,) float64, finite.
        most: digits looked at.
    """
    digits = np.full(len(values), most + 1)
    for d in range(most, -1, -1):
        digits[_held(values, d)] = d
    return digits


def _held(values: np.ndarray, decimals: int) -> np.ndarray:
    """Whether d digits hold each value (N,): exactly, or but for the noise that arithmetic leaves in a double."""
    if decimals > MAX_DECIMALS:
        return np.zeros(len(values), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.round(values, decimals)
        size = np.abs(values)
        held = np.asarray(near == values) & ((size < _SIGNIFICANT / 10.0**decimals) | (decimals == 0))
        if values.dtype == np.float64 and not held.all():
            units = np.minimum(_NOISE, _NOISY / np.maximum(size * 10.0**decimals, 1))
            held |= (np.abs(near - values) <= units * np.spacing(size)) & (units >= 1)
    return np.asarray(held)


@dataclass(frozen=True)
class Step:
    """All values so far are `anchor` plus a multiple of `size`; size 0: one value only; anchor None: no value.

    The greatest common divisor of all differences: the same however the values are split.
    """

    anchor: int | None = None
    size: int = 0

    def merged(self, other: Step) -> Step:
        """The step of the values of both."""
        if self.anchor is None or other.anchor is None:
            return self if other.anchor is None else other
        size = math.gcd(self.size, other.size, abs(self.anchor - other.anchor))
        return Step(min(self.anchor, other.anchor), size)


def joint_step(step: Step, keys: np.ndarray) -> Step:
    """The step of earlier values and of keys (N,) int64."""
    if step.size == 1 or len(keys) == 0:
        return step
    lowest = keys.min()
    distances = (keys - lowest).view(np.uint64)  # right even where the difference overflows int64
    step = step.merged(Step(int(lowest), 0))
    size = math.gcd(step.size, int(np.gcd.reduce(distances[:256])))
    while True:  # most rows are multiples already; each round at least halves the step
        rest = distances[distances % np.uint64(size) != 0] if size else distances[distances != 0]
        if len(rest) == 0:
            return Step(step.anchor, size)
        size = math.gcd(size, int(np.gcd.reduce(rest[:256])))
        if size == 1:
            return Step(step.anchor, 1)


def decimal_step(values: np.ndarray, decimals: int) -> float | None:
    """The step of numbers (N,) of so many decimals, where it is larger than their last digit: 0.25, or 1 from 0.99 on.

    None where there is no such step, or the numbers are too large for their digits to be counted exactly.
    """
    scale = 10.0**decimals
    if not 0 <= decimals <= MAX_DECIMALS or not len(values) or np.abs(values).max() * scale >= _SIGNIFICANT:
        return None
    size = joint_step(Step(), np.rint(values * scale).astype(np.int64)).size
    return size / scale if size > 1 else None


# Seconds between neighbouring times of each grid below a day, from coarse to fine.
CLOCK = (3600, 1800, 900, 300, 60, 1)
# Every row on a grid is on the ones behind it: first days of years, quarters, months; days; then `CLOCK`; any time.
GRIDS = ("year", "quarter", "month", "day", *(f"{s} s" for s in CLOCK), "any")
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass
class CalendarCounts:
    """Rows on each grid, last days of months, and weekdays.

    Sensitivity (add/remove one row): each count by at most 1; never released under a budget.

    Args:
        type: canonical Arrow type, a date or a timestamp; with a zone its local times count.
        grids: rows on each of `GRIDS`, (11,) int64.
        month_ends: rows on the last day of a month, at midnight.
        weekdays: rows on each weekday, Monday first, (7,) int64.
        hours: rows in each hour of the day, (24,) int64.
        minutes: rows at each whole minute of the day, (1440,) int64.
    """

    type: pa.DataType
    grids: np.ndarray = field(default_factory=lambda: np.zeros(len(GRIDS), np.int64))
    month_ends: int = 0
    weekdays: np.ndarray = field(default_factory=lambda: np.zeros(7, np.int64))
    hours: np.ndarray = field(default_factory=lambda: np.zeros(24, np.int64))
    minutes: np.ndarray = field(default_factory=lambda: np.zeros(1440, np.int64))

    def update(self, keys: np.ndarray, counts: np.ndarray | None) -> None:
        """Add times (N,) int64 in the type's unit, each counts times (None: once)."""
        weights = np.ones(len(keys), np.int64) if counts is None else counts
        day, rest = split(local(keys, self.type), self.type)
        at_midnight = rest == 0
        on = {GRIDS.index("any"): np.ones(len(keys), bool), GRIDS.index("day"): at_midnight}
        for i, seconds in enumerate(CLOCK):
            on[GRIDS.index("day") + 1 + i] = rest % (seconds * per_second(self.type)) == 0
        month = months_of(day)
        first = at_midnight & (first_days(month) == day)
        on |= {i: first & (month % step == 0) for i, step in enumerate((12, 3, 1))}
        for i, mask in on.items():
            self.grids[i] += int(weights[mask].sum())
        self.month_ends += int(weights[at_midnight & (first_days(month + 1) - 1 == day)].sum())
        self.weekdays += np.bincount((day + 3) % 7, weights=weights, minlength=7).astype(np.int64)
        hour = rest // (3600 * per_second(self.type))
        self.hours += np.bincount(hour, weights=weights, minlength=24).astype(np.int64)
        minute, second = np.divmod(rest, 60 * per_second(self.type))
        whole = second == 0
        self.minutes += np.bincount(minute[whole], weights=weights[whole], minlength=1440).astype(np.int64)

    def merge(self, other: CalendarCounts) -> None:
        """Add the rows of another summary of the same column."""
        self.grids += other.grids
        self.month_ends += other.month_ends
        self.weekdays += other.weekdays
        self.hours += other.hours
        self.minutes += other.minutes


def per_second(type_: pa.DataType) -> int:
    """Units of a timestamp in a second; of a date: 1, since it has no time of day."""
    return 1 if pa.types.is_date32(type_) else PER_SECOND[type_.unit]


def split(times: np.ndarray, type_: pa.DataType) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970-01-01 (N,) and units since midnight (N,) of local times (N,) int64."""
    if pa.types.is_date32(type_):
        return times, np.zeros_like(times)
    day, rest = np.divmod(times, 86_400 * per_second(type_))
    return day, rest


def joined(day: np.ndarray, rest: np.ndarray, type_: pa.DataType) -> np.ndarray:
    """The inverse of `split`."""
    return day if pa.types.is_date32(type_) else day * (86_400 * per_second(type_)) + rest


def months_of(day: np.ndarray) -> np.ndarray:
    """Months since 1970-01 (N,) of days (N,)."""
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def first_days(month: np.ndarray) -> np.ndarray:
    """First days (N,) of months (N,) since 1970-01."""
    return month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def local(times: np.ndarray, type_: pa.DataType) -> np.ndarray:
    """What the clock shows in the type's zone: (N,) int64 of UTC to (N,) int64."""
    if pa.types.is_date32(type_) or type_.tz is None:
        return times
    shown = pc.local_timestamp(pa.array(times).cast(type_)).cast(pa.int64())
    return np.asarray(shown.to_numpy(zero_copy_only=False))


def universal(times: np.ndarray, type_: pa.DataType) -> np.ndarray:
    """The inverse of `local`; the earlier one of two, and the next one after a gap."""
    if pa.types.is_date32(type_) or type_.tz is None:
        return times
    naive = pa.array(times).cast(pa.timestamp(type_.unit))
    placed = pc.assume_timezone(naive, type_.tz, ambiguous="earliest", nonexistent="latest").cast(pa.int64())
    return np.array(placed.to_numpy(zero_copy_only=False))
