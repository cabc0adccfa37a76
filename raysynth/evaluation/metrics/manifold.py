"""Precision, recall, density and coverage: do synthetic rows lie where real rows lie, and are all real rows reached?

Around each row a ball reaches to its k-th nearest row of the same table (k = 5). Precision (Kynkaanniemi et al. 2019)
is the share of synthetic rows inside any real ball, recall the share of real rows inside any synthetic ball; density
counts the real balls that a synthetic row lies in, over k, and coverage is the share of real balls that hold a
synthetic row (Naeem et al. 2020), which single outliers do not inflate. Fresh real rows score high, but not 1: `fresh`
says how high.

The embedding: numbers in standard deviations of the real column (missing: its mean, and a flag), each of a column's 30
most frequent categories as 0 or 1 (`linear_features`); Euclid's distance. A row on a ball's edge is inside, since rows
of few values repeat and a crowd's ball has radius 0.

Shape legend: N rows of each table, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from raysynth.comparison.intervals import Z95, Estimate, share
from raysynth.comparison.rows import Rows, linear_features
from raysynth.evaluation.metrics.metric import Line, Metric
from raysynth.running.runner import run_tasks

NEIGHBOURS = 5
_ROWS, _BLOCK = 5_000, 500
_ROUNDING = 1e-8  # of squared distances, relative to the squared lengths


@dataclass(frozen=True)
class Reach:
    """The four figures of one table against the real rows; intervals take rows as independent."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


@dataclass(frozen=True)
class Manifold:
    """The figures of the synthetic rows, and of as many fresh real rows (holdout rows, or a half of the real ones).

    Args:
        n_rows: rows of each table that took part.
    """

    synthetic: Reach
    fresh: Reach
    n_rows: int


def compare_manifolds(real: Rows, synthetic: Rows, holdout: Rows | None, seed: int = 0) -> Manifold | None:
    """The figures on up to 5,000 rows of each table; None with fewer than 20.

    Without holdout rows half of the real rows stand for the real table, the other half for fresh rows.
    """
    rng = np.random.default_rng(seed)
    if holdout is None:
        real, holdout = real.split(len(real) // 2, rng)
    real, synthetic, holdout = (rows.independent(rng) for rows in (real, synthetic, holdout))
    n = min(len(real), len(synthetic), len(holdout), _ROWS)
    if n < 4 * NEIGHBOURS:
        return None
    reference = real.sample(n, rng)
    real_ND, synthetic_ND, fresh_ND = (
        linear_features(rows.sample(n, rng), reference) for rows in (reference, synthetic, holdout)
    )
    radius_N = _radii(real_ND, NEIGHBOURS)
    return Manifold(reach(real_ND, synthetic_ND, radius_N), reach(real_ND, fresh_ND, radius_N), n)


def reach(
    real_ND: np.ndarray, other_ND: np.ndarray, real_radius_N: np.ndarray | None = None, k: int = NEIGHBOURS
) -> Reach:
    """The four figures of other rows against real ones (whose `_radii` may be known); each needs more than k rows."""
    radii = _radii(real_ND, k) if real_radius_N is None else real_radius_N, _radii(other_ND, k)
    counted = partial(_reached, real_ND=real_ND, other_ND=other_ND, radii=radii)
    balls, covered, recalled = zip(
        *run_tasks(counted, _starts(real_ND), where="local", label="Balls that hold rows"), strict=True
    )
    balls_N, covered_N, recalled_N = np.sum(balls, axis=0), np.concatenate(covered), np.concatenate(recalled)
    density, error = float(balls_N.mean()) / k, Z95 * float(balls_N.std(ddof=1)) / k / len(balls_N) ** 0.5
    return Reach(
        precision=share(float((balls_N > 0).sum()), len(balls_N)),
        recall=share(float(recalled_N.sum()), len(recalled_N)),
        density=Estimate(density, max(density - error, 0.0), density + error),
        coverage=share(float(covered_N.sum()), len(covered_N)),
    )


def _radii(rows_ND: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row (N,)."""
    return np.concatenate(
        run_tasks(partial(_radii_of, rows_ND=rows_ND, k=k), _starts(rows_ND), where="local", label="Balls of rows")
    )


def _radii_of(start: int, rows_ND: np.ndarray, k: int) -> np.ndarray:
    square_BN = _squares(rows_ND[start : start + _BLOCK], rows_ND)
    square_BN.partition(k, axis=1)
    return square_BN[:, k].copy()  # itself is the nearest


def _reached(
    start: int, real_ND: np.ndarray, other_ND: np.ndarray, radii: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of some real rows: how many of their balls hold each other row (N,); whether each of them (B,) holds any, and
    whether it lies in any ball of the others."""
    block = slice(start, start + _BLOCK)
    square_BN = _squares(real_ND[block], other_ND)
    inside_BN, recalled_BN = square_BN <= radii[0][block, None], square_BN <= radii[1][None, :]
    return np.sum(inside_BN, axis=0), np.any(inside_BN, axis=1, keepdims=True)[:, 0], recalled_BN.max(axis=1)


def _starts(rows_ND: np.ndarray) -> range:
    return range(0, len(rows_ND), _BLOCK)


def _squares(a_BD: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
    """Squared distances (B, N); what rounding leaves of equal rows is 0."""
    length_B, length_N = (np.einsum("nd,nd->n", rows_ND, rows_ND) for rows_ND in (a_BD, b_ND))
    square_BN: np.ndarray = (-2 * a_BD) @ b_ND.T
    square_BN += length_B[:, None]
    square_BN += length_N[None, :]
    square_BN[square_BN < _ROUNDING * (1 + length_B[:, None])] = 0.0
    return square_BN


def _lines(found: Manifold) -> list[Line]:
    lines = []
    for name, what in (("coverage", "real neighbourhoods reached"), ("precision", "synthetic rows among real ones")):
        fresh = getattr(found.fresh, name).value
        note = f"{what}; fresh rows {fresh:.3f}"
        lines.append(Line(f"  {name.title()}", str(getattr(found.synthetic, name)), note))
    return lines


METRIC = Metric(
    asked_by="realism",
    doing="density and coverage",
    compute=lambda rows: compare_manifolds(rows.real, rows.synthetic, rows.holdout, rows.seed),
    lines=_lines,
)
