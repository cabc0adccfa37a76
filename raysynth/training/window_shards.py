"""Sequences in files, handed to workers or seen by all: every encoded row once, and which rows each sequence has.

    FOLDER/steps/manifest.json       shards of the encoded rows of all entities, in order
    FOLDER/context/manifest.json     shards of the sequences' own columns
    FOLDER/windows.npy               (2, sequences) int64: first row and rows of each

Windows that overlap share their rows here, as in memory; a wide row for each would repeat a row up to T times on disk.
A worker maps all files and puts the wide rows of its own sequences together as batches ask for them: its memory holds
some batches, and beside them only pages that the operating system can drop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from raysynth.data.sequences import Windows
from raysynth.encoding.block import EncodedBlock
from raysynth.errors import ParameterError, StorageError
from raysynth.files.storage import atomic_path
from raysynth.training.shards import ROWS_PER_SHARD, Laying, Shard, ShardRows, ShardSet, write_block

WINDOWS = "windows.npy"
NONE_FIRST = np.empty(0, np.int64)


class _Rows(Protocol):
    def take(self, rows: np.ndarray) -> EncodedBlock: ...


def wide_rows(steps: _Rows, context: _Rows, windows: Windows, length: int, rows: np.ndarray) -> EncodedBlock:
    """The wide rows of some windows: codes [length | context | step after step], values [context | step after step].

    Args:
        steps: encoded rows of all entities. context: of each window.
        windows: which rows are whose.
        length: steps of a wide row; beyond a sequence's end they repeat its last one.
        rows: indices of windows.
    """
    start, own = np.asarray(windows.start[rows]), np.asarray(windows.length[rows])
    at_NT = start[:, None] + np.minimum(np.arange(length), own[:, None] - 1)
    n, step, context_rows = len(rows), steps.take(at_NT.ravel()), context.take(rows)
    codes = [own[:, None], context_rows.codes_NC, step.codes_NC.reshape(n, length * step.codes_NC.shape[1])]
    values = [context_rows.values_NV, step.values_NV.reshape(n, length * step.values_NV.shape[1])]
    return EncodedBlock(np.concatenate(codes, 1).astype(np.uint16), np.concatenate(values, 1))


@dataclass(frozen=True)
class WindowShards:
    """All sequences, in a folder (`Shares`).

    Args:
        folder: that workers see too; `handed` comes before it.
        length: steps of a wide row.
        n_rows: sequences.
        first: sequences that are dealt first, so that each worker has as many of them as any other, but for one.
        handed: lays all files on a worker's own machine's disk; None: they lie in `folder`.
    """

    folder: Path
    length: int
    n_rows: int
    first: np.ndarray = field(default_factory=lambda: NONE_FIRST, repr=False)
    handed: Laying | None = None

    @property
    def n_bytes(self) -> int:
        """Size of the shards of steps and contexts together, in bytes."""
        sets = (ShardSet.open(self.folder / part) for part in ("steps", "context"))
        return sum(s.n_bytes for s in sets) + (self.folder / WINDOWS).stat().st_size

    def share(self, rank: int, world_size: int) -> WindowShare:
        """The sequences of one worker, in files that are checked and memory-mapped.

        Raises:
            StorageError: a file is missing or damaged. ParameterError: there are fewer sequences than workers.
        """
        if self.n_rows < world_size:
            raise ParameterError(f"{world_size} workers but only {self.n_rows} sequences; use fewer workers")
        folder = self.folder if self.handed is None else self.handed.laid()
        steps, context = (ShardSet.open(folder / part).share(0, 1) for part in ("steps", "context"))
        path = folder / WINDOWS
        try:
            windows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise StorageError(f"'{path}' cannot be read ({error}); encode again") from error
        others = np.delete(np.arange(self.n_rows), self.first)
        dealt = np.concatenate([self.first, others])[rank::world_size]
        return WindowShare(steps, context, Windows(windows[0], windows[1]), self.length, dealt)


@dataclass(frozen=True)
class WindowShare:
    """Wide rows of one worker's sequences (a `RowSource`).

    Args:
        steps, context, windows, length: see `wide_rows`; of all sequences.
        numbers: the worker's sequences.
    """

    steps: ShardRows
    context: ShardRows
    windows: Windows
    length: int
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """The wide rows of the worker's sequences at the given indices, in that order."""
        return wide_rows(self.steps, self.context, self.windows, self.length, self.numbers[rows])

    def column(self, column: int) -> np.ndarray:
        """The codes (R) of one column of the wide rows."""
        parts = np.array_split(np.arange(len(self)), 1 + len(self) * self.length // ROWS_PER_SHARD)
        return np.concatenate([self.take(part).codes_NC[:, column] for part in parts])


def write_windows(
    folder: Path,
    steps: EncodedBlock,
    context: EncodedBlock,
    windows: Windows,
    length: int,
    *,
    first: np.ndarray = NONE_FIRST,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> WindowShards:
    """Write encoded sequences into a folder, in pieces; arguments as of `wide_rows` and `WindowShards`."""
    for name, block in (("steps", steps), ("context", context)):
        (folder / name).mkdir(mode=0o700)
        most = int(block.codes_NC.max(initial=0))
        shards: list[Shard] = []
        for at in range(0, len(block), rows_per_shard):
            part = EncodedBlock(block.codes_NC[at:][:rows_per_shard], block.values_NV[at:][:rows_per_shard])
            shards.append(write_block(folder / name, f"shard-{len(shards):06d}", part, most))
        ShardSet(folder / name, tuple(shards)).write_manifest()
    with atomic_path(folder / WINDOWS, private=True) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack([windows.start, windows.length]).astype(np.int64))
    return WindowShards(folder, length, len(windows), first)
