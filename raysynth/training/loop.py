"""The one training loop, for every neural model, in this process and in each worker of Ray Train.

The loop counts epochs, keeps the history, writes checkpoints, resumes from them, and stops where the loss is no longer
finite; what a batch does to a model is the `Learner`'s (`learner.py`).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from raysynth.arguments import check_one_of, check_whole
from raysynth.errors import ParameterError, TrainingError
from raysynth.running.progress import progress
from raysynth.training.learner import Learner

SCHEDULES = ("constant", "cosine")
Watch = Callable[[int, Callable[[], dict[str, Any]]], None]  # epochs that are done, and what gives the learner's state
GO_ON = "fit again to go on"


@dataclass(frozen=True)
class TrainSettings:
    """How long and how often; what a step does is the learner's business.

    Args:
        epochs: passes over the table, > 0.
        batch_size: rows of one step over all workers together.
        seed: of batches and noise; the same seed on the same machine gives the same model.
        schedule: of the learning rate: 'constant', or 'cosine' from full to a twentieth.
        checkpoint_every: epochs between checkpoints; the last epoch always has one.
        accumulation: parts in which a worker's batch goes through the networks, one after the other, before their
            gradients' mean makes one update: memory for fewer rows, and the same batch.
        compile_step: take a step's arithmetic through `torch.compile` (see `compiled.py`), where a learner can.
        epoch_rows: rows that one epoch shows at most, drawn anew each time; None: all. So schedules, scores of what is
            held back and patience follow the rows seen, however large the table is.
        ema_decay: of the moving average of the weights that leave; 0: the last weights.
        validation_share: share of each worker's rows that are held back (at most 8,192 rows); 0: none.
        patience: epochs without a better score on them after which training ends; 0: never.
    """

    epochs: int
    batch_size: int
    seed: int
    schedule: str = "constant"
    checkpoint_every: int = 10
    accumulation: int = 1
    compile_step: bool = False
    epoch_rows: int | None = None
    ema_decay: float = 0.995
    validation_share: float = 0.0
    patience: int = 0

    def validate(self) -> None:
        """Raise `ParameterError` for values out of range."""
        for name in ("epochs", "batch_size", "checkpoint_every", "accumulation"):
            check_whole(name, getattr(self, name))
        check_one_of("schedule", self.schedule, SCHEDULES)

    @property
    def of_an_epoch(self) -> dict[str, Any]:
        """What changes an epoch: part of a checkpoint's signature. How many epochs there are may grow."""
        return {k: v for k, v in asdict(self).items() if k not in ("epochs", "checkpoint_every", "compile_step")}

    def rows_shown(self, n_rows: int) -> int:
        """Rows that all epochs of a table of so many show."""
        return self.epochs * (n_rows if self.epoch_rows is None else min(n_rows, self.epoch_rows))

    def steps_of(self, n_rows: int) -> int:
        """Steps of an epoch of a table of so many rows."""
        shown = n_rows if self.epoch_rows is None else min(n_rows, self.epoch_rows)
        return max(1, shown // self.batch_size)

    def learning_rate_factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch (counted from 0)."""
        if self.schedule == "constant":
            return 1.0
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


class EpochBatches(Protocol):
    """The batches of each epoch, the same ones whenever an epoch is repeated (but for those under a privacy budget)."""

    @property
    def steps(self) -> int:
        """How many an epoch has, for its progress; under a privacy budget a public number."""
        ...

    def seed_of(self, number: int) -> int:
        """Seed of whatever else an epoch draws (noise, dropout), below 2^63."""
        ...

    def epoch(self, number: int) -> Iterator[Any]:
        """Batches on the learner's device."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """The state after some epochs.

    Args:
        signature: what the state belongs to (columns, networks, seed); another one is refused.
        state: of the learner.
        history: one entry for each finished epoch.
    """

    signature: str
    state: dict[str, Any]
    history: list[dict[str, float]]


class Store(Protocol):
    """A place that keeps the latest checkpoint of a training: a folder, or Ray Train's storage."""

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    def load(self) -> Checkpoint | None:
        """The latest checkpoint, or None."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, atomically."""
        ...

    def report(self, entry: Mapping[str, float], checkpoint: Checkpoint | None) -> None:
        """One epoch is done; keep the checkpoint, if there is one."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """What training gives, wherever it ran: the learner's last state, and one history entry for each epoch."""

    state: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    learner: Learner,
    batches: EpochBatches,
    settings: TrainSettings,
    *,
    signature: str = "",
    store: Store | None = None,
    label: str = "training",
    go_on: str = GO_ON,
    watch: Watch | None = None,
) -> TrainResult:
    """Train to the last epoch, from the latest checkpoint of the store where it has one.

    Each epoch's randomness is that of its batches: it depends on (seed, epoch, rank) alone, so a resumed run equals an
    uninterrupted one; under a privacy budget it is fresh and secret.

    Args:
        learner: the model; changed in place.
        batches: of this worker.
        settings: epochs and seeds.
        signature: of what is trained; see `Checkpoint`.
        store: for checkpoints; None keeps none.
        label: what the progress bar says.
        go_on: what the note of an interruption says on how to go on.
        watch: called after each epoch but the last; what it raises ends the training.

    Raises:
        TrainingError: a loss is not finite.
        KeyboardInterrupt: Ctrl-C; the last finished epoch is kept in the store, and a note on the error says where.
    """
    settings.validate()
    history = _resume(learner, signature, store)
    kept: Checkpoint | None = None
    try:
        fewest = _fewest_left(learner, settings)
        with progress(label, settings.epochs, done=len(history), public=True, fewest=fewest) as advance:
            for epoch in range(len(history), settings.epochs):
                if learner.finished:
                    break
                history.append(_run_epoch(learner, batches, settings, epoch, advance))
                if store is not None:
                    kept = Checkpoint(signature, learner.state_dict(), list(history))
                    store.report(history[-1], kept if learner.finished or _is_due(epoch, settings) else None)
                if watch is not None and epoch + 1 < settings.epochs:
                    watch(epoch + 1, learner.state_dict)
    except KeyboardInterrupt as interrupt:
        if store is not None and kept is not None:
            store.save(kept)
            interrupt.add_note(f"epoch {len(kept.history)} of {settings.epochs} is kept in {store.where}; {go_on}")
        raise
    return TrainResult(learner.state_dict(), history)


def _resume(learner: Learner, signature: str, store: Store | None) -> list[dict[str, float]]:
    checkpoint = store.load() if store is not None else None
    if store is None or checkpoint is None:
        return []
    if checkpoint.signature != signature:
        raise ParameterError(
            f"the checkpoint in {store.where} belongs to another table, other hyper-parameters or another seed; "
            "choose another run name or storage path, or delete it"
        )
    learner.load_state_dict(checkpoint.state)
    return list(checkpoint.history)


def _fewest_left(learner: Learner, settings: TrainSettings) -> Callable[[], float] | None:
    """Epochs that are left at least, where what is held back may end the training; None: all are run."""
    if not (settings.patience and settings.validation_share):
        return None
    return lambda: settings.patience - learner.epochs_since_best


def _is_due(epoch: int, settings: TrainSettings) -> bool:
    return (epoch + 1) % settings.checkpoint_every == 0 or epoch + 1 == settings.epochs


def _run_epoch(
    learner: Learner, batches: EpochBatches, settings: TrainSettings, epoch: int, advance: Callable[[float], None]
) -> dict[str, float]:
    begun = time.perf_counter()
    rng = torch.Generator(learner.device).manual_seed(batches.seed_of(epoch))
    learner.set_learning_rate(settings.learning_rate_factor(epoch))
    sums: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()
    number = 0
    for number, batch in enumerate(batches.epoch(epoch), start=1):
        for name, loss in learner.step(batch, rng).items():
            sums[name] = sums[name] + loss if name in sums else loss
            counts[name] += 1
        if number < batches.steps:
            advance(1 / batches.steps)
    learner.end_epoch()
    advance(1 - max(0, min(number, batches.steps - 1)) / batches.steps)
    losses = _means(learner, sums, counts)
    if wrong := [name for name, loss in losses.items() if not math.isfinite(loss)]:
        raise TrainingError(
            f"the {wrong[0]} loss is not finite in epoch {epoch + 1}; lower the learning rate, enlarge batch_size, or "
            "look for extreme numbers in the table"
        )
    return {"epoch": epoch + 1, **losses, "seconds": time.perf_counter() - begun}


def _means(learner: Learner, sums: dict[str, Tensor], counts: Mapping[str, int]) -> dict[str, float]:
    """Means over the batches that gave each loss, and over workers; the one host synchronisation of an epoch."""
    if not sums:
        return {}
    stacked = torch.stack([s.detach().float() / counts[name] for name, s in sums.items()])
    learner.average([stacked])
    return dict(zip(sums, stacked.tolist(), strict=True))
