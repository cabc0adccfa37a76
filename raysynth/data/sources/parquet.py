"""Parquet files: footers give the rows, and a fragment is a few row groups, or a part of a very large one.

A read that failed for a moment (a network share, an object store, a disk that answers late) is tried again; a column of
several files gets the one type that holds it without loss: wider numbers, finer times, more decimals.
"""

from __future__ import annotations

import errno
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pyarrow.types as pt

from raysynth.data.arrow_types import canonical_batch, canonical_schema, is_lenient, is_text, lenient
from raysynth.data.fragments import Fragment, Table, block_rows, some_columns
from raysynth.data.sources.formats import Found
from raysynth.data.sources.partitions import partition_columns
from raysynth.errors import DataError, StorageError, first_line

_MOST_PARTS = 4  # of a row group
_READERS = 16  # footers read at a time; they wait for storage more than for the processor


@dataclass(frozen=True)
class Piece:
    """Some row groups of one file, their rows, and the file's values in the columns that its folders give.

    `start`: of a part of one row group, its first row there; None: whole row groups.
    """

    path: str
    row_groups: tuple[int, ...]
    n_rows: int
    values: tuple[Any, ...] = ()
    start: int | None = None


@dataclass(frozen=True)
class ParquetFragment(Fragment):
    """Some row groups of one file or of several small ones; `may_lack`: a column may be missing from a file."""

    filesystem: pafs.FileSystem
    pieces: tuple[Piece, ...]
    schema: pa.Schema
    in_folders: tuple[str, ...] = ()
    may_lack: bool = False

    @property
    def n_rows(self) -> int:
        """Rows of all pieces."""
        return sum(p.n_rows for p in self.pieces)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows; text is read as the dictionary codes that the file holds."""
        schema = some_columns(self.schema, columns)
        stored = [n for n in schema.names if n not in self.in_folders]
        stored = stored or [n for n in self.schema.names if n not in self.in_folders][:1]  # tells the number of rows
        in_file = some_columns(self.schema, stored)
        for piece in self.pieces:
            try:
                for batch in read_again(partial(self._batches, piece, in_file), is_local=self._is_local):
                    yield canonical_batch(self._with_folders(batch, piece, schema), schema)
            except (pa.ArrowInvalid, OSError) as error:
                raise _unreadable(piece.path, error, private=all(map(is_lenient, schema))) from None

    @property
    def _is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def _batches(self, piece: Piece, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows, names = block_rows(len(schema)), schema.names
        if self.may_lack:
            with self.filesystem.open_input_file(piece.path) as stream:
                held = pq.read_schema(stream).names
            names = [n for n in names if n in held]
            if not names:
                yield _all_missing(schema, piece.n_rows)
                return
        text = [f.name for f in schema if is_text(f.type) and f.name in names]
        with (
            self.filesystem.open_input_file(piece.path) as stream,
            pq.ParquetFile(stream, read_dictionary=text, pre_buffer=not self._is_local) as file,
        ):
            if piece.n_rows > 2 * rows or piece.start is not None:
                batches = file.iter_batches(batch_size=rows, row_groups=list(piece.row_groups), columns=names)
                for batch in batches if piece.start is None else _window(batches, piece.start, piece.n_rows):
                    yield _completed(batch, schema)
            else:
                table = file.read_row_groups(list(piece.row_groups), columns=names)
                for batch in table.combine_chunks().to_batches():
                    yield _completed(batch, schema)

    def _with_folders(self, batch: pa.RecordBatch, piece: Piece, schema: pa.Schema) -> pa.RecordBatch:
        """The batch with the columns that the file's folders give."""
        for name, value in zip(self.in_folders, piece.values, strict=True):
            if name in schema.names:
                batch = batch.append_column(schema.field(name), _constant(value, batch.num_rows, schema.field(name)))
        return batch


def read_parquet(found: Found) -> Table:
    """Parquet files as a table, each column of the type that holds it in every file.

    The columns of folders COLUMN=VALUE come last. Under a privacy budget a value that its type cannot hold is missing.

    Raises:
        DataError: names the file and the column.
    """
    filesystem, paths, source = found.filesystem, found.paths, found.source
    with ThreadPoolExecutor(min(_READERS, len(paths))) as pool:
        footers = list(pool.map(lambda path: _footer(filesystem, path), paths))
    schemas = [canonical_schema(schema, f"'{path}'") for path, (schema, _) in zip(paths, footers, strict=True)]
    schema = common_schema(schemas, paths, may_lack=found.may_lack)
    folders, values = partition_columns(found.folders, paths)
    if twice := [n for n in folders.names if n in schema.names]:
        raise DataError(
            f"'{source}': column '{twice[0]}' is in the files and in the names of folders; drop one of them"
        )
    schema = pa.schema([*schema, *folders])
    schema = lenient(schema) if found.private else schema
    groups = [(path, g, n) for path, (_, rows) in zip(paths, footers, strict=True) for g, n in enumerate(rows) if n]
    n_rows = sum(n for _, _, n in groups)
    rows = block_rows(len(schema))
    pieces = _grouped(_cut(groups, rows), rows, dict(zip(paths, values, strict=True)))
    fragments: tuple[Fragment, ...] = tuple(
        ParquetFragment(filesystem, p, schema, tuple(folders.names), found.may_lack) for p in pieces
    )
    return Table(schema, fragments, n_rows, f"'{source}'")


def common_schema(schemas: Sequence[pa.Schema], paths: Sequence[str], *, may_lack: bool = False) -> pa.Schema:
    """The one schema of several files: for each column the type that holds it in every one of them.

    Args:
        schemas, paths: of the files.
        may_lack: a file may lack columns.

    Raises:
        DataError: files differ in columns, or a column in types that no type holds without loss.
    """
    types = {f.name: f.type for f in schemas[0]}
    for schema, path in zip(schemas[1:], paths[1:], strict=True):
        if not may_lack and (odd := set(schema.names) ^ set(types)):
            column = sorted(odd)[0]
            lacking = paths[0] if column in schema.names else path
            raise DataError(
                f"column '{column}' is missing from '{lacking}'; all files need the same columns; to take it as "
                "missing there, give raysynth.ParquetFiles(path, missing_columns=True)"
            )
        for field in schema:
            known = types.get(field.name, field.type)
            common = common_type(known, field.type)
            if common is None:
                raise DataError(
                    f"column '{field.name}' is {_type_noun(known)} in '{paths[0]}' but {_type_noun(field.type)} in "
                    f"'{path}', and no type holds both; make it one type in all files"
                )
            types[field.name] = common
    return pa.schema(list(types.items()))


def promoted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the types of `common_schema`, columns that it lacks missing."""
    own, n = table.column_names, table.num_rows
    columns = [table.column(f.name).cast(f.type) if f.name in own else pa.nulls(n, f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _type_noun(type_: pa.DataType) -> str:
    return "text" if is_text(type_) else str(type_)


def _completed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns that its file lacks, missing."""
    for field in schema:
        if field.name not in batch.schema.names:
            batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
    return batch


def _all_missing(schema: pa.Schema, n: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(n, f.type) for f in schema], schema=schema)


def _footer(filesystem: pafs.FileSystem, path: str) -> tuple[pa.Schema, list[int]]:
    """Schema and rows of each row group."""

    def read() -> Iterator[tuple[pa.Schema, list[int]]]:
        with filesystem.open_input_file(path) as stream, pq.ParquetFile(stream) as file:
            metadata = file.metadata
            yield file.schema_arrow, [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]

    try:
        return next(read_again(read, is_local=isinstance(filesystem, pafs.LocalFileSystem)))
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def _cut(groups: Sequence[tuple[str, int, int]], rows: int) -> Iterator[tuple[str, int, int, int | None]]:
    """(path, group, rows, start) of row groups (path, group, rows): one far above `rows` is cut into even parts.

    Few parts, since a reader decodes what comes before its part, too.
    """
    for path, group, n in groups:
        parts = min(_MOST_PARTS, round(n / rows))
        if parts < 2:
            yield path, group, n, None
            continue
        ends = [n * i // parts for i in range(parts + 1)]
        yield from ((path, group, high - low, low) for low, high in itertools.pairwise(ends))


def _grouped(
    groups: Iterable[tuple[str, int, int, int | None]], rows: int, values: Mapping[str, tuple[Any, ...]]
) -> list[tuple[Piece, ...]]:
    """Row groups (path, group, rows, start), in order, in fragments of about `rows` rows."""
    fragments: list[tuple[Piece, ...]] = []
    current: list[Piece] = []
    for path, group, n, start in groups:
        if current and sum(p.n_rows for p in current) + n > rows:
            fragments.append(tuple(current))
            current = []
        last = current[-1] if current else None
        if last is not None and last.path == path and last.start is None and start is None:
            current[-1] = Piece(path, (*last.row_groups, group), last.n_rows + n, last.values)
        else:
            current.append(Piece(path, (group,), n, values[path], start))
    return [*fragments, tuple(current)] if current else fragments


def _window(batches: Iterable[pa.RecordBatch], start: int, n: int) -> Iterator[pa.RecordBatch]:
    """n rows of some batches, from a row on; no batch after them is read."""
    at = 0
    for batch in batches:
        low, high = max(start - at, 0), min(start + n - at, batch.num_rows)
        if low < high:
            yield batch.slice(low, high - low)
        at += batch.num_rows
        if at >= start + n:
            return


def _constant(value: Any, n: int, field: pa.Field) -> pa.Array:
    """One value n times."""
    if is_text(field.type):
        if value is None:
            return pa.nulls(n, field.type)
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), n), pa.array([value], pa.string()))
    return pa.repeat(pa.scalar(value, field.type), n)


def _unreadable(path: str, error: Exception, *, private: bool = False) -> DataError | StorageError:
    """`private`: without the reader's own text, which may hold a value."""
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"cannot read '{path}': {error.strerror or first_line(error)}")
    why = "" if private else f" ({first_line(error)})"
    return DataError(f"'{path}' is no readable Parquet file{why}; write it again")


T = TypeVar("T")

PAUSES = (0.3, 1.0, 3.0)  # seconds before each further try
_LASTING = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG}

_logger = logging.getLogger("raysynth")


def read_again(read: Callable[[], Iterator[T]], *, is_local: bool) -> Iterator[T]:
    """What `read()` gives, each part once and in order, though some tries end in an error that passes.

    Args:
        read: begins anew; gives the same parts whenever it is called.
        is_local: an error without a number is then the file's own fault (damaged), not the storage's.

    Raises:
        OSError: the last one, where it lasts.
    """
    given = 0
    pauses = iter(PAUSES)
    while True:
        try:
            for part in itertools.islice(read(), given, None):
                yield part
                given, pauses = given + 1, iter(PAUSES)
            return
        except OSError as error:
            pause = None if _lasts(error, is_local) else next(pauses, None)
            if pause is None:
                raise
            _logger.warning("a read failed (%s); it is tried again", first_line(error))
            time.sleep(pause)


def _lasts(error: OSError, is_local: bool) -> bool:
    return is_local if error.errno is None else error.errno in _LASTING


_UNITS = ("s", "ms", "us", "ns")


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds every value of both canonical types; None where there is none.

    A 64-bit integer beside a double is a double: reading refuses the values beyond 2^53 that it would change.
    """
    if first.equals(second) or pt.is_null(second):
        return first
    if pt.is_null(first):
        return second
    if pt.is_integer(first) and pt.is_integer(second):
        return _common_integer(first, second)
    if pt.is_decimal(first) or pt.is_decimal(second):
        return _common_decimal(first, second)
    numbers = (pt.is_integer, pt.is_floating)
    if all(any(test(t) for test in numbers) for t in (first, second)):
        small = all(pt.is_float32(t) or (pt.is_integer(t) and t.bit_width <= 16) for t in (first, second))
        return pa.float32() if small else pa.float64()
    if pt.is_duration(first) and pt.is_duration(second):
        return pa.duration(_finer(first.unit, second.unit))
    times = [t for t in (first, second) if pt.is_timestamp(t)]
    if times and all(pt.is_timestamp(t) or pt.is_date32(t) for t in (first, second)):
        zones = {t.tz for t in times}
        units = [t.unit for t in times]
        naive_date = len(times) == 1 and times[0].tz is not None
        return None if len(zones) > 1 or naive_date else pa.timestamp(_finer(units[0], units[-1]), tz=times[0].tz)
    return None


def _common_integer(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    signed = [pt.is_signed_integer(t) for t in (first, second)]
    if signed[0] == signed[1]:
        return first if first.bit_width >= second.bit_width else second
    plus = second if signed[0] else first
    minus = first if signed[0] else second
    width = max(minus.bit_width, 2 * plus.bit_width)
    return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(width)


def _common_decimal(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    parts = []
    for type_ in (first, second):
        if pt.is_decimal(type_):
            parts.append((type_.precision - type_.scale, type_.scale))
        elif pt.is_integer(type_):
            parts.append((len(str(2**type_.bit_width)), 0))
        else:
            return None
    whole, scale = max(p[0] for p in parts), max(p[1] for p in parts)
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else None


def _finer(first: str, second: str) -> str:
    return max(first, second, key=_UNITS.index)
