"""The learner of autoregressive sequences: cross-entropy of all rows given the real ones before them.

Optimiser, moving average and stopping are those of the any-order learner (`methods/autoregressive/recipe.py`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.methods.autoregressive.network import NetworkSettings
from raysynth.methods.autoregressive.recipe import AnyOrderSettings, AveragedLearner
from raysynth.methods.autoregressive_sequences.network import SequenceCodes, SequenceNetwork
from raysynth.training.average import Average
from raysynth.training.batches import Batch, Batches, RowSource
from raysynth.training.held_out import HeldOut, ValidationBatch
from raysynth.training.job import average_alone
from raysynth.training.loop import TrainSettings
from raysynth.training.window_shards import WindowShare

ROWS_AT_ONCE = 16_384  # of validation


@dataclass(frozen=True)
class SequenceJob:
    """A network of sequences to train (a `Job`).

    Args:
        codes: layout of sequences.
        network: sizes of the networks of rows.
        units: of the recurrent state.
        training: optimiser and stopping; `groups` does not count, since rows have one order.
        settings: epochs, batch size (sequences), seed.
        frequencies: released share of each code of each column, in first and in later rows.
        knots_VQ: quantiles of each number.
        passes: how often all sequences show a row, on average (windows overlap); an epoch is so much shorter.
        held, left_out: sequences that are held back, and those that overlap them and are not learned from either.
    """

    codes: SequenceCodes
    network: NetworkSettings
    units: int
    training: AnyOrderSettings
    settings: TrainSettings
    frequencies: tuple[list[np.ndarray], list[np.ndarray]] = field(repr=False)
    knots_VQ: np.ndarray = field(repr=False)
    passes: float
    held: np.ndarray = field(repr=False)
    left_out: np.ndarray = field(repr=False)

    @property
    def signature(self) -> str:
        """Columns, network and everything that changes an epoch."""
        settings = self.settings.of_an_epoch
        sizes = {**self.network.to_dict(), "units": self.units, "passes": self.passes}
        return json.dumps([asdict(self.codes), sizes, asdict(self.training), settings])

    @property
    def batch_multiple(self) -> int:
        """Any number of sequences."""
        return 1

    def new_network(self, rng: torch.Generator) -> SequenceNetwork:
        """The network with fresh weights."""
        return SequenceNetwork(self.codes, self.network, self.units, self.frequencies, self.knots_VQ, rng)

    def learner(self, device: torch.device, average: Average) -> SequenceLearner:
        """A network with fresh weights on a device."""
        return SequenceLearner(self, device=device, average=average)

    def batches(self, rows: RowSource, *, batch_size: int, steps: int, rank: int, device: torch.device) -> HeldOut:
        """Random sequences, as many as have about all rows once, and those held back at the end of each epoch.

        Each worker has its own sequences, and among them its part of those held back.
        """
        held, left_out = self.held, self.left_out
        if isinstance(rows, WindowShare):
            held, left_out = (np.flatnonzero(np.isin(rows.numbers, which)) for which in (held, left_out))
        batches = Batches(rows, batch_size, max(1, round(steps / self.passes)), self.settings.seed, rank, device=device)
        return HeldOut.split(batches, self.training.validation_share, held=held, left_out=left_out)

    def network_of(self, state: dict[str, Any]) -> SequenceNetwork:
        """The network with the weights that leave, from a learner's state; on the CPU, without dropout."""
        learner = self.learner(torch.device("cpu"), average_alone)
        learner.take_best(state)
        return learner.network


class SequenceLearner(AveragedLearner):
    """The network of sequences in training (a `Learner`)."""

    def __init__(self, job: SequenceJob, *, device: torch.device, average: Average) -> None:
        self.network = job.new_network(torch.Generator().manual_seed(job.settings.seed))
        super().__init__(self.network, job.training, device=device, average=average)

    def step(self, batch: Batch | ValidationBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """One update from a batch; or the loss of sequences held back under the averaged weights."""
        if isinstance(batch, ValidationBatch):
            return self._validate(batch)
        total, rows = self._summed(batch.codes_NC, batch.values_NV, rng)
        loss = total / rows
        self._differentiate(loss)
        self._move()
        return {"loss": loss.detach()}

    @torch.no_grad()
    def _validate(self, batch: ValidationBatch) -> dict[str, Tensor]:
        total, rows = torch.zeros((), device=self.device), 0
        at_once = max(1, ROWS_AT_ONCE // self.network.codes.steps)
        with self.weights.in_use():
            for codes_NW, values_NW in zip(batch.codes_NC.split(at_once), batch.values_NV.split(at_once), strict=True):
                part, part_rows = self._summed(codes_NW, values_NW, None)
                total, rows = total + part, rows + part_rows
        self.weights.add_held(total, rows)
        return {"validation": total / rows}

    def _summed(self, codes_NW: Tensor, values_NW: Tensor, rng: torch.Generator | None) -> tuple[Tensor, int]:
        """Summed loss of all rows of some sequences, and how many rows they are."""
        first_CN, later_CM = self.network(self.network.rows_of(codes_NW, values_NW), rng)
        return first_CN.sum() + later_CM.sum(), first_CN.shape[1] + later_CM.shape[1]
