"""Recognising keys and personal data: what column names and values look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ENOUGH = 0.9  # share of the sampled values that must look like it


@dataclass(frozen=True)
class PersonalPattern:
    """One kind of personal data.

    Args:
        provider: Faker's name for it.
        noun: for messages.
        name: what a column's name looks like (words in lower case, separated by blanks).
        value: what each value looks like.
        by_value: True where the values alone are enough to tell.
    """

    provider: str
    noun: str
    name: re.Pattern[str]
    value: re.Pattern[str]
    by_value: bool = False


def _pattern(provider: str, noun: str, name: str, value: str, *, by_value: bool = False) -> PersonalPattern:
    return PersonalPattern(provider, noun, re.compile(rf"\b(?:{name})\b"), re.compile(value), by_value)


_WORD = r"[^\W\d_][^\W\d_'’.\-]*"
_PERSON = "patient|customer|client|employee|person|user|contact|student|member|owner|holder|applicant|author|doctor"

PERSONAL_PATTERNS = (
    _pattern("email", "e-mail addresses", "e ?mail(?: address)?|mail", r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}", by_value=True),
    _pattern(
        "iban", "bank accounts (IBAN)", "iban|account|bank account", r"[A-Z]{2}\d{2}(?: ?[A-Z\d]){11,30}", by_value=True
    ),
    _pattern("ipv4", "IP addresses", r"ip(?:v4)?(?: ?addr(?:ess)?)?", r"(?:\d{1,3}\.){3}\d{1,3}", by_value=True),
    _pattern("ipv6", "IP addresses", r"ip(?:v6)?(?: ?addr(?:ess)?)?", r"(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}"),
    _pattern(
        "mac_address",
        "MAC addresses",
        "mac(?: ?addr(?:ess)?)?",
        r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}",
        by_value=True,
    ),
    _pattern(
        "ssn",
        "social security numbers",
        "ssn|social security(?: number| no)?|sin|nin",
        r"\d{3}[- ]\d{2}[- ]\d{4}",
        by_value=True,
    ),
    _pattern(
        "credit_card_number",
        "card numbers",
        "card(?: number| no)?|credit card(?: number| no)?|cc number",
        r"(?:\d[ -]?){12,18}\d",
    ),
    _pattern(
        "phone_number",
        "telephone numbers",
        "phone(?: ?number| ?no)?|telephone|tel|mobile(?: phone| number)?|cell(?: ?phone)?|fax",
        r"\+?[\d(][\d\s().\-/x]{5,22}\d",
    ),
    _pattern("first_name", "first names", "first ?name|fname|given ?name|forename", rf"{_WORD}(?:[ \-]{_WORD}){{0,3}}"),
    _pattern("last_name", "last names", "last ?name|lname|sur ?name|family ?name", rf"{_WORD}(?:[ \-]{_WORD}){{0,3}}"),
    _pattern("user_name", "user names", "user ?name|login|nick ?name", r"\S{2,40}"),
    _pattern(
        "name",
        "names of persons",
        rf"full ?name|(?:{_PERSON}) ?name|name of (?:{_PERSON})|name|(?:{_PERSON})",
        rf"{_WORD},?(?:[ \-]{_WORD}){{1,4}}",
    ),
    _pattern(
        "address",
        "postal addresses",
        "(?:home |street |postal |mailing |billing |shipping )?addr(?:ess)?(?: line)?(?: \\d)?|street|residence",
        r"(?s)(?=.*\d)(?=.*[^\W\d_]).{6,160}",
    ),
)

_KEY_NAME = re.compile(
    r"\b(?:id|ids|uid|uuid|guid|key|pk|nr|no|num|number|identifier|index|row|rowid|ref|reference|serial)\b"
)
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")


def words_of(column: str) -> str:
    """The words of a column's name in lower case: 'customerEMail_2' gives 'customer e mail 2'."""
    spaced = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", column)
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", spaced)
    return " ".join(re.split(r"[\W_]+", spaced)).strip().lower()


def personal_data(column: str, examples: Sequence[str]) -> PersonalPattern | None:
    """Which personal data a text column holds, by its name and a sample of its distinct values; None: none known."""
    if not examples:
        return None
    words = words_of(column)
    stripped = [e.strip() for e in examples]
    for pattern in PERSONAL_PATTERNS:
        if (pattern.by_value or pattern.name.search(words)) and _share(pattern.value, stripped) >= _ENOUGH:
            return pattern
    return None


def provider_by_name(column: str) -> str:
    """The Faker provider that a column's name suggests, for a column that was declared personal; 'name' by default."""
    words = words_of(column)
    return next((p.provider for p in PERSONAL_PATTERNS if p.name.search(words)), "name")


def named_like_key(column: str) -> bool:
    """True for names such as 'id', 'customer_id', 'OrderNr', 'key'."""
    return bool(_KEY_NAME.search(words_of(column)))


def looks_like_dates(examples: Sequence[str]) -> bool:
    """True when every sampled text is an ISO 8601 date or date and time."""
    return bool(examples) and all(_ISO_DATE.fullmatch(e.strip()) for e in examples)


def _share(pattern: re.Pattern[str], values: Sequence[str]) -> float:
    return sum(pattern.fullmatch(v) is not None for v in values) / len(values)
