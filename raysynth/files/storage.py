"""Writing to disk: which path is meant, and no file that is half-written (temporary name, then rename)."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raysynth.errors import ParameterError, StorageError

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=.)")  # one slash, too: `Path` makes s3://b/f into s3:/b/f


def local_path(target: str | os.PathLike[str], what: str = "path") -> Path:
    """The absolute path that a user means, so that no change of the working directory moves what is written there.

    Args:
        target: a path, absolute or not, `~` for the home folder, or a file:// URI.
        what: the argument or option that it was given as, for the message.

    Raises:
        ParameterError: a URI of another scheme, which this version cannot write; it would become a folder named 's3:'.
    """
    text = os.fspath(target)
    found = _URI.match(text)
    if found is None:
        return Path(os.path.abspath(os.path.expanduser(text)))
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme == "file":
        return Path(os.path.abspath("/" + unquote(urlsplit(f"file:///{rest}").path).lstrip("/")))
    raise ParameterError(
        f"{what} '{found[1]}://{rest}' is a URI; only tables are read from object stores in this version, and nothing "
        "is written there: give a local or mounted path"
    )


@contextmanager
def atomic_path(target: str | os.PathLike[str], *, private: bool = False) -> Iterator[Path]:
    """A temporary path in the folder of `target`, renamed to `target` when the block ends well, deleted when not.

    The temporary name keeps the ending of `target`, since writers choose the format by it. Missing parent folders are
    made. An existing `target` is replaced in one step, only by a complete file. A `private` one, and the folders made
    for it, are the user's alone (0600, 0700); others have what the user's umask gives.

    Raises:
        ParameterError: a URI. StorageError: the disk is full, permission is missing, or another operating-system error;
            names the path.
    """
    final = local_path(target)
    temporary: Path | None = None
    try:
        make_folder(final.parent, private=private)
        temporary = _new_file_beside(final, 0o600 if private else 0o666)
        yield temporary
        _flush(temporary)
        temporary.replace(final)
        temporary = None
    except OSError as error:
        raise storage_error(error, final) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(target: str | os.PathLike[str], content: bytes, *, private: bool = False) -> None:
    """Write a whole file or none (see `atomic_path`); raises `StorageError`."""
    with atomic_path(target, private=private) as temporary:
        temporary.write_bytes(content)


def make_folder(folder: Path, *, private: bool) -> None:
    """Make a folder and those above it that are missing; `private`: the new ones are the user's alone (0700).

    A folder that is there keeps the permissions that its owner gave it, for example to a group.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent, private=private)
        folder.mkdir(mode=0o700 if private else 0o777, exist_ok=True)


def check_writable(target: str | os.PathLike[str]) -> None:
    """Find out before the work, not after it, that `target` cannot be written.

    Raises:
        ParameterError: a URI.
        StorageError: `target` is a folder, or its folder cannot be made or written to; names the path and the cure.
    """
    final = local_path(target)
    if final.is_dir():
        raise storage_error(OSError(errno.EISDIR, ""), final)
    parent = next(p for p in final.parents if p.exists())
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


def _new_file_beside(final: Path, mode: int) -> Path:
    """An empty file of a fresh name, with a mode less the user's umask."""
    path = final.with_name(f".{final.stem}.{secrets.token_hex(4)}.tmp{final.suffix}")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    return path


def _flush(path: Path) -> None:
    """Force the content to the disk before the rename, so that a crash cannot leave an empty file of the final name."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
