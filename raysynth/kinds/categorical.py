"""Categories: values of a list, of any type."""

from __future__ import annotations

from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank
from raysynth.kinds.personal.recognition import are_public, named_for_public_life

_TWO_VALUED_ROWS = 10  # in a smaller table two distinct numbers are no evidence of a category


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


def _rest(evidence: Evidence) -> Found | None:
    return Found(f"text, {evidence.amount} distinct") if evidence.is_text else None


def _public(field: PublicField) -> Found | None:
    return Found("text", {"dtype": "string"}) if field.held == "text" else None


KIND = Description(
    Family.CLASS,
    clues=(
        Clue(Rank.MARKED, _marked),
        Clue(Rank.MARKED, _of_public_life),
        Clue(Rank.FEW, _few),
        Clue(Rank.LISTED, _listed),
        Clue(Rank.REST, _rest),
    ),
    public_clues=(Clue(Rank.REST, _public),),
    words=("category", "factor", "nominal", "ordinal", "text", "string", "str"),
)
