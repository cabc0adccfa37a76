"""Drawn times put on the steps of the calendar that the real ones keep: midnights, full hours, month starts, weekdays.

A time that is drawn inside a cell lies anywhere. With the share of real rows that are on a grid, and on no coarser one,
it is moved to the nearest point of that grid. A cell of several days says nothing of the time of day, and one of
several weeks nothing of the weekday: these are drawn with the shares that they have in all rows. Where few minutes of
the day hold nearly all rows (9:30 each day), these are drawn in place of hours. Grids, weekdays, hours and minutes of
fewer than `rare_threshold` rows do not survive, so that no single row decides how all others look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.statistics.steps import (
    CLOCK,
    GRIDS,
    CalendarCounts,
    first_days,
    joined,
    local,
    months_of,
    per_second,
    split,
    universal,
)

_MONTH_END = len(GRIDS)  # a class of its own behind the nested grids
_DAY = GRIDS.index("day")
_MINUTE = GRIDS.index("60 s")
# Of random points of the next finer grid the share that is on this one, too.
_BY_CHANCE = (1 / 4, 1 / 3, 12 / 365.2425, 1 / 24, 1 / 2, 1 / 2, 1 / 3, 1 / 5, 1 / 60)
_FEWEST_ROWS = 200  # that tell a calendar of their own
_COVERED = 0.95  # of the rows at whole minutes that usual ones must hold
_FEWEST_PER_WEEKDAY = 30  # rows that a weekday would have by chance, for its absence to mean anything
_SEEN = 0.1  # of that: a weekday with less does not occur
_BEYOND_CHANCE = {7: 35.0, 24: 65.0}  # chi-square of equal shares, exceeded by chance once in 10^5 columns


@dataclass(frozen=True)
class Calendar:
    """Which steps of the calendar drawn times are put on.

    Args:
        type: of the column.
        shares: probability of each of `GRIDS` and of month ends, (12,), sums to 1.
        weekdays: weight of each weekday that days are moved to, (7,); 0: does not occur.
        hours: weight of each hour of times on grids finer than days, (24,); None: all hours are alike, or not known.
        weekly: whether the weights of weekdays differ beyond chance.
        minutes: weight of each minute of the day of times on grids from minutes to hours, (1440,); None: as the hours.
        whole: whether all times are at whole minutes, whatever their grid.
    """

    type: pa.DataType
    shares: np.ndarray
    weekdays: np.ndarray
    hours: np.ndarray | None = None
    weekly: bool = False
    minutes: np.ndarray | None = None
    whole: bool = False

    def placed(
        self, times: np.ndarray, low: float, high: float, rng: np.random.Generator, widths: np.ndarray | None = None
    ) -> np.ndarray:
        """Times (N,) int64 on their grids.

        Args:
            times: drawn ones in the type's unit.
            low, high: no time is moved beyond these; where a grid has no point inside, a time stays.
            rng: draws the grid of each.
            widths: of the cell that each was drawn in, (N,) in the type's unit; None: not known.
        """
        shown = local(times, self.type)
        kind = np.searchsorted(np.cumsum(self.shares)[:-1], rng.random(len(times)), side="right")
        usual, kind = (shown, kind) if widths is None else self._as_usual(shown, kind, widths, rng)
        moved = self._on_weekdays(self._on_grids(usual, kind), kind, rng)
        return self._inside(shown, moved, kind, low, high, times)

    def to_meta(self) -> dict[str, Any]:
        """JSON values that `from_meta` reads."""
        meta = {"shares": self.shares.tolist(), "weekdays": self.weekdays.tolist()}
        more: dict[str, Any] = {"weekly": True} if self.weekly else {}
        more |= {} if self.hours is None else {"hours": self.hours.tolist()}
        if self.minutes is not None:
            at = np.flatnonzero(self.minutes)
            more |= {"minutes": [at.tolist(), self.minutes[at].tolist()], "whole": self.whole}
        return {**meta, **more}

    @classmethod
    def from_meta(cls, meta: dict[str, Any] | None, type_: pa.DataType) -> Calendar | None:
        """The inverse of `to_meta`; None stays None. Raises `ValueError` for what no calendar wrote."""
        if meta is None:
            return None
        hours = np.asarray(meta["hours"], float) if "hours" in meta else None
        shares, weekdays = np.asarray(meta["shares"], float), np.asarray(meta["weekdays"], float)
        minutes = None
        if "minutes" in meta:
            at, weights = meta["minutes"]
            minutes = np.bincount(at, weights, 1440)
        listed = ((shares, len(GRIDS) + 1), (weekdays, 7), (hours, 24), (minutes, 1440))
        parts = [(w, n) for w, n in listed if w is not None]
        if not all(w.shape == (n,) and np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0 for w, n in parts):
            raise ValueError("no calendar")
        if not (pa.types.is_date32(type_) or pa.types.is_timestamp(type_)):
            raise ValueError("a calendar of another type")
        flags = bool(meta.get("weekly", False)), bool(meta.get("whole", False))
        return cls(type_, shares / shares.sum(), weekdays, hours, flags[0], minutes, flags[1])

    def _as_usual(
        self, shown: np.ndarray, kind: np.ndarray, widths: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Local times with weekday and time of day drawn anew where the cell says nothing of them, and their grids."""
        (day, rest), length = split(shown, self.type), _day_length(self.type)
        free = (kind >= _DAY) & (kind != _MONTH_END)
        if self.weekly and len(at := np.flatnonzero(free & (widths >= 7 * length))):
            day = day.copy()
            day[at] += rng.choice(7, len(at), p=self.weekdays / self.weekdays.sum()) - (day[at] + 3) % 7
        open_ = free & (kind > _DAY) & (widths >= length)
        if self.minutes is not None:
            by_minute = open_ & ((kind <= _MINUTE) | self.whole)
            at, open_, rest, kind = np.flatnonzero(by_minute), open_ & ~by_minute, rest.copy(), kind.copy()
            rest[at] = rng.choice(1440, len(at), p=self.minutes / self.minutes.sum()) * 60 * per_second(self.type)
            kind[at] = _MINUTE
        if self.hours is not None and len(at := np.flatnonzero(open_)):
            size, rest = 3600 * per_second(self.type), rest.copy()
            rest[at] = rng.choice(24, len(at), p=self.hours / self.hours.sum()) * size + rest[at] % size
        return joined(day, rest, self.type), kind

    def _on_grids(self, shown: np.ndarray, kind: np.ndarray) -> np.ndarray:
        """Each local time at the nearest point of its grid; where weekdays or hours differ it stays within its own."""
        moved = shown.copy()
        for k in np.unique(kind):
            at = np.flatnonzero(kind == k)
            below, above = self._neighbours(shown[at], int(k))
            stays = (self.weekly and k == _DAY) or (self.hours is not None and _DAY < k < _MONTH_END)
            moved[at] = np.where(stays | (shown[at] - below <= above - shown[at]), below, above)
        return moved

    def _neighbours(self, shown: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray]:
        """The last point of a grid up to each local time, and the first one after it."""
        zero = np.zeros_like(shown)
        if kind == GRIDS.index("any"):
            return shown, shown
        if kind < _DAY or kind == _MONTH_END:
            step = (12, 3, 1)[kind] if kind < _DAY else 1
            shift = 1 if kind == _MONTH_END else 0
            day, _ = split(shown, self.type)
            month = months_of(day + shift) // step * step
            return tuple(joined(first_days(m) - shift, zero, self.type) for m in (month, month + step))  # type: ignore[return-value]
        size = _day_length(self.type) if kind == _DAY else CLOCK[kind - _DAY - 1] * per_second(self.type)
        below = shown // size * size
        return below, np.where(below == shown, below, below + size)

    def _on_weekdays(self, moved: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Days that do not occur moved to one of the same week that does."""
        if (self.weekdays > 0).all():
            return moved
        day, rest = split(moved, self.type)
        weekday = (day + 3) % 7
        wrong = np.flatnonzero((self.weekdays[weekday] == 0) & (kind >= _DAY) & (kind != _MONTH_END))
        to = rng.choice(7, len(wrong), p=self.weekdays / self.weekdays.sum())
        day = day.copy()
        day[wrong] += to - weekday[wrong]
        return joined(day, rest, self.type)

    def _inside(
        self, shown: np.ndarray, moved: np.ndarray, kind: np.ndarray, low: float, high: float, wanted: np.ndarray
    ) -> np.ndarray:
        """Moved times back in UTC; those beyond the bounds at the grid's neighbour inside, else where they were."""
        result = universal(moved, self.type).copy()
        out = np.flatnonzero((result < low) | (result > high))
        for k in np.unique(kind[out]):
            at = out[kind[out] == k]
            result[at] = wanted[at]
            for other in self._neighbours(shown[at], int(k)):
                candidate = universal(other, self.type)
                fits = (candidate >= low) & (candidate <= high)
                result[at[fits]] = candidate[fits]
        return result


def calendar_of(
    counts: CalendarCounts | None, atoms: np.ndarray, rows: np.ndarray, step: float, rare_threshold: int
) -> Calendar | None:
    """The calendar of a column; None where its times keep to none.

    Args:
        counts: of all rows; None: not known (under a budget).
        atoms: times that are made as they are and need no calendar, (A,) int64.
        rows: of each atom, (A,).
        step: of all times; 0: not known.
        rare_threshold: rows that a grid or weekday needs to survive.
    """
    if counts is None or not counts.grids[-1] or step > 0 and step > _day_length(counts.type):
        return None
    rest = _without(counts, atoms, rows)
    if rest.grids[-1] < _FEWEST_ROWS:  # nearly all are atoms: the few others are taken to be as all are
        rest = counts
    total = rest.grids[-1]
    shares = _shares(rest, rare_threshold)
    sizes = [_day_length(counts.type), *(s * per_second(counts.type) for s in CLOCK)]
    for grid, size in enumerate(sizes, start=_DAY):
        if size < step:  # rounding puts all values on a coarser one as it is
            shares[len(GRIDS) - 1] += shares[grid]
            shares[grid] = 0.0
    expected = total / 7
    seen = rest.weekdays >= max(rare_threshold, _SEEN * expected)
    weekdays = np.where(seen, rest.weekdays, 0.0)
    if expected < _FEWEST_PER_WEEKDAY or not seen.any():
        weekdays = np.ones(7)
    weekly = _differ(weekdays)
    hours = rest.hours.astype(float)
    midnights = total * (1 - shares[_DAY + 1 : _MONTH_END].sum())  # that are on the grid of days
    hours[0] -= midnights
    hours = np.where(hours >= rare_threshold, hours, 0.0)
    # steps of many hours are kept in UTC, and the hours that a zone shows of them move with its summer time
    moves = getattr(counts.type, "tz", None) is not None and step > 3600 * per_second(counts.type)
    usual = hours if hours.sum() >= _FEWEST_ROWS and _differ(hours) and not moves else None
    minutes = None if moves else _usual_minutes(rest.minutes, midnights, rare_threshold)
    whole = bool(rest.grids[_MINUTE] == total)
    if shares[len(GRIDS) - 1] > 1 - 1e-9 and (weekdays > 0).all() and usual is None and minutes is None and not weekly:
        return None
    return Calendar(counts.type, shares, weekdays, usual, weekly, minutes, whole)


def _usual_minutes(counts: np.ndarray, midnights: float, rare_threshold: int) -> np.ndarray | None:
    """Weights of the minutes of the day that hold nearly all rows of times at whole minutes; None where none do.

    Args:
        counts: rows at each, (1440,).
        midnights: rows that are on the grid of days.
        rare_threshold: rows that a minute needs to survive.
    """
    minutes = counts.astype(float)
    minutes[0] = max(minutes[0] - midnights, 0.0)
    usual = np.where(minutes >= rare_threshold, minutes, 0.0)
    return usual if usual.sum() >= max(_FEWEST_ROWS, _COVERED * minutes.sum()) else None


def _differ(counts: np.ndarray) -> bool:
    """Whether counts differ by more than equal shares do by chance (Pearson's chi-square)."""
    expected = counts.sum() / len(counts)
    return bool(expected > 0 and ((counts - expected) ** 2).sum() / expected > _BEYOND_CHANCE[len(counts)])


def _day_length(type_: pa.DataType) -> int:
    return 1 if pa.types.is_date32(type_) else 86_400 * per_second(type_)


def _without(counts: CalendarCounts, atoms: np.ndarray, rows: np.ndarray) -> CalendarCounts:
    """The counts of the rows that are not in some atoms."""
    own = CalendarCounts(counts.type)
    if len(atoms):
        own.update(atoms, np.rint(rows).astype(np.int64))
    return CalendarCounts(
        counts.type,
        np.maximum(counts.grids - own.grids, 0),
        max(counts.month_ends - own.month_ends, 0),
        np.maximum(counts.weekdays - own.weekdays, 0),
        np.maximum(counts.hours - own.hours, 0),
        np.maximum(counts.minutes - own.minutes, 0),
    )


def _shares(counts: CalendarCounts, rare_threshold: int) -> np.ndarray:
    """The probability that a drawn time is put on each grid, so that in all the real share of rows lies on it.

    A point of a fine grid lies on a coarser one by chance, too; what is left over beyond chance counts.
    """
    on = counts.grids.astype(float)
    total = on[-1]
    chance = np.append(_BY_CHANCE, 1e-3 if not pa.types.is_date32(counts.type) else 1.0)
    size = len(GRIDS)
    hits = np.array([[1.0 if j <= k else np.prod(chance[k:j]) for j in range(size)] for k in range(size)])
    own = np.linalg.solve(hits + 1e-12 * np.eye(size), on) if size else on
    day = _DAY
    base = _BY_CHANCE[day - 1]
    ends = (counts.month_ends - base * on[day]) / (1 - base)
    result = np.append(own, ends)
    result[day] -= max(ends, 0.0)
    needed = np.maximum(rare_threshold, 4 * np.sqrt(np.append(on, counts.month_ends)))
    needed[size - 1] = needed[day] = rare_threshold
    result[result < needed] = 0.0
    if result.sum() <= 0:
        result[size - 1] = total
    return result / result.sum()
