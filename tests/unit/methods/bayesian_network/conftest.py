"""Networks with known structure, built by hand, and a way to count rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.sampler import draw, network_steps
from raysynth.statistics.contingency import ContingencyCounts


@pytest.fixture(scope="session")
def asia() -> Network:
    """Lauritzen and Spiegelhalter (1988): asia, tub, smoke, lung, bronc, either, xray, dysp; code 0 is 'yes'."""

    def table(*yes: float) -> np.ndarray:
        return np.array([[p, 1 - p] for p in yes])

    parents = ((), (0,), (), (2,), (2,), (3, 1), (5,), (4, 5))
    tables = (
        table(0.01),
        table(0.05, 0.01),
        table(0.5),
        table(0.1, 0.01),
        table(0.6, 0.3),
        table(1.0, 1.0, 1.0, 0.0),
        table(0.98, 0.05),
        table(0.9, 0.8, 0.7, 0.1),
    )
    return Network((2,) * 8, parents, tables, 1e9)


@pytest.fixture(scope="session")
def random_network() -> Callable[[int, int], Network]:
    """Networks of n columns with 2 to 4 codes, up to 3 parents each, some probabilities zero."""

    def make(n: int, seed: int) -> Network:
        rng = np.random.default_rng(seed)
        cards = tuple(int(k) for k in rng.integers(2, 5, size=n))
        parents = tuple(
            tuple(sorted(rng.choice(c, size=min(c, int(rng.integers(0, 4))), replace=False).tolist())) for c in range(n)
        )
        tables = []
        for c in range(n):
            size = int(np.prod([cards[p] for p in parents[c]], dtype=int))
            table = rng.dirichlet(np.full(cards[c], 0.7), size=size)
            table[(table < 0.05) & (table < table.max(axis=1, keepdims=True))] = 0.0
            tables.append(table / table.sum(axis=1, keepdims=True))
        return Network(cards, parents, tuple(tables), 1e9)

    return make


@pytest.fixture(scope="session")
def joint() -> Callable[[Network], np.ndarray]:
    """The whole joint distribution of a small network, one axis for each column: the reference of all exact tests."""

    def compute(network: Network) -> np.ndarray:
        grid = np.indices(network.cardinalities).reshape(len(network), -1).T
        p = np.ones(len(grid))
        for column, table in enumerate(network.tables):
            p *= table[network.configuration(column, grid), grid[:, column]]
        return p.reshape(network.cardinalities)

    return compute


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Network, int, int], np.ndarray]:
    """Rows drawn from a network."""
    return lambda network, n, seed: draw(network_steps(network), n, len(network), np.random.default_rng(seed))


CountOf = Callable[[Sequence[tuple[int, ...]]], dict[tuple[int, ...], np.ndarray]]


@pytest.fixture(scope="session")
def count_of() -> Callable[[np.ndarray, Sequence[int]], CountOf]:
    """A counting function over rows in memory."""

    def make(codes_NC: np.ndarray, cardinalities: Sequence[int]) -> CountOf:
        def count(column_sets: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], np.ndarray]:
            counts = ContingencyCounts(cardinalities, column_sets)
            counts.update_codes(codes_NC)
            return counts.tables

        return count

    return make
