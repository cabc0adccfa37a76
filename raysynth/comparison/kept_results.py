"""Results that follow from given arrays alone, kept in this process by the content of these arrays.

Many synthetic tables are compared with the same real one: what was computed from real rows alone is then found again.
Keys are digests, values are small; neither holds a row.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np

R = TypeVar("R")


class KeptResults(Generic[R]):
    """The latest results of one computation; each is computed once, though several threads ask at a time.

    Args:
        most: results that are kept.
    """

    def __init__(self, most: int = 64) -> None:
        self.most = most
        self._known: OrderedDict[bytes, _Slot[R]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: bytes, compute: Callable[[], R]) -> R:
        """The result under a key, computed where it is not known; an error is raised, and not kept."""
        with self._lock:
            slot = self._known.setdefault(key, _Slot())
            self._known.move_to_end(key)
            while len(self._known) > self.most:
                self._known.popitem(last=False)
        with slot.lock:
            if not slot.values:
                slot.values.append(compute())
        return slot.values[0]


class _Slot(Generic[R]):
    """One result, once it is there."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.values: list[R] = []


def content_key(*parts: Any) -> bytes:
    """SHA-256 of arrays (types, shapes and values) and of plain values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.digest()
