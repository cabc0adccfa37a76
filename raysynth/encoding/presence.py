"""Whether a regenerated column (personal data) has a value: one code, so that what is missing stays related."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedColumn
from raysynth.schema.columns import ColumnSchema, Kind


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
