"""Opening a file for its bytes: the compression is what the content says, whatever the name ends in."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.fs as pafs

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


def compression_of(head: bytes) -> str | None:
    """Arrow's name of the compression that a file's first bytes tell; None for none."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def open_plain(filesystem: pafs.FileSystem, path: str) -> pa.NativeFile:
    """A stream of a file's content, unpacked where it is packed; raises `OSError`."""
    with filesystem.open_input_stream(path, compression=None) as stream:
        head = stream.read(4)
    return filesystem.open_input_stream(path, compression=compression_of(head))


def read_head(filesystem: pafs.FileSystem, path: str, n_bytes: int) -> tuple[bytes, bool]:
    """The first bytes of a file's content, and whether that is all of it; raises `OSError`."""
    with open_plain(filesystem, path) as stream:
        head = stream.read(n_bytes + 1)
    return head[:n_bytes], len(head) <= n_bytes
