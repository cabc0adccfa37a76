"""JSON (lines, or an array of objects) and Arrow (Feather) files: read whole, as their types come from all rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import pyarrow.fs as pafs
import pyarrow.json as pajson

from raysynth.data.arrow_types import EXACT_DOUBLE
from raysynth.data.fragments import Table
from raysynth.data.sources.formats import Found
from raysynth.data.sources.frame import table_from_arrow
from raysynth.data.sources.parquet import common_schema, promoted
from raysynth.data.sources.streams import open_plain, read_head
from raysynth.data.total_cast import total_cast
from raysynth.errors import DataError, first_line

_BLOCK = 64 << 20  # bytes; a line must fit into one


def read_json(found: Found) -> Table:
    """Files with one JSON object a line, or an array of objects.

    Raises:
        DataError: names a file at fault; or a privacy budget, under which types cannot follow from rows.
    """
    filesystem, paths, source = found.filesystem, found.paths, found.source
    if found.private:
        raise DataError(
            f"'{source}': columns and types of JSON follow from its rows, which are private under a privacy budget; "
            "write the table as Parquet or CSV"
        )
    tables = []
    for path in paths:
        try:
            tables.append(_rows_of(filesystem, path))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise _unreadable(path, "JSON lines", error) from error
    return _joined(tables, paths, source)


def _rows_of(filesystem: pafs.FileSystem, path: str) -> pa.Table:
    """The rows of a file; whole numbers too large for Arrow's first choice, a double, keep their digits."""
    table = _parsed(filesystem, path)
    for number, field in enumerate(table.schema):
        if field.type != pa.float64() or (pc.max(pc.abs(table.column(number))).as_py() or 0) < EXACT_DOUBLE:
            continue
        try:
            whole = _parsed(filesystem, path, {field.name: pa.decimal128(38, 0)}).column(field.name)
        except pa.ArrowInvalid:
            continue  # fractions: a double is what they are
        fits = pc.min(whole).as_py() >= 0 and pc.max(whole).as_py() < 2**64
        table = table.set_column(number, field.name, whole.cast(pa.uint64()) if fits else whole)
    return table


def _parsed(filesystem: pafs.FileSystem, path: str, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    start = read_head(filesystem, path, 1024)[0].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    read, parse = pajson.ReadOptions(block_size=_BLOCK), pajson.ParseOptions(explicit_schema=pa.schema(types or {}))
    with open_plain(filesystem, path) as stream:
        lines = stream if start == b"{" else pa.BufferReader(_lines_of(stream.read(), path))
        return pajson.read_json(lines, read_options=read, parse_options=parse)


def _lines_of(content: bytes, path: str) -> bytes:
    """An array of objects as one object a line; raises `DataError` for anything else."""
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise _unreadable(path, "JSON", error) from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"'{path}' holds neither an array of objects nor one object a line; write it so, for example by "
            "`pd.read_json(path).to_json(path, orient='records', lines=True)`"
        )
    return "\n".join(map(json.dumps, rows)).encode()


def read_arrow(found: Found) -> Table:
    """Arrow IPC files (Feather version 2); raises `DataError` that names the file.

    Under a privacy budget a value that its type cannot hold is missing.
    """
    filesystem, paths, source = found.filesystem, found.paths, found.source
    tables = []
    for path in paths:
        try:
            with filesystem.open_input_file(path) as stream:
                tables.append(feather.read_table(stream, memory_map=False))
        except pa.ArrowInvalid as error:
            raise _unreadable(path, "Arrow", error) from error
    if found.private:
        schema = common_schema([t.schema for t in tables], paths)
        joined = pa.concat_tables([_cast_what_fits(t, schema) for t in tables])
        return table_from_arrow(joined, f"'{source}'", private=True)
    return _joined(tables, paths, source)


def _joined(tables: Sequence[pa.Table], paths: Sequence[str], source: str) -> Table:
    schema = common_schema([t.schema for t in tables], paths)
    return table_from_arrow(pa.concat_tables([promoted(t, schema) for t in tables]), f"'{source}'")


def _cast_what_fits(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """As `promoted`, without an error: what does not fit is missing."""
    columns = [
        pa.chunked_array([total_cast(c, f.type) for c in table.column(f.name).chunks], type=f.type) for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _unreadable(path: str, form: str, error: Exception) -> DataError:
    return DataError(f"'{path}' is no readable {form} file ({first_line(error)}); write it again")
