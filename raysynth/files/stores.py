"""Object stores: which file system a URI means, and what is said where none can be opened."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from raysynth.errors import ParameterError, StorageError, first_line

if TYPE_CHECKING:
    import pyarrow.fs as pafs

_MOST_COPIED = 5 << 30  # bytes that S3 copies in one request


def open_uri(uri: str, what: str = "path") -> tuple[pafs.FileSystem, str]:
    """The file system of a URI and the path in it, by pyarrow.fs, else by fsspec.

    Of S3, AWS_ENDPOINT_URL is heeded, as Amazon's own clients do. Other stores than S3 are untested here.

    Raises:
        ParameterError: a scheme that nothing here can open, or whose client is missing; says which.
        StorageError: the store cannot be reached.
    """
    import pyarrow as pa
    import pyarrow.fs as pafs

    scheme = uri.partition("://")[0].lower()
    shown = _without_keys(uri)
    if scheme in _NOWHERE:
        raise ParameterError(f"{what} '{shown}': {_NOWHERE[scheme]}")
    try:
        return pafs.FileSystem.from_uri(_with_endpoint(uri))
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise ParameterError(f"{what} '{shown}' is no URI that pyarrow.fs opens: {first_line(error)}") from None
    except ImportError as error:
        raise ParameterError(f"{what} '{shown}': {scheme}:// needs a package that is not here ({error})") from None
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot reach {what} '{shown}': {refusal(error, uri)}") from error
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise ParameterError(
            f"{what} '{shown}': nothing here opens {scheme}:// ({first_line(error)}); give a local or mounted path, "
            "an s3:// or gs:// URI, or install the fsspec client of this scheme"
        ) from None
    except Exception as error:  # a client that logs in at once says so in errors of its own
        raise StorageError(f"cannot reach {what} '{shown}': {refusal(error, uri)}") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path


_WEB = "nothing can be listed or written there; download the file and give its path"
_MEMORY = "what lies in the memory of one process is not seen by others; give a path, or the DataFrame itself"
_NOWHERE = {"memory": _MEMORY, "http": _WEB, "https": _WEB}
_JAVA = "this needs Java and Hadoop's libhdfs (JAVA_HOME, HADOOP_HOME, CLASSPATH); or mount it"
_GOOGLE = "give credentials (GOOGLE_APPLICATION_CREDENTIALS)"
_AZURE = "give credentials (AZURE_CLIENT_ID and the like)"
_CURES = {"hdfs": _JAVA, "viewfs": _JAVA, "gs": _GOOGLE, "gcs": _GOOGLE, "abfs": _AZURE, "abfss": _AZURE}
_GOOGLE_SECONDS = 30  # in which a request is tried again; without a bound it is a quarter of an hour


def _with_endpoint(uri: str) -> str:
    """The URI with what the environment says of the store, where it says nothing itself."""
    scheme, query = uri.partition("://")[0], parse_qs(urlsplit(uri).query)
    more = []
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "s3" and endpoint and "endpoint_override" not in query:
        parts = urlsplit(endpoint)
        more = [f"endpoint_override={quote(parts.netloc, safe='')}", f"scheme={parts.scheme or 'https'}"]
        if "region" not in query:
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
            more.append(f"region={quote(region, safe='')}")
    elif scheme in ("gs", "gcs") and "retry_limit_seconds" not in query:
        more = [f"retry_limit_seconds={_GOOGLE_SECONDS}"]
    return uri if not more else f"{uri}{'&' if query else '?'}{'&'.join(more)}"


def _without_keys(uri: str) -> str:
    """A URI as messages may have it: without user, password and query."""
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host if scheme.startswith('abfs') else host.rpartition('@')[2]}{slash}{path}"


def refusal(error: BaseException, uri: str) -> str:
    """What a store's client says, in a line, and the cure; of a path of this machine: what the system says."""
    scheme, found, _ = uri.partition("://")
    said = (getattr(error, "strerror", None) if not found else None) or first_line(error)
    return (
        f"{said}; {_CURES.get(scheme, 'check its address, your credentials and your rights to it')}" if found else said
    )


def storage_error(error: OSError, path: object) -> StorageError:
    """What to tell a user about an operating-system error on a path, a URI or a `Place`."""
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
    reason = cures.get(error.errno or 0) or refusal(error, str(path))
    return StorageError(f"cannot write '{path}': {reason} (nothing half-written was left there)")


def require_writable(filesystem: pafs.FileSystem, path: str) -> None:
    """Write and delete an object of no bytes beside `path`, by all the requests that `replace_object` will make.

    A right that is missing is so found before hours of work. What may not be deleted stays, as it will of each object.
    """
    folder, _, name = path.rpartition("/")
    rehearsed = f"{folder}/.{Path(name).stem}.{secrets.token_hex(4)}.tmp"
    with tempfile.NamedTemporaryFile() as empty:
        replace_object(filesystem, rehearsed, Path(empty.name))
    with suppress(Exception):
        filesystem.delete_file(rehearsed)


def replace_object(filesystem: pafs.FileSystem, path: str, source: Path) -> None:
    """Upload a file, and replace the object by it only when it is there whole; raises what the store's client raises.

    A stream of pyarrow is completed even where its block fails or is interrupted, so a half object would replace the
    old one. What is too large for a store to copy in one step is written without the detour.
    """
    folder, _, name = path.rpartition("/")
    size = source.stat().st_size
    beside = f"{folder}/.{Path(name).stem}.{secrets.token_hex(4)}.tmp{Path(name).suffix}"
    written = path if size > _MOST_COPIED else beside
    try:
        with source.open("rb") as content, filesystem.open_output_stream(written, compression=None) as stream:
            shutil.copyfileobj(content, stream, 1 << 23)
        if filesystem.get_file_info(written).size != size:
            raise OSError("the store has another number of bytes than were sent")
        if written == beside:
            filesystem.copy_file(beside, path)
    finally:
        with suppress(Exception):  # not there, or may not be deleted: what was written counts
            if written == beside:
                filesystem.delete_file(beside)
