"""Scores of a column given its parents, from contingency tables alone.

Both scores are differences of one function of column sets, score(Y | P) = g(P + Y) - g(P), which makes them equal for
equivalent networks and lets one table serve every column in it:
- BIC (Schwarz 1978): g(S) = sum_cells n ln n - 1/2 ln(N) |S|, since the free parameters |P| (r_Y - 1) = |P + Y| - |P|.
- BDeu (Heckerman, Geiger and Chickering 1995, section 7): g(S) = sum_cells lnGamma(n + a / |S|) - lnGamma(a / |S|) with
  the equivalent sample size a.
|S| is the number of cells of S over the codes that occur in the data (a code that never occurs is no parameter).

Where a column is the same in all rows of a person who has several, its rows are no evidence of their own: counts of its
families are divided by the design effect (Kish 1965, section 8.2; Rao and Scott 1984 for tables of counts), and the
scores are no longer those of equivalent networks.

What adding a parent gains is exact where its family is counted, else estimated and noted for the next pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from raysynth.arguments import check_one_of
from raysynth.methods.bayesian_network.counting import BATCH_CELLS, SetCounts, columns_of
from raysynth.methods.bayesian_network.edge_rules import EdgeRules

SCORES = ("bic", "bdeu")


class SetScores:
    """g(S), and sum n ln n, for column sets; each computed once from counts.

    Args:
        counts: where tables come from.
        score: 'bic' or 'bdeu'.
        equivalent_sample_size: prior rows of BDeu.
        repeated: columns that are the same in all rows of each person.
        design_effect: by which the rows of these are divided, at least 1.
    """

    def __init__(
        self,
        counts: SetCounts,
        score: str = "bic",
        equivalent_sample_size: float = 10.0,
        repeated: Iterable[int] = (),
        design_effect: float = 1.0,
    ) -> None:
        check_one_of("score", score, SCORES)
        self.counts = counts
        self.score = score
        self.prior_rows = equivalent_sample_size
        self.n_rows = 0.0
        self.seen: np.ndarray = np.ones(len(counts.cardinalities), dtype=np.int64)
        self._effects = (1.0,) if design_effect == 1.0 else (1.0, design_effect)
        self._repeated = frozenset(repeated) if design_effect > 1.0 else frozenset()
        self._n_log_n: dict[int, float] = {}
        self._g: dict[int, tuple[float, ...]] = {}  # for each of the effects

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
        self._g[0] = self._scored(np.array([max(self.n_rows, 1.0)]), 1.0)
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
        at = int(child in self._repeated)
        return self._g[parents | 1 << child][at] - self._g[parents][at]

    def log_likelihood(self, child: int, parents: int, rows_of: int | None = None) -> float:
        """Maximum log-likelihood of the child's column given its parents, in nats; both sets must be known.

        `rows_of`: the column whose rows count, by its design effect; None: the child.
        """
        effect = self._effect(child if rows_of is None else rows_of)
        return (self._n_log_n[parents | 1 << child] - self._n_log_n[parents]) / effect

    def penalty(self, child: int, parents: int) -> float:
        """BIC's price of the family's free parameters (an approximation of BDeu's), in nats."""
        rows = max(self.n_rows / self._effect(child), 2.0)
        return 0.5 * np.log(rows) * (self.cells(parents | 1 << child) - self.cells(parents))

    def _effect(self, child: int) -> float:
        return self._effects[int(child in self._repeated)]

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
        self._g[mask] = self._scored(seen, self.cells(mask))
        for axis, c in enumerate(columns_of(mask)):
            if table.ndim > 1 and mask ^ 1 << c not in self._g:
                self._add_with_subsets(mask ^ 1 << c, table.sum(axis=axis))

    def _scored(self, seen: np.ndarray, cells: float) -> tuple[float, ...]:
        """g from the counts above 0, with the rows divided by each of the effects."""
        if self.score == "bdeu":
            return tuple(_log_gamma_sum(seen / e, self.prior_rows / cells) for e in self._effects)
        n_log_n, rows = float((seen * np.log(seen)).sum()), float(seen.sum())
        return tuple(
            n_log_n / e - rows * np.log(e) / e - 0.5 * np.log(max(self.n_rows / e, 1.0)) * cells for e in self._effects
        )


def _log_gamma_sum(counts: np.ndarray, prior: float) -> float:
    from scipy.special import gammaln

    return float((gammaln(counts + prior) - gammaln(prior)).sum())


MAX_SETS_PER_PASS = 6000


@dataclass
class Families:
    """Gains of adding a parent to a column's parents.

    A family is not worth a count when it cannot pay: adding X to the parents P of Y gains at most the rows times the
    entropy H(Y | P) or H(X | any part of P), less the price of its parameters (BIC; BDeu has no such bound).

    Args:
        scores: scores of column sets; at least all pairs are known.
        rules: the limit of a table's size.
        frozen: True: whatever is not counted is not considered.
        dropped: (child, parents, reason) by column set: candidates whose table would be too large.
    """

    scores: SetScores
    rules: EdgeRules
    frozen: bool = False
    dropped: dict[int, tuple[int, tuple[int, ...], str]] = field(default_factory=dict)
    _wanted: dict[int, float] = field(default_factory=dict)
    _gains: dict[tuple[int, int, int], float] = field(default_factory=dict)

    def gain(self, child: int, parents: int, new: int) -> float:
        """Score gained by adding the parent `new`, in nats; -inf where it must not or need not be tried."""
        key = (child, parents, new)
        if key not in self._gains:
            gain, exact = self._look_up(child, parents, new)
            if not exact:
                return gain
            self._gains[key] = gain
        return self._gains[key]

    @property
    def n_wanted(self) -> int:
        """Families met that are not counted yet."""
        return len(self._wanted)

    def take_wanted(self) -> list[int]:
        """Column sets to count next, the most promising first; forgets them."""
        ranked = sorted(self._wanted, key=lambda m: -self._wanted[m])
        if len(ranked) > MAX_SETS_PER_PASS:
            ranked = [m for m in ranked if self._wanted[m] > 0][:MAX_SETS_PER_PASS]
        self._wanted.clear()
        return ranked

    def _look_up(self, child: int, parents: int, new: int) -> tuple[float, bool]:
        scores, more = self.scores, parents | 1 << new
        whole = more | 1 << child
        if scores.knows(whole):
            return scores.family(child, more) - scores.family(child, parents), True
        if scores.counts.cells(whole) > self.rules.max_cells:
            self._drop(child, more, whole)
            return -np.inf, True
        price = scores.penalty(child, more) - scores.penalty(child, parents)
        if scores.score == "bic" and self._limit(child, parents, new) <= price:
            return -np.inf, scores.knows(parents | 1 << child)
        if self.frozen:
            return -np.inf, False
        estimate = self._information(child, parents, new) - price
        self._wanted[whole] = max(estimate, self._wanted.get(whole, -np.inf))
        return estimate, False

    def _information(self, child: int, parents: int, new: int) -> float:
        """Rows times the conditional mutual information of child and new parent; the least over subsets if unknown."""
        scores, more = self.scores, parents | 1 << new
        if scores.knows(more | 1 << child):
            return scores.log_likelihood(child, more) - scores.log_likelihood(child, parents)
        return min(self._information(child, parents ^ 1 << p, new) for p in columns_of(parents))

    def _limit(self, child: int, parents: int, new: int) -> float:
        """Upper bound of that information: what is left to explain of the child, and of the new parent."""
        limit = -self.scores.log_likelihood(child, parents) if self.scores.knows(parents | 1 << child) else np.inf
        for p in columns_of(parents):
            part = parents ^ 1 << p
            if self.scores.knows(part | 1 << new):
                limit = min(limit, -self.scores.log_likelihood(new, part, child))
        return limit

    def _drop(self, child: int, parents: int, whole: int) -> None:
        if whole not in self.dropped:
            reason = f"a table of {self.scores.counts.cells(whole):,} cells, more than {self.rules.max_cells:,}"
            self.dropped[whole] = (child, columns_of(parents), reason)
