"""Databases as sources: folders, SQLite and DuckDB files, their keys, and what is told of one at fault."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from unit_databases import RELATIONS, shop

from raysynth.data.key_inference import as_database_schema
from raysynth.data.keys import check_database
from raysynth.data.sources.databases import is_database, open_database, write_database
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.schema.relations import DatabaseSchema

SCHEMA = as_database_schema(list(RELATIONS), shop())


def same(found: object, expected: object) -> None:
    """Equal values, whatever whole numbers with gaps are held as."""
    tables = [as_table(t, min_rows=0).to_arrow().to_pandas() for t in (found, expected)]
    pd.testing.assert_frame_equal(*tables, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize("target", ["shop", "shop.db", "sqlite"])
def test_a_database_comes_back_with_its_keys(tmp_path: Path, target: str) -> None:
    where = f"sqlite:///{tmp_path / 'x.db'}" if target == "sqlite" else str(tmp_path / target)
    write_database(shop(), SCHEMA, where)
    tables, schema = open_database(where)
    assert schema is not None and set(tables) == set(SCHEMA.names)
    assert sorted(map(str, schema.relations)) == sorted(map(str, SCHEMA.relations))
    assert {t.name: t.primary_key for t in schema.tables} == {t.name: t.primary_key for t in SCHEMA.tables}
    for name, table in shop().items():
        same(tables[name], table)
    assert is_database(where)
    check_database(tables, schema)


def test_a_folder_of_csv_and_of_folders(tmp_path: Path) -> None:
    write_database(shop(), SCHEMA, tmp_path, format="csv")
    (tmp_path / "relations.json").unlink()
    (tmp_path / "lines.csv").unlink()
    (tmp_path / "lines").mkdir()
    for part in range(2):  # a table of two files
        shop()["lines"][part::2].to_parquet(tmp_path / "lines" / f"part-{part}.parquet")
    (tmp_path / "notes.md").write_text("no table")
    tables, schema = open_database(tmp_path)
    assert schema is None and sorted(tables) == sorted(SCHEMA.names)
    assert as_table(tables["lines"]).n_rows == len(shop()["lines"])
    assert is_database(tmp_path)


def test_parts_of_one_table_are_no_database(tmp_path: Path) -> None:
    for part in range(3):
        shop()["lines"].to_parquet(tmp_path / f"part-{part}.parquet")
    assert not is_database(tmp_path)
    assert not is_database(tmp_path / "part-0.parquet")
    assert not is_database("s3://bucket/visits/")


def test_sqlite_types_keys_and_names_come_from_the_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "odd.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            """
            CREATE TABLE "the people" (no INTEGER PRIMARY KEY, born DATE, "at" TIMESTAMP, ok BOOLEAN, mixed, size REAL);
            CREATE TABLE pets (name TEXT, owner INTEGER NOT NULL REFERENCES "The People",
                vet INTEGER REFERENCES "the people" (no),
                FOREIGN KEY (vet) REFERENCES "the people" (NO));
            INSERT INTO "the people" VALUES (1, '1990-02-03', '2020-01-01 10:00', 1, 'a', 1), (2, NULL, NULL, 0, 7, 2);
            INSERT INTO pets VALUES ('Rex', 1, NULL);
            CREATE VIEW v AS SELECT * FROM pets;
            """
        )
    tables, schema = open_database(file)
    assert schema is not None and schema.names == ("the people", "pets")
    assert [str(r) for r in schema.relations] == [
        'pets.owner -> "the people".no',
        'pets.vet -> "the people".no, nullable',
    ]
    people = tables["the people"]
    assert people.schema.types == [pa.int64(), pa.date32(), pa.timestamp("us"), pa.bool_(), pa.string(), pa.float64()]
    assert people["mixed"].to_pylist() == ["a", "7"]
    check_database(tables, schema)


def test_written_sqlite_has_types_keys_and_whole_rows(tmp_path: Path) -> None:
    """A cycle of nullable keys, times, truth values and an integrity check by SQLite itself."""
    tables = {
        "team": pd.DataFrame({"id": [1, 2], "captain": [3, np.nan], "since": pd.to_datetime(["2020-01-02", None])}),
        "player": pd.DataFrame({"id": [3, 4], "team": [1, 2], "left": [True, False], "height": [1.5, 2.0]}),
    }
    schema = as_database_schema(["team.captain -> player.id, nullable", "player.team -> team.id"], tables)
    write_database(tables, schema, tmp_path / "t.db")
    with closing(sqlite3.connect(tmp_path / "t.db")) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        types = [f[2] for t in tables for f in connection.execute(f"PRAGMA table_info({t})")]
        assert types == ["INTEGER", "INTEGER", "TIMESTAMP", "INTEGER", "INTEGER", "BOOLEAN", "REAL"]
        assert connection.execute("SELECT since FROM team").fetchall() == [("2020-01-02 00:00:00.000000",), (None,)]
    with pytest.raises(ParameterError, match="has tables; give an empty database"):
        write_database(tables, schema, tmp_path / "t.db")
    again, found = open_database(tmp_path / "t.db")
    assert found == schema or set(map(str, found.relations)) == set(map(str, schema.relations))  # type: ignore[union-attr]
    same(again["player"], tables["player"])


def test_duckdb_files_are_read_with_their_keys(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute("CREATE TABLE a (x INTEGER, y VARCHAR, z DOUBLE, PRIMARY KEY (x, y))")
        connection.execute("CREATE TABLE b (u INTEGER NOT NULL, v VARCHAR, FOREIGN KEY (u, v) REFERENCES a (x, y))")
        connection.execute("INSERT INTO a VALUES (1, 'q', 0.5); INSERT INTO b VALUES (1, 'q'), (1, NULL)")
    tables, schema = open_database(f"duckdb:///{tmp_path / 'shop.duckdb'}")
    assert schema is not None and [str(r) for r in schema.relations] == ["b.(u,v) -> a.(x,y), nullable"]
    assert schema["a"].primary_key == ("x", "y")
    assert tables["b"].num_rows == 2
    check_database(tables, schema)


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 200)
    (tmp_path / "empty").mkdir()
    cases: list[tuple[object, type[Exception], str]] = [
        (tmp_path / "nothing", DataError, "'.*nothing' is not there"),
        (f"sqlite:///{tmp_path}/none.db", DataError, "none.db' is no file"),
        (tmp_path / "text.db", DataError, "text.db' is one file, and no SQLite"),
        (tmp_path / "broken.db", DataError, "broken.db.*damaged, copy it once more"),
        (tmp_path / "empty", DataError, "holds no table"),
        ("mysql://user@host/shop", ParameterError, "mysql.*read from PostgreSQL alone"),
        (3, DataError, "found int"),
    ]
    for source, error, message in cases:
        with pytest.raises(error, match=message):
            open_database(source)


def test_a_folder_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    write_database(shop(), SCHEMA, tmp_path)
    shop()["lines"].to_csv(tmp_path / "lines.csv", index=False)
    with pytest.raises(DataError, match=r"lines\.csv' and '.*lines\.parquet' are both table 'lines'"):
        open_database(tmp_path)
    (tmp_path / "lines.csv").unlink()
    (tmp_path / "orders.parquet").unlink()
    with pytest.raises(SchemaError, match="relations.json' declares table 'orders'"):
        open_database(tmp_path)


def test_binary_columns_and_bad_targets_are_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "blob.db")) as connection:
        connection.executescript("CREATE TABLE t (id INTEGER, picture BLOB); INSERT INTO t VALUES (1, x'00ff')")
    with pytest.raises(DataError, match="table 't', column 'picture' holds binary"):
        open_database(tmp_path / "blob.db")
    with pytest.raises(ParameterError, match="'parquet' or 'csv'"):
        write_database(shop(), SCHEMA, tmp_path / "x", format="xml")
    with pytest.raises(DataError, match="no table 'customers' to write"):
        write_database({}, SCHEMA, tmp_path / "x")
    odd = {"a/b": pd.DataFrame({"x": [1]})}
    with pytest.raises(ParameterError, match="'a/b' cannot be the name of a file"):
        write_database(odd, as_database_schema([], odd), tmp_path / "x")
    assert open_database(odd) == (odd, None)
    assert isinstance(SCHEMA, DatabaseSchema)


def test_written_duckdb_has_keys_and_whole_rows(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    tables = {
        "a": pd.DataFrame({"x": [1, 2], "y": ["p", "q"], "at": pd.to_datetime(["2020-01-02", None])}),
        "b": pd.DataFrame({"u": [2, 1, 2], "v": ["q", "p", "q"], "boss": [1, 1, np.nan], "id": [1, 2, 3]}),
    }
    schema = as_database_schema(["b.(u,v) -> a.(x,y)", "b.boss -> b.id, nullable"], tables)
    write_database(tables, schema, tmp_path / "t.duckdb")
    again, found = open_database(tmp_path / "t.duckdb")
    assert found is not None and [str(r) for r in found.relations] == ["b.(u,v) -> a.(x,y)"]  # no key to itself
    same(again["a"], tables["a"])
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute("INSERT INTO b VALUES (7, 'q', 1, 4)")
    with pytest.raises(ParameterError, match="has tables; give an empty database"):
        write_database(tables, schema, tmp_path / "t.duckdb")


STRAY = {
    "text among integers": ("age", "'old'"),
    "no UTF-8": ("town", "CAST(x'fffe204e414d45' AS TEXT)"),  # and NAME
    "binary": ("age", "x'0001'"),
}


@pytest.mark.parametrize("stray", STRAY)
def test_under_a_budget_no_cell_of_sqlite_changes_a_type_or_is_shown(stray: str, tmp_path: Path) -> None:
    (column, value), path = STRAY[stray], tmp_path / "people.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER, town VARCHAR(20), born DATE, x)")
        connection.executemany("INSERT INTO people VALUES (?, 30, 'east', '1990-02-03', 1.5)", [(i,) for i in range(9)])
        connection.commit()
        before = open_database(path, private=True)[0]["people"]
        connection.execute(f"UPDATE people SET {column} = {value} WHERE id = 4")
        connection.commit()
    after = open_database(path, private=True)[0]["people"]
    assert after.schema == before.schema
    assert [str(t) for t in after.schema.types] == ["int64", "int64", "string", "date32[day]", "string"]
    assert after.column(column).null_count == 1 and after.drop_columns([column]) == before.drop_columns([column])
    if "x'" in value:
        with pytest.raises(DataError, match=f"table 'people', column '{column}' holds binary values") as failed:
            open_database(path)
        assert "NAME" not in str(failed.value)
