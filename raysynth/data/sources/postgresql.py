"""PostgreSQL databases, by ADBC's driver: the tables of one schema as of one moment, and the keys of its catalogue.

    postgresql://user@host:port/database?options=-csearch_path%3Dsales

The schema is the connection's current one ('public' where the address says nothing). A message never shows a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from raysynth.data.sources.sqlite import quoted
from raysynth.data.total_cast import total_cast
from raysynth.errors import DataError, ParameterError
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys

# Types that arrive as Arrow's own; decimals come as text and are cast, all others are read as text.
NATIVE = re.compile(
    r"smallint|integer|bigint|real|double precision|boolean|text|character varying.*|date|timestamp.*|time without.*"
)
DECIMAL = re.compile(r"numeric\((\d+),(\d+)\)")
LONGEST_DECIMAL = 38  # digits of Arrow's decimal128

_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.oid, a.attnum
"""
_KEYS = """
SELECT t.relname, k.contype::text, a.attname, a.attnotnull, p.relname, f.attname, k.oid::bigint
FROM pg_constraint k
JOIN pg_class t ON t.oid = k.conrelid
CROSS JOIN unnest(k.conkey, k.confkey) WITH ORDINALITY AS u(own, other, place)
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.own
LEFT JOIN pg_class p ON p.oid = k.confrelid
LEFT JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = u.other
WHERE t.relnamespace = current_schema()::regnamespace AND k.contype IN ('p', 'f') AND NOT t.relispartition
  AND (k.contype = 'p' OR p.relnamespace = t.relnamespace AND NOT p.relispartition) AND k.conparentid = 0
ORDER BY k.oid, u.place
"""


def read_postgresql(url: str) -> tuple[dict[str, Any], DatabaseSchema]:
    """All tables of the current schema as of one moment, read only, and the keys that the catalogue declares.

    Args:
        url: 'postgresql://user:password@host:port/database'; what it leaves out comes from libpq's own settings
            (PGPASSWORD, ~/.pgpass).

    Raises:
        ParameterError: the driver is not installed. DataError: the server cannot be reached or read, or the schema has
            no tables.
    """
    with _connection(url) as connection:
        _rows(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        types: dict[str, dict[str, str]] = {}
        for table, column, type_ in _rows(connection, _COLUMNS):
            types.setdefault(table, {})[column] = type_
        if not types:
            raise DataError(
                f"'{shown(url)}' has no tables in its current schema; name one by ?options=-csearch_path%3DNAME"
            )
        tables = {name: _table(connection, name, columns) for name, columns in types.items()}
        facts = _rows(connection, _KEYS)
    return tables, _schema(tuple(types), facts)


def shown(url: str) -> str:
    """The address without what is secret in it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    user = host[0].partition(":")[0]
    return f"{parts.scheme}://{user + '@' if user else ''}{host[2]}{parts.path}"


def _table(connection: Any, name: str, columns: dict[str, str]) -> pa.Table:
    """One table: the types of `NATIVE` as they are, decimals exactly, other numbers as float64, the rest as text."""
    wanted, decimals = [], {}
    for column, type_ in columns.items():
        own, decimal = quoted(column), DECIMAL.fullmatch(type_)
        if NATIVE.fullmatch(type_):
            wanted.append(own)
        elif decimal is not None and int(decimal[1]) <= LONGEST_DECIMAL:
            decimals[column] = pa.decimal128(int(decimal[1]), int(decimal[2]))
            wanted.append(f"{own}::text AS {own}")
        else:
            wanted.append(f"{own}::{'float8' if type_.startswith('numeric') else 'text'} AS {own}")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(wanted)} FROM {quoted(name)}")
        table: pa.Table = cursor.fetch_arrow_table()
    for column, type_ in decimals.items():
        place = table.column_names.index(column)
        parts = [total_cast(part, type_) for part in table.column(place).chunks]  # 'NaN' is missing
        table = table.set_column(place, column, pa.chunked_array(parts, type_))
    return table


def _schema(names: tuple[str, ...], facts: list[tuple[Any, ...]]) -> DatabaseSchema:
    """Keys from the catalogue's rows, one for each column of a key."""
    keys: dict[int, list[tuple[Any, ...]]] = {}
    for fact in facts:
        keys.setdefault(fact[-1], []).append(fact)
    primary: dict[str, tuple[str, ...]] = {}
    relations = []
    for parts in keys.values():
        table, kind, _, _, parent, *_ = parts[0]
        columns = tuple(p[2] for p in parts)
        if kind == "p":
            primary[table] = columns
        else:
            nullable = not all(p[3] for p in parts)
            relations.append(Relation(parent, table, tuple(p[5] for p in parts), columns, nullable))
    return DatabaseSchema(tuple(TableKeys(n, primary.get(n, ())) for n in names), tuple(relations))


def _rows(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [] if cursor.description is None else list(cursor.fetchall())


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    """A connection, closed at the end; what the driver says is a `DataError` that names the database."""
    if find_spec("adbc_driver_postgresql") is None:
        raise ParameterError(
            f"'{shown(url)}' needs ADBC's driver: pip install 'raysynth[postgresql]'; or export the tables to a folder "
            "of Parquet or CSV files"
        )
    from adbc_driver_manager import Error
    from adbc_driver_postgresql import dbapi

    try:
        with dbapi.connect(url) as connection:
            yield connection
    except Error as error:
        raise DataError(f"'{shown(url)}' cannot be read: {str(error).replace(url, shown(url))}") from None
