"""The autoencoder's two losses beside torch's own distributions, and that each row's loss is its own."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from raysynth.methods.shared.spans import SpanIndex, Spans
from raysynth.methods.vae.network import MixturePrior, TabularVae, VaeNetworks, n_value_codes, value_log_std

SPANS = Spans((3, 4, 2), (0, 2))
SPREAD = (True, True, False, True, False)  # the codes of column 0, then of column 2
CODES = torch.tensor([[0, 3, 0], [2, 1, 1], [1, 0, 0]])
VALUES = torch.tensor([[0.2, -0.5], [0.0, 0.0], [-0.9, 0.4]])


def model(components: int = 0) -> TabularVae:
    return TabularVae(SPANS, VaeNetworks(3, (8,), (8,), components), SPREAD, torch.Generator().manual_seed(0))


def test_reconstruction_is_the_likelihood_of_codes_and_of_values_given_their_code() -> None:
    m = n_value_codes(SPANS)
    out = torch.randn(3, 2 * m + SPANS.n_codes, generator=torch.Generator().manual_seed(1))
    wanted = torch.zeros(3)
    for c, logits in enumerate(out[:, 2 * m :].split(SPANS.cardinalities, 1)):
        wanted -= distributions.Categorical(logits=logits).log_prob(CODES[:, c])
    for v, (column, start) in enumerate([(0, 0), (2, 3)]):
        for row in range(3):
            at = start + int(CODES[row, column])
            gaussian = distributions.Normal(out[row, at].tanh(), value_log_std(out[row, m + at]).exp())
            wanted[row] -= SPREAD[at] * gaussian.log_prob(VALUES[row, v])
    found = model().reconstruction(out, CODES, VALUES, SpanIndex(SPANS))
    torch.testing.assert_close(found, wanted)


def test_the_learned_prior_is_a_mixture_of_gaussians() -> None:
    rng = torch.Generator().manual_seed(2)
    prior = MixturePrior(5, 3, rng)
    with torch.no_grad():
        prior.log_std_KL.normal_(generator=rng).mul_(0.3)
        prior.log_weight_K.normal_(generator=rng)
    components = distributions.Independent(distributions.Normal(prior.mean_KL, prior.log_std_KL.exp()), 1)
    mixture = distributions.MixtureSameFamily(distributions.Categorical(logits=prior.log_weight_K), components)
    places = torch.randn(7, 3, generator=rng)
    torch.testing.assert_close(prior.log_density(places), mixture.log_prob(places))


def test_divergence_from_the_standard_normal_is_exact() -> None:
    vae, index = model(), SpanIndex(SPANS)
    mean, log_variance = vae.posterior(index.rows(CODES, VALUES))
    posterior = distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1)
    _, found = vae.example_losses(CODES, VALUES, torch.randn(3, 3), index)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("components", [0, 4])
def test_a_rows_loss_depends_on_no_other_row(components: int) -> None:
    """What clipping by example needs."""
    vae, index = model(components), SpanIndex(SPANS)
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(3))
    together = sum(vae.example_losses(CODES, VALUES, noise, index))
    for row in range(3):
        alone = sum(vae.example_losses(CODES[row, None], VALUES[row, None], noise[row, None], index))
        torch.testing.assert_close(together[row, None], alone)


def test_every_weight_of_the_networks_is_in_a_linear_layer() -> None:
    vae = model()
    linear = {id(p) for layer in vae.modules() if isinstance(layer, torch.nn.Linear) for p in layer.parameters()}
    assert linear == {id(p) for p in vae.parameters()}
