"""Sampling from a decoder: deterministic, prefix-stable, open to a file, and each value that of its code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raysynth.methods.shared.spans import Spans
from raysynth.methods.vae.network import TabularVae, VaeNetworks
from raysynth.methods.vae.sampler import VaeSampler, decoder_arrays

SPANS = Spans((4, 3), (1,))


def sampler(components: int) -> VaeSampler:
    net = TabularVae(SPANS, VaeNetworks(5, (8,), (12, 6), components), (True,) * 3, torch.Generator().manual_seed(0))
    return VaeSampler(spans=SPANS, arrays=decoder_arrays(net), code_bias_S=np.zeros(7), latent_dim=5)


@pytest.mark.parametrize("components", [0, 3])
def test_rows_depend_on_the_stream_alone_and_a_file_keeps_them(components: int) -> None:
    made = sampler(components)
    long, short = made.generate(2000, np.random.default_rng(1)), made.generate(700, np.random.default_rng(1))
    np.testing.assert_array_equal(long.codes_NC[:700], short.codes_NC)
    np.testing.assert_array_equal(long.values_NV[:700], short.values_NV)
    loaded = VaeSampler.from_state(*made.to_state()).generate(700, np.random.default_rng(1))
    np.testing.assert_array_equal(loaded.codes_NC, short.codes_NC)
    np.testing.assert_array_equal(loaded.values_NV, short.values_NV)


@pytest.mark.statistical
def test_rows_are_those_of_the_decoder() -> None:
    """With the same places, the sampler's logits are the network's; the mean value of a code is the network's."""
    net = TabularVae(SPANS, VaeNetworks(5, (8,), (12, 6), 0), (True,) * 3, torch.Generator().manual_seed(0))
    made = sampler(0)
    logits, values_NM = made.outputs(4000, torch.Generator().manual_seed(4))
    place = torch.empty(4000, 5).normal_(generator=torch.Generator().manual_seed(4))
    out = net.decoder(place)
    torch.testing.assert_close(logits, out[:, 6:])
    # a value is tanh(mean) and noise of a third of a mode: its mean over 4,000 rows is within 5 standard errors
    away = (values_NM - out[:, :3].tanh()).mean(0)
    assert (away.abs() < 5 * 0.5 / 4000**0.5).all()


def test_the_value_is_that_of_the_drawn_code() -> None:
    values_NM = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    chosen = sampler(0).values_of(values_NM, torch.tensor([[0, 2], [3, 0]]))
    assert chosen.tolist() == [[3.0], [4.0]]


@pytest.mark.statistical
def test_components_are_drawn_by_their_shares() -> None:
    """3 components of which one never and one rarely occurs; 20,000 draws, 5 standard deviations."""
    made = sampler(3)
    arrays = {
        **made.arrays,
        "prior.share": np.array([0.0, 0.1, 0.9], np.float32),
        "prior.mean": np.repeat(np.arange(3.0, dtype=np.float32)[:, None] * 100, 5, 1),
    }
    places = replace(made, arrays=arrays).draw_inputs(20_000, torch.Generator().manual_seed(0))
    component = (places[:, 0] / 100).round()
    assert (component == 0).sum() == 0
    assert (component == 1).float().mean().item() == pytest.approx(0.1, abs=5 * (0.09 / 20_000) ** 0.5)


@pytest.mark.parametrize("broken", ["weight.1", "bias.0", "prior.mean"])
def test_a_state_that_does_not_fit_is_refused(broken: str) -> None:
    meta, arrays = sampler(3).to_state()
    with pytest.raises(ValueError, match=r"must be finite and of shape"):
        VaeSampler.from_state(meta, {**arrays, broken: arrays[broken][:-1]})
