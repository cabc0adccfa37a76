"""Which columns are missing together: co-occurrence counts of missing values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

_ROWS = 1 << 20  # counts of a float32 product are exact up to 2**24


@dataclass
class MissingPairs:
    """Rows in which two columns are both missing, shape (C, C); the diagonal counts each column alone.

    Sensitivity (add/remove one row): every entry by at most 1 (L1 up to C**2, L2 up to C).
    """

    n_columns: int
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.n_columns, self.n_columns), dtype=np.int64)

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block that has all columns in order."""
        masks = {c: mask for c, array in enumerate(batch.columns) if (mask := missing_mask(array)) is not None}
        if not masks:
            return
        columns = np.fromiter(masks, dtype=np.intp)
        for start in range(0, batch.num_rows, _ROWS):
            block_NK = np.stack([m[start : start + _ROWS] for m in masks.values()], axis=1).astype(np.float32)
            self.counts[np.ix_(columns, columns)] += np.rint(block_NK.T @ block_NK).astype(np.int64)

    def merge(self, other: MissingPairs) -> None:
        """Add the rows of another count of the same columns."""
        self.counts += other.counts


def missing_mask(array: pa.Array) -> np.ndarray | None:
    """(N,) bool, True where a value is null or NaN; None where none is."""
    if pt.is_floating(array.type):
        has_nan = pc.any(pc.is_nan(array)).as_py()
        if not has_nan and not array.null_count:
            return None
        mask: np.ndarray = pc.is_null(array, nan_is_null=True).to_numpy(zero_copy_only=False)
        return mask
    if not array.null_count:
        return None
    mask = array.is_null().to_numpy(zero_copy_only=False)
    return mask
