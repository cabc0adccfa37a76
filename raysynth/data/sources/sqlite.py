"""SQLite databases, by the standard library: tables and keys of the catalogue into memory, and into a new file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.total_cast import total_cast
from raysynth.errors import DataError, ParameterError
from raysynth.files.storage import atomic_path
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys

MAGIC = b"SQLite format 3\x00"
_ROWS = 100_000  # fetched at a time
_DEFERRED = " DEFERRABLE INITIALLY DEFERRED"  # foreign keys wait for the end of a transaction, so that cycles can be
_TIMES = ("DATE", "TIMESTAMP")  # declared types whose text is read as times
_TYPES = (  # the first whose word stands in a declared type; after SQLite's rules of affinity
    ("INT", pa.int64()), ("BOOL", pa.bool_()), ("DATETIME", pa.timestamp("us")), ("TIMESTAMP", pa.timestamp("us")),
    ("DATE", pa.date32()), ("CHAR", pa.string()), ("CLOB", pa.string()), ("TEXT", pa.string()),
    ("REAL", pa.float64()), ("FLOA", pa.float64()), ("DOUB", pa.float64()), ("NUMERIC", pa.float64()),
    ("DECIMAL", pa.float64()),
)  # fmt: skip


def read_sqlite(path: Path, *, private: bool = False) -> tuple[dict[str, pa.Table], DatabaseSchema]:
    """All tables of a file, read only, and the keys that it declares; views are left out.

    Args:
        path: of the file.
        private: under a privacy budget: columns have the types that the catalogue declares, whatever their rows hold,
            and a value that its type cannot hold is missing.

    Raises:
        DataError: the file is no SQLite database, has no tables, or (unless `private`) a column holds what cannot be
            modelled; names it.
        SchemaError: its catalogue names a key of a table that is not there.
    """
    with _connection(f"file:{quote(str(path))}?mode=ro", path) as connection:
        names = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")]
        names = [n for n in names if not n.startswith("sqlite_")]
        if not names:
            raise DataError(f"'{path}' has no tables")
        facts = {n: connection.execute(f"PRAGMA table_info({quoted(n)})").fetchall() for n in names}
        make = _as_declared if private else _array
        tables = {n: _table(connection, n, {f[1]: str(f[2]).upper() for f in facts[n]}, make) for n in names}
        keys = tuple(_keys(n, facts[n]) for n in names)
        relations = tuple(r for n in names for r in _relations(connection, n, facts))
    return tables, DatabaseSchema(keys, relations)


def write_sqlite(tables: Mapping[str, pa.Table], schema: DatabaseSchema, path: Path) -> None:
    """A new file with all tables, their types, primary and foreign keys; parents first, whole or not at all.

    Raises:
        ParameterError: the file is there and has tables, or is no SQLite database.
        StorageError: it cannot be written.
    """
    check_empty_sqlite(path)
    with atomic_path(path) as temporary, _connection(f"file:{quote(str(temporary))}", path) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")  # checked by construction; cycles could not be inserted
        for name in schema.topological():
            table = tables[name]
            connection.execute(create_table(name, table.schema, schema, schema.parents_of(name), _sql_type, _DEFERRED))
            places = ", ".join("?" * table.num_columns)
            for batch in table.to_batches(max_chunksize=_ROWS):
                columns = [_written(c) for c in batch.columns]
                connection.executemany(f"INSERT INTO {quoted(name)} VALUES ({places})", zip(*columns, strict=True))
        connection.commit()


def check_empty_sqlite(path: Path) -> None:
    """Raise `ParameterError` where a file has tables, `DataError` where it is no SQLite database."""
    if path.exists() and path.stat().st_size:
        with _connection(f"file:{quote(str(path))}?mode=ro", path) as connection:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise ParameterError(f"'{path}' has tables; give an empty database or a new file")


@contextmanager
def _connection(uri: str, path: Path) -> Iterator[sqlite3.Connection]:
    """A connection, closed at the end; what SQLite says of a file is a `DataError` that names it."""
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.text_factory = _text_or_bytes
            yield connection
    except sqlite3.Error as error:
        raise DataError(
            f"'{path}' cannot be used as an SQLite database ({error}); where it is damaged, copy it once more or mend "
            "it by 'sqlite3 FILE .recover', or give its tables as a folder of Parquet or CSV files"
        ) from error


def _text_or_bytes(stored: bytes) -> str | bytes:
    """Text; what is no UTF-8 stays binary, since SQLite's own error would show it."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _table(
    connection: sqlite3.Connection,
    name: str,
    declared: Mapping[str, str],
    make: Callable[[str, str, list[Any], str], pa.Array],
) -> pa.Table:
    """One table, column by column: `make` gives a column from its table, name, values and declared type."""
    cursor = connection.execute(f"SELECT * FROM {quoted(name)}")
    columns = [c[0] for c in cursor.description]
    parts: list[list[Any]] = [[] for _ in columns]
    while rows := cursor.fetchmany(_ROWS):
        for part, values in zip(parts, zip(*rows, strict=True), strict=True):
            part.extend(values)
    arrays = [make(name, c, v, declared.get(c, "")) for c, v in zip(columns, parts, strict=True)]
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _array(table: str, column: str, values: list[Any], declared: str) -> pa.Array:
    """Values as whole numbers, numbers, text, truth values or times; mixed ones as text.

    A column's type is that of its values, since SQLite holds columns to none; without values the declared one.
    """
    types = {type(v) for v in values} - {type(None)}
    if not types:
        return pa.nulls(len(values), _declared_type(declared))
    if bytes in types:
        raise DataError(
            f"table '{table}', column '{column}' holds binary values, which cannot be modelled; copy the table without "
            "it"
        )
    if types <= {int} and declared.startswith("BOOL") and all(v in (0, 1, None) for v in values):
        return pa.array([None if v is None else bool(v) for v in values], pa.bool_())
    if types <= {int, float}:
        return pa.array(values, pa.float64() if float in types else pa.int64())
    text = pa.array([None if v is None else str(v) for v in values], pa.string())
    if declared.startswith(_TIMES):
        with suppress(pa.ArrowInvalid):  # another form of date: recognised, or not, like any text
            return text.cast(pa.date32() if declared == "DATE" else pa.timestamp("us"))
    return text


def _as_declared(table: str, column: str, values: list[Any], declared: str) -> pa.Array:
    """Values in the type that the catalogue declares, by SQLite's own words for them; text where it declares none."""
    text = [None if v is None or isinstance(v, bytes) else str(v) for v in values]
    return total_cast(pa.array(text, pa.string()), _declared_type(declared))


def _declared_type(declared: str) -> pa.DataType:
    return next((t for word, t in _TYPES if word in declared), pa.string())


def _keys(name: str, facts: list[Any]) -> TableKeys:
    numbered = sorted((place, column) for _, column, _, _, _, place in facts if place)
    return TableKeys(name, tuple(column for _, column in numbered))


def _relations(connection: sqlite3.Connection, name: str, facts: Mapping[str, list[Any]]) -> Iterator[Relation]:
    """The foreign keys of a table; names are spelled as their tables do, which SQLite does not ask for."""
    spelled = {n.lower(): n for n in facts}
    columns = {n: {f[1].lower(): f[1] for f in rows} for n, rows in facts.items()}
    keys: dict[int, list[Any]] = {}
    for row in connection.execute(f"PRAGMA foreign_key_list({quoted(name)})"):
        keys.setdefault(row[0], []).append(row)
    for number in sorted(keys, reverse=True):  # the catalogue has the last declared first
        rows = sorted(keys[number], key=lambda r: r[1])
        parent = spelled.get(rows[0][2].lower(), rows[0][2])
        child_key = tuple(columns[name].get(r[3].lower(), r[3]) for r in rows)
        if rows[0][4] is None:  # to the primary key, by whatever name
            parent_key = _keys(parent, facts.get(parent, [])).primary_key
        else:
            parent_key = tuple(columns.get(parent, {}).get(r[4].lower(), r[4]) for r in rows)
        filled = {f[1] for f in facts[name] if f[3] or f[5]}
        yield Relation(parent, name, parent_key, child_key, not set(child_key) <= filled)


def create_table(
    name: str,
    columns: pa.Schema,
    schema: DatabaseSchema,
    parents: Sequence[Relation],
    sql_type: Callable[[pa.DataType], str],
    checked: str = "",
) -> str:
    """The statement that makes a table.

    Args:
        name: of the table. columns: of it.
        schema: of the database.
        parents: foreign keys to declare.
        sql_type: name of a column's type.
        checked: what a foreign key says of when it is checked.
    """
    filled = {c for r in schema.parents_of(name) if not r.nullable for c in r.child_key} | set(schema[name].primary_key)
    lines = [f"{quoted(f.name)} {sql_type(f.type)}{' NOT NULL' if f.name in filled else ''}" for f in columns]
    if key := schema[name].primary_key:
        lines.append(f"PRIMARY KEY ({', '.join(map(quoted, key))})")
    others = {r.parent_key for r in schema.children_of(name)} - {schema[name].primary_key}
    lines += [f"UNIQUE ({', '.join(map(quoted, key))})" for key in sorted(others)]
    for r in parents:
        child, parent = (", ".join(map(quoted, key)) for key in (r.child_key, r.parent_key))
        lines.append(f"FOREIGN KEY ({child}) REFERENCES {quoted(r.parent)} ({parent}){checked}")
    return f"CREATE TABLE {quoted(name)} ({', '.join(lines)})"


def _sql_type(type_: pa.DataType) -> str:
    known = (
        (pt.is_boolean, "BOOLEAN"), (pt.is_integer, "INTEGER"), (pt.is_floating, "REAL"), (pt.is_decimal, "NUMERIC"),
        (pt.is_date, "DATE"), (pt.is_timestamp, "TIMESTAMP"), (pt.is_duration, "REAL"),
    )  # fmt: skip
    return next((name for test, name in known if test(type_)), "TEXT")


def _written(column: pa.Array) -> list[Any]:
    """Values as SQLite takes them: times as ISO text, durations as seconds, decimals as numbers."""
    if pt.is_dictionary(column.type):
        return list(column.dictionary_decode().to_pylist())
    if pt.is_temporal(column.type) and not pt.is_duration(column.type):
        return list(column.cast(pa.string()).to_pylist())
    if pt.is_duration(column.type):
        return [None if v is None else v / 1e6 for v in column.cast(pa.duration("us")).cast(pa.int64()).to_pylist()]
    return list((column.cast(pa.float64()) if pt.is_decimal(column.type) else column).to_pylist())


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
