"""How many rows of a column of times lie on the steps of the calendar: midnights, full hours, first days of months.

The largest step that all rows share says little: one row with a time of day among a thousand midnights, and the step is
a microsecond. Counts of rows tell midnights from times, month starts from days, and usual weekdays and hours from
others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
