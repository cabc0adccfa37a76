"""CTGAN's generator, and what it is taught beside fooling the discriminator: to keep the condition that it was given.

Source: Xu, Skoularidou, Cuesta-Infante, Veeramachaneni: Modeling Tabular data using Conditional GAN, NeurIPS 2019
(arXiv 1907.00503), sections 4.2 to 4.4. The discriminator is in `discriminator.py`.

The input of every layer of the paper's generator is [hidden layers so far | noise | one-hot condition]. Here the noise
enters all layers by one product and the condition by one gathered row, which are the same sums in another order.

Shape legend: N rows, E noise numbers, K conditions (one for each code of each condition column), H hidden units,
W = length of a row vector, S = its codes (see `spans.py`), D = sum of the layers' outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysynth.methods.shared.spans import SpanIndex, Spans

TEMPERATURE = 0.2  # of the Gumbel-softmax, section 4.4


@dataclass(frozen=True)
class Conditions:
    """The condition vector (section 4.3): each row is given one code of one of the condition columns.

    Condition j in 0..K-1 counts the codes of the condition columns one after the other.

    Args:
        columns: condition columns, ascending; empty: no condition vector.
        cardinalities: number of codes of each of them.
    """

    columns: tuple[int, ...]
    cardinalities: tuple[int, ...]

    @classmethod
    def on(cls, spans: Spans, columns: tuple[int, ...]) -> Conditions:
        """Conditions on the given columns of a table."""
        return cls(tuple(sorted(columns)), tuple(spans.cardinalities[c] for c in sorted(columns)))

    @property
    def size(self) -> int:
        """Width of the vector of conditions, K: one place for each category."""
        return sum(self.cardinalities)

    @property
    def first(self) -> tuple[int, ...]:
        """The first condition of each condition column."""
        return tuple(sum(self.cardinalities[:i]) for i in range(len(self.cardinalities)))

    def table(self, spans: Spans) -> tuple[Tensor, Tensor]:
        """Of each condition: the column (K), and the place of its code among the S codes (K)."""
        column = torch.tensor([c for c, k in zip(self.columns, self.cardinalities, strict=True) for _ in range(k)])
        place = [spans.offsets[c] + i for c, k in zip(self.columns, self.cardinalities, strict=True) for i in range(k)]
        return column.long(), torch.tensor(place).long()


class Generator(nn.Module):
    """Noise and a condition to the raw numbers of a row vector; every layer sees all before it.

    Args:
        n_out: W.
        n_conditions: K (0: no condition vector).
        embedding_dim: E.
        hidden: H of each hidden layer.
        rng: draws the initial weights: uniform within 1 / sqrt(inputs of the layer), biases too.
    """

    def __init__(
        self, n_out: int, n_conditions: int, embedding_dim: int, hidden: tuple[int, ...], rng: torch.Generator
    ) -> None:
        super().__init__()
        self.hidden, self.n_out, self.embedding_dim = hidden, n_out, embedding_dim
        outputs = (*hidden, n_out)
        n_inputs = [n_conditions + embedding_dim + sum(hidden[:i]) for i in range(len(outputs))]

        def uniform(rows: int, layer: int) -> Tensor:
            bound = 1 / math.sqrt(n_inputs[layer])
            return torch.empty(rows, outputs[layer]).uniform_(-bound, bound, generator=rng)

        layers = range(len(outputs))
        self.noise_ED = nn.Parameter(torch.cat([uniform(embedding_dim, i) for i in layers], 1))
        self.condition_KD = nn.Parameter(torch.cat([uniform(n_conditions, i) for i in layers], 1))
        self.bias_D = nn.Parameter(torch.cat([uniform(1, i) for i in layers], 1)[0])
        self.skips = nn.ParameterList([uniform(hidden[j], i) for i in layers for j in range(i)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(h) for h in hidden])

    def forward(self, noise_NE: Tensor, condition: Tensor | None, *, count: bool = True) -> Tensor:
        """Raw outputs (N, W); the condition is one of K for each row (N), several of them (N, Q), or None.

        `count=False` leaves the running statistics as they are: for rows that were made, and counted, before.
        """
        inputs_ND = torch.addmm(self.bias_D, noise_NE, self.noise_ED)
        if condition is not None:
            inputs_ND = inputs_ND + condition_inputs(condition, self.condition_KD)
        before: list[Tensor] = []
        skips = iter(self.skips)
        for i, layer in enumerate(inputs_ND.split((*self.hidden, self.n_out), 1)):
            for hidden in before:
                layer = torch.addmm(layer, hidden, next(skips))
            if i == len(self.hidden):
                return layer
            norm = self.norms[i]
            before.append(torch.relu(norm(layer) if count else _uncounted(norm, layer)))
        raise AssertionError("the last layer returns")


def _uncounted(norm: nn.BatchNorm1d, layer_NH: Tensor) -> Tensor:
    """Batch normalisation in training that no running statistic hears of."""
    return nn.functional.batch_norm(layer_NH, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)


def own_conditions(codes_NC: Tensor, first_Q: Tensor, column_Q: Tensor, rng: torch.Generator) -> Tensor:
    """Of each row the condition (N) that its own code at one of some condition columns makes, drawn at random.

    Args:
        codes_NC: codes of rows, on the generator's device.
        first_Q, column_Q: first condition of each of these columns, and which column it is.
        rng: of the draw.
    """
    pick_N = torch.randint(len(first_Q), (len(codes_NC),), generator=rng, device=codes_NC.device)
    return first_Q[pick_N] + codes_NC.gather(1, column_Q[pick_N][:, None])[:, 0]


def condition_inputs(condition: Tensor, weight_KD: Tensor) -> Tensor:
    """What one-hot conditions (N) or multi-hot ones (N, Q) contribute to all layers (N, D): gathered weight rows."""
    if condition.ndim == 1:
        return weight_KD.index_select(0, condition)
    return nn.functional.embedding_bag(condition, weight_KD, mode="sum")


def condition_loss(raw_NW: Tensor, condition_N: Tensor, column_K: Tensor, place_K: Tensor, index: SpanIndex) -> Tensor:
    """Cross-entropy between the condition and the generator's logits of its column, mean over rows (section 4.3).

    Args:
        raw_NW: the generator's output.
        condition_N: conditions.
        column_K, place_K: see `Conditions.table`.
        index: of the spans.
    """
    logits_NS = raw_NW[:, index.spans.n_values :]
    chosen = logits_NS.gather(1, place_K[condition_N][:, None])[:, 0]
    return (index.log_normalisers(logits_NS, column_K[condition_N]) - chosen).mean()
