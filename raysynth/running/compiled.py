"""Inner loops compiled by numba, once a machine: the file of machine code lies where the user may write.

A file whose functions are compiled is imported where they are called, never at the top: importing numba takes .3 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


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
