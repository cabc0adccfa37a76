"""Shards on disk give the same rows as the table in memory, whatever the workers, and notice damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raysynth.encoding.block import EncodedBlock
from raysynth.errors import StorageError
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
