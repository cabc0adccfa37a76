"""Batches of encoded rows for one epoch (CTGAN's training-by-sampling, or plain shuffling), and rows held back.

Training-by-sampling (Xu et al. 2019, section 4.3): a condition column is drawn uniformly, one of its codes by the
logarithm of its frequency, and then a row that has this code. All draws of a block of steps are made at once from
index tables, and the rows of the block are gathered and sent to the device together.

Shape legend: N rows of a batch, C columns, V values, T steps of a block, R rows of a worker, K conditions.

A worker holds back a share of its rows: the validation loss after each epoch decides when to stop. Not under
differential privacy, where no choice may depend on the data: a share of 0 holds back nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock
from raysynth.running.device_copies import codes_to_device, to_device

STEPS_PER_BLOCK = 64
MOST_CELLS = 1 << 24  # of a block of steps: wide rows (sequences) come in smaller blocks


@dataclass(frozen=True)
class Batch:
    """Encoded rows on the device.

    Args:
        codes_NC: int64.
        values_NV: float32.
        condition_N: conditions to generate rows for; None without a condition vector.
        real_condition_N: the condition that each real row was drawn for: the same ones in another order.
    """

    codes_NC: Tensor
    values_NV: Tensor
    condition_N: Tensor | None = None
    real_condition_N: Tensor | None = None

    def parts(self, n: int) -> list[Batch]:
        """n batches of equal size; `TrainSettings.accumulation` and `Job.batch_multiple` see to it that n divides."""
        if n == 1:
            return [self]
        columns = (self.codes_NC, self.values_NV, self.condition_N, self.real_condition_N)
        split = [[None] * n if c is None else c.chunk(n) for c in columns]
        return [Batch(codes, values, own, real) for codes, values, own, real in zip(*split, strict=True)]


class RowSource(Protocol):
    """A worker's rows at random access: an `EncodedBlock` in memory, or memory-mapped shards."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """The rows at the given indices, in that order."""
        ...

    def column(self, column: int) -> np.ndarray:
        """The codes (R) of one column."""
        ...


@dataclass(frozen=True)
class RowsOf:
    """Rows of another source as they are (a `RowSource`), for classes that know more about them.

    Args:
        rows: the source.
    """

    rows: RowSource

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """The rows at the given indices, in that order."""
        return self.rows.take(rows)

    def column(self, column: int) -> np.ndarray:
        """The codes (R) of one column."""
        return self.rows.column(column)


@dataclass(frozen=True)
class MemoryRows:
    """Rows of a table that fits in memory."""

    block: EncodedBlock

    def __len__(self) -> int:
        return len(self.block)

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """The rows at the given indices, in that order."""
        return self.block.take(rows)

    def column(self, column: int) -> np.ndarray:
        """The codes (R) of one column."""
        return self.block.codes_NC[:, column]


@dataclass(frozen=True)
class ConditionTables:
    """Which rows have which code of a condition column, and how often each is drawn.

    Args:
        order: rows sorted by code, column after column: int32, (condition columns, R).
        start, count: of the rows of each condition in its line of `order`, (K,).
        first: first condition of each condition column, (condition columns,).
        edges: for condition column i, i + the cumulative probability of its codes, ascending over all columns, (K,).
    """

    order: np.ndarray
    start: np.ndarray
    count: np.ndarray
    first: np.ndarray
    edges: np.ndarray

    @classmethod
    def build(cls, rows: RowSource, columns: Sequence[int], cardinalities: Sequence[int]) -> ConditionTables:
        """Tables of a worker's rows: 4 bytes a row and condition column."""
        order = np.empty((len(columns), len(rows)), np.int32)
        counts, starts, edges = [], [], []
        for i, (column, cardinality) in enumerate(zip(columns, cardinalities, strict=True)):
            codes = np.ascontiguousarray(rows.column(column))
            order[i] = np.argsort(codes, kind="stable")
            count = np.bincount(codes, minlength=cardinality)
            weight = np.where(count > 0, np.log(count + 1.0), 0.0)
            cumulative = np.cumsum(weight) / weight.sum()
            cumulative[np.flatnonzero(count)[-1] :] = 1.0
            edges.append(i + cumulative)
            counts.append(count)
            starts.append(np.cumsum(count) - count)
        first = np.cumsum([0, *cardinalities[:-1]])
        return cls(order, np.concatenate(starts), np.concatenate(counts), first, np.concatenate(edges))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Conditions (n,): column uniform, code by log-frequency."""
        return np.searchsorted(self.edges, rng.random(n) * len(self.first), side="right")

    def rows_with(self, condition: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each condition one row (n,) that has its code, uniformly among them."""
        column = np.searchsorted(self.first, condition, side="right") - 1
        place = self.start[condition] + (rng.random(len(condition)) * self.count[condition]).astype(np.int64)
        return self.order[column, place]


@dataclass(frozen=True)
class Batches:
    """The batches of every epoch; an epoch's depend on (seed, epoch, rank) alone, so a resumed run repeats them.

    Args:
        rows: a worker's rows.
        batch_size: rows of a batch of this worker.
        steps: batches of an epoch.
        seed: of the draws.
        rank: of the worker.
        tables: for training-by-sampling; None shuffles.
        device: where batches go.
    """

    rows: RowSource
    batch_size: int
    steps: int
    seed: int
    rank: int = 0
    tables: ConditionTables | None = None
    device: str | torch.device = "cpu"

    def seed_of(self, number: int) -> int:
        """Seed of epoch `number` on this rank (`epoch_seed`)."""
        return epoch_seed(self.seed, number, self.rank)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The `steps` batches of epoch `number`, drawn anew from the seed, the epoch and the rank."""
        rng = np.random.Generator(np.random.SFC64([self.seed, number, self.rank]))
        order = None if self.tables else shuffled_rows(len(self.rows), self.steps * self.batch_size, rng)
        at_once = self._steps_at_once()
        for first in range(0, self.steps, at_once):
            steps = min(at_once, self.steps - first)
            if order is not None:
                yield from self._block(order[first * self.batch_size :][: steps * self.batch_size], None, None, steps)
                continue
            assert self.tables is not None
            condition_TN = self.tables.draw(steps * self.batch_size, rng).reshape(steps, self.batch_size)
            real_TN = rng.permuted(condition_TN, axis=1)
            yield from self._block(self.tables.rows_with(real_TN.ravel(), rng), condition_TN, real_TN, steps)

    def _steps_at_once(self) -> int:
        row = self.rows.take(np.zeros(1, np.int64))
        cells = self.batch_size * (row.codes_NC.shape[1] + row.values_NV.shape[1])
        return max(1, min(STEPS_PER_BLOCK, MOST_CELLS // max(1, cells)))

    def _block(
        self, rows: np.ndarray, condition_TN: np.ndarray | None, real_TN: np.ndarray | None, steps: int
    ) -> Iterator[Batch]:
        """Gather the rows of a block of steps, send them to the device once, and slice them there."""
        block = self.rows.take(rows)
        codes = codes_to_device(block.codes_NC, self.device).reshape(steps, self.batch_size, -1)
        values = to_device(np.ascontiguousarray(block.values_NV, np.float32), self.device)
        values = values.reshape(steps, self.batch_size, -1)
        conditions = [None if c is None else to_device(c, self.device) for c in (condition_TN, real_TN)]
        for t in range(steps):
            own, real = (None if c is None else c[t] for c in conditions)
            yield Batch(codes[t].long(), values[t], own, real)


def shuffled_rows(n_rows: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n row indices: whole shuffled passes over the rows, one after the other."""
    passes = [rng.permutation(n_rows) for _ in range(-(-n // n_rows))]
    return np.concatenate(passes)[:n]


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Seed of an epoch's torch generator."""
    return int(np.random.SeedSequence([seed, epoch, rank, 1]).generate_state(1, np.uint64)[0] >> 1)


MAX_VALIDATION_ROWS = 8192
VALIDATION_BATCH = 2048


@dataclass(frozen=True)
class ValidationBatch(Batch):
    """Rows that are scored and not learned from."""


@dataclass(frozen=True)
class HeldOut:
    """Training batches, then the validation rows, each epoch (an `EpochBatches`).

    Args:
        training: batches of the rows that are kept.
        validation: rows that are held back; None: there are none.
        device: where batches go.
    """

    training: Batches
    validation: EncodedBlock | None
    device: torch.device

    @classmethod
    def split(
        cls,
        batches: Batches,
        share: float,
        *,
        tables: Callable[[RowSource], ConditionTables | None] | None = None,
        held: np.ndarray | None = None,
        left_out: np.ndarray | None = None,
    ) -> HeldOut:
        """Hold back a share of the rows of a worker's batches, at most 8,192; of the others such batches are made.

        They are shuffled, or drawn by `tables`.
        Where rows overlap, `held` says which are held back, and `left_out` which are not learned from either. Of
        `RowsOfPersons` whole persons are held back, who have about so many rows together.
        """
        rows = batches.rows
        if held is None:
            rng = np.random.default_rng([batches.seed, batches.rank, 2])
            n_held = min(int(share * len(rows)), MAX_VALIDATION_ROWS)
            if isinstance(rows, RowsOfPersons):
                held = rows.of_random_persons(n_held, rng)
            else:
                held = np.sort(rng.choice(len(rows), n_held, replace=False, shuffle=False))
        unseen = held if left_out is None else np.union1d(held, left_out)
        n_held = len(held)
        kept: RowSource = RowsWithout(rows, unseen) if len(unseen) else rows
        training = replace(batches, rows=kept, tables=tables(kept) if tables else None)
        return cls(training, rows.take(held) if n_held else None, torch.device(batches.device))

    @property
    def steps(self) -> int:
        """Those of the training batches."""
        return self.training.steps

    def seed_of(self, number: int) -> int:
        """That of the training batches."""
        return self.training.seed_of(number)

    def epoch(self, number: int) -> Iterator[Batch | ValidationBatch]:
        """All batches of one epoch."""
        yield from self.training.epoch(number)
        if self.validation is not None:
            codes_NC = codes_to_device(self.validation.codes_NC, self.device).long()
            values_NV = to_device(np.ascontiguousarray(self.validation.values_NV, np.float32), self.device)
            for codes, values in zip(codes_NC.split(VALIDATION_BATCH), values_NV.split(VALIDATION_BATCH), strict=True):
                yield ValidationBatch(codes, values)


@dataclass(frozen=True)
class RowsOfPersons(RowsOf):
    """Rows of persons who have several (a `RowSource`): a validation loss is to tell of others, not of copies.

    Args:
        rows: the source.
        persons_N: a number for the person of each row.
    """

    persons_N: np.ndarray

    def of_random_persons(self, n_rows: int, rng: np.random.Generator) -> np.ndarray:
        """All rows, ascending, of persons drawn at random who have about `n_rows` together; not of all of them."""
        _, person_N, rows_P = np.unique(self.persons_N, return_inverse=True, return_counts=True)
        drawn = rng.permutation(len(rows_P))[:-1]
        taken = drawn[np.cumsum(rows_P[drawn]) - rows_P[drawn] / 2 < n_rows]
        return np.flatnonzero(np.isin(person_N, taken))


@dataclass(frozen=True)
class RowsWithout:
    """Rows of a source without some of them (a `RowSource`).

    Args:
        rows: the source.
        held: ascending indices that are left out.
    """

    rows: RowSource
    held: np.ndarray

    def __len__(self) -> int:
        return len(self.rows) - len(self.held)

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """Rows at indices among those that are kept: each is moved up by the held ones before it."""
        return self.rows.take(rows + np.searchsorted(self.held - np.arange(len(self.held)), rows, side="right"))

    def column(self, column: int) -> np.ndarray:
        """The codes of one column."""
        return np.delete(self.rows.column(column), self.held)
