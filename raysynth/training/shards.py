"""Encoded shards: a table as many small memory-mapped files of codes and values, and a manifest with checksums.

A worker opens its share of the shards and reads rows at random; the operating system keeps what fits in memory. Shards
belong to the table, not to workers: any number of workers takes them by index (shard i goes to worker i mod W).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock
from raysynth.errors import StorageError
from raysynth.files.storage import atomic_path, make_folder, storage_error

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.encoding.table_encoder import TableEncoder
    from raysynth.training.batches import RowSource

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
ROWS_PER_SHARD = 1 << 18


class Shares(Protocol):
    """Encoded rows in a folder, of which each worker takes its share."""

    @property
    def n_rows(self) -> int:
        """Of all shares together."""
        ...

    def share(self, rank: int, world_size: int) -> RowSource:
        """The rows of one worker."""
        ...


@dataclass(frozen=True)
class Shard:
    """One pair of files: NAME.codes.npy (rows, C) uint8 or uint16, NAME.values.npy (rows, V) float32.

    Args:
        name: of the files.
        rows: in them.
        sha256: of the content of both files, one after the other.
    """

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class ShardSet:
    """All shards of a table in one folder.

    Args:
        folder: that workers see too.
        shards: in the order of the table's fragments.
    """

    folder: Path
    shards: tuple[Shard, ...]

    @property
    def n_rows(self) -> int:
        """Rows of all shards."""
        return sum(s.rows for s in self.shards)

    @property
    def n_bytes(self) -> int:
        """Bytes of all files of shards."""
        return sum(p.stat().st_size for s in self.shards for p in _paths(self.folder, s.name))

    @classmethod
    def open(cls, folder: str | Path) -> ShardSet:
        """Read the manifest of a folder; raises `StorageError` where it is missing or of another version."""
        path = Path(folder) / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {content['format_version']}")
            return cls(Path(folder), tuple(Shard(**s) for s in content["shards"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"'{path}' is no manifest of shards that this raysynth reads ({error}); encode again"
            ) from error

    def write_manifest(self) -> None:
        """Make the folder complete: the manifest is written last."""
        content = {"format_version": FORMAT_VERSION, "shards": [asdict(s) for s in self.shards]}
        with atomic_path(self.folder / MANIFEST, private=True) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def share(self, rank: int, world_size: int) -> ShardRows:
        """The rows of one worker, checked and memory-mapped.

        Raises:
            StorageError: a file is missing or its checksum is wrong; or there are fewer shards than workers.
        """
        mine = self.shards[rank::world_size]
        if not mine:
            raise StorageError(
                f"{world_size} workers but only {len(self.shards)} shards in '{self.folder}'; use fewer workers"
            )
        return ShardRows.open(self.folder, mine)


@dataclass(frozen=True)
class ShardRows:
    """Rows of some memory-mapped shards at random access (a `RowSource`)."""

    codes: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]
    start: np.ndarray

    @classmethod
    def open(cls, folder: Path, shards: Sequence[Shard]) -> ShardRows:
        """Check and map the files."""
        codes, values = [], []
        for shard in shards:
            paths = _paths(folder, shard.name)
            try:
                found = _sha256(paths)
                codes.append(np.load(paths[0], mmap_mode="r", allow_pickle=False))
                values.append(np.load(paths[1], mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError) as error:
                raise StorageError(f"shard '{paths[0]}' cannot be read ({error}); encode again") from error
            if found != shard.sha256:
                raise StorageError(f"shard '{paths[0]}' is damaged: its checksum is wrong; encode again")
        return cls(tuple(codes), tuple(values), np.cumsum([0, *(s.rows for s in shards)]))

    def __len__(self) -> int:
        return int(self.start[-1])

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """The rows at the given indices, in that order; each file is read once, in ascending order."""
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        codes = np.empty((len(rows), self.codes[0].shape[1]), np.uint16)
        values = np.empty((len(rows), self.values[0].shape[1]), np.float32)
        edges = np.searchsorted(ascending, self.start)
        for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            if low < high:
                local = ascending[low:high] - self.start[i]
                codes[order[low:high]] = self.codes[i][local]
                values[order[low:high]] = self.values[i][local]
        return EncodedBlock(codes, values)

    def column(self, column: int) -> np.ndarray:
        """The codes (R) of one column."""
        return np.concatenate([codes[:, column] for codes in self.codes])


def write_shards(
    table: Table,
    encoder: TableEncoder,
    folder: Path,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    at_least: int = 0,
    label: str = "encoding",
) -> ShardSet:
    """Encode a table into a folder, fragment by fragment, here or over Ray.

    Args:
        table: the modelled columns, and others that are ignored.
        encoder: built from released statistics.
        folder: that every worker sees.
        rows_per_shard: at most this many rows a shard.
        at_least: shards; empty ones are added where the rows make fewer. Under a privacy budget one for each worker: a
            worker without a shard is an error, and none may depend on a row.
        label: for the progress bar.

    Raises:
        StorageError: the folder cannot be written.
    """
    from raysynth.running.runner import for_each_fragment

    try:
        make_folder(folder, private=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    write = partial(_write_fragment, encoder, folder, rows_per_shard)
    written = for_each_fragment(table, write, columns=list(encoder.names), label=label)
    made = [shard for part in written for shard in part]
    nothing = EncodedBlock(np.empty((0, len(encoder.columns)), np.uint16), np.empty((0, encoder.n_values), np.float32))
    made += [write_block(folder, f"shard-empty-{i:04d}", nothing, 0) for i in range(at_least - len(made))]
    shards = ShardSet(folder, tuple(made))
    shards.write_manifest()
    return shards


def write_block(folder: Path, name: str, block: EncodedBlock, max_code: int) -> Shard:
    """Write one shard; codes up to 255 take one byte."""
    dtype = np.uint8 if max_code < 256 else np.uint16
    paths = _paths(folder, name)
    arrays = (block.codes_NC.astype(dtype, order="C"), np.ascontiguousarray(block.values_NV, np.float32))
    for path, array in zip(paths, arrays, strict=True):
        with atomic_path(path, private=True) as temporary:
            np.save(temporary, array)
    return Shard(name, len(block), _sha256(paths))


def is_whole(folder: Path, shard: Shard) -> bool:
    """Whether both files of a shard are there as they were written."""
    try:
        return _sha256(_paths(folder, shard.name)) == shard.sha256
    except OSError:
        return False


def _write_fragment(
    encoder: TableEncoder, folder: Path, rows_per_shard: int, index: int, blocks: Iterator[pa.RecordBatch]
) -> list[Shard]:
    max_code = max(encoder.cardinalities) - 1
    shards: list[Shard] = []
    for block in blocks:
        if not folder.is_dir():  # a task that comes too late would make it anew, and nobody would delete it
            raise StorageError(f"'{folder}' is gone: the fit that wanted these shards has ended")
        for start in range(0, block.num_rows, rows_per_shard):
            name = f"shard-{index:06d}-{len(shards):04d}"
            encoded = encoder.encode(block.slice(start, rows_per_shard))
            shards.append(write_block(folder, name, encoded, max_code))
    return shards


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.codes.npy", folder / f"{name}.values.npy"


def _sha256(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
