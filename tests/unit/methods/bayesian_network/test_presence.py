"""Tests of columns that are missing together: by the network that is learned, for several kinds and patterns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.presence import with_presence
from raysynth.methods.bayesian_network.synthesizer import BayesianNetworkSynthesizer


def table(n: int, kinds: str, share: float, noise: float, seed: int) -> pd.DataFrame:
    """Columns that are missing in the same rows, but for a share of their cells, beside two that are never missing."""
    rng = np.random.default_rng(seed)
    gone = rng.random(n) < share
    columns: dict[str, object] = {"x": rng.normal(size=n), "g": rng.choice(list("abc"), n)}
    for j, kind in enumerate(kinds):
        values = {
            "n": rng.normal(size=n),
            "c": rng.integers(0, 9, n).astype(str),
            "C": rng.integers(0, 90, n).astype(str),
        }
        columns[f"{kind}{j}"] = pd.Series(values[kind]).mask(gone ^ (rng.random(n) < noise))
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("n", "kinds", "share", "noise"),
    [
        (1000, "nn", 0.4, 0),
        (3000, "CCC", 0.3, 0),
        (600, "ncC", 0.6, 0),
        (2000, "nC", 0.1, 0),
        (3000, "nnn", 0.5, 0.003),
    ],
)
def test_columns_that_are_missing_together_stay_so(n: int, kinds: str, share: float, noise: float) -> None:
    """Before, up to 70 % of rows had some of the columns missing and others not."""
    real = table(n, kinds, share, noise, seed=len(kinds) + n)
    model = BayesianNetworkSynthesizer(seed=3, verbose=False, restarts=0).fit(real)
    gaps = model.sample(2000, seed=1)[list(real.columns[2:])].isna().to_numpy()
    assert (gaps.any(axis=1) & ~gaps.all(axis=1)).mean() < 0.01 + 2 * noise * len(kinds)
    assert np.abs(gaps.mean(axis=0) - share).max() < 0.07  # five standard errors of both samples


def test_limits_and_rules_hold() -> None:
    real = table(1500, "CCn", 0.4, 0, seed=2)
    limited = BayesianNetworkSynthesizer(seed=3, verbose=False, restarts=0, max_parents=1).fit(real)
    assert max(map(len, limited.model_.parents)) <= 1
    forbidden = [("C0", "C1"), ("C1", "C0"), ("C0", "n2"), ("n2", "C0")]
    model = BayesianNetworkSynthesizer(seed=3, verbose=False, restarts=0, forbidden_edges=forbidden).fit(real)
    assert not set(forbidden) & set(model.edges_)


def test_values_keep_what_their_parents_tell() -> None:
    """A child (codes 0, 1, missing) of one parent (0, 1), and a leader whose gaps it shares: by hand."""
    child = np.array([[0.6, 0.2, 0.2], [0.1, 0.5, 0.4]])
    network = Network((2, 2, 3), ((), (), (0,)), (np.full((1, 2), 0.5), np.array([[0.7, 0.3]]), child), 100.0)
    gaps = {(2, 1): np.array([[70.0, 0.0], [3.0, 27.0]])}
    made = with_presence(network, {2: 1}, gaps)
    assert made.parents == ((), (), (0, 1))
    expected = [[0.75, 0.25, 0.0], [0.075, 0.025, 0.9], [1 / 6, 5 / 6, 0.0], [1 / 60, 5 / 60, 0.9]]
    np.testing.assert_allclose(made.tables[2], expected)
