"""Recognising columns of dates among texts and digits: which format they are written in, and how sure that is.

All distinct values are tried, weighted by their rows. A column is dates where at least 98 % of its rows, without those
that say that there is none ('-', 'unknown', 0000-00-00), read as dates, in one form or in up to four together (years
of two and four digits, days with and without a time); all others then are missing, and that is said. 95 % are enough
where no forms together hold more: as text all would be lost. '01/02/2012' can be read in two ways: a day above 12
somewhere settles it, else the other dates of the table do, else the month is taken first, said loudly; `date_format`
overrides.

The formats: a day as 2012-01-31, 2012/01/31, 2012.01.31, 20120131, 31/01/2012, 01/31/2012 and with '-', '.', '_' or '
', with two digits of the year, without leading zeros (of both or of the first), 31 Jan 2012, 31-Jan-2012, 31Jan2012,
Jan 31 2012, January 31, 2012, January 31st, 2012 (months in ten languages, shortened with and without a point),
Tuesday 31 January 2012, 2012-W05-2, 2012-031; a month as 2012-01, 2012/01, 01/2012, Jan 2012, Jan-12, a quarter as
2012Q1, a week as 2012-W05; each day also with a time ('T', a space, ':' or ', ' between) as 15:45, 15:45:30,
15:45:30.250, 1545, 3:45 PM, and 'Z', 'UTC' or an offset behind; times alone, 15.45.30 too; lap times as 1:45.250;
durations of hours as 26:15:30 and 26:15; and Tue Jan 31 15:45:30 +0000 2012 (tweets), Tue, 31 Jan 2012 15:45:30 +0000
(e-mail), 31/Jan/2012:15:45:30 +0000 (web servers), Tue Jan 31 15:45:30 2012 (ctime), 20120131154530.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.data.sources.csv_numbers import ODD_MISSING
from raysynth.kinds.date_text import WEEKDAYS, DateFormat, months_in
from raysynth.kinds.evidence import named_like_key, words_of

ENOUGH = 0.98  # share of rows that must read as dates
MOST = 0.95  # of those of one form where no others hold the rest: as text all of them would be lost
_PROBES = 8  # values that candidates are looked for with
_MOST_DISTINCT = 20_000  # values tried; of more a sample that does not depend on their order
_A_FORM = 0.02  # share of rows that a form must have to be one of several in a column
_MOST_FORMS = 4
_FEWEST = 12  # distinct values that a form needs which is as often no date
_YEARS = (1700, 2200)
_FEWEST_TO_FILL = 60  # distinct texts, of which some should reach the last days, months, minutes
_LARGEST = (("d", "day", 31), ("m", "month", 12), ("HIO", "hour", 23), ("M", "minute", 59), ("S", "second", 59))
_FEWEST_DATES = 3  # distinct ones beside signs for missing
_ZERO_DATE = re.compile(r"0{1,4}[-/.]0{1,2}[-/.]0{1,4}(?:[ T]00:00(?::00(?:\.0+)?)?)?|0{8}")
_LONGEST = 60  # characters of a text that is looked at

_NUMBERS = [
    *(f"%Y{s}%m{s}%d" for s in "-/._ "),
    *(f"%Y{s}%-m{s}%-d" for s in "-/._ "),
    *(
        f"%{a}{s}%{b}{s}%{y}"
        for a, b in (("d", "m"), ("m", "d"), ("-d", "-m"), ("-m", "-d"))
        for s in "/-._ "
        for y in "Yy"
    ),
    *(f"%{a}{s}%{b}{s}%{y}" for a, b in (("-d", "m"), ("-m", "d")) for s in "/-." for y in "Yy"),
    *(f"%y{s}%m{s}%d" for s in "/-."),
    "%Y%m%d",
    "%d%m%Y",
    "%m%d%Y",
    "%G-W%V-%u",
    "%Y-%j",
]
_WORDS = [  # `_of_month` puts in the language and the case of a month
    *(f"%{d}{s}%b{s}%{y}" for d in ("d", "-d") for s in (" ", "-", "/", ".", "") for y in "Yy"),
    *(f"%{d}{s}%B{s}%Y" for d in ("d", "-d") for s in " -"),
    *(f"%{d}. %{b} %Y" for d in ("d", "-d") for b in "bB"),
    *(f"%{d} de %{b} de %Y" for d in ("d", "-d") for b in "bB"),
    *(f"%{b} %{d}{c} %{y}" for b in "bB" for d in ("d", "-d", "-o") for c in ("", ",") for y in "Yy"),
    *(f"%-o{of} %{b}{c} %Y" for of in ("", " of") for b in "bB" for c in ("", ",")),
    *(f"%b{s}%{d}{s}%Y" for d in ("d", "-d") for s in "-/"),
    *(f"%Y{s}%b{s}%d" for s in "- "),
    *(f"%Y %{b} %-d" for b in "bB"),
]
_WITH_WEEKDAY = [f"%{a}{c} {form}" for form in _WORDS if " " in form for a in "aA" for c in ("", ",")]
_WEEKDAYS = {day[:3] for day in WEEKDAYS}
_PARTS = ["%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%Y%m", "%Y-Q%q", "%YQ%q", "%Y Q%q", "Q%q %Y", "%G-W%V", "%GW%V"]
_PARTS += [f"%{b}{s}%{y}" for b in "bB" for s in " -" for y in "Yy"]
_PARTS += [f"%{b}, %Y" for b in "bB"] + [f"%Y{s}%{b}" for b in "bB" for s in (" ", "-", ", ")]
_CLOCK = ["%H:%M", "%-H:%M", "%H:%M:%S", "%-H:%M:%S", "%H%M", "%H%M%S", "%H.%M.%S", "%-H.%M.%S"]
_CLOCK += [f"%{i}:%M{s}{gap}%{p}" for i in ("I", "-I") for s in ("", ":%S") for gap in (" ", "") for p in ("p", "#p")]
_LAPS = ["%-M:%S", "%M:%S"]  # with a fraction of the second alone: else hours and minutes
_SPANS = ["%-O:%M:%S", "%O:%M:%S", "%-O:%M", "%O:%M"]  # durations: hours beyond 23, which no time of day has
_WHOLE = ["%a %b %d %H:%M:%S %z %Y", "%a %b %-d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S UTC %Y"]
_WHOLE += ["%d/%b/%Y:%H:%M:%S %z", "%Y%m%d%H%M%S", "%Y%m%d%H%M"]
_DIGITS = ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y%m", "%Y%m%d%H%M%S", "%Y%m%d%H%M")  # without separators
_WEAK = {"%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y-%j", "%Y%m", "%H%M", "%H%M%S", *_PARTS, *_CLOCK, *_LAPS, *_SPANS}
_ZONES = "Z|UTC|GMT|[ECMP][SD]T|CES?T|MES?Z|WES?T|EES?T|BST|MSK|IST|JST|KST|SGT|AES?T|AEDT|NZ[SD]T"
_ZONE_AT_END = re.compile(rf"(?<![A-Za-z])(?:{_ZONES}|[+-][0-9]{{2}}:?[0-9]{{2}}|%z)$")
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
        for form in self.format.split(" or "):
            day, month, year = (re.search(p, form) for p in (r"%-?d", r"%-?m", r"%[Yy]"))
            if day is not None and month is not None and year is not None and year.start() > month.start():
                return day.start() < month.start()
        return None

    def reason(self, n_rows: float) -> str:
        """In words, for the schema and so for a model's file: of texts that are no dates, signs for none alone."""
        words = f"text of dates, {self.format}"
        if " or " in self.format:
            words += "; a date comes back in the first of these forms that gives it back, midnight without a time"
        if self.share < 1:
            signs = ", ".join(repr(e) for e in self.examples if is_nothing(e))
            shown = f" ({signs})" if signs else ""
            words += f"; {max(1, round((1 - self.share) * n_rows)):,} rows are no such date{shown} and count as missing"
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
    fits = _fits(name, values, counts, values, digits, asked)
    best = max((f for f in fits if f.share >= ENOUGH), key=lambda fit: fit[:4], default=None)
    form = _several_forms(name, values, counts, fits) if best is None and not digits else best and best.form
    if form is None and (best := max((f for f in fits if f.share >= MOST), key=lambda fit: fit[:4], default=None)):
        form = best.form
    if form is None:
        return None
    wrong = np.flatnonzero(DateFormat(form).parse(everything[0]).is_null().to_numpy(zero_copy_only=False))
    examples = tuple(everything[0].take(pa.array(wrong[:3])).to_pylist())
    exact = 1 - float(everything[1][wrong].sum() / everything[1].sum())
    reading = DateReading(form, exact, examples=examples)
    other = _exchanged(form, fits, best, pa.array(values, pa.string()))
    if reading.day_first is None or other is None:
        return reading
    return DateReading(other if reading.day_first else form, exact, form if reading.day_first else other, examples)


class _Fit(NamedTuple):
    """How a form fits distinct texts: the shares of rows that it reads and gives back, its place, texts (M,) read.

    filled: up to which share of what they can be days, months, hours, ... go: '05.03.28' is no time where no second
    is above 31 and no minute above 12.
    """

    share: float
    alike: float
    filled: float
    rank: int
    form: str
    read: np.ndarray


def _fits(name: str, values: list[str], counts: np.ndarray, probed: list[str], digits: bool, asked: bool) -> list[_Fit]:
    """The plausible forms of some probed texts that read at least a share `_A_FORM` of all rows."""
    texts, total, fits = pa.array(values, pa.string()), counts.sum(), []
    for rank, form in enumerate(_candidates(probed, digits)):
        date = DateFormat(form)
        read = date.parse(texts)
        good = ~read.is_null().to_numpy(zero_copy_only=False)
        share = float(counts[good].sum() / total)
        if share < _A_FORM:
            continue
        same = pc.fill_null(pc.equal(date.write(read), texts), False).to_numpy(zero_copy_only=False)
        if asked or _is_plausible(form, name, read, len(values)):
            alike = float(counts[same].sum() / total)
            fits.append(_Fit(round(share, 9), alike, _filled(form, read), -rank, form, good))
    return fits


def _filled(form: str, read: pa.Array) -> float:
    """The product over the parts of a form of their largest value over the largest possible one; 0 for few texts."""
    if len(read) < _FEWEST_TO_FILL:
        return 0.0
    present, result = read.drop_null(), 1.0
    for directives, part, largest in _LARGEST:
        if any(f"%{d}" in form or f"%-{d}" in form for d in directives):
            result *= pc.max(getattr(pc, part)(present)).as_py() / largest
    return round(result, 1)


def _several_forms(name: str, values: list[str], counts: np.ndarray, fits: list[_Fit]) -> str | None:
    """Forms of whole dates that together read enough rows, day and month in one order, one time zone; else None."""
    taken: list[_Fit] = []
    left = np.ones(len(values), bool)
    while counts[left].sum() > (1 - ENOUGH) * counts.sum():
        if taken:
            fits = _fits(
                name, values, counts, [v for v, is_left in zip(values, left, strict=True) if is_left], False, False
            )
        whole = [f for f in fits if _plain(f.form) not in _WEAK and all(_agree(f.form, t.form) for t in taken)]
        orders = {_order(t.form) for t in taken}
        gains = [(float(counts[f.read & left].sum()), _order(f.form) in orders, *f[1:4]) for f in whole]
        if len(taken) == _MOST_FORMS or not gains or max(gains)[0] < _A_FORM * counts.sum():
            return None
        taken.append(whole[gains.index(max(gains))])
        left &= ~taken[-1].read
    return " or ".join(t.form for t in taken)


def _agree(form: str, other: str) -> bool:
    """Whether two forms may be of one column: day and month in one order, times in one zone."""
    days = {DateReading(f, 1).day_first for f in (form, other)} - {None}
    zones = {(_ZONE_AT_END.findall(f) or [""])[0] for f in (form, other) if "%M" in f}
    return len(days) <= 1 and len(zones) <= 1


def _order(form: str) -> str:
    """In which order year, month and day stand."""
    return "".join(re.findall("[ymdb]", " ".join(re.findall(r"%-?[YymdbB]", _plain(form))).lower()))


def _plain(form: str) -> str:
    """A form without languages and cases of the months, and without fractions of seconds."""
    return re.sub(r"[.,]%[1-9]?f", "", re.sub(r"%[\^#]?(?:\{[a-z.]+\})?([bB])", r"%\1", form))


def _exchanged(form: str, fits: list[_Fit], best: _Fit | None, texts: pa.Array) -> str | None:
    """The form with day and month exchanged where it reads the same rows, too."""
    if best is not None:
        others = [f.form for f in fits if f.form != form and f[:3] == best[:3]]
        return next((f for f in others if DateReading(f, 1).day_first is (not DateReading(form, 1).day_first)), None)
    other = re.sub("%-?[dm]", lambda code: code[0].translate(str.maketrans("dm", "md")), form)
    same = DateFormat(other).parse(texts).null_count == DateFormat(form).parse(texts).null_count
    return other if same else None


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
    form = _plain(form)
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
    months = months_in(value)  # patterns are compiled only where they may fit
    yield from _times_of(value)
    for form in _of_months((*_WHOLE, *_PARTS, *_SPANS), months):
        if match := _compiled(form).fullmatch(value):
            if "%z" in form:
                yield form.replace("%z", match["z"])
            yield form
    words = (*_WORDS, *(_WITH_WEEKDAY if value[:3].title() in _WEEKDAYS else ()))
    for form in _of_months(words, months) if months else _NUMBERS:
        match = _compiled(form).match(value)
        if match is None:
            continue
        rest = value[match.end() :]
        if not rest:
            yield form
        elif between := re.match(r"T|, | - | {1,2}|_|:", rest):
            yield from (form + between[0] + time for time in _times_of(rest[between.end() :]))


def _of_months(forms: Sequence[str], months: Sequence[str]) -> Iterator[str]:
    """The forms without a month's name, and those with one, each in the languages and cases of `months`."""
    for form in forms:
        if code := re.search("%[bB]", form):
            yield from (form.replace(code[0], month) for month in months if month[-1] == code[0][-1])
        else:
            yield form


def _times_of(rest: str) -> Iterator[str]:
    """All formats of a time of day with an offset behind."""
    for clock in (*_CLOCK, *_LAPS):
        match = _compiled(clock).match(rest)
        if match is None:
            continue
        tail = rest[match.end() :]
        fraction = re.match(r"([.,])([0-9]{1,9})", tail)
        forms = [clock]
        if not fraction and clock in _LAPS:
            continue
        if fraction and clock.endswith("%S"):
            tail = tail[fraction.end() :]
            fixed = f"%{len(fraction[2])}f"
            forms = [f"{clock}{fraction[1]}{f}" for f in dict.fromkeys((fixed, "%f"))]
        if zone := re.fullmatch(rf"( ?)({_ZONES}|[+-][0-9]{{2}}:?[0-9]{{2}})", tail):
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
