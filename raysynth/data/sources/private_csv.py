"""CSV under a privacy budget: no row changes how another one is read, and none raises.

A row is one physical line (up to a line feed, a carriage return before it left out); quotes never span lines. The first
line of each file is the header, which is public; the delimiter is the one of `, ; tab |` that divides it most often.
Encoding is UTF-8, with or without a byte-order mark. A line that has another number of cells than the header is a row
of missing cells, and so is an empty one; a cell that is no UTF-8, or spells a missing value, is missing. All cells are
text: what a column holds is declared by the user, never guessed (`Table.untyped`).

A file of at most `WHOLE_BYTES`, all together, is read into memory; larger ones are read in pieces of `PIECE_BYTES`,
each by itself, wherever a task runs: a piece has the lines that begin in it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow as pa
import pyarrow.fs as pafs

from raysynth.data.arrow_types import TEXT, canonical_schema, lenient
from raysynth.data.sources.csv import NULL_SPELLINGS, WHOLE_BYTES
from raysynth.data.table import Fragment, Table, block_rows
from raysynth.errors import DataError, StorageError

PIECE_BYTES = 64 << 20
_PACKED_ENDINGS = (".gz", ".bz2", ".zst")
_PACKED = 5  # a compressed file is taken for this many times its size
_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_HEADER = 1 << 20  # bytes
_READ_BYTES = 4 << 20
_MISSING = frozenset(NULL_SPELLINGS)
_NO_TEXT = "\ufffd"  # what bytes that are no UTF-8 decode to


@dataclass(frozen=True)
class PrivateCsvFragment:
    """The lines of one file that begin in one stretch of its bytes.

    Args:
        filesystem, path: the file.
        schema: all columns of the table, lenient text.
        names: the file's own header.
        delimiter: of the file.
        start, end: bytes; `end` None: to the file's end. The header begins at 0.
    """

    filesystem: pafs.FileSystem
    path: str
    schema: pa.Schema
    names: tuple[str, ...]
    delimiter: str
    start: int = 0
    end: int | None = None

    @property
    def n_rows(self) -> None:
        """Not known before reading."""
        return None

    def bound(self, memory: pa.Table | None) -> Fragment:
        """The same: its rows are in the file."""
        return self

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows as text; raises `StorageError` where the file cannot be read."""
        wanted = list(self.schema.names if columns is None else columns)
        schema = pa.schema([self.schema.field(n) for n in wanted])
        places = [self.names.index(n) for n in wanted]
        try:
            begin = max(self.start - 1, 0)
            with _open_at(self.filesystem, self.path, begin) as stream:
                lines = _lines(stream, begin, self.end)
                while rows := list(islice(lines, block_rows(len(self.names)))):
                    yield _block(rows, self.delimiter, len(self.names), places, schema)
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(self.path, error) from None


def private_table_from_csv(filesystem: pafs.FileSystem, files: Sequence[tuple[str, int]], source: str) -> Table:
    """CSV files with the same columns, given as (path, bytes), as a table of text.

    Raises:
        DataError: a header is at fault, or differs from the first file's. StorageError: a file cannot be read.
    """
    headers = [_header(filesystem, path) for path, _ in files]
    names = headers[0][0]
    schema = lenient(canonical_schema(pa.schema([(n, TEXT) for n in names]), f"'{source}'"))
    fragments: list[PrivateCsvFragment] = []
    for (path, size), (own, delimiter) in zip(files, headers, strict=True):
        if odd := set(own) ^ set(names):
            raise DataError(f"column '{sorted(odd)[0]}' is not in all files of the folder, see '{path}'")
        whole = PrivateCsvFragment(filesystem, path, schema, own, delimiter)
        fragments += [whole] if path.endswith(_PACKED_ENDINGS) else _pieces(whole, size)
    table = Table(schema, tuple(fragments), None, f"'{source}'", untyped=frozenset(names))
    n_bytes = sum(size * (_PACKED if path.endswith(_PACKED_ENDINGS) else 1) for path, size in files)
    return table.in_memory() if n_bytes <= WHOLE_BYTES else table


def _pieces(whole: PrivateCsvFragment, size: int) -> list[PrivateCsvFragment]:
    return [replace(whole, start=s, end=s + PIECE_BYTES) for s in range(0, max(size, 1), PIECE_BYTES)]


def _header(filesystem: pafs.FileSystem, path: str) -> tuple[tuple[str, ...], str]:
    """Names and delimiter by the first line; raises `DataError` where it is none."""
    try:
        with filesystem.open_input_stream(path) as stream:
            line = stream.read(_LONGEST_HEADER).split(b"\n", 1)[0]
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from None
    text = line.removesuffix(b"\r").decode("utf-8-sig", errors="replace")
    if not text or _NO_TEXT in text or "\x00" in text:
        raise DataError(
            f"'{path}': under a privacy budget the first line is the header, in UTF-8, and this one is not; save the "
            "file so, or as Parquet"
        )
    delimiter = max(_DELIMITERS, key=lambda d: len(_cells(text, d)))
    return tuple(_cells(text, delimiter)), delimiter


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line; none where its quotes are at fault."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _block(
    lines: Sequence[bytes], delimiter: str, width: int, places: Sequence[int], schema: pa.Schema
) -> pa.RecordBatch:
    """Some lines as rows of text, a column for each of the `places` of its cells."""
    empty: list[str] = [""] * width
    rows = [_cells(line.decode("utf-8", errors="replace"), delimiter) for line in lines]
    rows = [row if len(row) == width else empty for row in rows]
    arrays = []
    for place in places:
        cells = pa.array([row[place] for row in rows], pa.string()).dictionary_encode()
        values = [None if v in _MISSING or _NO_TEXT in v else v for v in cells.dictionary.to_pylist()]
        text = pa.array(values, pa.string()).dictionary_encode()
        arrays.append(pa.DictionaryArray.from_arrays(text.indices.take(cells.indices), text.dictionary))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextmanager
def _open_at(filesystem: pafs.FileSystem, path: str, start: int) -> Iterator[pa.NativeFile]:
    """A file from a byte on; from its beginning unpacked, where it is packed."""
    stream = filesystem.open_input_stream(path) if start == 0 else filesystem.open_input_file(path)
    try:
        if start:
            stream.seek(start)
        yield stream
    finally:
        stream.close()


def _lines(stream: pa.NativeFile, begin: int, end: int | None) -> Iterator[bytes]:
    """Lines without their ends: all but the first one, up to the last that begins before `end`.

    Args:
        stream: at byte `begin` of the file.
        begin: 0, where the header is the first line; or the byte before a stretch, so that a line that begins with
            the stretch has an end before it.
        end: bytes; None: the file's end.
    """
    rest, is_first = b"", True
    while block := stream.read(_READ_BYTES):
        whole, line_end, rest = (rest + block).rpartition(b"\n")
        for line in whole.split(b"\n") if line_end else []:
            if not is_first:
                if end is not None and begin >= end:
                    return
                yield line.removesuffix(b"\r")
            begin, is_first = begin + len(line) + 1, False
    if rest and not is_first and (end is None or begin < end):
        yield rest.removesuffix(b"\r")


def _unreadable(path: str, error: Exception) -> StorageError:
    """By its name and the system's word alone: a reader's own text may hold a row."""
    reason = (error.strerror if isinstance(error, OSError) else None) or "it is damaged, or not of the kind it is named"
    return StorageError(f"cannot read '{path}': {reason}")
