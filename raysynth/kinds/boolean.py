"""True and false."""

from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank


def _by_type(evidence: Evidence) -> Found | None:
    return Found("true or false") if evidence.held == "boolean" else None


def _public(field: PublicField) -> Found | None:
    reason = f"type {field.type}" if field.public_types else "true or false"
    return Found(reason, {"dtype": str(field.type)}) if field.held == "boolean" else None


KIND = Description(
    Family.CLASS,
    held="boolean",
    clues=(Clue(Rank.TYPE, _by_type),),
    public_clues=(Clue(Rank.TYPE, _public),),
    fits=lambda evidence: evidence.held == "boolean",
    cure="declare it categorical, or convert it to bool",
    words=("bool", "logical"),
    stored="bool",
)
