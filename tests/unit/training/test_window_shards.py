"""Sequences in files: the same wide rows as in memory, dealt out to workers without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raysynth.data.sequences import Windows
from raysynth.encoding.block import EncodedBlock
from raysynth.errors import ParameterError, StorageError
from raysynth.methods.sequences.data import WindowRows
from raysynth.training.window_shards import WINDOWS, WindowShards, write_windows

T, N_ROWS = 5, 120


@pytest.fixture(scope="module")
def rows() -> WindowRows:
    """100 windows of 1 to 5 of 120 rows; they overlap. A context of two codes and no value."""
    rng = np.random.default_rng(0)
    steps = EncodedBlock(rng.integers(0, 700, (N_ROWS, 3)).astype(np.uint16), rng.random((N_ROWS, 2), np.float32))
    windows = Windows(np.sort(rng.integers(0, N_ROWS - T, 100)), rng.integers(1, T + 1, 100))
    context = EncodedBlock(rng.integers(0, 4, (100, 2)).astype(np.uint16), np.empty((100, 0), np.float32))
    return WindowRows(steps, context, windows, T)


def written(rows: WindowRows, folder: Path, **options: object) -> WindowShards:
    return write_windows(folder, rows.steps, rows.context, rows.windows, rows.length, **options)  # type: ignore[arg-type]


def test_wide_rows_come_out_of_files_as_out_of_memory(rows: WindowRows, tmp_path: Path) -> None:
    shards = written(rows, tmp_path, rows_per_shard=32)  # windows lie across the edges of files
    share = shards.share(0, 1)
    chosen = np.random.default_rng(1).integers(0, 100, 60)  # some twice, in any order
    found, wanted = share.take(chosen), rows.take(chosen)
    np.testing.assert_array_equal(found.codes_NC, wanted.codes_NC)
    np.testing.assert_array_equal(found.values_NV, wanted.values_NV)
    assert found.codes_NC.dtype == np.uint16 and found.values_NV.dtype == np.float32
    np.testing.assert_array_equal(share.column(0), rows.windows.length)


def test_a_wide_row_holds_length_context_and_steps_and_repeats_the_last_one(rows: WindowRows) -> None:
    short = int(np.flatnonzero(rows.windows.length == 2)[0])
    codes, at = rows.take(np.array([short])).codes_NC[0], rows.windows.start[short]
    assert codes[0] == 2 and codes[1:3].tolist() == rows.context.codes_NC[short].tolist()
    steps = codes[3:].reshape(T, 3)
    np.testing.assert_array_equal(steps, rows.steps.codes_NC[[at, at + 1, at + 1, at + 1, at + 1]])


def test_every_row_is_on_disk_once(rows: WindowRows, tmp_path: Path) -> None:
    shards = written(rows, tmp_path)
    step_bytes = N_ROWS * (3 * 2 + 2 * 4)
    assert step_bytes < shards.n_bytes < step_bytes + 100 * (2 + 16) + 2000  # contexts, windows, and the files' heads


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_have_all_sequences_between_them_and_the_first_evenly(
    rows: WindowRows, tmp_path: Path, workers: int
) -> None:
    first = np.array([3, 5, 7, 9, 50, 60, 98])
    shards = written(rows, tmp_path, first=first)
    shares = [shards.share(rank, workers).numbers for rank in range(workers)]
    assert sorted(np.concatenate(shares)) == list(range(100))
    held = [int(np.isin(numbers, first).sum()) for numbers in shares]
    assert max(held) - min(held) <= 1 and max(map(len, shares)) - min(map(len, shares)) <= 1


def test_what_cannot_be_shared_is_an_error(rows: WindowRows, tmp_path: Path) -> None:
    shards = written(rows, tmp_path)
    with pytest.raises(ParameterError, match="101 workers but only 100 sequences"):
        shards.share(0, 101)
    (tmp_path / WINDOWS).write_bytes(b"")
    with pytest.raises(StorageError, match=r"windows\.npy' cannot be read.*encode again"):
        shards.share(0, 1)
    file = next((tmp_path / "steps").glob("*.codes.npy"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="checksum is wrong"):
        shards.share(0, 1)
