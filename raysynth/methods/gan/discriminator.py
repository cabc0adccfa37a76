"""CTGAN's discriminator (a WGAN-GP critic on packs of rows) with its gradients worked out by hand.

Sources: Xu et al. 2019, section 4.4; packing: Lin et al. 2018 (PacGAN); gradient penalty: Gulrajani et al. 2017, eq. 3.

With the slopes s of LeakyReLU and dropout held fixed, the network is linear in its input, so that everything the loss
needs has a closed form and no differentiation of a derivative:

    forward    a_l = h_(l-1) W_l + b_l,   h_l = s_l * a_l,   score = h_L w + b
    backward   d_L = d * w * s_L,         d_(l-1) = (d_l W_l') * s_(l-1),    gradient at the input = d_1 W_1'

The penalty mean (|g| - 1)^2 of the gradient g = d_1 W_1' at mixed rows (d = 1) is a function of the weights alone. Its
derivative P by g goes through the backward chain in reverse, which is a forward pass without biases:

    r_0 = P,   r_l = (r_(l-1) W_l) * s_l,   gradient of W_l = r_(l-1)' d_l,   of w = sum r_L

so the weights' gradients of all three kinds of rows - generated, real, mixed - are one product per layer. The slopes
are constant almost everywhere, so this is exact. The first layer is linear: a mixed row's a_1 is the mix of the other
two's. Real rows are one-hot: their a_1 is a sum of gathered weight rows.

Shape legend: N rows, Q = N / pac packs, W = length of a row vector, K conditions, H units, B = packs of all kinds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.network import Conditions
from raysynth.methods.shared.spans import SpanIndex, Spans

NEGATIVE_SLOPE = 0.2
PENALTY_WEIGHT = 10.0


@dataclass(frozen=True)
class Rows:
    """Row vectors (N, W) and the condition (N) of each, or None."""

    vectors_NW: Tensor
    condition_N: Tensor | None


@dataclass(frozen=True)
class Pass:
    """What the forward pass leaves for the backward one, for each hidden layer."""

    slopes: list[Tensor]
    hidden: list[Tensor]
    score: Tensor


class Discriminator(nn.Module):
    """Scores packs of rows. Gradients are made by `critic_losses` and `score_gradient`, not by autograd.

    Args:
        n_row: W.
        n_conditions: K.
        pac: rows in a pack.
        hidden: H of each hidden layer.
        dropout: share of hidden units that is dropped in training.
        rng: draws the initial weights.
    """

    def __init__(
        self,
        n_row: int,
        n_conditions: int,
        pac: int,
        hidden: tuple[int, ...],
        rng: torch.Generator,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.pac, self.dropout, self.n_conditions, self.hidden = pac, dropout, n_conditions, hidden
        n_inputs = (pac * (n_row + n_conditions), *hidden)

        def uniform(rows: int, columns: int, layer: int) -> nn.Parameter:
            bound = 1 / math.sqrt(n_inputs[layer])
            return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound, generator=rng), requires_grad=False)

        self.row_weight = uniform(pac * n_row, hidden[0], 0)
        self.condition_weight = uniform(pac * n_conditions, hidden[0], 0)
        self.weights = nn.ParameterList([uniform(hidden[i - 1], hidden[i], i) for i in range(1, len(hidden))])
        self.biases = nn.ParameterList([uniform(1, hidden[i], i) for i in range(len(hidden))])
        self.out_weight = uniform(hidden[-1], 1, len(hidden))
        self.out_bias = uniform(1, 1, len(hidden))

    def keep(self, n_packs: int, rng: torch.Generator) -> list[Tensor]:
        """Dropout factors (Q, H) of each hidden layer: 0 or 1 / (1 - dropout); without dropout nothing is drawn."""
        if not self.dropout:
            one = torch.ones((), device=rng.device)
            return [one.expand(n_packs, width) for width in self.hidden]
        uniform = torch.empty(n_packs, sum(self.hidden), device=rng.device).uniform_(generator=rng)
        factors = (uniform >= self.dropout).float() / (1 - self.dropout)
        return list(factors.split(self.hidden, 1))

    def first_of_vectors(self, rows: Rows) -> Tensor:
        """a_1 without bias (Q, H) of any row vectors."""
        first = self._packed(rows.vectors_NW) @ self.row_weight
        return first if rows.condition_N is None else first + self._first_of_conditions(rows.condition_N)

    def first_of_codes(
        self, codes_NC: Tensor, values_NV: Tensor, condition_N: Tensor | None, index: SpanIndex
    ) -> Tensor:
        """The same for real rows, given as codes and values: a sum of gathered weight rows."""
        n_values, width = index.spans.n_values, index.spans.width
        start = torch.arange(self.pac, device=codes_NC.device).repeat(len(codes_NC) // self.pac)[:, None] * width
        places = torch.cat(
            [start + torch.arange(n_values, device=start.device), start + n_values + index.offsets + codes_NC], 1
        )
        factors = torch.cat([values_NV, values_NV.new_ones(codes_NC.shape)], 1)
        first = nn.functional.embedding_bag(
            self._packed(places), self.row_weight, per_sample_weights=self._packed(factors), mode="sum"
        )
        return first if condition_N is None else first + self._first_of_conditions(condition_N)

    def forward_from(self, first: Tensor, keep: Sequence[Tensor]) -> Pass:
        """Forward pass of packs from a_1 without bias."""
        slopes: list[Tensor] = []
        hidden: list[Tensor] = []
        for i, factor in enumerate(keep):
            a = first + self.biases[i] if i == 0 else torch.addmm(self.biases[i], hidden[-1], self.weights[i - 1])
            slope = torch.where(a > 0, factor, NEGATIVE_SLOPE * factor)
            slopes.append(slope)
            hidden.append(a * slope)
        return Pass(slopes, hidden, torch.addmm(self.out_bias, hidden[-1], self.out_weight)[:, 0])

    def backward_from(self, d_score: Tensor, done: Pass) -> list[Tensor]:
        """d_1 ... d_L from the derivative (B) by each pack's score."""
        d = [d_score[:, None] * self.out_weight[:, 0] * done.slopes[-1]]
        for weight, slope in zip(reversed(list(self.weights)), reversed(done.slopes[:-1]), strict=True):
            d.append((d[-1] @ weight.T) * slope)
        return d[::-1]

    def _packed(self, x_NX: Tensor) -> Tensor:
        return x_NX.reshape(len(x_NX) // self.pac, -1)

    def condition_places(self, condition_N: Tensor) -> Tensor:
        """Rows (Q, pac) of `condition_weight` that the conditions of each pack switch on."""
        start = torch.arange(self.pac, device=condition_N.device) * self.n_conditions
        return self._packed(condition_N[:, None]) + start

    def _first_of_conditions(self, condition_N: Tensor) -> Tensor:
        return nn.functional.embedding_bag(self.condition_places(condition_N), self.condition_weight, mode="sum")


@torch.no_grad()
def critic_losses(
    model: Discriminator,
    fake: Rows,
    real: Rows,
    first_real: Tensor,
    mix_Q: Tensor,
    keep: Sequence[Tensor],
    penalty_weight: float = PENALTY_WEIGHT,
) -> tuple[Tensor, ...]:
    """Losses of the critic and their gradients.

    Args:
        model: the discriminator.
        fake, real: N rows each.
        first_real: a_1 of the real rows (`first_of_codes`).
        mix_Q: share of the real pack in each mixed pack, in [0, 1].
        keep: dropout factors, the same for the three packs of one place.
        penalty_weight: lambda.

    Returns:
        Mean score of fakes - of real ones; penalty; then the gradient of their sum for each of `model.parameters()`.
    """
    q, mix = len(mix_Q), mix_Q[:, None]
    first_fake = model.first_of_vectors(fake)
    first = torch.cat([first_fake, first_real, torch.lerp(first_fake, first_real, mix)])
    done = model.forward_from(first, [k.repeat(3, 1) for k in keep])
    d_score = torch.cat([mix_Q.new_full((q,), 1 / q), mix_Q.new_full((q,), -1 / q), mix_Q.new_ones(q)])
    d = model.backward_from(d_score, done)

    packs = torch.cat(
        [model._packed(fake.vectors_NW), model._packed(real.vectors_NW), d[0][2 * q :] @ model.row_weight.T]
    )
    gradient, condition_gradient = packs[2 * q :], d[0][2 * q :] @ model.condition_weight.T
    norm = (gradient.square().sum(1) + condition_gradient.square().sum(1)).sqrt()
    pull = (2 * penalty_weight / q * (norm - 1) / norm.clamp(min=1e-12))[:, None]
    gradient *= pull
    condition_gradient *= pull
    sweep = gradient @ model.row_weight + condition_gradient @ model.condition_weight

    of_rows = [packs.T @ d[0], _condition_weight_gradient(model, fake, real, condition_gradient, d[0])]
    of_layers = _layer_gradients(model, done, [*d, d_score[:, None]], sweep)
    loss = done.score[:q].mean() - done.score[q : 2 * q].mean()
    return loss, penalty_weight * (norm - 1).square().mean(), *of_rows, *of_layers


def _layer_gradients(model: Discriminator, done: Pass, d: list[Tensor], sweep: Tensor) -> list[Tensor]:
    """Of the output's weight and bias, of the weights after the first layer's, and of all biases but the output's.

    Args:
        model: the discriminator.
        done: forward pass of generated, real and mixed packs.
        d: derivatives by each layer's result, the score's last.
        sweep: r_0 W_1.
    """
    judged = len(d[0]) - len(sweep)  # packs of the first two kinds
    of_weights, of_biases = [], []
    for i, slope in enumerate(done.slopes):
        of_biases.append(d[i][:judged].sum(0, keepdim=True))
        sweep = sweep * slope[judged:]
        of_weights.append(torch.cat([done.hidden[i][:judged], sweep]).T @ d[i + 1])
        if i < len(model.weights):
            sweep = sweep @ model.weights[i]
    return [of_weights[-1], torch.zeros_like(model.out_bias), *of_weights[:-1], *of_biases]


def _condition_weight_gradient(
    model: Discriminator, fake: Rows, real: Rows, condition_gradient: Tensor, d_first: Tensor
) -> Tensor:
    """Mixed packs by a product, generated and real ones by adding up: their conditions are one-hot."""
    q = len(condition_gradient)
    result = condition_gradient.T @ d_first[2 * q :]
    for rows, d in ((fake, d_first[:q]), (real, d_first[q : 2 * q])):
        if rows.condition_N is not None:
            places = model.condition_places(rows.condition_N)
            result.index_add_(0, places.reshape(-1), d.repeat_interleave(model.pac, 0))
    return result


@torch.no_grad()
def score_gradient(model: Discriminator, fake: Rows, keep: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The generator's adversarial loss, - mean score, and its gradient by the row vectors (N, W)."""
    done = model.forward_from(model.first_of_vectors(fake), keep)
    d = model.backward_from(torch.full_like(done.score, -1 / len(done.score)), done)
    return -done.score.mean(), (d[0] @ model.row_weight.T).reshape(fake.vectors_NW.shape)


_BLOCK = 4096


@dataclass(frozen=True)
class Critic:
    """The discriminator after training.

    Args:
        discriminator: on the CPU.
        spans: layout of a row vector.
        conditions: the condition vector that it was trained with.
    """

    discriminator: Discriminator
    spans: Spans
    conditions: Conditions

    @torch.no_grad()
    def score(self, block: EncodedBlock) -> np.ndarray:
        """Score of each row (N,), of a pack of copies of it, without dropout.

        With a condition vector: the mean over the condition columns, each given the row's own code.
        """
        index = SpanIndex(self.spans)
        parts = []
        for start in range(0, len(block), _BLOCK):
            codes = torch.from_numpy(block.codes_NC[start : start + _BLOCK].astype(np.int64))
            values = torch.from_numpy(block.values_NV[start : start + _BLOCK].astype(np.float32))
            parts.append(torch.stack([self._scores(codes, values, c, index) for c in self._own(codes)]).mean(0))
        return torch.cat(parts).double().numpy() if parts else np.zeros(0)

    def _scores(self, codes_NC: Tensor, values_NV: Tensor, condition_N: Tensor | None, index: SpanIndex) -> Tensor:
        model = self.discriminator
        packed = [t if t is None else t.repeat_interleave(model.pac, 0) for t in (codes_NC, values_NV, condition_N)]
        first = model.first_of_codes(packed[0], packed[1], packed[2], index)
        return model.forward_from(first, [torch.ones(1, 1) for _ in model.hidden]).score

    def _own(self, codes_NC: Tensor) -> Iterator[Tensor | None]:
        """The conditions that a row itself satisfies, one for each condition column."""
        if not self.conditions.columns:
            yield None
        start = 0
        for column, cardinality in zip(self.conditions.columns, self.conditions.cardinalities, strict=True):
            yield start + codes_NC[:, column]
            start += cardinality
