"""Real and synthetic rows in two dimensions: the first two principal components of the real rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysynth.comparison.rows import Rows, linear_features
from raysynth.evaluation.metrics.metric import Metric

_FIT, _SHOWN = 5_000, 600


@dataclass(frozen=True)
class Embedding:
    """Points (N, 2) of some real and some synthetic rows, and the share of variance that the two axes hold."""

    real_N2: np.ndarray
    synthetic_N2: np.ndarray
    explained: tuple[float, float]


def embed(real: Rows, synthetic: Rows, seed: int = 0) -> Embedding:
    """Both tables on the principal components of the real rows (numbers standardised, categories one-hot)."""
    rng = np.random.default_rng(seed)
    known = real.sample(_FIT, rng)
    x = linear_features(known, known)
    centre = x.mean(axis=0)
    _, size, axes = np.linalg.svd(x - centre, full_matrices=False)
    axes = np.vstack([axes, np.zeros((2, axes.shape[1]))])[:2]
    power = np.concatenate([size**2, [0.0, 0.0]])
    total = max(float(power.sum()), 1e-300)
    shown = [(linear_features(rows.sample(_SHOWN, rng), known) - centre) @ axes.T for rows in (real, synthetic)]
    return Embedding(shown[0], shown[1], (float(power[0] / total), float(power[1] / total)))


METRIC = Metric(
    asked_by="statistical_similarity",
    doing="drawing rows in the plane",
    compute=lambda rows: embed(rows.real, rows.synthetic, rows.seed),
    plain=None,
)
