"""Keys: how they are recognised."""

from __future__ import annotations

import re

import pyarrow.types as pt

from raysynth.kinds.description import Column, Description, Family, Maker
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank, Seen, named_like_key, words_of
from raysynth.kinds.identifier.pattern import (
    ROWS_BESIDE_AN_END,
    infer_pattern,
    integer_pattern,
    row_number_pattern,
    sparse_pattern,
)
from raysynth.kinds.identifier.repeated import names_persons, numbers_persons, repeated_key

_SEQUENCE_ROWS = 50  # a shorter run of consecutive numbers is no evidence of a key
_COINCIDENCES = 10  # equal pairs that independent whole numbers of this range would have at least: none has e**-10
_FEWEST_KEYS = 20  # different texts that are keys where other rows have none
_KEY_NAME = re.compile(r"(?:^| )(?:id|uuid|guid)$")


def key_pattern(evidence: Evidence) -> str:
    """How a column's keys look, in the language of `pattern.py`."""
    seen = evidence.seen
    if not evidence.is_text and seen.extremes is not None:
        bits = seen.type.bit_width - pt.is_signed_integer(seen.type) if evidence.is_integer else 53
        low, high, largest = int(seen.extremes[0]), int(seen.extremes[1]), min(2**bits, 2**63) - 1
        numbers, keys = None, seen.n_rows - seen.missing if seen.is_unique else seen.n_distinct
        if seen.is_unique or low < ROWS_BESIDE_AN_END:  # persons counted through; others' may be on their papers
            numbers = row_number_pattern(low, high, keys, largest)
        if numbers is None and seen.is_unique:
            numbers = sparse_pattern(low, high, keys, largest)
        return numbers or integer_pattern(low, high, seen.n_rows, largest)
    return infer_pattern(evidence.examples, seen.n_rows)


def _numbered(evidence: Evidence) -> Found | None:
    """Whole numbers that number rows."""
    seen = evidence.seen
    if not evidence.is_number:
        return None
    fewest = _FEWEST_KEYS if seen.missing or not evidence.is_integer else 3
    is_named_so = named_like_key(seen.name) or "code" in words_of(seen.name)
    if evidence.are_whole and is_named_so and seen.all_unique and seen.n_distinct >= fewest:
        have = "has" if not seen.missing else "that has a number has"
        return Found(f"every row {have} another whole number, and it is named like a key")
    if not (evidence.is_integer and seen.is_unique and seen.n_rows >= _SEQUENCE_ROWS):
        return None
    if _is_sequence(seen):
        return Found("the numbers of a sequence without gaps, each once")
    if _is_drawn_once(seen):
        return Found("each whole number once, where measured ones would repeat: a key")
    return None


def _is_sequence(seen: Seen) -> bool:
    if seen.extremes is None:
        return False
    low, high = seen.extremes
    return high - low + 1 == seen.n_rows


def _is_drawn_once(seen: Seen) -> bool:
    """Whether so many whole numbers in so short a range cannot differ by chance; years and steps of a series may."""
    assert seen.extremes is not None
    low, high = (int(v) for v in seen.extremes)
    n = seen.n_rows - seen.missing
    step = seen.distribution().value.step or 1
    is_series = (high - low) // step + 1 == n
    are_years = low >= 1000 and high < 3000
    return n * n / 2 >= _COINCIDENCES * ((high - low) // step + 1) and not is_series and not are_years


def _repeated(evidence: Evidence) -> Found | None:
    """A key whose values repeat."""
    seen = evidence.seen
    if seen.all_unique or not (evidence.is_text or evidence.are_whole):
        return None
    rows = evidence.rows_with_value
    why = repeated_key(seen.name, evidence.examples, seen.n_distinct, rows, is_text=evidence.is_text)
    if why is None:
        return None
    return Found(f"{why}, {evidence.amount} different in {rows:,} rows: regenerated, never copied")


def _different(evidence: Evidence) -> Found | None:
    seen = evidence.seen
    if not evidence.is_text:
        return None
    if seen.is_unique and seen.n_rows > 2:
        return Found("every row has another text: regenerated, never copied")
    if seen.all_unique and seen.n_distinct >= _FEWEST_KEYS:
        return Found("every row that has a text has another one: regenerated, never copied")
    return None


def _public(field: PublicField) -> Found | None:
    if field.held not in ("number", "text") or not _KEY_NAME.search(words_of(field.name)):
        return None
    dtype = "int64" if field.held == "number" else "string"
    return Found("a key by its name: regenerated", {"dtype": dtype})


def _maker(column: Column) -> Maker:
    from raysynth.kinds.identifier.making import IdentifierEncoder

    return IdentifierEncoder.from_schema(column)


def _whose(column: Column) -> int:
    return 0 if numbers_persons(column.name) else 1 if names_persons(column.name) else 4


KIND = Description(
    Family.MADE,
    clues=(Clue(Rank.NUMBERED, _numbered), Clue(Rank.KEY, _repeated), Clue(Rank.DIFFERENT, _different)),
    public_clues=(Clue(Rank.KEY, _public),),
    fits=lambda evidence: evidence.is_text or evidence.are_whole,
    cure="a key is text or a whole number; declare it continuous or categorical",
    fills={"pattern": key_pattern},
    takes=frozenset({"pattern"}),
    words=("id", "key"),
    maker=_maker,
    whose=_whose,
)
