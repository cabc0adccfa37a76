"""What is trained: a picklable description that builds the learner and its batches wherever training runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from raysynth.training.average import Average
from raysynth.training.batches import RowSource
from raysynth.training.loop import GO_ON, EpochBatches, Learner, Store, TrainResult, TrainSettings, Watch, train
from raysynth.training.precision import tensor_cores
from raysynth.training.private_batches import PoissonBatches

GO_ON_PRIVATELY = "fit(data, resume=...) with this folder goes on within the same budget; a fit anew spends another one"


class Job(Protocol):
    """A model to train."""

    @property
    def settings(self) -> TrainSettings:
        """Epochs, batch size, seed."""
        ...

    @property
    def signature(self) -> str:
        """Text that only checkpoints of this job have."""
        ...

    @property
    def batch_multiple(self) -> int:
        """A worker's batch must be a multiple of this (pac)."""
        ...

    def learner(self, device: torch.device, average: Average) -> Learner:
        """The model on a device; `average` averages over the workers."""
        ...

    def batches(self, rows: RowSource, *, batch_size: int, steps: int, rank: int, device: torch.device) -> EpochBatches:
        """The batches of one worker."""
        ...


class _Alone:
    """One worker: what it has is the average, and the sum."""

    n_workers = 1

    def __call__(self, tensors: Iterable[Tensor]) -> None:
        """Nothing to do."""

    def total(self, tensors: Iterable[Tensor]) -> None:
        """Nothing to do."""


average_alone = _Alone()


def default_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Place:
    """Where a worker stands: its rank among `world_size`, its device, and what it says to the others."""

    rank: int
    world_size: int
    device: torch.device
    average: Average


def train_worker(
    job: Job,
    rows: RowSource,
    place: Place,
    *,
    n_rows: int,
    store: Store | None,
    label: str,
    watch: Watch | None = None,
) -> TrainResult:
    """One worker's part of a training; alone, it is the whole.

    The batch of a step is divided evenly: each worker takes batch_size / world_size of its own rows (a multiple of
    `batch_multiple`, at least one), and an epoch has `TrainSettings.steps_of` steps on every worker. Gradients are
    averaged, so that W workers follow the path of one with the same batch size.
    """
    device, average = place.device, place.average
    share = job.settings.batch_size // place.world_size // job.batch_multiple * job.batch_multiple
    batches = job.batches(
        rows,
        batch_size=max(share, job.batch_multiple),
        steps=job.settings.steps_of(n_rows),
        rank=place.rank,
        device=device,
    )
    is_private = isinstance(batches, PoissonBatches)
    if isinstance(batches, PoissonBatches):
        batches.agree(average)
    learner = job.learner(device, average)
    with tensor_cores(device, exact=is_private):
        return train(
            learner,
            batches,
            job.settings,
            signature=job.signature,
            store=store,
            label=label,
            go_on=GO_ON_PRIVATELY if is_private else GO_ON,
            watch=watch,
        )


def train_here(
    job: Job,
    rows: RowSource,
    *,
    store: Store | None = None,
    device: torch.device | None = None,
    label: str = "training",
    watch: Watch | None = None,
) -> TrainResult:
    """Train in this process; the same result as `training.distributed.train_on_ray` gives."""
    place = Place(0, 1, device or default_device(), average_alone)
    return train_worker(job, rows, place, n_rows=len(rows), store=store, label=label, watch=watch)
