"""TimeSeriesGAN learns; what it takes and gives is tested in `test_sequence_synthesizer.py`."""

from __future__ import annotations

import numpy as np

from raysynth import TimeSeriesGAN


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
