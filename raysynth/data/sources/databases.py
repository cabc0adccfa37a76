"""Databases: folders with a file a table, SQLite and DuckDB files; keys from the catalogue or `relations.json`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysynth.data.keys import key_values
from raysynth.data.sources.files import ARROW_ENDINGS, CSV_ENDINGS, JSON_ENDINGS, PARQUET_ENDINGS
from raysynth.data.sources.sqlite import MAGIC, read_sqlite, write_sqlite
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.files.storage import local_path, make_folder
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys

RELATIONS_FILE = "relations.json"
SQLITE_ENDINGS, DUCKDB_ENDINGS = (".sqlite", ".sqlite3", ".db"), (".duckdb",)
FORMATS = ("parquet", "csv")
_TABLE_ENDINGS = (*PARQUET_ENDINGS, *CSV_ENDINGS, *JSON_ENDINGS, *ARROW_ENDINGS)


def open_database(source: Any) -> tuple[dict[str, Any], DatabaseSchema | None]:
    """The tables of a database, and its keys where it knows them.

    Args:
        source: a dict of tables; a folder with a file (or folder of Parquet parts) for each table, perhaps with
            `relations.json`; an SQLite or DuckDB file, by path or as 'sqlite:///shop.db', 'duckdb:///shop.duckdb'.

    Returns:
        Tables by name, each as `fit` takes it (files as their paths), and the schema, None where nothing declares one.

    Raises:
        DataError: nothing is there, or it holds no table. SchemaError: its keys are at fault.
        ParameterError: a database of another kind, or one whose package is not installed.
    """
    if isinstance(source, Mapping):
        return dict(source), None
    if not isinstance(source, (str, os.PathLike)):
        raise DataError(f"a database is a dict of tables, a folder or a database file; found {type(source).__name__}")
    kind, path = _kind_of(source)
    if kind == "sqlite":
        return read_sqlite(path)
    return _read_duckdb(path) if kind == "duckdb" else _read_folder(path)


def is_database(source: str | os.PathLike[str]) -> bool:
    """Whether a path means several tables: a database file or URL, or a folder that says so or whose files differ.

    Files with the same columns are the parts of one table.
    """
    text = os.fspath(source)
    if text.startswith(("sqlite:", "duckdb:", "postgresql:", "postgres:")):
        return True
    path = Path(text)
    if not path.is_dir():
        return path.is_file() and (path.suffix.lower() in DUCKDB_ENDINGS or _is_sqlite(path))
    if (path / RELATIONS_FILE).is_file():
        return True
    files = {p.stem: p for p in path.iterdir() if _is_table_file(p)} or _table_paths(path)
    if len(files) < 2 or any("=" in name for name in files):
        return False
    try:
        return len({as_table(p, min_rows=0).names for p in list(files.values())[:8]}) > 1
    except DataError:
        return False  # whatever it is, the reader of one table says what is wrong


def is_database_file(target: str) -> bool:
    """Whether a path to write to means an SQLite file, not a folder."""
    return target.startswith("sqlite:") or Path(target).suffix.lower() in SQLITE_ENDINGS


def write_database(
    tables: Mapping[str, Any], schema: DatabaseSchema, target: str | os.PathLike[str], format: str = "parquet"
) -> None:
    """Write all tables, so that `open_database` finds them and their keys again.

    Args:
        tables: by name anything that `fit` takes, the schema's tables among them.
        schema: keys and rules.
        target: a folder, for a file a table and `relations.json`; or an SQLite file that is new or empty ('shop.db',
            'sqlite:///shop.db'), which gets types and keys.
        format: of the files in a folder, 'parquet' or 'csv'.

    Raises:
        ParameterError: the target is of another kind, or holds tables. DataError: a table is missing.
        StorageError: it cannot be written.
    """
    if format not in FORMATS:
        raise ParameterError(f"format must be 'parquet' or 'csv'; found {format!r}")
    if absent := [n for n in schema.names if n not in tables]:
        raise DataError(f"there is no table '{absent[0]}' to write; there are: {', '.join(tables)}")
    rows = {n: as_table(tables[n], min_rows=0).to_arrow() for n in schema.names}
    kind, path = _kind_of(target, to_write=True)
    if kind == "duckdb":
        raise ParameterError(f"'{path}': DuckDB files are read, not written; give a folder or an SQLite file")
    if kind == "sqlite":
        write_sqlite({n: _with_whole_keys(t, n, schema) for n, t in rows.items()}, schema, path)
        return
    for name in schema.names:
        _check_file_name(name)
    make_folder(path, private=False)
    for name, table in rows.items():
        _write_file(table, path / f"{name}.{format}")
    schema.save(path / RELATIONS_FILE)


def _kind_of(source: str | os.PathLike[str], *, to_write: bool = False) -> tuple[str, Path]:
    """'sqlite', 'duckdb' or 'folder', and where; raises `DataError` or `ParameterError`."""
    text = os.fspath(source)
    scheme, mark, rest = text.partition("://")
    if mark and scheme in ("sqlite", "duckdb"):
        path = local_path(rest.removeprefix("/"))  # three strokes: relative; four: absolute
        if not to_write and not path.is_file():
            raise DataError(f"'{path}' is no file, so '{text}' is no database")
        return scheme, path
    if mark and scheme.split("+")[0] in ("postgresql", "postgres", "mysql", "mssql", "oracle"):
        raise ParameterError(
            f"databases of a server ({scheme}://) are not read in this version; export the tables to a folder of "
            "Parquet or CSV files, or pass a dict of DataFrames (pandas.read_sql) and declare relations="
        )
    path = local_path(text, "database")
    if path.suffix.lower() in DUCKDB_ENDINGS and (to_write or path.is_file()):
        return "duckdb", path
    if path.is_file() and _is_sqlite(path) or to_write and path.suffix.lower() in SQLITE_ENDINGS:
        return "sqlite", path
    if path.is_file():
        raise DataError(f"'{path}' is one file, and no SQLite or DuckDB database; give a folder with a file a table")
    if not to_write and not path.is_dir():
        raise DataError(f"'{path}' is not there; give a folder with a file a table, or a database file")
    return "folder", path


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _is_table_file(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(_TABLE_ENDINGS) and path.name != RELATIONS_FILE


def _table_paths(folder: Path) -> dict[str, Path]:
    """Each table's file or folder by the table's name, in the order of names; hidden ones are passed over."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        name = path.name
        if _is_table_file(path):
            ending = max((e for e in _TABLE_ENDINGS if name.lower().endswith(e)), key=len)
            name = name[: -len(ending)]
        elif not (path.is_dir() and any(_is_table_file(p) for p in path.iterdir())):
            continue
        if name in found:
            raise DataError(f"'{found[name]}' and '{path}' are both table '{name}'; leave one of them out")
        found[name] = path
    return found


def _read_folder(folder: Path) -> tuple[dict[str, Any], DatabaseSchema | None]:
    paths = _table_paths(folder)
    if not paths:
        raise DataError(f"'{folder}' holds no table: no Parquet, CSV, JSON lines or Arrow file, nor a folder of them")
    declared = folder / RELATIONS_FILE
    schema = DatabaseSchema.load(declared) if declared.is_file() else None
    if schema is not None:
        if absent := [n for n in schema.names if n not in paths]:
            raise SchemaError(f"'{declared}' declares table '{absent[0]}', but '{folder}' has: {', '.join(paths)}")
        paths = {n: paths[n] for n in schema.names}
    return dict(paths), schema


def _with_whole_keys(table: pa.Table, name: str, schema: DatabaseSchema) -> pa.Table:
    """The table with foreign keys that are floats for their gaps alone as whole numbers."""
    for column in dict.fromkeys(c for r in schema.parents_of(name) for c in r.child_key):
        values = key_values(as_table(table, min_rows=0), (column,))["k0"]
        if pa.types.is_floating(table[column].type) and pa.types.is_integer(values.type):
            table = table.set_column(table.column_names.index(column), column, values)
    return table


def _check_file_name(name: str) -> None:
    if name.startswith((".", "_")) or any(c in name for c in '/\\:*?"<>|'):
        raise ParameterError(f"table '{name}' cannot be the name of a file; rename it, or write an SQLite file")


def _write_file(table: pa.Table, path: Path) -> None:
    """One table as Parquet or CSV, whole or not at all; raises `StorageError`."""
    from raysynth.files.storage import atomic_path

    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, temporary, compression="zstd")
        else:
            import pyarrow.csv as csv

            text = [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
            csv.write_csv(pa.table(dict(zip(table.column_names, text, strict=True))), temporary)


def _read_duckdb(path: Path) -> tuple[dict[str, Any], DatabaseSchema]:
    """All tables of a DuckDB file and its keys; read only, and no extension is downloaded or loaded."""
    if find_spec("duckdb") is None:
        raise ParameterError(f"'{path}' needs the package duckdb: pip install 'raysynth[duckdb]'")
    import duckdb

    settings: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    try:
        connection = duckdb.connect(str(path), read_only=True, config=settings)
    except duckdb.Error as error:
        raise DataError(f"'{path}' is no DuckDB database that can be read: {error}") from error
    with connection:
        names = [
            n for (n,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY table_oid").fetchall()
        ]
        if not names:
            raise DataError(f"'{path}' has no tables")
        tables = {n: connection.table('"' + n.replace('"', '""') + '"').to_arrow_table() for n in names}
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
