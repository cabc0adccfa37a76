"""A variational autoencoder for mixed rows: TVAE's two networks and likelihood, with a prior that can be learned.

Source: Xu, Skoularidou, Cuesta-Infante, Veeramachaneni: Modeling Tabular data using Conditional GAN, NeurIPS 2019
(arXiv 1907.00503), section 4.4. Codes are categorical and numbers inside their modes Gaussian given the latent place.

Where this goes beyond the paper:

- The paper draws places from N(0, I), but what the decoder has learned is the places that the encoder gives to rows,
  and these do not fill N(0, I). The prior here is a mixture of Gaussians whose parameters are trained with the two
  networks by the same bound (Dilokthanakul et al. 2016; Tomczak and Welling 2018), so the places that are drawn are
  the ones that were learned. `components=0` is the paper's N(0, I).
- A number's Gaussian has a mean and a width for each of its modes, both from the decoder; in the paper it has one mean
  for all modes and one width for all rows.

Every weight of the networks is in a linear layer that each row goes through once, there is no batch normalisation, and
the loss is a sum over rows: what gradient clipping by example needs (design, 'Clipping').

Shape legend: N rows, L latent dimensions, K components, V values, C columns, S codes, M codes of the value columns,
W = V + S.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.shared.spans import SpanIndex, Spans

LOG_STD_RANGE = (-4.0, 0.0)  # of a value inside its mode; values are in [-1, 1]
LOG_VARIANCE_RANGE = (-12.0, 4.0)  # of a latent place
FIRST_SPREAD = 0.5  # standard deviation of the prior's components before training


@dataclass(frozen=True)
class VaeNetworks:
    """Sizes of the two networks.

    Args:
        latent_dim: L.
        encoder: units of the encoder's hidden layers.
        decoder: units of the decoder's hidden layers.
        components: K of the learned prior; 0: the standard normal.
    """

    latent_dim: int = 24
    encoder: tuple[int, ...] = (128, 128)
    decoder: tuple[int, ...] = (128, 128)
    components: int = 128


def value_places(spans: Spans) -> Tensor:
    """For each value column (V) where its codes start among the M codes of the value columns."""
    sizes = [spans.cardinalities[c] for c in spans.value_columns]
    return torch.tensor([sum(sizes[:i]) for i in range(len(sizes))], dtype=torch.long)


def n_value_codes(spans: Spans) -> int:
    """Codes of all columns that carry a value, M."""
    return sum(spans.cardinalities[c] for c in spans.value_columns)


class TabularVae(nn.Module):
    """Encoder, decoder and prior.

    Args:
        spans: layout of a row vector.
        networks: sizes.
        has_spread: for each of the M codes of value columns whether its values differ; those of an atom or of
            'missing' are all the same and say nothing.
        rng: draws the initial weights.
    """

    def __init__(self, spans: Spans, networks: VaeNetworks, has_spread: Sequence[bool], rng: torch.Generator) -> None:
        super().__init__()
        self.spans, self.latent_dim = spans, networks.latent_dim
        self.encoder = perceptron((spans.width, *networks.encoder, 2 * networks.latent_dim), rng)
        n_out = 2 * n_value_codes(spans) + spans.n_codes
        self.decoder = perceptron((networks.latent_dim, *networks.decoder, n_out), rng)
        self.prior = MixturePrior(networks.components, networks.latent_dim, rng) if networks.components else None
        self.register_buffer("value_start_V", value_places(spans), persistent=False)
        self.register_buffer("spread_M", torch.tensor(has_spread, dtype=torch.float32), persistent=False)
        self.register_buffer("value_column_V", torch.tensor(spans.value_columns, dtype=torch.long), persistent=False)

    def posterior(self, rows_NW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (N, L) of each row's place."""
        mean, log_variance = self.encoder(rows_NW).chunk(2, 1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def example_losses(
        self, codes_NC: Tensor, values_NV: Tensor, noise_NL: Tensor, index: SpanIndex
    ) -> tuple[Tensor, Tensor]:
        """The two parts of each row's negative evidence bound: reconstruction (N) and divergence (N), in nats.

        Args:
            codes_NC: int64. values_NV: float32.
            noise_NL: standard normal.
            index: of the spans.
        """
        mean, log_variance = self.posterior(index.rows(codes_NC, values_NV))
        place = torch.addcmul(mean, noise_NL, (0.5 * log_variance).exp())
        reconstruction = self.reconstruction(self.decoder(place), codes_NC, values_NV, index)
        if self.prior is None:
            return reconstruction, 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        minus_entropy = -0.5 * (1 + math.log(2 * math.pi) + log_variance).sum(1)
        return reconstruction, minus_entropy - self.prior.log_density(place)

    def reconstruction(self, out: Tensor, codes_NC: Tensor, values_NV: Tensor, index: SpanIndex) -> Tensor:
        """-log p(row | place) of each row (N) from the decoder's output."""
        m = n_value_codes(self.spans)
        logits_NS = out[:, 2 * m :]
        scores = logits_NS - index.column_max(logits_NS) @ index.member_SC.T
        normalisers_NC = (scores.exp() @ index.member_SC).log()
        result = normalisers_NC.sum(1) - scores.gather(1, index.offsets + codes_NC).sum(1)
        if not self.spans.n_values:
            return result
        at_NV = self.value_start_V + codes_NC[:, self.value_column_V]
        mean, log_std = torch.tanh(out[:, :m].gather(1, at_NV)), value_log_std(out[:, m : 2 * m].gather(1, at_NV))
        away = (values_NV - mean) * torch.exp(-log_std)
        minus_log_NV = 0.5 * away.square() + log_std + 0.5 * math.log(2 * math.pi)
        return result + (minus_log_NV * self.spread_M[at_NV]).sum(1)


class MixturePrior(nn.Module):
    """sum_k w_k N(m_k, diag(s_k^2)) over places.

    Args:
        components: K.
        latent_dim: L.
        rng: draws the initial means, from N(0, I).
    """

    def __init__(self, components: int, latent_dim: int, rng: torch.Generator) -> None:
        super().__init__()
        self.mean_KL = nn.Parameter(torch.empty(components, latent_dim).normal_(generator=rng))
        self.log_std_KL = nn.Parameter(torch.full((components, latent_dim), math.log(FIRST_SPREAD)))
        self.log_weight_K = nn.Parameter(torch.zeros(components))

    def log_density(self, place_NL: Tensor) -> Tensor:
        """log p(place) of each row (N); the squares are multiplied out into two matrix products."""
        precision_KL = torch.exp(-2 * self.log_std_KL)
        constant_K = (
            self.log_weight_K.log_softmax(0)
            - (self.log_std_KL + 0.5 * self.mean_KL.square() * precision_KL).sum(1)
            - 0.5 * math.log(2 * math.pi) * self.mean_KL.shape[1]
        )
        log_NK = torch.addmm(constant_K, place_NL, (self.mean_KL * precision_KL).T)
        return torch.addmm(log_NK, place_NL.square(), -0.5 * precision_KL.T).logsumexp(1)


def perceptron(widths: Sequence[int], rng: torch.Generator) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between; weights uniform within 1 / sqrt(inputs), biases too."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layer, bound = nn.Linear(n_in, n_out), 1 / math.sqrt(n_in)
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=rng)
            layer.bias.uniform_(-bound, bound, generator=rng)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def value_log_std(raw: Tensor) -> Tensor:
    """Log of a value's width from the decoder's output; a raw 0 is a third of a mode."""
    return (raw - 1).clamp(*LOG_STD_RANGE)


def value_std(raw: Tensor) -> Tensor:
    """A value's width from the decoder's output."""
    return value_log_std(raw).exp()


_BLOCK = 4096
_DRAWS = 16  # places of a row that its error is averaged over


@dataclass(frozen=True)
class Rebuilder:
    """Encoder and decoder after training.

    Args:
        model: on the CPU.
    """

    model: TabularVae

    @torch.no_grad()
    def errors(self, block: EncodedBlock, seed: int = 0) -> np.ndarray:
        """Mean of -log p(row | place) over places drawn from the row's own posterior (N,), in nats.

        Args:
            block: encoded rows.
            seed: of the draws.
        """
        index = SpanIndex(self.model.spans)
        rng = torch.Generator().manual_seed(seed)
        parts = []
        for start in range(0, len(block), _BLOCK):
            codes = torch.from_numpy(block.codes_NC[start : start + _BLOCK].astype(np.int64))
            values = torch.from_numpy(block.values_NV[start : start + _BLOCK].astype(np.float32))
            mean, log_variance = self.model.posterior(index.rows(codes, values))
            total = torch.zeros(len(codes))
            for _ in range(_DRAWS):
                noise_NL = torch.empty_like(mean).normal_(generator=rng)
                place = torch.addcmul(mean, noise_NL, (0.5 * log_variance).exp())
                total += self.model.reconstruction(self.model.decoder(place), codes, values, index)
            parts.append(total / _DRAWS)
        return torch.cat(parts).double().numpy() if parts else np.zeros(0)
