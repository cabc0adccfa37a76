"""Checks of arguments, whose errors use the same words everywhere (those of synthesizers: `methods/parameters.py`)."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

from raysynth.errors import ParameterError


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or NumPy; a truth value is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a number, of Python or NumPy; a truth value is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a number as of `is_number`, and neither NaN nor infinite."""
    return is_number(value) and math.isfinite(value)


def check_whole(name: str, value: Any, low: int = 1) -> None:
    """Raise `ParameterError` unless the value is a whole number of at least `low`."""
    if not is_whole(value) or value < low:
        raise ParameterError(f"{name} must be a whole number of at least {low}; found {value!r}")


def check_one_of(name: str, value: Any, valid: Iterable[str]) -> None:
    """Raise `ParameterError` unless the value is one of the valid ones."""
    if value not in (known := tuple(valid)):
        raise ParameterError(f"{name} must be one of {', '.join(known)}; found {value!r}")
