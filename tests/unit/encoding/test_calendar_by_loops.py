"""Drawn times on the steps of a calendar, against a look at every point of its grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.encoding.calendar import Calendar, calendar_of
from raysynth.statistics.steps import GRIDS, CalendarCounts

SECONDS = pa.timestamp("s")
BEGIN, END = pd.Timestamp("2018-12-01"), pd.Timestamp("2024-02-01")
EVERY = np.ones(7)
NONE = np.empty(0, np.int64)


def on(*kinds: str, **given: Any) -> Calendar:
    """A calendar whose times are on these grids, equally often."""
    shares = np.zeros(len(GRIDS) + 1)
    shares[[len(GRIDS) if k == "month end" else GRIDS.index(k) for k in kinds]] = 1 / len(kinds)
    return Calendar(given.pop("type", SECONDS), shares, given.pop("weekdays", EVERY), **given)


def beside(kind: str, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last point of a grid up to each time, and the first from it on, by pandas."""
    shown = pd.DatetimeIndex(at.astype("datetime64[s]"))
    if kind.removesuffix(" s").isdigit():
        step = f"{kind.removesuffix(' s')}s"
        ends = shown.floor(step), shown.ceil(step)
    else:
        rule = {"year": "YS", "quarter": "QS", "month": "MS", "month end": "ME", "day": "D"}[kind]
        grid = pd.date_range(BEGIN - pd.Timedelta(400, "D"), END + pd.Timedelta(400, "D"), freq=rule)
        ends = grid[grid.searchsorted(shown, side="right") - 1], grid[grid.searchsorted(shown, side="left")]
    below, above = (e.astype("datetime64[s]").astype(np.int64).to_numpy() for e in ends)
    return below, above


def times(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return BEGIN.value // 10**9 + rng.integers(0, int((END - BEGIN).total_seconds()), n)


def placed(calendar: Calendar, at: np.ndarray, low: float = -1e18, high: float = 1e18, **given: Any) -> np.ndarray:
    return value_of(lambda: calendar.placed(at, low, high, np.random.default_rng(1), **given))


@pytest.mark.parametrize("kind", [*GRIDS[:-1], "month end"])
def test_a_time_goes_to_the_nearest_point_of_its_grid(kind: str) -> None:
    """Of two as near the earlier one; where weekdays or hours count to the last one before it."""
    at = times(150)
    at[:3] = beside(kind, at[:1])[0] + np.array([0, 1, -1])
    below, above = beside(kind, at)
    nearest = np.where(at - below <= above - at, below, above)
    np.testing.assert_array_equal(placed(on(kind), at), nearest)
    fixed = kind == "day"
    np.testing.assert_array_equal(placed(on(kind, weekly=True), at), below if fixed else nearest)
    by_hour = kind.removesuffix(" s").isdigit()
    np.testing.assert_array_equal(placed(on(kind, hours=np.ones(24)), at), below if by_hour else nearest)


@pytest.mark.parametrize("kind", ["year", "month", "day", "3600 s"])
def test_no_time_leaves_its_bounds(kind: str) -> None:
    """One that would goes to the grid's point on the other side, and where that lies outside, too, it stays."""
    width = 86_400 * {"year": 200, "month": 20, "day": 0.6, "3600 s": 0.03}[kind]
    for number, at in enumerate(times(40, 3).tolist()):
        low, high = at - width * (number % 3) / 2, at + width * ((number + 1) % 3) / 2
        (found,) = placed(on(kind), np.array([at]), low, high)
        below, above = (int(x[0]) for x in beside(kind, np.array([at])))
        first, other = (below, above) if at - below <= above - at else (above, below)
        inside = [p for p in (first, other) if low <= p <= high]
        assert found == (inside[0] if inside else at)
    moved = placed(on("any"), times(50))
    np.testing.assert_array_equal(moved, times(50))


def test_grids_are_drawn_by_their_shares() -> None:
    at = times(4000, 4)
    shares = np.zeros(len(GRIDS) + 1)
    shares[[GRIDS.index("year"), GRIDS.index("day"), len(GRIDS)]] = 0.2, 0.5, 0.3
    found = pd.to_datetime(placed(Calendar(SECONDS, shares, EVERY), at), unit="s")
    assert (found == found.normalize()).all()
    assert found.is_year_start.mean() == pytest.approx(0.2, abs=0.03)
    assert found.is_month_end.mean() == pytest.approx(0.3 + 0.5 / 30.4, abs=0.03)


def test_days_that_do_not_occur_move_within_their_week_by_the_weights_of_the_others() -> None:
    weekdays = np.array([3.0, 1, 0, 0, 0, 0, 0])
    at = times(3000, 5)
    for kinds in (("day",), ("3600 s",)):
        found, was = (
            pd.to_datetime(x, unit="s") for x in (placed(on(*kinds, weekdays=weekdays), at), placed(on(*kinds), at))
        )
        assert set(found.weekday) == {0, 1} and (found.weekday == 0).mean() == pytest.approx(
            (1 + 5 * 0.75) / 7, abs=0.03
        )
        assert (found - pd.to_timedelta(found.weekday, "D") == was - pd.to_timedelta(was.weekday, "D")).all(), (
            "same week, same hour"
        )
    months = pd.to_datetime(placed(on("month", weekdays=weekdays), at), unit="s")
    assert months.is_month_start.all() and len(set(months.weekday)) == 7, "first days of months are of any weekday"


def test_what_a_wide_cell_does_not_tell_is_drawn_as_in_all_rows() -> None:
    """Weekdays in cells of a week, hours and minutes in cells of a day; narrower ones keep theirs."""
    at, day = times(4000, 6), 86_400
    weekdays = np.array([0.5, 0, 0, 0, 0, 0, 0.5]) + 0.1
    for width, drawn in ((7 * day, True), (7 * day - 1, False)):
        found = pd.to_datetime(
            placed(on("day", weekdays=weekdays, weekly=True), at, widths=np.full(4000, width)), unit="s"
        )
        was = pd.to_datetime(placed(on("day", weekly=True), at), unit="s")
        assert (found == was).all() != drawn
        assert not drawn or np.bincount(found.weekday, minlength=7) / 4000 == pytest.approx(
            weekdays / weekdays.sum(), abs=0.03
        )
        assert (found - pd.to_timedelta(found.weekday, "D") == was - pd.to_timedelta(was.weekday, "D")).all()
    hours = np.zeros(24)
    hours[[9, 17]] = 3, 1
    for width, drawn in ((day, True), (day - 1, False)):
        found = pd.to_datetime(placed(on("300 s", hours=hours), at, widths=np.full(4000, width)), unit="s")
        assert (set(found.hour) == {9, 17}) == drawn
        assert (found.normalize() == pd.to_datetime(at, unit="s").normalize()).all()
        assert not drawn or (found.hour == 9).mean() == pytest.approx(0.75, abs=0.03)
    minutes = np.zeros(1440)
    minutes[[9 * 60 + 30, 14 * 60]] = 1, 3
    for kind, whole, by_minute in (
        ("60 s", False, True),
        ("1 s", False, False),
        ("1 s", True, True),
        ("day", True, False),
    ):
        given = {"minutes": minutes, "whole": whole, "widths": np.full(4000, day)}
        widths = given.pop("widths")
        found = pd.to_datetime(placed(on(kind, **given), at, widths=widths), unit="s")
        assert ({*zip(found.hour, found.minute, found.second, strict=True)} == {(9, 30, 0), (14, 0, 0)}) == by_minute
        assert not by_minute or (found.hour == 14).mean() == pytest.approx(0.75, abs=0.03)


MICRO = pa.timestamp("us")


def counted(shown: pd.DatetimeIndex) -> CalendarCounts:
    counts = CalendarCounts(MICRO)
    counts.update(shown.astype("datetime64[us]").astype(np.int64).to_numpy(), None)
    return counts


def found_of(shown: pd.DatetimeIndex, rare: int = 5, step: float = 1.0) -> Calendar | None:
    return value_of(lambda: calendar_of(counted(shown), NONE, NONE.astype(float), step, rare))


def test_a_calendar_is_what_rows_keep_to() -> None:
    rng = np.random.default_rng(7)
    day = BEGIN + pd.to_timedelta(rng.integers(0, 1500, 3000), unit="D")
    clock = pd.to_timedelta(rng.integers(0, 86_400 * 10**6, 3000), unit="us")
    any_time = day + clock
    assert found_of(any_time) is None and calendar_of(None, NONE, NONE.astype(float), 1.0, 5) is None
    midnights = found_of(pd.DatetimeIndex(np.where(rng.random(3000) < 0.4, day, any_time)))
    assert midnights is not None and not midnights.weekly and midnights.hours is None and midnights.minutes is None
    assert midnights.shares[GRIDS.index("day")] == pytest.approx(0.4, abs=0.04)
    assert (
        midnights.shares[-2] == pytest.approx(0.6, abs=0.04)
        and not midnights.whole
        and midnights.shares.sum() == pytest.approx(1)
    )
    work = found_of(day[day.weekday < 5] + clock[: (day.weekday < 5).sum()])
    assert work is not None and (work.weekdays > 0).tolist() == [True] * 5 + [False] * 2 and work.weekly
    hours = day + pd.to_timedelta(rng.integers(9, 17, 3000), unit="h")
    office = found_of(hours)
    assert office is not None and office.shares[GRIDS.index("3600 s")] > 0.9 and office.whole
    assert office.minutes is not None and np.flatnonzero(office.minutes).tolist() == [60 * h for h in range(9, 17)]
    assert office.hours is not None and np.flatnonzero(office.hours).tolist() == list(range(9, 17))
    ends = found_of((day + pd.offsets.MonthEnd(0)).normalize())
    assert ends is not None and ends.shares[-1] > 0.85
    assert found_of(hours, step=86_401e6) is None, "rounding keeps to days by itself"
    assert found_of(day[:190], rare=5) is not None


def random_times(grid: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Any points of a grid in 400 years, as microseconds."""
    if grid == "any":
        return rng.integers(0, 400 * 365 * 86_400, n) * 10**6 + rng.integers(1, 10**6, n)
    if grid.endswith(" s"):
        size = int(grid.removesuffix(" s"))
        return rng.integers(0, 400 * 365 * 86_400 // size, n) * size * 10**6
    unit, each = {"year": ("Y", 1), "quarter": ("M", 3), "month": ("M", 1), "day": ("D", 1)}[grid]
    size = {"Y": 400, "M": 400 * 12 // each, "D": 400 * 365}[unit]
    return (rng.integers(0, size, n) * each).astype(f"datetime64[{unit}]").astype("datetime64[us]").astype(np.int64)


@pytest.mark.parametrize("grid", range(1, len(GRIDS)))
def test_points_that_lie_on_a_coarser_grid_by_chance_are_not_of_it(grid: int) -> None:
    """Three of ten times are on a coarse grid, the others anywhere on the next finer one: within five errors."""
    rng, n = np.random.default_rng(grid), 100_000
    coarse, fine = random_times(GRIDS[grid - 1], 3 * n // 10, rng), random_times(GRIDS[grid], 7 * n // 10, rng)
    counts = CalendarCounts(MICRO)
    counts.update(np.concatenate([coarse, fine]), None)
    found = value_of(lambda: calendar_of(counts, NONE, NONE.astype(float), 1.0, 5))
    assert found is not None
    assert found.shares[[grid - 1, grid]] == pytest.approx([0.3, 0.7], abs=5 * (0.25 / n) ** 0.5)


@pytest.mark.parametrize(("rows", "rare", "survives"), [(5, 5, False), (6, 5, True), (6, 7, False)])
def test_a_weekday_of_fewer_rows_than_are_protected_does_not_survive(rows: int, rare: int, survives: bool) -> None:
    """Nor one of less than a tenth of what it has by chance: of 354 rows 5.06."""
    monday = pd.Timestamp("2020-01-06")
    day = monday + pd.to_timedelta(np.repeat(np.arange(58), 6) * 7 + np.tile(np.arange(6), 58), unit="D")
    shown = day.append(monday + pd.to_timedelta(np.arange(rows) * 7 + 6, unit="D"))
    shown = shown + pd.to_timedelta(np.random.default_rng(0).integers(1, 86_400, len(shown)), unit="s")
    found = found_of(shown, rare)
    assert found is not None and (found.weekdays[6] > 0) == survives


def test_what_is_made_as_it_is_needs_no_calendar() -> None:
    rng = np.random.default_rng(8)
    day = BEGIN + pd.to_timedelta(rng.integers(0, 1500, 2000), unit="D")
    others = BEGIN + pd.to_timedelta(rng.integers(0, 1500 * 86_400 * 10**6, 1000), unit="us")
    counts = counted(day.append(others))
    atoms, rows = np.unique(day.astype("datetime64[us]").astype(np.int64), return_counts=True)
    assert value_of(lambda: calendar_of(counts, atoms, rows.astype(float), 1.0, 5)) is None
    assert value_of(lambda: calendar_of(counts, atoms[:9], rows[:9].astype(float), 1.0, 5)) is not None


def test_shares_of_a_file_are_made_shares() -> None:
    calendar = on("month", "day")
    meta = calendar.to_meta()
    again = value_of(lambda: Calendar.from_meta({**meta, "shares": [3 * s for s in meta["shares"]]}, calendar.type))
    assert again is not None and again.shares.tolist() == pytest.approx(calendar.shares.tolist())
