"""Rows from a trained GAN: folded weights, and the conditions that the generator is asked for.

After training, batch normalisation is a fixed scale and shift, so it is folded into the weights before it. Codes are
drawn by the Gumbel-max trick, which is what the Gumbel-softmax of training tends to as its temperature falls.

Of a conditional GAN a model of the given columns draws their codes, under the conditions and exactly, whatever their
number; the generator is asked for just these codes and makes the other columns.

Shape legend: N rows, E noise numbers, K conditions (codes of all given columns), D outputs of all layers together,
Q given columns, S codes, V values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.methods.gan.network import Conditions, Generator, condition_inputs, own_conditions
from raysynth.methods.shared.inversion import Decoded
from raysynth.methods.shared.row_sampler import (
    RowSampler,
    add_product,
    product,
    read_arrays,
    read_spans,
    read_value_maps,
)
from raysynth.methods.shared.spans import Spans
from raysynth.sampling.chunks import Generator as CodeGenerator

DrawConditions = Callable[[int, torch.Generator], Tensor | None]

STATISTICS_BATCHES = 40
_LOG_WIDTH = math.log(0.1)  # inversion: how far a value may be off, in modes


@dataclass(frozen=True, kw_only=True)
class GanSampler(RowSampler):
    """A trained generator.

    Args:
        arrays: 'noise' (E, D), 'condition' (K, D), 'bias' (D), 'skip.i' (inputs, outputs).
        conditions: the condition vector.
        shares_K: released share of each condition in its column: conditions are drawn by it.
        hidden: units of the hidden layers.
    """

    conditions: Conditions
    shares_K: np.ndarray
    hidden: tuple[int, ...]

    def outputs(self, n: int, rng: torch.Generator, fixed: Any = None) -> tuple[Tensor, Tensor]:
        """Logits (n, S) and values (n, V); conditions are drawn by their released shares where none is fixed."""
        condition_N = self._draw_conditions(n, rng) if fixed is None else torch.full((n,), fixed)
        noise_NE = torch.empty(n, self.arrays["noise"].shape[0]).normal_(generator=rng)
        raw_NW = self.forward(noise_NE, condition_N)
        n_values = self.spans.n_values
        return raw_NW[:, n_values:], torch.tanh(raw_NW[:, :n_values])

    def fixed_condition(self, weights: Mapping[int, np.ndarray]) -> Any:
        """The first condition column whose weights leave a single code, as a condition; None where there is none."""
        first = 0
        for column, cardinality in zip(self.conditions.columns, self.conditions.cardinalities, strict=True):
            if column in weights and np.count_nonzero(weights[column]) == 1:
                return first + int(np.flatnonzero(weights[column])[0])
            first += cardinality
        return None

    def forward(self, noise_NE: Tensor, condition: Tensor | None) -> Tensor:
        """Raw outputs (N, W), the code bias included."""
        net = self.tensors("bias")
        raw_ND = product(noise_NE, net["noise"]).add_(net["bias"])
        if condition is not None:
            raw_ND += condition_inputs(condition, net["condition"])
        start = 0
        for onward in self._onward(net):
            end = start + len(onward)
            hidden = torch.relu_(raw_ND[:, start:end])
            add_product(raw_ND[:, end:], hidden, onward)
            start = end
        return raw_ND[:, start:]

    # ---- what inversion asks for (`methods/shared/inversion.py`) -----------------------------------------------------

    def draw_inputs(self, n: int, rng: torch.Generator) -> Tensor:
        """Standard normal noise (n, E)."""
        return torch.empty(n, self.arrays["noise"].shape[0]).normal_(generator=rng)

    def minus_log_prior(self, input_NI: Tensor) -> Tensor:
        """-log p(noise) of each row (N), up to a constant."""
        return 0.5 * input_NI.square().sum(1)

    def condition_for(self, codes_NC: Tensor, known_C: Sequence[bool], rng: torch.Generator) -> Tensor | None:
        """Of each row the code of one of its known condition columns at random (N); of none known, released shares."""
        pairs = zip(self.conditions.first, self.conditions.columns, strict=True)
        known = [(first, column) for first, column in pairs if known_C[column]]
        if not known:
            return self._draw_conditions(len(codes_NC), rng)
        first_Q, column_Q = torch.tensor(known).T
        return own_conditions(codes_NC, first_Q, column_Q, rng)

    def decoded(self, input_NI: Tensor, condition_N: Tensor | None) -> Decoded:
        """Logits and values, nothing changed in place; a value's width is not modelled, so it is a fixed one."""
        net = self.tensors("bias", exact=True)
        raw_ND = input_NI @ net["noise"] + net["bias"]
        if condition_N is not None:
            raw_ND = raw_ND + condition_inputs(condition_N, net["condition"])
        hidden: list[Tensor] = []
        for t, part in enumerate(raw_ND.split((*self.hidden, self.spans.width), 1)):
            skips = [h @ net[f"skip.{t * (t - 1) // 2 + s}"] for s, h in enumerate(hidden)]
            hidden.append(sum(skips, part).relu() if t < len(self.hidden) else sum(skips, part))
        n_values = self.spans.n_values
        values_NV = torch.tanh(hidden[-1][:, :n_values])
        return Decoded(hidden[-1][:, n_values:], values_NV, torch.full_like(values_NV, _LOG_WIDTH))

    def _onward(self, net: Mapping[str, Tensor]) -> list[Tensor]:
        """For each hidden layer its weights to all later layers side by side: one product instead of several."""
        if "onward" not in self._made:
            layers = range(len(self.hidden))
            skips = [[net[f"skip.{t * (t - 1) // 2 + s}"] for t in range(s + 1, len(layers) + 1)] for s in layers]
            self._made["onward"] = [torch.cat(weights, 1) for weights in skips]
        made: list[Tensor] = self._made["onward"]
        return made

    def _draw_conditions(self, n: int, rng: torch.Generator) -> Tensor | None:
        """Conditions (n): column uniform, code by its released share; None without a condition vector."""
        if "draw" not in self._made:
            self._made["draw"] = drawn_by(self.shares_K)
        draw: DrawConditions = self._made["draw"]
        return draw(n, rng)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta, arrays = self.shared_state()
        meta = {**meta, "condition_columns": list(self.conditions.columns), "hidden": list(self.hidden)}
        return meta, {**arrays, "shares": self.shares_K}

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> GanSampler:
        """The inverse of `to_state`; raises `KeyError` or `ValueError` where parts are missing or do not fit."""
        return cls(**read_state(meta, arrays))


def read_state(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The arguments of a `GanSampler` in a state; raises `KeyError` or `ValueError`."""
    spans = read_spans(meta)
    conditions = Conditions.on(spans, tuple(map(int, meta["condition_columns"])))
    hidden = tuple(map(int, meta["hidden"]))
    n_shares = conditions.size if len(arrays["shares"]) else 0
    others = read_arrays(arrays, {"shares": (n_shares,), "code_bias": (spans.n_codes,)})
    return {
        "spans": spans,
        "arrays": read_generator(arrays, spans, conditions, hidden),
        "code_bias_S": others["code_bias"],
        "value_maps": read_value_maps(meta, arrays, spans),
        "conditions": conditions,
        "shares_K": others["shares"],
        "hidden": hidden,
    }


def read_generator(
    arrays: Mapping[str, np.ndarray], spans: Spans, conditions: Conditions, hidden: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The folded weights in a state; raises `KeyError` or `ValueError` where they do not fit."""
    outputs = (*hidden, spans.width)
    shapes: dict[str, tuple[int, ...]] = {
        "noise": (len(arrays["noise"]), sum(outputs)),
        "condition": (conditions.size, sum(outputs)),
        "bias": (sum(outputs),),
    }
    skips = [(inputs, outputs[i]) for i in range(len(outputs)) for inputs in hidden[:i]]
    shapes |= {f"skip.{i}": shape for i, shape in enumerate(skips)}
    return read_arrays(arrays, shapes)


def drawn_by(shares_K: np.ndarray) -> DrawConditions:
    """One condition for each row by its share; no conditions where there are no shares."""
    edges = torch.from_numpy(np.cumsum(shares_K / max(shares_K.sum(), 1e-300)))

    def draw(n: int, rng: torch.Generator) -> Tensor | None:
        if not len(edges):
            return None
        place = torch.empty(n, dtype=torch.float64).uniform_(generator=rng)
        return torch.searchsorted(edges, place, right=True).clamp_(max=len(edges) - 1)

    return draw


@torch.no_grad()
def folded(generator: Generator, draw: DrawConditions, batch_size: int, seed: int) -> dict[str, np.ndarray]:
    """The arrays of a `GanSampler`, batch normalisation folded in.

    The running statistics are those of the last weights; here the weights are averaged ones, so their statistics are
    taken anew from batches like those of training.

    Args:
        generator: with the weights to sample from; its running statistics are replaced.
        draw: conditions as they occur in training, see `drawn_by`.
        batch_size: rows of a training batch.
        seed: of the noise.
    """
    rng = torch.Generator().manual_seed(seed)
    for norm in generator.norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    generator.train()
    for _ in range(STATISTICS_BATCHES):
        noise = torch.empty(batch_size, generator.embedding_dim).normal_(generator=rng)
        generator(noise, draw(batch_size, rng))
    scale_D, shift_D = _normalisation(generator)
    arrays = {
        "noise": generator.noise_ED * scale_D,
        "condition": generator.condition_KD * scale_D,
        "bias": generator.bias_D * scale_D + shift_D,
    }
    scales = scale_D.split((*generator.hidden, generator.n_out))
    targets = [i for i in range(len(scales)) for _ in range(i)]
    for i, (skip, target) in enumerate(zip(generator.skips, targets, strict=True)):
        arrays[f"skip.{i}"] = skip * scales[target]
    return {name: np.ascontiguousarray(a.detach().cpu().numpy()) for name, a in arrays.items()}


def _normalisation(generator: Generator) -> tuple[Tensor, Tensor]:
    """Scale and shift (D) that batch normalisation applies to each layer's output; the last layer has none."""
    scales, shifts = [], []
    for norm in generator.norms:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        scales.append(scale)
        shifts.append(norm.bias - norm.running_mean * scale)
    ones = torch.ones(generator.n_out, device=generator.bias_D.device)
    return torch.cat([*scales, ones]), torch.cat([*shifts, torch.zeros_like(ones)])


NEVER = -1e4  # logit of a code that is not the given one: beyond the reach of noise and calibration
_DRAWN = 1024  # rows of given columns that fill in what is not known of a row


@dataclass(frozen=True, kw_only=True)
class ConditionalGanSampler(GanSampler):
    """A trained conditional generator.

    Args:
        given: draws the codes of the given columns alone, `conditions.columns`, numbered from 0 on in this order.
        shares_K: not used; empty.
    """

    given: CodeGenerator

    @property
    def exact_columns(self) -> frozenset[int]:
        """Columns on which conditions are exact."""
        return frozenset(self.conditions.columns)

    def fixed_condition(self, weights: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """The weights on given columns, by their number among these."""
        return {q: weights[c] for q, c in enumerate(self.conditions.columns) if c in weights}

    def draw_conditions(self, n: int, rng: torch.Generator) -> Tensor:
        """Conditions (n, Q) as they occur in the table, for the generator."""
        return torch.tensor(self.conditions.first) + self._draw_given(n, rng, None)

    def _draw_given(self, n: int, rng: torch.Generator, weights: Mapping[int, np.ndarray] | None) -> Tensor:
        """Codes of the given columns, (n, Q) int64."""
        numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
        return torch.from_numpy(self.given.generate(n, numbers, weights).codes_NC.astype(np.int64))

    def outputs(self, n: int, rng: torch.Generator, fixed: Any = None) -> tuple[Tensor, Tensor]:
        """Logits (n, S), in given columns of the given code alone, and values (n, V)."""
        codes_NQ = self._draw_given(n, rng, fixed)
        noise_NE = torch.empty(n, self.arrays["noise"].shape[0]).normal_(generator=rng)
        raw_NW = self.forward(noise_NE, torch.tensor(self.conditions.first) + codes_NQ)
        n_values = self.spans.n_values
        self._give(raw_NW[:, n_values:], codes_NQ)
        return raw_NW[:, n_values:], torch.tanh(raw_NW[:, :n_values])

    def _give(self, logits_NS: Tensor, codes_NQ: Tensor) -> None:
        """In place: in given columns the given code alone."""
        for q, column in enumerate(self.conditions.columns):
            start = self.spans.offsets[column]
            logits_NS[:, start : start + self.spans.cardinalities[column]] = NEVER
            logits_NS[torch.arange(len(logits_NS)), start + codes_NQ[:, q]] = 0

    # ---- what inversion asks for (`methods/shared/inversion.py`) -----------------------------------------------------

    def condition_for(self, codes_NC: Tensor, known_C: Sequence[bool], rng: torch.Generator) -> Tensor:
        """Conditions (N, Q): of each row its known given codes; the unknown ones from a drawn row that agrees best."""
        own_NQ = codes_NC[:, list(self.conditions.columns)]
        known = [q for q, column in enumerate(self.conditions.columns) if known_C[column]]
        if len(known) < own_NQ.shape[1]:
            drawn_PQ = self._draw_given(_DRAWN, rng, None)
            agree_NP = torch.rand(len(own_NQ), len(drawn_PQ), generator=rng)  # a tie goes to any of them
            for q in known:
                agree_NP += own_NQ[:, q, None] == drawn_PQ[:, q]
            filled_NQ = drawn_PQ[agree_NP.argmax(1)]
            filled_NQ[:, known] = own_NQ[:, known]
            own_NQ = filled_NQ
        return torch.tensor(self.conditions.first) + own_NQ

    def decoded(self, input_NI: Tensor, condition_N: Tensor | None) -> Decoded:
        """The generator's answer, in given columns the given code."""
        assert condition_N is not None
        answer = super().decoded(input_NI, condition_N)
        logits_NS = answer.logits_NS.clone()
        self._give(logits_NS, condition_N - torch.tensor(self.conditions.first))
        return Decoded(logits_NS, answer.mean_NM, answer.log_std_NM)

    @classmethod
    def restored(
        cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, given: CodeGenerator
    ) -> ConditionalGanSampler:
        """The inverse of `to_state`, with the model of the given columns beside it."""
        return cls(**read_state(meta, arrays), given=given)
