"""Which records are most at risk: those far from all others, the Achilles' heels of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from raysynth.attacks.attack import Records
from raysynth.comparison.neighbours import ranges
from raysynth.comparison.rows import Rows

_BLOCK = 1024


def vulnerable_records(records: Records | Any, n: int, k: int = 5) -> np.ndarray:
    """Row numbers of the n most vulnerable records, the most vulnerable first.

    Meeus et al. (2023, section 4): a record's vulnerability is its mean distance to its k nearest others, with a
    distance of 1 - (share of columns that are categories * cosine of the one-hot categories + share of numbers * cosine
    of the numbers, each scaled to [0, 1]).

    Args:
        records: rows, as `Records`, or any table that `fit` takes.
        n: how many; all where there are no more.
        k: neighbours.
    """
    rows = records.rows if isinstance(records, Records) else _rows_of(records)
    order = np.argsort(-vulnerability(rows, k), kind="stable")
    return order[:n]


def vulnerability(rows: Rows, k: int = 5) -> np.ndarray:
    """Mean distance of each row to its k nearest others (N,)."""
    numbers_NV, codes_NC = _unit_numbers(rows), rows.codes_NC
    n_numbers, n_codes = numbers_NV.shape[1], codes_NC.shape[1]
    share = n_codes / max(n_numbers + n_codes, 1)
    k = min(k, len(rows) - 1)
    found = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        alike = np.zeros((len(numbers_NV[part]), len(rows)))
        for column in codes_NC.T:
            alike += share / max(n_codes, 1) * (column[part, None] == column[None, :])
        alike += (1 - share) * (numbers_NV[part] @ numbers_NV.T)
        own = np.arange(len(alike))
        alike[own, start + own] = -np.inf
        found[part] = 1 - np.partition(alike, -k, axis=1)[:, -k:].mean(axis=1)
    return found


def _unit_numbers(rows: Rows) -> np.ndarray:
    """Numbers scaled to [0, 1] (missing: 0), each row of length 1."""
    low, high = ranges(rows.numbers_NV)
    scaled = np.nan_to_num((rows.numbers_NV - low) / np.where(high > low, high - low, 1.0))
    return scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)


def _rows_of(data: Any) -> Rows:
    from raysynth.attacks.run import read_records
    from raysynth.comparison.pairing import pair_tables

    return read_records(pair_tables(data, data), np.random.default_rng(0))["real"].rows
