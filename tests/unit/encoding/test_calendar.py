"""Times keep to the calendar: by the share of rows on each step, so that one odd row does not decide for all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

import raysynth as rs
from raysynth.encoding.calendar import Calendar
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.steps import GRIDS, CalendarCounts

N = 2500
DAYS = pd.Timestamp("1990-01-01") + pd.to_timedelta(np.random.default_rng(0).integers(0, 9000, N), unit="D")


def seconds(most: int, step: int = 1) -> pd.TimedeltaIndex:
    return pd.to_timedelta(np.random.default_rng(1).integers(0, most // step, N) * step, unit="s")


COLUMNS = {
    "midnights": DAYS,
    "month starts": DAYS.to_period("M").to_timestamp(),
    "month ends": (DAYS + pd.offsets.MonthEnd(0)).normalize(),
    "quarters": DAYS.to_period("Q").to_timestamp(),
    "work days": DAYS.where(DAYS.weekday < 5, DAYS - pd.to_timedelta(2, unit="D")),
    "half at midnight": DAYS + seconds(86_400) * (np.arange(N) % 2),
    "full hours": DAYS + seconds(86_400, 3600),
    "every five minutes": DAYS + seconds(86_400, 300),
    "any second": DAYS + seconds(86_400),
    "office hours": DAYS + pd.to_timedelta(9, unit="h") + seconds(8 * 3600, 900),
    "half past nine": DAYS + pd.to_timedelta(9.5, unit="h"),
    "shifts": DAYS + pd.to_timedelta(np.array([6.25, 14.25, 22.25])[np.arange(N) % 3], unit="h"),
    "evenings": DAYS + pd.to_timedelta(np.array([8, 20, 20, 20, 20])[np.arange(N) % 5], unit="h") + seconds(7200),
    "Saturdays mostly": DAYS + pd.to_timedelta((5 - DAYS.weekday) * (np.arange(N) % 4 > 0), unit="D"),
    "midnights in Berlin": DAYS.tz_localize("Europe/Berlin"),
}
SHARES: dict[str, Callable[[pd.Series], pd.Series]] = {
    "midnight": lambda t: t == t.dt.normalize(),
    "month start": lambda t: (t == t.dt.normalize()) & t.dt.is_month_start,
    "month end": lambda t: (t == t.dt.normalize()) & t.dt.is_month_end,
    "weekend": lambda t: t.dt.weekday >= 5,
    "Saturday": lambda t: t.dt.weekday == 5,
    "from 9 to 17": lambda t: t.dt.hour.between(9, 16),
    "evening": lambda t: t.dt.hour >= 20,
    "full hour": lambda t: (t.dt.minute == 0) & (t.dt.second == 0),
    "quarter past": lambda t: (t.dt.minute == 15) & (t.dt.second == 0),
    "half past nine": lambda t: (t.dt.hour == 9) & (t.dt.minute == 30) & (t.dt.second == 0),
    "five minutes": lambda t: (t.dt.minute % 5 == 0) & (t.dt.second == 0),
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("odd", [False, True], ids=["clean", "one odd row"])
def test_shares_of_the_calendar_come_back(name: str, odd: bool) -> None:
    """Each share within 5 standard errors of 2,500 real and 2,500 made rows: false alarms below 1 in 10^5."""
    real = pd.Series(COLUMNS[name]).astype(COLUMNS[name].dtype).copy()
    if odd:
        real = real.dt.as_unit("us")
        real[7] += pd.Timedelta(hours=3, seconds=7, microseconds=345_678)
    frame = pd.DataFrame({"t": real, "k": np.arange(N) % 3})
    made = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame).sample(N, seed=1)["t"])
    assert made.dtype == real.dtype
    for share, of in SHARES.items():
        p, q = of(real).mean(), of(made).mean()
        assert abs(p - q) <= 0.004 + 5 * np.sqrt(2 * p * (1 - p) / N), (share, p, q)


@pytest.mark.parametrize("method", [rs.BayesianNetworkSynthesizer, rs.GaussianCopula])
def test_moved_times_stay_inside_conditions(method: type[rs.GaussianCopula], tmp_path: object) -> None:
    frame = pd.DataFrame({"t": COLUMNS["half at midnight"], "w": COLUMNS["work days"]})
    model = value_of(lambda: method(seed=0, verbose=False).fit(frame))
    made = model.sample(200, {"t": ("1995-03-01 07:00", "1996-03-01 07:00")}, seed=0)
    assert made["t"].between("1995-03-01 07:00", "1996-03-01 07:00").all()
    assert 0.3 < (made["t"] == made["t"].dt.normalize()).mean() < 0.7
    assert (made["w"].dt.weekday < 5).all()


def test_summaries_merge_to_the_same_counts() -> None:
    array = pa.array(COLUMNS["half at midnight"]).cast(pa.timestamp("s"))
    whole, first, second = (NumericSummary(array.type) for _ in range(3))
    whole.update(array)
    first.update(array.slice(0, 900))
    second.update(array.slice(900))
    first.merge(second)
    assert whole.calendar is not None and first.calendar is not None
    for name in ("grids", "weekdays", "month_ends", "hours", "minutes"):
        assert np.array_equal(getattr(whole.calendar, name), getattr(first.calendar, name))
    assert isinstance(whole.calendar, CalendarCounts) and whole.calendar.grids[-1] == N == whole.calendar.weekdays.sum()


def test_a_model_file_keeps_the_calendar(tmp_path: object) -> None:
    frame = pd.DataFrame({"t": COLUMNS["office hours"], "w": COLUMNS["Saturdays mostly"], "s": COLUMNS["shifts"]})
    frame["none"] = pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us]")
    frame.loc[0, ["t", "s"]] += pd.Timedelta(seconds=1)
    model = value_of(lambda: rs.BayesianNetworkSynthesizer(seed=0, verbose=False).fit(frame))
    model.save(f"{tmp_path}/m")
    pd.testing.assert_frame_equal(rs.load_synthetic_model(f"{tmp_path}/m").sample(50, seed=0), model.sample(50, seed=0))


@pytest.mark.parametrize(
    ("grid", "before", "after"),
    [
        ("year", ["2023-01-01", "2024-01-01", "2024-01-01"], ["2024-01-01", "2025-01-01", "2025-01-01"]),
        ("quarter", ["2023-10-01", "2024-01-01", "2024-01-01"], ["2024-01-01", "2024-04-01", "2024-04-01"]),
        ("month", ["2023-12-01", "2024-01-01", "2024-02-01"], ["2024-01-01", "2024-02-01", "2024-03-01"]),
        ("month end", ["2023-12-31", "2024-01-31", "2024-01-31"], ["2024-01-31", "2024-02-29", "2024-02-29"]),
        ("day", ["2023-12-31", "2024-01-31", "2024-02-01"], ["2024-01-01", "2024-02-01", "2024-02-02"]),
    ],
)
def test_a_time_lies_between_the_points_of_its_grid(grid: str, before: list[str], after: list[str]) -> None:
    """The last day of a year, of a month, and the first one of the next, in the afternoon."""
    times = np.array(["2023-12-31T15", "2024-01-31T15", "2024-02-01T15"], "datetime64[s]").astype(np.int64)
    calendar = Calendar(pa.timestamp("s"), np.ones(len(GRIDS) + 1), np.ones(7))
    kind = len(GRIDS) if grid == "month end" else GRIDS.index(grid)
    points = [np.array(p, "datetime64[s]").astype(np.int64).tolist() for p in (before, after)]
    assert [p.tolist() for p in calendar._neighbours(times, kind)] == points
