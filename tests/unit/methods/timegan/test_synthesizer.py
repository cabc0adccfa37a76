"""TimeSeriesGAN learns; what it takes and gives is tested in `sequences/test_synthesizer.py`."""

from __future__ import annotations

import numpy as np

from raysynth import TimeSeriesGAN
from raysynth.methods.timegan.synthesizer import default_epochs


def test_the_documented_snippet(waves: np.ndarray) -> None:
    original_timeseries = waves
    ts_gan = TimeSeriesGAN(sequence_length=12, features=original_timeseries.shape[2], hidden_dim=100, epochs=2)
    ts_gan.fit(original_timeseries)
    synthetic_timeseries = ts_gan.sample(n_sequences=30)
    assert synthetic_timeseries.shape == (30, 12, 2)
    assert np.isfinite(synthetic_timeseries).all()
    assert synthetic_timeseries.min() >= waves.min() and synthetic_timeseries.max() <= waves.max()


def test_it_learns_level_spread_and_smoothness(waves: np.ndarray) -> None:
    model = TimeSeriesGAN(hidden_dim=16, epochs=150, batch_size=50, seed=0, verbose=False).fit(waves)
    made = model.sample(400)
    assert abs(made.mean() - waves.mean()) < 0.1
    assert 0.75 < made.std() / waves.std() < 1.25
    steps = [np.diff(x, axis=1).std() for x in (waves, made)]
    assert 0.75 < steps[1] / steps[0] < 1.25  # shuffled steps would give 3
    assert np.corrcoef(made[:, :, 0].ravel(), made[:, :, 1].ravel())[0, 1] > 0.8  # as the real features: 0.96


def test_made_sequences_reach_the_ends_of_the_levels_after_any_training() -> None:
    """Levels of a skewed distribution; a generator that has hardly learned leaves its thin end out."""
    rng = np.random.default_rng(0)
    levels = rng.beta(0.7, 2.0, (1500, 1, 1))
    walks = levels + 0.02 * rng.normal(size=(1500, 8, 1)).cumsum(1)
    made = TimeSeriesGAN(hidden_dim=8, epochs=2, seed=0, verbose=False).fit(walks).sample(1500)
    ranks = [0.05, 0.25, 0.5, 0.75, 0.95]
    real, found = (np.quantile(x.mean(1), ranks) for x in (walks, made))
    np.testing.assert_allclose(found, real, atol=0.06)


def test_small_tables_are_passed_over_more_often() -> None:
    assert [default_epochs(n, 128) for n in (50, 3662, 6400, 10**6)] == [400, 400, 224, 150]
