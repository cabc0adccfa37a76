"""First-pass statistics of an Arrow table in memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.evaluation.coding import numbers
from raysynth.schema import Kind
from raysynth.statistics.released import CategoryCounts, NumericDistribution


def marginal(column: pa.ChunkedArray, kind: Kind) -> CategoryCounts | NumericDistribution:
    if kind.is_numeric:
        x = np.concatenate([numbers(c) for c in column.chunks])
        x, missing = x[np.isfinite(x)], float((~np.isfinite(x)).sum())
        values, counts = np.unique(x, return_counts=True)
        mean, std = (float(x.mean()), float(x.std())) if len(x) else (0.0, 0.0)
        return NumericDistribution(values, values, counts.astype(float), missing, mean, std, None, True, 0.0)
    counts = pc.value_counts(column).to_pylist()
    known = sorted(((c["counts"], c["values"]) for c in counts if c["values"] is not None), key=lambda c: -c[0])
    return CategoryCounts(
        tuple(v for _, v in known), np.array([n for n, _ in known], dtype=float), float(column.null_count), len(known)
    )
