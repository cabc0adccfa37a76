"""Folders of real rows, and of what goes to a store, needed for a while: however a process ends, they do not stay.

    PARENT/encoded-rows-1f3a9c2e         the rows, or a file on its way to a store
    PARENT/encoded-rows-1f3a9c2e.lock    locked by the process that owns the folder, as long as it lives

The lock is made before the folder and goes after it, so a folder is in use while its lock is held, and never without
one. The kernel gives up a process's locks however it ends, kill -9 included; whoever next makes such a folder beside
it, or fits with the same storage path, deletes what nobody holds. On a file system that has no locks, or keeps them
from other machines, the owner also renews the time of the lock's file every minute; what another machine made is
deleted only when it is free and `SILENT_SECONDS` have passed since.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysynth.files.stores import storage_error

PREFIX = "encoded-rows-"
SILENT_SECONDS = 3600.0  # of clocks that differ, and of a machine that stood still
_BEAT_SECONDS = 60.0
_TRIES = 20  # to delete a folder that a task which was cancelled still writes into

_logger = logging.getLogger("raysynth")


@contextmanager
def private_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, its owner's alone, deleted with all that is in it when the block ends, well or not.

    The block may rename it, once it is complete: then it stays.

    Args:
        parent: made where missing; what lies abandoned in it is deleted first. None: this machine's temporary folder.

    Raises:
        StorageError: the folder cannot be made.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        make_folder(parent, private=True)
        remove_abandoned(parent)
        folder, lock = _owned(parent)
    except OSError as error:
        raise storage_error(error, parent) from error
    ended = threading.Event()
    threading.Thread(target=_beat, args=(_lock_of(folder), ended), daemon=True).start()
    try:
        yield folder
    finally:
        ended.set()
        _delete(folder)
        _lock_of(folder).unlink(missing_ok=True)
        os.close(lock)


def make_folder(folder: Path, *, private: bool) -> None:
    """Make a folder and those above it that are missing; `private`: the new ones are the user's alone (0700).

    A folder that is there keeps the permissions that its owner gave it, for example to a group.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent, private=private)
        folder.mkdir(mode=0o700 if private else 0o777, exist_ok=True)


def new_name(parent: Path) -> Path:
    """The name of a folder that is to be deleted by whoever gets to it; it belongs to nobody."""
    return parent / f"{PREFIX}{secrets.token_hex(4)}"


def remove_abandoned(parent: Path) -> None:
    """Delete folders of rows whose owner lives no more, in a folder; a word in the log for each."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for name in sorted({entry.removesuffix(".lock") for entry in os.listdir(parent) if entry.startswith(PREFIX)}):
            with contextlib.suppress(PermissionError):  # another user's, in a folder for all
                _remove_if_abandoned(parent / name)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = os.open(_lock_of(folder), os.O_RDWR)
    except FileNotFoundError:  # the lock goes last: what is left was written by a task that came too late
        _delete(folder)
        return
    try:
        if _is_free(lock, _lock_of(folder)):
            _logger.warning("'%s' holds private data of a process that was killed; it is deleted", folder)
            _delete(folder)
            _lock_of(folder).unlink(missing_ok=True)
    finally:
        os.close(lock)


def _is_free(lock: int, path: Path) -> bool:
    """Takes the lock where nobody holds it; then its owner, and any other that would delete the folder, are gone."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        can_lock = True
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        can_lock = False
    try:
        there = path.stat()
    except FileNotFoundError:  # its owner has just ended, and deleted all
        return False
    here = can_lock and path.read_text(encoding="utf-8") == _kernel()
    return here or time.time() - there.st_mtime > SILENT_SECONDS


def _owned(parent: Path) -> tuple[Path, int]:
    """A new folder and its lock, held."""
    while True:
        folder = new_name(parent)
        lock = os.open(_lock_of(folder), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        with contextlib.suppress(OSError):  # no locks on this file system
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for one who looks whether it is free, which it is not yet
        if _lock_of(folder).exists():
            os.write(lock, _kernel().encode())
            folder.mkdir(mode=0o700)
            return folder, lock
        os.close(lock)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(_BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _delete(folder: Path) -> None:
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
    _logger.warning("'%s' holds private data and cannot be deleted; delete it by hand", folder)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _kernel() -> str:
    """Names the running kernel, within which locks are sure to be seen; containers of one machine share it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()
