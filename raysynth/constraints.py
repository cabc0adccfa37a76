"""Constraints by their public names; they stand in `raysynth.schema.constraints`."""

from raysynth.schema.constraints import (
    Constraint,
    ConstraintSet,
    Expression,
    FixedCombinations,
    FixedIncrements,
    Inequality,
    OneHotGroup,
    Positive,
    Range,
    Unique,
    constraint_from_dict,
)

__all__ = [
    "Constraint",
    "ConstraintSet",
    "Expression",
    "FixedCombinations",
    "FixedIncrements",
    "Inequality",
    "OneHotGroup",
    "Positive",
    "Range",
    "Unique",
    "constraint_from_dict",
]
