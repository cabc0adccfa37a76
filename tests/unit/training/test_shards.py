"""Shards on disk give the same rows as the table in memory, whatever the workers, and notice damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from shards import write_shards

from raysynth.data.table import as_table
from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import build_encoder
from raysynth.errors import StorageError
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.noised import NoisedColumn
from raysynth.statistics.released import CategoryCounts, Noised
from raysynth.training.private_batches import PoissonBatches
from raysynth.training.shards import ShardSet, write_block


def block(n: int, seed: int, top: int = 200) -> EncodedBlock:
    rng = np.random.default_rng(seed)
    return EncodedBlock(rng.integers(0, top, (n, 3)).astype(np.uint16), rng.random((n, 2)).astype(np.float32))


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    written = tuple(write_block(tmp_path, f"shard-{i}", block(10 + i, i), 199) for i in range(5))
    ShardSet(tmp_path, written).write_manifest()
    return ShardSet.open(tmp_path)


def test_rows_come_back_in_the_order_asked_for(shards: ShardSet) -> None:
    rows = shards.share(0, 1)
    codes = np.concatenate([block(10 + i, i).codes_NC for i in range(5)])
    values = np.concatenate([block(10 + i, i).values_NV for i in range(5)])
    asked = np.random.default_rng(9).integers(0, len(rows), 200)
    taken = rows.take(asked)
    assert len(rows) == shards.n_rows == 60
    np.testing.assert_array_equal(taken.codes_NC, codes[asked])
    np.testing.assert_array_equal(taken.values_NV, values[asked])
    np.testing.assert_array_equal(rows.column(1), codes[:, 1])


def test_workers_share_all_rows_between_them(shards: ShardSet) -> None:
    assert [len(shards.share(r, 2)) for r in range(2)] == [10 + 12 + 14, 11 + 13]
    with pytest.raises(StorageError, match="6 workers but only 5 shards"):
        shards.share(5, 6)


def encoded(n_rows: int, folder: Path, at_least: int) -> ShardSet:
    """Shards of eight rows each of a table."""
    table = as_table(pa.table({"a": pa.array([str(i % 3) for i in range(n_rows)])}), min_rows=0)
    counts = CategoryCounts(("0", "1", "2"), np.full(3, 4.0), 0.0, 3)
    column = NoisedColumn("a", 12, 0.0, counts=Noised(counts, None))
    schema = TableSchema((ColumnSchema("a", Kind.CATEGORICAL, "string"),))
    folder.mkdir()
    return write_shards(
        table, build_encoder(schema, {"a": column}, numeric="modes"), folder, rows_per_shard=8, at_least=at_least
    )


def test_under_a_budget_no_error_tells_of_a_row(tmp_path: Path) -> None:
    """Eight rows make one shard and nine make two: the neighbours differ without `at_least`, and not with it."""
    assert [len(encoded(n, tmp_path / f"plain {n}", 0).shards) for n in (8, 9)] == [1, 2]
    with pytest.raises(StorageError, match="2 workers but only 1 shards"):
        ShardSet.open(tmp_path / "plain 8").share(1, 2)
    for n in (0, 1, 8, 9):
        made = encoded(n, tmp_path / f"private {n}", 2)
        shares = [made.share(rank, 2) for rank in range(2)]
        assert sum(len(s) for s in shares) == n
        plan = DpSgdPlan(clip=1.0, noise_multiplier=1.0, sampling_rate=1.0, expected_batch=8.0, steps=1)
        for rank, share in enumerate(shares):
            (batch,) = PoissonBatches(share, plan, rank=rank).epoch(0)
            assert sum(int(part.counted_N.sum()) for part in batch.parts) == len(share)


def test_small_codes_take_one_byte_and_large_ones_two(tmp_path: Path) -> None:
    write_block(tmp_path, "small", block(4, 0, 256), 255)
    write_block(tmp_path, "large", block(4, 0, 1000), 999)
    assert np.load(tmp_path / "small.codes.npy").dtype == np.uint8
    assert np.load(tmp_path / "large.codes.npy").dtype == np.uint16


def test_damage_is_noticed(shards: ShardSet) -> None:
    path = shards.folder / "shard-2.values.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="checksum"):
        shards.share(0, 1)
    path.unlink()
    with pytest.raises(StorageError, match="encode again"):
        shards.share(0, 1)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="manifest"):
        ShardSet.open(tmp_path)
