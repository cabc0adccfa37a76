"""Numbers of a step between their encoder and the trees: scaled to [-1, 1], of a kind, and on the encoder's grid.

Shape legend: M rows, R codes of the encoder's column, K kinds, B edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raysynth.encoding.numeric import ModeEncoder
from raysynth.encoding.shared_cells import coarse_quantiles
from raysynth.methods.trees.columns import CLIPPED_AT, ColumnView

STANDS_OUT = 4.0  # times as frequent as its neighbours: a value that a sum with a residual would meet too seldom


@dataclass(frozen=True)
class StepNumber:
    """A number of a step. Its kind is a heavy value (zero, a limit), 'other' or 'missing', in this order.

    Where each value is heavy there is no 'other'. All others are a sum of a prediction and a residual.
    """

    encoder: ModeEncoder

    @cached_property
    def _line(self) -> tuple[float, float]:
        """Middle and half the width of the protected range."""
        low, high = float(self.encoder.distribution.low[0]), float(self.encoder.distribution.high[-1])
        return low / 2 + high / 2, max(high / 2 - low / 2, 1e-300)

    @cached_property
    def _spikes(self) -> np.ndarray:
        """Codes (S,) of heavy values, in the order of values."""
        mixture, cells = self.encoder.mixture, self.encoder.distribution
        atoms = np.flatnonzero(mixture.std == 0)
        atoms = atoms[np.argsort(mixture.mean[atoms])]
        if len(atoms) < len(mixture.std):
            share = np.concatenate([[0.0], cells.share, [0.0]])
            at = 1 + np.searchsorted(cells.low, mixture.mean[atoms])
            atoms = atoms[share[at] >= STANDS_OUT * np.maximum(share[at - 1], share[at + 1])]
        return atoms

    @property
    def other(self) -> int:
        """The kind of all values that are no heavy ones; -1 where there are none."""
        return len(self._spikes) if len(self._spikes) < len(self.encoder.mixture.std) else -1

    @cached_property
    def kind_of_code(self) -> np.ndarray:
        """Kind (R,) of each code of the encoder; 'missing' is the last one."""
        kinds = np.full(self.encoder.cardinality, self.other)
        kinds[self._spikes] = np.arange(len(self._spikes))
        kinds[-1] = self.view.cardinality - 1
        return kinds.astype(np.uint16)

    @cached_property
    def view(self) -> ColumnView:
        """Of the kinds, as trees see them; in order where each is a value."""
        n = len(self._spikes) + (self.other >= 0)
        missing = float(self.encoder.shares[-1])
        if self.other >= 0:
            return ColumnView(n + 1, False, np.zeros(n + 1), np.zeros(n + 1), missing, None)
        return ordered_view(self.encoder.shares[self._spikes], self.encoder.mixture.mean[self._spikes], missing)

    def scaled(self, codes_M: np.ndarray, beside_M: np.ndarray) -> np.ndarray:
        """Numbers (M,) of encoded rows, NaN where one is missing."""
        middle, half = self._line
        mixture = self.encoder.mixture
        mode_M = np.minimum(codes_M, len(mixture.mean) - 1)
        x_M = mixture.mean[mode_M] + 4 * mixture.std[mode_M] * beside_M.astype(np.float64)
        return np.where(codes_M == self.encoder.cardinality - 1, np.nan, np.clip((x_M - middle) / half, -1, 1))

    def on_grid(self, number_M: np.ndarray, kind_M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes, values beside them and the numbers on the column's grid, each (M,); NaN where one is missing."""
        middle, half = self._line
        mixture, n_spikes = self.encoder.mixture, len(self._spikes)
        x_M = self.encoder.distribution.possible(middle + half * number_M)
        code_M = mixture.interval_mode[np.searchsorted(mixture.boundaries, x_M, side="right")].astype(np.uint16)
        if n_spikes:
            spike_M = self._spikes[np.minimum(kind_M, n_spikes - 1)]
            code_M = np.where(kind_M < n_spikes, spike_M, code_M)
            x_M = np.where(kind_M < n_spikes, mixture.mean[spike_M], x_M)
        scale_M = 4 * mixture.std[code_M]
        beside_M = np.where(scale_M > 0, (x_M - mixture.mean[code_M]) / np.where(scale_M > 0, scale_M, 1), 0)
        missing_M = kind_M == self.view.cardinality - 1
        code_M = np.where(missing_M, self.encoder.cardinality - 1, code_M).astype(np.uint16)
        beside_M = np.where(missing_M, 0, np.clip(beside_M, -1, 1)).astype(np.float32)
        return code_M, beside_M, np.where(missing_M, np.nan, np.clip((x_M - middle) / half, -1, 1))

    def moved(self, number_M: np.ndarray, before_M: np.ndarray) -> np.ndarray:
        """Numbers (M,) of which none comes to lie where the one before it does: such go on to the next possible one."""
        middle, half = self._line
        cells = self.encoder.distribution
        x_M = cells.possible(middle + half * number_M)
        stays = np.flatnonzero(np.abs(x_M - middle - half * before_M) <= 1e-9 * half)
        if not len(stays):
            return number_M
        up = number_M[stays] >= before_M[stays]
        x, cell = x_M[stays], cells.cell_of(x_M[stays])
        sign, is_atom = np.where(up, 1, -1), cells.low[cell] == cells.high[cell]
        beside = np.clip(cell + sign, 0, len(cells.low) - 1)
        x = np.where(is_atom, np.where(up, cells.low[beside], cells.high[beside]), x + sign * cells.unit)
        result = number_M.copy()
        result[stays] = (x - middle) / half
        return result


def ordered_view(share: np.ndarray, middle: np.ndarray, missing: float, *, smooth: bool = False) -> ColumnView:
    """The view of codes that are in order, and one behind them that is apart ('missing').

    Args:
        share, middle: of each code but the last one.
        missing: share of the last one.
        smooth: whether what lies between two codes may be drawn.
    """
    share = np.maximum(share, 1e-12) / np.maximum(share, 1e-12).sum()
    rank = np.cumsum(share) - share / 2
    mean = float(share @ middle)
    deviation = float(np.sqrt(share @ (middle - mean) ** 2)) or 1.0
    value = np.clip((middle - mean) / deviation, -CLIPPED_AT, CLIPPED_AT)
    run = np.append(np.zeros(len(share)), -1).astype(np.int32) if smooth else None
    rank, value = np.append(rank, share @ rank), np.append(value, share @ value)
    return ColumnView(len(share) + 1, True, rank, value, missing, run, size=np.abs(value) if smooth else None)


def cell_edges(x_M: np.ndarray, most: int, rare: int) -> np.ndarray:
    """Ascending edges (B,) between cells of about equal mass, each of them of at least about `rare` rows.

    They are grid points between values, never a value (see `coarse_quantiles`).
    """
    x_M = np.sort(x_M[np.isfinite(x_M)])
    n = int(np.clip(len(x_M) // max(2 * rare, 2), 1, most))
    if n < 2:
        return np.zeros(0)
    return np.unique(coarse_quantiles(x_M, np.arange(1, n) / n, max(rare, 1)))


def cells_of(x_M: np.ndarray, edges_B: np.ndarray) -> np.ndarray:
    """The cell (M,) uint16 of each number; of a missing one (NaN) the code behind the last cell."""
    cells = np.searchsorted(edges_B, x_M, side="right")
    return np.where(np.isnan(x_M), len(edges_B) + 1, cells).astype(np.uint16)


def cells_view(edges_B: np.ndarray) -> ColumnView:
    """The view of such cells."""
    n = len(edges_B) + 1
    middle = np.zeros(1) if n == 1 else np.concatenate([edges_B[:1], (edges_B[1:] + edges_B[:-1]) / 2, edges_B[-1:]])
    return ordered_view(np.full(n, 1 / n), middle, 0.0)
