"""Rows under construction by the any-order sampler: rows that are equal so far share one context.

After a few columns most of many rows are still equal to one another (all of them before the first column), and equal
rows have equal conditionals. So the sums of embeddings, and whatever a network makes of them, are kept once for each
distinct prefix, until most rows have one of their own.

Conditions on codes say in which order columns are drawn, and what is drawn again from among candidates.

Shape legend: N rows, M distinct prefixes or candidates, H width of a context, V codes of one column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysynth.errors import ConditionError

SHARED = 0.8  # prefixes for each row above which sharing costs more than it saves
CELLS_PER_ROW = 16  # (prefix, code) pairs for each row up to which they are counted in a table, not sorted
BELOW_ONE = 1 - 1e-6  # keeps u * total below the total after rounding
SLICE_ROWS = 2048  # rows that go through the network at once: what they need fits in the processor's cache


@dataclass
class Context:
    """Running sums (N, H) of the codes known so far, and how many they are: one number, or one for each row (N, 1)."""

    sum_NH: Tensor
    count: int | Tensor

    def add(self, embedding_VH: Tensor, codes_N: Tensor) -> None:
        """One more column is known for all rows."""
        self.sum_NH.add_(torch.index_select(embedding_VH, 0, codes_N))
        self.count = self.count + 1

    def scale(self) -> float | Tensor:
        """1 / sqrt(known columns), so that sums of any number of vectors have one scale."""
        if isinstance(self.count, Tensor):
            return self.count.clamp(min=1).rsqrt()
        return max(self.count, 1) ** -0.5

    def part(self, rows: slice) -> Context:
        """Some of the rows; the sums are not copied."""
        return Context(self.sum_NH[rows], self.count[rows] if isinstance(self.count, Tensor) else self.count)


@dataclass
class Prefixes:
    """The distinct prefixes of some rows.

    Args:
        context: of each prefix, (M, H).
        of_row_N: index of each row's prefix; None: row i has prefix i.
        rows: N.
    """

    context: Context
    of_row_N: Tensor | None
    rows: int

    @classmethod
    def empty(cls, rows: int, width: int) -> Prefixes:
        """No column is known yet: one prefix for all rows."""
        return cls(Context(torch.zeros(1, width), 0), torch.zeros(rows, dtype=torch.int64), rows)

    def extend(self, embedding_VH: Tensor, codes_N: Tensor) -> None:
        """One more column is known; rows that have become different get prefixes of their own."""
        if self.of_row_N is None:
            self.context.add(embedding_VH, codes_N)
            return
        codes = len(embedding_VH)
        pair_N = self.of_row_N * codes + codes_N
        if len(self.context.sum_NH) * codes <= CELLS_PER_ROW * self.rows:
            pair_M, of_row_N = _distinct(pair_N, len(self.context.sum_NH) * codes)
        else:
            found, inverse = np.unique(pair_N.numpy(), return_inverse=True)
            pair_M, of_row_N = torch.from_numpy(found), torch.from_numpy(inverse)
        if len(pair_M) > SHARED * self.rows:
            pair_M, of_row_N = pair_N, None
        sum_MH = torch.index_select(self.context.sum_NH, 0, pair_M // codes)
        self.context, self.of_row_N = Context(sum_MH, self.context.count), of_row_N
        self.context.add(embedding_VH, pair_M % codes)

    def part(self, rows: slice) -> Prefixes:
        """Those of some of the rows, for rows that go on by themselves: extending them leaves these as they are."""
        if self.of_row_N is None:
            context = self.context.part(rows)
            return Prefixes(Context(context.sum_NH.clone(), context.count), None, len(context.sum_NH))
        prefix_M, of_row_N = torch.unique(self.of_row_N[rows], return_inverse=True)
        return Prefixes(Context(self.context.sum_NH[prefix_M], self.context.count), of_row_N, len(of_row_N))

    def spread(self, of_prefix: Tensor) -> Tensor:
        """What is known for each prefix, (M, ...), for each row, (N, ...)."""
        return of_prefix if self.of_row_N is None else torch.index_select(of_prefix, 0, self.of_row_N)


def slices(n: int, size: int = SLICE_ROWS) -> Iterator[slice]:
    """0 .. n - 1 in slices."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))


def _distinct(pair_N: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The distinct values (M,), ascending, and for each value its place among them (N,); values are below `cells`."""
    seen = torch.zeros(cells, dtype=torch.bool)
    seen[pair_N] = True
    place = seen.cumsum(0) - 1
    return seen.nonzero().squeeze(1), place[pair_N]


def placed(cumulative_NV: Tensor, uniform_N: Tensor) -> tuple[Tensor, Tensor]:
    """A code (N,) for each row by its cumulated probabilities, and their sum (N,); where that is 0, code 0."""
    mass_N1 = cumulative_NV[:, -1:]
    place_N1 = uniform_N[:, None] * (mass_N1 * BELOW_ONE)
    codes_N = torch.searchsorted(cumulative_NV, place_N1, right=True).squeeze(1)
    return codes_N.masked_fill_(codes_N >= cumulative_NV.shape[1], 0), mass_N1.squeeze(1)


def columns_first(rows: np.ndarray) -> Tensor:
    """Cells (N, C) as a tensor (C, N)."""
    dtype = np.bool_ if rows.dtype == np.bool_ else np.int64
    return torch.from_numpy(np.ascontiguousarray(rows.T.astype(dtype)))


@dataclass(frozen=True)
class Conditions:
    """Weights of the conditioned columns in the order in which they are drawn.

    Columns that allow one code come first (their normaliser is then the same for every row), then the others, the most
    restrictive first.
    """

    weights: dict[int, Tensor]
    needs_candidates: bool

    @classmethod
    def of(
        cls, weights: Mapping[int, np.ndarray], starts: np.ndarray, possible: np.ndarray, bias: np.ndarray
    ) -> Conditions:
        """Conditions from the sampling layer's weights.

        Args:
            weights: for a column, P(condition | code).
            starts: first of each column's codes among all codes.
            possible, bias: of all codes: whether a row had it, and its logit before any column is known.

        Raises:
            ConditionError: a column allows no code that a row had.
        """
        allowed: dict[int, np.ndarray] = {}
        several: dict[int, np.ndarray] = {}
        for c, weight in weights.items():
            own = np.where(possible[starts[c] : starts[c + 1]], np.asarray(weight, float), 0.0)
            if not own.any():
                raise impossible()
            if not (np.asarray(weight) == 1).all():
                (several if np.count_nonzero(own) > 1 else allowed)[c] = own
        prior = {c: np.exp(bias[starts[c] : starts[c + 1]]) for c in several}
        share = {c: float(prior[c] @ several[c] / prior[c].sum()) for c in several}
        allowed.update({c: several[c] for c in sorted(several, key=lambda c: (share[c], c))})
        return cls({c: torch.tensor(w, dtype=torch.float32) for c, w in allowed.items()}, len(several) > 1)


@dataclass(frozen=True)
class Candidates:
    """Draws of the conditioned columns, and the logarithm of each one's importance weight (-inf: impossible)."""

    codes: dict[int, Tensor]
    weight_M: Tensor

    @property
    def effective(self) -> float:
        """Number of equally weighted draws that they are worth (Kish): (sum w)^2 / sum w^2."""
        w = _scaled(self.weight_M)
        return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0

    def joined(self, other: Candidates) -> Candidates:
        """Both, one after the other."""
        return Candidates(
            {c: torch.cat([own, other.codes[c]]) for c, own in self.codes.items()},
            torch.cat([self.weight_M, other.weight_M]),
        )


def resampled(weight_M: Tensor, n: int, rng: np.random.Generator) -> Tensor:
    """n indices drawn by importance weight with the least spread (systematic resampling), in random order."""
    w = _scaled(weight_M).double()
    edges = w.cumsum(0)
    place = (torch.arange(n, dtype=torch.float64) + float(rng.random())) / n * (float(edges[-1]) * (1 - 1e-12))
    return torch.searchsorted(edges, place, right=True).clamp(max=len(w) - 1)[torch.from_numpy(rng.permutation(n))]


def _scaled(weight_M: Tensor) -> Tensor:
    """Weights from their logarithms, the largest 1; all 0 where none is finite."""
    top = weight_M.max()
    return (weight_M - top).exp() if bool(top.isfinite()) else torch.zeros_like(weight_M)


def impossible() -> ConditionError:
    """The error for conditions that no row satisfies under the model."""
    return ConditionError("under the model no row satisfies the conditions; widen them")
