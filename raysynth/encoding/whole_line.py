"""Whole numbers beyond 2**53 as places on a shorter line that float64 holds exactly: keys, 64-bit ids, nanoseconds.

The line goes through given numbers (knots, such as the ends of cells). Between neighbouring knots it is straight: a
place for each number on the column's grid, or fewer places than numbers where they are more than `MOST_PLACES` apart.
So order is kept, every knot has a place of its own and comes back exactly, and so does every number between near knots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from raysynth.statistics.released import NumericDistribution

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
        if isinstance(bound, float) and not np.isfinite(bound):
            return bound
        low, high = int(np.floor(bound)), int(np.ceil(bound))
        info = np.iinfo(self.knots.dtype)
        below, above = (
            float(self.place(np.array([min(max(v, info.min), info.max)], self.knots.dtype))[0]) for v in (low, high)
        )
        return below / 2 + above / 2


def on_line(released: NumericDistribution) -> tuple[NumericDistribution, WholeLine | None]:
    """A distribution of whole numbers that float64 does not hold as one of places, and the line; others as they are."""
    if released.whole is None or len(released.low) == 0:
        return released, None
    step = max(1, released.step or 1)
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
