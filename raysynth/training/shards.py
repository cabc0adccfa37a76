"""Encoded shards: a table as many small memory-mapped files of codes and values, and a manifest with checksums.

A worker opens its share of the shards and reads rows at random; the operating system keeps what fits in memory. Shards
belong to the table, not to workers: any number of workers takes them by index (shard i goes to worker i mod W).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock
from raysynth.errors import StorageError
from raysynth.files.storage import Folder, Place, atomic_path, write_atomically

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.encoding.table_encoder import TableEncoder
    from raysynth.training.batches import RowSource

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
ROWS_PER_SHARD = 1 << 18


class Laying(Protocol):
    """Brings files of encoded rows onto the disk of the machine that asks (`scratch.py`)."""

    def laid(self, names: Sequence[str] = (), *, anew: bool = False) -> Path:
        """A folder with the named files (all where left out); `anew`: written again though they are there."""
        ...


class Shares(Protocol):
    """Encoded rows in files, of which each worker takes its share."""

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
    """All shards of a table: in one folder, or handed to the workers.

    Args:
        folder: that workers see too; `handed` comes before it.
        shards: in the order of the table's fragments.
        handed: lays the files of a worker's share on its own machine's disk; None: they lie in `folder`.
    """

    folder: Path
    shards: tuple[Shard, ...]
    handed: Laying | None = None

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
        return cls(Path(folder), read_manifest(Path(folder)))

    def write_manifest(self) -> None:
        """Make the folder complete: the manifest is written last."""
        write_manifest(self.folder, self.shards)

    def share(self, rank: int, world_size: int) -> ShardRows:
        """The rows of one worker, checked and memory-mapped: shard i is worker i mod W's.

        Each row is in exactly one share, whatever W is, and a share that is dealt anew after a loss is read from what
        lies on the machine already. Under a privacy budget each worker draws each of its rows with the same chance q,
        independently of all others and anew in each step. So the rows that all workers draw are a Poisson sample of
        the whole table for any division of it, one that changes between two steps included: who holds a row is
        decided by the fragments and W, never by a draw, and the chance of the row is q wherever it lies.

        Raises:
            StorageError: a file is missing or its checksum is wrong; or there are fewer shards than workers.
        """
        mine = self.shards[rank::world_size]
        if not mine:
            raise StorageError(
                f"{world_size} workers but only {len(self.shards)} shards in '{self.folder}'; use fewer workers"
            )
        if self.handed is None:
            return ShardRows.open(self.folder, mine)
        names = [name for shard in mine for name in _names(shard.name)]
        try:
            return ShardRows.open(self.handed.laid(names), mine)
        except StorageError:  # what an earlier start of a worker left there is damaged
            return ShardRows.open(self.handed.laid(names, anew=True), mine)


def read_manifest(folder: Folder) -> tuple[Shard, ...]:
    """The shards of a folder; raises `StorageError` where its manifest is missing or of another version."""
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {content['format_version']}")
        return tuple(Shard(**s) for s in content["shards"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"'{path}' is no manifest of shards that this raysynth reads ({error}); encode again"
        ) from error


def write_manifest(folder: Folder, shards: Sequence[Shard]) -> None:
    """Say which shards lie in a folder; raises `StorageError`."""
    content = {"format_version": FORMAT_VERSION, "shards": [asdict(s) for s in shards]}
    write_atomically(folder / MANIFEST, json.dumps(content).encode(), private=True)


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


def stream_shards(
    table: Table,
    encoder: TableEncoder,
    put: Callable[[str, np.ndarray], None],
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    at_least: int = 0,
) -> tuple[Shard, ...]:
    """Encode a table fragment by fragment, here or over Ray; its shards come to this process in the table's order.

    The blocks of a Ray Dataset come in no order: theirs is that of their checksums, the same whenever rows are.

    Args:
        table: the modelled columns, and others that are ignored.
        encoder: built from released statistics.
        put: `put(name, content)` keeps a file, of which the content (uint8) is given.
        rows_per_shard: at most this many rows a shard.
        at_least: shards; empty ones are added where the rows make fewer. Under a privacy budget one for each worker: a
            worker without a shard is an error, and none may depend on a row.
    """
    from raysynth.running.runner import made_in_order

    encode = partial(_encode_shards, encoder, rows_per_shard)
    with closing(made_in_order(table, encode, columns=list(encoder.names), label="encoding")) as parts:
        shards = [shard.put(put, f"shard-{i:06d}") for i, shard in enumerate(s for part in parts for s in part)]
    if table.dataset is not None:
        shards.sort(key=lambda shard: shard.sha256)
    while len(shards) < at_least:
        shards.append(content_of(encoder.encode_all([]), 0).put(put, f"shard-{len(shards):06d}"))
    return tuple(shards)


def write_block(folder: Path, name: str, block: EncodedBlock, max_code: int) -> Shard:
    """Write one shard; codes up to 255 take one byte."""
    return content_of(block, max_code).put(partial(write_file, folder), name)


@dataclass(frozen=True)
class ShardContent:
    """What the two files of a shard are to hold (uint8), before they have a name."""

    rows: int
    files: tuple[np.ndarray, ...]
    sha256: str

    def put(self, put: Callable[[str, np.ndarray], None], name: str) -> Shard:
        """The shard, its files kept under their names by `put(name, content)`."""
        for file, content in zip(_names(name), self.files, strict=True):
            put(file, content)
        return Shard(name, self.rows, self.sha256)


def content_of(block: EncodedBlock, max_code: int) -> ShardContent:
    """One shard of some rows; codes up to 255 take one byte."""
    codes = block.codes_NC.astype(np.uint8 if max_code < 256 else np.uint16, order="C")
    files = (array_file(codes), array_file(np.ascontiguousarray(block.values_NV, np.float32)))
    digest = hashlib.sha256(files[0].data)
    digest.update(files[1].data)
    return ShardContent(len(block), files, digest.hexdigest())


def array_file(array: np.ndarray) -> np.ndarray:
    """The bytes (uint8) of an .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return np.frombuffer(file.getbuffer(), np.uint8)


def is_whole(folder: Path, shard: Shard) -> bool:
    """Whether both files of a shard are there as they were written."""
    try:
        return _sha256(_paths(folder, shard.name)) == shard.sha256
    except OSError:
        return False


def encode_fragment(encoder: TableEncoder, index: int, blocks: Iterable[pa.RecordBatch]) -> EncodedBlock:
    """The rows of one fragment (see `runner.for_each_fragment`)."""
    return encoder.encode_all(blocks)


def _encode_shards(
    encoder: TableEncoder, rows_per_shard: int, index: int, blocks: Iterator[pa.RecordBatch]
) -> list[ShardContent]:
    max_code = max(encoder.cardinalities) - 1
    parts = (block.slice(at, rows_per_shard) for block in blocks for at in range(0, block.num_rows, rows_per_shard))
    return [content_of(encoder.encode(part), max_code) for part in parts]


def fetched(folder: Place, shard: Shard) -> ShardContent:
    """What the files of a shard in an object store hold; raises `StorageError` where they are not as they were."""
    try:
        files = []
        for name in _names(shard.name):
            with (folder / name).open() as stream:
                files.append(np.frombuffer(stream.read(), np.uint8))
    except OSError as error:
        raise StorageError(f"shard '{folder / shard.name}' cannot be read ({error})") from error
    digest = hashlib.sha256(files[0].data)
    digest.update(files[1].data)
    if digest.hexdigest() != shard.sha256:
        raise StorageError(f"shard '{folder / shard.name}' is damaged: its checksum is wrong")
    return ShardContent(shard.rows, tuple(files), shard.sha256)


def write_file(folder: Path, name: str, content: np.ndarray, *, lasting: bool = True) -> None:
    """A file of a folder that is its owner's alone, from its bytes; raises `StorageError`. `lasting`: `atomic_path`."""
    with atomic_path(folder / name, private=True, lasting=lasting) as temporary:
        temporary.write_bytes(content.data)


def _names(name: str) -> tuple[str, str]:
    return f"{name}.codes.npy", f"{name}.values.npy"


def _paths(folder: Path, name: str) -> tuple[Path, ...]:
    return tuple(folder / file for file in _names(name))


def _sha256(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
