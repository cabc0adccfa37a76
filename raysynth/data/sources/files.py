"""Paths and URIs: which files are meant; which format they have says `formats.py`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.fs as pafs

from raysynth.data.fragments import Table
from raysynth.data.sources.csv_file import CsvFile
from raysynth.data.sources.formats import FORMATS, SUPPORTED, Found, format_by_name, format_of
from raysynth.data.sources.partitions import partition_of
from raysynth.errors import DataError, ParameterError, StorageError
from raysynth.files.storage import as_os_error
from raysynth.files.stores import open_uri, refusal

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class ParquetFiles:
    """Parquet files that need more than a path: taken wherever a table is.

    Args:
        path: a file, folder, glob or URI, or several of them.
        missing_columns: take a column that some of the files lack as missing in their rows, instead of refusing.
    """

    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    missing_columns: bool = False


def table_from_path(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | CsvFile | ParquetFiles,
    declared: Mapping[str, pa.DataType] | None = None,
    *,
    private: bool = False,
) -> Table:
    """The table at a path, URI or glob, or at several of them.

    Args:
        data: where, with what the user says of the format.
        declared: types of columns by a schema, for formats that have none themselves.
        private: under a privacy budget: no row decides how a file is read, and none raises.

    Raises:
        DataError: a path or file is at fault. StorageError: storage cannot be reached.
    """
    given = data.path if isinstance(data, (CsvFile, ParquetFiles)) else data
    paths = [os.fspath(p) for p in ([given] if isinstance(given, (str, os.PathLike)) else given)]
    if not paths:
        raise DataError("the list of paths is empty; give at least one file")
    source = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    found = _found(paths)
    found = replace(
        found,
        source=source,
        csv=data if isinstance(data, CsvFile) else None,
        may_lack=isinstance(data, ParquetFiles) and data.missing_columns,
        declared=declared,
        private=private,
    )
    try:
        told = format_by_name if private else format_of
        formats = {told(found.filesystem, file) for file in found.files[:1] + found.files[-1:]}
    except OSError as error:
        raise StorageError(f"cannot read '{source}': {refusal(error, paths[0])}") from error
    if isinstance(data, CsvFile) and all(not FORMATS[f].magic for f in formats):
        formats = {"csv"}
    if len(formats) > 1:
        raise DataError(f"'{source}' holds both {' and '.join(sorted(formats))} files; give one kind")
    name = formats.pop()
    if isinstance(data, ParquetFiles) and name != "parquet":
        raise DataError(f"'{source}' holds {name} files, not Parquet; give the path itself")
    divided = [n for n, folders in zip(found.paths, found.folders, strict=True) if folders]
    if divided and not FORMATS[name].in_folders:
        raise DataError(
            f"'{divided[0]}' lies in a folder COLUMN=VALUE, whose value is not in the file; this is read for Parquet "
            "only: put the column into the files"
        )
    return FORMATS[name].read(found)


def open_filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI, and the path in it; raises `DataError` or `StorageError`."""
    if "://" not in path:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))
    try:
        return open_uri(path, "the table at")
    except ParameterError as error:
        raise DataError(f"cannot read {error}") from None


def _found(paths: Sequence[str]) -> Found:
    """All files that the paths mean, in order."""
    filesystem: pafs.FileSystem | None = None
    files: list[pafs.FileInfo] = []
    folders: list[tuple[tuple[str, str | None], ...]] = []
    for path in paths:
        this, root = open_filesystem(path)
        if filesystem is not None and not this.equals(filesystem):
            raise DataError(f"'{path}' lies in another file system than '{paths[0]}'; give files of one")
        filesystem = this
        try:
            with as_os_error(path):
                info = filesystem.get_file_info(root)
            if info.type == pafs.FileType.File:
                files.append(info)
                folders.append(())
                continue
            if info.type == pafs.FileType.NotFound:
                more = _matching(filesystem, root, path)
            else:
                more = _files_in(filesystem, root, path)
        except OSError as error:
            raise StorageError(f"cannot read '{path}': {refusal(error, path)}") from error
        files += more
        base = root if info.type != pafs.FileType.NotFound else _fixed_part(root)
        folders += [partition_of(f.path[len(base) :].strip("/").split("/")[:-1]) for f in more]
    assert filesystem is not None
    return Found(filesystem, tuple(files), tuple(folders))


def _fixed_part(pattern: str) -> str:
    """The folder before the first wildcard of a glob."""
    wild = _WILD.search(pattern)
    return pattern[: pattern.rfind("/", 0, wild.start() if wild else len(pattern))]


def _matching(filesystem: pafs.FileSystem, pattern: str, path: str) -> list[pafs.FileInfo]:
    """Files that a glob means: `*` and `?` within a folder's name, `**` across folders."""
    if not _WILD.search(pattern):
        raise DataError(f"there is no file or folder '{path}'; check the path")
    selector = pafs.FileSelector(_fixed_part(pattern), recursive=True, allow_not_found=True)
    parts = re.split(r"(\*\*/?|\*|\?|\[[^\]]*\])", pattern)
    kinds = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    regex = "".join(kinds.get(p, p if p.startswith("[") else re.escape(p)) for p in parts)
    infos = [i for i in filesystem.get_file_info(selector) if re.fullmatch(regex, i.path)]
    found = [i for i in infos if i.type == pafs.FileType.File]
    for folder in (i for i in infos if i.type == pafs.FileType.Directory):
        found += _files_in(filesystem, folder.path, folder.path)
    if not found:
        raise DataError(f"no file matches '{path}'; check the pattern")
    return sorted(found, key=lambda f: f.path)


def _files_in(filesystem: pafs.FileSystem, root: str, path: str) -> list[pafs.FileInfo]:
    """The data files of a folder, by path; hidden ones and those with a leading '_' are left out, '_year=2020' is not.

    Files of another kind are passed over where some have a known ending; where none has one, all are taken.
    """
    infos = [i for i in filesystem.get_file_info(pafs.FileSelector(root, recursive=True)) if i.is_file]
    found = [i for i in infos if not re.search(r"(?:^|/)(?:\.|_(?![^/]*=))", i.path[len(root) :].strip("/"))]
    kinds = {name: [f for f in found if f.path.lower().endswith(known.endings)] for name, known in FORMATS.items()}
    kinds["csv"] = [f for f in kinds["csv"] if not _is_remark(f.path)]
    kinds["unnamed"] = [f for f in found if "." not in os.path.basename(f.path)]
    present = [kind for kind, files in kinds.items() if files]
    if {"parquet", "csv"} <= {*present}:
        raise DataError(f"folder '{path}' holds both Parquet and CSV files; give one kind")
    if not present:
        raise DataError(f"folder '{path}' holds no Parquet or CSV file; {SUPPORTED}")
    return sorted(kinds[present[0]], key=lambda f: f.path)


def _is_remark(path: str) -> bool:
    """True for texts about a table, which often lie beside it."""
    return os.path.basename(path).lower() in ("readme.txt", "license.txt", "notice.txt")
