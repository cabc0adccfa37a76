"""Sequences from a trained autoregressive network: row after row, all sequences of a chunk at once.

Shape legend: as in `methods/autoregressive_sequences/network.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock
from raysynth.files.model_file import under
from raysynth.methods.autoregressive.network import CodeLayout
from raysynth.methods.autoregressive.prefixes import slices
from raysynth.methods.autoregressive.sampler import AnyOrderSampler
from raysynth.methods.autoregressive_sequences.changes import Changes
from raysynth.methods.autoregressive_sequences.network import RowState, SequenceCodes, SequenceNetwork
from raysynth.methods.timegan.network import VectorLayout


@dataclass(frozen=True)
class StepForm:
    """Columns of an encoded step, and how they become the network's.

    Args:
        cardinalities: codes of each column of the step.
        fixed_codes: for each column the code that it always has, or -1 where it varies.
        number_columns: the column of each number (V).
        number_codes: the number that a code of such a column stands for, NaN where the number is given beside it (the
            code of 'all other numbers'): one array (cardinality,) for each number.
    """

    cardinalities: tuple[int, ...]
    fixed_codes: tuple[int, ...]
    number_columns: tuple[int, ...]
    number_codes: tuple[np.ndarray, ...]

    @property
    def n_numbers(self) -> int:
        """Columns of numbers, V."""
        return len(self.number_columns)

    @property
    def varying(self) -> list[int]:
        """The columns that the network has."""
        return [c for c, fixed in enumerate(self.fixed_codes) if fixed < 0]

    def counts(self, codes_MC: np.ndarray) -> np.ndarray:
        """Whether each number is given beside its code, (M, V)."""
        told = [np.isnan(n[codes_MC[:, c]]) for c, n in zip(self.number_columns, self.number_codes, strict=True)]
        return np.stack(told, 1) if told else np.zeros((len(codes_MC), 0), bool)

    def settled(self, v: int, codes_M: np.ndarray, beside_M: np.ndarray, before_M: np.ndarray) -> np.ndarray:
        """Number v of each row: given beside the code, or the code's own, or (missing) that of the row before."""
        own_M = self.number_codes[v][codes_M]
        missing = codes_M == len(self.number_codes[v]) - 1
        return np.where(missing, before_M, np.where(np.isnan(own_M), beside_M, own_M))


@dataclass(frozen=True)
class AutoregressiveSequenceSampler:
    """A trained network made ready to sample: arrays only, picklable (a `SequenceMaker`).

    Args:
        codes: layout of sequences.
        form: of a step.
        changes: of first and of later rows.
        first, later: the networks of first and later rows.
        units: of the state.
        arrays: the weights of the state by name.
    """

    codes: SequenceCodes
    form: StepForm
    changes: tuple[Changes, Changes]
    first: AnyOrderSampler
    later: AnyOrderSampler
    units: int
    arrays: Mapping[str, np.ndarray]
    _made: dict[str, RowState] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}

    @classmethod
    def of(
        cls,
        network: SequenceNetwork,
        form: StepForm,
        changes: tuple[Changes, Changes],
        frequencies: tuple[list[np.ndarray], list[np.ndarray]],
    ) -> AutoregressiveSequenceSampler:
        """From a trained network; codes that no row has are never drawn."""
        first, later = (
            AnyOrderSampler.of(part, shares)
            for part, shares in zip((network.first, network.later), frequencies, strict=True)
        )
        arrays = {k: np.ascontiguousarray(v.cpu().numpy()) for k, v in network.state.state_dict().items()}
        return cls(network.codes, form, changes, first, later, network.state.gru.hidden, arrays)

    def at_temperature(self, temperature: float) -> AutoregressiveSequenceSampler:
        """The same at another temperature of the codes."""
        first, later = (replace(part, temperature=temperature) for part in (self.first, self.later))
        return replace(self, first=first, later=later)

    # ---- sequences ---------------------------------------------------------------------------------------------------

    def generate(
        self, length_N: np.ndarray, context: EncodedBlock, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (N, T, C) uint16 and values (N, T, V) float32; steps beyond a sequence's length mean nothing.

        Args:
            length_N: steps of each sequence, 1 .. T; the longest come with the others.
            context: encoded static context of each.
            rng: the only source of randomness.
        """
        n, steps, form = len(length_N), self.codes.steps, self.form
        codes_NTC = np.zeros((n, steps, len(form.cardinalities)), np.uint16)
        values_NTV = np.zeros((n, steps, self.codes.n_numbers), np.float32)
        with torch.inference_mode():
            for rows in slices(n):
                own = context.take(np.arange(rows.start, rows.stop))
                self._generate_block(codes_NTC[rows], values_NTV[rows], length_N[rows], own, rng)
        return codes_NTC, values_NTV

    def _generate_block(
        self,
        codes_NTC: np.ndarray,
        values_NTV: np.ndarray,
        length_N: np.ndarray,
        context: EncodedBlock,
        rng: np.random.Generator,
    ) -> None:
        """Sequences that are done are left out of the later rows: the longest come first."""
        order = np.argsort(-length_N, kind="stable")
        length_N, made = length_N[order], self._state()
        lengths = torch.from_numpy(length_N.astype(np.int64))
        context_NK = made.context_of(
            lengths,
            torch.from_numpy(context.codes_NC[order].astype(np.int64)),
            torch.from_numpy(context.values_NV[order].astype(np.float32)),
        )
        state_NS = made.initial(context_NK)
        before_NV = np.zeros((len(length_N), self.codes.n_numbers))
        for t in range(int(length_N[0])):
            alive = int(np.count_nonzero(length_N > t))
            state_NS, context_NK, lengths = state_NS[:alive], context_NK[:alive], lengths[:alive]
            row = self._row(t, state_NS, before_NV[:alive], rng)
            codes_NTC[order[:alive], t] = row.codes_MC
            values_NTV[order[:alive], t] = before_NV = row.numbers_MV
            inputs_1NI = made.inputs(
                row.embedded_MH[None], torch.from_numpy(before_NV.astype(np.float32))[None], context_NK, lengths, t
            )
            state_NS = made.gru(inputs_1NI, state_NS)[0]

    def _row(self, t: int, state_MS: Tensor, before_MV: np.ndarray, rng: np.random.Generator) -> _Row:
        """The next row of each sequence, column after column."""
        first, form, rows = t == 0, self.form, len(state_MS)
        network, changes = (self.first, self.changes[0]) if first else (self.later, self.changes[1])
        added_CMH = self._state().added(state_MS, first=first)
        sum_MH, drawn = torch.zeros_like(added_CMH[0]), []
        codes_MC = np.broadcast_to(np.maximum(form.fixed_codes, 0), (rows, len(form.fixed_codes))).astype(np.int64)
        numbers_MV, row_before_MP = before_MV.copy(), before_MV[:, : 0 if first else None]
        for c in range(self.codes.n_columns):
            v = c - (self.codes.n_columns - self.codes.n_numbers)
            uniform_M = torch.from_numpy(rng.random(rows, np.float32))
            codes_M = network.next_code(c, sum_MH * max(c, 1) ** -0.5 + added_CMH[c], uniform_M)
            if v < 0:
                codes_MC[:, form.varying[c]] = codes_M.numpy()
            else:
                codes_M = self._number(v, codes_M, codes_MC, numbers_MV, row_before_MP, changes, rng)
            sum_MH += torch.index_select(network.embedding(c), 0, codes_M)
            drawn.append(codes_M)
        return _Row(codes_MC, numbers_MV, sum_MH * len(drawn) ** -0.5)

    def _number(
        self,
        v: int,
        codes_M: Tensor,
        codes_MC: np.ndarray,
        numbers_MV: np.ndarray,
        before_MP: np.ndarray,
        changes: Changes,
        rng: np.random.Generator,
    ) -> Tensor:
        """Fill in number v from the code of its change; gives that code, 'none' where the number has its own code."""
        column_M = codes_MC[:, self.form.number_columns[v]]
        is_told = np.isnan(self.form.number_codes[v][column_M])
        change_M = np.where(is_told, codes_M.numpy(), changes.n_bins + 1)
        beside_M = changes.decode(v, change_M, before_MP, numbers_MV, rng)
        numbers_MV[:, v] = self.form.settled(v, column_M, beside_M, numbers_MV[:, v])
        return torch.from_numpy(change_M)

    def _state(self) -> RowState:
        if "state" not in self._made:
            knots_VQ = self.arrays["knots_VQ"]
            state = RowState(
                self.codes, self.first.arrays["embedding"].shape[1], self.units, knots_VQ, torch.Generator()
            )
            state.load_state_dict({k: torch.tensor(v) for k, v in self.arrays.items()})
            self._made["state"] = state
        return self._made["state"]

    # ---- file --------------------------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        form = {k: getattr(self.form, k) for k in ("cardinalities", "fixed_codes", "number_columns")}
        meta = {"codes": asdict(self.codes), "form": form, "units": self.units}
        parts: dict[str, Mapping[str, np.ndarray]] = {
            "state": self.arrays,
            "first": self.first.arrays,
            "later": self.later.arrays,
            "first_changes": self.changes[0].to_arrays(),
            "later_changes": self.changes[1].to_arrays(),
            "number_codes": {str(v): codes for v, codes in enumerate(self.form.number_codes)},
        }
        return meta, {f"{part}/{k}": v for part, arrays in parts.items() for k, v in arrays.items()}

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> AutoregressiveSequenceSampler:
        """The inverse of `to_state`; raises where parts are missing or do not fit."""

        def part(name: str) -> dict[str, np.ndarray]:
            return under(f"{name}/", arrays)

        def whole(content: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
            return {k: tuple(int(x) for x in v) for k, v in content.items()}

        if not all(np.isfinite(a).all() for k, a in arrays.items() if not k.startswith("number_codes/")):
            raise ValueError("a weight is not finite")
        found = meta["codes"]
        codes = SequenceCodes(
            int(found["steps"]),
            CodeLayout(**whole(found["columns"])),
            int(found["n_numbers"]),
            VectorLayout(**whole(found["context"])),
        )
        number_codes = [a for _, a in sorted(part("number_codes").items(), key=lambda item: int(item[0]))]
        form = StepForm(**whole(meta["form"]), number_codes=tuple(number_codes))
        changes = Changes.from_arrays(part("first_changes")), Changes.from_arrays(part("later_changes"))
        first, later = (AnyOrderSampler.from_arrays(codes.columns, part(name)) for name in ("first", "later"))
        sampler = cls(codes, form, changes, first, later, int(meta["units"]), part("state"))
        sampler._check()
        return sampler

    def _check(self) -> None:
        form, numbers = self.form, self.codes.n_numbers
        own = tuple(form.cardinalities[c] for c in form.varying) + (self.changes[0].cardinality,) * numbers
        lengths = {len(form.number_columns), len(form.number_codes), *(c.n_numbers for c in self.changes)}
        if self.codes.steps < 1 or lengths != {numbers} or own != self.codes.columns.cardinalities:
            raise ValueError("the networks and the form of a step do not fit")
        self._state()


@dataclass(frozen=True)
class _Row:
    """A row of some sequences: codes of all columns, numbers, and the scaled sum of the embeddings of its codes."""

    codes_MC: np.ndarray
    numbers_MV: np.ndarray
    embedded_MH: Tensor
