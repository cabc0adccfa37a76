"""What is trained: a picklable description that builds networks and batches wherever training runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.training.averaging import Average, copy_all
from raysynth.training.batches import Batches, HeldOut, RowSource
from raysynth.training.learner import Learner, Trainable
from raysynth.training.loop import GO_ON, EpochBatches, Store, TrainResult, TrainSettings, Watch, train
from raysynth.training.private_batches import PART_ROWS, PoissonBatches
from raysynth.training.private_steps import PrivateSteps

Networks = TypeVar("Networks", bound=Trainable)
CPU = torch.device("cpu")  # where networks go that sample

GO_ON_PRIVATELY = "fit(data, resume=...) with this folder goes on within the same budget; a fit anew spends another one"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model to train; a method adds what its networks are made of.

    Args:
        settings: epochs, batch size, seed, what is held back.
        plan: of DP-SGD; None: without a privacy budget.
    """

    settings: TrainSettings
    plan: DpSgdPlan | None = None

    @property
    def signature(self) -> str:
        """Text that only checkpoints of this job have: columns, networks and everything that changes an epoch."""
        shown = (getattr(self, f.name) for f in fields(self) if f.repr and f.name not in ("settings", "plan"))
        own = [asdict(value) if is_dataclass(value) and not isinstance(value, type) else value for value in shown]
        return json.dumps([*own, self.settings.of_an_epoch, None if self.plan is None else self.plan.fit_id])

    @property
    def batch_multiple(self) -> int:
        """A worker's batch must be a multiple of this: of the parts of an accumulated step, of packs, of groups."""
        return self.settings.accumulation

    @property
    def part_rows(self) -> int:
        """Rows whose gradients are clipped at once, under a budget."""
        return PART_ROWS

    def trainable(self, device: torch.device) -> Trainable:
        """Networks with fresh weights, of the settings' seed, on a device."""
        raise NotImplementedError

    def learner(self, device: torch.device, average: Average, rank: int = 0) -> Learner:
        """The model in training on a device; `average` averages over the workers, of which this one is `rank`."""
        return Learner(
            self.trainable(device),
            device=device,
            average=average,
            ema_decay=self.settings.ema_decay,
            patience=self.settings.patience,
            private=None if self.plan is None else PrivateSteps(self.plan, average, rank),
        )

    def batches(self, rows: RowSource, *, batch_size: int, steps: int, rank: int, device: torch.device) -> EpochBatches:
        """One worker's batches: shuffled, and rows held back at an epoch's end; Poisson ones under a budget."""
        if self.plan is not None:
            how = {"multiple": self.batch_multiple, "part_rows": self.part_rows}
            return PoissonBatches(rows, self.plan, rank=rank, device=device, **how)
        return self.held_out(Batches(rows, batch_size, steps, self.settings.seed, rank, device=device))

    def held_out(self, batches: Batches) -> HeldOut:
        """The batches with some of their rows held back."""
        return HeldOut.split(batches, self.settings.validation_share)


def trained(networks: Networks, state: dict[str, Any]) -> Networks:
    """Networks of a job with the weights that leave, from a learner's state; whatever else they hold is the last."""
    networks.load_state_dict(state["networks"])
    with torch.no_grad():
        copy_all(state["weights"]["best"], networks.leaving())
    return networks


class _Alone:
    """One worker: what it has is the average, and the sum."""

    n_workers = 1

    def __call__(self, tensors: Iterable[Tensor]) -> None:
        """One process: gradients are the average already."""

    def total(self, tensors: Iterable[Tensor]) -> None:
        """One process: sums are the total already."""


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
    learner = job.learner(device, average, place.rank)
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


@contextmanager
def tensor_cores(device: torch.device, *, exact: bool) -> Iterator[None]:
    """While training on a GPU, products of float32 matrices go through its tensor cores (TF32: factors of 10 binary
    digits, sums in float32); weights, gradients and optimisers stay float32, so that no loss has to be scaled.

    bfloat16 is not used in training: the networks of tables are so small that a step is bound by launches and not by
    products, and the critic's hand-made gradients are differences of near numbers.

    Args:
        device: that the networks are on; without effect on a CPU.
        exact: keep full float32: under a privacy budget a norm that is rounded down would let a gradient through that
            is longer than the clipping bound, which is the sensitivity.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if exact else "high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
