"""The attack that sees every release: it shows most of what is spent, holds the claim, and finds noise that lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.api import new_synthesizer
from raysynth.attacks.audit.releases import loss_of, privacy_loss, seen_fit
from raysynth.attacks.audit.results import gaussian_mu
from raysynth.attacks.audit.units import units_of
from raysynth.dp.mechanisms.noise import Law, Question
from raysynth.errors import ParameterError
from raysynth.methods.base import Synthesizer
from raysynth.methods.copula.private import products_norm
from raysynth.privacy import audit_epsilon
from raysynth.schema import ColumnSchema, Kind, TableSchema
from tests.benchmarks.region_game import noise_times

DELTA, MU = 1e-2, 0.533  # of a Gaussian release of epsilon 1 at this delta
pytestmark = pytest.mark.filterwarnings("ignore")  # delta is large on purpose


def model(method: str, **parameters: Any) -> Synthesizer:
    columns = [ColumnSchema(c, Kind.CATEGORICAL, "string", categories=("x", "y"), nullable=False) for c in "ab"]
    claim = {"epsilon": 1.0, "delta": DELTA, "seed": 0, "verbose": False}
    return new_synthesizer(method, **{**claim, "schema": TableSchema(tuple(columns)), **parameters})


def rows(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({c: rng.choice(["x", "y"], n, p=(0.7, 0.3)) for c in "ab"})


@pytest.mark.parametrize("method", ["copula", "bayesian_network"])
def test_losses_are_those_of_the_budget(method: str) -> None:
    """Losses of mu-GDP differ by mu^2 between the worlds in the mean, and a fit spends most of mu and no more.

    Within 4 standard errors of 60 fits; noise has no seed, so that is a false alarm in 15,000 runs.
    """
    unfitted = model(method)
    units = units_of(unfitted, rows(), None)
    worlds = units.with_canaries(0), units.with_canaries(1)
    losses = np.array([privacy_loss(unfitted, worlds, i % 2) for i in range(60)])
    inside, outside = losses[1::2], losses[::2]
    gap, error = inside.mean() - outside.mean(), np.sqrt((inside.var() + outside.var()) / 30)
    assert gap - 4 * error < MU**2
    assert gap + 4 * error > 0.7 * MU**2


def test_a_quarter_of_the_noise_is_refuted_and_all_of_it_is_not() -> None:
    """At 99.99 %: the correct build is accused once in 10,000 runs; a quarter of the noise has four times the mu."""
    few = {"n_refits": 80, "confidence": 0.9999, "attacks": ["releases"], "where": "local"}
    right = audit_epsilon(model("copula"), rows(), **few).attacks[0]
    assert right.mu_claimed == pytest.approx(MU, abs=1e-3)
    assert right.lower_bound <= 1.0
    assert right.mu is not None and right.mu < MU
    with noise_times(0.25):
        wrong = audit_epsilon(model("copula"), rows(), **few).attacks[0]
    assert wrong.mu is not None and wrong.mu > MU


def test_a_fit_that_asks_otherwise_of_the_other_table_is_refused() -> None:
    """A value of the canary alone, in a column whose categories nobody declared."""
    open_a = TableSchema((ColumnSchema("a", Kind.CATEGORICAL, "string"),))
    fit = seen_fit(model("copula", schema=open_a), rows()[["a"]])
    with pytest.raises(ParameterError, match="declare the categories"):
        loss_of(fit, pd.concat([rows()[["a"]], pd.DataFrame({"a": ["of nobody else"]})]))


@pytest.mark.parametrize("parameters", [{"method": "dp_tvae", "epochs": 1}, {"method": "copula", "privacy_unit": "a"}])
def test_noise_of_gradients_and_of_persons_rows_is_no_counted_release(parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="methods that count"):
        seen_fit(model(**parameters), rows())


def test_a_question_knows_the_law_of_its_answer() -> None:
    """Against the densities, up to what both exact values share."""
    for law, density in ((Law.LAPLACE, lambda x: -abs(x) / 2), (Law.DISCRETE_GAUSSIAN, lambda x: -(x**2) / 8)):
        zero, one = (Question(law, np.array([v]), 2.0) for v in (0, 1))
        ratio = one.log_likelihood(np.array([3.0])) - zero.log_likelihood(np.array([3.0]))
        assert ratio == pytest.approx(density(2) - density(3))
    choice = Question(Law.CHOICE, np.array([0.0, 1.0]), 2.0)
    assert choice.log_likelihood(np.array(1)) == pytest.approx(2 - np.log(1 + np.exp(2)))


def test_mu_of_gaussians_is_found_from_below() -> None:
    rng = np.random.default_rng(0)
    found = gaussian_mu(rng.normal(0.5, 1, 20_000), rng.normal(0, 1, 20_000), 0.95)
    assert 0.45 < found < 0.5


def test_products_of_scores_have_the_norm_that_they_are_noised_for() -> None:
    """Equal scores reach it, and no others exceed it."""
    rng = np.random.default_rng(0)
    for n in (2, 5, 40):
        z_RD = rng.normal(size=(200, n)) ** 3
        z_RD[0] = 1
        z_RD *= 1.5 / np.sqrt((z_RD**2).sum(axis=1, keepdims=True))
        products = (z_RD[:, :, None] * z_RD[:, None, :])[:, *np.triu_indices(n, 1)]
        norms = np.sqrt((products**2).sum(axis=1))
        assert norms.max() <= products_norm(1.5, n) * (1 + 1e-12)
        assert norms[0] == pytest.approx(products_norm(1.5, n))
