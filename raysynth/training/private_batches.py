"""Batches under a privacy budget: each row of a worker's share is in each batch with the same chance q (Poisson).

That is what the accountant of DP-SGD assumes; a shuffled epoch accounted as Poisson is a privacy bug (Chua et al. 2024,
arXiv 2403.17673). The number of rows drawn is private and varies; they come in parts of at most `part_rows` rows, so
that memory is bounded and no row is ever left out. A part is filled up with rows that do not count; an empty batch is a
part of such rows alone. Draws come from the plan's noise source, never from a seed.

Where the rows are of units of several rows (`RowsOfUnits`), units are drawn so, and one row of each that was drawn,
anew in each step: a batch has at most one row of a unit (`statistics/units.py` says why that is private).

Where a model treats the rows of a part in groups (`multiple` of them: groups that share an order of the columns), each
row's group is drawn for it alone. Dealt out by position, one row more would move its neighbours into other groups,
change their gradients too, and the sum by more than the clip. For the same reason whatever else is drawn for a row (its
latent noise, its condition) comes from a generator with a secret seed (`seed_of`): given such draws, row by row,
one row more adds one clipped gradient and changes nothing else, and the guarantee holds for their mixture.

Shape legend: N rows of a part, C columns, V values, R rows of a worker.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.errors import TrainingError
from raysynth.files.private_folder import make_folder
from raysynth.files.storage import Target, place, write_atomically
from raysynth.running.device_copies import codes_to_device, to_device
from raysynth.training.batches import Batch, RowsOf, RowSource

if TYPE_CHECKING:
    from raysynth.statistics.units import UnitIndex
    from raysynth.training.averaging import Average

PART_ROWS = 2048
STEPS_PER_BLOCK = 16


@dataclass(frozen=True)
class PrivatePart:
    """Some rows of a batch; private.

    Args:
        batch: the rows, those that fill up included.
        counted_N: bool; False: a row that fills up.
        rows_N: which of the worker's rows each one is; -1: one that fills up.
    """

    batch: Batch
    counted_N: Tensor
    rows_N: np.ndarray


@dataclass(frozen=True)
class PrivateBatch:
    """One step's rows; at least one part. How many rows count is private."""

    parts: tuple[PrivatePart, ...]


@dataclass(frozen=True)
class RowsOfUnits(RowsOf):
    """Rows of which units are to be drawn, not single rows (a `RowSource`).

    Args:
        rows: all rows of all units.
        units: which are whose.
    """

    units: UnitIndex

    def __post_init__(self) -> None:
        if len(self.units.row_R) != len(self.rows):
            raise ValueError("the rows and the index of their units are not of the same table")


class PoissonBatches:
    """The batches of every epoch (an `EpochBatches`); unlike others they are new ones whenever an epoch is repeated.

    Steps that a lost worker makes the training repeat come out of the same number of charged steps: the budget holds,
    and the training ends earlier.

    Args:
        rows: a worker's rows.
        plan: sampling rate and steps.
        rank: of the worker.
        multiple: groups of equal size that a part's rows are dealt out to at random, one after the other in a part.
        device: where parts go.
        part_rows: of a part, at most.
    """

    def __init__(
        self,
        rows: RowSource,
        plan: DpSgdPlan,
        *,
        rank: int = 0,
        multiple: int = 1,
        device: str | torch.device = "cpu",
        part_rows: int = PART_ROWS,
    ) -> None:
        self.rows, self.plan, self.rank, self.multiple, self.device = rows, plan, rank, multiple, device
        self.part_rows = part_rows
        self._left, self._started = plan.steps, 0
        self._noise = plan.noise(f"batches of worker {rank}")

    def agree(self, average: Average) -> None:
        """At each (re)start: all workers learn from rank 0's journal how many charged steps are left."""
        if self.plan.journal is None:
            return
        count = started_steps(self.plan.journal) if self.rank == 0 else 0
        started = torch.tensor([count], dtype=torch.float32, device=self.device)  # one type on all workers
        average.total([started])
        self._started, self._left = count, max(0, self.plan.steps - int(started.item()))

    @property
    def steps(self) -> int:
        """Those that the plan has for an epoch: public, as it is."""
        return self.plan.steps_per_epoch

    def seed_of(self, number: int) -> int:
        """Of a generator of what is drawn for single rows; fresh whenever it is asked for, and known to nobody."""
        return int(self._noise.uniform(1)[0] * 2**53)

    def epoch(self, number: int) -> Iterator[PrivateBatch]:
        """The batches of one epoch; fewer, or none, where repeated steps have used up what was charged.

        Raises:
            TrainingError: another process has begun steps of the same run: together both would release what was charged
                once.
        """
        steps = min(self.plan.steps_per_epoch, self._left)
        self._left -= steps
        if steps and self.rank == 0 and self.plan.journal is not None:
            _start_steps(self.plan.journal, self._started, steps)
            self._started += steps
        for first in range(0, steps, STEPS_PER_BLOCK):
            yield from self._block(min(STEPS_PER_BLOCK, steps - first))

    def _block(self, steps: int) -> Iterator[PrivateBatch]:
        """Draw a block of steps, gather its rows once, and cut them up."""
        units = self.rows.units if isinstance(self.rows, RowsOfUnits) else None
        n = len(self.rows if units is None else units)
        places = bernoulli_places(n * steps, self.plan.sampling_rate, self._noise)
        edges = np.searchsorted(places, np.arange(steps + 1) * n)
        drawn = places % n if len(places) else np.zeros(0, np.int64)
        drawn = drawn if units is None else units.one_row_each(drawn, self._noise)
        block = self.rows.take(drawn)
        codes = block.codes_NC
        values = np.ascontiguousarray(block.values_NV, np.float32)
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            starts = range(low, high, self.part_rows) if high > low else [low]
            cuts = [(start, min(start + self.part_rows, high)) for start in starts]
            yield PrivateBatch(tuple(self._part(codes[a:b], values[a:b], drawn[a:b]) for a, b in cuts))

    def _part(self, codes_NC: np.ndarray, values_NV: np.ndarray, rows_N: np.ndarray) -> PrivatePart:
        at = self._dealt(len(codes_NC))
        size = self.multiple * max(1, -(-(int(at.max()) + 1) // self.multiple)) if len(at) else self.multiple
        codes = np.zeros((size, codes_NC.shape[1]), np.uint16)
        values = np.zeros((size, values_NV.shape[1]), np.float32)
        rows = np.full(size, -1)
        # `at` counts the groups' first rows, then their second ones ...; a part holds group after group
        where = (at % self.multiple) * (size // self.multiple) + at // self.multiple
        codes[where], values[where], rows[where] = codes_NC, values_NV, rows_N
        batch = Batch(codes_to_device(codes, self.device).long(), to_device(values, self.device))
        return PrivatePart(batch, to_device(rows >= 0, self.device), rows)

    def _dealt(self, n: int) -> np.ndarray:
        """For each of n rows a number of its own, whose remainder by `multiple` is a group drawn for the row alone."""
        if self.multiple == 1:
            return np.arange(n)
        group_N = np.floor(self._noise.uniform(n) * self.multiple).astype(np.int64)
        order = np.argsort(group_N, kind="stable")
        sizes = np.bincount(group_N, minlength=self.multiple)
        rank_N = np.empty(n, np.int64)
        rank_N[order] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return rank_N * self.multiple + group_N


def bernoulli_places(n: int, q: float, noise: NoiseSource) -> np.ndarray:
    """Places among 0 .. n - 1, each there with chance q independently of the others, ascending.

    The gaps between them are geometric: floor(log(u) / log(1 - q)); so the work follows what is drawn, not n.
    """
    if q >= 1:
        return np.arange(n)
    found: list[np.ndarray] = []
    last = -1
    while last < n:
        expected = q * (n - last)
        draws = int(expected + 4 * expected**0.5 + 16)
        gaps = np.floor(np.log(noise.uniform(draws)) / np.log1p(-q))
        places = last + np.cumsum(np.minimum(gaps, n) + 1)
        found.append(places)
        last = int(places[-1])
    drawn = np.concatenate(found).astype(np.int64)
    return drawn[drawn < n]


def started_steps(journal: Target) -> int:
    """Steps that were started according to a journal; 0 where there is none yet."""
    file = place(journal, "journal")
    if not file.exists():
        return 0
    with file.open() as content:
        return int(json.load(content)["started"])


def _start_steps(journal: Target, known: int, steps: int) -> None:
    """Count steps as started, before the first of them runs; `known`: those that this process knows of."""
    with _alone(journal):
        if (found := started_steps(journal)) != known:
            raise TrainingError(
                f"another process trains in '{place(journal).parent}' ({found} steps have begun, {known} by this one "
                "or before): two at once would release more than was charged. Wait until it ends, and resume"
            )
        write_atomically(journal, json.dumps({"started": known + steps}).encode(), private=True)


@contextmanager
def _alone(journal: Target) -> Iterator[None]:
    """With the lock of a journal's folder; an object store has none, and there the count alone tells of another run."""
    where = place(journal)
    if where.filesystem is not None:
        yield
        return
    folder = Path(where.path).parent
    make_folder(folder, private=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
