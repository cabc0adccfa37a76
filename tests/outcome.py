"""What a call gives: where it ends in an error instead, that fails the test as a wrong value would."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def value_of(call: Callable[[], T]) -> T:
    """The value of a call that no program that is right refuses."""
    try:
        return call()
    except Exception as error:
        pytest.fail(f"refused: {type(error).__name__}: {error}")
