"""Rows that a worker holds back from learning: a validation loss after each epoch decides when to stop.

Not under differential privacy (design, 'No choice by the data'): a share of 0 holds back nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.running.local import codes_to_device, to_device
from raysynth.training.batches import Batch, Batches, ConditionTables, RowsOf, RowSource

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
