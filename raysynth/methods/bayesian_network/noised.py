"""A network learned within a privacy budget: each round picks one more parent for one column and measures a table.

Start: every column by itself, from its noised shares. A round compares each candidate table (a column with one more
parent, and with all, some or none of those that it has) with the same table of rows drawn from the network so far; the
exponential mechanism picks one by the L1 distance less what the noise of measuring it would cost, and discrete
Gaussian noise measures it (the scores of MST and AIM: McKenna, Miklau and Sheldon 2021; McKenna et al. 2022). The new
conditional table lies between the measured counts and those that the network so far expects, cell by cell, as far as
their differences exceed the noise (`denoising.py`); so nothing measured before is thrown away. Parents that are not in
the measured table act as before beside it: no interaction of all of them is added (`with_margin`). Where no edge is
left, further rounds measure tables of the edges that there are again. At the end all measured tables are made to
agree: drawn rows are weighted until every table of theirs is as near to its measurement as noise lets it be, and the
conditionals move as the weights do.

Where a workload names pairs of columns, a round picks among the edges that measure one of them which is not measured
yet, until all are or none can be. Then, where it names targets, every second round picks among the tables of a target
with two columns or more, of new edges or again: what two columns say of a third together adds little to L1 distances,
and much to a prediction. A target of few codes is in every table of its children. All this is seen from what was
picked, so the choice stays the mechanism's.

Sensitivity (one row more or less): a table's counts change in one cell by 1, so each score by at most 1, and each
measured table by 1 in L2 norm; k times as much for a privacy unit of k rows. All else here sees noised values only.

Shape legend: S drawn rows, C columns, Q configurations of parents, R codes, K cells of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from raysynth.dp.mechanisms.counts import chosen, noised_counts
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.methods.bayesian_network.denoising import estimated, shrunk, with_margin
from raysynth.methods.bayesian_network.edge_rules import EdgeRules, reachable
from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.sampler import draw, network_steps

DRAWN_ROWS = 40_000
NOISE_COST = 0.45  # of a cell's expected absolute noise: shrinkage removes more than half of it
AGREEMENT_ROUNDS = 6
FEW_CODES = 4  # of a target that is in every table of its children, which costs these little
CELLS_A_ROW = 8.0  # of the table of a column with its parents, at most; measured are parts of at most one

Count = Callable[[Sequence[tuple[int, ...]]], Mapping[tuple[int, ...], np.ndarray]]


@dataclass(frozen=True)
class Rounds:
    """What is spent: `n` choices of `epsilon` each, and `n` tables with noise of `sigma` rows each.

    `rows_per_unit`: most rows of one privacy unit, by which one unit changes a score.
    """

    n: int
    epsilon: float
    sigma: float
    rows_per_unit: int = 1


@dataclass(frozen=True)
class KnownRows:
    """Columns that are given to whoever draws rows, and what they are like together: no figure of the table's rows.

    Args:
        codes_NC: rows, of which the other columns do not count. columns: which.
    """

    codes_NC: np.ndarray
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """A noised table: axes in the order of `columns`."""

    columns: tuple[int, ...]
    counts: np.ndarray
    sigma: float


@dataclass(frozen=True)
class Candidate:
    """What a round may measure, and the parents that the child has then.

    Args:
        child: whose table changes.
        parents: of the child: those that it has, and perhaps one more, the last.
        measured: those of them whose table with the child is measured, in their order.
    """

    child: int
    parents: tuple[int, ...]
    measured: tuple[int, ...]

    @property
    def columns(self) -> tuple[int, ...]:
        """Of the measured table: parents, the child last."""
        return (*self.measured, self.child)


@dataclass
class NoisedSearch:
    """The state of one search; see the module.

    Args:
        count: exact contingency tables of sets of columns: private.
        shares: noised share of rows of each code of each column.
        share_sigmas: standard deviation of the counts of each, in rows.
        n_rows: noised number of rows.
        rounds: the budget, charged before.
        rules: allowed edges, most parents, most cells.
        noise: of choices and measurements.
        rng: of drawn rows, which are no release.
        first: pairs of columns (the smaller first) that are measured before others.
        targets: columns whose larger tables have every second round after these.
        known: rows with codes of columns that are never drawn, released elsewhere; None: all columns are drawn.
        scores: of the codes of ordered columns; None: of other columns, or no column is ordered.
    """

    count: Count
    shares: Sequence[np.ndarray]
    share_sigmas: Sequence[float]
    n_rows: float
    rounds: Rounds
    rules: EdgeRules
    noise: NoiseSource
    rng: np.random.Generator
    first: frozenset[tuple[int, int]] = frozenset()
    targets: frozenset[int] = frozenset()
    known: KnownRows | None = None
    scores: Sequence[np.ndarray | None] | None = None
    parents: list[tuple[int, ...]] = field(init=False)
    tables: list[np.ndarray] = field(init=False)
    measured: list[Measured] = field(init=False, default_factory=list)
    _exact: dict[tuple[int, ...], np.ndarray] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.parents = [()] * len(self.shares)
        self.tables = [s[None, :] / s.sum() for s in self.shares]

    @property
    def network(self) -> Network:
        """The network so far."""
        return Network(tuple(len(s) for s in self.shares), tuple(self.parents), tuple(self.tables), self.n_rows)

    @property
    def _drawn(self) -> list[int]:
        known = () if self.known is None else self.known.columns
        return [c for c in range(len(self.shares)) if c not in known]

    def run(self) -> Network:
        """All rounds, then agreement."""
        drawn_SC = self._draw()
        for turn in range(self.rounds.n):
            candidates = self._for_workload(self._candidates(), turn)
            if not candidates:
                break
            scores, sensitivity = self._scores(candidates, drawn_SC), self.rounds.rows_per_unit
            picked = candidates[chosen(scores, self.rounds.epsilon, self.noise, sensitivity=sensitivity)]
            self._measure(picked, drawn_SC)
            drawn_SC = self._draw()
        self._agree(drawn_SC)
        return self.network

    def _draw(self) -> np.ndarray:
        """Rows of the network so far, int32 by columns, which is what the many counts read fastest."""
        network, known_NC = self.network, None
        if self.known is not None:
            known_NC = self.known.codes_NC[self.rng.integers(0, len(self.known.codes_NC), DRAWN_ROWS)]
        steps = [s for s in network_steps(network) if s.column in self._drawn]
        return np.asfortranarray(draw(steps, DRAWN_ROWS, len(network), self.rng, known_NC), dtype=np.int32)

    def _candidates(self) -> list[Candidate]:
        """Tables for new edges that keep the graph acyclic, and for the edges that there are."""
        edge_CC = np.zeros((len(self.shares), len(self.shares)), dtype=bool)
        for child, own in enumerate(self.parents):
            edge_CC[list(own), child] = True
        allowed_CC = self.rules.allowed_CC & ~edge_CC & ~reachable(edge_CC).T
        most = min(float(self.rules.max_cells), CELLS_A_ROW * self.n_rows)
        new = [
            (int(c), (*self.parents[c], int(p)))
            for p, c in np.argwhere(allowed_CC)
            if p != c and len(self.parents[c]) < self.rules.max_parents and self._cells(c, p, *self.parents[c]) <= most
        ]
        parts = [(c, own, (*p, own[-1])) for c, own in new for p in _subsets(own[:-1])]
        parts += [(c, own, p) for c, own in enumerate(self.parents) for p in _subsets(own) if p]
        few = {t for t in self.targets if len(self.shares[t]) <= FEW_CODES}
        return [
            Candidate(child, own, part)
            for child, own, part in parts
            if self._cells(child, *part) <= self.n_rows  # a cell for each row holds nothing but noise
            and few & {*own} <= {*part}
        ]

    def _cells(self, *columns: int) -> float:
        return float(np.prod([len(self.shares[c]) for c in columns], dtype=float))

    def _for_workload(self, candidates: list[Candidate], turn: int) -> list[Candidate]:
        """Those of this turn: see the module."""
        tables = [set(m.columns) for m in self.measured]
        waiting = {p for p in self.first if not any(p[0] in t and p[1] in t for t in tables)}
        new = [c for c in candidates if c.parents != self.parents[c.child]]
        pairs = [(min(c.child, c.parents[-1]), max(c.child, c.parents[-1])) for c in new]
        if first := [c for c, pair in zip(new, pairs, strict=True) if pair in waiting]:
            return first
        if turn % 2 and (own := [c for c in candidates if len(c.columns) > 2 and self.targets & {*c.columns}]):
            return own
        return new or candidates

    def _scores(self, candidates: Sequence[Candidate], drawn_SC: np.ndarray) -> np.ndarray:
        keys = [tuple(sorted(c.columns)) for c in candidates]
        if missing := [k for k in dict.fromkeys(keys) if k not in self._exact]:
            self._exact.update(self.count(missing))
        expected_noise = NOISE_COST * np.sqrt(2 / np.pi) * self.rounds.sigma
        known: dict[tuple[int, ...], float] = {}
        for key in dict.fromkeys(keys):
            exact = self._exact[key]
            model = self._expected(key, drawn_SC)
            known[key] = float(np.abs(exact - model).sum()) - expected_noise * exact.size
        return np.array([known[k] for k in keys])

    def _expected(self, columns: Sequence[int], drawn_SC: np.ndarray) -> np.ndarray:
        """Rows in each cell of a table, as the network so far has it."""
        shape = [len(self.shares[c]) for c in columns]
        cells = np.bincount(_cell_index(drawn_SC, columns, shape), minlength=int(np.prod(shape)))
        return cells.reshape(shape) * (self.n_rows / len(drawn_SC))

    def _measure(self, picked: Candidate, drawn_SC: np.ndarray) -> None:
        """Measure a table, and put the child's new conditional table in place."""
        child, parents = picked.child, picked.parents
        key = tuple(sorted(picked.columns))
        exact = self._exact[key].transpose([key.index(c) for c in picked.columns])
        counts = noised_counts(exact, self.rounds.sigma, self.noise)
        self.measured.append(Measured(picked.columns, counts, self.rounds.sigma))
        shape = [len(self.shares[c]) for c in (*parents, child)]
        before = self.tables[child].reshape([len(self.shares[c]) for c in self.parents[child]] + shape[-1:])
        if len(parents) > len(self.parents[child]):
            before = np.repeat(before[..., None, :], shape[-2], axis=-2)
        expected = self._expected(parents, drawn_SC)[..., None] * before
        absent = tuple(i for i, p in enumerate(parents) if p not in picked.measured)
        margin = expected.sum(axis=absent)
        of = (None, None) if self.scores is None else (self.scores[picked.measured[-1]], self.scores[child])
        shape_OPR = (-1, *margin.shape[-2:])
        found = estimated(counts.reshape(shape_OPR), margin.reshape(shape_OPR), self.rounds.sigma, of)
        found = found.reshape(margin.shape)
        if absent:
            found = with_margin(expected, np.expand_dims(found, absent), absent)
        self.parents[child] = parents
        self.tables[child] = _conditional(found.reshape(-1, shape[-1]), before.reshape(-1, shape[-1]))

    def _agree(self, drawn_SC: np.ndarray) -> None:
        """Weight the drawn rows until their tables agree with all measurements, and move each conditional likewise.

        Each probability is multiplied by what the weights did to its cell, so that the chance of the draw cancels.
        """
        own = [(c, self.n_rows * self.shares[c]) for c in self._drawn]
        one_way = [Measured((c,), rows, max(self.share_sigmas[c], 1.0)) for c, rows in own]
        weights_S = agreeing_weights(drawn_SC, [*one_way, *self.measured], [len(s) for s in self.shares], self.n_rows)
        for child in self._drawn:
            columns = (*self.parents[child], child)
            shape = [len(self.shares[c]) for c in columns]
            index, size = _cell_index(drawn_SC, columns, shape), int(np.prod(shape))
            before = np.bincount(index, minlength=size) * (self.n_rows / len(drawn_SC))
            after = np.bincount(index, weights=weights_S, minlength=size)
            moved_QR = self.tables[child] * ((after + 1) / (before + 1)).reshape(-1, shape[-1])
            self.tables[child] = _conditional(moved_QR, self.tables[child])


def _subsets(columns: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [part for size in range(len(columns) + 1) for part in combinations(columns, size)]


def agreeing_weights(
    drawn_SC: np.ndarray, measured: Sequence[Measured], cardinalities: Sequence[int], n_rows: float
) -> np.ndarray:
    """Weights (S,) of drawn rows, of sum `n_rows`, whose tables are near all measurements at once.

    Multiplicative steps: each table in turn multiplies the weights of a cell's rows by how far its count should move
    there: to the estimate between its own measured and its present count that `shrunk` gives.
    """
    weights_S = np.full(len(drawn_SC), n_rows / len(drawn_SC))
    index = [_cell_index(drawn_SC, m.columns, [cardinalities[c] for c in m.columns]) for m in measured]
    for _ in range(AGREEMENT_ROUNDS):
        for m, cell_S in zip(measured, index, strict=True):
            present = np.bincount(cell_S, weights=weights_S, minlength=m.counts.size)
            target = shrunk(m.counts.reshape(-1), present, m.sigma)
            factor = np.divide(target, present, out=np.ones_like(target), where=present > 0)
            weights_S = weights_S * np.clip(factor, 0.2, 5.0)[cell_S]
            weights_S *= n_rows / weights_S.sum()
    return weights_S


def _conditional(cells_QR: np.ndarray, fallback_QR: np.ndarray) -> np.ndarray:
    """p(code | configuration) of counts; the fallback where a configuration has none."""
    total = cells_QR.sum(axis=1, keepdims=True)
    return np.where(total > 1e-9, cells_QR / np.maximum(total, 1e-9), fallback_QR)


def _cell_index(codes_SC: np.ndarray, columns: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    index = codes_SC[:, columns[0]].copy()
    for column, size in zip(columns[1:], shape[1:], strict=True):
        index *= size
        index += codes_SC[:, column]
    return index
