"""Marginal calibration: generated marginals become the released ones, order and dependence stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysynth.methods.gan.network import Conditions, Generator
from raysynth.methods.gan.sampler import GanSampler, drawn_by, folded
from raysynth.methods.shared.neural import KNOTS, calibrated, quantiles_by_code, value_map
from raysynth.methods.shared.spans import Spans

SPANS = Spans((4, 3), (1,))


def sampler() -> GanSampler:
    conditions = Conditions.on(SPANS, (0,))
    net = Generator(SPANS.width, 4, 8, (16,), torch.Generator().manual_seed(0))
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    return GanSampler(
        spans=SPANS,
        arrays=folded(net, drawn_by(shares), 50, 1),
        code_bias_S=np.zeros(SPANS.n_codes),
        conditions=conditions,
        shares_K=shares,
        hidden=(16,),
    )


@pytest.mark.statistical
def test_code_shares_and_value_quantiles_become_the_released_ones() -> None:
    shares = [np.array([0.6, 0.3, 0.099, 0.001]), np.array([0.25, 0.75, 0.0])]
    ranks = np.linspace(0, 1, KNOTS)
    wanted = np.stack([ranks**2, -np.sqrt(ranks[::-1]), np.full(KNOTS, np.nan)])
    mended = calibrated(sampler(), shares, [wanted], seed=2)
    block = mended.generate(40_000, np.random.default_rng(3))
    for column, share in enumerate(shares):
        found = np.bincount(block.codes_NC[:, column], minlength=len(share)) / len(block)
        # both the calibration's rows (32,768) and these are random: 5 sigma of the difference, false alarm below 1e-5
        assert (np.abs(found - share) < 5 * np.sqrt(share * (1 - share) * (1 / 40_000 + 1 / 32_768)) + 1e-5).all()
    for code in (0, 1):
        own = block.values_NV[block.codes_NC[:, 1] == code, 0]
        assert np.abs(np.quantile(own, ranks) - wanted[code]).max() < 0.05


def test_value_map_is_monotone_and_leaves_thin_codes_alone() -> None:
    rng = np.random.default_rng(0)
    codes, values = np.repeat([0, 1], [5000, 10]), rng.uniform(-0.5, 0.1, 5010).astype(np.float32)
    wanted = np.tile(np.linspace(0, 1, KNOTS), (2, 1))
    mapped = value_map(codes, values, wanted).apply(codes, values)
    order = np.argsort(values[:5000])
    assert (np.diff(mapped[:5000][order]) >= 0).all()
    np.testing.assert_allclose(mapped[5000:], values[5000:], atol=1e-6)
    np.testing.assert_allclose(np.quantile(mapped[:5000], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


def test_quantiles_by_code_mark_codes_without_spread() -> None:
    quantiles = quantiles_by_code(np.array([0, 0, 2, 2, 2]), np.array([1.0, 3.0, 5.0, 5.0, 5.0]), 4)
    assert quantiles[0, [0, -1]].tolist() == [1.0, 3.0]
    assert np.isnan(quantiles[1:]).all()


def test_calibration_keeps_the_order_of_rows_under_the_same_noise() -> None:
    """The map and the bias leave a network's dependence between value and noise: ranks stay."""
    plain = sampler()
    ranks = np.linspace(0, 1, KNOTS)
    mended = calibrated(plain, [np.full(4, 0.25), np.array([0.5, 0.5, 0.0])], [np.tile(ranks, (3, 1))], seed=2)
    before, after = (s.generate(4096, np.random.default_rng(7)) for s in (plain, mended))
    same = (before.codes_NC[:, 1] == 0) & (after.codes_NC[:, 1] == 0)
    order = np.argsort(before.values_NV[same, 0])
    assert same.sum() > 500
    assert (np.diff(after.values_NV[same, 0][order]) >= -1e-6).all()
