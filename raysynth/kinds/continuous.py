"""Numbers, whole ones too: what is measured or counted."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank

NUMBERS = "numbers; whether they are whole is found with noise"  # of which nothing is declared, their type neither


def _rest(evidence: Evidence) -> Found | None:
    if not evidence.is_number:
        return None
    return Found(f"{'whole numbers' if evidence.are_whole else 'numbers'}, {evidence.amount} distinct")


def _public(field: PublicField) -> Found | None:
    if field.held != "number":
        return None
    type_ = field.type if field.public_types else pa.float64()
    decimals = 0 if pt.is_integer(type_) else min(type_.scale, 15) if pt.is_decimal(type_) else None
    reason = f"type {type_}" if field.public_types else NUMBERS
    return Found(reason, {"dtype": str(type_), "decimals": decimals})


KIND = Description(
    Family.NUMBER,
    clues=(Clue(Rank.REST, _rest),),
    public_clues=(Clue(Rank.REST, _public),),
    fits=lambda evidence: evidence.is_number,
    cure="declare it categorical, or convert it with pd.to_numeric",
    fills={"decimals": lambda evidence: evidence.decimals},
    words=("number", "numeric", "integer", "int", "float", "double", "real"),
    stored="double",
)
