"""Reads that fail for a moment: no row is lost and none comes twice; what lasts is an error at once or in the end."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from raysynth.data.sources import parquet
from raysynth.data.sources.parquet import PAUSES, ParquetFragment, read_again
from raysynth.data.table import as_table
from raysynth.errors import StorageError
from raysynth.statistics import collect


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(parquet.time, "sleep", waited.append)
    return waited


class Failing:
    """Five parts; some tries end in an error before a part."""

    def __init__(self, *failures: tuple[int, int | None]) -> None:
        self.failures, self.tries = list(failures), 0

    def __call__(self) -> Iterator[int]:
        self.tries += 1
        for part in range(5):
            if self.failures and self.failures[0][0] == part:
                number = self.failures.pop(0)[1]
                raise OSError("odd") if number is None else OSError(number, os.strerror(number))
            yield part


def test_each_part_comes_once_in_order(pauses: list[float]) -> None:
    read = Failing((0, errno.EIO), (3, errno.ETIMEDOUT), (3, errno.EIO), (4, errno.ESTALE))
    assert list(read_again(read, is_local=True)) == [0, 1, 2, 3, 4]
    assert pauses == [PAUSES[0], PAUSES[0], PAUSES[1], PAUSES[0]], "it is patient anew with each part"


def test_an_error_that_does_not_pass_is_raised(pauses: list[float]) -> None:
    read = Failing(*[(2, errno.EIO)] * 9)
    with pytest.raises(OSError, match="Input/output"):
        list(read_again(read, is_local=True))
    assert read.tries == 1 + len(PAUSES) and pauses == list(PAUSES)


@pytest.mark.parametrize(
    ("number", "is_local", "tries"),
    [(errno.ENOENT, False, 1), (errno.EACCES, True, 1), (None, True, 1), (None, False, 2)],
    ids=["no file", "no permission", "a damaged file", "an object store"],
)
def test_what_cannot_pass_is_not_tried_again(number: int | None, is_local: bool, tries: int) -> None:
    read = Failing((1, number))
    if tries == 1:
        with pytest.raises(OSError):
            list(read_again(read, is_local=is_local))
    else:
        assert list(read_again(read, is_local=is_local)) == [0, 1, 2, 3, 4]
    assert read.tries == tries


def test_statistics_of_a_table_whose_reads_fail_are_those_of_one_whose_reads_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pd.DataFrame({"x": range(3000), "c": list("abc") * 1000}).to_parquet(tmp_path / "t.parquet", row_group_size=500)
    table = as_table(tmp_path / "t.parquet")
    expected = collect(table)
    batches, failed = ParquetFragment._batches, []

    def sometimes(self: ParquetFragment, *args: Any) -> Iterator[pa.RecordBatch]:
        yield from batches(self, *args)
        if not failed:
            failed.append(True)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(ParquetFragment, "_batches", sometimes)
    found = collect(table)
    assert failed and found.n_rows == expected.n_rows == 3000
    assert found.columns["c"].categories().value.counts.sum() == 3000

    def never(self: ParquetFragment, *args: Any) -> Iterator[pa.RecordBatch]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(ParquetFragment, "_batches", never)
    with pytest.raises(StorageError, match=r"cannot read '.*t\.parquet': Input/output error"):
        collect(table)
