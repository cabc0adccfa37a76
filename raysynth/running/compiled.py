"""Inner loops compiled by numba, once a machine: the file of machine code lies where the user may write.

A file whose functions are compiled is imported where they are called, never at the top: importing numba takes .3 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import event

from raysynth.running.progress import progress

F = TypeVar("F", bound=Callable[..., Any])


class _Told(event.Listener):
    """Says while a function is compiled that it is, and why: it takes seconds, and the next process loads the code."""

    def __init__(self) -> None:
        self._depth = 0

    def on_start(self, event: Any) -> None:
        """A compilation began, maybe inside another; numba's lock keeps other threads out."""
        self._depth += 1
        if self._depth == 1:
            self._step = progress("compiling loops, once on this machine", public=True, is_patient=True)
            self._step.__enter__()

    def on_end(self, event: Any) -> None:
        """It ended, well or not."""
        self._depth -= 1
        if self._depth == 0:
            self._step.__exit__(None, None, None)


_register: Any = event.register  # without types
_register("numba:compile", _Told())


def compiled(function: F) -> F:
    """The function as machine code, compiled at its first call and kept; threads run beside it (no lock).

    The code is kept beside the source file, in the user's cache folder or in NUMBA_CACHE_DIR, whichever is writable;
    where none is, every process compiles for itself.
    """
    compiler: Any = numba.njit
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        result: F = compiler(cache=True, **options)(function)
    except RuntimeError:  # numba: 'cannot cache function: no locator available'
        result = compiler(**options)(function)
    return result
