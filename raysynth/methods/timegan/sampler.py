"""Sequences from a trained TimeGAN: generator, supervisor and recovery, without the networks that only training needs.

The last step moves the levels of made sequences to those of real ones. A GAN leaves out the thin ends of a
distribution, and for a series that wandered far the ends are whole stretches of it: levels that no made sequence has.
So the mean of each number over a sequence is mapped to the real mean of the same rank, and all steps of the sequence
are moved by the difference, so that what happens within a sequence stays as made.

Shape legend: N sequences, T steps, C columns, V values of a step, K knots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock
from raysynth.files.model_file import under
from raysynth.methods.shared.spans import gumbel_noise
from raysynth.methods.timegan.network import (
    Autoencoder,
    LatentGenerator,
    SequenceLayout,
    SequenceVectors,
    TimeGanSizes,
    VectorLayout,
)

BATCH = 256  # sequences of one forward pass, always: so that a sequence does not depend on how many are asked for


@dataclass(frozen=True)
class SequenceSampler:
    """A trained generator: arrays only, picklable.

    Args:
        layout: of sequences.
        sizes: of the networks.
        arrays: the weights of 'generator.*' and 'recovery.*' by name.
        levels: where the levels of sequences are moved to; None: they stay.
    """

    layout: SequenceLayout
    sizes: TimeGanSizes
    arrays: Mapping[str, np.ndarray]
    levels: SequenceLevels | None = None
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls, layout: SequenceLayout, sizes: TimeGanSizes, generator: LatentGenerator, autoencoder: Autoencoder
    ) -> SequenceSampler:
        """The sampler of trained networks; their weights are copied to NumPy."""
        state = {f"generator.{k}": v for k, v in generator.state_dict().items()}
        state |= {f"recovery.{k}": v for k, v in autoencoder.recovery.state_dict().items()}
        return cls(layout, sizes, {k: np.ascontiguousarray(v.cpu().numpy()) for k, v in state.items()})

    def __getstate__(self) -> dict[str, Any]:
        return {f: getattr(self, f) for f in ("layout", "sizes", "arrays", "levels")} | {"_made": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @torch.no_grad()
    def generate(
        self, length_N: np.ndarray, context: EncodedBlock, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (N, T, C) uint16 and values (N, T, V) float32; steps beyond a sequence's length mean nothing.

        Args:
            length_N: steps of each sequence, 1 .. T.
            context: its encoded static context.
            rng: the only source of randomness.
        """
        noise = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        parts = [self._batch(length_N[i : i + BATCH], context, i, noise) for i in range(0, len(length_N), BATCH)]
        step = self.layout.step
        if not parts:
            shape = 0, self.layout.steps
            return np.empty((*shape, len(step.cardinalities)), np.uint16), np.empty((*shape, step.n_values), np.float32)
        codes, values = zip(*parts, strict=True)
        codes_NTC, values_NTV = np.concatenate(codes), np.concatenate(values)
        if self.levels is not None:
            values_NTV = self.levels.moved(values_NTV, self._counts(length_N, codes_NTC))
        return codes_NTC, values_NTV

    def with_levels_of(self, real: EncodedBlock, seed: int) -> Self:
        """The same, with the levels of real sequences.

        Args:
            real: wide rows.
            seed: of the made sequences that are compared with them.
        """
        n, n_codes, n_values = len(real), len(self.layout.context.cardinalities), self.layout.context.n_values
        length_N = real.codes_NC[:, 0].astype(np.int64)
        context = EncodedBlock(real.codes_NC[:, 1 : n_codes + 1], real.values_NV[:, :n_values])
        made = replace(self, levels=None).generate(length_N, context, np.random.default_rng([seed, 3]))
        steps, step = self.layout.steps, self.layout.step
        codes_NTC = real.codes_NC[:, n_codes + 1 :].reshape(n, steps, len(step.cardinalities))
        values_NTV = real.values_NV[:, n_values:].reshape(n, steps, step.n_values)
        compared = (made, (codes_NTC, values_NTV))
        levels = [levels_of(values, self._counts(length_N, codes)) for codes, values in compared]
        return replace(self, levels=SequenceLevels.fit(*levels))

    def _counts(self, length_N: np.ndarray, codes_NTC: np.ndarray) -> np.ndarray:
        """Where a sequence has a step, and the step a number (N, T, V)."""
        step = self.layout.step
        there_NT = np.arange(codes_NTC.shape[1]) < length_N[:, None]
        counts: np.ndarray = codes_NTC[..., list(step.value_columns)] == np.array(step.value_codes)
        return counts & there_NT[..., None]

    def _batch(
        self, length_N: np.ndarray, context: EncodedBlock, first: int, noise: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """One forward pass of BATCH sequences, of which the first few are wanted."""
        vectors, generator, autoencoder = self._networks()
        n, wanted = len(length_N), slice(first, first + len(length_N))
        context_NK = vectors.context_of(
            torch.from_numpy(length_N.astype(np.int64)),
            torch.from_numpy(context.codes_NC[wanted].astype(np.int64)),
            torch.from_numpy(context.values_NV[wanted].astype(np.float32)),
        )
        padded_NK = torch.nn.functional.pad(context_NK, (0, 0, 0, BATCH - n))
        steps, step = self.layout.steps, self.layout.step
        _, made_TNH = generator(generator.noise(steps, BATCH, noise), padded_NK)
        raw_MW = autoencoder.recover(made_TNH).flatten(0, 1)
        codes_MC, values_MV = vectors.step.draw(raw_MW, gumbel_noise((len(raw_MW), step.spans.n_codes), noise))
        return _by_sequence(codes_MC, steps, n).astype(np.uint16), _by_sequence(values_MV, steps, n)

    def _networks(self) -> tuple[SequenceVectors, LatentGenerator, Autoencoder]:
        if "networks" not in self._made:
            rng = torch.Generator().manual_seed(0)
            generator, autoencoder = LatentGenerator(self.sizes, rng), Autoencoder(self.sizes, rng)
            for network, prefix in ((generator, "generator."), (autoencoder.recovery, "recovery.")):
                network.load_state_dict({k: torch.tensor(v).float() for k, v in under(prefix, self.arrays).items()})
            self._made["networks"] = SequenceVectors(self.layout), generator, autoencoder
        networks: tuple[SequenceVectors, LatentGenerator, Autoencoder] = self._made["networks"]
        return networks

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        arrays = dict(self.arrays)
        if self.levels is not None:
            arrays |= {"levels.made": self.levels.made_VK, "levels.wanted": self.levels.wanted_VK}
        return {"layout": asdict(self.layout), "sizes": asdict(self.sizes)}, arrays

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SequenceSampler:
        """The inverse of `to_state`; raises where parts are missing or do not fit."""
        layout = SequenceLayout(
            int(meta["layout"]["steps"]),
            _vector_layout(meta["layout"]["step"]),
            _vector_layout(meta["layout"]["context"]),
        )
        sizes = TimeGanSizes(**{k: int(v) for k, v in meta["sizes"].items()})
        expected = (layout.step.width, layout.step.n_values, layout.context_width)
        if (sizes.width, sizes.n_values, sizes.context) != expected or layout.steps < 1:
            raise ValueError("the networks' sizes do not fit the layout")
        if not all(np.isfinite(a).all() for a in arrays.values()):
            raise ValueError("a weight is not finite")
        weights = {k: v for k, v in arrays.items() if not k.startswith("levels.")}
        levels = _levels(under("levels.", arrays), layout.step.n_values)
        sampler = cls(layout, sizes, weights, levels)
        sampler._networks()
        return sampler


def _vector_layout(content: Mapping[str, Any]) -> VectorLayout:
    layout = VectorLayout(**{k: tuple(int(x) for x in content[k]) for k in VectorLayout.__dataclass_fields__})
    n = len(layout.cardinalities)
    if len(layout.fixed_codes) != n or any(not 0 <= c < n for c in layout.value_columns):
        raise ValueError("a layout of vectors contradicts itself")
    return layout


def _levels(arrays: Mapping[str, np.ndarray], n_values: int) -> SequenceLevels | None:
    if not arrays:
        return None
    made_VK, wanted_VK = arrays["made"], arrays["wanted"]
    if made_VK.ndim != 2 or made_VK.shape != wanted_VK.shape or made_VK.shape[0] != n_values or not made_VK.shape[1]:
        raise ValueError("levels do not fit the layout")
    return SequenceLevels(made_VK, wanted_VK)


def _by_sequence(x_MX: Tensor, steps: int, n: int) -> np.ndarray:
    """Step after step to (N, T, X), the first n sequences."""
    made: np.ndarray = x_MX.view(steps, BATCH, -1)[:, :n].transpose(0, 1).contiguous().numpy()
    return made


MOST_KNOTS = 65
SEQUENCES_PER_KNOT = 20  # a knot tells of so many sequences, not of one


@dataclass(frozen=True)
class SequenceLevels:
    """Where levels go; beyond the outer knots as they do.

    Args:
        made_VK: ascending quantiles of the mean of each number over a made sequence.
        wanted_VK: the same quantiles of real sequences.
    """

    made_VK: np.ndarray
    wanted_VK: np.ndarray

    @classmethod
    def fit(cls, made_NV: np.ndarray, real_NV: np.ndarray) -> SequenceLevels | None:
        """From the levels of made and of real sequences (see `levels_of`); None where these are too few."""
        n_real = int((~np.isnan(real_NV)).sum(0).min(initial=MOST_KNOTS * SEQUENCES_PER_KNOT))
        n_knots = min(n_real // SEQUENCES_PER_KNOT, MOST_KNOTS)
        if n_knots < 2 or np.isnan(made_NV).all(0).any():
            return None
        ranks = (np.arange(n_knots) + 0.5) / n_knots
        return cls(*(np.nanquantile(x, ranks, axis=0).T.astype(np.float32) for x in (made_NV, real_NV)))

    def moved(self, values_NTV: np.ndarray, counts_NTV: np.ndarray) -> np.ndarray:
        """Sequences with their levels moved (float32); `counts_NTV`: see `levels_of`."""
        level_NV = np.nan_to_num(levels_of(values_NTV, counts_NTV))
        shifts = [
            np.interp(level_N, made_K, wanted_K - made_K)
            for level_N, made_K, wanted_K in zip(level_NV.T, self.made_VK, self.wanted_VK, strict=True)
        ]
        moved: np.ndarray = values_NTV + np.stack(shifts, 1).astype(np.float32)[:, None, :]
        return moved


def levels_of(values_NTV: np.ndarray, counts_NTV: np.ndarray) -> np.ndarray:
    """Mean of each number over the steps of each sequence (N, V); NaN where it has none.

    Args:
        values_NTV: numbers.
        counts_NTV: where a sequence has the step, and the step the number.
    """
    n_NV = counts_NTV.sum(1)
    total_NV = np.where(counts_NTV, values_NTV, 0).sum(1, dtype=np.float64)
    return np.where(n_NV > 0, total_NV / np.maximum(n_NV, 1), np.nan)
