"""The encoded shards of a table in a folder of this machine, for tests and benchmarks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from raysynth.data.fragments import Table
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.files.private_folder import make_folder
from raysynth.training.shards import ROWS_PER_SHARD, ShardSet, stream_shards, write_file


def write_shards(
    table: Table, encoder: TableEncoder, folder: Path, *, rows_per_shard: int = ROWS_PER_SHARD, at_least: int = 0
) -> ShardSet:
    """Arguments as of `stream_shards`."""
    make_folder(folder, private=True)
    put = partial(write_file, folder)
    shards = ShardSet(folder, stream_shards(table, encoder, put, rows_per_shard=rows_per_shard, at_least=at_least))
    shards.write_manifest()
    return shards
