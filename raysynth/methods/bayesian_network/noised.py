"""A network learned within a privacy budget: each round picks one more parent for one column and measures that table.

Start: every column by itself, from its noised shares. A round compares each candidate table (a column with its parents
and one more) with the same table of rows drawn from the network so far; the exponential mechanism picks one by the L1
distance less what the noise of measuring it would cost, and discrete Gaussian noise measures it (the scores of MST and
AIM: McKenna, Miklau and Sheldon 2021; McKenna et al. 2022). The new conditional table lies between the measured counts
and those that the network so far expects, cell by cell, as far as their differences exceed the noise (below);
so nothing measured before is thrown away. At the end all measured tables are made to agree: drawn rows are weighted
until every table of theirs is as near to its measurement as noise lets it be, and the conditionals move as the weights
do.

Where a workload names pairs of columns, a round picks among the edges that measure one of them which is not measured
yet, until all are or none can be; which are is seen from what was picked, so the choice stays the mechanism's.

Sensitivity (one row more or less): a table's counts change in one cell by 1, so each score by at most 1, and each
measured table by 1 in L2 norm; k times as much for a privacy unit of k rows. All else here sees noised values only.

Shape legend: S drawn rows, C columns, Q configurations of parents, R codes, K cells of a table.

What a noised table tells beside what was expected of it is an empirical-Bayes estimate of its counts. Prior: a cell has
r times the rows that were expected, r drawn from a gamma distribution of mean 1 (a Poisson-gamma table, as behind
Dirichlet smoothing) whose shape maximises the likelihood of the noised table, sharpened by a few steps of the
nonparametric maximum likelihood (Kiefer and Wolfowitz 1956; Koenker and Mizera 2014). Where two columns settle each
other most cells are empty: counts cut off at zero keep half of the noise of each, and the relation is lost in it; this
prior has most of its mass at zero then.

Between two ordered columns one number says most: if the likelihood prefers it, the expected table is tilted first as a
Gaussian copula is, by exp(theta * score * score) with the margins held (a log-linear model of association; Goodman
1979), with theta from the noised sum of the products of scores, in which the noise of single cells cancels.

All of it is post-processing of released counts. Shapes: O configurations of the other parents, P codes of the new
parent, R codes of the child, K cells, G nodes of r.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy.special import gammainc, ndtri

from raysynth.dp.mechanisms.counts import chosen, noised_counts
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.methods.bayesian_network.edge_rules import EdgeRules, reachable
from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.sampler import draw, network_steps

DRAWN_ROWS = 40_000
NOISE_COST = 0.45  # of a cell's expected absolute noise: shrinkage removes more than half of it
AGREEMENT_ROUNDS = 6

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
        for _ in range(self.rounds.n):
            candidates = self._for_workload(self._candidates())
            if not candidates:
                break
            scores, sensitivity = self._scores(candidates, drawn_SC), self.rounds.rows_per_unit
            picked = candidates[chosen(scores, self.rounds.epsilon, self.noise, sensitivity=sensitivity)]
            self._measure(*picked, drawn_SC)
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

    def _candidates(self) -> list[tuple[int, int]]:
        """(child, new parent) pairs that keep the graph acyclic and the table small enough for its noise."""
        edge_CC = np.zeros((len(self.shares), len(self.shares)), dtype=bool)
        for child, own in enumerate(self.parents):
            edge_CC[list(own), child] = True
        allowed_CC = self.rules.allowed_CC & ~edge_CC & ~reachable(edge_CC).T
        most = min(float(self.rules.max_cells), self.n_rows)  # a cell for each row holds nothing but noise
        return [
            (int(c), int(p))
            for p, c in np.argwhere(allowed_CC)
            if p != c
            and len(self.parents[c]) < self.rules.max_parents
            and np.prod([len(self.shares[x]) for x in (*self.parents[c], p, c)], dtype=float) <= most
        ]

    def _for_workload(self, candidates: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those whose edge is a pair of the workload that no measured table holds; all, where there are none."""
        tables = [set(m.columns) for m in self.measured]
        waiting = {p for p in self.first if not any(p[0] in t and p[1] in t for t in tables)}
        return [(c, p) for c, p in candidates if (min(c, p), max(c, p)) in waiting] or candidates

    def _scores(self, candidates: Sequence[tuple[int, int]], drawn_SC: np.ndarray) -> np.ndarray:
        keys = [tuple(sorted((*self.parents[c], p, c))) for c, p in candidates]
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

    def _measure(self, child: int, parent: int, drawn_SC: np.ndarray) -> None:
        """Measure the child's table with one more parent, and put its new conditional table in place."""
        columns = (*self.parents[child], parent, child)
        key = tuple(sorted(columns))
        exact = self._exact[key].transpose([key.index(c) for c in columns])
        counts = noised_counts(exact, self.rounds.sigma, self.noise)
        before_OR = self.tables[child]
        n_codes = len(self.shares[parent])
        rows_OP = self._expected(columns[:-1], drawn_SC).reshape(-1, n_codes)
        expected_OPR = rows_OP[:, :, None] * before_OR[:, None, :]
        of = (None, None) if self.scores is None else (self.scores[parent], self.scores[child])
        found_OPR = estimated(counts.reshape(expected_OPR.shape), expected_OPR, self.rounds.sigma, of)
        self.measured.append(Measured(columns, counts, self.rounds.sigma))
        self.parents[child] = columns[:-1]
        before_QR = np.repeat(before_OR, n_codes, axis=0)
        self.tables[child] = _conditional(found_OPR.reshape(before_QR.shape), before_QR)

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


def shrunk(counts: np.ndarray, expected: np.ndarray, sigma: float) -> np.ndarray:
    """Counts between the measured and the expected ones, >= 0: empirical Bayes for one table.

    Where the truth differs from what was expected by a variance of a * expected, the best linear estimate takes the
    share a * expected / (a * expected + sigma^2) of the difference; a is the one whose total matches the differences.
    """
    gap = counts - expected
    excess = float((gap**2 - sigma**2).sum())
    a = max(excess, 0.0) / max(float(expected.sum()), 1e-9)
    variance = a * expected
    return np.maximum(expected + gap * variance / (variance + sigma**2), 0.0)


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


SHAPES = (1e4, 100.0, 30.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.06)  # of the gamma distribution
SHARPENING = 6
NODES, LARGEST = 42, 60.0
STRONGEST = 0.99  # correlation of scores
HALVINGS, FITTING_ROUNDS = 10, 12
PREFERRED = 3.0  # log-likelihood that a tilt must gain


def estimated(
    noised_OPR: np.ndarray,
    expected_OPR: np.ndarray,
    sigma: float,
    scores: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> np.ndarray:
    """The posterior mean of a table, with the total that was expected.

    Args:
        noised_OPR: counts with noise of `sigma`.
        expected_OPR: rows expected before.
        scores: of the codes of P and R where these are ordered (`normal_scores`).
    """
    expected = [expected_OPR]
    if scores[0] is not None and scores[1] is not None:
        expected.append(_tilted(noised_OPR, expected_OPR, scores[0], scores[1]))
    fits = [_likelihoods(noised_OPR.reshape(-1), e.reshape(-1), sigma) for e in expected]
    best = max(range(len(fits)), key=lambda i: float(fits[i][1].max()) - PREFERRED * (i > 0))
    (likelihood_KG, evidence), e_K = fits[best], expected[best].reshape(-1)
    nodes, prior_GA = _priors()
    prior_G = prior_GA[:, int(evidence.argmax())]
    for _ in range(SHARPENING):
        prior_G = _posterior(likelihood_KG, prior_G).mean(axis=0)
    rows_K = e_K * (_posterior(likelihood_KG, prior_G) @ nodes)
    rows_K *= e_K.sum() / max(rows_K.sum(), 1e-300)
    return rows_K.reshape(noised_OPR.shape)


def normal_scores(shares: np.ndarray) -> np.ndarray:
    """A score for each code of an ordered column: the normal quantile of its middle rank; 0 for 'missing', the last."""
    own = np.maximum(shares[:-1], 0.0)
    middle = (np.cumsum(own) - own / 2) / max(own.sum(), 1e-300)
    return np.append(ndtri(np.clip(middle, 1e-4, 1 - 1e-4)), 0.0)


@cache
def _priors() -> tuple[np.ndarray, np.ndarray]:
    """Nodes of r (G,), and the weight of each under each shape (G, A)."""
    edges = np.append(0.0, np.geomspace(0.02, LARGEST, NODES))
    nodes = np.append(0.005, np.sqrt(edges[1:-1] * edges[2:]))
    weights = np.stack([np.diff(gammainc(a, a * edges)) for a in SHAPES], axis=1)
    return nodes, weights / weights.sum(axis=0)


def _likelihoods(noised_K: np.ndarray, expected_K: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Likelihood of each cell at each node (K, G), and the log-likelihood of the table under each shape (A,)."""
    nodes, prior_GA = _priors()
    z_KG = (noised_K[:, None] - expected_K[:, None] * nodes) / sigma
    likelihood_KG = np.exp(np.maximum(-0.5 * (z_KG**2 - (z_KG**2).min(axis=1, keepdims=True)), -300.0))
    evidence = np.log(likelihood_KG @ prior_GA + 1e-300).sum(axis=0) - 0.5 * float((z_KG**2).min(axis=1).sum())
    return likelihood_KG, evidence


def _posterior(likelihood_KG: np.ndarray, prior_G: np.ndarray) -> np.ndarray:
    joint_KG = likelihood_KG * prior_G + 1e-300
    posterior: np.ndarray = joint_KG / joint_KG.sum(axis=1, keepdims=True)
    return posterior


def _tilted(noised_OPR: np.ndarray, expected_OPR: np.ndarray, score_P: np.ndarray, score_R: np.ndarray) -> np.ndarray:
    """The expected table with the noised sum of the products of scores, and its own margins (O, P) and (O, R)."""
    product_PR = score_P[:, None] * score_R
    wanted = float((noised_OPR * product_PR).sum())
    low, high = -STRONGEST, STRONGEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tilted_OPR = _with_margins(expected_OPR, product_PR * middle / (1 - middle**2))
        low, high = (middle, high) if float((tilted_OPR * product_PR).sum()) < wanted else (low, middle)
    return tilted_OPR


def _with_margins(expected_OPR: np.ndarray, exponent_PR: np.ndarray) -> np.ndarray:
    """A table tilted by an exponent, fitted to the margins it had (Deming and Stephan 1940)."""
    rows_OP, rows_OR = expected_OPR.sum(axis=2, keepdims=True), expected_OPR.sum(axis=1, keepdims=True)
    exponent_PR = exponent_PR - exponent_PR.max(axis=1, keepdims=True)
    fitted_OPR = expected_OPR * np.exp(np.maximum(exponent_PR, -300.0)) + 1e-300
    for _ in range(FITTING_ROUNDS):
        fitted_OPR = fitted_OPR * (rows_OR / np.maximum(fitted_OPR.sum(axis=1, keepdims=True), 1e-300))
        fitted_OPR = fitted_OPR * (rows_OP / np.maximum(fitted_OPR.sum(axis=2, keepdims=True), 1e-300))
    return fitted_OPR
