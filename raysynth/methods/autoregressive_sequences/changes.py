"""Numbers of a sequence as codes of what is new in them: the error of a linear prediction, in quantile bins.

A price is predicted to a hundredth by the prices of the row before and of the same row; bins of its level are far too
coarse for that, and bins of the error of a prediction are not. So each number is predicted by ridge regression from the
numbers of the row before and from those of its own row that stand before it, and the error is coded: bins of equal
mass, 'same' for a number that is exactly as in the row before, and 'none' where the row has no such number (missing, or
a heavy value that has a code of its own). The first row of a sequence has a prediction and bins of its own.

No bin has fewer than about `rare` rows, and the `rare` most extreme errors count as lying in the outermost bin that is
left; the edges of bins are grid points between errors (`coarse_quantiles`), never an error itself.

Shape legend: M rows, V numbers, P numbers of the row before (V, or 0 for first rows), B bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raysynth.encoding.shared_cells import coarse_quantiles

RIDGE = 1e-3  # of coefficients of numbers scaled to [-1, 1]; only ties are broken by it
ROWS_PER_WEIGHT = 10  # with fewer rows nothing is regressed: the number of the row before is the prediction
SAME_SHARE = 0.02  # share of rows with an unchanged number from which on 'same' is a code
TAILS = (0.03, 0.1, 0.3)  # the outermost bins are divided here
FIT_ROWS = 200_000


@dataclass(frozen=True)
class Changes:
    """Predictions and bins of all numbers, for first or for later rows.

    Args:
        weight_VL: coefficients of [1 | row before (P) | own row (V)]; those of later numbers of the row are 0.
        edges_VB: B + 1 ascending edges of the bins of each number; bins of a number that has fewer have no width.
        frequency_VB: share of the rows in each code: the bins, 'same' and 'none', (V, B + 2).
    """

    weight_VL: np.ndarray
    edges_VB: np.ndarray
    frequency_VB: np.ndarray

    @property
    def n_numbers(self) -> int:
        """Columns of numbers, V."""
        return len(self.weight_VL)

    @property
    def n_bins(self) -> int:
        """B; the code of 'same' is B, that of 'none' is B + 1."""
        return self.edges_VB.shape[1] - 1

    @property
    def cardinality(self) -> int:
        """Codes of each number."""
        return self.n_bins + 2

    @classmethod
    def fit(
        cls, before_MP: np.ndarray, now_MV: np.ndarray, counts_MV: np.ndarray, *, n_bins: int, rare: int
    ) -> Changes:
        """Predictions and bins from rows.

        Args:
            before_MP: numbers of the row before; no columns for first rows.
            now_MV: numbers of the row, scaled to [-1, 1].
            counts_MV: whether the row has the number.
            n_bins: at most so many bins of equal mass.
            rare: rows that a bin must have.
        """
        weight_VL = _regressed(before_MP, now_MV, counts_MV)
        error_MV = now_MV - _design(before_MP, now_MV) @ weight_VL.T
        same_MV = _same(before_MP, now_MV) & counts_MV
        edges = []
        for v in range(now_MV.shape[1]):
            frequent = same_MV[:, v].mean() >= SAME_SHARE if len(same_MV) else False
            same_MV[:, v] &= frequent
            edges.append(_bin_edges(error_MV[counts_MV[:, v] & ~same_MV[:, v], v], n_bins, rare))
        width = n_bins + 2 * len(TAILS) + 1
        edges_VB = np.array([np.pad(e, (0, width - len(e)), mode="edge") for e in edges]).reshape(-1, width)
        unknown = cls(weight_VL, edges_VB, np.zeros((len(edges), width + 1)))
        unknown.frequency_VB[:, width - 1] = same_MV.sum(0)
        codes_MV = unknown.encode(before_MP, now_MV, counts_MV)
        counted = [np.bincount(c, minlength=width + 1) / max(1, len(c)) for c in codes_MV.T]
        return cls(weight_VL, edges_VB, np.array(counted).reshape(-1, width + 1))

    def encode(self, before_MP: np.ndarray, now_MV: np.ndarray, counts_MV: np.ndarray) -> np.ndarray:
        """Codes (M, V) uint16; arguments as for `fit`."""
        error_MV = now_MV - _design(before_MP, now_MV) @ self.weight_VL.T
        codes_MV = np.empty(now_MV.shape, np.uint16)
        for v, edges_B in enumerate(self.edges_VB):
            last = max(0, int(np.searchsorted(edges_B, edges_B[-1])) - 1)  # bins beyond it have no width
            codes_MV[:, v] = np.clip(np.searchsorted(edges_B, error_MV[:, v], side="right") - 1, 0, last)
        is_same = _same(before_MP, now_MV) & (self.frequency_VB[:, self.n_bins] > 0)
        codes_MV[is_same] = self.n_bins
        codes_MV[~counts_MV] = self.n_bins + 1
        return codes_MV

    def decode(
        self, v: int, codes_M: np.ndarray, before_MP: np.ndarray, now_MV: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Number v (M,) from its codes, uniform inside the bin, within [-1, 1].

        Args:
            v: which number.
            codes_M: bins or 'same'; 'none' gives any number.
            before_MP: numbers of the row before.
            now_MV: numbers of the row, known up to v.
            rng: of the place inside the bin.
        """
        predicted_M = self.predicted(v, before_MP, now_MV)
        bins_M = np.minimum(codes_M, self.n_bins - 1)
        low_M, high_M = self.edges_VB[v, bins_M], self.edges_VB[v, bins_M + 1]
        made_M = np.clip(predicted_M + low_M + rng.random(len(codes_M)) * (high_M - low_M), -1, 1)
        if before_MP.shape[1]:
            made_M = np.where(codes_M == self.n_bins, before_MP[:, v], made_M)
        return made_M

    def predicted(self, v: int, before_MP: np.ndarray, now_MV: np.ndarray) -> np.ndarray:
        """The prediction (M,) of number v; numbers of the row from it on are not looked at."""
        predicted_M: np.ndarray = _design(before_MP, now_MV) @ self.weight_VL[v]
        return predicted_M

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name, for `from_arrays`."""
        return {"weight": self.weight_VL, "edges": self.edges_VB, "frequency": self.frequency_VB}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Changes:
        """The inverse of `to_arrays`; raises `KeyError` or `ValueError` where arrays are missing or do not fit."""
        weight_VL, edges_VB, frequency_VB = (arrays[name] for name in ("weight", "edges", "frequency"))
        shapes = len(weight_VL) == len(edges_VB) == len(frequency_VB) and edges_VB.shape[1] >= 2
        if not shapes or frequency_VB.shape[1] != edges_VB.shape[1] + 1:
            raise ValueError("the arrays of the changes have other shapes than one another")
        if not (np.isfinite(weight_VL).all() and np.isfinite(edges_VB).all() and (np.diff(edges_VB) >= 0).all()):
            raise ValueError("the bins of the changes are not finite and ascending")
        return cls(weight_VL, edges_VB, frequency_VB)


def _design(before_MP: np.ndarray, now_MV: np.ndarray) -> np.ndarray:
    """(M, 1 + P + V)."""
    return np.concatenate([np.ones((len(now_MV), 1)), before_MP, now_MV], 1)


def _same(before_MP: np.ndarray, now_MV: np.ndarray) -> np.ndarray:
    return before_MP[:, : now_MV.shape[1]] == now_MV if before_MP.shape[1] else np.zeros(now_MV.shape, bool)


def _regressed(before_MP: np.ndarray, now_MV: np.ndarray, counts_MV: np.ndarray) -> np.ndarray:
    """Coefficients (V, 1 + P + V) of each number on the row before and on the numbers that stand before it."""
    at = np.linspace(0, len(now_MV) - 1, min(len(now_MV), FIT_ROWS)).astype(np.int64)
    design_ML, now_MV, counts_MV = _design(before_MP[at], now_MV[at]), now_MV[at], counts_MV[at]
    n_before, n_numbers = before_MP.shape[1], now_MV.shape[1]
    weight_VL = np.zeros((n_numbers, design_ML.shape[1]))
    for v in range(n_numbers):
        known, rows = 1 + n_before + v, counts_MV[:, v]
        if rows.sum() < ROWS_PER_WEIGHT * known:
            if n_before:
                weight_VL[v, 1 + v] = 1.0
            continue
        x = design_ML[rows, :known]
        squares = x.T @ x + RIDGE * np.diag([0.0] + [1.0] * (known - 1))
        weight_VL[v, :known] = np.linalg.lstsq(squares, x.T @ now_MV[rows, v], rcond=1e-12)[0]
    return weight_VL


def _bin_edges(error_M: np.ndarray, n_bins: int, rare: int) -> np.ndarray:
    """Ascending edges of bins of equal mass, the outermost ones divided again; at least `rare` rows in each."""
    n, rare = len(error_M), max(rare, 1)
    if n < 2 * rare:
        middle = float(coarse_quantiles(np.sort(error_M), np.array([0.5]), rare)[0]) if n else 0.0
        return np.array([middle, middle])
    n_bins = int(np.clip(n // rare, 1, n_bins))
    levels = np.linspace(0, 1, n_bins + 1)
    tails = [t / n_bins for t in TAILS if t / n_bins * n >= rare]
    levels = np.unique([*levels, *tails, *(1 - t for t in tails)])
    levels = np.clip(levels, min((rare - 1) / n, 0.5), max(1 - (rare - 1) / n, 0.5))
    return np.unique(coarse_quantiles(np.sort(error_M), levels, max(1, rare // 2)))
