"""Encoded rows: for each modelled column one small code, and for some one float beside it.

Shape legend: N rows, C modelled columns, V columns that carry a float.

A regenerated column (personal data) has one code, whether there is a value, so that what is missing stays related.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.schema.columns import ColumnSchema, Kind


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


@dataclass(frozen=True)
class PresenceEncoder:
    """Code 0: a value is there; code 1: missing. Decodes to booleans, which the sampling layer turns into nulls.

    Args:
        name, kind: of the column.
        shares: released share of present and missing rows, shape (2,).
    """

    name: str
    kind: Kind
    shares: np.ndarray
    cardinality = 2

    def layout(self) -> EncodedColumn:
        """Where the column stands in encoded blocks."""
        return EncodedColumn(self.name, self.kind, 2, 1)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, None]:
        """Codes (N,) uint16."""
        return array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False).astype(np.uint16), None

    def decode(
        self, codes: np.ndarray, values: None, rng: np.random.Generator, bounds: tuple[float, float] | None = None
    ) -> pa.Array:
        """Booleans (N,): True where a value is there."""
        return pa.array(codes == 0)

    def condition_weights(self, bounds: Any) -> np.ndarray:
        """Regenerated columns cannot be asked for: all ones."""
        return np.ones(2)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        return {}, {"shares": self.shares}

    @classmethod
    def from_state(cls, column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> PresenceEncoder:
        """The inverse of `to_state`."""
        return cls(column.name, column.kind, arrays["shares"])
