"""What adding a parent gains: exact where its family is counted, else estimated and noted for the next pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from raysynth.methods.bayesian_network.counting import columns_of
from raysynth.methods.bayesian_network.edge_rules import EdgeRules
from raysynth.methods.bayesian_network.scores import SetScores

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
