"""Constraints: rules that every sampled row keeps, by construction where possible, else by rejection."""

from __future__ import annotations

from raysynth.schema.constraints.base import Constraint
from raysynth.schema.constraints.combinations import FixedCombinations, OneHotGroup, Unique
from raysynth.schema.constraints.expression import Expression
from raysynth.schema.constraints.numbers import FixedIncrements, Inequality, Positive, Range
from raysynth.schema.constraints.rules import ConstraintSet
from raysynth.schema.table import KINDS, constraint_from_dict

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

KINDS |= {
    c.kind: c
    for c in (Inequality, Range, FixedCombinations, FixedIncrements, OneHotGroup, Unique, Positive, Expression)
}
