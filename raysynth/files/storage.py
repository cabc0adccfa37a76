"""Writing to disk so that nobody ever finds a half-written file: temporary name, then rename."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysynth.errors import StorageError


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of `target`, renamed to `target` when the block ends well, deleted when not.

    The temporary name keeps the ending of `target`, since writers choose the format by it. Missing parent folders are
    made. An existing `target` is replaced in one step, only by a complete file.

    Raises:
        StorageError: the disk is full, permission is missing, or another operating-system error; names the path.
    """
    final = Path(target)
    temporary: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file_beside(final)
        yield temporary
        _flush(temporary)
        temporary.replace(final)
        temporary = None
    except OSError as error:
        raise storage_error(error, final) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(target: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file or none (see `atomic_path`); raises `StorageError`."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def check_writable(target: str | os.PathLike[str]) -> None:
    """Find out before the work, not after it, that `target` cannot be written.

    Raises:
        StorageError: `target` is a folder, or its folder cannot be made or written to; names the path and the cure.
    """
    final = Path(target)
    if final.is_dir():
        raise storage_error(OSError(errno.EISDIR, ""), final)
    parent = next(p for p in final.absolute().parents if p.exists())
    if not parent.is_dir():
        raise storage_error(OSError(errno.ENOTDIR, ""), final)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise storage_error(OSError(errno.EACCES, ""), final)


def storage_error(error: OSError, path: str | os.PathLike[str]) -> StorageError:
    """What to tell a user about an operating-system error on `path`."""
    cures = {
        errno.ENOSPC: "the disk is full; free some space or write elsewhere",
        errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
        errno.EFBIG: "the file is larger than the limit of this process or file system; write elsewhere",
        errno.EACCES: "no permission; choose another folder",
        errno.EPERM: "no permission; choose another folder",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.EISDIR: "it is a folder; give the name of a file",
        errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
        errno.EEXIST: "a part of the path is a file, not a folder; choose another path",
    }
    reason = cures.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"cannot write '{os.fspath(path)}': {reason} (nothing half-written was left there)")


def _new_file_beside(final: Path) -> Path:
    """An empty file of a fresh name, with the permissions that the user's umask gives to new files."""
    path = final.with_name(f".{final.stem}.{secrets.token_hex(4)}.tmp{final.suffix}")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return path


def _flush(path: Path) -> None:
    """Force the content to the disk before the rename, so that a crash cannot leave an empty file of the final name."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
