"""Opening a file for its bytes: the compression is what the content says, whatever the name ends in."""

from __future__ import annotations

import io
import lzma
import os
import zipfile
import zlib
from typing import IO

import pyarrow as pa
import pyarrow.fs as pafs

from raysynth.errors import DataError

PACKED = 5  # a compressed file is taken for this many times its size
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
_MAGIC |= {b"\xfd7zX": "xz", b"PK\x03\x04": "zip"}  # which Arrow does not unpack


def compression_of(head: bytes) -> str | None:
    """The compression that a file's first bytes tell, by Arrow's name where it has one; None for none."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def packing_of(filesystem: pafs.FileSystem, path: str) -> str | None:
    """The compression of a file by its first bytes; None for none."""
    with filesystem.open_input_stream(path, compression=None) as stream:
        return compression_of(stream.read(4))


def open_plain(filesystem: pafs.FileSystem, path: str) -> pa.NativeFile:
    """A stream of a file's content, unpacked where it is packed.

    Raises:
        OSError: it cannot be read. DataError: a zip archive that does not hold just one file.
    """
    packed = packing_of(filesystem, path)
    if packed == "xz":
        return pa.PythonFile(_Unpacked(lzma.open(filesystem.open_input_file(path))), mode="r")
    if packed == "zip":
        return pa.PythonFile(_Unpacked(_only_member(filesystem, path)), mode="r")
    return filesystem.open_input_stream(path, compression=packed)


class _Unpacked(io.RawIOBase):
    """Bytes of an archive, whose damage is an `OSError` like that of any file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        """Whether bytes can be read: always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end."""
        try:
            return self._file.read(size)
        except (lzma.LZMAError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise OSError(f"the archive is damaged ({error})") from None


def _only_member(filesystem: pafs.FileSystem, path: str) -> IO[bytes]:
    """The one file in a zip archive; raises `DataError` where there are none or several, or it is a workbook."""
    try:
        archive = zipfile.ZipFile(filesystem.open_input_file(path))  # which reads, seeks and tells
    except (zipfile.BadZipFile, pa.ArrowInvalid) as error:  # the latter where there is hardly any file
        raise DataError(f"'{path}' begins like a zip archive, but is none that can be read ({error})") from None
    names = [n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n]
    if any(n in ("xl/workbook.xml", "content.xml") for n in names):
        raise DataError(f"'{path}' is neither Parquet nor CSV, but a workbook; save the sheet as CSV")
    names = [n for n in names if not os.path.basename(n).startswith(".")]
    if len(names) != 1:
        shown = ", ".join(names[:3])
        raise DataError(f"'{path}' is a zip archive of {len(names)} files ({shown}); unpack it and give one of them")
    if archive.getinfo(names[0]).flag_bits & 1:
        raise DataError(f"'{path}' is an encrypted zip archive; unpack it and give the file in it")
    return archive.open(names[0])


def read_head(filesystem: pafs.FileSystem, path: str, n_bytes: int) -> tuple[bytes, bool]:
    """The first bytes of a file's content, and whether that is all of it; raises as `open_plain`."""
    with open_plain(filesystem, path) as stream:
        head = stream.read(n_bytes + 1)
    return head[:n_bytes], len(head) <= n_bytes
