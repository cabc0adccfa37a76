"""The one door for paths and URIs: which place is meant, reading, listing, and no file that is half-written.

A local file is written under a temporary name and renamed. An object of a store (s3://, or what else pyarrow.fs and
fsspec open) is written to this machine's temporary folder first, uploaded under a temporary key, and put into its place
by the store itself once its last byte has come.
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from raysynth.errors import ParameterError, RaysynthError, StorageError, first_line
from raysynth.files.private_folder import make_folder, private_folder
from raysynth.files.stores import open_uri, refusal, replace_object, require_writable, storage_error

if TYPE_CHECKING:
    import pyarrow.fs as pafs

# `Path` makes s3://b/f into s3:/b/f, and s3:// into s3:
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?:/{2,}|/(?=.)|$)")


def local_path(target: str | os.PathLike[str], what: str = "path") -> Path:
    """The absolute path that a user means, so that no change of the working directory moves what is written there.

    Args:
        target: a path, absolute or not, `~` for the home folder, or a file:// URI.
        what: the argument or option that it was given as, for the message.

    Raises:
        ParameterError: a URI of another scheme, which this version cannot write; it would become a folder named 's3:'.
    """
    text = _path_text(target, what)
    found = _URI.match(text)
    if found is None:
        return Path(os.path.abspath(os.path.expanduser(text)))
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme == "file":
        return Path(os.path.abspath("/" + unquote(urlsplit(f"file:///{rest}").path).lstrip("/")))
    raise ParameterError(
        f"{what} '{found[1]}://{rest}' is a URI, and what lies there is memory-mapped, locked or renamed: give a local "
        "or mounted path (tables, models, schemas, samples and reports may lie in an object store)"
    )


def _path_text(target: object, what: str) -> str:
    text = os.fspath(target) if isinstance(target, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise ParameterError(f"{what} is a path or URI as text, or a pathlib.Path; found {target!r}")
    return text


def is_uri(target: str | os.PathLike[str]) -> bool:
    """Whether a path means an object of a store; nothing is looked up."""
    return (found := _URI.match(os.fspath(target))) is not None and found[1].lower() != "file"


@dataclass(frozen=True)
class Place:
    """A file or folder, wherever it lies; it pickles for other processes.

    Args:
        filesystem: that it lies in; None: of this machine.
        path: inside the file system.
        name: as messages have it; without the keys that a URI may carry.
    """

    filesystem: pafs.FileSystem | None
    path: str
    name: str

    def __truediv__(self, name: str) -> Place:
        return Place(self.filesystem, f"{self.path}/{name}", f"{self.name}/{name}") if name else self

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        """The ending of its name, with the point."""
        return Path(self.path).suffix

    @property
    def is_local(self) -> bool:
        """Whether it lies in this machine's file system."""
        return self.filesystem is None

    @property
    def parent(self) -> Place:
        """The folder that it lies in."""
        return replace(self, path=self.path.rpartition("/")[0], name=self.name.rpartition("/")[0])

    def exists(self) -> bool:
        """Whether there is such a file (of a store) or file or folder (of this machine); raises `StorageError`."""
        if self.filesystem is None:
            return Path(self.path).exists()
        try:
            with as_os_error(self.name):
                return bool(self.filesystem.get_file_info(self.path).is_file)
        except OSError as error:
            raise StorageError(f"cannot look for '{self.name}': {refusal(error, self.name)}") from error

    def open(self) -> BinaryIO:
        """Its bytes, seekable; an object of a store is read whole. Raises `OSError` as `open` does."""
        if self.filesystem is None:
            return open(self.path, "rb")
        with as_os_error(self.name), self.filesystem.open_input_stream(self.path, compression=None) as stream:
            return io.BytesIO(stream.read())

    def read_text(self, encoding: str = "utf-8") -> str:
        """Its text; raises `OSError`."""
        with self.open() as stream:
            return stream.read().decode(encoding)

    def chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """Its bytes, some at a time; raises `OSError`."""
        with (
            as_os_error(self.name),
            open(self.path, "rb")
            if self.filesystem is None
            else self.filesystem.open_input_stream(self.path, compression=None) as stream,
        ):
            while block := stream.read(size):
                yield block

    def sizes(self) -> dict[str, int]:
        """The files below a folder, those in its folders, too: name inside it -> bytes; empty where it is missing.

        Raises:
            StorageError: it cannot be listed.
        """
        import pyarrow.fs as pafs

        filesystem = self.filesystem or pafs.LocalFileSystem()
        selector = pafs.FileSelector(self.path, recursive=True, allow_not_found=True)
        try:
            with as_os_error(self.name):
                found = filesystem.get_file_info(selector)
        except NotADirectoryError:
            return {}
        except OSError as error:
            raise StorageError(f"cannot list '{self.name}': {refusal(error, self.name)}") from error
        return {f.path[len(self.path) :].lstrip("/"): f.size for f in found if f.is_file}

    def size(self) -> int:
        """Bytes of a file; raises `OSError`."""
        if self.filesystem is None:
            return os.stat(self.path).st_size
        with as_os_error(self.name):
            return int(self.filesystem.get_file_info(self.path).size or 0)

    def delete(self) -> None:
        """Delete a file; raises `OSError`."""
        if self.filesystem is None:
            Path(self.path).unlink(missing_ok=True)
        else:
            with as_os_error(self.name):
                self.filesystem.delete_file(self.path)

    def delete_all(self) -> None:
        """Delete a folder and all that is in it, where it is there; raises `OSError`."""
        if self.filesystem is None:
            if Path(self.path).exists():
                shutil.rmtree(self.path)
            return
        for name in self.sizes():
            (self / name).delete()


Target = str | os.PathLike[str] | Place
Folder = Path | Place  # of this machine, or of a store: both take '/', `exists` (of a file) and `read_text`


def place(target: Target, what: str = "path") -> Place:
    """The place that a path or URI names.

    Args:
        target: as `local_path` takes it, or the URI of an object store: s3://bucket/key.
        what: the argument or option that it was given as, for the message.

    Raises:
        ParameterError: a scheme that nothing here can open; names it and the cure.
        StorageError: the store cannot be reached.
    """
    if isinstance(target, Place):
        return target
    text = _path_text(target, what)
    found = _URI.match(text)
    if found is None or found[1].lower() == "file":
        path = str(local_path(text, what))
        return Place(None, path, path)
    if not text[found.end() :]:
        raise ParameterError(f"{what} '{text}' names no bucket; give {found[1].lower()}://bucket/key")
    filesystem, path = open_uri(f"{found[1].lower()}://{text[found.end() :]}", what)
    return Place(filesystem, path.rstrip("/"), f"{found[1].lower()}://{path.rstrip('/')}")


def folder_at(target: Target, what: str = "path") -> Folder:
    """The folder that a user means, of this machine or of a store; arguments and errors as of `place`."""
    where = place(target, what)
    return Path(where.path) if where.is_local else where


def require_shared(written: Folder) -> None:
    """In a task: raise `StorageError` where what the driver wrote is not there, since each node has a disk of its own.

    A task would write beside it all the same, and the driver would never find that.
    """
    if isinstance(written, Path) or written.is_local:
        at = place(written)
        if not at.exists():
            raise StorageError(
                f"'{at.parent}' is not one folder for all nodes of the cluster: on one of them '{at}' is not there; "
                "give a folder that all nodes see, or a bucket (s3://bucket/key)"
            )


@contextmanager
def as_os_error(name: str) -> Iterator[None]:
    """What clients of object stores raise beside `OSError` (each has its own), as one that says where."""
    try:
        yield
    except (OSError, RaysynthError):
        raise
    except Exception as error:
        raise OSError(f"{name}: {first_line(error)}") from error


@contextmanager
def atomic_path(target: Target, *, private: bool = False, lasting: bool = True) -> Iterator[Path]:
    """A temporary path, on the disk of `target`, renamed to `target` when the block ends well, deleted when not.

    Of an object store: a path in this machine's temporary folder, uploaded when the block ends well.

    The temporary name keeps the ending of `target`, since writers choose the format by it. Missing parent folders are
    made. An existing `target` is replaced in one step, only by a complete file (of a link: what it leads to), and never
    a device, pipe or socket. A `private` one, and the folders made
    for it, are the user's alone (0600, 0700); others have what the user's umask gives. One that is not `lasting`, which
    nobody looks for after a crash of the machine, is not forced to the disk first.

    Raises:
        ParameterError: a URI that nothing here opens. StorageError: the disk is full, permission is missing, or another
            operating-system error; names the path.
    """
    where = place(target)
    if where.filesystem is not None:
        with _uploaded(where) as uploaded:
            yield uploaded
        return
    final = _file_behind(Path(where.path))
    temporary: Path | None = None
    try:
        make_folder(final.parent, private=private)
        temporary = _new_file_beside(final, 0o600 if private else 0o666)
        yield temporary
        if lasting:
            _flush(temporary)
        temporary.replace(final)
        temporary = None
    except OSError as error:
        raise storage_error(error, final) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(target: Target, content: bytes, *, private: bool = False) -> None:
    """Write a whole file or none (see `atomic_path`); raises `StorageError`."""
    with atomic_path(target, private=private) as temporary:
        temporary.write_bytes(content)


_STARTS = {".html": b"<", ".json": b"{", ".parquet": b"PAR1", ".raysynth": b"PK"}


def check_writable(target: Target, *inputs: object, starts: bytes | None = None) -> None:
    """Find out before the work, not after it, that `target` cannot be written; of a store: by an object of no bytes.

    Args:
        target: file to write. One of an earlier run is replaced.
        inputs: what the work reads; whatever is no path of this machine is left out.
        starts: first bytes of what will be written; None: by the ending, or not known.

    Raises:
        ParameterError: a URI that nothing here opens; the file is one of the inputs.
        StorageError: `target` is a folder, or its folder cannot be made or written to, or it is a file of another kind,
            which no earlier run wrote; names the path and the cure.
    """
    where = place(target)
    if where.filesystem is not None:
        _check_bucket(where, where.filesystem)
        return
    final = _file_behind(Path(where.path))
    if final.is_dir():
        raise storage_error(OSError(errno.EISDIR, ""), final)
    parent = next(p for p in final.parents if p.exists())
    if not parent.is_dir():
        raise storage_error(OSError(errno.ENOTDIR, ""), final)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise storage_error(OSError(errno.EACCES, ""), final)
    for read in (local_path(i) for i in inputs if isinstance(i, (str, os.PathLike)) and not is_uri(i)):
        if final.exists() and read.exists() and final.samefile(read):
            raise ParameterError(f"'{final}' is read by this command and would be replaced by its result; name another")
    check_replaced(final, _STARTS.get(final.suffix.lower(), b"") if starts is None else starts)


def check_replaced(target: Target, starts: bytes) -> None:
    """Raise `StorageError` where a file that begins otherwise, so of another kind, would be replaced."""
    where = place(target)
    if where.filesystem is not None or not Path(where.path).is_file():
        return
    with suppress(PermissionError), Path(where.path).open("rb") as content:  # it cannot be told, nor be read by others
        found = content.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
        if found and not found.startswith(starts):
            raise StorageError(
                f"cannot write '{where.path}': the file that is there was not written by such a command, it begins "
                "otherwise; name another file, or delete that one"
            )


def _file_behind(path: Path) -> Path:
    """The file that a path means, behind a link. A rename would put a file in place of a device, for all programs."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise StorageError(f"cannot write '{path}': it is a device, pipe or socket, and no file; name a file")
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


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


@contextmanager
def _uploaded(final: Place) -> Iterator[Path]:
    """A path in a private folder of this machine, whose file is uploaded when the block ends well."""
    assert final.filesystem is not None
    with private_folder() as folder:
        try:
            yield (temporary := folder / f"upload{final.suffix}")
            with as_os_error(final.name):
                replace_object(final.filesystem, final.path, temporary)
        except OSError as error:
            raise storage_error(error, final) from error


def _check_bucket(where: Place, filesystem: pafs.FileSystem) -> None:
    """Raise `StorageError` where the bucket of a place is missing or refuses to be written to, or it is a folder."""
    import pyarrow.fs as pafs

    bucket = where.path.partition("/")[0]
    try:
        with as_os_error(where.name):
            found = filesystem.get_file_info([bucket, where.path])
            if found[0].type != pafs.FileType.NotFound and found[1].type != pafs.FileType.Directory:
                require_writable(filesystem, where.path)
    except OSError as error:
        raise StorageError(f"cannot write '{where}': {refusal(error, where.name)}") from error
    if found[0].type == pafs.FileType.NotFound:
        raise StorageError(f"cannot write '{where}': there is no bucket '{bucket}'; make it, or choose another")
    if found[1].type == pafs.FileType.Directory:
        raise storage_error(OSError(errno.EISDIR, ""), where)
