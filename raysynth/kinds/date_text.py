"""Dates written as text: a format such as '%d/%m/%Y', text to numbers and numbers to text, all by columns.

A format is strftime's language with what columns of real files need beside it:

    %Y %y      year, of four or two digits (69 to 99 are 19xx)        %j        day of the year, 001 to 366
    %m %-m     month, with and without a leading zero                 %q        quarter, 1 to 4
    %b %B      month, 'Jan' and 'January' (%^b %^B: in capitals;      %G %V %u  ISO year, week and weekday
               %#b %#B: in small letters; %{fr}B, %#{es}b: in other languages, see `FULL`)
    %d %-d     day of the month (%-o: 1st, 2nd)                       %a %A     weekday, 'Mon' and 'Monday'
    %H %-H     hour, 0 to 23         %I %-I  hour, 1 to 12            %p        AM or PM (%#p: am or pm)
    %O %-O     hours of a duration, as many as there are: 26:15:00 is '%O:%M:%S'
    %M %-M %S  minute, second        %f      digits of a fraction, as many as there are (%3f: exactly three)
    %z         offset from UTC: such times are read as UTC and written with +0000

Anything else stands for itself ('T', 'Z', '+01:00'). What a format lacks is the first (the first day of a month) or
1970-01-01. Reading never raises: text of another form, or a day that does not exist, is null.

'%d/%m/%Y or %d/%m/%y' reads either form, the first that fits. A value is written in the first that gives it back, and
midnight in one that has no time of day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FULL = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "da": "januar februar marts april maj juni juli august september oktober november december",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
}
_SHORT = {  # where these are not the first three letters; with a point where the language's code has one
    "fr": "janv févr mars avr mai juin juil août sept oct nov déc",
    "fr.": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "nl": "jan feb mrt apr mei jun jul aug sep okt nov dec",
    "de.": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sep. Okt. Nov. Dez.",
    "en.": "Jan. Feb. Mar. Apr. May June July Aug. Sept. Oct. Nov. Dec.",
    "ap.": "Jan. Feb. March April May June July Aug. Sept. Oct. Nov. Dec.",
    "ap": "Jan Feb Mar Apr May June July Aug Sept Oct Nov Dec",
}
FULL = tuple(_FULL)
SHORT = (*_FULL, *(k for k in _SHORT if k not in _FULL))


def month_names(language: str, *, short: bool) -> tuple[str, ...]:
    """The twelve names, short ones in a language of `SHORT`, full ones in one of `FULL`."""
    if short and language in _SHORT:
        return tuple(_SHORT[language].split())
    full = _FULL[language].split()
    return tuple(name[:3] for name in full) if short else tuple(full)


_UNITS = ("day", "s", "ms", "us", "ns")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TOKEN = re.compile(r"%(?:%|[-^#]?(?:\{[a-z.]+\})?[A-Za-z]|[1-9]f)|[^%]+|%")
_OR = " or "  # between the forms of a column that has several
_MONTH = {  # names by directive, as they are written without a sign for the case
    f"{{{language}}}{code}": tuple(n[:1].upper() + n[1:] for n in month_names(language, short=code == "b"))
    for code, languages in (("b", SHORT), ("B", FULL))
    for language in languages
}
_MONTH |= {code: _MONTH[f"{{en}}{code}"] for code in "bB"}


def _any_of(names: Iterable[str]) -> str:
    return f"(?i:{'|'.join(re.escape(n) for n in sorted(names, key=len, reverse=True))})"


def month_names_of(directive: str) -> tuple[str, ...] | None:
    """The twelve names that a directive such as '%b' or '%#{fr}B' writes; None for one of something else."""
    names = _MONTH.get(directive[1:].lstrip("^#"))
    case = {"^": str.upper, "#": str.lower}.get(directive[1:2], str)
    return None if names is None else tuple(case(n) for n in names)


def months_in(value: str) -> tuple[str, ...]:
    """Directives of the names of months in a text: its language and case, '%b' and '%^b' in English."""
    found = []
    for directive, pattern in _month_patterns():
        if match := pattern.search(value):
            name = match[0]
            case = "^" if name.isupper() else "#" if name.islower() else ""
            found.append(f"%{case}{directive}")
    return tuple(found)


@lru_cache(maxsize=1)
def _month_patterns() -> list[tuple[str, re.Pattern[str]]]:
    letter = r"[^\W\d_]"
    directives = [*"bB", *(f"{{{x}}}b" for x in SHORT if x != "en"), *(f"{{{x}}}B" for x in FULL if x != "en")]
    patterns = []
    for directive in directives:
        names = "|".join(map(re.escape, month_names_of(f"%{directive}") or ()))
        patterns.append((directive, re.compile(f"(?<!{letter})(?i:{names})(?!{letter})")))
    return patterns


_PATTERNS = {
    "%Y": r"(?P<Y>[0-9]{4})",
    "%y": r"(?P<y>[0-9]{2})",
    "%m": r"(?P<m>0[1-9]|1[0-2])",
    "%-m": r"(?P<m>1[0-2]|0?[1-9])",
    "%d": r"(?P<d>0[1-9]|[12][0-9]|3[01])",
    "%-d": r"(?P<d>[12][0-9]|3[01]|0?[1-9])",
    "%-o": r"(?P<d>[12][0-9]|3[01]|[1-9])(?i:st|nd|rd|th)",
    **{f"%{case}{d}": rf"(?P<b>{_any_of(names)})" for d, names in _MONTH.items() for case in ("", "^", "#")},
    **{f"%{case}a": rf"(?:{_any_of(n[:3] for n in WEEKDAYS)})" for case in ("", "^")},
    **{f"%{case}A": rf"(?:{_any_of(WEEKDAYS)})" for case in ("", "^")},
    "%H": r"(?P<H>[01][0-9]|2[0-3])",
    "%-H": r"(?P<H>[01]?[0-9]|2[0-3])",
    "%I": r"(?P<I>0[1-9]|1[0-2])",
    "%-I": r"(?P<I>1[0-2]|0?[1-9])",
    **dict.fromkeys(("%p", "%#p"), r"(?P<p>(?i:[ap]m))"),
    "%O": r"(?P<O>[0-9]{2,7})",
    "%-O": r"(?P<O>[0-9]{1,7})",
    "%M": r"(?P<M>[0-5][0-9])",
    "%-M": r"(?P<M>[0-5]?[0-9])",
    "%S": r"(?P<S>[0-5][0-9])",
    "%f": r"(?P<f>[0-9]{1,9})",
    **{f"%{n}f": rf"(?P<f>[0-9]{{{n}}})" for n in range(1, 10)},
    "%j": r"(?P<j>[0-3][0-9]{2})",
    "%q": r"(?P<q>[1-4])",
    "%G": r"(?P<G>[0-9]{4})",
    "%V": r"(?P<V>0[1-9]|[1-4][0-9]|5[0-3])",
    "%u": r"(?P<u>[1-7])",
    "%z": r"(?P<z>[+-][0-9]{2}:?[0-9]{2}|Z)",
    "%%": "%",
}


@dataclass(frozen=True)
class DateFormat:
    """A format of dates or times as text; raises `ValueError` for an unknown or repeated directive, or none at all."""

    text: str

    def __post_init__(self) -> None:
        if len(self.forms) > 1:  # each is checked
            return
        tokens = _TOKEN.findall(self.text)
        if unknown := [t for t in tokens if t.startswith("%") and t not in _PATTERNS]:
            known = " ".join(p for p in _PATTERNS if "{" not in p)
            raise ValueError(f"{unknown[0]!r} is no directive of a date format; known: {known}")
        groups = re.findall(r"\(\?P<(\w)>", "".join(_PATTERNS.get(t, "") for t in tokens))
        if not groups or len(set(groups)) != len(groups):
            raise ValueError(
                f"the date format {self.text!r} names {'something twice' if groups else 'no date or time'}"
            )

    @cached_property
    def forms(self) -> tuple[DateFormat, ...]:
        """The single forms of a column that has several; else itself."""
        texts = self.text.split(_OR)
        return (self,) if len(texts) == 1 else tuple(DateFormat(t) for t in texts)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Directives, and the texts between them."""
        return tuple(_TOKEN.findall(self.text))

    @cached_property
    def regex(self) -> str:
        """A regular expression, in the common part of Python's and RE2's languages, that matches whole values."""
        return "".join(_PATTERNS.get(t) or re.escape(t) for t in self.tokens)

    @property
    def type(self) -> pa.DataType:
        """The Arrow type that holds the values: days where there is no time of day."""
        if len(self.forms) > 1:
            finest = max((f.type for f in self.forms), key=lambda t: _UNITS.index(getattr(t, "unit", "day")))
            return finest
        digits = max((6 if t == "%f" else int(t[1]) for t in self.tokens if re.fullmatch(r"%\d?f", t)), default=0)
        if digits:
            return pa.timestamp("ms" if digits <= 3 else "us" if digits <= 6 else "ns")
        has_time = any(t in self.tokens for t in ("%H", "%-H", "%I", "%-I", "%O", "%-O", "%M", "%-M", "%S"))
        return pa.timestamp("s") if has_time else pa.date32()

    def parse(self, texts: pa.Array) -> pa.Array:
        """Values (N,) of `type` of texts (N,); null where a text has another form."""
        if len(self.forms) > 1:
            return pc.coalesce(*(f.parse(texts).cast(self.type) for f in self.forms))
        texts = pc.utf8_trim_whitespace(texts)
        found = pc.extract_regex(texts, pattern=f"^{self.regex}$")
        null = found.is_null().to_numpy(zero_copy_only=False)
        parts = {f.name: found.field(i) for i, f in enumerate(found.type)}
        if "b" in parts:
            names = next(names for t in self.tokens if (names := month_names_of(t)) is not None)
            at = pc.index_in(pc.utf8_lower(parts["b"]), value_set=pa.array([n.lower() for n in names]))
            parts["m"] = pc.add(pc.fill_null(at, 0), 1).cast(pa.string())
        day, wrong = _days(parts, len(texts))
        time_ns = _time_of_day(parts, len(texts))
        missing = null | wrong
        if pa.types.is_date32(self.type):
            return pa.array(day.astype(np.int32), pa.int32(), mask=missing).cast(pa.date32())
        per_day = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}[self.type.unit]
        step = 86_400_000_000_000 // per_day
        whole = np.where(missing, 0, day) * per_day + np.where(missing, 0, time_ns) // step
        return pa.array(whole, pa.int64(), mask=missing).cast(self.type)

    def write(self, values: pa.Array) -> pa.Array:
        """Texts (N,) of values (N,) of `type`; null stays null."""
        if len(self.forms) > 1:
            return self._write_forms(values)
        missing = values.is_null().to_numpy(zero_copy_only=False)
        is_day = pa.types.is_date32(values.type)
        whole = values.cast(pa.int32() if is_day else pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        per_day = 1 if is_day else {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[values.type.unit] * 86_400
        day, rest = np.divmod(whole.astype(np.int64), per_day)
        parts = _Parts(day, rest * (86_400_000_000_000 // per_day))
        pieces = [parts.text(t) if t in _PATTERNS and t != "%%" else "%" if t == "%%" else t for t in self.tokens]
        arrays = [p if isinstance(p, pa.Array) else pa.repeat(pa.scalar(p), len(values)) for p in pieces]
        written = pc.binary_join_element_wise(*arrays, "")
        return pc.if_else(pa.array(~missing), written, pa.scalar(None, pa.string()))

    def _write_forms(self, values: pa.Array) -> pa.Array:
        """Each value in a form that gives it back: days before times, then in the order that they are listed in."""
        texts = []
        for form in sorted(self.forms, key=lambda f: _UNITS.index(getattr(f.type, "unit", "day"))):
            written = form.write(values.cast(form.type, safe=False))
            kept = pc.fill_null(pc.equal(form.parse(written).cast(values.type), values), False)
            texts.append(pc.if_else(kept, written, pa.scalar(None, pa.string())))
        return pc.coalesce(*texts, self.forms[0].write(values.cast(self.forms[0].type, safe=False)))


def _whole(parts: dict[str, pa.Array], name: str, default: int, n: int) -> np.ndarray:
    if name not in parts:
        return np.full(n, default, np.int64)
    texts = parts[name]
    empty = pc.equal(texts, "")
    given = pc.if_else(pc.fill_null(empty, True), str(default), texts)
    return given.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _days(parts: dict[str, pa.Array], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970-01-01 (N,), and a mask of those that do not exist."""
    if "G" in parts:
        start = np.datetime64("1970", "Y") + (_whole(parts, "G", 1970, n) - 1970)
        fourth = start.astype("datetime64[D]").astype(np.int64) + 3  # always in week 1
        monday = fourth - (fourth + 3) % 7
        return monday + 7 * (_whole(parts, "V", 1, n) - 1) + _whole(parts, "u", 1, n) - 1, np.zeros(n, bool)
    year = _whole(parts, "Y", 1970, n)
    if "y" in parts:
        short = _whole(parts, "y", 70, n)
        year = np.where(short >= 69, 1900, 2000) + short
    month = _whole(parts, "m", 1, n) if "m" in parts else 3 * _whole(parts, "q", 1, n) - 2
    months = (np.datetime64("1970-01", "M") + ((year - 1970) * 12 + month - 1)).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    offset = _whole(parts, "j", 1, n) if "j" in parts else _whole(parts, "d", 1, n)
    day = first + (offset - 1)
    unit = "Y" if "j" in parts else "M"
    wrong = (day.astype(f"datetime64[{unit}]") != first.astype(f"datetime64[{unit}]")) | (year < 1)
    return day.astype(np.int64), wrong


def _time_of_day(parts: dict[str, pa.Array], n: int) -> np.ndarray:
    """Nanoseconds since midnight (N,); an offset from UTC is taken off."""
    hour = _whole(parts, "O" if "O" in parts else "H", 0, n)
    if "I" in parts:
        afternoon = pc.equal(pc.utf8_lower(parts["p"]), "pm") if "p" in parts else pa.array(np.zeros(n, bool))
        hour = _whole(parts, "I", 12, n) % 12 + 12 * pc.fill_null(afternoon, False).to_numpy(zero_copy_only=False)
    seconds = hour * 3600 + _whole(parts, "M", 0, n) * 60 + _whole(parts, "S", 0, n)
    if "z" in parts:
        plain = pc.replace_substring(pc.if_else(pc.equal(parts["z"], "Z"), "+0000", parts["z"]), ":", "")
        digits = pc.utf8_slice_codeunits(plain, 1, 5)
        offset = _whole({"z": digits}, "z", 0, n)
        sign = np.where(pc.fill_null(pc.starts_with(plain, "-"), False).to_numpy(zero_copy_only=False), -1, 1)
        seconds = seconds - sign * (offset // 100 * 3600 + offset % 100 * 60)
    fraction: np.ndarray = np.zeros(n, np.int64)
    if "f" in parts:
        fraction = _whole({"f": pc.utf8_rpad(parts["f"], 9, "0")}, "f", 0, n)
    return seconds * 1_000_000_000 + fraction


@dataclass(frozen=True)
class _Parts:
    """Days (N,) since 1970-01-01 and nanoseconds (N,) of the day, as the texts of each directive."""

    day: np.ndarray
    time_ns: np.ndarray

    def text(self, directive: str) -> pa.Array:
        """Texts (N,) of one directive."""
        code, case = directive[-1], directive[1]
        if code == "f":
            digits = 6 if case == "f" else int(case)
            return _padded(self.time_ns % 1_000_000_000 // 10 ** (9 - digits), digits)
        if (months := month_names_of(directive)) is not None:
            return pa.array(months).take(pa.array(self._month - 1))
        if code in "aA":
            shown = [n[:3] if code == "a" else n for n in WEEKDAYS]
            shown = [n.upper() for n in shown] if case == "^" else shown
            return pa.array(shown).take(pa.array((self.day + 3) % 7))
        if code == "o":
            ends = [{1: "st", 2: "nd", 3: "rd"}.get(k % 10 if k // 10 != 1 else 0, "th") for k in range(32)]
            return pa.array([f"{k}{end}" for k, end in enumerate(ends)]).take(pa.array(self._number("d")))
        if code == "p":
            halves = ("am", "pm") if case == "#" else ("AM", "PM")
            return pa.array(halves).take(pa.array(self._hour // 12))
        if code == "z":
            return pa.repeat(pa.scalar("+0000"), len(self.day))
        return _padded(self._number(code), 1 if case == "-" else {"Y": 4, "G": 4, "j": 3, "q": 1, "u": 1}.get(code, 2))

    def _number(self, code: str) -> np.ndarray:
        thursday = self.day - (self.day + 3) % 7 + 3  # decides the ISO year and week
        iso_year = thursday.astype("datetime64[D]").astype("datetime64[Y]")
        numbers: dict[str, Callable[[], np.ndarray]] = {
            "Y": lambda: self._year,
            "y": lambda: self._year % 100,
            "m": lambda: self._month,
            "d": lambda: self.day - self._first_of("M") + 1,
            "H": lambda: self._hour,
            "O": lambda: self.day * 24 + self._hour,
            "I": lambda: (self._hour + 11) % 12 + 1,
            "M": lambda: self.time_ns // 60_000_000_000 % 60,
            "S": lambda: self.time_ns // 1_000_000_000 % 60,
            "j": lambda: self.day - self._first_of("Y") + 1,
            "q": lambda: (self._month + 2) // 3,
            "G": lambda: iso_year.astype(np.int64) + 1970,
            "V": lambda: (thursday - iso_year.astype("datetime64[D]").astype(np.int64)) // 7 + 1,
            "u": lambda: (self.day + 3) % 7 + 1,
        }
        return np.asarray(numbers[code]())

    @property
    def _year(self) -> np.ndarray:
        return self.day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970

    @property
    def _month(self) -> np.ndarray:
        return self.day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1

    @property
    def _hour(self) -> np.ndarray:
        return self.time_ns // 3_600_000_000_000

    def _first_of(self, unit: str) -> np.ndarray:
        days = self.day.astype("datetime64[D]").astype(f"datetime64[{unit}]").astype("datetime64[D]")
        return days.astype(np.int64)


def _padded(numbers: np.ndarray, digits: int) -> pa.Array:
    """Texts (N,) of whole numbers with leading zeros."""
    values, at = np.unique(numbers, return_inverse=True)
    return pa.array([str(v).zfill(digits) for v in values.tolist()], pa.string()).take(pa.array(at))
