"""What a column's name says: its words, and whether they are those of keys or of personal data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

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
