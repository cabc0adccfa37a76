"""How a tree sees a column: its codes as places on a line, and as numbers to predict; the order of drawing.

Shape legend: R codes of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import ColumnEncoder
from raysynth.errors import ParameterError

CLIPPED_AT = 4.0  # standard deviations


@dataclass(frozen=True)
class ColumnView:
    """What growing needs to know of one column; made from its encoder, so from released things alone.

    Args:
        cardinality: R.
        ordered: whether codes are in the order of values.
        rank: for an ordered column the mean rank of each code in [0, 1], of 'missing' the mean, (R,).
        value: for an ordered column the code's middle value, standardised and clipped, of 'missing' the mean, (R,).
        missing: share of rows without a value.
        run: see `Forest`; None for columns without smooth cells.
        ranks: of a number the share of the values below each code, and 1 at the end, (R,).
        middle: of a number the middle value of each code but 'missing', (R - 1,).
    """

    cardinality: int
    ordered: bool
    rank: np.ndarray
    value: np.ndarray
    missing: float
    run: np.ndarray | None
    ranks: np.ndarray | None = None
    middle: np.ndarray | None = None


def views(columns: Sequence[ColumnEncoder]) -> tuple[ColumnView, ...]:
    """The view of each column of an encoder."""
    return tuple(_numeric(c) if isinstance(c, BinEncoder) else _nominal(c) for c in columns)


def _nominal(column: ColumnEncoder) -> ColumnView:
    none = np.zeros(column.cardinality)
    return ColumnView(column.cardinality, False, none, none, float(column.shares[-1]), None)


def _numeric(column: BinEncoder) -> ColumnView:
    cells, first = column.distribution, column.first_cell
    last = np.append(first[1:], len(cells.share)) - 1
    share = np.maximum(np.diff(column.ranks), 1e-12)
    share = share / share.sum()
    low, high = cells.low[first], cells.high[last]
    middle = low / 2 + high / 2
    mean = float(share @ middle)
    deviation = float(np.sqrt(share @ (middle - mean) ** 2)) or 1.0
    value = np.clip((middle - mean) / deviation, -CLIPPED_AT, CLIPPED_AT)
    rank = column.ranks[:-1] + np.diff(column.ranks) / 2
    smooth = high > low
    run = np.where(smooth, np.cumsum(~smooth), -1)
    return ColumnView(
        column.cardinality,
        True,
        np.append(rank, share @ rank),
        np.append(value, share @ value),
        float(column.shares[-1]),
        np.append(run, -1).astype(np.int32) if smooth.any() else None,
        column.ranks,
        middle,
    )


def drawing_order(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Columns in the order of drawing: those wanted first, as they are named; then the others, as in the table.

    Raises:
        ParameterError: a name is no modelled column, or stands twice.
    """
    if unknown := [name for name in wanted if name not in names]:
        raise ParameterError(f"order names '{unknown[0]}', which is no modelled column; these are: {', '.join(names)}")
    if len(set(wanted)) != len(wanted):
        raise ParameterError("order names a column twice; name each at most once")
    first = [list(names).index(name) for name in wanted]
    return (*first, *(c for c in range(len(names)) if c not in first))
