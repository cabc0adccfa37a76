"""Marginal calibration: a trained generator's one-column marginals made equal to the released ones, from no row.

A GAN learns how columns hang together better than how often each code occurs. Two corrections mend the latter after
training, from released marginals alone:

1. every code's logit gets a bias, found by fixed-point iteration b += log(released share / generated share), the
   iterative proportional fitting step for a softmax;
2. the value beside a code goes through a monotone map, generated quantile -> released quantile inside that code.

Both leave the order of a row's logits and values as the network made them, so the dependence it learned stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from raysynth.methods.shared.row_sampler import RowSampler, ValueMap
from raysynth.methods.shared.spans import gumbel_noise

S = TypeVar("S", bound=RowSampler)

MAX_NUMBERS = 20_000_000  # logits held at once
MAX_ROWS = 32_768
STEPS = 16
KNOTS = 65
NEVER = -40.0  # bias of a code that the released marginal says does not occur
MIN_ROWS = 50  # generated rows of a code below which its values are left as they are


def calibrated(
    sampler: S,
    shares: Sequence[np.ndarray],
    value_quantiles: Sequence[np.ndarray],
    seed: int,
) -> S:
    """The sampler with code biases and value maps.

    Args:
        sampler: uncalibrated.
        shares: for each column the released share of each code, (cardinality,).
        value_quantiles: for each value column the released quantiles of the value inside each code,
            (cardinality, KNOTS) at evenly spaced ranks from 0 to 1; NaN rows where the code has no spread.
        seed: of the rows that are generated for it.
    """
    rng = torch.Generator().manual_seed(seed)
    n = int(np.clip(MAX_NUMBERS // sampler.spans.n_codes, 4096, MAX_ROWS))
    logits, values = sampler.outputs(n, rng)
    scores = logits + gumbel_noise(tuple(logits.shape), rng)
    bias_S = code_bias(sampler, scores, shares)
    drawn = sampler.index.draw(scores, torch.from_numpy(bias_S.astype(np.float32)))
    codes, chosen = drawn.numpy(), sampler.values_of(values, drawn).numpy()
    maps = tuple(
        value_map(codes[:, column], chosen[:, i], value_quantiles[i])
        for i, column in enumerate(sampler.spans.value_columns)
    )
    return replace(sampler, code_bias_S=sampler.code_bias_S + bias_S, value_maps=maps)


def code_bias(sampler: RowSampler, scores_NS: torch.Tensor, shares: Sequence[np.ndarray]) -> np.ndarray:
    """Biases (S,) after which each column's argmax of the scores has the released shares, up to one row in a few."""
    target_S = np.concatenate([s / max(s.sum(), 1e-300) for s in shares])
    n, offsets = len(scores_NS), np.array(sampler.spans.offsets)
    bias_S = np.where(target_S > 0, 0.0, NEVER)
    half_row = 0.5 / n
    for step in range(STEPS):
        codes = sampler.index.draw(scores_NS, torch.from_numpy(bias_S.astype(np.float32))).numpy()
        found_S = np.bincount((codes + offsets).ravel(), minlength=len(target_S)) / n
        change = np.log((target_S + half_row) / (found_S + half_row))
        bias_S = np.where(target_S > 0, bias_S + np.clip(change, -2, 2) * (0.9 if step < STEPS // 2 else 0.5), NEVER)
    return bias_S


def value_map(codes_N: np.ndarray, values_N: np.ndarray, wanted: np.ndarray) -> ValueMap:
    """Generated to released quantiles inside each code; the identity where either side is too thin."""
    ranks = np.linspace(0, 1, KNOTS)
    identity = np.linspace(-1, 1, KNOTS)
    generated = np.tile(identity, (len(wanted), 1))
    target = generated.copy()
    for code in range(len(wanted)):
        own = values_N[codes_N == code]
        if len(own) >= MIN_ROWS and not np.isnan(wanted[code, 0]):
            generated[code] = np.quantile(own, ranks)
            target[code] = wanted[code]
    return ValueMap(generated, target)


def quantiles_by_code(codes_N: np.ndarray, values_N: np.ndarray, cardinality: int) -> np.ndarray:
    """Quantiles (cardinality, KNOTS) of values inside each code; NaN where a code has none or no spread."""
    result = np.full((cardinality, KNOTS), np.nan)
    for code in np.unique(codes_N):
        own = values_N[codes_N == code]
        if own.min() < own.max():
            result[code] = np.quantile(own, np.linspace(0, 1, KNOTS))
    return result
