"""CSV files: read whole where they are small, so that types come from all rows; streamed where they are large."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.types as pt

from raysynth.data.arrow_types import canonical_array, canonical_batch, canonical_schema
from raysynth.data.fragments import Fragment, Table
from raysynth.data.sources.frame import table_from_arrow
from raysynth.errors import DataError, StorageError

WHOLE_BYTES = 512 << 20  # files up to this size, all together, are read whole
_STREAM_BLOCK = 32 << 20  # bytes of one block of a larger file; its first block decides the types
_PACKED = 5  # a compressed file is taken for this many times its size
_DELIMITERS = (",", ";", "\t", "|")
# What pandas.read_csv takes for missing.
NULL_SPELLINGS = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
]


@dataclass(frozen=True)
class CsvFragment:
    """One large CSV file, streamed with fixed types."""

    filesystem: pafs.FileSystem
    path: str
    schema: pa.Schema
    types: Mapping[str, pa.DataType]

    @property
    def n_rows(self) -> None:
        """Not known before reading."""
        return None

    def bound(self, memory: pa.Table | None) -> Fragment:
        """The same: its rows are in the file."""
        return self

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows; raises `DataError` that names the column where a later row disagrees with the first ones."""
        names = list(self.schema.names if columns is None else columns)
        schema = pa.schema([self.schema.field(n) for n in names])
        try:
            # Not closed by us: a reader that is left early still reads ahead, and would read from whichever file gets
            # the closed one's descriptor. The last reference closes it.
            reader = pacsv.open_csv(
                self.filesystem.open_input_stream(self.path),
                read_options=pacsv.ReadOptions(block_size=_STREAM_BLOCK),
                parse_options=_parse_options(self.filesystem, self.path),
                convert_options=_convert_options(self.types, names),
            )
            for batch in reader:
                yield canonical_batch(batch, schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(self.path, error, self.schema.names) from error


def table_from_csv(filesystem: pafs.FileSystem, files: Sequence[tuple[str, int]], source: str) -> Table:
    """CSV files with the same header, given as (path, bytes), as a table; raises `DataError`, `StorageError`."""
    n_bytes = sum(size * (_PACKED if path.endswith((".gz", ".bz2", ".zst")) else 1) for path, size in files)
    paths = [path for path, _ in files]
    if n_bytes <= WHOLE_BYTES:
        return table_from_arrow(_read_all(filesystem, paths), f"'{source}'")
    head = _head_schema(filesystem, paths[0], _STREAM_BLOCK)
    types = {f.name: pa.string() if _is_better_text(f.type) or pt.is_null(f.type) else f.type for f in head}
    schema = canonical_schema(pa.schema(list(types.items())), f"'{source}'")
    return Table(schema, tuple(CsvFragment(filesystem, p, schema, types) for p in paths), None, f"'{source}'")


def _read_all(filesystem: pafs.FileSystem, paths: Sequence[str]) -> pa.Table:
    """All files in one Arrow table; each column has the type that fits every row of every file."""
    tables = [_read(filesystem, path, {}) for path in paths]
    names = tables[0].schema.names
    for table, path in zip(tables, paths, strict=True):
        canonical_schema(pa.schema([pa.field(n, pa.null()) for n in table.schema.names]), f"'{path}'")
        if odd := set(table.schema.names) ^ set(names):
            raise DataError(f"column '{sorted(odd)[0]}' is not in all files of the folder, see '{path}'")
    types = {name: _common_type([t.schema.field(name).type for t in tables]) for name in names}
    columns: dict[str, list[pa.Array]] = {name: [] for name in names}
    for k, path in enumerate(paths):
        table = tables[k]
        again = {n: t for n, t in types.items() if not _is_as(table.schema.field(n).type, t)}
        if again:
            table = _read(filesystem, path, again)
        schema = canonical_schema(pa.schema([(n, types[n]) for n in names]), f"'{path}'")
        for field in schema:
            chunks = table[field.name].chunks
            columns[field.name] += [canonical_array(c, field.type, field.name) for c in chunks]
    return pa.table({n: pa.chunked_array(c, type=schema.field(n).type) for n, c in columns.items()})


def _read(filesystem: pafs.FileSystem, path: str, types: Mapping[str, pa.DataType]) -> pa.Table:
    try:
        parse = _parse_options(filesystem, path)
        with filesystem.open_input_stream(path) as stream:
            table = pacsv.read_csv(stream, parse_options=parse, convert_options=_convert_options(types))
    except (pa.ArrowInvalid, OSError) as error:
        names = [] if isinstance(error, OSError) else _head_schema(filesystem, path, 1 << 16).names
        raise _unreadable(path, error, names) from error
    if binary := [f.name for f in table.schema if pt.is_binary(f.type) or _holds_binary(f.type)]:
        raise DataError(f"'{path}', column '{binary[0]}': the text is not valid UTF-8; save the file as UTF-8")
    return table


def _parse_options(filesystem: pafs.FileSystem, path: str) -> pacsv.ParseOptions:
    """The delimiter is the one that occurs most in the header; values may hold line ends inside quotes."""
    with filesystem.open_input_stream(path) as stream:
        head = stream.read(1 << 16).split(b"\n", 1)[0].decode("utf-8", errors="replace")
    unquoted = re.sub(r'"[^"]*"', "", head)
    delimiter = max(_DELIMITERS, key=unquoted.count)
    return pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)


def _head_schema(filesystem: pafs.FileSystem, path: str, n_bytes: int) -> pa.Schema:
    """Names and types by the first whole lines of a file, up to so many bytes."""
    try:
        with filesystem.open_input_stream(path) as stream:
            head = stream.read(n_bytes)
        head = head if len(head) < n_bytes else head[: head.rfind(b"\n") + 1]
        parse = _parse_options(filesystem, path)
        return pacsv.read_csv(pa.BufferReader(head), parse_options=parse, convert_options=_convert_options({})).schema
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error, []) from error


def _convert_options(types: Mapping[str, pa.DataType], names: Sequence[str] | None = None) -> pacsv.ConvertOptions:
    return pacsv.ConvertOptions(
        column_types=dict(types),
        include_columns=list(names or []),
        null_values=NULL_SPELLINGS,
        strings_can_be_null=True,
        auto_dict_encode=True,
        auto_dict_max_cardinality=2**31 - 1,
    )


def _common_type(types: Sequence[pa.DataType]) -> pa.DataType:
    """The type that holds a column of several files: text where nothing else does."""
    found = {t for t in types if not pt.is_null(t)}
    if not found:
        return pa.null()
    if len(found) == 1:
        (only,) = found
        return pa.string() if _is_better_text(only) or pt.is_dictionary(only) else only
    if all(pt.is_integer(t) or pt.is_floating(t) for t in found):
        return pa.float64()
    return pa.string()


def _is_better_text(type_: pa.DataType) -> bool:
    """Times of day, which the schema does not know, stay text."""
    return bool(pt.is_time(type_))


def _is_as(found: pa.DataType, wanted: pa.DataType) -> bool:
    """True where a column need not be read again."""
    return bool(found.equals(wanted) or pt.is_null(found) or (pt.is_string(wanted) and pt.is_dictionary(found)))


def _holds_binary(type_: pa.DataType) -> bool:
    return bool(pt.is_dictionary(type_) and pt.is_binary(type_.value_type))


def _unreadable(path: str, error: Exception, names: Sequence[str]) -> DataError | StorageError:
    message = str(error).splitlines()[0]
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"cannot read '{path}': {error.strerror or message}")
    if (at := re.search(r"CSV column #(\d+)", message)) and int(at[1]) < len(names):
        return DataError(
            f"'{path}', column '{names[int(at[1])]}': {message.split(': ', 1)[-1]}; the first rows were of another "
            "type. Make the column one type, or convert the file to Parquet"
        )
    return DataError(f"'{path}' is no readable CSV ({message}); mend the line or save the table again")
