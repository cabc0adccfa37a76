"""Writing to disk so that nobody ever finds a half-written file: temporary name, then rename."""

from __future__ import annotations

import errno
import os
import tempfile
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
        handle, name = tempfile.mkstemp(prefix=f".{final.stem}.", suffix=f".tmp{final.suffix}", dir=final.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(final)
        temporary = None
    except OSError as error:
        raise storage_error(error, final) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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


def _flush(path: Path) -> None:
    """Force the content to the disk before the rename, so that a crash cannot leave an empty file of the final name."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's mask for new files (it can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
