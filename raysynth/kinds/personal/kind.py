"""Personal data: how they are recognised."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from raysynth.kinds.description import Column, Description, Family, Maker
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank
from raysynth.kinds.names import provider_by_name, share_of, words_of
from raysynth.kinds.personal.recognition import recognise_personal

_MANY = 20  # different values that make a name's word count
_ENOUGH = 0.9  # share of values that must not contradict it
_NUMBERS_OF_PERSONS = ("phone_number", "ssn", "credit_card_number")  # personal data that may come as whole numbers
_OWN = ("ssn", "iban", "email", "user_name")  # personal data that one person has alone
_SHARED = ("phone_number", "credit_card_number", "name")  # and that a few may share
_PERSON_NAME = re.compile(r"(?:full |person |patient |customer |employee )?name")
_PERSONS = {
    *("email", "iban", "ipv4", "mac_address", "ssn", "credit_card_number", "phone_number"),
    *("first_name", "last_name", "user_name", "street_address", "address", "name"),
}
_WITH_DIGITS = ("phone_number", "ssn", "credit_card_number", "ipv4", "mac_address")
_AREA = re.compile(r"(?:^| )(?:state|country|county|region|province|district|type|kind)(?: |$)")  # 'addr_state'
_WORDS = re.compile(r"[^\W\d_](?:[^\W\d_]|['’.\- ])*")
_FITS: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("first_name", "last_name"), lambda v: _WORDS.fullmatch(v) is not None and len(v.split()) <= 4),
    **dict.fromkeys(("street_address", "address"), lambda v: re.search(r"[^\W\d_]{2}", v) is not None),
    **dict.fromkeys(_WITH_DIGITS, lambda v: re.search(r"\d", v) is not None),
    "email": lambda v: "@" in v,
    "user_name": lambda v: " " not in v,
}


def personal_by_name(name: str, examples: Sequence[str], n_distinct: int) -> str | None:
    """The Faker provider of a column of text that is personal by its name, where its many values do not contradict."""
    provider = provider_by_name(name)
    fits = _FITS.get(provider)
    if fits is None or n_distinct < _MANY or not examples or _AREA.search(words_of(name)):
        return None
    return provider if share_of(fits, examples) >= _ENOUGH else None


def _by_format(evidence: Evidence) -> Found | None:
    if not evidence.is_text and not evidence.is_integer:
        return None
    each = evidence.rows_with_value / max(evidence.seen.n_distinct, 1)
    provider = recognise_personal(evidence.seen.name, evidence.examples, each)
    if provider is None or (evidence.is_integer and provider not in _NUMBERS_OF_PERSONS):
        return None
    cure = " (public ones: list it in categorical_columns)" if provider == "name" else ""
    return Found(f"looks like {_noun(provider)}: regenerated, never copied{cure}", {"personal": provider})


def _by_name(evidence: Evidence) -> Found | None:
    if not evidence.is_text:
        return None
    provider = personal_by_name(evidence.seen.name, evidence.examples, evidence.seen.n_distinct)
    if provider is None:
        return None
    return Found(f"named like {_noun(provider)}: regenerated, never copied", {"personal": provider})


def _noun(provider: str) -> str:
    return "IBANs" if provider == "iban" else provider.replace("_", " ") + ("es" if provider.endswith("s") else "s")


def _public(field: PublicField) -> Found | None:
    provider = provider_by_name(field.name) if field.held == "text" else None
    words = words_of(field.name)
    if provider not in _PERSONS or _AREA.search(words) or (provider == "name" and not _PERSON_NAME.fullmatch(words)):
        return None
    return Found("personal by its name", {"dtype": "string", "personal": provider})


def _maker(column: Column) -> Maker:
    from raysynth.kinds.personal.making import PersonalEncoder

    return PersonalEncoder.from_schema(column)


def _whose(column: Column) -> int | None:
    return 1 if column.personal in _OWN else 2 if column.personal in _SHARED else None


KIND = Description(
    Family.MADE,
    clues=(Clue(Rank.FORMAT, _by_format), Clue(Rank.NAME, _by_name)),
    public_clues=(Clue(Rank.NAME, _public),),
    fits=lambda evidence: evidence.is_text or evidence.is_integer,
    fills={"personal": lambda evidence: provider_by_name(evidence.seen.name)},
    needs={"personal": "a Faker provider such as 'name' or 'email'"},
    maker=_maker,
    whose=_whose,
)
