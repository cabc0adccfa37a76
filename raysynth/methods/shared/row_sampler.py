"""Encoded rows from a trained network: codes by the Gumbel-max trick, values through their maps, in fixed batches.

A network's own part is to turn noise into logits and values (`outputs`); `GanSampler` and `VaeSampler` are the two.

Shape legend: N rows, S codes, V values, C columns, W = V + S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock, concat_blocks
from raysynth.methods.shared.spans import SpanIndex, Spans, gumbel_noise

BATCH_ROWS = 512  # rows of one forward pass, always: so that a row's numbers do not depend on how many are asked for


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


@dataclass(frozen=True, kw_only=True)
class RowSampler:
    """A trained network without its training: arrays only, picklable (a `sampling.chunks.Generator`).

    Args:
        spans: of a row vector.
        arrays: the network's weights by name.
        code_bias_S: added to the logits of the codes.
        value_maps: for each value column its map; empty: values are taken as they are.
    """

    spans: Spans
    arrays: Mapping[str, np.ndarray]
    code_bias_S: np.ndarray
    value_maps: tuple[ValueMap, ...] = ()
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    # ---- what a network decides --------------------------------------------------------------------------------------

    def outputs(self, n: int, rng: torch.Generator, fixed: Any = None) -> tuple[Tensor, Tensor]:
        """Logits (n, S) with the code bias, and values before their maps, from which `values_of` takes its pick.

        Args:
            n: rows.
            rng: on the CPU.
            fixed: what `fixed_condition` made of the conditions asked for.
        """
        raise NotImplementedError

    def values_of(self, values: Tensor, codes_NC: Tensor) -> Tensor:
        """The values (n, V) that belong to the codes that were drawn; here values do not depend on codes."""
        return values

    def fixed_condition(self, weights: Mapping[int, np.ndarray]) -> Any:
        """What the network can be asked for of the weights of a sampling call; None: nothing."""
        return None

    # ---- what all share ----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows; weights that name one condition are used, others ignored."""
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        fixed = self.fixed_condition(weights or {})
        blocks = [self._batch(torch_rng, fixed) for _ in range(-(-n // BATCH_ROWS))]
        if not blocks:
            no_codes = np.empty((0, len(self.spans.cardinalities)), np.uint16)
            return EncodedBlock(no_codes, np.empty((0, self.spans.n_values), np.float32))
        block = concat_blocks(blocks)
        return EncodedBlock(block.codes_NC[:n], block.values_NV[:n])

    def _batch(self, rng: torch.Generator, fixed: Any) -> EncodedBlock:
        logits_NS, values = self.outputs(BATCH_ROWS, rng, fixed)
        drawn_NC = self.index.draw(logits_NS, gumbel_noise(tuple(logits_NS.shape), rng))
        codes = drawn_NC.numpy().astype(np.uint16)
        return EncodedBlock(codes, self._mapped(codes, self.values_of(values, drawn_NC).numpy()))

    def _mapped(self, codes_NC: np.ndarray, values_NV: np.ndarray) -> np.ndarray:
        if not self.value_maps:
            return values_NV
        columns = zip(self.value_maps, self.spans.value_columns, values_NV.T, strict=True)
        return np.stack([m.apply(codes_NC[:, c], v) for m, c, v in columns], 1)

    @property
    def index(self) -> SpanIndex:
        """Index tables of the spans."""
        if "index" not in self._made:
            self._made["index"] = SpanIndex(self.spans)
        index: SpanIndex = self._made["index"]
        return index

    def tensors(self, last_bias: str, *, exact: bool = False) -> dict[str, Tensor]:
        """The arrays as tensors, with the code bias added to the last layer's bias of the given name.

        Weights that rows are multiplied with are bfloat16 where the processor has instructions for it, unless `exact`.
        """
        kept = "exact" if exact else "tensors"
        if kept not in self._made:
            tensors = {name: torch.from_numpy(np.array(a, np.float32)) for name, a in self.arrays.items()}
            tensors[last_bias][-self.spans.n_codes :] += torch.from_numpy(self.code_bias_S.astype(np.float32))
            if not exact and has_bfloat16():
                tensors |= {n: w.bfloat16() for n, w in tensors.items() if n == "noise" or n.startswith("skip.")}
            self._made[kept] = tensors
        made: dict[str, Tensor] = self._made[kept]
        return made

    def shared_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays of what all samplers have."""
        meta = {
            "cardinalities": list(self.spans.cardinalities),
            "value_columns": list(self.spans.value_columns),
            "value_maps": len(self.value_maps),
        }
        arrays = {**self.arrays, "code_bias": self.code_bias_S}
        for i, value_map in enumerate(self.value_maps):
            arrays[f"map.{i}.generated"], arrays[f"map.{i}.wanted"] = value_map.generated, value_map.wanted
        return meta, arrays


def read_spans(meta: Mapping[str, Any]) -> Spans:
    """The spans in a state."""
    return Spans(tuple(map(int, meta["cardinalities"])), tuple(map(int, meta["value_columns"])))


def read_arrays(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The named arrays; raises `ValueError` where one is not finite or of another shape, `KeyError` where missing."""
    for name, shape in shapes.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise ValueError(f"array '{name}' must be finite and of shape {shape}")
    return {name: arrays[name] for name in shapes}


def read_value_maps(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], spans: Spans) -> tuple[ValueMap, ...]:
    """The value maps in a state; none, or one for each value column."""
    if meta["value_maps"] not in (0, spans.n_values):
        raise ValueError(f"{meta['value_maps']} value maps for {spans.n_values} value columns")
    maps = []
    for i, column in enumerate(spans.value_columns[: meta["value_maps"]]):
        shape = (spans.cardinalities[column], arrays[f"map.{i}.generated"].shape[-1])
        read = read_arrays(arrays, {f"map.{i}.generated": shape, f"map.{i}.wanted": shape})
        maps.append(ValueMap(*read.values()))
    return tuple(maps)


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known is not None and known())


def product(x_NI: Tensor, weight_IO: Tensor) -> Tensor:
    """x @ weight in the precision of the weight, as float32 (N, O).

    Rows are the same on all machines of one precision, up to the rounding of sums, which can change single codes.
    """
    if weight_IO.dtype == x_NI.dtype:
        return x_NI @ weight_IO
    return (x_NI.to(weight_IO.dtype) @ weight_IO).float()


def add_product(out_NO: Tensor, x_NI: Tensor, weight_IO: Tensor) -> None:
    """out += x @ weight in place, in the precision of the weight; `out` may be some columns of a wider array."""
    if weight_IO.dtype == x_NI.dtype:
        out_NO.addmm_(x_NI, weight_IO)
    else:
        out_NO += product(x_NI, weight_IO)
