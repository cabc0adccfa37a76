"""Files of every kind and mixture: each read so, or refused with a cure."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.data.arrow_types import TEXT
from raysynth.data.sources.files import ParquetFiles
from raysynth.data.sources.parquet import common_type
from raysynth.data.table import as_table
from raysynth.errors import DataError

D = decimal.Decimal
PROMOTED = [
    # two files' columns, and the column of both together (its type), or words of the refusal
    (pa.array([1], pa.int32()), pa.array([2**40]), pa.int64()),
    (pa.array([1], pa.uint8()), pa.array([-1], pa.int8()), pa.int16()),
    (pa.array([1], pa.uint32()), pa.array([-1], pa.int32()), pa.int64()),
    (pa.array([1.5], pa.float32()), pa.array([2.5]), pa.float64()),
    (pa.array([1]), pa.array([2.5]), pa.float64()),
    (pa.array([1], pa.int16()), pa.array([2.5], pa.float32()), pa.float32()),
    (pa.array([dt.datetime(2020, 1, 1)], pa.timestamp("ms")), pa.array([1], pa.timestamp("us")), pa.timestamp("us")),
    (pa.array([1], pa.timestamp("s", "UTC")), pa.array([1], pa.timestamp("ns", "UTC")), pa.timestamp("ns", "UTC")),
    (pa.array([dt.date(2020, 1, 1)]), pa.array([dt.datetime(2020, 1, 1, 5)]), pa.timestamp("us")),
    (pa.array([1], pa.duration("s")), pa.array([1], pa.duration("ms")), pa.duration("ms")),
    (pa.array([D("1.5")], pa.decimal128(5, 1)), pa.array([D("1.25")], pa.decimal128(5, 2)), pa.decimal128(6, 2)),
    (pa.array([D("1.5")], pa.decimal128(5, 1)), pa.array([7], pa.int8()), pa.decimal128(5, 1)),
    (pa.nulls(1), pa.array(["x"]), TEXT),
    (pa.array(["x"], pa.large_string()), pa.array(["y"]).dictionary_encode(), TEXT),
    (pa.array(["x"]), pa.array([1]), "'a' is text in .*1.parquet' but int64 in .*2.parquet', and no type holds both"),
    (pa.array([True]), pa.array([1]), "'a' is bool .* but int64"),
    (pa.array([1], pa.timestamp("s", "UTC")), pa.array([1], pa.timestamp("s")), "no type holds both"),
    (pa.array([1], pa.timestamp("s", "UTC")), pa.array([1], pa.timestamp("s", "Asia/Tokyo")), "no type holds both"),
    (pa.array([1], pa.uint64()), pa.array([-1]), "'a' is uint64 .* but int64"),
    (pa.array([D("1.5")]), pa.array([1.5]), "no type holds both"),
]


@pytest.mark.parametrize(("first", "second", "wanted"), PROMOTED, ids=lambda v: str(getattr(v, "type", v))[:40])
def test_parquet_files_of_different_types(first: pa.Array, second: pa.Array, wanted: Any, tmp_path: Path) -> None:
    for name, column in (("1", first), ("2", second)):
        pq.write_table(pa.table({"a": column}), tmp_path / f"{name}.parquet")
    if isinstance(wanted, str):
        with pytest.raises(DataError, match=wanted):
            as_table(tmp_path)
        return
    table = as_table(tmp_path)
    assert table.schema.field("a").type == wanted
    plain = wanted.value_type if pa.types.is_dictionary(wanted) else wanted
    expected = [v for column in (first, second) for v in column.cast(plain).to_pylist()]
    assert table.to_arrow().column("a").to_pylist() == expected


def test_a_whole_number_that_a_double_would_change_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [2**53 + 1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1.5]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"'a': found int64 where the table's schema says double"):
        as_table(tmp_path).to_arrow()


types = st.sampled_from(
    [*(getattr(pa, f"{u}int{n}")() for u in ("", "u") for n in (8, 16, 32, 64)), pa.float32(), pa.float64(), pa.null()]
    + [pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "UTC")]
    + [pa.date32(), pa.decimal128(9, 2), pa.decimal128(20, 6), pa.bool_(), TEXT]
)


@settings(max_examples=200, deadline=None)
@given(types, types)
def test_promotion_depends_on_no_order(first: pa.DataType, second: pa.DataType) -> None:
    there, back = common_type(first, second), common_type(second, first)
    assert there == back
    if there is not None:
        assert common_type(there, first) == there and common_type(there, second) == there


def test_missing_columns_on_request(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"c": [1.5, 2.5], "a": [3, 4]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"'b' is missing from .*ParquetFiles\(path, missing_columns=True\)"):
        as_table(tmp_path)
    table = as_table(ParquetFiles(tmp_path, missing_columns=True))
    assert table.to_arrow().to_pydict() == {
        "a": [1, 2, 3, 4], "b": ["x", "y", None, None], "c": [None, None, 1.5, 2.5]
    }  # fmt: skip
    assert table.to_arrow(["c"]).to_pydict() == {"c": [None, None, 1.5, 2.5]}


def parquet(folder: Path) -> Any:
    return pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), folder / "t.parquet") or folder / "t.parquet"


def without_ending(folder: Path) -> Any:
    return parquet(folder).rename(folder / "part-0000")


def folder_without_endings(folder: Path) -> Any:
    without_ending(folder)
    return folder


def named_csv(folder: Path) -> Any:
    return parquet(folder).rename(folder / "t.csv")


def list_of_paths(folder: Path) -> Any:
    for i in (1, 2):
        pq.write_table(pa.table({"a": [i], "b": ["xy"[i - 1]]}), folder / f"{i}.parquet")
    return [folder / "1.parquet", str(folder / "2.parquet")]


def glob(folder: Path) -> Any:
    list_of_paths(folder)
    (folder / "x.txt").write_text("no table")
    return str(folder / "[12].parq*")


def deep_glob(folder: Path) -> Any:
    (folder / "p" / "q").mkdir(parents=True)
    list_of_paths(folder / "p" / "q")
    return f"file://{folder}/**/*.parquet"


def arrow_dataset(folder: Path) -> Any:
    list_of_paths(folder)
    return pads.dataset(folder, format="parquet")


def json_lines(folder: Path) -> Any:
    (folder / "t.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n')
    return folder / "t.jsonl"


def feather_file(folder: Path) -> Any:
    feather.write_feather(pa.table({"a": [1, 2], "b": ["x", "y"]}), folder / "t.feather")
    return folder / "t.feather"


def text_ending(folder: Path) -> Any:
    (folder / "t.dat").write_text("a\tb\n1\tx\n2\ty\n")
    return folder / "t.dat"


INPUTS = (parquet, without_ending, folder_without_endings, named_csv, list_of_paths, glob, deep_glob, arrow_dataset)


def json_array(folder: Path) -> Any:
    (folder / "t.json").write_text('[\n  {"a": 1, "b": "x"},\n  {"b": "y", "a": 2}\n]')
    return folder / "t.json"


@pytest.mark.parametrize("make", [*INPUTS, json_lines, json_array, feather_file, text_ending], ids=lambda f: f.__name__)
def test_read_so(make: Callable[[Path], Any], tmp_path: Path) -> None:
    table = as_table(make(tmp_path))
    assert table.to_arrow().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert [f.type for f in table.schema] == [pa.int64(), TEXT]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.json", b'[{"a": 1}, 2]', "neither an array of objects.*lines=True"),
        ("t.json", b'[{"a": 1},', "no readable JSON"),
        ("t.jsonl", b'{"a": 1}\n{"a": [}\n', "no readable JSON lines"),
        ("t.jsonl", b'{"a": {"b": 1}}\n{"a": {"b": 2}}\n', "'a' holds nested values.*flatten"),
        ("t.xlsx", b"PK\3\4" + b"\0" * 50, "a workbook.*save the sheet as CSV"),
        ("t.arrow", b"ARROW1" + b"\0" * 50, "no readable Arrow file"),
    ],
)
def test_refused_with_a_cure(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        as_table(tmp_path / name)


def test_lists_and_globs_at_fault(tmp_path: Path) -> None:
    paths = list_of_paths(tmp_path)
    json_lines(tmp_path)
    with pytest.raises(DataError, match=r"no file matches .*\*\.csv"):
        as_table(f"{tmp_path}/*.csv")
    with pytest.raises(DataError, match="holds both json and parquet files"):
        as_table([paths[0], tmp_path / "t.jsonl"])
    with pytest.raises(DataError, match="no file or folder"):
        as_table([paths[0], tmp_path / "gone.parquet"])
