"""Formats of files: the one table of them, and which one a file has, by its content first and its name second."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import pyarrow as pa
import pyarrow.fs as pafs

from raysynth.data.fragments import Table
from raysynth.data.sources.csv_file import CsvFile
from raysynth.data.sources.streams import compression_of, open_plain
from raysynth.errors import DataError

_PACKED = ("", ".gz", ".bz2", ".zst", ".xz", ".zip")
SUPPORTED = "supported are Parquet, CSV, JSON and Arrow files, and folders of them"


@dataclass(frozen=True)
class Found:
    """Files of one format, and how they are to be read.

    Args:
        filesystem: where all of them are.
        files: in order.
        folders: for each the columns and values that folders COLUMN=VALUE above it give.
        source: for messages.
        csv: what the user says of the form of CSV files.
        may_lack: a column that some files lack is missing in their rows.
        declared: types of columns by a schema, for formats that have none themselves.
        private: under a privacy budget: no row decides how a file is read, and none raises.
    """

    filesystem: pafs.FileSystem
    files: tuple[pafs.FileInfo, ...]
    folders: tuple[tuple[tuple[str, str | None], ...], ...]
    source: str = ""
    csv: CsvFile | None = None
    may_lack: bool = False
    declared: Mapping[str, pa.DataType] | None = None
    private: bool = False

    @property
    def paths(self) -> list[str]:
        """Of the files in their file system."""
        return [f.path for f in self.files]


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        reader: 'module:function' that gives the `Table` of `Found` files.
        endings: of file names, in lower case.
        magic: the first bytes of every such file; none: it is text.
        in_folders: whether values of folders COLUMN=VALUE are read.
    """

    reader: str
    endings: tuple[str, ...]
    magic: bytes = b""
    in_folders: bool = False

    def read(self, found: Found) -> Table:
        """The files as a table; raises `DataError` and `StorageError`."""
        module, function = self.reader.split(":")
        return cast(Callable[[Found], Table], getattr(import_module(module), function))(found)


def _packed(*names: str) -> tuple[str, ...]:
    return tuple(f".{name}{packed}" for name in names for packed in _PACKED)


# In the order in which the files of a folder of several formats are taken.
FORMATS: dict[str, Format] = {
    "parquet": Format("raysynth.data.sources.parquet:read_parquet", (".parquet", ".pq", ".parq"), b"PAR1", True),
    "csv": Format("raysynth.data.sources.private_csv:read_csv", _packed("csv", "tsv", "txt", "tab", "psv")),
    "arrow": Format("raysynth.data.sources.json_lines:read_arrow", (".arrow", ".feather", ".ipc"), b"ARROW1"),
    "json": Format("raysynth.data.sources.json_lines:read_json", _packed("jsonl", "ndjson", "json")),
}
ENDINGS = tuple(ending for known in FORMATS.values() for ending in known.endings)


def format_by_name(filesystem: pafs.FileSystem, file: pafs.FileInfo) -> str:
    """As `format_of`, by the first bytes of binary formats and by name alone: no row is looked at."""
    with filesystem.open_input_stream(file.path, compression=None) as stream:
        head = stream.read(16)
    name = file.path.lower()
    if (binary := _binary(head)) is not None:
        return binary
    return next((f for f in ("parquet", "json") if name.endswith(FORMATS[f].endings)), "csv")


def format_of(filesystem: pafs.FileSystem, file: pafs.FileInfo) -> str:
    """The name of a file's format, by content first and name second; raises `DataError` for none."""
    with filesystem.open_input_stream(file.path, compression=None) as stream:
        head = stream.read(4096)
    if (binary := _binary(head)) is not None:
        return binary
    name, csv = file.path.lower(), FORMATS["csv"].endings
    if name.endswith(FORMATS["parquet"].endings):
        raise DataError(f"'{file.path}' is named like a Parquet file, but is none; write it again")
    if not head:
        raise DataError(f"'{file.path}' is empty; give a table with a header and rows")
    if compression_of(head) is not None:
        with open_plain(filesystem, file.path) as stream:
            head = stream.read(4096)
    if name.endswith(FORMATS["json"].endings) or (not name.endswith(csv) and head.lstrip()[:1] in (b"{", b"[")):
        return "json"
    is_wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or 0.3 < head.count(0) / len(head) < 0.7  # UTF-16
    if b"\0" in head and (not is_wide or head.startswith(b"PK")):
        if name.endswith(csv):
            raise DataError(f"'{file.path}' is named like CSV, but holds binary data; save it as CSV in UTF-8")
    elif name.endswith(csv) or "." not in os.path.basename(name) or not head.startswith((b"PK", b"%PDF")):
        return "csv"
    cure = "; save the sheet as CSV" if name.endswith((".xlsx", ".xls", ".ods")) else ""
    raise DataError(f"'{file.path}' is neither Parquet nor CSV{cure}; {SUPPORTED}")


def _binary(head: bytes) -> str | None:
    """The binary format that begins so; None for text."""
    return next((name for name, known in FORMATS.items() if known.magic and head.startswith(known.magic)), None)
