"""Paths and URIs: which files are meant, and which format they have by their content."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs

from raysynth.data.fragments import Table
from raysynth.data.sources.csv_file import CsvFile
from raysynth.data.sources.partitions import partition_of
from raysynth.data.sources.streams import compression_of, open_plain
from raysynth.errors import DataError, ParameterError, StorageError
from raysynth.files.storage import as_os_error
from raysynth.files.stores import open_uri

_PACKED = ("", ".gz", ".bz2", ".zst", ".xz", ".zip")
PARQUET_ENDINGS = (".parquet", ".pq", ".parq")
CSV_ENDINGS = tuple(f".{name}{packed}" for name in ("csv", "tsv", "txt", "tab", "psv") for packed in _PACKED)
JSON_ENDINGS = tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in _PACKED)
ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
_SUPPORTED = "supported are Parquet, CSV, JSON and Arrow files, and folders of them"
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


@dataclass(frozen=True)
class _Found:
    """Files of one format.

    Args:
        filesystem: where all of them are.
        files: in order.
        folders: for each the columns and values that folders COLUMN=VALUE above it give.
    """

    filesystem: pafs.FileSystem
    files: tuple[pafs.FileInfo, ...]
    folders: tuple[tuple[tuple[str, str | None], ...], ...]


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
    try:
        format_of = _format_by_name if private else _format_of
        formats = {format_of(found.filesystem, file) for file in found.files[:1] + found.files[-1:]}
    except OSError as error:
        raise StorageError(f"cannot read '{source}': {error}") from error
    if isinstance(data, CsvFile) and "arrow" not in formats and "parquet" not in formats:
        formats = {"csv"}
    if len(formats) > 1:
        raise DataError(f"'{source}' holds both {' and '.join(sorted(formats))} files; give one kind")
    return _table_of(formats.pop(), found, source, data, declared, private)


def _table_of(
    format_: str, found: _Found, source: str, data: object, declared: Mapping[str, pa.DataType] | None, private: bool
) -> Table:
    names = [f.path for f in found.files]
    if format_ == "parquet":
        from raysynth.data.sources.parquet import table_from_parquet

        may_lack = isinstance(data, ParquetFiles) and data.missing_columns
        return table_from_parquet(found.filesystem, names, source, found.folders, may_lack=may_lack, private=private)
    if isinstance(data, ParquetFiles):
        raise DataError(f"'{source}' holds {format_} files, not Parquet; give the path itself")
    if divided := [n for n, folders in zip(names, found.folders, strict=True) if folders]:
        raise DataError(
            f"'{divided[0]}' lies in a folder COLUMN=VALUE, whose value is not in the file; this is read for Parquet "
            "only: put the column into the files"
        )
    if format_ == "csv":
        sizes = [(f.path, f.size) for f in found.files]
        given = data if isinstance(data, CsvFile) else None
        if private:
            from raysynth.data.sources.private_csv import private_table_from_csv

            return private_table_from_csv(found.filesystem, sizes, source, given, declared)
        from raysynth.data.sources.csv import table_from_csv

        return table_from_csv(found.filesystem, sizes, source, given, declared)
    from raysynth.data.sources.json_lines import table_from_arrow_files, table_from_json

    if format_ == "json" and private:
        raise DataError(
            f"'{source}': columns and types of JSON follow from its rows, which are private under a privacy budget; "
            "write the table as Parquet or CSV"
        )
    if format_ == "json":
        return table_from_json(found.filesystem, names, source)
    return table_from_arrow_files(found.filesystem, names, source, private=private)


def open_filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI, and the path in it; raises `DataError` or `StorageError`."""
    if "://" not in path:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))
    try:
        return open_uri(path, "the table at")
    except ParameterError as error:
        raise DataError(f"cannot read {error}") from None


def _found(paths: Sequence[str]) -> _Found:
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
            raise StorageError(f"cannot read '{path}': {error}") from error
        files += more
        base = root if info.type != pafs.FileType.NotFound else _fixed_part(root)
        folders += [partition_of(f.path[len(base) :].strip("/").split("/")[:-1]) for f in more]
    assert filesystem is not None
    return _Found(filesystem, tuple(files), tuple(folders))


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
    """The data files of a folder, by path; hidden ones and those with a leading '_' are left out.

    Files of another kind are passed over where some have a known ending; where none has one, all are taken.
    """
    found = []
    for info in filesystem.get_file_info(pafs.FileSelector(root, recursive=True)):
        parts = info.path[len(root) :].strip("/").split("/")
        if info.type != pafs.FileType.File or any(p.startswith((".", "_")) for p in parts):
            continue
        found.append(info)
    kinds = {
        "Parquet": [f for f in found if f.path.lower().endswith(PARQUET_ENDINGS)],
        "CSV": [f for f in found if f.path.lower().endswith(CSV_ENDINGS) and not _is_remark(f.path)],
        "JSON": [f for f in found if f.path.lower().endswith(JSON_ENDINGS)],
        "Arrow": [f for f in found if f.path.lower().endswith(ARROW_ENDINGS)],
        "unnamed": [f for f in found if "." not in os.path.basename(f.path)],
    }
    present = [kind for kind in ("Parquet", "CSV", "Arrow", "JSON", "unnamed") if kinds[kind]]
    if len([kind for kind in present if kind in ("Parquet", "CSV")]) > 1:
        raise DataError(f"folder '{path}' holds both Parquet and CSV files; give one kind")
    if not present:
        raise DataError(f"folder '{path}' holds no Parquet or CSV file; {_SUPPORTED}")
    return sorted(kinds[present[0]], key=lambda f: f.path)


def _is_remark(path: str) -> bool:
    """True for texts about a table, which often lie beside it."""
    return os.path.basename(path).lower() in ("readme.txt", "license.txt", "notice.txt")


def _format_by_name(filesystem: pafs.FileSystem, file: pafs.FileInfo) -> str:
    """As `_format_of`, by the first bytes of binary formats and by name alone: no row is looked at."""
    with filesystem.open_input_stream(file.path, compression=None) as stream:
        magic = stream.read(6)
    name = file.path.lower()
    if magic[:4] == b"PAR1" or name.endswith(PARQUET_ENDINGS):
        return "parquet"
    if magic == b"ARROW1":
        return "arrow"
    return "json" if name.endswith(JSON_ENDINGS) else "csv"


def _format_of(filesystem: pafs.FileSystem, file: pafs.FileInfo) -> str:
    """'parquet', 'csv', 'json' or 'arrow', by content first and name second; raises `DataError` for anything else."""
    with filesystem.open_input_stream(file.path, compression=None) as stream:
        head = stream.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    name = file.path.lower()
    if name.endswith(PARQUET_ENDINGS):
        raise DataError(f"'{file.path}' is named like a Parquet file, but is none; write it again")
    if not head:
        raise DataError(f"'{file.path}' is empty; give a table with a header and rows")
    if compression_of(head) is not None:
        with open_plain(filesystem, file.path) as stream:
            head = stream.read(4096)
    if name.endswith(JSON_ENDINGS) or (not name.endswith(CSV_ENDINGS) and head.lstrip()[:1] in (b"{", b"[")):
        return "json"
    is_wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or 0.3 < head.count(0) / len(head) < 0.7  # UTF-16
    if b"\0" in head and (not is_wide or head.startswith(b"PK")):
        if name.endswith(CSV_ENDINGS):
            raise DataError(f"'{file.path}' is named like CSV, but holds binary data; save it as CSV in UTF-8")
    elif name.endswith(CSV_ENDINGS) or "." not in os.path.basename(name) or not head.startswith((b"PK", b"%PDF")):
        return "csv"
    cure = "; save the sheet as CSV" if name.endswith((".xlsx", ".xls", ".ods")) else ""
    raise DataError(f"'{file.path}' is neither Parquet nor CSV{cure}; {_SUPPORTED}")
