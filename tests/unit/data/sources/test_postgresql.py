"""PostgreSQL as a source, against a server that the test starts: types, keys, and what is told of one at fault."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from raysynth.data.sources.databases import is_database, open_database
from raysynth.errors import DataError, ParameterError

pytest.importorskip("adbc_driver_postgresql")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
pytestmark = pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL server is installed")

TABLES = """
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE TABLE "the people" (no integer PRIMARY KEY, born date, seen timestamptz, ok boolean, size real,
    pay numeric(10,2), rough numeric, feels mood, ident uuid);
CREATE TABLE weather (place text, day date, rain float8, PRIMARY KEY (place, day));
CREATE TABLE pets (id bigint PRIMARY KEY, name varchar(20), owner integer NOT NULL REFERENCES "the people", place text,
    day date, mother bigint REFERENCES pets, FOREIGN KEY (place, day) REFERENCES weather);
INSERT INTO "the people" VALUES (1, '1990-02-03', '2020-01-01 10:00+02', true, 1.5, 12.30, 0.1, 'calm',
    '123e4567-e89b-12d3-a456-426614174000'), (2, NULL, NULL, NULL, NULL, 'NaN', NULL, NULL, NULL);
INSERT INTO weather VALUES ('a', '2020-01-01', 0.5);
INSERT INTO pets VALUES (1, 'Rex', 1, 'a', '2020-01-01', NULL), (2, 'Pip', 1, NULL, NULL, 1);
CREATE VIEW v AS SELECT * FROM pets;
CREATE SCHEMA other; CREATE TABLE other.alone (x integer);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that listens on a socket in a folder of its own alone, without a password."""
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path has 107 characters at most
    if user is not None:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(PROGRAMS[-1] / program), *arguments]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60)

    run("initdb", "-D", "data", "-A", "trust", "-U", "tester", "--no-sync", "-E", "UTF8")
    options = f"-k {folder} -c listen_addresses='' -F"
    run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")
    try:
        run("psql", "-h", str(folder), "-U", "tester", "-v", "ON_ERROR_STOP=1", "-c", TABLES, "postgres")
        yield f"postgresql://tester:secret@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def test_types_and_keys_come_from_the_catalogue(server: str) -> None:
    tables, schema = open_database(server)
    assert is_database(server) and schema is not None
    assert sorted(tables) == ["pets", "the people", "weather"]
    people: pa.Table = tables["the people"]
    assert people.to_pylist()[0] == {
        "no": 1,
        "born": datetime.date(1990, 2, 3),
        "seen": datetime.datetime(2020, 1, 1, 8, tzinfo=datetime.UTC),
        "ok": True,
        "size": 1.5,
        "pay": Decimal("12.30"),
        "rough": 0.1,
        "feels": "calm",
        "ident": "123e4567-e89b-12d3-a456-426614174000",
    }
    assert people["pay"].type == pa.decimal128(10, 2) and people.to_pylist()[1]["no"] == 2
    assert all(v is None for k, v in people.to_pylist()[1].items() if k != "no")
    assert {t.name: t.primary_key for t in schema.tables} == {
        "the people": ("no",), "weather": ("place", "day"), "pets": ("id",)
    }  # fmt: skip
    assert sorted(map(str, schema.relations)) == [
        "pets.(place,day) -> weather.(place,day), nullable",
        "pets.mother -> pets.id, nullable",
        'pets.owner -> "the people".no',
    ]


def test_another_schema_and_what_is_at_fault_are_named_without_the_password(server: str) -> None:
    tables, schema = open_database(f"{server}&options=-csearch_path%3Dother")
    assert list(tables) == ["alone"] and schema is not None and schema.relations == ()
    with pytest.raises(DataError, match="no tables in its current schema.*search_path") as found:
        open_database(f"{server}&options=-csearch_path%3Dnowhere,pg_temp")
    assert "secret" not in str(found.value) and "tester@" in str(found.value)
    with pytest.raises(DataError, match="cannot be read") as found:
        open_database(server.replace("/postgres?", "/nothing?"))
    assert "secret" not in str(found.value)
    with pytest.raises(ParameterError, match="mysql.*PostgreSQL alone"):
        open_database("mysql://localhost/shop")
