"""Personal data (names, e-mail addresses, telephone numbers ...): recognised, and made by Faker, never copied."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.errors import SchemaError
from raysynth.kinds.arrow_text import parse_arrow_type
from raysynth.kinds.description import Column, Description, Family, Maker
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank, provider_by_name, share_of, words_of
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.kinds.permutation import mix as keyed_hash
from raysynth.kinds.permutation import round_keys
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

    return PersonalEncoder.from_schema(column)


def _whose(column: Column) -> int | None:
    return 2 if column.personal in _OWN else 3 if column.personal in _SHARED else None


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


__all__ = ["PROVIDERS", "PersonalEncoder", "recognise_personal"]

PROVIDERS = (
    *("name", "first_name", "last_name", "prefix", "suffix", "email", "user_name", "phone_number"),
    *("address", "street_address", "street_name", "city", "postcode", "company", "job"),
    *("ssn", "passport_number", "iban", "bban", "credit_card_number", "license_plate"),
    *("ipv4", "ipv6", "mac_address", "url"),
)
POOL_SIZE = 10_000
LOCALE = "en_US"
_POOL_SEED = 20_190_701
_UNIQUE = {"email", "user_name"}
_SUFFIXES = "integer(10000, 99999)"  # and wider: see IdentifierEncoder
_SURNAMES = {"name": "{first} {last}-{other}", "last_name": "{last}-{other}"}  # two surnames joined: few bear them


@dataclass(frozen=True)
class PersonalEncoder:
    """Invented personal data for row numbers, from a pool of Faker values.

    The pool is drawn once in each process, from a fixed seed: 10,000 draws of the provider. A row takes the value that
    a keyed hash of its number points at, so any worker makes its own rows. E-mail addresses and user names are unique
    over the whole output: a unique number of five digits or more stands behind each. Another version of Faker may give
    another pool.

    Nothing is read from the data. Full names and surnames join two surnames ('Ann Smith-Jones'), so that no person of
    one surname is named; first names are few, and real ones are among them.

    Args:
        name: column name.
        provider: one of `PROVIDERS`, the names of Faker's methods.
        dtype: Arrow type as text: text, or whole numbers (the digits of a telephone number, for example).
        locale: Faker's locale.
    """

    name: str
    provider: str
    dtype: str = "string"
    locale: str = LOCALE

    def __post_init__(self) -> None:
        where = f"column '{self.name}'"
        if self.provider not in PROVIDERS:
            raise SchemaError(
                f"{where}: unknown provider of personal data {self.provider!r}; valid: {', '.join(PROVIDERS)}"
            )
        kind = parse_arrow_type(self.dtype, self.name)
        if pa.types.is_integer(kind):
            if kind.bit_width < 32 or self.provider not in ("phone_number", "ssn", "postcode", "credit_card_number"):
                raise SchemaError(
                    f"{where}: '{self.provider}' makes no numbers of type {self.dtype}; declare dtype string"
                )
        elif kind not in (pa.string(), pa.large_string()):
            raise SchemaError(f"{where}: personal data has type string or a whole number, not {self.dtype}")

    @classmethod
    def from_schema(cls, column: Column) -> PersonalEncoder:
        """The encoder of a column of kind 'personal'; raises `SchemaError` for an unknown provider."""
        return cls(column.name, column.personal or "", column.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"name": self.name, "provider": self.provider, "dtype": self.dtype, "locale": self.locale}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> PersonalEncoder:
        """The inverse of `to_dict`; raises `SchemaError`."""
        return cls(content["name"], content["provider"], content["dtype"], content["locale"])

    def values(self, row_start: int, n: int, key: int) -> pa.Array:
        """Values of rows row_start to row_start + n - 1: a DictionaryArray of text, or numbers for a numeric column.

        Args:
            row_start: number of the first row within the whole output, >= 0.
            n: how many rows.
            key: non-negative integer; the same key gives the same values, row by row, however the rows are cut.
        """
        kind = parse_arrow_type(self.dtype, self.name)
        pool = _pool(self.provider, self.locale)
        rows = np.arange(row_start, row_start + n, dtype=np.uint64)
        if self.provider in _UNIQUE:
            return self._unique_values(pool.values, row_start, n, key)
        drawn = keyed_hash(rows, round_keys(key, self.name, 1)[0]) % np.uint64(len(pool.draws))
        codes = pool.draws[drawn.view(np.int64)]
        if pa.types.is_integer(kind):
            return pa.array(_digits(pool.values, 18 if kind.bit_width == 64 else 9)[codes]).cast(kind)
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(pool.values, kind))

    def _unique_values(self, values: tuple[str, ...], row_start: int, n: int, key: int) -> pa.Array:
        kind = parse_arrow_type(self.dtype, self.name)
        rows = np.arange(row_start, row_start + n, dtype=np.uint64)
        numbers = IdentifierEncoder(self.name, _SUFFIXES, "int64").values(row_start, n, key)
        stem = keyed_hash(rows, round_keys(key, self.name + "/stem", 1)[0]) % np.uint64(len(values))
        stems = [_stem(v) for v in values]
        parts = [pa.array(part, kind).take(pa.array(stem.view(np.int64))) for part in zip(*stems, strict=True)]
        return pc.binary_join_element_wise(
            parts[0], numbers.cast(kind), parts[1], pa.scalar("", kind)
        ).dictionary_encode()


@dataclass(frozen=True)
class Pool:
    """Different values, and draws (POOL_SIZE,) that point at them with the frequency Faker gave."""

    values: tuple[str, ...]
    draws: np.ndarray


@lru_cache(maxsize=64)
def _pool(provider: str, locale: str) -> Pool:
    from faker import Faker

    faker = Faker(locale)
    faker.seed_instance(_POOL_SEED)
    if (form := _SURNAMES.get(provider)) is not None:
        parts = {"first": faker.first_name, "last": faker.last_name, "other": faker.last_name}
        drawn = [form.format(**{name: make() for name, make in parts.items()}) for _ in range(POOL_SIZE)]
    else:
        make = getattr(faker, provider)
        drawn = [str(make()).replace("\n", ", ") for _ in range(POOL_SIZE)]
    values, draws = np.unique(np.array(drawn, dtype=object), return_inverse=True)
    return Pool(tuple(values), draws)


def _digits(values: tuple[str, ...], most: int) -> np.ndarray:
    """The digits of each value as a number, shape (values,): extensions dropped, at most `most` digits."""
    cut = [re.sub(r"[^0-9]", "", re.split(r"[x#]", v)[0])[-10 if most > 10 else -most :] for v in values]
    return np.array([int(c or "0") for c in cut], np.int64)


def _stem(value: str) -> tuple[str, str]:
    """'jsmith12@example.org' cut into 'jsmith' and '@example.org'."""
    local, at, domain = value.partition("@")
    return local.rstrip("0123456789"), at + domain
