"""Rows that workers lay on their own disks: each in one share, for any number of workers, and none laid twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysynth.data import fragments as table_module
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import build_encoder
from raysynth.errors import StorageError
from raysynth.files.storage import write_atomically
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.noised import NoisedColumn
from raysynth.statistics.released import CategoryCounts, Noised
from raysynth.training.batches import RowsOfPersons, RowSource
from raysynth.training.kept_shards import OwnedShards, stream_owned_shards
from raysynth.training.private_batches import RowsOfUnits
from raysynth.training.shards import ShardSet, stream_shards

N = 1001  # no multiple of any number of workers here
DIGITS = tuple(f"{i:02d}" for i in range(32))
ENCODER = build_encoder(
    TableSchema(tuple(ColumnSchema(name, Kind.CATEGORICAL, "string") for name in "ab")),
    {
        name: NoisedColumn(name, N, 0.0, counts=Noised(CategoryCounts(DIGITS, np.full(32, 40.0), 0.0, 32), None))
        for name in "ab"
    },
    numeric="modes",
)


def numbers(rows: RowSource | EncodedBlock) -> list[int]:
    """Which rows these are: each has codes of its own."""
    block = rows if isinstance(rows, EncodedBlock) else rows.take(np.arange(len(rows)))
    return (block.codes_NC[:, 0].astype(int) * 100 + block.codes_NC[:, 1]).tolist()


class OneDisk:
    """A machine's scratch folder, and what was written there how often (`Laying`)."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.contents, self.written = folder, dict[str, np.ndarray](), Counter[str]()

    def put(self, name: str, content: np.ndarray) -> None:
        assert name not in self.contents
        self.contents[name] = content

    def laid(self, names: Sequence[str] = (), *, anew: bool = False) -> Path:
        for name in names or self.contents:
            if anew or not (self.folder / name).exists():
                write_atomically(self.folder / name, bytes(self.contents[name]), private=True)
                self.written[name] += 1
        return self.folder


@pytest.fixture
def disk(tmp_path: Path) -> OneDisk:
    return OneDisk(tmp_path / "scratch")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """Each row has codes of its own, which tell which one it is; in seven fragments."""
    monkeypatch.setattr(table_module, "_BLOCK_ROWS", 150)
    monkeypatch.setattr(table_module, "_FEWEST_ROWS", 150)
    made = as_table(pa.table({"a": [DIGITS[i // 32] for i in range(N)], "b": [DIGITS[i % 32] for i in range(N)]}))
    assert len(made.fragments) == 7
    return made


def test_every_row_is_in_one_share_and_no_file_is_laid_twice_for_another_number_of_workers(
    disk: OneDisk, table: Table
) -> None:
    shards = ShardSet(Path(), stream_shards(table, ENCODER, disk.put, rows_per_shard=64), disk)
    expected = sorted(numbers(ENCODER.encode_all(table.blocks())))
    assert len(set(expected)) == N == shards.n_rows
    for workers in (2, 3, 1, 5):
        assert sorted(n for rank in range(workers) for n in numbers(shards.share(rank, workers))) == expected
    assert set(disk.written) == set(disk.contents) and set(disk.written.values()) == {1}
    assert {path.stat().st_mode & 0o777 for path in disk.folder.iterdir()} == {0o600}
    assert disk.folder.stat().st_mode & 0o777 == 0o700


def test_a_damaged_file_is_laid_again(disk: OneDisk, table: Table) -> None:
    shards = ShardSet(Path(), stream_shards(table, ENCODER, disk.put, rows_per_shard=200), disk)
    before = numbers(shards.share(0, 2))
    (disk.folder / "shard-000002.codes.npy").write_bytes(b"half a fi")
    assert numbers(shards.share(0, 2)) == before
    assert disk.written["shard-000002.codes.npy"] == 2 and disk.written["shard-000001.codes.npy"] == 0
    disk.contents["shard-000000.codes.npy"] = np.zeros(9, np.uint8)
    (disk.folder / "shard-000000.codes.npy").unlink()
    with pytest.raises(StorageError, match="encode again"):
        shards.share(0, 2)


@pytest.mark.parametrize("are_units", [True, False])
def test_all_rows_of_an_owner_are_one_worker_s(disk: OneDisk, table: Table, are_units: bool) -> None:
    """300 owners of one to some seven rows each."""
    owner_N = np.unique(np.random.default_rng(0).integers(0, 300, N), return_inverse=True)[1]
    owner_of = dict(zip(numbers(ENCODER.encode_all(table.blocks())), owner_N.tolist(), strict=True))
    made = stream_owned_shards(table, ENCODER, owner_N, disk.put, n_shards=16)
    shards = OwnedShards(ShardSet(Path(), made, disk), are_units)
    for workers in (2, 3):
        shares = [shards.share(rank, workers) for rank in range(workers)]
        dealt = [numbers(share) for share in shares]
        assert sorted(c for own in dealt for c in own) == sorted(owner_of)
        owners = [{owner_of[c] for c in own} for own in dealt]
        assert sum(map(len, owners)) == len(set().union(*owners)) == owner_N.max() + 1
        for share, own in zip(shares, dealt, strict=True):
            groups = groups_of(share)
            assert all(len({owner_of[own[row]] for row in rows}) == 1 for rows in groups)
            assert sorted(row for rows in groups for row in rows) == list(range(len(own)))
    assert set(disk.written.values()) == {1}


def groups_of(share: RowsOfUnits | RowsOfPersons) -> list[list[int]]:
    """The rows of each owner, as the share has them."""
    if isinstance(share, RowsOfUnits):
        return [part.tolist() for part in np.split(share.units.row_R, share.units.start_U[1:-1])]
    return [np.flatnonzero(share.persons_N == p).tolist() for p in np.unique(share.persons_N)]
