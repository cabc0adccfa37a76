"""What the texts of a CSV column are: whole numbers, numbers in the writing of some country, dates, or just text.

Decided by all distinct texts together, never by a sample alone. Text that a number would change stays text: leading
zeros (postal codes), more than 18 digits (account numbers), a leading plus (telephone numbers). What a number form
leaves out (per cent, currency, thousands) is told by `ColumnForm.note`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = r"^-?[0-9]{1,18}$"
PLAIN_NUMBER = r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?(?i:inf|infinity)$"
_CHANGED = r"^(?:[-+]?0[0-9]+|[-+]?[0-9]{19,}|\+[0-9]+|[0-9]+[eE][0-9]+)$"  # a number would not come back as this text
_ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
_MONEY = r"(?:R\$|US\$|[$€£¥₹₽₩₪₺]|EUR|USD|GBP|CHF|JPY|kr\.?|zł)"
_UNITS = (
    r"(?:cm|mm|km|kg|mg|[µμ]g|ug|m[lL]|d[lL]|c[lL]|[lL]|°[CF]|k[WV]h?|MHz|GHz|[KMG]B|km/h|mph|lbs?|oz|ft|kcal|bpm|mmHg)"
)
_AFFIXED = re.compile(
    rf"^(?P<sign1>[-+])?(?P<before>{_MONEY})?[ \u00a0]?(?P<sign2>-)?"
    r"(?P<body>[0-9][0-9.,'’_ \u00a0\u202f]*(?:[eE][-+]?[0-9]+)?|[.,][0-9]+)"
    rf"[ \u00a0]?(?P<after>{_MONEY}|%|‰|{_UNITS}|(?<=[ \u00a0])[A-Za-zµ°²³/]{{1,10}})?$"
)
_BRACKETED, _MINUS_BEHIND = r"^\((.*[0-9].*)\)$", r"^([^-]*[0-9])-$"  # negative numbers as accountants write them
_BOTH = ".,"  # decimal points in some rows, commas in others
_MINUS_SIGN = "\u2212"  # what typesetters write for '-'
_FEWEST_UNITS = 20  # distinct numbers with a unit behind: fewer are categories, which keep it
_TIMES = {"e3": "[Kk]|Tsd\\.?", "e6": "M|mn|Mio\\.?", "e9": "B|bn|Mrd\\.?"}  # thousands, millions, 10^9 behind a number
_SCALED = rf"(?P<before>[0-9])[ \x{{a0}}]?(?:{'|'.join(_TIMES.values())})$"
_SPACES = "\u00a0\u202f"
# What pandas.read_csv takes for missing, and how MySQL and PostgreSQL write NULL.
NULL_SPELLINGS = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null", r"\N"),
]
ODD_MISSING = {
    *("?", ".", "..", "...", "-", "--", "---", "*", ":", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "n.a.", "N.A."),
    *("k.A.", "missing", "Missing", "MISSING", "unknown", "Unknown", "UNKNOWN", "unavailable", "undefined"),
    *("(null)", "nil", "none", "Not Available", "Not Reported", "Not Applicable", "No data", "no data"),
    *(f"{no} {word}" for word in ("available", "reported", "recorded", "applicable") for no in ("not", "Not")),
}
_TRUE, _FALSE = {"true", "True", "TRUE"}, {"false", "False", "FALSE"}


@dataclass(frozen=True)
class ColumnForm:
    """How the texts of a column become values.

    Args:
        type: Arrow type of the values; text stays `pa.string()`.
        decimal, thousands: characters in numbers; thousands None: none.
        affix: what stands before or after each number and is left out ('€', '%'); None: nothing.
        odd: texts that are taken for missing though they are none of the usual spellings.
        unsettled: whether '1,234' could be read in two ways.
        zeros: numbers may begin with a zero, since the user declares them numbers.
        scaled: K, M or B behind a number stand for thousands, millions and 10^9.
        signs: negative numbers stand in brackets, have their minus behind, or a sign for it that is not '-'.
        spelling: of two truth values, where it is not the one in which they are written.
    """

    type: pa.DataType
    decimal: str = "."
    thousands: str | None = None
    affix: str | None = None
    odd: tuple[str, ...] = ()
    unsettled: bool = False
    zeros: bool = False
    signs: bool = False
    scaled: bool = False
    spelling: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True where nothing but Arrow's own reading of numbers is needed."""
        return (
            self.decimal == "." and self.thousands is None and self.affix is None and not self.signs and not self.scaled
        )

    def note(self, column: str) -> str | None:
        """What the user should know of the decision; None where there is nothing."""
        if self.spelling:
            return f"column '{column}': {' and '.join(self.spelling)} will be written as True and False"
        parts = []
        if self.decimal == _BOTH:
            parts.append("decimal '.' in some and ',' in others")
        elif self.decimal != ".":
            parts.append(f"decimal {self.decimal!r}")
        if self.thousands is not None:
            parts.append(f"thousands {self.thousands!r}")
        if self.affix is not None:
            parts.append(f"{self.affix!r} left out")
        if self.scaled:
            parts.append("K, M or B behind them, written in full")
        if self.signs:
            parts.append("negative ones in brackets, with the minus behind or as '\u2212', written with '-' in front")
        if self.unsettled:
            parts.append("which could be read in two ways: say decimal or thousands if it is wrong")
        if self.odd:
            parts.append(f"{', '.join(map(repr, self.odd))} taken for missing")
        return f"column '{column}': numbers with {', '.join(parts)}" if parts else None

    def convert(self, values: pa.Array) -> pa.Array:
        """Values (N,) of texts (N,); raises `pa.ArrowInvalid` naming the first text that has another form."""
        if pa.types.is_string(self.type):
            return values
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
        if self.odd:
            values = pc.if_else(pc.is_in(values, value_set=pa.array(self.odd)), pa.scalar(None, pa.string()), values)
        if pa.types.is_boolean(self.type):
            return pc.equal(pc.utf8_lower(values), "true")
        if not pa.types.is_temporal(self.type):
            given = values
            if not self.is_plain:
                values = self._plain(_without_scale(values) if self.scaled else values)
            if not self.zeros:
                _require(values, _CHANGED, matching=False)
            if self.scaled:
                values = pc.binary_join_element_wise(values, _scale_of(given), "")
            _require(values, _WHOLE if pa.types.is_integer(self.type) else PLAIN_NUMBER, matching=True)
            values = pc.replace_substring_regex(values, r"^\+", "")
        return values.cast(self.type)

    def _plain(self, values: pa.Array) -> pa.Array:
        """The same numbers as Arrow writes them."""
        values = _minus_in_front(values) if self.signs else values
        form = _body(self.decimal, self.thousands)
        money = re.escape(self.affix) if self.affix is not None else ""
        plus = "" if self.affix is None else "+"  # '+3.2%'; without a sign behind it may be a telephone number
        whole = rf"^[-{plus}]?(?:{money})?[ \x{{a0}}]?-?(?:{form})[ \x{{a0}}]?(?:{money})?$"
        _require(values, whole, matching=True)
        if self.affix is not None:
            values = pc.replace_substring_regex(pc.replace_substring(values, self.affix, ""), r"^\+", "")
        dropped = "".join(c for c in " \u00a0" if c != self.thousands)
        values = pc.replace_substring_regex(values, f"[{dropped}]", "")
        if self.thousands is not None:
            values = pc.replace_substring(values, self.thousands, "")
        return values if self.decimal == "." else pc.replace_substring(values, ",", ".")


TEXT_FORM = ColumnForm(pa.string())


def form_of(
    values: pa.Array, *, decimal: str | None = None, thousands: str | None = None, as_number: bool = False
) -> ColumnForm:
    """The form of a column by its distinct texts, none of them null.

    Args:
        values: distinct texts (M,).
        decimal, thousands: known ones; None: found out.
        as_number: declared a number: leading zeros do not keep it text.
    """
    values = pc.utf8_trim_whitespace(values).unique()
    values = values.filter(pc.not_equal(values, ""))
    if len(values) == 0:
        return ColumnForm(pa.null())
    odd = tuple(v for v in sorted(ODD_MISSING) if pc.index(values, v).as_py() >= 0) if len(values) > 2 else ()
    rest = values if not odd else values.filter(pc.invert(pc.is_in(values, value_set=pa.array(odd))))
    if odd and len(rest) > 2:
        form = _typed(rest, decimal, thousands, as_number)
        if not pa.types.is_string(form.type) and not pa.types.is_boolean(form.type):
            return replace(form, odd=odd)
        return TEXT_FORM
    return _typed(values, decimal, thousands, as_number)


def _typed(values: pa.Array, decimal: str | None, thousands: str | None, as_number: bool) -> ColumnForm:
    changed = not as_number and pc.any(pc.match_substring_regex(values, _CHANGED)).as_py()
    if changed:
        return TEXT_FORM
    if decimal != "," and thousands is None:
        if _all(values, _WHOLE) and not pc.all(pc.equal(values, "-0")).as_py():
            return ColumnForm(pa.int64())
        if _all(values, PLAIN_NUMBER):
            return ColumnForm(pa.float64())
    known = set(values.slice(0, 3).to_pylist()) if len(values) <= 2 else set()
    if known and known <= _TRUE | _FALSE:
        return ColumnForm(pa.bool_(), spelling=tuple(sorted(known - {"True", "False"})))
    for pattern, type_ in ((_ISO_DATE, pa.date32()), (_ISO_TIME, pa.timestamp("s"))):
        if _all(values, pattern) and _casts(values, type_):
            return ColumnForm(type_)
    return _local_number(values, decimal, thousands)


def _local_number(values: pa.Array, decimal: str | None, thousands: str | None) -> ColumnForm:
    """Numbers with decimal commas, thousands, per cent or currency signs; else text."""
    scaled = len(values) >= _FEWEST_UNITS and bool(pc.any(pc.match_substring_regex(values, _SCALED)).as_py())
    values = _without_scale(values) if scaled else values
    negative = pc.match_substring_regex(values, rf"{_BRACKETED}|{_MINUS_BEHIND}|{_MINUS_SIGN}")
    signs = bool(pc.any(negative).as_py() and not pc.all(negative).as_py())
    first = _AFFIXED.match((_minus_in_front(values) if signs else values)[0].as_py())
    if first is None:
        return TEXT_FORM
    affix = first["before"] or first["after"]
    if affix is not None and not re.fullmatch(rf"{_MONEY}|%|‰", affix) and len(values) < _FEWEST_UNITS:
        return TEXT_FORM
    matches: list[ColumnForm] = []
    for d in (decimal,) if decimal else (".", ",", _BOTH):
        for t in (thousands,) if thousands else (None, ",", ".", " ", "'", "’", "_", *_SPACES):
            if t == d or (d == _BOTH and (t is not None or matches)):
                continue
            form = ColumnForm(pa.float64(), d, t, affix, signs=signs)
            try:
                plain = form._plain(values)
            except pa.ArrowInvalid:
                continue
            if pc.any(pc.match_substring_regex(plain, _CHANGED)).as_py():
                return TEXT_FORM
            if not _all(plain, PLAIN_NUMBER):  # '(-5)': two signs
                continue
            is_whole = bool(_all(plain, _WHOLE))
            type_ = pa.int64() if is_whole and not scaled else pa.float64()
            matches.append(replace(form, type=type_, scaled=scaled))
    if not matches:
        return TEXT_FORM
    different = {(m.decimal, m.type) for m in matches}
    best = matches[0]
    has_separators = best.thousands is not None or not pa.types.is_integer(best.type)
    if len(different) > 1 and has_separators:  # '1,234': a thousand and more, or one and a bit
        best = next((m for m in matches if m.thousands is not None), best)
        return replace(best, unsettled=True)
    return best


def _without_scale(values: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(values, _SCALED, r"\1")


def _scale_of(values: pa.Array) -> pa.Array:
    """'e3', 'e6', 'e9' or nothing for each text (N,)."""
    scale = pa.repeat(pa.scalar("", pa.string()), len(values))
    for exponent, sign in _TIMES.items():
        found = pc.fill_null(pc.match_substring_regex(values, rf"[0-9][ \x{{a0}}]?(?:{sign})$"), False)
        scale = pc.if_else(found, pa.scalar(exponent, pa.string()), scale)
    return scale


def _minus_in_front(values: pa.Array) -> pa.Array:
    values = pc.replace_substring(values, _MINUS_SIGN, "-")
    return pc.replace_substring_regex(pc.replace_substring_regex(values, _BRACKETED, r"-\1"), _MINUS_BEHIND, r"-\1")


def _body(decimal: str, thousands: str | None) -> str:
    if decimal == _BOTH:  # three digits behind could be thousands
        return r"[0-9]+(?:[.,](?:[0-9]{1,2}|[0-9]{4,}))?"
    d = re.escape(decimal)
    t = re.escape(thousands or "")
    grouped = rf"[0-9]{{1,3}}(?:{t}[0-9]{{3}})*" + (r"|[0-9]{1,2}(?:,[0-9]{2})*,[0-9]{3}" if thousands == "," else "")
    digits = "[0-9]+" if thousands is None else rf"(?:{grouped}|[0-9]+)"  # 1,234,567, in India 12,34,567
    power = "(?:[eE][-+]?[0-9]+)?" if decimal == "," and thousands is None else ""
    return rf"(?:{digits}(?:{d}[0-9]*)?|{d}[0-9]+){power}"


def _all(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _casts(values: pa.Array, type_: pa.DataType) -> bool:
    try:
        values.cast(type_)
    except pa.ArrowInvalid:
        return False
    return True


def _require(values: pa.Array, pattern: str, *, matching: bool) -> None:
    """Raise `pa.ArrowInvalid` naming the first text that matches (or does not)."""
    found = pc.match_substring_regex(values, pattern)
    wrong = pc.fill_null(pc.invert(found) if matching else found, False)
    if pc.any(wrong).as_py():
        raise pa.ArrowInvalid(f"{values.filter(wrong)[0].as_py()!r} has another form than the values before it")
