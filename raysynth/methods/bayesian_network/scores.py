"""Scores of a column given its parents, from contingency tables alone.

Both scores are differences of one function of column sets, score(Y | P) = g(P + Y) - g(P), which makes them equal for
equivalent networks and lets one table serve every column in it:
- BIC (Schwarz 1978): g(S) = sum_cells n ln n - 1/2 ln(N) |S|, since the free parameters |P| (r_Y - 1) = |P + Y| - |P|.
- BDeu (Heckerman, Geiger and Chickering 1995, section 7): g(S) = sum_cells lnGamma(n + a / |S|) - lnGamma(a / |S|) with
  the equivalent sample size a.
|S| is the number of cells of S over the codes that occur in the data (a code that never occurs is no parameter).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from raysynth.errors import ParameterError
from raysynth.methods.bayesian_network.counting import BATCH_CELLS, SetCounts, columns_of

SCORES = ("bic", "bdeu")


class SetScores:
    """g(S), and sum n ln n, for column sets; each computed once from counts.

    Args:
        counts: where tables come from.
        score: 'bic' or 'bdeu'.
        equivalent_sample_size: prior rows of BDeu.
    """

    def __init__(self, counts: SetCounts, score: str = "bic", equivalent_sample_size: float = 10.0) -> None:
        if score not in SCORES:
            raise ParameterError(f"score must be one of {', '.join(SCORES)}; found {score!r}")
        self.counts = counts
        self.score = score
        self.prior_rows = equivalent_sample_size
        self.n_rows = 0.0
        self.seen: np.ndarray = np.ones(len(counts.cardinalities), dtype=np.int64)
        self._n_log_n: dict[int, float] = {}
        self._g: dict[int, float] = {}

    def start(self, masks: Iterable[int]) -> None:
        """First pass: the given sets, and with them the number of rows and of the codes that occur.

        Args:
            masks: column sets that together hold every column.
        """
        masks = list(dict.fromkeys(masks))
        cells = sum(self.counts.cells(m) for m in masks)
        alone = [1 << c for c in range(len(self.seen))]
        tables = self.counts.count(masks if cells <= BATCH_CELLS else alone)
        met: set[int] = set()
        for mask, table in tables.items():
            for axis, c in enumerate(columns_of(mask)):
                if c not in met:
                    codes = table.sum(axis=tuple(a for a in range(table.ndim) if a != axis))
                    self.seen[c], self.n_rows = max(1, np.count_nonzero(codes)), float(codes.sum())
                    met.add(c)
        self._n_log_n[0] = self.n_rows * np.log(max(self.n_rows, 1.0))
        self._g[0] = self._n_log_n[0] - 0.5 * np.log(max(self.n_rows, 1.0)) if self.score == "bic" else 0.0
        if self.score == "bdeu":
            self._g[0] = _log_gamma_sum(np.array([self.n_rows]), self.prior_rows)
        self._add(tables.items() if cells <= BATCH_CELLS else self.counts.visit(masks))

    def require(self, masks: Iterable[int]) -> None:
        """Make the scores of the given sets and of all their subsets known: a pass for each batch of tables."""
        self._add(self.counts.visit(m for m in masks if m not in self._g))

    def knows(self, mask: int) -> bool:
        """True when the set's score needs no further pass."""
        return mask in self._g

    def cells(self, mask: int) -> float:
        """|S|: cells over the codes that occur."""
        return float(np.prod(self.seen[list(columns_of(mask))], dtype=float))

    def family(self, child: int, parents: int) -> float:
        """score(child | parents) in nats; both sets must be known."""
        return self._g[parents | 1 << child] - self._g[parents]

    def log_likelihood(self, child: int, parents: int) -> float:
        """Maximum log-likelihood of the child's column given its parents, in nats; both sets must be known."""
        return self._n_log_n[parents | 1 << child] - self._n_log_n[parents]

    def penalty(self, child: int, parents: int) -> float:
        """BIC's price of the family's free parameters (an approximation of BDeu's), in nats."""
        return 0.5 * np.log(max(self.n_rows, 2.0)) * (self.cells(parents | 1 << child) - self.cells(parents))

    def total(self, parents: Iterable[int]) -> float:
        """Score of a whole network, parents given as a mask for each column."""
        return sum(self.family(child, mask) for child, mask in enumerate(parents))

    def _add(self, tables: Iterable[tuple[int, np.ndarray]]) -> None:
        for mask, table in tables:
            self._add_with_subsets(mask, table)

    def _add_with_subsets(self, mask: int, table: np.ndarray) -> None:
        if mask in self._g:
            return
        seen = table[table > 0]
        self._n_log_n[mask] = float((seen * np.log(seen)).sum())
        cells = self.cells(mask)
        if self.score == "bic":
            self._g[mask] = self._n_log_n[mask] - 0.5 * np.log(max(self.n_rows, 1.0)) * cells
        else:
            self._g[mask] = _log_gamma_sum(seen, self.prior_rows / cells)
        for axis, c in enumerate(columns_of(mask)):
            if table.ndim > 1 and mask ^ 1 << c not in self._g:
                self._add_with_subsets(mask ^ 1 << c, table.sum(axis=axis))


def _log_gamma_sum(counts: np.ndarray, prior: float) -> float:
    from scipy.special import gammaln

    return float((gammaln(counts + prior) - gammaln(prior)).sum())
