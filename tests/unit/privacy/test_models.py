"""Attacks that hold or fit models: shadow models, likelihood ratios, a GAN's critic, inversion with the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import BayesianNetworkSynthesizer, TabularGAN
from raysynth.errors import ParameterError
from raysynth.privacy import run_privacy_attacks
from raysynth.privacy.likelihood import likelihood_ratio
from raysynth.privacy.shadow import pooled_log_odds, ridge_scores


@pytest.fixture(scope="module")
def network(real: pd.DataFrame) -> BayesianNetworkSynthesizer:
    """Learned by heart: every column hangs on others, and nothing is smoothed."""
    order = list(real)
    edges = [(a, b) for i, b in enumerate(order) for a in order[max(0, i - 3) : i]]
    model = BayesianNetworkSynthesizer(
        required_edges=edges, max_parents=3, n_bins=8, smoothing=0.0, structure="greedy_order", verbose=False, seed=0
    )
    return model.fit(real[:300])


@pytest.mark.parametrize("name", ["likelihood_ratio", "shadow"])
def test_shadow_models_tell_members_of_an_overfitted_network(
    network: BayesianNetworkSynthesizer, real: pd.DataFrame, holdout: pd.DataFrame, name: str
) -> None:
    synthetic = network.sample(600, seed=1)
    results = run_privacy_attacks(
        real[:300], synthetic, [name], holdout_data=holdout, synthesizer=network, n_targets=100
    )
    assert results.details[name].success.low > 0.55


def test_inversion_reads_rows_out_of_an_overfitted_network(
    network: BayesianNetworkSynthesizer, real: pd.DataFrame, holdout: pd.DataFrame
) -> None:
    results = run_privacy_attacks(
        real[:300], network.sample(300, seed=1), ["inversion_model"], holdout_data=holdout, synthesizer=network
    )
    assert results.details["inversion_model"].gain.low > 0.1


def test_a_critic_scores_rows_and_a_model_file_has_none(
    real: pd.DataFrame, holdout: pd.DataFrame, tmp_path: Any
) -> None:
    from raysynth import load_synthetic_model

    gan = TabularGAN(epochs=2, batch_size=100, verbose=False, seed=0).fit(real)
    results = run_privacy_attacks(real, gan.sample(300, seed=0), ["critic"], holdout_data=holdout, synthesizer=gan)
    assert 0.3 < results["critic"] < 1
    gan.save(tmp_path / "gan")
    loaded = load_synthetic_model(tmp_path / "gan")
    with pytest.raises(ParameterError, match="'critic' needs the synthetic table, the model"):
        run_privacy_attacks(real, holdout, ["critic"], holdout_data=holdout, synthesizer=loaded)


def test_shadow_models_need_the_method(real: pd.DataFrame, fresh: pd.DataFrame, holdout: pd.DataFrame) -> None:
    with pytest.raises(ParameterError, match="the method"):
        run_privacy_attacks(real, fresh, ["shadow"], holdout_data=holdout)


def test_likelihood_ratio_of_known_gaussians() -> None:
    """In N(1, 1), out N(0, 1): the ratio orders 0.0 below 1.0, and its middle is at 0.5."""
    rng = np.random.default_rng(0)
    inside = np.tile(np.arange(200)[:, None] < 100, (1, 3))
    shadows = rng.normal(0, 1, (200, 3)) + inside
    found = likelihood_ratio(np.array([0.0, 0.5, 1.0]), shadows, inside)
    assert found[0] < found[1] < found[2]
    assert found == pytest.approx([-0.5, 0, 0.5], abs=0.35)


def test_meta_classifiers_find_the_feature_that_tells() -> None:
    rng = np.random.default_rng(0)
    inside = rng.random((24, 40)) < 0.5
    features = rng.normal(0, 1, (24, 40, 5))
    features[:, :, 2] += 2 * inside
    truth = rng.random(40) < 0.5
    found = rng.normal(0, 1, (40, 5))
    found[:, 2] += 2 * truth
    odds = pooled_log_odds(found, features, inside)
    assert odds[truth].mean() > odds[~truth].mean() + 1
    shared = rng.normal(0, 1, (24, 200))
    shared[:, :40] += 3 * inside
    attacked = rng.normal(0, 1, 200)
    attacked[:40] += 3 * truth
    scores = ridge_scores(attacked, shared, inside)
    assert scores[truth].mean() > scores[~truth].mean()
