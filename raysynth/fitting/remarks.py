"""What a fit says of its columns beside their kinds: computed ones, and those whose values are too rare to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysynth.encoding.categorical import RARE_LABEL, CategoricalEncoder
from raysynth.encoding.table_encoder import TableEncoder

if TYPE_CHECKING:
    from raysynth.schema.constraints import ConstraintSet

RARE_SAID = 0.2  # share of rows without a value of their own from which on a fit says so


def remarks(encoder: TableEncoder, rules: ConstraintSet | None, *, private: bool) -> list[str]:
    """Lines to print; under a budget (`private`) those alone that no row has a part in."""
    return [*([] if rules is None else rules.described), *([] if private else _rare(encoder))]


def _rare(encoder: TableEncoder) -> list[str]:
    found = [(c.name, c.rare_share) for c in encoder.columns if isinstance(c, CategoricalEncoder)]
    return [
        f"{name}: {share:.0%} will be '{RARE_LABEL}': identifier, personal, or leave it out?".replace("%", " %")
        for name, share in found
        if share >= RARE_SAID
    ]
