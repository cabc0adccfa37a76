"""The Parquet files of one part of a sample: row groups of a chosen size, and a folder for each value of a column.

Without partitions a part is one file, part-00000.parquet. With `partition_by='town'` it is one file for each value that
occurs, town=Bonn/part-00000.parquet, without the column itself: the layout that Hive, Spark and pyarrow read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError
from raysynth.files.storage import Place, atomic_path, place
from raysynth.kinds.arrow_text import coded, indices_of

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
MOST_PARTITIONS = 256  # each holds a file open
LOOKED_AT = 4096  # rows that tell whether a column's values repeat


@dataclass(frozen=True)
class FileRecord:
    """One finished file.

    Args:
        name: inside the folder.
        rows, bytes: its size.
        sha256: of its bytes.
    """

    name: str
    rows: int
    bytes: int
    sha256: str


def write_part(
    folder: Place,
    name: str,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    *,
    compression: str,
    row_group_rows: int,
    partition_by: str | None = None,
) -> tuple[FileRecord, ...]:
    """Write tables, one after the other, as `name` or as `COLUMN=VALUE/name` for each value; whole files or none.

    Args:
        folder: of the sample.
        name: of the file.
        tables: the rows, in order; never all in memory.
        schema: of the rows.
        compression: of the pages.
        row_group_rows: rows of each row group but the last.
        partition_by: column whose values become folders.

    Raises:
        StorageError: the disk is full or cannot be written; no file of the part is left.
    """
    file_schema = schema if partition_by is None else schema.remove(schema.get_field_index(partition_by))
    files: dict[str, _RowGroups] = {}
    with ExitStack() as stack:
        for table in tables:
            for subfolder, rows in _split(table.cast(schema), partition_by):
                if subfolder not in files:
                    temporary = stack.enter_context(atomic_path(folder / subfolder / name))
                    files[subfolder] = stack.enter_context(
                        _RowGroups(temporary, file_schema, compression, row_group_rows)
                    )
                files[subfolder].add(rows)
        for file in files.values():
            file.close()
        return tuple(files[s].record(f"{s}/{name}" if s else name) for s in sorted(files))


def check_partition(column: str | None, encoder: TableEncoder) -> None:
    """Raise `ParameterError` unless rows can be divided into folders by a column: few values, known beforehand."""
    if column is None:
        return
    found = {c.name: c for c in encoder.columns}.get(column)
    few = [c.name for c in encoder.columns if c.kind.is_discrete and c.cardinality <= MOST_PARTITIONS]
    if found is None or not found.kind.is_discrete or found.cardinality > MOST_PARTITIONS:
        raise ParameterError(
            f"partition_by {column!r} is no column of categories with at most {MOST_PARTITIONS} values; "
            f"valid here: {', '.join(few) or 'none'}"
        )
    if len(encoder.columns) < 2:
        raise ParameterError(f"partition_by {column!r} would leave files without columns; leave it out")


@dataclass
class _RowGroups:
    """One file under its temporary name; rows wait until a row group is full."""

    path: Path
    schema: pa.Schema
    compression: str
    row_group_rows: int
    rows: int = 0
    waiting: list[pa.Table] = field(default_factory=list)
    writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def add(self, table: pa.Table) -> None:
        """Take rows, and write the row groups that are full now."""
        self.rows += table.num_rows
        self.waiting.append(table)
        if sum(t.num_rows for t in self.waiting) < self.row_group_rows:
            return
        table, start = pa.concat_tables(self.waiting).unify_dictionaries(), 0
        while table.num_rows - start >= self.row_group_rows:
            self._write(table.slice(start, self.row_group_rows))
            start += self.row_group_rows
        self.waiting = [table.slice(start)] if start < table.num_rows else []

    def close(self) -> None:
        """Write what waits, and the footer."""
        if self.waiting or not self.rows:
            rest = self.waiting or [self.schema.empty_table()]
            self._write(pa.concat_tables(rest).unify_dictionaries())
            self.waiting = []
        self.__exit__(None, None, None)

    def record(self, name: str) -> FileRecord:
        """Rows, bytes and digest of the finished file, for the manifest."""
        return FileRecord(name, self.rows, self.path.stat().st_size, file_digest(place(self.path)))

    def _write(self, table: pa.Table) -> None:
        if self.writer is None:
            compression = "NONE" if self.compression == "none" else self.compression
            self.writer = pq.ParquetWriter(
                self.path, self.schema, compression=compression, write_statistics=True, use_dictionary=_repeated(table)
            )
        self.writer.write_table(table, row_group_size=self.row_group_rows)


def _repeated(table: pa.Table) -> list[str]:
    """Columns worth a dictionary of their values: all but numbers and times of which the first rows repeat few."""
    rows = table.slice(0, LOOKED_AT)
    return [
        field.name
        for field in table.schema
        if not pa.types.is_primitive(field.type)
        or 2 * pc.count_distinct(rows.column(field.name)).as_py() <= rows.num_rows
    ]


def file_digest(file: Place) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text; raises `OSError`."""
    digest = hashlib.sha256()
    for block in file.chunks():
        digest.update(block)
    return digest.hexdigest()


def _split(table: pa.Table, column: str | None) -> list[tuple[str, pa.Table]]:
    """(subfolder, rows in their order) for each value of a column; everything under '' without one."""
    if column is None:
        return [("", table)]
    encoded = coded(table.column(column).combine_chunks())
    n_values = len(encoded.dictionary)
    codes = indices_of(encoded, n_values)
    ordered = table.drop_columns([column]).take(pa.array(np.argsort(codes, kind="stable")))
    counts = np.bincount(codes, minlength=n_values + 1)
    starts = np.cumsum(counts) - counts
    names = [_folder_name(column, v) for v in encoded.dictionary.to_pylist()] + [f"{quote(column)}={NULL_PARTITION}"]
    return [(names[i], ordered.slice(starts[i], counts[i])) for i in np.flatnonzero(counts)]


def _folder_name(column: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{quote(column, safe=' ')}={quote(text, safe=' ')}"
