"""What a column shows, by which its kind is recognised: its name (and the words in it), its type, its statistics."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.kinds.arrow_text import held

_KEY_NAME = re.compile(
    r"\b(?:id|ids|uid|uuid|guid|key|pk|nr|no|num|number|identifier|index|row|rowid|ref|reference|serial"
    r"|(?:pat|patient|subj|subject|cust|client|emp|acct|stud|student|user|member|case|rec|record|order|inv|ord|trans|part"
    r"|person|player|item|product|study|sample|household|hh)(?:id|no|nr|num|nbr|key))\b"
)

_PROVIDERS = {  # first match wins
    "e ?mails?": "email",
    "iban": "iban",
    "ip(?:v4)?": "ipv4",
    "mac": "mac_address",
    "ssn|social security": "ssn",
    "card|cc": "credit_card_number",
    "phone|telephone|tel|mobile|cell|fax": "phone_number",
    "first ?name|fname|given ?name|forename": "first_name",
    "last ?name|lname|sur ?name|family ?name": "last_name",
    "user ?name|login|nick ?name": "user_name",
    "street": "street_address",
    "addr|address|residence": "address",
    "city|town": "city",
    "zip|post ?code|postal code": "postcode",
    "company|employer": "company",
    "url|website": "url",
}
# Undivided words: 'contactlastname', 'streetaddress', 'addressline1', 'zipcode'.
_COMPOUND = re.compile(
    r"(first|last|middle|maiden|given|family|full|user|street|home|mailing|postal|billing|shipping|address|post|zip"
    r"|patienten|kunden|mitarbeiter|versicherten|personen)"
    r"(name|address|line|code)(?=\d*\b)"
)


_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ß": "ss"})


def words_of(column: str) -> str:
    """The words of a column's name in lower case: 'customerEMail_2' gives 'customer e mail 2'."""
    spaced = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", column)
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", spaced)
    words = " ".join(re.split(r"[\W_]+", spaced)).strip().lower()
    return " ".join(_COMPOUND.sub(r" \1 \2 ", words).split())


def without_accents(words: str) -> str:
    """Words with plain letters for accented ones: 'löpnummer' gives 'lopnummer', 'fødsel' gives 'fodsel'."""
    plain = unicodedata.normalize("NFKD", words.translate(_LETTERS))
    return "".join(c for c in plain if not unicodedata.combining(c))


def provider_by_name(column: str) -> str:
    """The Faker provider that a column's name suggests, for a column that was declared personal; 'name' by default."""
    words = words_of(column)
    return next((provider for sign, provider in _PROVIDERS.items() if re.search(rf"\b(?:{sign})\b", words)), "name")


def named_like_key(column: str) -> bool:
    """True for names such as 'id', 'customer_id', 'OrderNr', 'key'."""
    return bool(_KEY_NAME.search(words_of(column)))


def share_of(test: Callable[[str], object], values: Sequence[str]) -> float:
    """The share of values (at least one) that pass a test."""
    return sum(bool(test(v)) for v in values) / len(values)


EXAMPLES = 1000  # distinct texts looked at for patterns


class Seen(Protocol):
    """Exact statistics of one column (`statistics.table_statistics.ColumnStatistics` are)."""

    @property
    def name(self) -> str:
        """Column name."""

    @property
    def type(self) -> pa.DataType:
        """Canonical Arrow type."""

    @property
    def n_rows(self) -> int:
        """Rows of the table."""

    @property
    def missing(self) -> int:
        """Rows that are null or NaN."""

    @property
    def n_inf(self) -> int:
        """Rows that are infinite."""

    @property
    def n_distinct(self) -> int:
        """Distinct values."""

    @property
    def all_unique(self) -> bool:
        """Whether no value occurs twice."""

    @property
    def is_unique(self) -> bool:
        """Whether there are values, none missing, and none occurs twice."""

    @property
    def extremes(self) -> tuple[int | float, int | float] | None:
        """Smallest and largest number."""

    def examples(self, n: int) -> list[str]:
        """Up to n distinct values as text."""

    def rows_per_value(self) -> np.ndarray:
        """Rows of each distinct value, of an even sample of them where there are many."""

    def categories(self) -> Any:
        """Counts of every value, released."""

    def distribution(self) -> Any:
        """Distribution of a number, released."""


@dataclass(frozen=True)
class Evidence:
    """What one column shows.

    Args:
        seen: its statistics.
        pandas_dtype: dtype that a DataFrame came with.
        rare: rows that must share a value for it to leave.
    """

    seen: Seen
    pandas_dtype: str | None = None
    rare: int = 1

    @property
    def held(self) -> str:
        """What its values are, see `arrow_text.held`."""
        return held(self.seen.type)

    @property
    def is_text(self) -> bool:
        """Whether they are text."""
        return self.held == "text"

    @property
    def is_number(self) -> bool:
        """Whether they are numbers, and no times."""
        return self.held == "number"

    @property
    def is_integer(self) -> bool:
        """Whether they are stored as whole numbers."""
        return bool(pt.is_integer(self.seen.type))

    @cached_property
    def decimals(self) -> int | None:
        """Digits after the point that numbers need, None for as many as float has."""
        if self.is_integer:
            return 0
        found: int | None = self.seen.distribution().value.decimals
        if pt.is_decimal(self.seen.type):  # a database may give all columns more digits than any value has
            return min(self.seen.type.scale, 15 if found is None else found)
        return found

    @property
    def are_whole(self) -> bool:
        """Whether they are whole numbers, also as doubles or decimals: a frame has integers with gaps so."""
        return self.is_number and (self.is_integer or self.decimals == 0)

    @cached_property
    def examples(self) -> list[str]:
        """Some distinct values as text."""
        return self.seen.examples(EXAMPLES)

    @property
    def rows_with_value(self) -> int:
        """Rows that have a finite value."""
        return self.seen.n_rows - self.seen.missing - self.seen.n_inf

    @property
    def has_few_values(self) -> bool:
        """Whether so few rows have a value, in a table of more rows, that every value is protected."""
        return self.seen.n_rows >= 2 * self.rare and self.rows_with_value < self.rare

    @property
    def amount(self) -> str:
        """How many distinct values there are, in digits."""
        return f"{self.seen.n_distinct:,}"


@dataclass(frozen=True)
class PublicField:
    """What is public of a column that nobody declared.

    Args:
        name: column name.
        type: Arrow type as it is read.
        public_types: whether the type itself is public, beyond what its values are.
    """

    name: str
    type: pa.DataType
    public_types: bool = False

    @property
    def held(self) -> str:
        """What its values are, see `arrow_text.held`."""
        return held(self.type)


@dataclass(frozen=True)
class Found:
    """A kind that was recognised.

    Args:
        reason: why, in words.
        fields: of the column's schema that follow with it.
    """

    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Rank(IntEnum):
    """In which order kinds are asked whether a column is theirs; the first that says so has it."""

    EMPTY = 0  # there is nothing to learn
    TYPE = 1  # the type says it
    MARKED = 2  # numbers that a DataFrame holds as categories, names that are no secret
    FORMAT = 3  # values of a format that nothing else has
    NUMBERED = 4  # whole numbers that number rows
    FEW = 5  # so few values that they are a list
    KEY = 6  # a key whose values repeat
    NAME = 7  # the name says it, and the values do not contradict
    LISTED = 8  # text that a DataFrame holds as categories
    DIFFERENT = 9  # every value is another
    REST = 10


Shown = TypeVar("Shown", Evidence, PublicField)


@dataclass(frozen=True)
class Clue(Generic[Shown]):
    """One way to recognise a kind: from statistics, or (of a `PublicField`) from what is public under a budget.

    Args:
        rank: when it is asked.
        test: gives what was found, or None; what is found of a `PublicField` has a 'dtype' among its fields.
    """

    rank: Rank
    test: Callable[[Shown], Found | None]
