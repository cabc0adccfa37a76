"""What autoregressive sequences are trained from: cross-entropy of all rows given the real ones before them.

The optimiser is that of the any-order network (`methods/autoregressive/recipe.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from raysynth.methods.autoregressive.network import NetworkSettings
from raysynth.methods.autoregressive.recipe import AnyOrderSettings
from raysynth.methods.autoregressive_sequences.network import SequenceCodes, SequenceNetwork
from raysynth.training.batches import Batch, Batches, HeldOut
from raysynth.training.job import Job
from raysynth.training.learner import At, Optimiser, Trainable, Update
from raysynth.training.private_batches import PrivateBatch
from raysynth.training.private_steps import PrivateSteps
from raysynth.training.window_shards import WindowShare

ROWS_AT_ONCE = 16_384  # of validation
ROWS_OF_PART = 8192  # of sequences whose gradients are clipped


@dataclass(frozen=True)
class SequenceJob(Job):
    """A network of sequences to train.

    Args:
        codes: layout of sequences.
        network: sizes of the networks of rows.
        units: of the recurrent state.
        training: optimiser; `groups` does not count, since rows have one order.
        frequencies: released share of each code of each column, in first and in later rows.
        knots_VQ: quantiles of each number.
        passes: how often all sequences show a row, on average (windows overlap); an epoch is so much shorter.
        held, left_out: sequences that are held back, and those that overlap them and are not learned from either.
    """

    codes: SequenceCodes
    network: NetworkSettings
    units: int
    training: AnyOrderSettings
    frequencies: tuple[list[np.ndarray], list[np.ndarray]] = field(repr=False)
    knots_VQ: np.ndarray = field(repr=False)
    passes: float
    held: np.ndarray = field(repr=False)
    left_out: np.ndarray = field(repr=False)

    @property
    def part_rows(self) -> int:
        """Sequences that are clipped at once, by the rows that they have at most."""
        return max(1, ROWS_OF_PART // self.codes.steps)

    def trainable(self, device: torch.device) -> TrainableSequences:
        """A network with fresh weights."""
        return TrainableSequences(self, device)

    def held_out(self, batches: Batches) -> HeldOut:
        """Random sequences, as many as have about all rows once, and those held back at the end of each epoch.

        Each worker has its own sequences, and among them its part of those held back.
        """
        held, left_out, rows = self.held, self.left_out, batches.rows
        if isinstance(rows, WindowShare):
            held, left_out = (np.flatnonzero(np.isin(rows.numbers, which)) for which in (held, left_out))
        fewer = replace(batches, steps=max(1, round(batches.steps / self.passes)))
        return HeldOut.split(fewer, self.settings.validation_share, held=held, left_out=left_out)


class TrainableSequences(Trainable):
    """The network of sequences, and what a batch teaches it."""

    def __init__(self, job: SequenceJob, device: torch.device) -> None:
        super().__init__()
        self.how = job.training
        rng = torch.Generator().manual_seed(job.settings.seed)
        network = SequenceNetwork(job.codes, job.network, job.units, job.frequencies, job.knots_VQ, rng)
        self.network = network.to(device)

    def optimisers(self) -> dict[str, Optimiser]:
        """One AdamW of all weights."""
        return {"network": self.how.optimiser(self.leaving())}

    def updates(self, batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
        """One; the mean loss of a row."""
        total, rows = self._summed(batch.codes_NC, batch.values_NV, rng)
        loss = total / rows
        loss.backward()
        yield Update(("network",), {"loss": loss.detach()})

    def private_updates(
        self, batch: PrivateBatch, private: PrivateSteps, at: At, rng: torch.Generator
    ) -> Iterator[Update]:
        """One, from a gradient that was clipped by sequence and noised.

        Unit and sampling: a sequence, with all its rows that count, is one example of a Poisson sample; its loss
        depends on its own rows alone, and its gradient is clipped to norm C by exact norms. So one sequence more or
        less changes the sum by at most C, which carries N(0, sigma^2 C^2): the subsampled Gaussian mechanism (Abadi et
        al. 2016), composed over the plan's steps, all charged before the first.
        """
        network = self.network

        def losses(part: Batch) -> Tensor:
            return network.example_losses(network.rows_of(part.codes_NC, part.values_NV))

        loss = private.teach(network, batch, losses, network.codes.steps)
        yield Update(("network",), {"loss": loss}, released=True)

    def score(self, held: Batch) -> tuple[Tensor, int]:
        """The loss without dropout."""
        total, rows = torch.zeros((), device=held.codes_NC.device), 0
        at_once = max(1, ROWS_AT_ONCE // self.network.codes.steps)
        for codes_NW, values_NW in zip(held.codes_NC.split(at_once), held.values_NV.split(at_once), strict=True):
            part, part_rows = self._summed(codes_NW, values_NW, None)
            total, rows = total + part, rows + part_rows
        return total, rows

    def _summed(self, codes_NW: Tensor, values_NW: Tensor, rng: torch.Generator | None) -> tuple[Tensor, int]:
        """Summed loss of all rows of some sequences, and how many rows they are."""
        first_CN, later_CM = self.network(self.network.rows_of(codes_NW, values_NW), rng)
        return first_CN.sum() + later_CM.sum(), first_CN.shape[1] + later_CM.shape[1]
