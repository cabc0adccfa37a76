"""Dates written as text: every listed format is recognised and written back, whatever share of rows is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import value_of

import raysynth as rs
from raysynth.comparison.pairing import pair_tables
from raysynth.errors import ConditionError, SchemaError
from raysynth.kinds.date_text import FULL, SHORT, DateFormat
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.text_dates import _MOST_DISTINCT, _sample, known_formats, read_dates, settled

TIMES = [
    *("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%3f", "%Y-%m-%dT%H:%M:%S.%6fZ", "%d/%m/%Y %H:%M", "%-m/%-d/%Y %-I:%M %p"),
    *("%d.%m.%Y, %H:%M", "%d %b %Y %H:%M:%S", "%Y%m%dT%H%M%S", "%Y-%m-%dT%H:%M:%S+01:00", "%Y/%m/%d %H:%M"),
    *("%a %b %d %H:%M:%S +0000 %Y", "%a, %d %b %Y %H:%M:%S +0000", "%d/%b/%Y:%H:%M:%S -0700", "%m-%d-%y %I:%M:%S%#p"),
    *("%Y-%m-%d %H:%M UTC", "%A, %d %B %Y", "%A, %B %d, %Y", "%Y-%m-%d %H:%M:%S PST", "%#b %-d, %Y"),
    *(f"%-d %#{{{language}}}B %Y" for language in FULL if language != "en"),
    *(f"%-d-%^{{{language}}}b-%Y %H:%M" for language in SHORT if language not in ("en", "da")),  # 'da': as 'sv'
    *("%Y, %B", "%b, %Y", "%-M:%S.%3f", "%H:%M:%S.%2f", "%-H:%M:%S,%3f"),
    *("%B %-o, %Y", "%-o of %B %Y", "%{en.}b %-o, %Y", "%-d de %#{es}B de %Y", "%d%#{pt}b%y"),
]
FORMATS = [*known_formats(), *TIMES]


def moments(seed: int, n: int) -> pa.Array:
    """Moments of 45 years, to the microsecond."""
    rng = np.random.default_rng(seed)
    return pa.array(rng.integers(0, 45 * 365 * 86_400_000_000, n) + 160_000_000_000_000, pa.timestamp("us"))


def texts_of(form: str, seed: int, n: int = 120) -> list[str]:
    date = DateFormat(form)
    texts: list[str] = date.write(moments(seed, n).cast(date.type, safe=False)).to_pylist()
    return texts


@pytest.mark.parametrize("form", FORMATS)
def test_a_listed_format_is_recognised_and_written_back(form: str) -> None:
    texts = sorted(set(texts_of(form, seed=1)))
    reading = value_of(lambda: read_dates("date", texts, np.ones(len(texts))))
    assert reading is not None and reading.share == 1 and reading.unsettled is None
    found = DateFormat(reading.format)
    assert found.write(found.parse(pa.array(texts))).to_pylist() == texts
    assert found.parse(pa.array(texts)).equals(DateFormat(form).parse(pa.array(texts)))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(FORMATS), st.integers(0, 2**31), st.floats(0, 0.95))
def test_any_format_survives_any_share_of_missing_cells(form: str, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    series = pd.Series(texts_of(form, seed), dtype=object).where(rng.random(120) >= share, None)
    series.iloc[:30] = texts_of(form, seed + 1, 30)
    frame = pd.DataFrame({"date": series, "x": rng.random(120)})
    schema = rs.infer_schema(frame)
    assert schema["date"].kind is Kind.DATETIME, schema["date"].reason
    made = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame).sample(200, seed=1)["date"])
    present = made.dropna().tolist()
    assert present and DateFormat(schema["date"].date_format or "").parse(pa.array(present)).null_count == 0
    assert abs(made.isna().mean() - series.isna().mean()) < 0.3  # 5 standard errors of 200 and 120 rows: 1 in 10^6


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("%d/%m/%Y", "%d/%m/%y", "%d/%m/%Y or %d/%m/%y"),
        ("%-m-%-d-%y", "%-m-%-d-%Y", "%-m-%-d-%y or %-m-%-d-%Y"),
        ("%d.%m.%Y", "%Y-%m-%d", "%d.%m.%Y or %Y-%m-%d"),
        ("%d %b %Y %H:%M", "%d %b %Y", "%d %b %Y %H:%M or %d %b %Y"),
    ],
)
def test_a_column_in_two_forms_comes_back_in_them(first: str, second: str, found: str) -> None:
    texts = [*sorted(set(texts_of(first, 1, 300))), *sorted(set(texts_of(second, 2, 150)))]
    reading = read_dates("when", texts, np.ones(len(texts)))
    assert reading is not None and reading.format == found and reading.share == 1 and found in reading.reason(450)
    frame = pd.DataFrame({"when": texts, "x": np.arange(len(texts)) % 9})
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame))
    made = pa.array(model.sample(300, seed=1)["when"].tolist())
    assert not any(DateFormat(f).parse(made).null_count == 300 for f in (first, second) if "%H" in first)
    read = DateFormat(found).parse(made)
    assert read.null_count == 0 and DateFormat(found).write(read).equals(made)


def test_days_and_months_in_both_orders_or_two_zones_are_no_one_column() -> None:
    mixed = [*sorted(set(texts_of("%d/%m/%Y", 1, 300))), *sorted(set(texts_of("%m/%d/%Y", 2, 300)))]
    assert read_dates("when", mixed, np.ones(len(mixed))) is None
    zones = [*texts_of("%Y-%m-%d %H:%M:%S CET", 1, 300), *texts_of("%Y-%m-%d %H:%M:%S PST", 2, 300)]
    assert read_dates("when", zones, np.ones(len(zones))) is None


def test_few_moments_in_digits_are_no_numbers() -> None:
    moments_of = [20040722151705, 20040801030000, 20050115120000, 20060630235959]
    frame = pd.DataFrame({"when": np.repeat(moments_of, 40), "x": np.arange(160) % 7})
    made = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame).sample(200, seed=0)["when"])
    assert pd.to_datetime(made.astype(str), format="%Y%m%d%H%M%S").notna().all()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("word", ["a", "b", "c1"] * 20),
        ("version", ["1.10.12", "1.2.3", "4.5.6"]),
        ("address", ["10.10.2.1", "1.2.3.4"]),
        ("telephone", ["555-12-12", "555-11-10"]),
        ("ratio", ["1/2", "3/4", "11/12"]),
        ("score", ["10:12", "11:13"]),
        ("case_id", [f"2012-{i:03d}" for i in range(1, 300)]),
        ("key", [f"{i:08d}" for i in range(20_000_101, 20_000_401)]),
        ("code", [f"{i:06d}" for i in range(200_001, 200_013)]),
    ],
)
def test_other_text_is_no_date(name: str, values: list[str]) -> None:
    assert read_dates(name, values, np.ones(len(values))) is None


def test_day_and_month_are_settled_by_the_rows_then_by_other_columns_then_said() -> None:
    unsettled = read_dates("a", [f"0{d}/0{m}/2003" for d in range(1, 8) for m in range(1, 8)], np.ones(49))
    assert unsettled is not None and (unsettled.format, unsettled.unsettled) == ("%m/%d/%Y", "%d/%m/%Y")
    assert "NOT SETTLED" in unsettled.reason(49)
    european = read_dates("b", [f"{d:02d}.0{m}.2003" for d in range(1, 29) for m in range(1, 8)], np.ones(196))
    assert european is not None and european.unsettled is None and european.format == "%d.%m.%Y"
    both = settled({"a": unsettled, "b": european})
    assert both["a"].format == "%d/%m/%Y" and both["a"].unsettled is None
    assert settled({"a": unsettled})["a"] == unsettled


@pytest.mark.parametrize("form", ["%y/%m/%d", "%y.%m.%d", "%d.%m.%y", "%H.%M.%S", "%m-%d-%y"])
def test_two_digits_each_are_what_their_largest_values_say(form: str) -> None:
    times = np.random.default_rng(3).integers(0, 10 * 365 * 86_400, 400) + 1_050_000_000  # from 2003 to 2013
    texts = DateFormat(form).write(pa.array(times, pa.timestamp("s")).cast(DateFormat(form).type, safe=False))
    texts = pa.array(texts.to_pylist()).unique()
    reading = read_dates("when", texts.to_pylist(), np.ones(len(texts)))
    assert reading is not None and reading.format == form


def test_a_few_texts_that_are_no_dates_are_missing_and_said() -> None:
    texts = [*texts_of("%d.%m.%Y", 3, 995), *["unknown"] * 5]
    frame = pd.DataFrame({"when": texts, "x": range(1000)})
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame))
    assert "5 rows are no such date ('unknown') and count as missing" in model.schema_["when"].reason
    assert 0 < model.sample(4000, seed=0)["when"].isna().mean() < 0.02


def test_a_text_among_dates_is_told_to_its_holder_and_in_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    """What one row says instead of a date is that row's: the model's file counts it, and shows none."""
    frame = pd.DataFrame({"born": [*texts_of("%d.%m.%Y", 3, 995), *["moved to Oslo"] * 4, "-"], "x": range(1000)})
    model = value_of(lambda: rs.GaussianCopula(seed=0).fit(frame))
    assert "'born': texts that are no such date, for example 'moved to Oslo'" in capsys.readouterr().out
    assert "5 rows are no such date ('-') and count as missing" in model.schema_["born"].reason
    assert "Oslo" not in json.dumps(model._content().meta)


@pytest.mark.parametrize(("share", "is_date"), [(0.04, True), (0.08, False)])
def test_some_years_among_months_are_missing_and_said(share: float, is_date: bool) -> None:
    """As text all of the months would be lost for them."""
    texts = pd.Series(texts_of("%Y, %B", 4, 1000))
    texts = texts.where(np.arange(1000) >= 1000 * share, texts.str[:4])
    values = texts.value_counts()
    reading = read_dates("when", values.index.tolist(), values.to_numpy())
    assert (reading is not None) is is_date
    assert reading is None or "40 rows are no such date" in reading.reason(1000)


@pytest.mark.parametrize(
    ("form", "nothing"),
    [("%Y-%m-%d", "0000-00-00"), ("%Y-%m-%d %H:%M:%S", "0000-00-00 00:00:00"), ("%d.%m.%Y", "unknown")]
    + [("%m/%d/%Y", "-"), ("%Y%m%d", "0"), ("%Y%m%d", "99999999")],
)
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_signs_for_no_date_are_missing_and_said(form: str, nothing: str, share: float) -> None:
    rng = np.random.default_rng(1)
    days = pd.Series(pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 4000, 500), unit="D"))
    gone = rng.random(500) < share
    text = days.dt.strftime(form).where(~gone, nothing)
    frame = pd.DataFrame({"day": text.astype(np.int64) if form == "%Y%m%d" else text, "x": rng.random(500)})
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame))
    assert model.schema_["day"].date_format == form and f"{gone.sum()} rows" in model.schema_["day"].reason
    made = model.sample(400, seed=1)["day"]
    assert abs(made.isna().mean() - share) < 0.12  # 4 standard errors of both shares together
    assert pd.to_datetime(made.dropna().astype(str), format=form).between("2001-01-01", "2012-01-01").all()


def test_what_was_found_is_taken_again_as_it_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    """3 % of other texts are missing to a fit, and to one with its schema; the demo's evaluation refused the table."""
    texts = np.array(texts_of("%d %B %Y", 6, 900), object)
    texts[::33] = "summer 1994"
    frame = pd.DataFrame({"when": texts, "x": np.arange(900.0)})
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame))
    assert model.schema_["when"].date_format == "%d %B %Y"
    capsys.readouterr()
    again = value_of(lambda: rs.GaussianCopula(seed=0, schema=model.schema_).fit(frame))
    assert "no such date, for example 'summer 1994'" in capsys.readouterr().out
    tables = pair_tables(frame, again.sample(900, seed=1), schema=model.schema_)
    assert tables.real_statistics.columns["when"].missing == 28


def test_a_declared_format_overrides_and_is_checked() -> None:
    texts = [f"0{d}/0{m}/2003" for d in range(1, 10) for m in range(1, 10)] * 5
    frame = pd.DataFrame({"when": texts, "x": range(len(texts))})
    schema = rs.infer_schema(frame).with_column("when", date_format="%d/%m/%Y")
    model = value_of(lambda: rs.GaussianCopula(schema=schema, seed=0, verbose=False).fit(frame))
    assert model.schema_["when"].date_format == "%d/%m/%Y"
    made = model.sample(50, conditions={"when": ("01/05/2003", "31/05/2003")}, seed=0)["when"]
    assert made.str[3:5].eq("05").all()
    wrong = schema.with_column("when", date_format="%Y-%m-%d")
    with pytest.raises(SchemaError, match="'when' has date_format '%Y-%m-%d', but 405 rows have another form"):
        rs.GaussianCopula(schema=wrong, verbose=False).fit(frame)
    words = TableSchema((ColumnSchema("when", Kind.DATETIME, "string"),))
    with pytest.raises(SchemaError, match="no known form of dates.*date_format"):
        rs.GaussianCopula(schema=words, verbose=False).fit(frame.assign(when="x" + frame.when))
    with pytest.raises(SchemaError, match="'%Q' is no directive"):
        schema.with_column("when", date_format="%Q")
    assert schema.with_column("when", kind="categorical").columns[0].date_format is None


def test_conditions_speak_the_column_s_own_form(tmp_path: Path) -> None:
    frame = pd.DataFrame({"when": texts_of("%d.%m.%Y", 5, 600), "x": np.arange(600.0)})
    rs.BayesianNetworkSynthesizer(seed=0, verbose=False).fit(frame).save(tmp_path / "m")
    model = rs.load_synthetic_model(tmp_path / "m")
    made = pd.to_datetime(model.sample(100, {"when": ("01.02.1990", "15.03.1995")}, seed=0)["when"], format="%d.%m.%Y")
    assert made.between("1990-02-01", "1995-03-15").all()
    same = model.sample(100, {"when": ("1990-02-01", "1995-03-15")}, seed=0)["when"]
    assert pd.to_datetime(same, format="%d.%m.%Y").equals(made)
    with pytest.raises(ConditionError, match=r"'spring' is no datetime value of the form %d\.%m\.%Y"):
        model.sample(5, {"when": "spring"})
    with pytest.raises(ConditionError, match=r"lie between \d\d\.\d\d\.\d{4} and"):
        model.sample(5, {"when": "01.01.2200"})


def test_whole_numbers_of_dates_come_back_as_whole_numbers() -> None:
    numbers = [int(t) for t in texts_of("%Y%m%d", 6, 500)]
    frame = pd.DataFrame({"day": numbers, "n": np.arange(500) + 20_000_101})
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame))
    assert model.schema_["day"].kind is Kind.DATETIME and model.schema_["n"].kind is not Kind.DATETIME
    made = model.sample(300, seed=0)["day"]
    assert made.dtype == np.int64 and pd.to_datetime(made.astype(str), format="%Y%m%d").notna().all()


def test_dates_that_do_not_exist_are_null_and_nothing_raises() -> None:
    read = DateFormat("%d/%m/%Y").parse(pa.array(["29/02/2011", "29/02/2012", "31/04/2000", "", "x", None]))
    assert read.is_null().to_pylist() == [True, False, True, True, True, True]
    assert DateFormat("%Y-%j").parse(pa.array(["2011-366", "2012-366"])).is_null().to_pylist() == [True, False]


def test_durations_beyond_a_day_are_no_keys_and_exist() -> None:
    """Else each is unique text, made anew as '21:81:34'."""
    rng = np.random.default_rng(2)
    seconds = rng.integers(0, 40 * 3600, 300)
    took = [f"{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds]
    frame = pd.DataFrame({"took": took, "x": seconds / 3600 + rng.normal(size=300)})
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame))
    assert model.schema_["took"].date_format == "%-O:%M:%S"
    made = model.sample(500, seed=1)
    parts = made.took.str.extract(r"^(\d{1,2}):([0-5]\d):([0-5]\d)$").astype(float)
    assert parts.notna().all(axis=None) and parts[0].max() < 40 and not made.took.str.startswith("0:00:00").all()
    hours = parts[0] + parts[1] / 60 + parts[2] / 3600
    assert np.corrcoef(hours, made.x)[0, 1] > 0.9
    assert read_dates("start", ["06:15", "23:59"] * 9, np.ones(18)).format == "%H:%M"  # type: ignore[union-attr]


def test_of_more_values_than_are_tried_both_ends_are_among_the_sample() -> None:
    values = [str(i) for i in range(_MOST_DISTINCT + 1)]
    tried, counts = _sample(values, np.arange(len(values)))
    assert len(tried) == _MOST_DISTINCT and (tried[0], tried[-1]) == (values[0], values[-1])
    assert [int(v) for v in tried] == counts.tolist()
    assert _sample(values[1:], counts)[0] == values[1:]
