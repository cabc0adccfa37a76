"""What a parameter of a search space may be: one of some values, or a number between two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.errors import ParameterError
from raysynth.methods.parameters import declared, search_space
from raysynth.methods.registry import METHODS, synthesizer_class

Space = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Domain:
    """The values of one parameter.

    Args:
        values: all of them; or the smallest and the largest number.
        is_range: whether they are bounds; whole numbers between whole ones.
    """

    values: tuple[Any, ...]
    is_range: bool

    @classmethod
    def of(cls, name: str, given: Any) -> Domain:
        """From a list of values, or a pair (low, high); raises `ParameterError` for anything else."""
        if isinstance(given, list) and given:
            return cls(tuple(dict.fromkeys(hashable(v) for v in given)), is_range=False)
        if isinstance(given, tuple) and len(given) == 2 and given[0] < given[1]:
            return cls(given, is_range=True)
        raise ParameterError(
            f"search_space: '{name}' must be a list of values, or a pair (low, high) of numbers; found {given!r}"
        )

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return self.is_range and all(isinstance(v, int) for v in self.values)

    @property
    def size(self) -> float:
        """How many different values there are."""
        if not self.is_range:
            return len(self.values)
        return self.values[1] - self.values[0] + 1 if self.is_whole else math.inf

    def draw(self, rng: np.random.Generator) -> Any:
        """One value, all equally likely."""
        if not self.is_range:
            return self.values[int(rng.integers(len(self.values)))]
        low, high = self.values
        return int(rng.integers(low, high + 1)) if self.is_whole else round(float(low + (high - low) * rng.random()), 6)


def checked_space(given: Mapping[str, Mapping[str, Any] | None]) -> Space:
    """A search space whose values lie in the ranges that the methods declare.

    Args:
        given: {method: {parameter: [values] or (low, high)}}; None for a method: the values that it declares itself.

    Raises:
        ParameterError: a method has no such parameter, or a value is out of its range.
    """
    return {method: _checked(method, values) if method in METHODS else values or {} for method, values in given.items()}


def _checked(method: str, values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    cls = synthesizer_class(method)
    known = declared(cls)
    if values is None:
        values = search_space(cls)
        if not values:
            raise ParameterError(f"search_space: '{method}' declares no values to try; name a parameter and its values")
    for name, domain in values.items():
        if name not in known:
            raise ParameterError(f"search_space: '{method}' has no parameter '{name}'; it has: {', '.join(known)}")
        for value in Domain.of(name, domain).values:
            known[name].check(value)
    return values


def hashable(value: Any) -> Any:
    """A value of a setting, lists (units of hidden layers) as tuples."""
    return tuple(hashable(v) for v in value) if isinstance(value, list | tuple) else value
