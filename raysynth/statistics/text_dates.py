"""Recognising columns of dates among texts and digits: which format they are written in, and how sure that is.

All distinct values are tried, weighted by their rows. A column is dates where at least 98 % of its rows, without those
that say that there is none ('-', 'unknown', 0000-00-00), read as dates; all others then are missing, and that is said.
'01/02/2012' can be read in two ways: a day above 12 somewhere settles it, else the other dates of the table do, else
the month is taken first, said loudly; `date_format` overrides.

The formats: a day as 2012-01-31, 2012/01/31, 2012.01.31, 20120131, 31/01/2012, 01/31/2012 and with '-' or '.', with two
digits of the year, without leading zeros (of both or of the first), 31 Jan 2012, 31-Jan-2012, 31Jan2012, Jan 31 2012,
January 31, 2012, Tuesday 31 January 2012, 2012-W05-2, 2012-031; a month as 2012-01, 2012/01, 01/2012, Jan 2012, Jan-12,
a quarter as 2012Q1, a week as 2012-W05; each day also with a time ('T', a space, ':' or ', ' between) as 15:45,
15:45:30, 15:45:30.250, 1545, 3:45 PM, and 'Z', 'UTC' or an offset behind; times alone, 15.45.30 too; durations of hours
as 26:15:30 and 26:15; and Tue Jan 31 15:45:30 +0000 2012 (tweets), Tue, 31 Jan 2012 15:45:30 +0000 (e-mail),
31/Jan/2012:15:45:30 +0000 (web servers), Tue Jan 31 15:45:30 2012 (ctime), 20120131154530.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.data.sources.csv_numbers import ODD_MISSING
from raysynth.kinds.date_text import MONTHS, DateFormat
from raysynth.kinds.names import named_like_key, words_of

ENOUGH = 0.98  # share of rows that must read as dates
_PROBES = 8  # values that candidates are looked for with
_MOST_DISTINCT = 20_000  # values tried; of more a sample that does not depend on their order
_FEWEST = 12  # distinct values that a form needs which is as often no date
_YEARS = (1700, 2200)
_FEWEST_DATES = 3  # distinct ones beside signs for missing
_ZERO_DATE = re.compile(r"0{1,4}[-/.]0{1,2}[-/.]0{1,4}(?:[ T]00:00(?::00(?:\.0+)?)?)?|0{8}")
_LONGEST = 60  # characters of a text that is looked at

_NUMBERS = [
    *(f"%Y{s}%m{s}%d" for s in "-/."),
    *(f"%Y{s}%-m{s}%-d" for s in "-/."),
    *(f"%d{s}%m{s}%{y}" for s in "/-." for y in "Yy"),
    *(f"%m{s}%d{s}%{y}" for s in "/-." for y in "Yy"),
    *(f"%-d{s}%-m{s}%{y}" for s in "/-." for y in "Yy"),
    *(f"%-m{s}%-d{s}%{y}" for s in "/-." for y in "Yy"),
    *(f"%{a}{s}%{b}{s}%{y}" for a, b in (("-d", "m"), ("-m", "d")) for s in "/-." for y in "Yy"),
    *(f"%y{s}%m{s}%d" for s in "/-."),
    "%Y%m%d",
    "%d%m%Y",
    "%m%d%Y",
    "%G-W%V-%u",
    "%Y-%j",
]
_WORDS = [
    *(f"%{d}{s}%{b}{s}%{y}" for d in ("d", "-d") for s in (" ", "-", "/", "") for b in ("b", "^b") for y in "Yy"),
    *(f"%{d} %{b} %Y" for d in ("d", "-d") for b in ("B", "^B")),
    *(f"%{d}. %{b} %Y" for d in ("d", "-d") for b in "bB"),
    *(f"%{b} %{d}{c} %Y" for b in ("b", "^b", "B", "^B") for d in ("d", "-d") for c in ("", ",")),
    *(f"%{b}{s}%{d}{s}%Y" for b in ("b", "^b") for d in ("d", "-d") for s in "-/"),
    *(f"%Y{s}%{b}{s}%d" for s in "- " for b in ("b", "^b")),
]
_WITH_WEEKDAY = [f"%{a}{c} {form}" for form in _WORDS if " " in form for a in "aA" for c in ("", ",")]
_PARTS = ["%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%Y%m", "%Y-Q%q", "%YQ%q", "%Y Q%q", "Q%q %Y", "%G-W%V", "%GW%V"]
_PARTS += [f"%{b}{s}%{y}" for b in ("b", "B", "^b") for s in " -" for y in "Yy"]
_CLOCK = ["%H:%M", "%-H:%M", "%H:%M:%S", "%-H:%M:%S", "%H%M", "%H%M%S", "%H.%M.%S", "%-H.%M.%S"]
_CLOCK += [f"%{i}:%M{s}{gap}%{p}" for i in ("I", "-I") for s in ("", ":%S") for gap in (" ", "") for p in ("p", "#p")]
_SPANS = ["%-O:%M:%S", "%O:%M:%S", "%-O:%M", "%O:%M"]  # durations: hours beyond 23, which no time of day has
_WHOLE = ["%a %b %d %H:%M:%S %z %Y", "%a %b %-d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S UTC %Y"]
_WHOLE += ["%d/%b/%Y:%H:%M:%S %z", "%Y%m%d%H%M%S", "%Y%m%d%H%M"]
_DIGITS = ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y%m", "%Y%m%d%H%M%S", "%Y%m%d%H%M")  # without separators
_WEAK = {"%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y-%j", "%Y%m", "%H%M", "%H%M%S", *_PARTS, *_CLOCK, *_SPANS}
_NAMED = re.compile(
    r"\b(?:date|day|time|when|dt|ts|timestamp|year|month|week|quarter|period|born|birth|dob|hour)\b|date|time"
)


@dataclass(frozen=True)
class DateReading:
    """How a column of dates is read.

    Args:
        format: in the language of `date_text.py`.
        share: of the rows with a value that reads so.
        unsettled: the format with day and month exchanged, where the rows allow it too.
        examples: some texts that are no dates.
    """

    format: str
    share: float
    unsettled: str | None = None
    examples: tuple[str, ...] = ()

    @property
    def day_first(self) -> bool | None:
        """Whether the day stands before the month; None where the month is a word or comes after the year."""
        day, month = (re.search(p, self.format) for p in (r"%-?d", r"%-?m"))
        year = re.search(r"%[Yy]", self.format)
        if day is None or month is None or year is None or year.start() < month.start():
            return None
        return day.start() < month.start()

    def reason(self, n_rows: float) -> str:
        """In words, for the user."""
        words = f"text of dates, {self.format}"
        if self.share < 1:
            shown = ", ".join(map(repr, self.examples[:3]))
            words += (
                f"; {max(1, round((1 - self.share) * n_rows)):,} rows are no such date ({shown}) and count as missing"
            )
        if "%z" in self.format:
            words += "; offsets from UTC differ, so times are given in UTC"
        if self.unsettled is not None:
            words += (
                f"; DAY AND MONTH ARE NOT SETTLED by the rows: {self.unsettled} would fit too; say date_format if so"
            )
        return words


def is_nothing(text: str) -> bool:
    """Whether a text among dates says that there is none: '-', 'unknown', 0000-00-00, 0 among digits."""
    return text in ODD_MISSING or text in ("0", "99999999") or _ZERO_DATE.fullmatch(text) is not None


def read_dates(
    name: str, values: Sequence[str], counts: np.ndarray, *, digits: bool = False, asked: bool = False
) -> DateReading | None:
    """The format of a column's distinct texts, or None where they are no dates.

    Args:
        name: of the column; vague forms need a name that says so, or many values.
        values, counts: distinct texts (M,) and their rows (M,).
        digits: the column holds whole numbers: only forms without separators are tried.
        asked: the user says that these are dates: no evidence beside the form is asked for.
    """
    given = [(v.strip(), n) for v, n in zip(values, counts, strict=True) if v.strip()]  # blanks are missing
    everything = pa.array([v for v, _ in given], pa.string()), np.array([n for _, n in given], float)
    own = [(v, n) for v, n in given if not is_nothing(v)]
    own = own if len(own) >= _FEWEST_DATES else given
    values, counts = _sample([v for v, _ in own], np.array([n for _, n in own], float))
    if not values or (not asked and sum(any(c.isdigit() for c in v) for v in values[:50]) < 0.5 * len(values[:50])):
        return None
    texts, total = pa.array(values, pa.string()), counts.sum()
    fits: list[tuple[float, float, int, str]] = []
    for rank, form in enumerate(_candidates(values, digits)):
        date = DateFormat(form)
        read = date.parse(texts)
        good = ~read.is_null().to_numpy(zero_copy_only=False)
        share = float(counts[good].sum() / total)
        if share < ENOUGH:
            continue
        same = pc.fill_null(pc.equal(date.write(read), texts), False).to_numpy(zero_copy_only=False)
        if asked or _is_plausible(form, name, read, len(values)):
            fits.append((round(share, 9), float(counts[same].sum() / total), -rank, form))
    if not fits:
        return None
    share, alike, _, form = max(fits, key=lambda fit: fit[:3])
    wrong = np.flatnonzero(DateFormat(form).parse(everything[0]).is_null().to_numpy(zero_copy_only=False))
    examples = tuple(everything[0].take(pa.array(wrong[:3])).to_pylist())
    exact = 1 - float(everything[1][wrong].sum() / everything[1].sum())
    reading = DateReading(form, exact, examples=examples)
    others = [f for s, o, _, f in fits if f != form and s == share and o == alike]
    other = next((f for f in others if DateReading(f, 1).day_first is (not reading.day_first)), None)
    if reading.day_first is None or other is None:
        return reading
    return DateReading(other if reading.day_first else form, exact, form if reading.day_first else other, examples)


def settled(readings: Mapping[str, DateReading]) -> dict[str, DateReading]:
    """Day and month of unsettled columns as most of the settled ones of the table have them; else the month first."""
    known = [r.day_first for r in readings.values() if r.day_first is not None and r.unsettled is None]
    if not known:
        return dict(readings)
    day_first = sum(known) > len(known) / 2
    return {
        name: r
        if r.unsettled is None
        else DateReading(r.unsettled if day_first else r.format, r.share, None, r.examples)
        for name, r in readings.items()
    }


def _sample(values: list[str], counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    if len(values) <= _MOST_DISTINCT:
        return values, counts
    chosen = np.linspace(0, len(values) - 1, _MOST_DISTINCT, dtype=np.intp)
    return [values[i] for i in chosen], counts[chosen]


def _is_plausible(form: str, name: str, read: pa.Array, n_distinct: int) -> bool:
    """Whether values that read as dates are dates: years of this age, and for vague forms more evidence."""
    if "%Y" in form or "%G" in form:
        day = read.cast(pa.date32() if pa.types.is_date32(read.type) else pa.timestamp("s"), safe=False)
        year = pc.year(day.drop_null()).to_numpy()
        low, high = (1900, 2100) if form in (*_DIGITS, "%Y-%j") else _YEARS
        odd = (year < low) | (year > high)
        if odd.mean() > 1 - ENOUGH and not (odd & (year != 9999) & (year != 1)).mean() <= 1 - ENOUGH:
            return False
    if form not in _WEAK:
        return "%y" not in form or n_distinct >= _FEWEST or bool(_NAMED.search(words_of(name)))
    if form in ("%Y%m", "%H%M", "%H%M%S", "%Y-%j"):
        return bool(_NAMED.search(words_of(name))) and not named_like_key(name)
    return n_distinct >= _FEWEST and not named_like_key(name) or bool(_NAMED.search(words_of(name)))


def _candidates(values: list[str], digits: bool) -> Iterator[str]:
    """Formats that at least one of some probes has, the usual ones first."""
    probes = [values[i] for i in np.unique(np.linspace(0, len(values) - 1, _PROBES, dtype=np.intp))]
    seen: dict[str, None] = {}
    for probe in probes:
        for form in _forms_of(probe):
            if not digits or form in _DIGITS:
                seen.setdefault(form)
    yield from seen


def _forms_of(value: str) -> Iterator[str]:
    """All formats of one text."""
    if len(value) > _LONGEST:
        return
    has_month = any(m[:3].lower() in value.lower() for m in MONTHS)  # patterns are compiled only where they may fit
    for form in (*_WHOLE, *_PARTS, *_CLOCK, *_SPANS):
        if ("%b" in form or "%B" in form or "%^" in form) and not has_month:
            continue
        if match := _compiled(form).fullmatch(value):
            if "%z" in form:
                yield form.replace("%z", match["z"])
            yield form
    for form in (*(_WORDS if has_month else _NUMBERS), *(_WITH_WEEKDAY if has_month and value[:1].isalpha() else ())):
        match = _compiled(form).match(value)
        if match is None:
            continue
        rest = value[match.end() :]
        if not rest:
            yield form
        elif between := re.match(r"T|, | - | {1,2}|_|:", rest):
            yield from (form + between[0] + time for time in _times_of(rest[between.end() :]))


def _times_of(rest: str) -> Iterator[str]:
    """All formats of a time of day with an offset behind."""
    for clock in _CLOCK:
        match = _compiled(clock).match(rest)
        if match is None:
            continue
        tail = rest[match.end() :]
        fraction = re.match(r"([.,])([0-9]{1,9})", tail)
        forms = [clock]
        if fraction and clock.endswith("%S"):
            tail = tail[fraction.end() :]
            fixed = f"%{len(fraction[2])}f"
            forms = [f"{clock}{fraction[1]}{f}" for f in dict.fromkeys((fixed, "%f"))]
        if zone := re.fullmatch(r"( ?)(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})", tail):
            is_offset = zone[2][0] in "+-"
            yield from (f"{f}{zone[1]}{z}" for f in forms for z in ((zone[2], "%z") if is_offset else (zone[2],)))
        elif not tail:
            yield from forms


@lru_cache(maxsize=2048)
def _compiled(form: str) -> re.Pattern[str]:
    return re.compile(DateFormat(form).regex)


def known_formats() -> list[str]:
    """The formats of days, parts of years and times that are looked for, without their combinations."""
    return list(itertools.chain(_NUMBERS, _WORDS, _PARTS, _CLOCK, _SPANS, _WHOLE))
