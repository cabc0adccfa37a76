"""Encoded rows: for each modelled column one small code, and for some one float beside it.

Shape legend: N rows, C modelled columns, V columns that carry a float.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysynth.schema.columns import Kind


@dataclass(frozen=True)
class EncodedColumn:
    """Layout of one modelled column inside an `EncodedBlock`.

    Args:
        name: column name.
        kind: its kind in the schema.
        cardinality: codes run from 0 to cardinality - 1.
        missing_code: the code that stands for 'no value'; every column has one, so that encoding is total.
        value_index: which column of `values_NV` belongs to it; None for columns of codes alone.
        ordered: True when codes are in the order of the values (bins of a number), missing_code apart.
    """

    name: str
    kind: Kind
    cardinality: int
    missing_code: int
    value_index: int | None = None
    ordered: bool = False


@dataclass(frozen=True)
class EncodedBlock:
    """Some encoded rows: codes (N, C) uint16 and values (N, V) float32."""

    codes_NC: np.ndarray
    values_NV: np.ndarray

    def __len__(self) -> int:
        return len(self.codes_NC)

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """The rows at the given indices, or under a boolean mask."""
        return EncodedBlock(self.codes_NC[rows], self.values_NV[rows])


def concat_blocks(blocks: list[EncodedBlock]) -> EncodedBlock:
    """Blocks one below the other."""
    return EncodedBlock(
        np.concatenate([b.codes_NC for b in blocks]),
        np.concatenate([b.values_NV for b in blocks]),
    )
