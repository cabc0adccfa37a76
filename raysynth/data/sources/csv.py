"""CSV files: read whole where they are small, so that types come from all rows; streamed where they are large.

Every value is read as text first. What a column's texts are is decided by `csv_numbers.py`, what the file's form is by
`csv_dialect.py`; both say what they decided (`Table.notes`) and both give way to a `CsvFile` and to a declared schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.types as pt

from raysynth.data.arrow_types import TEXT, canonical_batch, canonical_schema
from raysynth.data.fragments import Fragment, Table, some_columns
from raysynth.data.sources.csv_dialect import HEAD_BYTES, Dialect, dialect_of
from raysynth.data.sources.csv_file import CsvFile
from raysynth.data.sources.csv_footer import narrow_lines, rows_after, start_of_last
from raysynth.data.sources.csv_numbers import ODD_MISSING, PLAIN_NUMBER, TEXT_FORM, ColumnForm, form_of
from raysynth.data.sources.frame import table_from_arrow
from raysynth.data.sources.streams import PACKED, open_plain, packing_of, read_head
from raysynth.errors import DataError, StorageError, first_line, listed
from raysynth.schema.table import TableSchema

WHOLE_BYTES = 512 << 20  # files up to this size, all together, are read whole
_MOST_ODD, _MOST_ODD_SHARE = 20, 0.02  # different texts among numbers, and their share of the rows
_GROUPED = 50  # distinct texts with groups of three digits that tell thousands from decimals
_FEWEST_NUMBERS = 20  # different ones
_STREAM_BLOCK = 32 << 20  # bytes of one block of a larger file; its first block decides the types


@dataclass(frozen=True)
class CsvFragment(Fragment):
    """One large CSV file, streamed with fixed types."""

    filesystem: pafs.FileSystem
    path: str
    schema: pa.Schema
    dialect: Dialect
    forms: Mapping[str, ColumnForm]
    nulls: tuple[str, ...]

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows; raises `DataError` that names the column where a later row disagrees with the first ones."""
        schema = some_columns(self.schema, columns)
        try:
            # Not closed by us: a reader that is left early still reads ahead, and would read from whichever file gets
            # the closed one's descriptor. The last reference closes it.
            reader = pacsv.open_csv(
                open_plain(self.filesystem, self.path),
                read_options=_read_options(self.dialect, _STREAM_BLOCK),
                parse_options=_parse_options(self.dialect),
                convert_options=_convert_options(self.dialect, schema.names),
            )
            for batch in reader:
                texts = {n: _without(batch.column(n), self.nulls)[0] for n in schema.names}
                arrays = [self._converted(column, n) for n, column in texts.items()]
                yield canonical_batch(pa.RecordBatch.from_arrays(arrays, schema.names), schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(self.path, error) from error

    def _converted(self, column: pa.DictionaryArray, name: str) -> pa.Array:
        try:
            return _values(column, self.forms[name])
        except pa.ArrowInvalid as error:
            raise DataError(
                f"'{self.path}', column '{name}': {first_line(error)}; the first rows were "
                f"{_type_noun(self.forms[name])}. "
                "Declare its dtype as 'string' in the schema, make the column one type, or convert the file to Parquet"
            ) from None


@dataclass(frozen=True)
class _Texts:
    """One file as text, the form that it was read in, and words in each column that were taken for missing."""

    path: str
    dialect: Dialect
    columns: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    words: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """Of the columns that are part of the table, in order."""
        return [n for n in self.dialect.names if n not in self.dialect.left_out]


def table_from_csv(
    filesystem: pafs.FileSystem,
    files: Sequence[tuple[str, int]],
    source: str,
    given: CsvFile | None = None,
    declared: Mapping[str, pa.DataType] | None = None,
) -> Table:
    """CSV files with the same columns as a table.

    Args:
        filesystem: where they are.
        files: (path, bytes) of each.
        source: for messages.
        given: what the user says of their form.
        declared: types of columns by a schema: text stays as it is written, numbers may begin with a zero.

    Raises:
        DataError, StorageError: name the file and the column.
    """
    given, declared = given or CsvFile(source), declared or {}
    n_bytes = sum(size * (PACKED if packing_of(filesystem, p) else 1) for p, size in files)
    paths = [path for path, _ in files]
    if n_bytes <= WHOLE_BYTES:
        texts = [_read(filesystem, path, given) for path in paths]
        _require_same_columns(texts)
        forms = _forms([t.columns for t in texts], texts[0], given, declared)
        columns = {
            n: pa.chunked_array(
                [_values(c, forms[n]) for t in texts for c in t.columns[n].chunks], _arrow_type(forms[n])
            )
            for n in texts[0].names
        }
        return replace(table_from_arrow(pa.table(columns), f"'{source}'"), notes=_notes(texts, forms))
    if given.skip_footer:
        raise DataError(f"'{source}' is too large for skip_footer: delete the lines after the table")
    first = _read(filesystem, paths[0], given, _STREAM_BLOCK)
    forms = {
        n: TEXT_FORM if pt.is_null(f.type) else f for n, f in _forms([first.columns], first, given, declared).items()
    }
    schema = canonical_schema(pa.schema([(n, _arrow_type(forms[n])) for n in first.names]), f"'{source}'")
    dialects = [first.dialect, *(_dialect(filesystem, path, given) for path in paths[1:])]
    _require_same_columns([_Texts(path, dialect) for path, dialect in zip(paths, dialects, strict=True)])
    fragments = tuple(
        CsvFragment(filesystem, p, schema, d, forms, given.nulls) for p, d in zip(paths, dialects, strict=True)
    )
    return Table(schema, fragments, None, f"'{source}'", notes=_notes([first], forms))


def _dialect(filesystem: pafs.FileSystem, path: str, given: CsvFile) -> Dialect:
    try:
        head, is_whole = read_head(filesystem, path, HEAD_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    dialect = dialect_of(head, is_whole, replace(given, path=path))
    canonical_schema(pa.schema([pa.field(n, pa.null()) for n in dialect.names]), f"'{path}'")
    return dialect


def _read(filesystem: pafs.FileSystem, path: str, given: CsvFile, n_bytes: int | None = None) -> _Texts:
    """A file as text, or its first whole lines up to so many bytes."""
    dialect = _dialect(filesystem, path, given)
    try:
        if n_bytes is None:
            table, after = _whole(filesystem, path, dialect, given)
            dialect = replace(dialect, notes=(*dialect.notes, *after))
        else:
            head, is_whole = read_head(filesystem, path, n_bytes)
            whole = head if is_whole else head[: head.rfind(b"\n") + 1]
            table = _parsed(pa.BufferReader(whole), dialect)
    except (pa.ArrowInvalid, OSError, UnicodeError) as error:
        raise _unreadable(path, error) from error
    table, words = _without_nulls(table, given.nulls)
    if dialect.index is not None and not _is_once_each(table.column(dialect.index)):
        others = tuple(n for n in dialect.left_out if n != dialect.index)
        dialect = replace(
            dialect, left_out=others, notes=tuple(n for n in dialect.notes if "numbers the rows" not in n)
        )
    return _Texts(path, dialect, {n: table.column(n) for n in dialect.names}, words)


def _whole(
    filesystem: pafs.FileSystem, path: str, dialect: Dialect, given: CsvFile
) -> tuple[pa.Table, tuple[str, ...]]:
    """A file as text without the lines after its table, and what to say of these."""

    def parsed(n_after: int) -> pa.Table:
        with open_plain(filesystem, path) as stream:
            if n_after == 0:
                return _parsed(stream, dialect)
            content = stream.read()
            return _parsed(pa.BufferReader(content[: start_of_last(content, n_after)]), dialect)

    narrow: list[str] = []
    try:
        rows = parsed(given.skip_footer or 0)
    except pa.ArrowInvalid:
        with open_plain(filesystem, path) as stream:
            narrow = narrow_lines(stream.read(), dialect.encoding, dialect.delimiter, dialect.quote, len(dialect.names))
        if not narrow or given.skip_footer is not None:
            raise
        rows = parsed(len(narrow))
    known, _ = _without_nulls(rows, given.nulls)
    n = rows_after({name: known.column(name) for name in dialect.names}) if given.skip_footer is None else 0
    if not n and not narrow:
        return rows, ()
    after = [*(" ".join(v for v in row.values() if v)[:60] for row in rows.slice(len(rows) - n).to_pylist()), *narrow]
    shown = next((f" ({text.strip()!r})" for text in after if text.strip()), "")
    noun = "line after the table" if len(after) == 1 else "lines after the table"
    note = f"{len(after)} {noun} left out{shown}: no row of it; skip_footer=0 keeps what is as wide as the others"
    kept = [c.slice(0, len(rows) - n).cast(pa.string()).dictionary_encode() for c in rows.columns]  # no text of others
    return pa.Table.from_arrays(kept, names=rows.column_names), (note,)


def _without_nulls(texts: pa.Table, nulls: Sequence[str]) -> tuple[pa.Table, dict[str, frozenset[str]]]:
    """Columns of texts without those that stand for a missing value, and which these were."""
    columns, words = {}, {}
    for name, column in zip(texts.column_names, texts.columns, strict=True):
        parts = [_without(chunk, nulls) for chunk in column.chunks]
        columns[name] = pa.chunked_array([values for values, _ in parts], column.type)
        words[name] = frozenset(word for _, found in parts for word in found)
    return pa.table(columns), words


def _without(texts: pa.DictionaryArray, nulls: Sequence[str]) -> tuple[pa.DictionaryArray, list[str]]:
    """Texts without those that stand for a missing value, and which of these there were."""
    known = texts.dictionary
    is_null = pc.is_in(known, value_set=pa.array(nulls, known.type))
    if not pc.any(is_null).as_py():
        return texts, []
    kept = pc.invert(is_null)
    place = pc.if_else(kept, pc.subtract(pc.cumulative_sum(kept.cast(pa.int32())), 1), None).cast(pa.int32())
    rest = pa.DictionaryArray.from_arrays(place.take(texts.indices), known.filter(kept))
    return rest, known.filter(is_null).to_pylist()


def _parsed(stream: pa.NativeFile, dialect: Dialect) -> pa.Table:
    return pacsv.read_csv(
        stream,
        read_options=_read_options(dialect, None),
        parse_options=_parse_options(dialect),
        convert_options=_convert_options(dialect, dialect.names),
    )


def _read_options(dialect: Dialect, block_size: int | None) -> pacsv.ReadOptions:
    encoding = "utf-8" if dialect.encoding == "utf-8-sig" else dialect.encoding
    return pacsv.ReadOptions(
        block_size=block_size, skip_rows=dialect.skip, column_names=list(dialect.names), encoding=encoding
    )


def _parse_options(dialect: Dialect) -> pacsv.ParseOptions:
    return pacsv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote,
        escape_char=dialect.escape or False,
        newlines_in_values=True,
    )


def _convert_options(dialect: Dialect, names: Sequence[str]) -> pacsv.ConvertOptions:
    return pacsv.ConvertOptions(
        column_types=dict.fromkeys(dialect.names, TEXT),
        include_columns=list(names),
        null_values=[""],
        strings_can_be_null=True,
    )


def _require_same_columns(texts: Sequence[_Texts]) -> None:
    for other in texts[1:]:
        if odd := set(other.names) ^ set(texts[0].names):
            raise DataError(f"column '{sorted(odd)[0]}' is not in all files of the folder, see '{other.path}'")


def _forms(
    parts: Sequence[Mapping[str, pa.ChunkedArray]], first: _Texts, given: CsvFile, declared: Mapping[str, pa.DataType]
) -> dict[str, ColumnForm]:
    """The form of each column by all its distinct texts; what one column leaves open is settled by the others."""
    distinct, forms = {}, {}
    for name in first.names:
        chunks = [chunk.dictionary for part in parts for chunk in part[name].chunks]
        distinct[name] = pa.chunked_array(chunks, pa.string()).unique()
        type_ = declared.get(name)
        if type_ is not None and (pt.is_string(type_) or pt.is_large_string(type_)):
            forms[name] = TEXT_FORM
            continue
        as_number = type_ is not None and (pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_))
        form = form_of(distinct[name], decimal=given.decimal, thousands=given.thousands, as_number=as_number)
        if type_ is None and pt.is_string(form.type):
            form = _but_for_few(distinct[name], [part[name] for part in parts]) or form
        forms[name] = replace(form, zeros=as_number)
    mixed = {n for n in forms if _is_mixed(distinct[n])}
    has_comma = any(f.decimal == "," and not f.unsettled for f in forms.values())
    has_point = any(
        pt.is_floating(f.type) and f.decimal == "." and not f.unsettled and not _is_grouped(distinct[n])
        for n, f in forms.items()
    )
    has_comma = has_comma or (first.dialect.delimiter == ";" and not has_point)
    forms = {n: replace(f, unsettled=f.unsettled and n not in mixed) for n, f in forms.items()}
    if has_point and not has_comma:
        forms = {n: replace(f, unsettled=False) for n, f in forms.items()}
    if given.decimal is None and given.thousands is None:
        for name, form in forms.items():
            is_grouped = pt.is_floating(form.type) and form.is_plain and _is_grouped(distinct[name])
            if (has_comma and (form.unsettled or is_grouped)) or (is_grouped and name in mixed):
                again = form_of(distinct[name], decimal=",")
                is_open = form.is_plain and name not in mixed
                forms[name] = form if pt.is_string(again.type) else replace(again, unsettled=is_open)
    return forms


def _but_for_few(distinct: pa.Array, columns: Sequence[pa.ChunkedArray]) -> ColumnForm | None:
    """The form of a column of numbers but for a few texts, each of too few rows to leave; else None.

    As text all numbers would be lost for these ('Unrated', a cell that slipped from its neighbour). They are missing
    then, which is said. A text of several digits is none of them: it may be a code among codes.
    """
    texts = pc.utf8_trim_whitespace(distinct)
    is_usual = pc.is_in(texts, value_set=pa.array(["", *ODD_MISSING]))
    is_number = pc.match_substring_regex(texts, PLAIN_NUMBER)
    odd, numbers = distinct.filter(pc.invert(pc.or_(is_number, is_usual))), distinct.filter(is_number)
    if not (0 < len(odd) <= _MOST_ODD and len(numbers) >= _FEWEST_NUMBERS):
        return None
    form = form_of(pa.concat_arrays([numbers, texts.filter(is_usual)]))
    if pt.is_string(form.type) or pc.any(pc.match_substring_regex(odd, "[0-9].*[0-9].*[0-9]")).as_py():
        return None
    rows = dict.fromkeys(odd.to_pylist(), 0)
    chunks = [chunk for column in columns for chunk in column.chunks]
    for chunk in chunks:
        at = pc.index_in(chunk.dictionary, value_set=odd).take(chunk.indices)
        for found in pc.value_counts(at.drop_null()).to_pylist():
            rows[odd[found["values"]].as_py()] += found["counts"]
    n_rows = sum(len(chunk) - chunk.null_count for chunk in chunks)
    few = max(TableSchema(()).rare_threshold, n_rows // 1000 + 1)
    if max(rows.values()) >= few or sum(rows.values()) > _MOST_ODD_SHARE * n_rows:
        return None
    return replace(form, odd=(*form.odd, *(text.strip() for text in rows)))


def _is_grouped(texts: pa.Array) -> bool:
    """Whether all texts could be whole numbers with points between thousands, at least one for certain."""
    return bool(pc.all(pc.match_substring_regex(texts, r"^-?[1-9][0-9]{0,2}(?:\.[0-9]{3})*$")).as_py())


def _is_mixed(texts: pa.Array) -> bool:
    """Whether whole numbers up to 999 stand beside many of more, all of whose groups have three digits.

    Decimals of three digits that are written in full would be so in all texts, and else some would have fewer.
    """
    shown = pc.match_substring_regex(texts, r"^-?[1-9][0-9]{0,2}(?:(?:[.][0-9]{3})+|(?:,[0-9]{3})+)$")
    small = pc.match_substring_regex(texts, r"^-?(?:0|[1-9][0-9]{0,2})$")
    is_all = bool(pc.all(pc.or_(shown, small)).as_py())
    return is_all and (pc.sum(shown).as_py() or 0) >= _GROUPED and (pc.sum(small).as_py() or 0) >= 3


def _values(column: pa.DictionaryArray, form: ColumnForm) -> pa.Array:
    """The values of a column of texts."""
    if pt.is_string(form.type):
        blank = pc.equal(pc.utf8_trim_whitespace(column.dictionary), "")
        if not pc.any(blank).as_py():
            return column
        values = pc.if_else(blank, pa.scalar(None, pa.string()), column.dictionary)  # spaces alone are no text
        return values.take(column.indices).dictionary_encode()
    if pt.is_null(form.type):
        return pa.nulls(len(column))
    return form.convert(column.dictionary).take(column.indices)


def _arrow_type(form: ColumnForm) -> pa.DataType:
    return TEXT if pt.is_string(form.type) else form.type


def _is_once_each(column: pa.ChunkedArray) -> bool:
    return bool(len(column) == pc.count_distinct(column.cast(pa.string())).as_py() and column.null_count == 0)


def _notes(texts: Sequence[_Texts], forms: Mapping[str, ColumnForm]) -> tuple[str, ...]:
    notes = [note for name, form in forms.items() if (note := form.note(name)) is not None]
    of_text = [name for name, form in forms.items() if pt.is_string(form.type)]
    where: dict[str, list[str]] = {}
    for name in of_text:
        for word in sorted({w for t in texts for w in t.words.get(name, ()) if any(map(str.isalpha, w))}):
            where.setdefault(word, []).append(name)
    for word, names in where.items():
        shown = listed(map(repr, names), 3)
        notes.append(f"{word!r} is taken for missing in text ({shown}); keep={word} makes it a value")
    return (*texts[0].dialect.notes, *notes)


def _type_noun(form: ColumnForm) -> str:
    return str(form.type) if form.is_plain else "numbers of another form"


def _unreadable(path: str, error: Exception) -> DataError | StorageError:
    message = first_line(error)
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"cannot read '{path}': {error.strerror or message}")
    if isinstance(error, UnicodeError) or "UTF8" in message or "codec can't" in message:
        return DataError(f"'{path}': {message}; say the encoding, for example --csv encoding=latin-1")
    if re.search(r"Expected \d+ columns", message):
        message += "; a value may hold the delimiter without quotes"
    return DataError(f"'{path}' is no readable CSV ({message}); mend the line or save the table again")
