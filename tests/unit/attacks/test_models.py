"""Attacks that hold or fit models: shadow models, likelihood ratios, a GAN's critic, inversion with the model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import BayesianNetworkSynthesizer, TabularGAN, TabularVAE, infer_schema, load_synthetic_model
from raysynth.api import new_synthesizer
from raysynth.attacks.inversion import InputInversionAttack
from raysynth.attacks.shadow import pooled_log_odds, ridge_scores
from raysynth.attacks.white_box import likelihood_ratio
from raysynth.errors import NotFittedError, ParameterError
from raysynth.privacy import run_privacy_attacks


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


@pytest.fixture(scope="module")
def autoencoder(real: pd.DataFrame) -> TabularVAE:
    """Has seen 100 rows too often, and their numbers as they are, not in cells that five persons share."""
    unprotected = replace(infer_schema(real[:100]), rare_threshold=1)
    settings: dict[str, Any] = {"latent_dim": 4, "prior_components": 0, "warm_up": 0.5, "weight_decay": 0.0}
    return TabularVAE(epochs=300, batch_size=25, verbose=False, seed=0, schema=unprotected, **settings).fit(real[:100])


def test_an_overfitted_autoencoder_rebuilds_its_own_rows_only(
    autoencoder: TabularVAE, real: pd.DataFrame, holdout: pd.DataFrame, tmp_path: Path
) -> None:
    synthetic = autoencoder.sample(300, seed=1)
    attack = partial(run_privacy_attacks, real[:100], synthetic, ["reconstruction"], holdout_data=holdout)
    assert attack(synthesizer=autoencoder).details["reconstruction"].success.low > 0.9
    autoencoder.save(tmp_path / "vae")
    with pytest.raises(ParameterError, match="'reconstruction' needs the synthetic table, the model"):
        attack(synthesizer=load_synthetic_model(tmp_path / "vae"))
    with pytest.raises(NotFittedError, match="a model file does not hold it"):
        load_synthetic_model(tmp_path / "vae").reconstruction_error(real)


def test_the_search_of_a_decoders_place_finds_unknown_columns_of_its_own_rows(
    autoencoder: TabularVAE, real: pd.DataFrame, holdout: pd.DataFrame, tmp_path: Path
) -> None:
    """Also with the model file alone: what is searched is in it."""
    autoencoder.save(tmp_path / "vae")
    loaded = load_synthetic_model(tmp_path / "vae")
    attack = InputInversionAttack(["city", "status"])
    results = run_privacy_attacks(real[:100], real, [attack], n_experiments=1, holdout_data=holdout, synthesizer=loaded)
    assert results.details["inversion_input"].gain.low > 0.1
    with pytest.raises(ParameterError, match="no modelled column 'nonsense'"):
        loaded.invert(real, ["nonsense"])


def test_a_critic_knows_the_rows_that_it_was_taught_and_a_model_file_has_none(
    real: pd.DataFrame, holdout: pd.DataFrame, tmp_path: Path
) -> None:
    gan = TabularGAN(epochs=400, batch_size=50, pac=1, discriminator_lr=2e-3, verbose=False, seed=0).fit(real[:100])
    attack = partial(run_privacy_attacks, real[:100], gan.sample(300, seed=0), ["critic"], holdout_data=holdout)
    assert attack(synthesizer=gan).details["critic"].success.low > 0.9
    gan.save(tmp_path / "gan")
    with pytest.raises(ParameterError, match="'critic' needs the synthetic table, the model"):
        attack(synthesizer=load_synthetic_model(tmp_path / "gan"))


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


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("copula", ["inversion_model"]),
        ("bayesian_network", ["inversion_model", "likelihood"]),
        pytest.param("tvae", ["inversion_input", "reconstruction"], marks=pytest.mark.slow),
    ],
)
def test_dates_written_as_text_are_attacked_as_those_that_are_datetimes(method: str, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    day = pd.Timestamp("1950-01-01") + pd.to_timedelta(rng.integers(0, 20_000, 300), unit="D")
    dated = pd.DataFrame({"born": day, "size": rng.normal(size=300).round(2), "kind": rng.choice(list("abc"), 300)})
    found = []
    for table in (dated, dated.assign(born=day.strftime("%d.%m.%Y"))):
        more = {"epochs": 1} if method == "tvae" else {}
        model = new_synthesizer(method, verbose=False, seed=0, **more).fit(table[:150])
        made = model.sample(150, seed=1)
        results = run_privacy_attacks(
            table[:150], made, names, 2, holdout_data=table[150:], synthesizer=model, n_targets=60, seed=0
        )
        found.append({name: results.details[name].success.value for name in names})
    assert found[0] == found[1]
