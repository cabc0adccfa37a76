"""Encoded shards that a user keeps, so that a second fit of the same table encodes nothing.

    FOLDER/PRIVATE.txt                  what lies here are rows
    FOLDER/<digest>/key.json            what the shards were made of: see `ShardKey`
    FOLDER/<digest>/manifest.json       and the shards, as in `shards.py`

A fit takes kept shards only where the key is equal in every part and every file has its checksum; otherwise it encodes
again, into a folder of its own that is renamed into place when it is complete (`files/private_folder.py`: one that
never is does not stay). Any number of workers takes them. They stay until the user deletes the folder.

Under a privacy budget each fit would draw statistics, and so an encoder, of its own: there a second fit takes the
first one's, and pays for them (`kept_releases.py`).

Where several rows are one owner's (a privacy unit's, or a person's, of whom some are held back) shards have owners:

    NAME.codes.npy, NAME.values.npy      as in `shards.py`
    NAME.owners.npy                      (rows,) int64: a number for the owner of each row

An owner's rows lie in one shard, by the owner's number mod the number of shards, so that one worker has all of them,
whatever the number of workers is. Which worker that is changes nothing for a privacy unit: it takes part in a step with
chance q, independently of all others, wherever it lies (`statistics/units.py`; `ShardSet.share`).
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raysynth.encoding.block import EncodedBlock, concat_blocks
from raysynth.errors import StorageError
from raysynth.files.private_folder import new_name, private_folder, remove_abandoned
from raysynth.files.storage import Folder, Place, place, write_atomically
from raysynth.files.stores import storage_error
from raysynth.statistics.units import UnitIndex
from raysynth.training.batches import RowsOfPersons
from raysynth.training.kept_releases import _sha256, encoder_digest, fingerprint, schema_digest
from raysynth.training.private_batches import RowsOfUnits
from raysynth.training.shards import (
    FORMAT_VERSION,
    ROWS_PER_SHARD,
    Shard,
    ShardSet,
    array_file,
    content_of,
    encode_fragment,
    fetched,
    is_whole,
    read_manifest,
    stream_shards,
    write_file,
    write_manifest,
)

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.encoding.table_encoder import TableEncoder
    from raysynth.schema.table import TableSchema
    from raysynth.training.kept_releases import KeptReleases


SHARDS_PER_WORKER = 8
KEY = "key.json"
LABEL = "PRIVATE.txt"
NOTE = "private: encoded real rows, kept for a second fit; keep them with the data, or delete this folder\n"

_logger = logging.getLogger("raysynth")


@dataclass(frozen=True)
class ShardKey:
    """All that the content of a table's shards depends on.

    Args:
        data: SHA-256 of the values of the encoded columns, all rows in their order; private.
        schema: of these columns.
        encoder: digest of the encoder.
        unit: of privacy; shards are rows.
        format_version: of the shards.
    """

    data: str
    schema: str
    encoder: str
    unit: str = "row"
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(cls, table: Table, schema: TableSchema, encoder: TableEncoder) -> ShardKey:
        """Reads the table once; about ten times as fast as encoding it."""
        return cls(fingerprint(table, list(encoder.names)), schema_digest(schema), encoder_digest(encoder))

    @classmethod
    def under_budget(cls, releases: KeptReleases) -> ShardKey:
        """The table was read when the releases were looked for."""
        key = releases.key
        return cls(key.data, key.schema, encoder_digest(releases.encoder), key.unit)

    @property
    def digest(self) -> str:
        """Digest of what the shards follow from: the name of their folder."""
        return _sha256(json.dumps(asdict(self), sort_keys=True).encode())[:32]


@dataclass(frozen=True)
class KeptRows:
    """Rows whose shards are kept, or are found where an earlier fit kept them.

    Args:
        table: the modelled columns, and others that are ignored.
        schema: of the modelled columns.
        encoder: built from released statistics.
        rows_per_shard: at most this many rows of a new shard.
        fewest: shards that the workers need; where fewer were kept, the table is divided again.
        releases: under a privacy budget what the encoder was built from; then there are as many shards as are needed,
            empty ones if need be, since no error may depend on a row.
        number_R: the number of the owner of each row, in the table's order, where shards are to have owners; what was
            kept has those of the rows that are kept.
    """

    table: Table
    schema: TableSchema
    encoder: TableEncoder
    rows_per_shard: int
    fewest: int = 1
    releases: KeptReleases | None = None
    number_R: np.ndarray | None = None

    def key(self) -> ShardKey:
        """What the shards follow from; without a budget this reads the table once."""
        if self.releases is not None:
            return ShardKey.under_budget(self.releases)
        return ShardKey.of(self.table, self.schema, self.encoder)

    def write(self, folder: Folder, key: ShardKey, put: Callable[[str, np.ndarray], None]) -> tuple[Shard, ...]:
        """New shards, each file by `put`, and what is kept beside them; `key.json` is written last."""
        if self.number_R is None:
            at_least = 0 if self.releases is None else self.fewest
            made = stream_shards(self.table, self.encoder, put, rows_per_shard=self.rows_per_shard, at_least=at_least)
        else:
            n_shards = owned_shards(self.number_R, self.fewest)
            made = stream_owned_shards(self.table, self.encoder, self.number_R, put, n_shards=n_shards)
        write_manifest(folder, made)
        if self.releases is not None:
            self.releases.write(folder)
        write_atomically(folder / KEY, json.dumps(asdict(key)).encode(), private=isinstance(folder, Path))
        return made


def kept_shards(rows: KeptRows, folder: Path) -> ShardSet:
    """The shards of a table that an earlier fit kept, or new ones that are kept.

    Args:
        rows: what they are of.
        folder: for the shards of any number of tables; every worker sees it.

    Raises:
        StorageError: the folder cannot be written.
    """
    key = rows.key()
    home = folder / key.digest if rows.releases is None else Path(str(rows.releases.home))
    remove_abandoned(folder)
    found = _found(home, key, owned=rows.number_R is not None)
    if found is not None and len(found.shards) >= rows.fewest:
        return found
    write_atomically(folder / LABEL, NOTE.encode(), private=True)
    with private_folder(folder) as writing:
        rows.write(writing, key, partial(write_file, writing))
        try:
            _put(writing, home)
        except OSError as error:
            raise storage_error(error, home) from error
    return ShardSet.open(home)


def shards_in_store(rows: KeptRows, folder: Place, put: Callable[[str, np.ndarray], None]) -> tuple[Shard, ...]:
    """As `kept_shards`, in an object store: files go there as they are made, and from there through this process.

    `key.json` goes first where shards are replaced: without it nothing is taken.

    Args:
        put: `put(name, content)` keeps a file of this fit, kept or new.
    """
    key = rows.key()
    home = folder / key.digest if rows.releases is None else place(rows.releases.home)
    found = _fetched(home, key, put, rows.fewest, owned=rows.number_R is not None)
    if found is not None:
        return found
    try:
        if (home / KEY).exists():
            (home / KEY).delete()
    except OSError as error:
        raise storage_error(error, home) from error
    write_atomically(folder / LABEL, NOTE.encode())

    def keep(name: str, content: np.ndarray) -> None:
        write_atomically(home / name, content.tobytes())
        put(name, content)

    return rows.write(home, key, keep)


def _fetched(
    home: Place, key: ShardKey, put: Callable[[str, np.ndarray], None], fewest: int, *, owned: bool
) -> tuple[Shard, ...] | None:
    """As `_found`, of an object store, each file put where this fit needs it."""
    if not (home / KEY).exists():
        return None
    try:
        _require_key(home, key)
        shards = read_manifest(home)
        if len(shards) < fewest:
            return None
        for shard in shards if owned else ():
            with (home / owners_of(shard)).open() as stream:
                put(owners_of(shard), np.frombuffer(stream.read(), np.uint8))
        return tuple(fetched(home, shard).put(put, shard.name) for shard in shards)
    except (OSError, ValueError, StorageError) as error:
        _warn(home, error)
        return None


def _require_key(home: Folder, key: ShardKey) -> None:
    if json.loads((home / KEY).read_text(encoding="utf-8")) != asdict(key):
        raise StorageError(f"'{home / KEY}' belongs to another table")


def _warn(home: Folder, error: Exception) -> None:
    _logger.warning("the shards kept in '%s' are not used (%s); the table is encoded again", home, error)


def _found(home: Path, key: ShardKey, *, owned: bool) -> ShardSet | None:
    """Shards that were made of the same and are whole; None, with a word in the log, where they are damaged."""
    from raysynth.running.runner import run_tasks

    if not home.exists():
        return None
    try:
        _require_key(home, key)
        shards = ShardSet.open(home)
        whole = run_tasks(partial(is_whole, home), shards.shards, label="checking shards", weight=shards.n_rows)
        if not all(whole):
            damaged = next(s.name for s, good in zip(shards.shards, whole, strict=True) if not good)
            raise StorageError(f"shard '{damaged}' is missing or its checksum is wrong")
        if owned:
            OwnedShards(shards, are_units=True).share(0, 1)
    except (OSError, ValueError, StorageError) as error:
        _warn(home, error)
        return None
    return shards


def _put(writing: Path, home: Path) -> None:
    """Complete shards take their place; those that were there before go."""
    if home.exists():
        old = new_name(home.parent)
        home.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    writing.rename(home)


@dataclass(frozen=True)
class OwnedShards:
    """Shards with the owners of their rows (`Shares`).

    Args:
        shards: of the rows.
        are_units: privacy units, which training draws; else persons, of whom whole ones are held back.
    """

    shards: ShardSet
    are_units: bool

    @property
    def n_rows(self) -> int:
        """Rows of all shards."""
        return self.shards.n_rows

    def share(self, rank: int, world_size: int) -> RowsOfUnits | RowsOfPersons:
        """The rows of one worker, with their owners; raises as `ShardSet.share`."""
        rows = self.shards.share(rank, world_size)
        numbers = [self._owners(shard) for shard in self.shards.shards[rank::world_size]]
        number_R = np.concatenate(numbers)
        if self.are_units:
            return RowsOfUnits(rows, UnitIndex.of_numbers(number_R))
        return RowsOfPersons(rows, number_R)

    def _owners(self, shard: Shard) -> np.ndarray:
        name = owners_of(shard)
        folder = self.shards.folder if self.shards.handed is None else self.shards.handed.laid([name])
        try:
            found: np.ndarray = np.load(folder / name, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(f"'{folder / name}' cannot be read ({error}); encode again") from error
        if found.shape != (shard.rows,):
            raise StorageError(f"'{folder / name}' names {len(found)} owners of {shard.rows} rows; encode again")
        return found


def owners_of(shard: Shard) -> str:
    """Name of the file of the owners of a shard's rows."""
    return f"{shard.name}.owners.npy"


def owned_shards(number_R: np.ndarray, workers: int) -> int:
    """How many shards are made of rows with owners (R), for so many workers."""
    return max(SHARDS_PER_WORKER * workers, len(number_R) // ROWS_PER_SHARD)


def stream_owned_shards(
    table: Table,
    encoder: TableEncoder,
    number_R: np.ndarray,
    put: Callable[[str, np.ndarray], None],
    *,
    n_shards: int,
) -> tuple[Shard, ...]:
    """Encode a table as `shards.stream_shards` does, its rows divided by their owners.

    The encoded rows are gathered in this process, which holds the owner of each row, too.

    Args:
        table: not a Ray Dataset, whose rows keep no places.
        number_R: for each row of the table in its order the number of its owner.
        put: as of `stream_shards`.
        n_shards: so many, of which some may be empty.
    """
    from raysynth.running.runner import made_in_order

    gathered: list[list[EncodedBlock]] = [[encoder.encode_all([])] for _ in range(n_shards)]
    encode, at = partial(encode_fragment, encoder), 0
    with closing(made_in_order(table, encode, columns=list(encoder.names), label="encoding")) as parts:
        for block in parts:
            shard_N = number_R[at : at + len(block)] % n_shards
            at += len(block)
            order = np.argsort(shard_N, kind="stable")
            cuts = np.searchsorted(shard_N[order], np.arange(1, n_shards))
            for own, rows in zip(gathered, np.split(order, cuts), strict=True):
                own.append(block.take(rows))
    order = np.argsort(number_R % n_shards, kind="stable")
    cuts = np.searchsorted(number_R[order] % n_shards, np.arange(1, n_shards))
    shards = []
    for i, rows in enumerate(np.split(number_R[order], cuts)):
        name = f"shard-{i:06d}"
        put(f"{name}.owners.npy", array_file(rows))
        block, gathered[i] = concat_blocks(gathered[i]), []
        shards.append(content_of(block, max(encoder.cardinalities) - 1).put(put, name))
    return tuple(shards)
