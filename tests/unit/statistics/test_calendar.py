"""Rows on the steps of the calendar, counted one by one."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

from raysynth.statistics.steps import GRIDS, CalendarCounts


def test_each_time_counts_on_the_grids_that_it_lies_on() -> None:
    times = [
        dt.datetime(2024, 1, 1),
        dt.datetime(2024, 4, 1),
        dt.datetime(2024, 5, 1),
        dt.datetime(2024, 2, 29),
        dt.datetime(2024, 5, 3, 7, 0),
        dt.datetime(2024, 5, 3, 7, 30),
        dt.datetime(2024, 5, 3, 7, 45),
        dt.datetime(2024, 5, 3, 7, 50),
        dt.datetime(2024, 5, 3, 7, 51),
        dt.datetime(2024, 5, 3, 7, 51, 7),
        dt.datetime(2024, 5, 3, 7, 51, 7, 5),
    ]
    type_ = pa.timestamp("us")
    counts = CalendarCounts(type_)
    counts.update(pa.array(times, type_).cast(pa.int64()).to_numpy(), None)
    on = dict(zip(GRIDS, counts.grids.tolist(), strict=True))
    days = {"year": 1, "quarter": 2, "month": 3, "day": 4}
    assert on == {**days, "3600 s": 5, "1800 s": 6, "900 s": 7, "300 s": 8, "60 s": 9, "1 s": 10, "any": 11}
    assert counts.month_ends == 1
    assert counts.weekdays.tolist() == [2, 0, 1, 1, 7, 0, 0]
    assert counts.hours[[0, 7]].tolist() == [4, 7] and counts.minutes[[0, 420, 450, 471]].tolist() == [4, 1, 1, 1]


def test_rows_of_equal_times_count_as_often_as_they_occur_and_dates_have_no_time_of_day() -> None:
    counts = CalendarCounts(pa.date32())
    counts.update(np.array([0, 30]), np.array([3, 2]))  # 1 and 31 January 1970
    assert counts.grids.tolist() == [3, 3, 3, *[5] * (len(GRIDS) - 3)]
    assert counts.month_ends == 2 and counts.hours[0] == 5
