"""The rows that a method learns from: all of them, or a random sample of stated size where there are more."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import pyarrow as pa

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.fitting.prepared import Prepared


def learned_codes(prepared: Prepared, most_rows: int) -> np.ndarray:
    """Codes (C, N) of the prepared table, N at most about `most_rows`: each row is taken by a draw of its own.

    Memory does not grow with the table beyond so many rows.
    """
    from raysynth.running.runner import for_each_fragment

    share = min(1.0, most_rows / max(prepared.n_rows, 1))
    if share == 1.0:
        return np.ascontiguousarray(prepared.encoded().codes_NC.T)
    take = partial(_taken, prepared.encoder, share, prepared.seed)
    parts = for_each_fragment(prepared.table, take, columns=list(prepared.encoder.names), label="encoding a sample")
    return np.concatenate(parts, axis=1)


def _taken(encoder: TableEncoder, share: float, seed: int, index: int, blocks: Iterable[pa.RecordBatch]) -> np.ndarray:
    """Codes (C, rows) of about this share of the rows of a fragment; the draw depends on its index alone."""
    rng = np.random.default_rng([seed, index])
    parts = [np.empty((len(encoder.columns), 0), np.uint16)]
    for block in blocks:
        rows = np.flatnonzero(rng.random(block.num_rows) < share)
        parts.append(np.ascontiguousarray(encoder.encode(block.take(pa.array(rows))).codes_NC.T))
    return np.concatenate(parts, axis=1)
