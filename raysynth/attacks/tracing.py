"""Membership by margins: a row pulls the shares of its own training table towards itself, and a table keeps shares.

In a table of n rows each row makes up 1/n of the share of each of its cells (a category, or one of equal-sized groups
of a number). That is next to nothing in one column, and adds up over columns (Homer et al. 2008; Sankararaman et al.
2009, "Genomic privacy and limits of individual detection in a pool"; Dwork et al. 2015, "Robust traceability from trace
amounts"). The attacker needs the published shares and a reference sample, and nothing that is near to the target.

What this gives where the synthetic shares are exactly those of the n training rows, m reference rows: with indicators z
of the cells, their covariance S and their shares p (a diagonal P), the log-likelihood ratio is nearly linear, z'P^-1 w
with w the gap between both tables' shares. A member lies above others by D / n on average, D = sum of (cells - 1); the
variance over rows is (1/n + 1/m) F, F = trace (P^-1 S P^-1 S), which is D for independent columns and grows with every
association (phi squared of each pair). So AUC = Phi(D / sqrt(F) sqrt(m / (2 n (n + m)))): `auc_of_exact_margins`. Any
table that keeps its margins has that much; noise of sampled shares makes it less, and what is found beyond it comes
from more than the margins.

Shape legend: N targets, R reference rows, S synthetic rows, B pairs of reference rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

import numpy as np

from raysynth.attacks.attack import MembershipAttack, Outcome, Records, Scene, ThreatModel, View
from raysynth.comparison.rows import Rows

GROUPS = 64  # of each column of numbers, of equal size among the reference rows
PAIR_GROUPS = 16  # groups, or most frequent categories, of each side of a pair of columns
_FEWEST = 5  # reference rows of a cell that theory counts; rarer ones are one cell together
_PAIRS_OF_ROWS = 100_000  # that estimate how much columns go together


class TracingAttack(MembershipAttack):
    """Sum over columns of the log-likelihood ratio of a row's cell under synthetic and reference shares.

    Args:
        groups: of each column of numbers; missing values are one more.
        pairs: also the ratios of all pairs of columns, divided by the number of columns. Finds more in tables that
            keep joint shares, such as resampled rows; takes time by the square of the columns.
    """

    name: ClassVar[str] = "tracing"
    title: ClassVar[str] = "Tracing by margins"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)
    in_one_go: ClassVar[bool] = True

    def __init__(self, groups: int = GROUPS, pairs: bool = False) -> None:
        self.groups = groups
        self.pairs = pairs

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """Scores of members and others, beside the AUC that exact margins alone would give."""
        outcome = super().run(scene, rng)
        reference, n = scene.view.reference, scene.view.n_training
        assert reference is not None
        columns = [_Column.of(reference.rows, j, self.groups).codes(reference.rows) for j in _columns(reference.rows)]
        return replace(outcome, by_margins=auc_of_exact_margins(columns, n))

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Sum of the log ratios of each target's cells (N,)."""
        assert view.reference is not None
        tables = (targets.rows, view.synthetic.rows, view.reference.rows)
        score_N = np.zeros(len(targets))
        for cells in _cells(tables, self.groups):
            score_N += _log_ratio(*cells)
        if self.pairs:
            coarse = [_frequent(cells) for cells in _cells(tables, PAIR_GROUPS)]
            for first, second in combinations(coarse, 2):
                joint = [a * (PAIR_GROUPS + 1) + b for a, b in zip(first, second, strict=True)]
                score_N += _log_ratio(*joint) / len(coarse)
        return score_N


def auc_of_exact_margins(columns: Sequence[np.ndarray], n_training: int) -> float:
    """AUC of tracing by a table whose shares are exactly those of its training rows; see the module.

    Args:
        columns: the reference rows' cells, (R,) each. Cells of fewer than five rows count as one: theory is that of
            sums of many rows, and a rare value that is published is more than a margin.
        n_training: rows that the synthesizer was fitted to, each of a person of its own.
    """
    n_reference = len(columns[0])
    if min(n_training, n_reference) < 2:
        return math.nan
    rng = np.random.default_rng(0)  # of an integral over pairs of rows: no result of an attack depends on it
    first_B = rng.integers(n_reference, size=_PAIRS_OF_ROWS)
    second_B = (first_B + rng.integers(1, n_reference, size=_PAIRS_OF_ROWS)) % n_reference
    kernel_B, cells = np.zeros(_PAIRS_OF_ROWS), 0
    for codes_R in columns:
        counts = np.bincount(codes_R)
        rare = counts < _FEWEST
        pooled_R = np.where(rare[codes_R], 0, 1 + codes_R)
        share = np.bincount(pooled_R) / n_reference
        cells += int((share > 0).sum()) - 1
        kernel_B += np.where(pooled_R[first_B] == pooled_R[second_B], 1 / share[pooled_R[first_B]], 0.0) - 1
    spread = float((kernel_B**2).mean())  # F: the trace is the mean squared product of two rows
    if spread <= 0:
        return 0.5
    distance = cells / math.sqrt(spread)
    distance *= math.sqrt(n_reference / (2 * n_training * (n_training + n_reference)))
    return 0.5 * (1 + math.erf(distance / math.sqrt(2)))


@dataclass(frozen=True)
class _Column:
    """One column in cells: groups of numbers by their upper edges, or the codes of categories (`edges` None)."""

    place: int
    edges: np.ndarray | None

    @classmethod
    def of(cls, reference: Rows, number: int, groups: int) -> _Column:
        """Column `number` of all, numbers first, cut by the reference rows."""
        n_numbers = reference.numbers_NV.shape[1]
        if number >= n_numbers:
            return cls(number - n_numbers, None)
        known = reference.numbers_NV[:, number]
        known = known[~np.isnan(known)]
        inner = np.linspace(0, 1, groups + 1)[1:-1]
        return cls(number, np.unique(np.quantile(known, inner)) if len(known) else np.zeros(0))

    def codes(self, rows: Rows) -> np.ndarray:
        """Cell of each row (N,), from 0; missing numbers are the last."""
        if self.edges is None:
            return rows.codes_NC[:, self.place].astype(np.int64)
        values = rows.numbers_NV[:, self.place]
        return np.where(np.isnan(values), len(self.edges) + 1, np.searchsorted(self.edges, values, "right"))


def _columns(rows: Rows) -> range:
    return range(len(rows.space.names))


def _cells(tables: Sequence[Rows], groups: int) -> Iterator[list[np.ndarray]]:
    """Of each column the cells of targets, synthetic and reference rows, cut by the last of these tables."""
    for number in _columns(tables[-1]):
        column = _Column.of(tables[-1], number, groups)
        yield [column.codes(rows) for rows in tables]


def _frequent(cells: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same cells, but those that are not the most frequent of the reference are one."""
    counts = np.bincount(cells[-1], minlength=max(int(c.max(initial=0)) for c in cells) + 1)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return [np.minimum(rank, PAIR_GROUPS)[c] for c in cells]


def _log_ratio(target_N: np.ndarray, synthetic_S: np.ndarray, reference_R: np.ndarray) -> np.ndarray:
    """Log of synthetic over reference share of each target's cell (N,), one row added to each cell of both."""
    size = max(int(c.max(initial=0)) for c in (target_N, synthetic_S, reference_R)) + 1
    logs = []
    for cells in (synthetic_S, reference_R):
        counts = np.bincount(cells, minlength=size) + 1.0
        logs.append(np.log(counts / counts.sum()))
    ratio: np.ndarray = (logs[0] - logs[1])[target_N]
    return ratio
