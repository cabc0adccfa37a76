"""Categories: values of a list, of any type."""

from __future__ import annotations

import re

from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank, named_like_key, share_of
from raysynth.kinds.personal.recognition import are_of_things, are_public, named_for_public_life

_TWO_VALUED_ROWS = 10  # in a smaller table two distinct numbers are no evidence of a category
_FEWEST = 20  # different texts that tell of a form
_ENOUGH = 0.9  # share of values that must have it
_MEASURED = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])")  # no part of '10.0.0.1' or '01.23.45'
_WHOLE = re.compile(r"[(\[]?(?:0|[1-9]\d{0,4})(?:\s*[-/x×*,]\s*(?:0|[1-9]\d{0,4})){1,3}\s*[A-Za-z]{0,2}[)\]]?")
_YEAR = re.compile(r"(?:19|20)\d\d")  # of a number within a year: '123/2019'
_LONGEST = 80  # characters of a text that is numbers and little else


def _marked(evidence: Evidence) -> Found | None:
    is_marked = evidence.is_number and evidence.pandas_dtype == "category"
    return Found("pandas dtype 'category'") if is_marked else None


def _of_public_life(evidence: Evidence) -> Found | None:
    if not evidence.is_text or not named_for_public_life(evidence.seen.name):
        return None
    if not are_public(evidence.examples, evidence.seen.rows_per_value(), evidence.rare):
        return None
    return Found(
        f"{evidence.amount} names of public life by the column's name; declare it personal where they are private"
    )


def _of_things(evidence: Evidence) -> Found | None:
    name, counts = evidence.seen.name, evidence.seen.rows_per_value
    if not evidence.is_text or not are_of_things(name, evidence.examples, counts(), evidence.rare):
        return None
    return Found(
        f"{evidence.amount} names that recur, by their words not of persons; if each is one, give entity='{name}' "
        f"(--entity {name}), which protects all rows of each"
    )


def _few(evidence: Evidence) -> Found | None:
    seen = evidence.seen
    if not evidence.is_number or seen.n_distinct > 2 or seen.n_rows <= _TWO_VALUED_ROWS:
        return None
    if seen.categories().value.counts.max() < evidence.rare:
        return None
    return Found(f"{seen.n_distinct} distinct number{'s' if seen.n_distinct > 1 else ''}")


def _listed(evidence: Evidence) -> Found | None:
    if not evidence.is_text or evidence.pandas_dtype != "category":
        return None
    return Found(f"pandas dtype 'category', {evidence.amount} distinct")


def _several_numbers(evidence: Evidence) -> Found | None:
    """Numbers that were measured, several in one text, most in few rows: coordinates, blood pressures, sizes.

    A key made in their form would be a number that cannot be (a latitude of 97), so they are protected as texts.
    """
    if not evidence.is_text or evidence.seen.n_distinct < _FEWEST:
        return None
    counts, texts = evidence.seen.rows_per_value(), evidence.examples
    if counts[counts >= evidence.rare].sum() >= counts.sum() / 2:
        return None
    measured = share_of(lambda v: len(v) <= _LONGEST and len(_MEASURED.findall(v)) > 1, texts) >= _ENOUGH
    if not measured and (named_like_key(evidence.seen.name) or not _are_whole_numbers(texts)):
        return None
    amount = f"several numbers in one text, {evidence.amount} distinct"
    return Found(f"{amount}: put each into a column of its own, where it is learned")


def _are_whole_numbers(texts: list[str]) -> bool:
    """Whether texts are whole numbers of any number of digits, as measured ones are and those of keys are not."""
    if share_of(_WHOLE.fullmatch, texts) < _ENOUGH:
        return False
    parts = [re.findall(r"\d+", text) for text in texts]
    if len(set(map(len, parts))) > 1:
        return False
    columns = list(zip(*parts, strict=True))
    has_year = any(all(map(_YEAR.fullmatch, column)) for column in columns)
    return not has_year and any(len(set(map(len, column))) > 1 for column in columns)


def _rest(evidence: Evidence) -> Found | None:
    return Found(f"text, {evidence.amount} distinct") if evidence.is_text else None


def _public(field: PublicField) -> Found | None:
    return Found("text", {"dtype": "string"}) if field.held == "text" else None


KIND = Description(
    Family.CLASS,
    clues=(
        Clue(Rank.MARKED, _marked),
        Clue(Rank.MARKED, _of_public_life),
        Clue(Rank.MARKED, _of_things),
        Clue(Rank.FEW, _few),
        Clue(Rank.KEY, _several_numbers),
        Clue(Rank.LISTED, _listed),
        Clue(Rank.REST, _rest),
    ),
    public_clues=(Clue(Rank.REST, _public),),
    words=("category", "factor", "nominal", "ordinal", "text", "string", "str"),
)
