"""Rows from a trained generator: folded weights, the conditions it is asked for, and its calibrated outputs.

After training, batch normalisation is a fixed scale and shift, so it is folded into the weights before it. Codes are
drawn by the Gumbel-max trick, which is what the Gumbel-softmax of training tends to as its temperature falls.

Shape legend: N rows, E noise numbers, K conditions, D outputs of all layers together, S codes, V values, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock, concat_blocks
from raysynth.models.ctgan import Conditions, Generator
from raysynth.models.spans import SpanIndex, Spans, gumbel_noise

BATCH_ROWS = 1024  # rows of one forward pass, always: so that a row's numbers do not depend on how many are asked for
STATISTICS_BATCHES = 40


@dataclass(frozen=True)
class ValueMap:
    """Monotone map of one column's value inside each of its codes; see `calibration.py`.

    Args:
        generated, wanted: knots (cardinality, knots), ascending in each row.
    """

    generated: np.ndarray
    wanted: np.ndarray

    def apply(self, codes_N: np.ndarray, values_N: np.ndarray) -> np.ndarray:
        """Mapped values; codes and knots are laid out on one axis, four apart, since values are in [-1, 1]."""
        offset = 4.0 * np.arange(len(self.generated))[:, None]
        at = 4.0 * codes_N + np.clip(values_N, -1, 1)
        mapped = np.interp(at, (self.generated + offset).ravel(), (self.wanted + offset).ravel())
        return np.clip(mapped - 4.0 * codes_N, -1, 1).astype(np.float32)


@dataclass(frozen=True)
class GanSampler:
    """A trained generator without its training: arrays only, picklable (a `sampling.protocol.Generator`).

    Args:
        spans: of a row vector.
        conditions: the condition vector.
        shares_K: released share of each condition in its column: conditions are drawn by it.
        hidden: units of the hidden layers.
        arrays: 'noise' (E, D), 'condition' (K, D), 'bias' (D), 'skip.i' (inputs, outputs).
        code_bias_S: added to the logits of the codes.
        value_maps: for each value column, its map.
    """

    spans: Spans
    conditions: Conditions
    shares_K: np.ndarray
    hidden: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]
    code_bias_S: np.ndarray
    value_maps: tuple[ValueMap, ...] = ()
    _net: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_net": {}}

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows; weights that leave one code of a condition column are a condition, others are ignored."""
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        fixed = self._fixed_condition(weights or {})
        blocks = [self._batch(torch_rng, fixed) for _ in range(-(-n // BATCH_ROWS))]
        if not blocks:
            return EncodedBlock(
                np.empty((0, len(self.spans.cardinalities)), np.uint16), np.empty((0, self.spans.n_values), np.float32)
            )
        return concat_blocks(blocks).take(np.arange(n))

    def _batch(self, rng: torch.Generator, fixed: int | None) -> EncodedBlock:
        condition = self.draw_conditions(BATCH_ROWS, rng) if fixed is None else torch.full((BATCH_ROWS,), fixed)
        logits_NS, values_NV = self.outputs(BATCH_ROWS, rng, condition)
        codes = self.index.draw(logits_NS, gumbel_noise(tuple(logits_NS.shape), rng)).numpy().astype(np.uint16)
        return EncodedBlock(codes, self.mapped(codes, values_NV.numpy()))

    @property
    def index(self) -> SpanIndex:
        """Index tables of the spans."""
        if "index" not in self._net:
            self._net["index"] = SpanIndex(self.spans)
        index: SpanIndex = self._net["index"]
        return index

    def draw_conditions(self, n: int, rng: torch.Generator) -> Tensor | None:
        """Conditions (n): column uniform, code by its released share; None without a condition vector."""
        if not self.conditions.size:
            return None
        if "edges" not in self._net:
            self._net["edges"] = torch.from_numpy(np.cumsum(self.shares_K / self.shares_K.sum()))
        place = torch.empty(n, dtype=torch.float64).uniform_(generator=rng)
        return torch.searchsorted(self._net["edges"], place, right=True).clamp_(max=self.conditions.size - 1)

    def outputs(self, n: int, rng: torch.Generator, condition_N: Tensor | None) -> tuple[Tensor, Tensor]:
        """Calibrated logits (n, S) and uncalibrated values (n, V) in [-1, 1]."""
        noise = torch.empty(n, self.arrays["noise"].shape[0]).normal_(generator=rng)
        raw_NW = self.forward(noise, condition_N)
        n_values = self.spans.n_values
        return raw_NW[:, n_values:], torch.tanh(raw_NW[:, :n_values])

    def mapped(self, codes_NC: np.ndarray, values_NV: np.ndarray) -> np.ndarray:
        """Values after the maps of their columns."""
        if not self.value_maps:
            return values_NV
        columns = zip(self.value_maps, self.spans.value_columns, values_NV.T, strict=True)
        return np.stack([m.apply(codes_NC[:, c], v) for m, c, v in columns], 1)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta = {
            "cardinalities": list(self.spans.cardinalities),
            "value_columns": list(self.spans.value_columns),
            "condition_columns": list(self.conditions.columns),
            "hidden": list(self.hidden),
            "value_maps": len(self.value_maps),
        }
        arrays = {**self.arrays, "shares": self.shares_K, "code_bias": self.code_bias_S}
        for i, value_map in enumerate(self.value_maps):
            arrays[f"map.{i}.generated"], arrays[f"map.{i}.wanted"] = value_map.generated, value_map.wanted
        return meta, arrays

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> GanSampler:
        """The inverse of `to_state`; raises `KeyError` or `ValueError` where parts are missing or do not fit."""
        spans = Spans(tuple(map(int, meta["cardinalities"])), tuple(map(int, meta["value_columns"])))
        conditions = Conditions.on(spans, tuple(map(int, meta["condition_columns"])))
        hidden = tuple(map(int, meta["hidden"]))
        outputs = (*hidden, spans.width)
        shapes = {
            "noise": (len(arrays["noise"]), sum(outputs)),
            "condition": (conditions.size, sum(outputs)),
            "bias": (sum(outputs),),
            "shares": (conditions.size,),
            "code_bias": (spans.n_codes,),
        }
        skips = [(inputs, outputs[i]) for i in range(len(outputs)) for inputs in hidden[:i]]
        shapes.update({f"skip.{i}": shape for i, shape in enumerate(skips)})
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ValueError(f"array '{name}' must be finite and of shape {shape}")
        maps = tuple(
            ValueMap(arrays[f"map.{i}.generated"], arrays[f"map.{i}.wanted"]) for i in range(meta["value_maps"])
        )
        weights = {k: arrays[k] for k in shapes if k not in ("shares", "code_bias")}
        return cls(spans, conditions, arrays["shares"], hidden, weights, arrays["code_bias"], maps)

    def forward(self, noise_NE: Tensor, condition_N: Tensor | None) -> Tensor:
        """Raw outputs (N, W), the code bias included."""
        net = self._tensors()
        inputs_ND = torch.addmm(net["bias"], noise_NE, net["noise"])
        if condition_N is not None:
            inputs_ND += net["condition"][condition_N]
        before: list[Tensor] = []
        layers = list(inputs_ND.split((*self.hidden, self.spans.width), 1))
        skip = 0
        for i, layer in enumerate(layers):
            for hidden in before:
                layer = torch.addmm(layer, hidden, net[f"skip.{skip}"])
                skip += 1
            layers[i] = layer if i == len(self.hidden) else torch.relu_(layer)
            before.append(layers[i])
        return layers[-1]

    def _tensors(self) -> dict[str, Tensor]:
        """The arrays as tensors, with the code bias in the last layer's bias."""
        if "tensors" not in self._net:
            tensors = {name: torch.from_numpy(np.array(a, np.float32)) for name, a in self.arrays.items()}
            tensors["bias"][-self.spans.n_codes :] += torch.from_numpy(self.code_bias_S.astype(np.float32))
            self._net["tensors"] = tensors
        made: dict[str, Tensor] = self._net["tensors"]
        return made

    def _fixed_condition(self, weights: Mapping[int, np.ndarray]) -> int | None:
        """The condition that one weight array names by leaving a single code, if there is exactly one such column."""
        named = []
        first = 0
        for column, cardinality in zip(self.conditions.columns, self.conditions.cardinalities, strict=True):
            if column in weights and np.count_nonzero(weights[column]) == 1:
                named.append(first + int(np.flatnonzero(weights[column])[0]))
            first += cardinality
        return named[0] if named else None


@torch.no_grad()
def folded(generator: Generator, training_shares_K: np.ndarray, batch_size: int, seed: int) -> dict[str, np.ndarray]:
    """The arrays of a `GanSampler`, batch normalisation folded in.

    The running statistics are those of the last weights; here the weights are averaged ones, so their statistics are
    taken anew from batches like those of training.

    Args:
        generator: with the weights to sample from; its running statistics are replaced.
        training_shares_K: how often each condition occurs in training; empty without a condition vector.
        batch_size: rows of a training batch.
        seed: of the noise.
    """
    rng = torch.Generator().manual_seed(seed)
    for norm in generator.norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    generator.train()
    edges = torch.from_numpy(np.cumsum(training_shares_K / max(training_shares_K.sum(), 1e-300)))
    for _ in range(STATISTICS_BATCHES):
        noise = torch.empty(batch_size, generator.embedding_dim).normal_(generator=rng)
        condition = None
        if len(edges):
            place = torch.empty(batch_size, dtype=torch.float64).uniform_(generator=rng)
            condition = torch.searchsorted(edges, place, right=True).clamp_(max=len(edges) - 1)
        generator(noise, condition)
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
