"""What a GAN is trained from, in one value: networks, optimisers, condition tables."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.private_training import Asked, PrivateGan
from raysynth.methods.gan.training import GanSettings, TrainableGan
from raysynth.methods.shared.spans import Spans
from raysynth.training.batches import Batches, ConditionTables, RowSource
from raysynth.training.held_out import HeldOut
from raysynth.training.job import Job

LEAST_HELD_ROWS = 200  # fewer cannot tell two epochs apart


@dataclass(frozen=True)
class GanJob(Job):
    """A GAN to train.

    Args:
        spans: layout of a row vector.
        conditions: the condition vector; no columns: none, and rows are drawn by shuffling.
        networks: networks and optimisers.
        all_given: the conditional GAN: all condition columns are given together, and rows are drawn by shuffling.
        asked: under a budget, what the generator makes rows for.
    """

    spans: Spans
    conditions: Conditions
    networks: GanSettings
    all_given: bool = False
    asked: Asked | None = field(default=None, repr=False)

    @property
    def batch_multiple(self) -> int:
        """Rows of a pack, in each part of an accumulated step."""
        return self.networks.pac * self.settings.accumulation

    def trainable(self, device: torch.device) -> TrainableGan:
        """Networks with fresh weights."""
        args, seed = (self.spans, self.conditions, self.networks), self.settings.seed
        if self.plan is not None:
            asked = self.asked or Asked(self.settings.batch_size)
            return PrivateGan(*args, asked=asked, seed=seed, device=device, all_given=self.all_given)
        return TrainableGan(
            *args,
            seed=seed,
            device=device,
            accumulation=self.settings.accumulation,
            all_given=self.all_given,
            compile_step=self.settings.compile_step,
        )

    def held_out(self, batches: Batches) -> HeldOut:
        """Training-by-sampling with a condition vector, shuffling without; none held back where they would be few."""
        share = self.settings.validation_share
        few = share * len(batches.rows) < LEAST_HELD_ROWS
        return HeldOut.split(batches, 0.0 if few else share, tables=None if self.all_given else self._tables)

    def _tables(self, rows: RowSource) -> ConditionTables | None:
        if not self.conditions.columns:
            return None
        return ConditionTables.build(rows, self.conditions.columns, self.conditions.cardinalities)
