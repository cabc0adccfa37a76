"""Rows from a conditional GAN: the given columns from a model of their own, the others from the generator.

Conditions on given columns are exact, whatever their number: the model of these columns draws their codes under the
conditions, and the generator is asked for just these codes.

Shape legend: N rows, Q given columns, K conditions (codes of all given columns), S codes, V values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.sampler import GanSampler, read_state
from raysynth.methods.shared.inversion import Decoded

NEVER = -1e4  # logit of a code that is not the given one: beyond the reach of noise and calibration
_DRAWN = 1024  # rows of given columns that fill in what is not known of a row


class CodeModel(Protocol):
    """A model of the given columns alone; its columns are numbered from 0 to Q - 1."""

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n rows of codes from p(codes) * prod weights."""
        ...


@dataclass(frozen=True, kw_only=True)
class ConditionalGanSampler(GanSampler):
    """A trained conditional generator.

    Args:
        given: draws the codes of the given columns, `conditions.columns`, in this order.
        shares_K: not used; empty.
    """

    given: CodeModel

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
        cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, given: CodeModel
    ) -> ConditionalGanSampler:
        """The inverse of `to_state`, with the model of the given columns beside it."""
        return cls(**read_state(meta, arrays), given=given)
