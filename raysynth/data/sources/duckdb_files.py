"""DuckDB databases, by its package, which downloads nothing: tables and keys, and into a new file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.sources.sqlite import create_table, quoted
from raysynth.errors import DataError, ParameterError
from raysynth.files.storage import atomic_path
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys


def read_duckdb(path: Path) -> tuple[dict[str, Any], DatabaseSchema]:
    """All tables of a file, read only, and the keys that it declares.

    Raises:
        ParameterError: the package is not installed. DataError: the file cannot be read, or has no tables.
    """
    with _connection(path, path, read_only=True) as connection:
        names = _tables(connection)
        if not names:
            raise DataError(f"'{path}' has no tables")
        tables = {n: connection.table(quoted(n)).to_arrow_table() for n in names}
        facts = connection.execute(
            "SELECT table_name, constraint_type, constraint_column_names, referenced_table, referenced_column_names "
            "FROM duckdb_constraints() ORDER BY table_oid, constraint_index"
        ).fetchall()
    primary = {table: tuple(columns) for table, kind, columns, _, _ in facts if kind == "PRIMARY KEY"}
    filled = {
        (table, c) for table, kind, columns, _, _ in facts if kind in ("NOT NULL", "PRIMARY KEY") for c in columns
    }
    relations = tuple(
        Relation(parent, table, tuple(to), tuple(columns), any((table, c) not in filled for c in columns))
        for table, kind, columns, parent, to in facts
        if kind == "FOREIGN KEY"
    )
    return tables, DatabaseSchema(tuple(TableKeys(n, primary.get(n, ())) for n in names), relations)


def write_duckdb(tables: Mapping[str, pa.Table], schema: DatabaseSchema, path: Path) -> None:
    """A new file with all tables, their types, primary and foreign keys; parents first, whole or not at all.

    Keys of a table to itself and keys that close a cycle are columns only: DuckDB checks each row as it comes.

    Raises:
        ParameterError: the package is not installed, or the file has tables. StorageError: it cannot be written.
    """
    check_empty_duckdb(path)
    aside = {*schema.set_aside(), *(r for r in schema.relations if r.is_self_reference)}
    with atomic_path(path) as temporary:
        temporary.unlink(missing_ok=True)  # DuckDB takes no empty file
        with _connection(temporary, path) as connection:
            for name in schema.topological():
                parents = [r for r in schema.parents_of(name) if r not in aside]
                connection.execute(create_table(name, tables[name].schema, schema, parents, _type))
                connection.register("made", tables[name])
                connection.execute(f"INSERT INTO {quoted(name)} SELECT * FROM made")
                connection.unregister("made")


def check_empty_duckdb(path: Path) -> None:
    """Raise `ParameterError` where a file has tables, or the package is not installed."""
    _check_installed(path)
    if path.exists() and path.stat().st_size:
        with _connection(path, path, read_only=True) as connection:
            if _tables(connection):
                raise ParameterError(f"'{path}' has tables; give an empty database or a new file")


def _tables(connection: Any) -> list[str]:
    found = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY table_oid").fetchall()
    return [name for (name,) in found]


def _check_installed(path: Path) -> None:
    if find_spec("duckdb") is None:
        raise ParameterError(f"'{path}' needs the package duckdb: pip install 'raysynth[duckdb]'")


@contextmanager
def _connection(file: Path, named: Path, *, read_only: bool = False) -> Iterator[Any]:
    """A connection, closed at the end; what DuckDB says of the file is a `DataError` that names it."""
    _check_installed(named)
    import duckdb

    settings: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    try:
        with duckdb.connect(str(file), read_only=read_only, config=settings) as connection:
            yield connection
    except duckdb.Error as error:
        raise DataError(f"'{named}' is no DuckDB database that can be used: {error}") from error


def _type(type_: pa.DataType) -> str:
    if pt.is_decimal(type_):
        return f"DECIMAL({type_.precision}, {type_.scale})"
    known = (
        (pt.is_boolean, "BOOLEAN"), (pt.is_unsigned_integer, "UBIGINT"), (pt.is_integer, "BIGINT"),
        (pt.is_floating, "DOUBLE"), (pt.is_date, "DATE"), (pt.is_timestamp, "TIMESTAMP"), (pt.is_duration, "INTERVAL"),
    )  # fmt: skip
    return next((name for test, name in known if test(type_)), "VARCHAR")
