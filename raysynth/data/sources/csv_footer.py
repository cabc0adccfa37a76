"""Lines after the table of a CSV file: totals, sources, remarks and rows without a value, which are no rows of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.sources.csv_numbers import form_of

MOST_LINES = 20
_ROWS_BEFORE = 50  # looked at, whether rows of one value are usual
_SHARE = 4  # at least so many times as many rows as lines after them
_FEWEST_COLUMNS = 3  # of a table in which a row of one text alone is a remark
_WORD = re.compile(r"[^\W\d_]{3}")
_TOTAL = re.compile(
    r"(?:(?:grand|overall|column) |sub-?)?(?:totals?|sum|sums|average|averages|mean|totaux|totale|totali|totales|totaal"
    r"|summe|gesamt|gesamtsumme|insgesamt|suma|soma|razem|celkem|yhteensä|summa)(?: g[eé]n[eé]ral)?:?",
    re.IGNORECASE,
)


def start_of_last(content: bytes, n: int) -> int:
    """Where the last n lines that are not blank begin in the bytes of a file."""
    end = len(content)
    for _ in range(n):
        last = len(content[:end].rstrip())
        end = max(content.rfind(b"\n", 0, last), content.rfind(b"\r", 0, last)) + 1
    return end


def narrow_lines(content: bytes, encoding: str, delimiter: str, quote: str, n_columns: int) -> list[str]:
    """The lines at the end of a file that hold fewer values than it has columns, such as '(400 rows affected)'.

    Empty where there are none, or so many that it is no table of this width.
    """
    if encoding.startswith(("utf-16", "utf-32")):
        return []
    text = content[start_of_last(content, MOST_LINES + 1) :].decode(encoding, errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    narrow: list[str] = []
    for line in reversed(lines):
        is_whole = line.count(quote) % 2 == 0  # a value in quotes may go over several lines
        if not is_whole or len(next(csv.reader([line], delimiter=delimiter, quotechar=quote))) >= n_columns:
            return narrow[::-1]
        narrow.append(line)
    return []


def rows_after(columns: Mapping[str, pa.ChunkedArray]) -> int:
    """How many rows at the end are none of the table: without a value, with a remark alone, or a line of totals.

    Where a row before them has no value either, such rows are rows.

    A line of totals says so in a word that no row has there, or has a word where all rows have numbers, and lacks a
    value that none of them lacks.

    Args:
        columns: texts as read, dictionary arrays (N,).
    """
    n_rows = min((len(c) for c in columns.values()), default=0)
    most = min(MOST_LINES, n_rows // _SHARE)
    rows = list(zip(*(_texts(c.slice(max(n_rows - most - _ROWS_BEFORE, 0))) for c in columns.values()), strict=True))
    heads = [_Head(c.slice(0, n_rows - most)) for c in columns.values()]
    before = rows[: len(rows) - most]
    has_remarks = len(heads) >= _FEWEST_COLUMNS and not any(_is_alone(row) for row in before)
    has_empty = not all(any(row) for row in before)
    found = 0
    while found < most and _is_after(rows[-1 - found], heads, has_remarks, has_empty):
        found += 1
    return found


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    return [text.strip() or None if text else None for text in column.cast(pa.string()).to_pylist()]


def _is_alone(row: Sequence[str | None]) -> bool:
    return sum(text is not None for text in row) == 1


class _Head:
    """The rows of a column before those in question."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def has(self, text: str) -> bool:
        """Whether one of them holds this text."""
        return bool(pc.index(self._distinct, text).as_py() >= 0)

    def refuses(self, text: str) -> bool:
        """Whether all of them hold numbers or dates, and with this text they would not."""
        return self._is_typed and not _is_typed(pa.concat_arrays([self._distinct, pa.array([text])]))

    @property
    def is_full(self) -> bool:
        """Whether none of them lacks a value."""
        return not self._column.null_count

    @cached_property
    def _is_typed(self) -> bool:
        return _is_typed(self._distinct[:_ROWS_BEFORE]) and _is_typed(self._distinct)

    @cached_property
    def _distinct(self) -> pa.Array:
        return pa.chunked_array(self._column.cast(pa.string()).chunks, pa.string()).unique().drop_null()


def _is_after(row: Sequence[str | None], heads: Sequence[_Head], has_remarks: bool, has_empty: bool) -> bool:
    given = [(text, head) for text, head in zip(row, heads, strict=True) if text is not None]
    if not given:
        return not has_empty
    words = [(text, head) for text, head in given if _WORD.search(text)]
    if has_remarks and _is_alone(row) and any(not head.has(text) for text, head in words):
        return True
    has_gap = any(text is None and head.is_full for text, head in zip(row, heads, strict=True))
    return any(
        (_TOTAL.fullmatch(text) and not head.has(text)) or (has_gap and head.refuses(text)) for text, head in words
    )


def _is_typed(texts: pa.Array) -> bool:
    type_ = form_of(texts).type
    return not (pt.is_string(type_) or pt.is_null(type_) or pt.is_boolean(type_))
