"""The form of a CSV file by its first lines: encoding, delimiter, quotes, lines before the header, header or none.

A sniffer of our own over Python's csv module, since each decision has to be told and overridden by name, an encoding
must be known before any other decision, and nothing else of DuckDB or Polars would be used: 20 to 40 MB of dependency
for one function.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from raysynth.data.sources.csv_file import CsvFile
from raysynth.data.sources.csv_numbers import NULL_SPELLINGS, ODD_MISSING, form_of
from raysynth.errors import DataError

HEAD_BYTES = 1 << 20
DELIMITERS = ("\t", ";", "|", ",", "^", "~", "\x01", "\x1f")  # in a tie the comma is a decimal one
_ROWS = 500  # looked at
_MOST_SKIPPED = 20  # lines before a header
_NO_NAMES = frozenset((*NULL_SPELLINGS, *ODD_MISSING))  # but values, where all others of the row are
_MOMENT = re.compile(
    r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}(?:[ T][0-9:.]+(?: ?[AaPp][Mm]|Z)?)?|[0-9]{1,2}(?::[0-9]{2}){1,2}"
)
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_DATES = ("moment", "date32[day]", "timestamp[s]")
_UTF = ("utf-8", "utf-8-sig")
_LIKELY = ["cp1252", "latin_1", "cp1250", "cp1251", "cp1253", "cp1254", "koi8_r"]
_NO_LETTERS = frozenset(b"\x81\x8d\x8f\x90\x9d\xa3\xa5\xaf\xb3\xb9\xbc\xbe\xbf")  # in cp1252; in cp1250 they are
_CENTRAL = frozenset(b"\xec\xf8\xf9\xf5\xfb\xcc\xd8\xd9")  # of cp1250: ě, ř, ů, ő, ű; each rare in Western text
_HACEKS = frozenset(b"\x8a\x9a\x8e\x9e")  # š, ž in both; beside č, which is è in Western text
_LIKELY += ["shift_jis", "gb18030", "big5", "euc_kr"]


@dataclass(frozen=True)
class Dialect:
    """How the file is read.

    Args:
        encoding: Python codec.
        delimiter, quote: characters.
        escape: character before a quote inside quotes; None: quotes are doubled.
        skip: physical lines before the first row of values, the header among them.
        names: of all columns.
        left_out: names of columns that are no part of the table: row numbers, or nothing but ends of lines.
        index: the one of them that numbers the rows; None: none.
        notes: what the user should know of these decisions.
    """

    encoding: str
    delimiter: str
    quote: str = '"'
    escape: str | None = None
    skip: int = 0
    names: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    index: str | None = None
    notes: tuple[str, ...] = ()


def dialect_of(head: bytes, is_whole: bool, file: CsvFile) -> Dialect:
    """The form of a file by its first bytes and what the user says of it.

    Raises:
        DataError: the bytes are no text, or hold no row.
    """
    where, notes = f"'{file.path}'", []
    encoding = file.encoding or encoding_of(head, is_whole)
    if file.encoding is None and encoding not in _UTF and (line := _odd_line(head)) is not None:
        raise DataError(
            f"{where} is written in UTF-8 but for line {line}, whose bytes are of another encoding; mend this line, or "
            "say an encoding for all, for example --csv encoding=cp1252"
        )
    if file.encoding is None and encoding not in _UTF:
        notes.append(f"encoding {encoding}")
    text = _decoded(head, encoding, is_whole, where)
    delimiter, skip = file.delimiter, 0
    if named := re.match(r"sep=(.)\r?\n", text):  # Excel's own line
        delimiter, skip = delimiter or named[1], 1
    quote = file.quote or _quote_of(text, delimiter)
    escape = _escape_of(text, quote, delimiter)
    if file.skip is not None:
        skip = file.skip
    body = "".join(text.splitlines(keepends=True)[skip:])
    remarks = _remarks_before(body, quote, escape) if file.skip is None else 0
    if remarks:
        skip += remarks
        body = "".join(body.splitlines(keepends=True)[remarks:])
        notes.append(f"{remarks} line{'s' if remarks > 1 else ''} with '#' before the header left out")
    delimiter = delimiter or _delimiter_of(body, quote, escape)
    rows, lines = _rows_of(body, delimiter, quote, escape)
    if not rows:
        raise DataError(f"{where} is empty; give a table with a header and rows")
    before = _rows_before(rows, lines) if file.skip is None else 0
    if before:
        rows = rows[before:]
        notes.append(f"{before} line{'s' if before > 1 else ''} before the header left out")
    if delimiter != ",":
        notes.append(f"delimiter {delimiter!r}")
    has_header = _has_header(rows) if file.header is None else file.header
    skip += lines[before] if has_header else lines[before - 1] if before else 0
    found = _Names.of(rows, has_header, file)
    return Dialect(
        encoding, delimiter, quote, escape, skip, found.names, found.left_out, found.index, (*notes, *found.notes)
    )


def encoding_of(head: bytes, is_whole: bool) -> str:
    """The codec that a file's first bytes are written in: by its mark, as UTF-8, or as charset-normalizer finds."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    if zeros := head.count(0):
        even = head[::2].count(0)
        return "utf-16-be" if even > zeros / 2 else "utf-16-le"
    try:
        head.decode("utf-8") if is_whole else head[: head.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        found = _legacy_encoding(head)
        return found if _is_readable(head, found) else "latin-1"
    return "utf-8"


def _is_readable(head: bytes, encoding: str) -> bool:
    """Whether all bytes have a meaning in an encoding; in text that was decoded wrongly before some may have none."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(head, final=False)  # a character may be cut at the end
    except UnicodeDecodeError:
        return False
    return True


def _odd_line(head: bytes) -> int | None:
    """The first line that is no UTF-8 among at least nine times as many lines that are, beyond ASCII; else None."""
    lines = [(n, line) for n, line in enumerate(head.split(b"\n"), 1) if any(byte > 127 for byte in line)]
    odd = [n for n, line in lines[:-1] if not _is_readable(line, "utf-8")]
    return odd[0] if odd and len(lines) >= 10 * len(odd) else None


def _legacy_encoding(head: bytes) -> str:
    from charset_normalizer import from_bytes

    if re.search(rb"[a-z][\xb3\xb9\xbf\xbe\x9d][a-z]", head):  # ł, ą, ż, ľ, ť: no letters elsewhere in the West
        return "cp1250"
    lines = [line for line in head.splitlines() if any(byte > 127 for byte in line)]
    sample = b"\n".join(lines[:2000])
    best = from_bytes(sample, cp_isolation=_LIKELY, threshold=0.5).best()
    if best is None or best.encoding == "latin_1" or str(best) == sample.decode("cp1252", errors="replace"):
        return "cp1252"
    return "cp1252" if _is_western(sample, best.encoding) else best.encoding.replace("_", "-")


def _is_western(sample: bytes, found: str) -> bool:
    """Whether a few accents were taken for another alphabet: words of it hold hardly an ASCII letter."""
    words = [w for w in re.findall(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*", sample) if len(w) > 1]
    letters = b"".join(words)
    if found != "cp1250":
        return 2 * sum(byte > 127 for byte in letters) < len(letters)
    seen = frozenset(letters)
    if seen & _NO_LETTERS or (seen & _HACEKS and seen & frozenset(b"\xc8\xe8")):
        return False
    return 0xE0 in seen or len(seen & _CENTRAL) < 2


def _decoded(head: bytes, encoding: str, is_whole: bool, where: str) -> str:
    try:
        if is_whole:
            return head.decode(encoding)
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=False)
    except UnicodeError as error:
        raise DataError(
            f"{where} is not written in {encoding} ({error.args[-1] if error.args else error}); "
            "say the encoding, for example --csv encoding=latin-1"
        ) from None
    return text[: text.rfind("\n") + 1] or text


def _quote_of(text: str, delimiter: str | None) -> str:
    """'"', unless values stand in single quotes and none in double ones."""
    if '"' in text:
        return '"'
    around = "".join(map(re.escape, (delimiter,) if delimiter else DELIMITERS))
    quoted = len(re.findall(rf"(?:^|[{around}])'[^'\n]*'(?=[{around}\r\n]|$)", text, re.MULTILINE))
    lines = max(1, text.count("\n"))
    header = text.partition("\n")[0].strip()
    is_header = re.fullmatch(rf"'[^'\n]*'(?:[{around}]'[^'\n]*')+", header) is not None
    return "'" if quoted >= 0.5 * lines or is_header else '"'


def _escape_of(text: str, quote: str, delimiter: str | None) -> str | None:
    """The backslash, where one stands before quotes and more rows are of one width if it is left out; else None.

    A value in quotes may end in a backslash of its own.
    """
    if f"\\{quote}" not in text or quote * 2 in text:
        return None

    def alike(escape: str | None) -> float:
        chosen = delimiter or _delimiter_of(text, quote, escape)
        widths = [len(row) for row in _rows_of(text, chosen, quote, escape)[0]]
        return max(map(widths.count, widths), default=0) / max(len(widths), 1)

    return "\\" if alike("\\") >= alike(None) else None


def _rows_of(text: str, delimiter: str, quote: str, escape: str | None) -> tuple[list[list[str]], list[int]]:
    """The first rows, blank ones left out, and the number of physical lines up to the end of each."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, quotechar=quote, escapechar=escape)
    rows, lines = [], []
    with suppress(csv.Error):  # a value beyond the reader's limit: what was read so far tells enough
        for row in islice(filter(None, reader), _ROWS):
            rows.append(row)
            lines.append(reader.line_num)
    return rows, lines


def _delimiter_of(text: str, quote: str, escape: str | None) -> str:
    """The one that divides most rows alike, the header like the others; then the one that gives most columns."""

    def fitness(delimiter: str) -> tuple[bool, float, bool, bool, int]:
        widths = [len(row) for row in _rows_of(text, delimiter, quote, escape)[0]]
        if not widths:
            return False, 0.0, False, False, 0
        usual = max(set(widths), key=widths.count)
        share = widths.count(usual) / len(widths)
        first = next((width for width in widths if width > 1), 1) if usual > 2 else widths[0]  # after titles
        alike = usual > 1 and share > 0.9 and first in (usual, usual - 1)
        in_header = widths[0] in (usual, usual - 1)  # where decimal commas, too, divide all rows but that
        return alike, round(share, 2) if usual > 1 else 0.0, first == usual, in_header, usual

    best = max(DELIMITERS, key=fitness)
    if fitness(best)[-1] > 1:
        return best
    is_even = all(all(row) for row in _rows_of(text, " ", quote, escape)[0])  # several spaces in a row divide otherwise
    return " " if is_even and fitness(" ")[0] else ","


def _remarks_before(text: str, quote: str, escape: str | None) -> int:
    """How many lines with '#' stand before the table; the last of them is its header where it has the same columns."""
    lines = text.splitlines(keepends=True)
    n = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    if n == 0:
        return 0
    rest = "".join(lines[n:])
    delimiter = _delimiter_of(rest, quote, escape)
    rows, last = _rows_of(rest, delimiter, quote, escape)[0], _rows_of(lines[n - 1], delimiter, quote, escape)[0]
    is_header = bool(last) and len(rows) > 1 and len(last[0]) == len(rows[0]) > 1 and not _has_header(rows)
    return n - is_header


def _rows_before(rows: list[list[str]], lines: list[int]) -> int:
    """How many rows stand before the header: titles and remarks, narrower than the table.

    `lines`: the number of physical lines up to the end of each row.
    """
    widths = [len(row) for row in rows]
    usual = max(set(widths), key=widths.count)
    first = next(i for i, width in enumerate(widths) if width >= (2 if usual == 2 else usual - 1))
    is_apart = 0 < first < len(rows) and lines[first] - lines[first - 1] > 1 and "\n" not in "".join(rows[first])
    if usual == 2 and not is_apart and not (_has_numbers(rows[first + 1 :]) and _has_header(rows[first:])):
        return 0  # a name over one column beside names of rows, as R's write.table has it
    if usual < 2 or not 0 < first <= _MOST_SKIPPED:
        return 0
    return first if widths[first:].count(usual) >= 0.9 * (len(widths) - first - 1) else 0


def _has_numbers(rows: list[list[str]]) -> bool:
    """Whether a column of the rows holds numbers or dates alone."""
    return any(_kind([row[i] for row in rows if i < len(row)]) is not None for i in range(len(rows[0]) if rows else 0))


def _has_header(rows: list[list[str]]) -> bool:
    """False where the first row is as the others: numbers in each column of numbers, or values that come again.

    Headings may be numbers themselves (years over a column each): a series with equal steps is taken for headings.
    """
    first, rest = rows[0], rows[1:]
    if len(rest) < 2 or any(len(row) < len(first) for row in rest[:1]):
        return True
    kinds = [_kind([row[i] for row in rest if i < len(row)]) for i in range(len(first))]
    typed = [i for i, kind in enumerate(kinds) if kind is not None]
    if typed:
        given = [first[i] for i in typed if first[i].strip() not in _NO_NAMES]
        if not all(_kind([text]) is not None for text in given):
            return True
        return not given or _is_series([first[i] for i in typed])
    again = [first[i] in {row[i] for row in rest if i < len(row)} for i in range(len(first)) if first[i].strip()]
    return not (len(again) > 0 and sum(again) > len(again) / 2)


def _kind(values: list[str]) -> str | None:
    """Whether texts are numbers or dates; None: neither."""
    given = pa.array([v for v in values if v.strip() not in NULL_SPELLINGS], pa.string())
    type_ = form_of(given, as_number=True).type
    if pa.types.is_string(type_) and all(_MOMENT.fullmatch(v.strip()) for v in given.to_pylist()):
        return "moment"
    return None if pa.types.is_string(type_) or pa.types.is_null(type_) else str(type_)


def _is_series(texts: list[str]) -> bool:
    if len(texts) < 3 or not all(re.fullmatch(r"-?\d+", t.strip()) for t in texts):
        return False
    numbers = [int(t) for t in texts]
    steps = {b - a for a, b in zip(numbers, numbers[1:], strict=False)}
    return len(steps) == 1 and steps != {0}


@dataclass(frozen=True)
class _Names:
    """Names of all columns, those left out, and what to say of both."""

    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    index: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: list[list[str]], has_header: bool, file: CsvFile) -> _Names:
        first, rest = rows[0], rows[1:]
        if not has_header:
            note = "no header: columns are named column_1, column_2 ...; if the first row holds names, say header=yes"
            return cls(tuple(f"column_{i + 1}" for i in range(len(first))), notes=(note,))
        if rest and all(len(row) == len(first) + 1 for row in rest):
            at_end = not any(row[-1].strip() for row in rest)  # each line ends in a delimiter
            # else as R's write.table has it: no name over the names of rows
            first = [*first, ""] if at_end else ["", *first]
        names, left_out, index, notes = list(first), [], None, []
        for i in (i for i, name in enumerate(first) if not name.strip()):
            values = [row[i] for row in rest if i < len(row)]
            names[i] = _free_name(f"column_{i + 1}", names)
            is_index = i == 0 and len(first) > 1 and _is_index(values) and _kind(values) not in _DATES
            if is_index and not file.keep_index:
                index = names[i]
                notes.append("the first column has no name and numbers the rows: left out; keep_index=yes keeps it")
            elif rest and not any(values):
                notes.append(f"column {i + 1} has neither name nor values: left out")
            else:
                notes.append(f"column {i + 1} has no name: taken as '{names[i]}'")
                continue
            left_out.append(names[i])
        return cls(tuple(names), tuple(left_out), index, tuple(notes))


def _free_name(name: str, names: list[str]) -> str:
    while name in names:
        name += "_"
    return name


def _is_index(values: list[str]) -> bool:
    """Each value once: row numbers or names of rows."""
    return len(values) > 1 and len(set(values)) == len(values) and all(values)
