"""Model inversion: the input of a trained network under which a partly known row is likeliest, by gradient descent.

A decoder or generator turns an input (a latent place, noise) into a distribution over rows. An attacker who knows some
columns of a row looks for the input that explains them best, and reads the other columns off the network's answer
(Fredrikson et al. 2015, on generators; Zhang et al. 2020). A network that has learned its training rows by heart
answers with the training row.

Shape legend: N rows, I input numbers, P candidates, C columns, V values, S codes, M codes of the value columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock, concat_blocks
from raysynth.errors import ParameterError
from raysynth.fitting.prepared import encoded_blocks
from raysynth.methods.shared.row_sampler import ValueMap
from raysynth.methods.shared.spans import Spans
from raysynth.methods.vae.network import value_places

if TYPE_CHECKING:
    import pyarrow as pa

    from raysynth.methods.base import Synthesizer

_CANDIDATES = 4096  # inputs drawn at random, of which each row takes the best as its starts
_STARTS = 3
_STEPS = 150
_LEARNING_RATE = 0.03
_ROWS = 128  # searched at a time


@dataclass(frozen=True)
class Decoded:
    """What a network says of rows.

    Args:
        logits_NS: of the codes.
        mean_NM, log_std_NM: of the values, for each code that a value can come with, or for each value column.
    """

    logits_NS: Tensor
    mean_NM: Tensor
    log_std_NM: Tensor


class InvertibleNetwork(Protocol):
    """A trained network as the search sees it: differentiable from its input to its answer."""

    @property
    def spans(self) -> Spans:
        """Layout of a row vector."""
        ...

    @property
    def value_maps(self) -> tuple[ValueMap, ...]:
        """Calibration of the values."""
        ...

    def draw_inputs(self, n: int, rng: torch.Generator) -> Tensor:
        """Inputs (n, I) as they are drawn for sampling."""
        ...

    def minus_log_prior(self, input_NI: Tensor) -> Tensor:
        """How unlikely inputs are (N), in nats up to a constant."""
        ...

    def condition_for(self, codes_NC: Tensor, known_C: Sequence[bool], rng: torch.Generator) -> Tensor | None:
        """Conditions to ask for (N), from the known codes; None where there is no condition vector."""
        ...

    def decoded(self, input_NI: Tensor, condition_N: Tensor | None) -> Decoded:
        """The answer; gradients flow to the input."""
        ...


@dataclass(frozen=True)
class Search:
    """The search for the inputs of partly known rows.

    Args:
        network: to invert.
        known_C: which columns are known.
        spread_M: of the codes of value columns (in the order of `value_places`), whether their values differ; those of
            an atom or of 'missing' say nothing.
    """

    network: InvertibleNetwork
    known_C: tuple[bool, ...]
    spread_M: np.ndarray

    def completed(self, block: EncodedBlock, seed: int) -> EncodedBlock:
        """The rows with their unknown columns as the network answers; what was there in these is not looked at."""
        rng = torch.Generator().manual_seed(seed)
        pool_PI = self.network.draw_inputs(_CANDIDATES, rng)
        parts = [
            self._completed(EncodedBlock(block.codes_NC[s : s + _ROWS], block.values_NV[s : s + _ROWS]), pool_PI, rng)
            for s in range(0, len(block), _ROWS)
        ]
        codes_NC, values_NV = (np.concatenate(side) for side in zip(*parts, strict=True))
        return EncodedBlock(codes_NC, values_NV)

    def _completed(self, block: EncodedBlock, pool_PI: Tensor, rng: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        known_V = [self.known_C[c] for c in self.network.spans.value_columns]
        codes_NC = torch.from_numpy(np.where(self.known_C, block.codes_NC, 0).astype(np.int64))
        values_NV = torch.from_numpy(np.where(known_V, self._unmapped(block), 0).astype(np.float32))
        starts_NR = self._starts(codes_NC, values_NV, pool_PI, rng)
        n_starts = starts_NR.shape[1]
        repeated = [t.repeat_interleave(n_starts, 0) for t in (codes_NC, values_NV)]
        condition = self.network.condition_for(repeated[0], self.known_C, rng)
        found_NI, loss_N = self._descended(pool_PI[starts_NR.reshape(-1)], condition, repeated[0], repeated[1])
        best = torch.arange(len(codes_NC)) * n_starts + loss_N.reshape(-1, n_starts).argmin(1)
        with torch.no_grad():
            answer = self.network.decoded(found_NI[best], None if condition is None else condition[best])
        return self._read(answer, block)

    def _starts(self, codes_NC: Tensor, values_NV: Tensor, pool_PI: Tensor, rng: torch.Generator) -> Tensor:
        """The candidates that explain each row best (N, R), each under a condition of a row drawn at random."""
        with torch.no_grad():
            drawn = torch.randint(len(codes_NC), (len(pool_PI),), generator=rng)
            condition = self.network.condition_for(codes_NC[drawn], self.known_C, rng)
            answer = self.network.decoded(pool_PI, condition)
            log_PS = log_shares(answer.logits_NS, self.network.spans)
            loss_NP = self.network.minus_log_prior(pool_PI).expand(len(codes_NC), -1).clone()
            for column, offset in enumerate(self.network.spans.offsets):
                if self.known_C[column]:
                    loss_NP -= log_PS[:, offset + codes_NC[:, column]].T
            at_NV, weight_NV = self._value_places(codes_NC, answer.mean_NM.shape[1])
            for v in range(self.network.spans.n_values):
                mean_NP, log_std_NP = answer.mean_NM[:, at_NV[:, v]].T, answer.log_std_NM[:, at_NV[:, v]].T
                away = (values_NV[:, v, None] - mean_NP) * torch.exp(-log_std_NP)
                loss_NP += weight_NV[:, v, None] * (0.5 * away.square() + log_std_NP)
            return loss_NP.topk(min(_STARTS, len(pool_PI)), largest=False).indices

    def _descended(
        self, start_NI: Tensor, condition: Tensor | None, codes_NC: Tensor, values_NV: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Inputs after Adam's steps on the known columns' likelihood and the prior, and their losses (N)."""
        input_NI = start_NI.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([input_NI], lr=_LEARNING_RATE)
        for step in range(_STEPS):
            for group in optimiser.param_groups:
                group["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
            optimiser.zero_grad(set_to_none=True)
            self._losses(input_NI, condition, codes_NC, values_NV).sum().backward()
            optimiser.step()
        with torch.no_grad():
            return input_NI.detach(), self._losses(input_NI, condition, codes_NC, values_NV)

    def _losses(self, input_NI: Tensor, condition: Tensor | None, codes_NC: Tensor, values_NV: Tensor) -> Tensor:
        """-log p(known columns | input) - log p(input) of each row (N)."""
        answer = self.network.decoded(input_NI, condition)
        log_NS = log_shares(answer.logits_NS, self.network.spans)
        known = [c for c, is_known in enumerate(self.known_C) if is_known]
        places = torch.tensor(self.network.spans.offsets) + codes_NC
        loss_N = self.network.minus_log_prior(input_NI) - log_NS.gather(1, places[:, known]).sum(1)
        at_NV, weight_NV = self._value_places(codes_NC, answer.mean_NM.shape[1])
        log_std_NV = answer.log_std_NM.gather(1, at_NV)
        away = (values_NV - answer.mean_NM.gather(1, at_NV)) * torch.exp(-log_std_NV)
        return loss_N + (weight_NV * (0.5 * away.square() + log_std_NV)).sum(1)

    def _value_places(self, codes_NC: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Where in the answer the value of each code stands (N, V), and whether it says anything (N, V)."""
        spans = self.network.spans
        columns = list(spans.value_columns)
        at_NV = value_places(spans) + codes_NC[:, columns]
        known_V = torch.tensor([self.known_C[c] for c in columns], dtype=torch.float32)
        weight_NV = torch.from_numpy(self.spread_M.astype(np.float32))[at_NV] * known_V
        return (at_NV if width == len(self.spread_M) else torch.arange(len(columns)).expand_as(at_NV)), weight_NV

    def _read(self, answer: Decoded, block: EncodedBlock) -> tuple[np.ndarray, np.ndarray]:
        """Known columns as they are; of the others the likeliest code, and its value's mean through its map."""
        spans = self.network.spans
        codes_NC, values_NV = block.codes_NC.copy(), block.values_NV.copy()
        best = [part.argmax(1).numpy() for part in answer.logits_NS.split(spans.cardinalities, 1)]
        for column, is_known in enumerate(self.known_C):
            if not is_known:
                codes_NC[:, column] = best[column]
        at_NV, _ = self._value_places(torch.from_numpy(codes_NC.astype(np.int64)), answer.mean_NM.shape[1])
        means_NV = answer.mean_NM.gather(1, at_NV).clamp(-1, 1).numpy()
        for v, column in enumerate(spans.value_columns):
            if not self.known_C[column]:
                maps = self.network.value_maps
                values_NV[:, v] = maps[v].apply(codes_NC[:, column], means_NV[:, v]) if maps else means_NV[:, v]
        return codes_NC, values_NV

    def _unmapped(self, block: EncodedBlock) -> np.ndarray:
        """Values as the network made them, before calibration (N, V)."""
        if not self.network.value_maps:
            return block.values_NV
        columns = zip(self.network.value_maps, self.network.spans.value_columns, block.values_NV.T, strict=True)
        return np.stack([ValueMap(m.wanted, m.generated).apply(block.codes_NC[:, c], v) for m, c, v in columns], 1)


def log_shares(logits_NS: Tensor, spans: Spans) -> Tensor:
    """Log-softmax over each column's span (N, S)."""
    return torch.cat([part.log_softmax(1) for part in logits_NS.split(spans.cardinalities, 1)], 1)


def completed_by_inversion(
    model: Synthesizer, network: InvertibleNetwork, data: Any, unknown: Sequence[str], seed: int
) -> pa.Table:
    """The modelled columns of rows with some of them as the network answers (`methods/shared/inversion.py`).

    Args:
        model: a fitted neural synthesizer.
        network: its generator.
        data: rows in any form that `fit` takes; cells of unknown columns are not looked at.
        unknown: columns to find out; at least one other column must be known.
        seed: of the search.

    Raises:
        ParameterError: a column is not modelled, none is left, or the schema has constraints.
    """
    from raysynth.methods.shared.neural import released_quantiles

    names = model.encoder_.names
    if wrong := [c for c in unknown if c not in names]:
        raise ParameterError(f"the model has no modelled column '{wrong[0]}'; it has: {', '.join(names)}")
    known_C = tuple(name not in unknown for name in names)
    if all(known_C) or not any(known_C):
        raise ParameterError("inversion needs at least one column that is known and one that is not")
    if model.rules_ is not None:
        raise ParameterError("inversion cannot complete rows under constraints; fit without them")
    quantiles = released_quantiles(model.encoder_)
    spread_M = np.concatenate([~np.isnan(q[:, 0]) for q in quantiles]) if quantiles else np.zeros(0, bool)
    block = concat_blocks(list(encoded_blocks(model, data, min_rows=1)))
    found = Search(network, known_C, spread_M).completed(block, seed)
    return model.encoder_.decode(found, np.random.default_rng(seed))
