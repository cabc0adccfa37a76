"""Tables: every input gives the same blocks, and bad ones an error that names the column or file and the cure."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from raysynth.data import fragments
from raysynth.data.arrow_types import TEXT
from raysynth.data.fragments import Table
from raysynth.data.sources import csv as csv_source
from raysynth.data.sources.files import open_filesystem
from raysynth.data.table import as_table
from raysynth.errors import DataError, SchemaError, StorageError
from raysynth.running.runner import for_each_fragment, iter_tasks, run_tasks, summarise
from raysynth.statistics import TableSummary, collect

N = 500


def frame(n: int = N) -> pd.DataFrame:
    """Sampled with a fixed seed: text with leading blanks, numbers, missing values."""
    rng = np.random.default_rng(4)
    result = pd.DataFrame(
        {
            "name": rng.choice([" a", "b", "c,d", 'q"e'], n),
            "age": rng.integers(0, 99, n),
            "pay": rng.gamma(2, 100, n).round(2),
            "ok": rng.random(n) < 0.5,
            "day": pd.Timestamp("2020-03-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D"),
        }
    )
    result.loc[rng.random(n) < 0.1, "name"] = None
    result.loc[rng.random(n) < 0.1, "pay"] = np.nan
    return result


def signature(table: Table) -> list[tuple[Any, ...]]:
    statistics = collect(table)
    return [(c.name, c.missing, c.n_distinct, c.categories().value.values) for c in statistics.columns.values()]


@pytest.fixture(scope="module")
def expected() -> list[tuple[Any, ...]]:
    return signature(as_table(frame()))


def as_parquet_file(folder: Path) -> Any:
    frame().to_parquet(folder / "t.parquet", row_group_size=100)
    return folder / "t.parquet"


def as_parquet_folder(folder: Path) -> Any:
    (folder / "sub").mkdir()
    frame()[:200].to_parquet(folder / "a.parquet")
    frame()[200:].to_parquet(folder / "sub" / "b.parquet", row_group_size=50)
    (folder / "_SUCCESS").touch()
    return str(folder)


def as_uri(folder: Path) -> Any:
    return f"file://{as_parquet_file(folder)}"


def as_csv(folder: Path) -> Any:
    frame().to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def as_csv_folder(folder: Path) -> Any:
    frame()[:200].to_csv(folder / "a.csv", index=False)
    frame()[200:].to_csv(folder / "b.csv.gz", index=False)
    return folder


def as_semicolon_csv(folder: Path) -> Any:
    frame().to_csv(folder / "t.csv", index=False, sep=";")
    return folder / "t.csv"


def as_arrow(folder: Path) -> Any:
    return pa.Table.from_pandas(frame(), preserve_index=False)


def as_arrow_in_small_chunks(folder: Path) -> Any:
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    return pa.concat_tables([table.slice(i, 7) for i in range(0, N, 7)])


def as_categories(folder: Path) -> Any:
    return frame().astype({"name": "category"})


SHAPES = (
    *(as_parquet_file, as_parquet_folder, as_uri, as_csv, as_csv_folder, as_semicolon_csv),
    *(as_arrow, as_arrow_in_small_chunks, as_categories),
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_every_input_gives_the_same_table(shape: Callable[[Path], Any], tmp_path: Path, expected: list[Any]) -> None:
    table = as_table(shape(tmp_path))
    assert table.n_rows == N
    assert table.schema.field("name").type == TEXT
    found = signature(table)
    if "csv" in shape.__name__:  # whole days are dates in CSV
        found[4], expected = (*found[4][:3],), [*expected[:4], expected[4][:3]]
    assert found == expected


def test_a_large_csv_is_streamed_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: list[Any]
) -> None:
    monkeypatch.setattr(csv_source, "WHOLE_BYTES", 0)
    monkeypatch.setattr(csv_source, "_STREAM_BLOCK", 4096)
    table = as_table(as_csv(tmp_path))
    assert table.n_rows is None
    assert signature(table)[:4] == expected[:4]


def test_a_streamed_csv_that_disagrees_later_names_the_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_source, "WHOLE_BYTES", 0)
    monkeypatch.setattr(csv_source, "_STREAM_BLOCK", 1000)
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 2000 + "1,x\n")
    with pytest.raises(DataError, match="column 'b'.*Parquet"):
        collect(as_table(tmp_path / "t.csv"))


def test_types_of_a_csv_come_from_all_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,t,nan\n" + "1,,10:30:00,nan\n" * 200_000 + "x,2.5,11:00:00,nan\n")
    table = as_table(tmp_path / "t.csv")
    assert [str(t) for t in table.schema.types[1:2]] == ["double"]
    assert table.schema.field("a").type == TEXT and table.schema.field("t").type == TEXT
    assert pa.types.is_null(table.schema.field("nan").type)


def test_columns_can_be_selected_mapped_and_blocks_pickle(tmp_path: Path) -> None:
    table = as_table(as_parquet_folder(tmp_path)).select(["pay", "age"])
    assert table.names == ("pay", "age")
    doubled = table.mapped(double_age)
    assert doubled.schema.field("age").type == pa.float64()
    for t in (table, doubled, pickle.loads(pickle.dumps(doubled))):
        assert [b.schema.names for f in t.fragments for b in f.blocks(["age"])] == [["age"]] * len(list(t.blocks()))
    ages = doubled.to_arrow(["age"])["age"].to_numpy()
    np.testing.assert_array_equal(ages, frame()["age"] * 2.0)
    with pytest.raises(SchemaError, match="no column.*it has: pay, age"):
        table.select(["gone"])


def double_age(block: pa.Table) -> pa.Table:
    at = block.schema.get_field_index("age")
    return block.set_column(at, "age", pa.array(block["age"].to_numpy() * 2.0))


def test_pandas_dtypes_are_remembered() -> None:
    data = frame().astype({"age": "Int16", "name": "category"})
    assert as_table(data).pandas_dtypes["age"] == "Int16"
    assert as_table(data).pandas_dtypes["name"] == "category"


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (pd.array([1, None], dtype="Int8"), pa.int8()),
        (pd.array([True, None], dtype="boolean"), pa.bool_()),
        (pd.Series([True, None], dtype=object), pa.bool_()),
        (pd.Series(["a", np.nan], dtype=object), TEXT),
        (pd.Categorical(["nan", None]), TEXT),
        (pd.Categorical([3, 5]), pa.int64()),
        (pd.Series([Decimal("1.50"), None], dtype=object), pa.decimal128(3, 2)),
        (pd.to_datetime(["2020-01-01", None]).tz_localize("Asia/Tokyo"), pa.timestamp("us", "Asia/Tokyo")),
        (pd.to_timedelta([1, None], unit="s"), pa.duration("us")),
        (pd.Series([dt.date(2020, 1, 1), None], dtype=object), pa.date32()),
        (pd.array([0.0, 1.0], dtype=pd.SparseDtype(float)), pa.float64()),
        (np.array([1, 2], dtype=np.float16), pa.float32()),
    ],
    ids=str,
)
def test_types_of_frames(values: Any, type_: pa.DataType) -> None:
    table = as_table(pd.DataFrame({"x": values}))
    assert table.schema.field("x").type == type_
    assert table.to_arrow()["x"].null_count == int(pd.Series(values).isna().sum())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"a": [1]}, "builtins.dict.*DataFrame"),
        (pd.Series([1, 2]), "Series.*DataFrame"),
        (np.zeros((2, 2)), "ndarray.*DataFrame"),
        (pd.DataFrame(), "no columns"),
        (pd.DataFrame({"a": []}), "0 rows.*at least 2"),
        (pd.DataFrame({"a": [1]}), "1 row;.*at least 2"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "unique.*a"),
        (pd.DataFrame([[1], [2]], columns=[("a", 1)]), "must be text or numbers.*map"),
        (pd.DataFrame({"": [1, 2]}), "empty name"),
        (pd.DataFrame({"a": [1, "x", None]}, dtype=object), "'a' mixes types.*int.*str|'a' mixes types.*str.*int"),
        (pd.DataFrame({"a": [[1], [2]]}), "'a' holds nested.*flatten"),
        (pd.DataFrame({"a": [{"k": 1}, {}]}), "'a' holds nested.*flatten"),
        (pd.DataFrame({"a": [b"x", b"y"]}), "'a' holds binary"),
        (pd.DataFrame({"a": [2**70, 1]}, dtype=object), "'a'.*64 bits"),
        (pd.DataFrame({"a": [1j, 2j]}), "'a'.*cannot be modelled"),
        (pd.DataFrame({"a": ["b", "c\udc80"]}, dtype=object), "'a' holds text that is no Unicode.*encode"),
        (pd.DataFrame({"a": [dt.time(1), dt.time(2)]}), "'a' holds times of day.*timedelta"),
        (pa.table({"a": pa.array([[1], [2]])}), "'a' holds nested"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_bad_tables_in_memory(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_table(data)


def test_a_scanner_of_a_dataset_is_read_with_its_filter() -> None:
    rows = ds.dataset(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}))
    assert as_table(rows.scanner(columns=["b"], filter=ds.field("a") > 1)).to_arrow().to_pydict() == {"b": ["y", "z"]}


def test_bad_paths(tmp_path: Path) -> None:
    def fails(name: str, words: str, content: bytes | None = None) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            collect(as_table(tmp_path / name))

    fails("gone.parquet", "no file or folder.*gone")
    fails("a.parquet", "named like a Parquet file, but is none", b"hello world")
    fails("b.parquet", "b.parquet.*no readable Parquet", b"PAR1" + b"\0" * 100)
    fails("c.xlsx", "a workbook.*save the sheet as CSV", b"PK\3\4\0\0")
    fails("d.csv", "d.csv' is empty", b"")
    fails("e.csv", "0 rows", b"a,b\n")
    fails("f.csv", "f.csv.*Expected 2 columns", b"a,b\n1,2\n1,2,3\n")
    fails("g.csv", "unique.*a", b"a,a\n1,2\n3,4\n")
    fails("i.csv", "begins like a zip archive", b"PK\3\4\0\0\0")
    (tmp_path / "empty").mkdir()
    fails("empty", "no Parquet or CSV file")
    with pytest.raises(DataError, match="nosuch://.*URI"):
        as_table("nosuch://bucket/x")


def test_row_groups_of_any_size_are_fragments_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One group of 5,000 rows, and 40 of 25, where a block has 1,000: no fragment of a few rows, none of all."""
    monkeypatch.setattr(fragments, "_BLOCK_ROWS", 1000)
    monkeypatch.setattr(fragments, "_FEWEST_ROWS", 1000)
    rows = pa.table({"n": range(6000), "text": [str(i % 7) for i in range(6000)]})
    pq.write_table(rows[:5000], tmp_path / "a.parquet", row_group_size=5000)
    pq.write_table(rows[5000:], tmp_path / "b.parquet", row_group_size=25)
    table = as_table(tmp_path)
    assert [f.n_rows for f in table.fragments] == [1250, 1250, 1250, 1250, 1000]
    found = [pa.Table.from_batches(list(f.blocks())) for f in pickle.loads(pickle.dumps(table.fragments))]
    assert [f.num_rows for f in found] == [1250, 1250, 1250, 1250, 1000]
    assert table.to_arrow().cast(rows.schema).equals(rows)
    assert table.to_arrow(["n"]).column("n").to_pylist() == list(range(6000))


def test_a_damaged_parquet_page_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(0).random(20_000)}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet"):
        collect(as_table(path))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (pa.table({"a": [1, 2]}), "'b' is missing from.*2.parquet"),
        (pa.table({"a": [1, 2], "b": [1.5, 2.5]}), "'b' is text in .*1.parquet' but double in .*2.parquet"),
    ],
)
def test_files_of_different_schemas(second: pa.Table, words: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "1.parquet")
    pq.write_table(second, tmp_path / "2.parquet")
    with pytest.raises(DataError, match=words):
        as_table(tmp_path)


def test_a_column_without_values_in_one_file_takes_the_type_of_the_others(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.nulls(2)}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["x", "y"]}), tmp_path / "2.parquet")
    table = as_table(tmp_path)
    assert table.schema.field("a").type == TEXT
    assert collect(table).columns["a"].missing == 2


def test_mixed_folders(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "1.parquet")
    pacsv.write_csv(pa.table({"a": [1, 2]}), tmp_path / "2.csv")
    with pytest.raises(DataError, match="both Parquet and CSV"):
        as_table(tmp_path)


def partitioned(folder: Path, **values: str) -> None:
    """A file of two rows under folders COLUMN=VALUE."""
    target = folder.joinpath(*(f"{name}={value}" for name, value in values.items()))
    target.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, 2]}), target / "1.parquet")


def test_values_of_folders_are_columns(tmp_path: Path) -> None:
    partitioned(tmp_path, year="2020", town="St%20Gallen", old="true", code="007")
    partitioned(tmp_path, year="2021", town="__HIVE_DEFAULT_PARTITION__", old="false", code="12")
    table = as_table(tmp_path)
    assert table.names == ("a", "year", "town", "old", "code") and table.n_rows == 4
    assert table.to_arrow().to_pydict() == {
        "a": [1, 2, 1, 2],
        "year": [2020, 2020, 2021, 2021],
        "town": ["St Gallen", "St Gallen", None, None],
        "old": [True, True, False, False],
        "code": ["007", "007", "12", "12"],
    }
    assert table.to_arrow(["town", "year"]).to_pydict()["year"] == [2020, 2020, 2021, 2021]
    assert collect(table.select(["year"])).columns["year"].n_distinct == 2
    assert [f.type for f in table.schema][1:] == [pa.int64(), TEXT, pa.bool_(), TEXT]


def test_a_column_of_folders_may_begin_as_hidden_files_do(tmp_path: Path) -> None:
    partitioned(tmp_path, _month="3")
    partitioned(tmp_path, _temporary="", a="1")  # beside it: what a writer left behind
    (tmp_path / "_temporary=").rename(tmp_path / "_temporary")
    assert as_table(tmp_path).to_arrow().to_pydict() == {"a": [1, 2], "_month": [3, 3]}


def test_folders_that_differ_or_repeat_a_column_are_named(tmp_path: Path) -> None:
    partitioned(tmp_path / "p", year="2020")
    partitioned(tmp_path / "p", month="1")
    with pytest.raises(DataError, match="year=2020.*folders of different columns"):
        as_table(tmp_path / "p")
    partitioned(tmp_path / "q", a="5")
    with pytest.raises(DataError, match="column 'a' is in the files and in the names of folders"):
        as_table(tmp_path / "q")
    (tmp_path / "r" / "year=2020").mkdir(parents=True)
    pacsv.write_csv(pa.table({"a": [1, 2]}), tmp_path / "r" / "year=2020" / "1.csv")
    with pytest.raises(DataError, match="for Parquet only"):
        as_table(tmp_path / "r")


def test_unreachable_storage_is_a_storage_error() -> None:
    with pytest.raises((StorageError, DataError), match="hdfs"):
        open_filesystem("hdfs://nowhere.invalid:1/x")


def test_passes_in_this_process(tmp_path: Path) -> None:
    table = as_table(as_parquet_folder(tmp_path))
    summary = summarise(table, lambda: TableSummary(table.schema), where="local")
    assert summary.n_rows == N
    assert for_each_fragment(table, lambda i, blocks: (i, sum(b.num_rows for b in blocks)), where="local") == [(0, N)]
    assert run_tasks(lambda x: x * x, range(20), where="local") == [x * x for x in range(20)]
    assert sorted(iter_tasks(str, [3, 1, 2], where="local")) == [(0, "3"), (1, "1"), (2, "2")]


def test_a_task_that_fails_raises_its_own_error() -> None:
    def fails(x: int) -> int:
        raise DataError(f"column '{x}'")

    with pytest.raises(DataError, match="column"):
        run_tasks(fails, range(8), where="local")


@pytest.mark.parametrize("form", ["arrow", "codes", "parquet", "feather"])
def test_under_a_budget_bytes_that_are_no_text_are_missing_and_elsewhere_an_error(form: str, tmp_path: Path) -> None:
    town = pa.array([b"east", b"west", b"\xff\xfe", None] * 3, pa.binary()).view(pa.string())
    rows = pa.table({"town": town.dictionary_encode() if form == "codes" else town, "age": pa.array(range(12))})
    data: Any = rows
    if form == "parquet":
        pq.write_table(rows, data := tmp_path / "rows.parquet")
    elif form == "feather":
        feather.write_feather(rows, data := tmp_path / "rows.feather")
    read = as_table(data, private=True).to_arrow()
    assert read.column("town").to_pylist() == ["east", "west", None, None] * 3 and read.column("age").null_count == 0
    with pytest.raises(DataError, match="'town'|'.*rows"):
        collect(as_table(data))
