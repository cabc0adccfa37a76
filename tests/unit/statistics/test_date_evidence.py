"""How much evidence texts need to be dates: shares, names, years, few values, several forms; and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

from raysynth.statistics.text_dates import DateReading, is_nothing, read_dates, settled

DAYS = [f"{day:02d}.{month:02d}.2003" for day in range(1, 28, 2) for month in (1, 5, 9)]


def reading_of(texts: dict[str, int], name: str = "when", **given: bool) -> DateReading | None:
    """Of texts and their rows."""
    return value_of(lambda: read_dates(name, list(texts), np.array(list(texts.values())), **given))


@pytest.mark.parametrize(("odd", "is_date"), [(0, True), (20, True), (21, True), (50, True), (51, False)])
def test_ninety_five_of_a_hundred_rows_must_read(odd: int, is_date: bool) -> None:
    """Of 1,000 rows in one form; the others are texts that are no sign for a missing date."""
    texts = dict.fromkeys(DAYS[:40], (1000 - odd) // 40)
    texts[DAYS[0]] += 1000 - odd - sum(texts.values())
    reading = reading_of(texts | ({"spring 3": odd} if odd else {}))
    assert (reading is not None) is is_date
    if reading is not None:
        assert reading.share == pytest.approx(1 - odd / 1000) and reading.format == "%d.%m.%Y"
        assert reading.examples == (("spring 3",) if odd else ())
        assert (f"; {odd} rows are no such date and count as missing" in reading.reason(1000)) is (odd > 0)


@pytest.mark.parametrize(("dates", "is_date"), [(2, False), (3, True)])
def test_beside_signs_for_no_date_three_dates_are_enough(dates: int, is_date: bool) -> None:
    texts = {"unknown": 90, "-": 5, **dict.fromkeys(DAYS[:dates], 1)}
    reading = reading_of(texts)
    assert (reading is not None) is is_date
    assert reading is None or reading.share == pytest.approx(dates / (95 + dates))


@pytest.mark.parametrize(
    "text", ["-", "unknown", "0", "99999999", "0000-00-00", "0/0/0000", "00.00.00", "0000-00-00 00:00:00.0", "00000000"]
)
def test_signs_for_no_date(text: str) -> None:
    assert is_nothing(text)
    assert not any(is_nothing(t) for t in ("1", "0000-00-01", "9999999", "00:00", "0000-00-00 00:01", "2000-01-01"))


@pytest.mark.parametrize(
    ("years", "is_date"),
    [
        ((1700, 2200), True),
        ((1500, 1600), False),
        ((2201, 2300), False),
        ((1990, 2010), True),
    ],
)
def test_years_are_those_of_records(years: tuple[int, int], is_date: bool) -> None:
    rng = np.random.default_rng(0)
    parts = np.linspace(*years, 60).astype(int), rng.integers(1, 13, 60), rng.integers(13, 29, 60)
    texts = {f"{y}-{m:02d}-{d:02d}": 1 for y, m, d in zip(*parts, strict=True)}
    assert (reading_of(texts) is not None) is is_date
    known = reading_of(
        dict.fromkeys([f"2003-02-{d:02d}" for d in range(10, 28)], 1) | {"9999-12-31": 90, "0001-01-01": 9}
    )
    assert known is not None and known.share == 1


@pytest.mark.parametrize(
    ("name", "n", "is_date"), [("x", 11, False), ("x", 12, True), ("date", 4, True), ("x_id", 40, False)]
)
def test_vague_forms_need_a_name_or_many_values(name: str, n: int, is_date: bool) -> None:
    """Months and years, times, and years of two digits; a name of a key is none."""
    months = {f"{2000 + i // 12}-{i % 12 + 1:02d}": 1 for i in range(n)}
    clock = {f"{i % 24:02d}:{13 + i:02d}": 1 for i in range(n)}
    for texts in (months, clock):
        assert (reading_of(texts, name) is not None) is is_date
    short = {f"{13 + i % 15}/{1 + i // 15:02d}/03": 1 for i in range(n)}
    assert (reading_of(short, name) is not None) is (n >= 12 or name == "date")
    assert reading_of(months, name, asked=True) is not None


@pytest.mark.parametrize(("name", "is_date"), [("born", True), ("amount", False), ("day_id", False)])
def test_whole_numbers_of_months_need_a_name(name: str, is_date: bool) -> None:
    digits = {f"{2000 + i // 12}{i % 12 + 1:02d}": 1 for i in range(30)}
    assert (reading_of(digits, name, digits=True) is not None) is is_date
    days = {t.strftime("%Y%m%d"): 1 for t in pd.date_range("2001-01-20", periods=90)}
    reading = reading_of(days, "date", digits=True)
    assert reading is not None and reading.format == "%Y%m%d"
    assert reading_of({f"2001-{i:03d}": 1 for i in range(1, 300)}, "date", digits=True) is None, "has a separator"


FORMS = ("%Y-%m-%d", "%d.%m.%Y", "%d %b %Y", "%Y/%m/%d", "%B %d, %Y")


@pytest.mark.parametrize(("n_forms", "is_date"), [(1, True), (2, True), (4, True), (5, False)])
def test_up_to_four_forms_together_are_one_column(n_forms: int, is_date: bool) -> None:
    days = pd.date_range("2001-01-20", periods=60 * n_forms)
    texts = {t.strftime(FORMS[i % n_forms]): 1 for i, t in enumerate(days)}
    reading = reading_of(texts)
    assert (reading is not None) is is_date
    if reading is not None:
        assert sorted(reading.format.split(" or ")) == sorted(FORMS[:n_forms]) and reading.share == 1
        assert ("in the first of these forms" in reading.reason(60)) is (n_forms > 1)


@pytest.mark.parametrize(("few", "n_forms"), [(1, 1), (4, 2)])
def test_a_form_of_less_than_two_percent_is_none_of_several(few: int, n_forms: int) -> None:
    """Of a hundred dates."""
    days = pd.date_range("2001-01-20", periods=100)
    texts = {t.strftime("%d.%m.%Y" if i >= few else "%Y-%m-%d"): 1 for i, t in enumerate(days)}
    reading = reading_of(texts)
    assert reading is not None and len(reading.format.split(" or ")) == n_forms
    assert reading.share == pytest.approx(1 if n_forms > 1 else 1 - few / 100)


@pytest.mark.parametrize(
    ("form", "day_first"),
    [("%d/%m/%Y", True), ("%-m/%-d/%y", False), ("%Y-%m-%d", None), ("%d %b %Y", None), ("%Y-%m-%d or %d.%m.%Y", True)],
)
def test_whether_the_day_stands_before_the_month(form: str, day_first: bool | None) -> None:
    assert DateReading(form, 1.0).day_first is day_first


def test_unsettled_columns_follow_most_of_the_settled_ones_of_their_table() -> None:
    open_ = DateReading("%m/%d/%Y", 0.9, "%d/%m/%Y", ("x",))
    days, months, neither = (DateReading(f, 1.0) for f in ("%d.%m.%Y", "%m-%d-%Y", "%Y-%m-%d"))
    for known, expected in (
        ([days], "%d/%m/%Y"),
        ([days, months], "%m/%d/%Y"),
        ([days, days, months], "%d/%m/%Y"),
        ([months, neither], "%m/%d/%Y"),
    ):
        told = value_of(lambda known=known: settled({"open": open_} | {str(i): r for i, r in enumerate(known)}))
        assert told["open"] == DateReading(expected, 0.9, None, ("x",)) and told["0"] == known[0]
    assert settled({"open": open_, "iso": neither})["open"] == open_


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (DateReading("%Y-%m-%d", 1.0), "text of dates, %Y-%m-%d"),
        (
            DateReading("%Y-%m-%d", 0.975, None, ("-", "Oslo", "unknown")),
            "text of dates, %Y-%m-%d; 5 rows are no such date ('-', 'unknown') and count as missing",
        ),
        (DateReading("%Y", 0.9999), "text of dates, %Y; 1 rows are no such date and count as missing"),
        (
            DateReading("%Y-%m-%dT%H:%M%z", 1.0),
            "text of dates, %Y-%m-%dT%H:%M%z; offsets from UTC differ, so times are given in UTC",
        ),
    ],
)
def test_what_is_said_of_a_column_of_dates(reading: DateReading, said: str) -> None:
    assert reading.reason(200) == said


def test_texts_without_digits_blanks_and_long_ones_are_no_dates() -> None:
    assert reading_of({"monday": 5, "friday": 3, "May": 2}) is None
    assert reading_of({}) is None and reading_of({" ": 3, "": 9}) is None
    assert reading_of({f"{'x' * 55} 0{i}.01.2003": 1 for i in range(1, 9)}, asked=True) is None
    blank = reading_of(dict.fromkeys([f" {t} " for t in DAYS[:20]], 1) | {"  ": 50})
    assert blank is not None and blank.share == 1
