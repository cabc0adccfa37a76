"""Encoded shards that a user keeps, so that a second fit of the same table encodes nothing.

    FOLDER/PRIVATE.txt                  what lies here are rows
    FOLDER/<digest>/key.json            what the shards were made of: see `ShardKey`
    FOLDER/<digest>/manifest.json       and the shards, as in `shards.py`

A fit takes kept shards only where the key is equal in every part and every file has its checksum; otherwise it encodes
again, into a folder of its own that is renamed into place when it is complete (`files/private_folder.py`: one that
never is does not stay). Any number of workers takes them. They stay until the user deletes the folder.

Under a privacy budget each fit would draw statistics, and so an encoder, of its own: there a second fit takes the
first one's, and pays for them (`kept_releases.py`).
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from raysynth.errors import StorageError
from raysynth.files.private_folder import new_name, private_folder, remove_abandoned
from raysynth.files.storage import storage_error, write_atomically
from raysynth.training.kept_releases import _sha256, encoder_digest, fingerprint, schema_digest
from raysynth.training.shards import FORMAT_VERSION, ShardSet, is_whole, write_shards

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.encoding.table_encoder import TableEncoder
    from raysynth.schema.table import TableSchema
    from raysynth.training.kept_releases import KeptReleases

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


def kept_shards(
    table: Table,
    schema: TableSchema,
    encoder: TableEncoder,
    folder: Path,
    *,
    rows_per_shard: int,
    fewest: int = 1,
    releases: KeptReleases | None = None,
) -> ShardSet:
    """The shards of a table that an earlier fit kept, or new ones that are kept.

    Args:
        table: the modelled columns, and others that are ignored.
        schema: of the modelled columns.
        encoder: built from released statistics.
        folder: for the shards of any number of tables; every worker sees it.
        rows_per_shard: at most this many rows of a new shard.
        fewest: shards that the workers need; where fewer were kept, the table is divided again.
        releases: under a privacy budget what the encoder was built from; then there are as many shards as are needed,
            empty ones if need be, since no error may depend on a row.

    Raises:
        StorageError: the folder cannot be written.
    """
    key = ShardKey.of(table, schema, encoder) if releases is None else ShardKey.under_budget(releases)
    home = folder / key.digest if releases is None else releases.home
    remove_abandoned(folder)
    found = _found(home, key)
    if found is not None and len(found.shards) >= fewest:
        return found
    write_atomically(folder / LABEL, NOTE.encode(), private=True)
    with private_folder(folder) as writing:
        at_least = 0 if releases is None else fewest
        write_shards(table, encoder, writing, rows_per_shard=rows_per_shard, at_least=at_least)
        if releases is not None:
            releases.write(writing)
        write_atomically(writing / KEY, json.dumps(asdict(key)).encode(), private=True)
        try:
            _put(writing, home)
        except OSError as error:
            raise storage_error(error, home) from error
    return ShardSet.open(home)


def _found(home: Path, key: ShardKey) -> ShardSet | None:
    """Shards that were made of the same and are whole; None, with a word in the log, where they are damaged."""
    from raysynth.running.runner import run_tasks

    if not home.exists():
        return None
    try:
        if json.loads((home / KEY).read_text(encoding="utf-8")) != asdict(key):
            raise StorageError(f"'{home / KEY}' belongs to another table")
        shards = ShardSet.open(home)
        whole = run_tasks(partial(is_whole, home), shards.shards, label="checking shards", weight=shards.n_rows)
        if not all(whole):
            damaged = next(s.name for s, good in zip(shards.shards, whole, strict=True) if not good)
            raise StorageError(f"shard '{damaged}' is missing or its checksum is wrong")
    except (OSError, ValueError, StorageError) as error:
        _logger.warning("the shards kept in '%s' are not used (%s); the table is encoded again", home, error)
        return None
    return shards


def _put(writing: Path, home: Path) -> None:
    """Complete shards take their place; those that were there before go."""
    if home.exists():
        old = new_name(home.parent)
        home.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    writing.rename(home)
