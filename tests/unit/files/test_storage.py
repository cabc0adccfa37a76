"""Paths and atomic writes: a complete file or none, where the user meant it, and errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysynth.errors import ParameterError, StorageError
from raysynth.files.model_file import ModelContent, write_model
from raysynth.files.storage import atomic_path, check_writable, local_path, place, write_atomically


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


def test_a_link_stays_and_a_pipe_or_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "elsewhere" / "table.csv")
    for content in (b"made", b"replaced"):
        write_atomically(tmp_path / "latest", content)
        assert (tmp_path / "latest").is_symlink() and (tmp_path / "elsewhere" / "table.csv").read_bytes() == content
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "stdout"):
        for write in (check_writable, lambda path: write_atomically(path, b"made")):
            with pytest.raises(StorageError, match=f"{name}': it is a device, pipe or socket"):
                write(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and sorted(os.listdir(tmp_path)) == ["elsewhere", "latest", "pipe", "stdout"]


@pytest.mark.parametrize("target", [5, None, b"model.raysynth", ["model.raysynth"]])
def test_what_is_no_path_is_refused(target: Any) -> None:
    for find in (place, local_path, check_writable):
        with pytest.raises(ParameterError, match="is a path or URI as text"):
            find(target)


@pytest.mark.parametrize("lasting", [True, False])
def test_only_what_is_to_outlast_the_machine_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    forced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: forced.append(os.pread(descriptor, 9, 0)))
    with atomic_path(tmp_path / "file", lasting=lasting) as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and forced == [b"new"] * lasting


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


@pytest.mark.parametrize("name", ["real.csv", "sub/../real.csv", "link.csv"])
def test_what_a_command_reads_is_not_what_it_writes(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "real.csv").write_text("a\n1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    check_writable(tmp_path / "real.csv")
    check_writable(tmp_path / "made.csv", tmp_path / "real.csv", "s3://bucket/real.csv", None)
    with pytest.raises(ParameterError, match="is read by this command"):
        check_writable(tmp_path / name, None, str(tmp_path / "real.csv"))


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    private = tmp_path / "real.csv"
    private.write_text("a\n1\n")
    with pytest.raises(StorageError, match="real.csv.*name another file"):
        check_writable(private, starts=b"PK")
    for name, content in (
        ("page.html", b"<!doctype html>"),
        ("figures.json", b' {"a": 1}'),
        ("m.raysynth", b"PK\x03\x04"),
    ):
        (tmp_path / name).write_bytes(content)
        check_writable(tmp_path / name)
        (tmp_path / name).write_bytes(private.read_bytes())
        with pytest.raises(StorageError, match="name another file"):
            check_writable(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        check_writable(tmp_path / name)
    with pytest.raises(StorageError, match="name another file"):
        write_model(private, ModelContent({}, {}))
    assert private.read_text() == "a\n1\n"


# ---------------------------------------------------------------------------------------------- which path is meant


def test_a_path_is_absolute_from_the_door_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert local_path("runs/a") == tmp_path / "runs" / "a"
    assert local_path("../x") == tmp_path.parent / "x"
    assert local_path("~/x") == Path("/home/somebody/x")
    assert local_path("file:///data/a%20b") == Path("/data/a b")
    assert local_path(Path("a:b")) == tmp_path / "a:b", "a colon alone makes no URI"


@pytest.mark.parametrize("uri", ["s3://bucket/a", "gs://b/a.csv", "abfs://c@d/e", "HDFS://host/x", "s3:/b"])
def test_a_uri_where_files_are_mapped_or_locked_is_refused(uri: str) -> None:
    for target in (uri, Path(uri)):
        with pytest.raises(ParameterError, match="is a URI.*give a local or mounted path"):
            local_path(target)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("memory://a/b", "memory of one process"),
        ("foo://a/b", "nothing here opens foo://.*give a local or mounted path"),
        ("hdfs://host:1/x", "hdfs://host:1/x.*this needs Java and Hadoop"),
        ("https://user:secret@host/x?key=secret", r"https://host/x': .*download the file"),
        ("ftp://user:secret@127.0.0.1:1/x", r"cannot reach path 'ftp://127.0.0.1:1/x'.*check its address"),
        ("zip://a", "cannot reach path 'zip://a'"),
        ("s3://", "names no bucket; give s3://bucket/key"),
    ],
)
@pytest.mark.parametrize("write", [atomic_path, check_writable, place])
def test_a_uri_that_nothing_opens_is_refused_by_name_and_becomes_no_folder(
    uri: str, says: str, write: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for target in (uri, Path(uri)) if "@" not in uri else (uri,):
        with (
            pytest.raises((ParameterError, StorageError), match=says) as caught,
            contextlib.ExitStack() as stack,
        ):
            made = write(target)
            if isinstance(made, contextlib.AbstractContextManager):
                stack.enter_context(made)
        assert "secret" not in str(caught.value)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------------ what is private


def test_private_files_and_the_folders_made_for_them_are_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomically(tmp_path / "a" / "b" / "rows", b"x", private=True)
        write_atomically(tmp_path / "open" / "table.csv", b"x")
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path).as_posix(): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert modes == {"a": 0o700, "a/b": 0o700, "a/b/rows": 0o600, "open": 0o777, "open/table.csv": 0o666}


def test_a_folder_that_is_shared_with_a_group_stays_shared(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o770)
    write_atomically(shared / "run" / "rows", b"x", private=True)
    assert shared.stat().st_mode & 0o777 == 0o770
    assert (shared / "run").stat().st_mode & 0o777 == 0o700
