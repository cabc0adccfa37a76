"""Arrays of several parts in one mapping: each part's names begin with a prefix of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with the prefix, by what follows it."""
    return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
