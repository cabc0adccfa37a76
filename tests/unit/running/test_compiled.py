"""Compiled loops: where no folder may be written, a process compiles for itself."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from raysynth.running.compiled import compiled


def total(x: np.ndarray) -> float:
    """Sum of squares."""
    result = 0.0
    for value in x:
        result += value * value
    return result


@pytest.mark.parametrize("writable", [True, False])
def test_a_function_runs_as_machine_code(writable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def njit(*functions: Any, **options: Any) -> Any:
        if options.get("cache"):
            if not writable:
                raise RuntimeError("cannot cache function 'total': no locator available")
            options.pop("cache")  # the file of this test is imported under a name of its own in each run
        return real(*functions, **options)

    monkeypatch.setattr(numba, "njit", njit)
    function: Any = compiled(total)
    assert function(np.arange(4.0)) == 14.0 and len(function.signatures) == 1
