"""Paths and URIs: which files are meant, and which format they have."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.fs as pafs

from raysynth.data.fragments import Table
from raysynth.data.sources.partitions import partition_of
from raysynth.errors import DataError, StorageError

PARQUET_ENDINGS = (".parquet", ".pq", ".parq")
CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.bz2", ".csv.zst")
_SUPPORTED = "supported are Parquet and CSV files, and folders of them"


def table_from_path(path: str) -> Table:
    """The table at a path or URI; raises `DataError` for a path at fault, `StorageError` for unreachable storage."""
    filesystem, root = open_filesystem(path)
    try:
        info = filesystem.get_file_info(root)
        if info.type == pafs.FileType.NotFound:
            raise DataError(f"there is no file or folder '{path}'; check the path")
        if info.type == pafs.FileType.Directory:
            files = _files_in(filesystem, root, path)
        else:
            files = [info]
        is_parquet = _is_parquet(filesystem, files[0], path)
    except OSError as error:
        raise StorageError(f"cannot read '{path}': {error}") from error
    if is_parquet:
        from raysynth.data.sources.parquet import table_from_parquet

        partitions = [partition_of(f.path[len(root) :].strip("/").split("/")[:-1]) for f in files]
        return table_from_parquet(filesystem, [f.path for f in files], path, partitions)
    if divided := [f.path for f in files if partition_of(f.path[len(root) :].split("/")[:-1])]:
        raise DataError(
            f"'{divided[0]}' lies in a folder COLUMN=VALUE, whose value is not in the file; this is read for Parquet "
            "only: put the column into the CSV files"
        )
    from raysynth.data.sources.csv import table_from_csv

    return table_from_csv(filesystem, [(f.path, f.size) for f in files], path)


def open_filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI, and the path in it; raises `DataError` or `StorageError`."""
    if "://" not in path:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))
    try:
        filesystem, root = pafs.FileSystem.from_uri(path)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"cannot read '{path}': {error}; give a local path or a URI that pyarrow.fs opens (s3://, gs://, file://)"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot reach '{path}': {error}") from error
    return filesystem, root


def _files_in(filesystem: pafs.FileSystem, root: str, path: str) -> list[pafs.FileInfo]:
    """The data files of a folder, by path; hidden ones and those with a leading '_' are left out."""
    found = []
    for info in filesystem.get_file_info(pafs.FileSelector(root, recursive=True)):
        parts = info.path[len(root) :].strip("/").split("/")
        if info.type != pafs.FileType.File or any(p.startswith((".", "_")) for p in parts):
            continue
        found.append(info)
    parquet = [f for f in found if f.path.lower().endswith(PARQUET_ENDINGS)]
    csv = [f for f in found if f.path.lower().endswith(CSV_ENDINGS)]
    if parquet and csv:
        raise DataError(f"folder '{path}' holds both Parquet and CSV files; give one kind")
    if not parquet and not csv:
        raise DataError(f"folder '{path}' holds no Parquet or CSV file; {_SUPPORTED}")
    return sorted(parquet or csv, key=lambda f: f.path)


def _is_parquet(filesystem: pafs.FileSystem, file: pafs.FileInfo, path: str) -> bool:
    """True for Parquet, False for CSV, by content first and name second; raises `DataError` for anything else."""
    with filesystem.open_input_stream(file.path, compression=None) as stream:
        head = stream.read(4096)
    if head[:4] == b"PAR1":
        return True
    name = file.path.lower()
    if name.endswith(PARQUET_ENDINGS):
        raise DataError(f"'{file.path}' is named like a Parquet file, but is none; write it again")
    if not head:
        raise DataError(f"'{file.path}' is empty; give a table with a header and rows")
    if name.endswith(CSV_ENDINGS):
        if not name.endswith((".gz", ".bz2", ".zst")) and b"\0" in head:
            raise DataError(f"'{file.path}' is named like CSV, but holds binary data; save it as CSV in UTF-8")
        return False
    if b"\0" not in head and (name.endswith(".txt") or "." not in os.path.basename(name)):
        return False
    raise DataError(f"'{path}' is neither Parquet nor CSV; {_SUPPORTED}")
