"""Databases: folders with a file a table, SQLite, DuckDB, PostgreSQL; keys from the catalogue or `relations.json`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysynth.data.keys import key_values
from raysynth.data.sources.duckdb_files import check_empty_duckdb, read_duckdb, write_duckdb
from raysynth.data.sources.formats import ENDINGS
from raysynth.data.sources.postgresql import read_postgresql
from raysynth.data.sources.sqlite import MAGIC, check_empty_sqlite, read_sqlite, write_sqlite
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.files.private_folder import make_folder
from raysynth.files.storage import local_path
from raysynth.schema.relations import DatabaseSchema

RELATIONS_FILE = "relations.json"
SQLITE_ENDINGS, DUCKDB_ENDINGS = (".sqlite", ".sqlite3", ".db"), (".duckdb",)
SERVER = ("postgresql://", "postgres://")
FORMATS = ("parquet", "csv")


def open_database(source: Any, *, private: bool = False) -> tuple[dict[str, Any], DatabaseSchema | None]:
    """The tables of a database, and its keys where it knows them.

    Args:
        source: a dict of tables; a folder with a file (or folder of Parquet parts) for each table, perhaps with
            `relations.json`; an SQLite or DuckDB file, by path or as 'sqlite:///shop.db', 'duckdb:///shop.duckdb'; the
            current schema of a PostgreSQL database, 'postgresql://user@host/shop'.
        private: under a privacy budget: no type follows from rows (SQLite's catalogue declares them), and no error.

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
    if os.fspath(source).startswith(SERVER):
        return read_postgresql(os.fspath(source))
    kind, path = _kind_of(source)
    if kind == "sqlite":
        return read_sqlite(path, private=private)
    return read_duckdb(path) if kind == "duckdb" else _read_folder(path)


def is_database(source: str | os.PathLike[str]) -> bool:
    """Whether a path means several tables: a database file or URL, or a folder that says so or whose files differ.

    Files with the same columns are the parts of one table.
    """
    text = os.fspath(source)
    if text.startswith(("sqlite:", "duckdb:", *SERVER)):
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
    """Whether a path to write to means a database file, not a folder."""
    endings = (*SQLITE_ENDINGS, *DUCKDB_ENDINGS)
    return target.startswith(("sqlite:", "duckdb:")) or Path(target).suffix.lower() in endings


def check_empty(target: str | os.PathLike[str]) -> None:
    """Raise `ParameterError` where a database to write to is no SQLite or DuckDB file, or has tables."""
    if not is_database_file(os.fspath(target)):
        raise ParameterError(
            f"'{os.fspath(target)}' is no database to write to; give an SQLite or DuckDB file ('shop.db', "
            "'sqlite:///shop.db', 'shop.duckdb'), or write a folder by sample_to"
        )
    kind, path = _kind_of(target, to_write=True)
    (check_empty_sqlite if kind == "sqlite" else check_empty_duckdb)(path)


def write_database(
    tables: Mapping[str, Any], schema: DatabaseSchema, target: str | os.PathLike[str], format: str = "parquet"
) -> None:
    """Write all tables, so that `open_database` finds them and their keys again.

    Args:
        tables: by name anything that `fit` takes, the schema's tables among them.
        schema: keys and rules.
        target: a folder, for a file a table and `relations.json`; or an SQLite or DuckDB file that is new or empty
            ('shop.db', 'sqlite:///shop.db', 'shop.duckdb'), which gets types and keys.
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
    if kind != "folder":
        write = write_sqlite if kind == "sqlite" else write_duckdb
        write({n: _with_whole_keys(t, n, schema) for n, t in rows.items()}, schema, path)
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
            f"databases of a server ({scheme}://) are read from PostgreSQL alone, and none is written; use a folder of "
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
    return path.is_file() and path.name.lower().endswith(ENDINGS) and path.name != RELATIONS_FILE


def _table_paths(folder: Path) -> dict[str, Path]:
    """Each table's file or folder by the table's name, in the order of names; hidden ones are passed over."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        name = path.name
        if _is_table_file(path):
            ending = max((e for e in ENDINGS if name.lower().endswith(e)), key=len)
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
