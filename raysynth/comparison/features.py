"""Rows as the inputs of models: for trees (codes) and for linear models and the embedding (one-hot, scaled)."""

from __future__ import annotations

import numpy as np

from raysynth.comparison.rows import Rows

_TREE_CATEGORIES = 254  # scikit-learn's trees take at most 255 categories
_ONE_HOT = 30  # categories with a column of their own; the rest shares one


def tree_features(rows: Rows, leave_out: str | None = None) -> np.ndarray:
    """Numbers (NaN where missing) and category codes as float64 (N, D); codes beyond 254 share one."""
    codes = np.minimum(rows.codes_NC, _TREE_CATEGORIES).astype(float)
    x = np.hstack([rows.numbers_NV, codes])
    return x[:, [n != leave_out for n in rows.space.names]]


def learnable(x_ND: np.ndarray) -> np.ndarray:
    """Features to train trees on: a column without any value, of which no bins can be made, is 0 throughout."""
    return np.where(np.isnan(x_ND).all(axis=0), 0.0, x_ND)


def category_flags(rows: Rows, leave_out: str | None = None) -> np.ndarray:
    """Which columns of `tree_features` are categories (D,)."""
    n_numbers = len(rows.space.numbers)
    flags = np.arange(len(rows.space.names)) >= n_numbers
    return flags[[n != leave_out for n in rows.space.names]]


def linear_features(rows: Rows, reference: Rows, leave_out: str | None = None) -> np.ndarray:
    """Numbers standardised by the reference (missing: its mean, and a flag), frequent categories one-hot, (N, D)."""
    blocks = []
    for j, name in enumerate(rows.space.numbers):
        if name == leave_out:
            continue
        known, column = reference.numbers_NV[:, j], rows.numbers_NV[:, j]
        known = known[np.isfinite(known)]
        mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
        blocks.append(np.clip(np.where(np.isfinite(column), (column - mean) / (std or 1.0), 0.0), -10, 10)[:, None])
        if len(known) < len(reference):
            blocks.append((~np.isfinite(column)).astype(float)[:, None])
    for j, coder in enumerate(rows.space.coders):
        if coder.name == leave_out:
            continue
        frequent = np.argsort(-np.bincount(reference.codes_NC[:, j], minlength=coder.cardinality), kind="stable")[
            :_ONE_HOT
        ]
        blocks.append((rows.codes_NC[:, j][:, None] == frequent[None, :]).astype(float))
    return np.hstack(blocks) if blocks else np.zeros((len(rows), 1))
