"""Atomic writes: a complete file or none, and errors that say what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raysynth.errors import StorageError
from raysynth.files.storage import atomic_path, check_writable


def test_file_appears_whole_with_the_users_permissions(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("a\n1\n")
        assert not target.exists()
    assert target.read_text() == "a\n1\n"
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("bug")])
def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    expected = StorageError if isinstance(error, OSError) else ValueError
    with pytest.raises(expected), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_disk_full_names_the_path_and_the_cure(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="table.csv.*disk is full; free some space"),
        atomic_path(tmp_path / "table.csv"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_check_before_the_work_finds_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "deep" / "er" / "model.raysynth")
    assert os.listdir(tmp_path) == ["file"], "the check itself makes nothing"
    with pytest.raises(StorageError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(StorageError, match="a part of the path is a file"):
        check_writable(tmp_path / "file" / "model.raysynth")
