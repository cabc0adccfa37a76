"""The order in which columns are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysynth.errors import ParameterError
from raysynth.methods.trees.columns import ColumnView


def drawing_order(
    codes_CN: np.ndarray, columns: Sequence[ColumnView], names: Sequence[str], wanted: Sequence[str]
) -> tuple[int, ...]:
    """Columns in the order of drawing: those wanted first, as they are named; then the others.

    Raises:
        ParameterError: a name is no modelled column, or stands twice.
    """
    if unknown := [name for name in wanted if name not in names]:
        raise ParameterError(f"order names '{unknown[0]}', which is no modelled column; these are: {', '.join(names)}")
    if len(set(wanted)) != len(wanted):
        raise ParameterError("order names a column twice; name each at most once")
    first = [list(names).index(name) for name in wanted]
    return (*first, *(c for c in range(len(names)) if c not in first))
