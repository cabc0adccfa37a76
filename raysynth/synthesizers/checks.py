"""Checks of hyper-parameters: errors that name the parameter, what was found and what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raysynth.errors import ParameterError


def check_whole(name: str, value: Any, low: int = 1) -> None:
    """Raise `ParameterError` unless the value is a whole number of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ParameterError(f"{name} must be a whole number of at least {low}; found {value!r}")


def check_between(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise `ParameterError` unless the value is a number from `low` (or above it) to `high`."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not low <= value <= high or (open_low and value == low):
        wanted = f"above {low} and at most {high}" if open_low else f"from {low} to {high}"
        raise ParameterError(f"{name} must be {wanted}; found {value!r}")


def check_units(name: str, units: Sequence[Any]) -> None:
    """Raise `ParameterError` unless these are the units of at least one hidden layer."""
    if not units:
        raise ParameterError(f"{name} must name at least one hidden layer, for example (256, 256)")
    for unit in units:
        check_whole(name, unit)
