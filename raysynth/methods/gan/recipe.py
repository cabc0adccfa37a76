"""What a GAN is trained from, in one value: networks, optimisers, condition tables; it makes the learner."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.methods.gan.compiled import CompiledGan
from raysynth.methods.gan.learner import LEAST_HELD_ROWS, GanLearner, GanSettings
from raysynth.methods.gan.network import Conditions, Generator
from raysynth.methods.shared.spans import Spans
from raysynth.training.average import Average
from raysynth.training.averaging import copy_all
from raysynth.training.batches import Batches, ConditionTables, RowSource
from raysynth.training.held_out import HeldOut
from raysynth.training.job import average_alone
from raysynth.training.loop import TrainSettings
from raysynth.training.private_batches import PoissonBatches


@dataclass(frozen=True)
class GanJob:
    """A GAN to train (a `Job`).

    Args:
        spans: layout of a row vector.
        conditions: the condition vector; no columns: none, and rows are drawn by shuffling.
        networks: networks and optimisers.
        settings: epochs, batch size, seed.
        plan: of DP-SGD; None: without a privacy budget.
        shares_K: under a budget, the released probability of each condition.
    """

    spans: Spans
    conditions: Conditions
    networks: GanSettings
    settings: TrainSettings
    plan: DpSgdPlan | None = None
    shares_K: np.ndarray | None = field(default=None, repr=False)

    @property
    def signature(self) -> str:
        """Columns, networks and everything that changes an epoch; not the number of epochs, which may grow."""
        settings = self.settings.of_an_epoch
        private = None if self.plan is None else self.plan.fit_id
        return json.dumps([asdict(self.spans), asdict(self.conditions), self.networks.to_dict(), settings, private])

    @property
    def batch_multiple(self) -> int:
        """Rows of a pack, in each part of an accumulated step."""
        return self.networks.pac * self.settings.accumulation

    def learner(self, device: torch.device, average: Average) -> GanLearner:
        """Networks with fresh weights on a device."""
        if self.plan is not None:
            return self._private_learner_class()(
                self.spans,
                self.conditions,
                self.networks,
                plan=self.plan,
                shares_K=np.zeros(0) if self.shares_K is None else self.shares_K,
                n_fake=self.settings.batch_size,
                seed=self.settings.seed,
                device=device,
                average=average,
            )
        learner = self._learner_class()(
            self.spans,
            self.conditions,
            self.networks,
            seed=self.settings.seed,
            device=device,
            average=average,
            accumulation=self.settings.accumulation,
        )
        if self.settings.compile_step:
            learner.compiled = CompiledGan(learner)
        return learner

    def _learner_class(self) -> type[GanLearner]:
        """Which learner there is without a budget."""
        return GanLearner

    def _private_learner_class(self) -> Callable[..., GanLearner]:
        """Which learner there is under a budget."""
        from raysynth.methods.gan.private_learner import PrivateGanLearner

        return PrivateGanLearner

    def batches(
        self, rows: RowSource, *, batch_size: int, steps: int, rank: int, device: torch.device
    ) -> HeldOut | PoissonBatches:
        """Training-by-sampling with a condition vector, shuffling without; Poisson samples under a budget."""
        if self.plan is not None:
            return PoissonBatches(rows, self.plan, rank=rank, device=device)
        share = self.networks.validation_share
        batches = Batches(rows, batch_size, steps, self.settings.seed, rank, device=device)
        return HeldOut.split(batches, share if share * len(rows) >= LEAST_HELD_ROWS else 0.0, tables=self._tables)

    def _tables(self, rows: RowSource) -> ConditionTables | None:
        """For training-by-sampling, where there is a condition vector."""
        if not self.conditions.columns:
            return None
        return ConditionTables.build(rows, self.conditions.columns, self.conditions.cardinalities)


def averaged_generator(job: GanJob, state: dict[str, Any]) -> Generator:
    """The generator with the weights that leave, from a learner's state; on the CPU."""
    learner = job.learner(torch.device("cpu"), average_alone)
    learner.load_state_dict(state)
    with torch.no_grad():
        copy_all(learner.weights.best, list(learner.generator.parameters()))
    return learner.generator
