"""CSV under a privacy budget: no row changes how another one is read, and none raises.

A row is one physical line (up to a line feed, a carriage return before it left out); quotes never span lines. The first
line of each file is the header, which is public; the delimiter is the one of `, ; tab |` that divides it most often. A
first name that is empty stands for row numbers, which are left out. The encoding is UTF-8, with or without a byte-order
mark. A `CsvFile` declares another form. A line that has another number of cells than the header is a row of missing
cells, and so is an empty one; a cell that is no text of the encoding, or spells a missing value, is missing. All cells
are text: what a column holds is declared by the user, or found with noise (`Table.is_spelled`,
`statistics/families.py`), never guessed.

A file of at most `WHOLE_BYTES`, all together, is read into memory; larger ones are read in pieces of `PIECE_BYTES`,
each by itself, wherever a task runs: a piece has the lines that begin in it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.types as pt

from raysynth.data.arrow_types import TEXT, canonical_schema, lenient
from raysynth.data.fragments import Fragment, Table, block_rows, some_columns
from raysynth.data.sources.csv import WHOLE_BYTES, table_from_csv
from raysynth.data.sources.csv_file import CsvFile
from raysynth.data.sources.formats import Found
from raysynth.data.sources.frame import in_memory
from raysynth.data.sources.streams import PACKED, open_plain, packing_of, read_head
from raysynth.errors import DataError, ParameterError, StorageError

PIECE_BYTES = 64 << 20
_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_HEADER = 1 << 20  # bytes
_READ_BYTES = 4 << 20
_NO_TEXT = "\ufffd"  # what bytes that are no UTF-8 decode to


@dataclass(frozen=True)
class _Form:
    """How the lines of one file are read.

    Args:
        names: of all cells of a line, the unnamed first one included.
        delimiter, quote: characters.
        encoding: a codec in which the byte of a line feed is part of no other character.
        skip: lines before the first row, the header included.
        missing: texts that stand for a missing value.
        decimal, thousands: characters in numbers; thousands None: none.
        numbers: columns that are declared to hold numbers.
    """

    names: tuple[str, ...]
    delimiter: str
    quote: str
    encoding: str
    skip: int
    missing: frozenset[str]
    decimal: str = "."
    thousands: str | None = None
    numbers: frozenset[str] = frozenset()

    def cells(self, line: str) -> list[str]:
        """The cells of one line; none where its quotes are at fault."""
        if self.quote not in line:
            return line.split(self.delimiter)
        try:
            reader = csv.reader([line], delimiter=self.delimiter, quotechar=self.quote, strict=True)
            return next(reader, [])
        except csv.Error:
            return []

    def value(self, cell: str, name: str) -> str | None:
        """What a cell of a column says; None where it is missing."""
        if cell in self.missing or _NO_TEXT in cell:
            return None
        if name in self.numbers and (self.decimal != "." or self.thousands):
            plain = cell.replace(self.thousands, "") if self.thousands else cell
            return plain.replace(self.decimal, ".")
        return cell


@dataclass(frozen=True)
class PrivateCsvFragment(Fragment):
    """The lines of one file that begin in one stretch of its bytes.

    Args:
        filesystem, path: the file.
        schema: all columns of the table, lenient text.
        form: of the file.
        start, end: bytes; `end` None: to the file's end. The header is in the stretch that begins at 0.
    """

    filesystem: pafs.FileSystem
    path: str
    schema: pa.Schema
    form: _Form
    start: int = 0
    end: int | None = None

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows as text; raises `StorageError` where the file cannot be read."""
        schema = some_columns(self.schema, columns)
        try:
            begin = max(self.start - 1, 0)
            with _open_at(self.filesystem, self.path, begin) as stream:
                lines = _lines(stream, begin, self.end, skip=1 if self.start else self.form.skip)
                while rows := list(islice(lines, block_rows(len(self.form.names)))):
                    yield _block(rows, self.form, schema)
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(self.path, error) from None


def read_csv(found: Found) -> Table:
    """CSV files by either door: as `private_table_from_csv` under a privacy budget, else as `csv.table_from_csv`."""
    sizes = [(f.path, f.size) for f in found.files]
    read = private_table_from_csv if found.private else table_from_csv
    return read(found.filesystem, sizes, found.source, found.csv, found.declared)


def private_table_from_csv(
    filesystem: pafs.FileSystem,
    files: Sequence[tuple[str, int]],
    source: str,
    given: CsvFile | None = None,
    declared: Mapping[str, pa.DataType] | None = None,
) -> Table:
    """CSV files with the same columns as a table of text.

    Args:
        filesystem: where they are.
        files: (path, bytes) of each.
        source: for messages.
        given: what the user says of their form.
        declared: types of columns by a schema: those of numbers may have a declared decimal comma.

    Raises:
        DataError: a header is at fault, or differs from the first file's. ParameterError: a form that cannot be read
            line by line. StorageError: a file cannot be read.
    """
    given = given or CsvFile(source)
    _check(given)
    numbers = {n for n, t in (declared or {}).items() if pt.is_integer(t) or pt.is_floating(t) or pt.is_decimal(t)}
    forms = [_form(filesystem, path, given, frozenset(numbers)) for path, _ in files]
    names = [n for n in forms[0].names if n]
    schema = lenient(canonical_schema(pa.schema([(n, TEXT) for n in names]), f"'{source}'"))
    fragments: list[PrivateCsvFragment] = []
    n_bytes = 0
    for (path, size), form in zip(files, forms, strict=True):
        if odd := {n for n in form.names if n} ^ set(names):
            raise DataError(f"column '{sorted(odd)[0]}' is not in all files, see '{path}'")
        whole = PrivateCsvFragment(filesystem, path, schema, form)
        is_packed = packing_of(filesystem, path) is not None
        pieces = [whole] if is_packed else [replace(whole, start=s, end=s + PIECE_BYTES) for s in _starts(size)]
        fragments += pieces
        n_bytes += size * (PACKED if is_packed else 1)
    table = Table(schema, tuple(fragments), None, f"'{source}'", untyped=frozenset(names), is_spelled=True)
    return in_memory(table) if n_bytes <= WHOLE_BYTES else table


def _starts(size: int) -> range:
    return range(0, max(size, 1), PIECE_BYTES)


def _check(given: CsvFile) -> None:
    """Raise `ParameterError` for a form in which lines are not lines whatever they hold."""
    if given.header is False:
        raise ParameterError(
            "csv header: under a privacy budget the first line must hold the names of the columns, since a row tells "
            "neither their names nor their number; write such a line before the first row"
        )
    if given.skip_footer:
        raise ParameterError(
            "csv skip_footer: under a privacy budget every line is a row, the last ones too; delete what is none"
        )
    if given.encoding is not None and any(b"\n" in c.encode(given.encoding, "ignore") for c in "\u0a0a\u000d\u0a41"):
        raise ParameterError(
            f"csv encoding {given.encoding!r}: under a privacy budget lines are divided before they are decoded; save "
            "the file as UTF-8"
        )


def _form(filesystem: pafs.FileSystem, path: str, given: CsvFile, numbers: frozenset[str]) -> _Form:
    """The form of a file by its header; raises `DataError` where that is none."""
    skip, encoding, quote = given.skip or 0, given.encoding or "utf-8", given.quote or '"'
    try:
        lines = read_head(filesystem, path, _LONGEST_HEADER)[0].split(b"\n", skip + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    line = lines[skip].removesuffix(b"\r") if len(lines) > skip else b""
    text = line.decode(encoding, errors="replace").removeprefix("\ufeff")
    if not text or _NO_TEXT in text or "\x00" in text:
        raise DataError(
            f"'{path}': under a privacy budget the first line is the header, in {encoding}, and this one is not; save "
            "the file so, or as Parquet, or say its form (--csv encoding=latin-1, raysynth.CsvFile)"
        )
    delimiters = [given.delimiter] if given.delimiter else _DELIMITERS
    missing = frozenset(given.nulls)
    decimal, thousands = given.decimal or ".", given.thousands
    made = [_Form((), d, quote, encoding, skip + 1, missing, decimal, thousands, numbers) for d in delimiters]
    form = max(made, key=lambda f: len(f.cells(text)))
    names = form.cells(text)
    if names and not names[0] and given.keep_index:
        names[0] = "column_1"
    named = [name or f"column_{i + 1}" for i, name in enumerate(names[1:], start=1)]
    return replace(form, names=(*names[:1], *named))


def _block(lines: Sequence[bytes], form: _Form, schema: pa.Schema) -> pa.RecordBatch:
    """Some lines as rows of text."""
    width = len(form.names)
    empty: list[str] = [""] * width
    rows = [form.cells(line.decode(form.encoding, errors="replace")) for line in lines]
    rows = [row if len(row) == width else empty for row in rows]
    arrays = []
    for name in schema.names:
        place = form.names.index(name)
        cells = pa.array([row[place] for row in rows], pa.string()).dictionary_encode()
        values = [form.value(cell, name) for cell in cells.dictionary.to_pylist()]
        text = pa.array(values, pa.string()).dictionary_encode()
        arrays.append(pa.DictionaryArray.from_arrays(text.indices.take(cells.indices), text.dictionary))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextmanager
def _open_at(filesystem: pafs.FileSystem, path: str, start: int) -> Iterator[pa.NativeFile]:
    """A file from a byte on; from its beginning unpacked, where it is packed."""
    stream = open_plain(filesystem, path) if start == 0 else filesystem.open_input_file(path)
    try:
        if start:
            stream.seek(start)
        yield stream
    finally:
        stream.close()


def _lines(stream: pa.NativeFile, begin: int, end: int | None, *, skip: int) -> Iterator[bytes]:
    """Lines without their ends: all but the first ones, up to the last that begins before `end`.

    Args:
        stream: at byte `begin` of the file.
        begin: 0, where the header is the first line; or the byte before a stretch, so that a line that begins with
            the stretch has an end before it.
        end: bytes; None: the file's end.
        skip: lines at the beginning that are no rows: the header and what stands before it, or a line's remainder.
    """
    rest, number = b"", 0
    while block := stream.read(_READ_BYTES):
        whole, line_end, rest = (rest + block).rpartition(b"\n")
        for line in whole.split(b"\n") if line_end else []:
            if number >= skip:
                if end is not None and begin >= end:
                    return
                yield line.removesuffix(b"\r")
            begin, number = begin + len(line) + 1, number + 1
    if rest and number >= skip and (end is None or begin < end):
        yield rest.removesuffix(b"\r")


def _unreadable(path: str, error: Exception) -> StorageError:
    """By its name and the system's word alone: a reader's own text may hold a row."""
    reason = (error.strerror if isinstance(error, OSError) else None) or "it is damaged, or not of the kind it is named"
    return StorageError(f"cannot read '{path}': {reason}")
