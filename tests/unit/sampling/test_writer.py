"""The resumable folder of Parquet: a kill costs only the files in hand; damage and full disks are seen."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outcome import value_of

from raysynth import GaussianCopula, load_synthetic_model
from raysynth.data.table import as_table
from raysynth.errors import ParameterError, StorageError
from raysynth.files.storage import place
from raysynth.sampling import chunks, writer
from raysynth.sampling.parquet_files import MOST_PARTITIONS, check_partition, write_part
from raysynth.sampling.writer import chunks_of_a_file, verify
from raysynth.schema.columns import Kind

ROWS = 950  # ten chunks of 100 in five files

KILLED = """
import sys, threading
from raysynth import load_synthetic_model
from raysynth.sampling import chunks, writer

make_chunk = chunks.make_chunk

def make_until_the_fifth(model, segments, seed, chunk):
    if chunk >= 5:
        threading.Event().wait()  # until the parent kills this process
    return make_chunk(model, segments, seed, chunk)

chunks.CHUNK_ROWS = 100
writer.make_chunk = make_until_the_fifth
load_synthetic_model(sys.argv[1]).sample_to(sys.argv[2], 950, seed=5, rows_per_file=200, where="local")
"""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 100)


def write(model: Any, folder: Path, n: int = ROWS, **more: Any) -> writer.Manifest:
    return model.sample_to(folder, n, **{"seed": 5, "rows_per_file": 200, "where": "local", **more})


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.parquet")}


def test_manifest_says_what_was_written(copula: GaussianCopula, tmp_path: Path) -> None:
    manifest = write(copula, tmp_path / "rows")
    assert manifest == verify(tmp_path / "rows")
    assert (manifest.rows, manifest.seed, len(manifest.files)) == (ROWS, 5, 5)
    assert [f.rows for f in manifest.files] == [200, 200, 200, 200, 150]
    assert sum(pq.ParquetFile(p).metadata.num_rows for p in (tmp_path / "rows").glob("*.parquet")) == ROWS
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "rows"), copula.sample(ROWS, seed=5), check_dtype=False, check_categorical=False
    )


def wait_for(condition: Any, seconds: float = 60) -> None:
    begun, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - begun < seconds, "the process that is to be killed did not come that far"
        pause.wait(0.02)


def test_killed_writer_is_resumed(copula: GaussianCopula, tmp_path: Path) -> None:
    """SIGKILL once two of five files are recorded and others are in hand; then the same call again."""
    folder = tmp_path / "rows"
    copula.save(tmp_path / "model")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "model"), str(folder)])
    try:
        records = [folder / "_raysynth" / f"part-0000{i}.json" for i in (0, 1)]
        wait_for(
            lambda: process.poll() is not None or (all(r.exists() for r in records) and any(folder.glob(".part*")))
        )
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert any(folder.glob(".part*")), "a file in hand is left under its temporary name"
    with pytest.raises(StorageError, match="no finished manifest"):
        verify(folder)
    before = {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob("part*.parquet")}
    assert sorted(before) == ["part-00000.parquet", "part-00001.parquet"]
    manifest = write(load_synthetic_model(tmp_path / "model"), folder)
    assert {n: ((folder / n).stat().st_ino, (folder / n).stat().st_mtime_ns) for n in before} == before
    assert not any(folder.glob(".part*"))
    undisturbed = write(copula, tmp_path / "undisturbed")
    assert content(folder) == content(tmp_path / "undisturbed")
    assert manifest == undisturbed == verify(folder)


def test_finished_run_writes_nothing_again(copula: GaussianCopula, tmp_path: Path) -> None:
    first = write(copula, tmp_path / "rows")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "rows").glob("*.parquet")}
    assert write(copula, tmp_path / "rows") == first
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "rows").glob("*.parquet")} == before


def test_lost_and_cut_files_are_written_again(copula: GaussianCopula, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    first = write(copula, folder)
    whole = content(folder)
    (folder / "part-00001.parquet").unlink()
    (folder / "part-00003.parquet").write_bytes(whole["part-00003.parquet"][:-7])
    (folder / "_raysynth" / "part-00004.json").write_text("{}")
    (folder / "_raysynth" / "part-00000.json").write_text('{"name": ')
    assert write(copula, folder) == first
    assert content(folder) == whole


def test_damage_is_named(copula: GaussianCopula, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    write(copula, folder)
    (folder / "part-00000.parquet").unlink()
    damaged = bytearray((folder / "part-00002.parquet").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "part-00002.parquet").write_bytes(damaged)
    (folder / "other.parquet").write_bytes(b"")
    with pytest.raises(StorageError) as error:
        verify(folder)
    for words in ("part-00000.parquet is missing", "part-00002.parquet is damaged", "other.parquet is not of this run"):
        assert words in str(error.value)


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"model": "", "seed": 1, "rows": 1, "files": [{"a": 1}]}', "{"])
def test_manifest_that_is_none(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "_raysynth").mkdir()
    (tmp_path / "_raysynth" / "manifest.json").write_text(manifest)
    with pytest.raises(StorageError, match="no finished manifest"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"n": 900}, "rows"),
        ({"seed": 6}, "seed"),
        ({"rows_per_file": 300}, "chunks_per_file"),
        ({"compression": "snappy"}, "compression"),
        ({"row_group_rows": 50}, "row_group_rows"),
        ({"partition_by": "town"}, "partition_by"),
        ({"conditions": {"town": "Bonn"}}, "conditions"),
    ],
)
def test_folder_of_another_plan_is_refused(
    copula: GaussianCopula, tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    write(copula, tmp_path)
    before = content(tmp_path)
    with pytest.raises(StorageError, match=f"another run .*{word}"):
        write(copula, tmp_path, **change)
    assert content(tmp_path) == before


def test_folder_of_another_model_is_refused(copula: GaussianCopula, people: pd.DataFrame, tmp_path: Path) -> None:
    write(copula, tmp_path)
    with pytest.raises(StorageError, match="another run .*model"):
        write(GaussianCopula(seed=2, verbose=False).fit(people[:2000]), tmp_path)


def test_foreign_parquet_is_not_touched(copula: GaussianCopula, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"keep")
    with pytest.raises(StorageError, match="no raysynth run"):
        write(copula, tmp_path)
    assert (tmp_path / "mine.parquet").read_bytes() == b"keep"


def test_a_node_with_a_disk_of_its_own_writes_nothing_that_nobody_would_find(
    copula: GaussianCopula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "open_folder", lambda folder, asked, any_seed: asked)  # the driver's, on another disk
    with pytest.raises(StorageError, match="not one folder for all nodes of the cluster.*s3://bucket"):
        write(copula, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_seed_drawn_by_the_first_run_is_kept(people: pd.DataFrame, tmp_path: Path) -> None:
    model = value_of(lambda: GaussianCopula(verbose=False).fit(people))
    first = write(model, tmp_path, seed=None)
    whole = content(tmp_path)
    (tmp_path / "part-00002.parquet").unlink()
    assert write(model, tmp_path, seed=None) == first
    assert content(tmp_path) == whole


def test_full_disk_keeps_what_is_finished(
    copula: GaussianCopula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC while the chunks of the fourth file are written; after room is made the run is completed."""
    real = chunks.make_chunk

    def full(model: Any, segments: Any, seed: int, chunk: int) -> Any:
        if chunk >= 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(model, segments, seed, chunk)

    monkeypatch.setattr(writer, "make_chunk", full)
    with pytest.raises(StorageError, match="disk is full"):
        write(copula, tmp_path)
    kept = content(tmp_path)
    assert set(kept) >= {"part-00000.parquet"} and set(kept) <= {f"part-0000{i}.parquet" for i in range(3)}
    assert not any(tmp_path.glob(".*"))
    monkeypatch.setattr(writer, "make_chunk", real)
    write(copula, tmp_path)
    assert kept.items() <= content(tmp_path).items()


LIMITED = """
import resource, sys
from raysynth import load_synthetic_model
from raysynth.errors import StorageError
model = load_synthetic_model(sys.argv[1])
model.sample(1, seed=1)  # compiles what is compiled at its first call, whose cache is a file, too
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    model.sample_to(sys.argv[2], 20_000, seed=1, where="local")
except StorageError as error:
    print(error)
"""


def test_file_size_limit_of_the_system(copula: GaussianCopula, tmp_path: Path) -> None:
    """A write that the operating system itself refuses."""
    copula.save(tmp_path / "model")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "model"), str(tmp_path / "rows")]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert "cannot write" in answer.stdout and "part-00000.parquet" in answer.stdout, answer.stdout + answer.stderr
    assert [p.name for p in (tmp_path / "rows").iterdir()] == ["_raysynth"]


@pytest.mark.parametrize(
    "change",
    [
        {"rows_per_file": 0},
        {"rows_per_file": 1.5},
        {"row_group_rows": 0},
        {"rows_per_file": True},
        {"compression": "zip"},
    ],
)
def test_arguments_are_checked_before_writing(copula: GaussianCopula, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="rows_per_file|row_group_rows|compression"):
        write(copula, tmp_path / "rows", **change)
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(("asked", "groups"), [(100, [100, 100]), (70, [70, 70, 60]), (150, [150, 50]), (900, [200])])
def test_row_groups_have_the_size_asked_for(
    copula: GaussianCopula, tmp_path: Path, asked: int, groups: list[int]
) -> None:
    write(copula, tmp_path, 400, row_group_rows=asked)
    metadata = pq.ParquetFile(tmp_path / "part-00001.parquet").metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == groups
    assert metadata.row_group(0).column(2).statistics is not None, "which readers skip row groups by"
    assert pd.read_parquet(tmp_path).equals(pd.read_parquet(rewritten(copula, tmp_path.with_name("other"), 400)))


def rewritten(model: Any, folder: Path, n: int) -> Path:
    """The same rows with the row groups of the default."""
    write(model, folder, n)
    return folder


@pytest.mark.parametrize("column", ["town", "smoker"])
def test_partitions_hold_the_same_rows(copula: GaussianCopula, tmp_path: Path, column: str) -> None:
    """Folders COLUMN=VALUE, which pandas and raysynth read; together they are the rows of the plain sample."""
    manifest = write(copula, tmp_path / "rows", partition_by=column)
    assert manifest == verify(tmp_path / "rows")
    assert {f.name.partition("/")[0].partition("=")[0] for f in manifest.files} == {column}
    assert sum(f.rows for f in manifest.files) == ROWS
    plain = copula.sample(ROWS, seed=5)
    keys = ["person_id"]
    for found in (pd.read_parquet(tmp_path / "rows"), as_table(tmp_path / "rows").to_arrow().to_pandas()):
        both = found.sort_values(keys).astype({column: str}), plain.sort_values(keys).astype({column: str})
        assert sorted(found.columns) == sorted(plain.columns)
        assert both[0][column].str.lower().tolist() == both[1][column].str.lower().tolist()
        np.testing.assert_array_equal(both[0]["income"].to_numpy(), both[1]["income"].to_numpy())


def test_lost_file_of_a_partition_is_written_again(copula: GaussianCopula, tmp_path: Path) -> None:
    first = write(copula, tmp_path, partition_by="town")
    lost = tmp_path / "town=Bonn" / "part-00002.parquet"
    whole = lost.read_bytes()
    lost.unlink()
    with pytest.raises(StorageError, match="town=Bonn/part-00002.parquet is missing"):
        verify(tmp_path)
    assert write(copula, tmp_path, partition_by="town") == first and lost.read_bytes() == whole
    (tmp_path / "town=Bonn" / "more.parquet").write_bytes(b"")
    with pytest.raises(StorageError, match="town=Bonn/more.parquet is not of this run"):
        verify(tmp_path)


@pytest.mark.parametrize("column", ["income", "person_id", "nowhere"])
def test_columns_of_many_values_cannot_be_folders(copula: GaussianCopula, tmp_path: Path, column: str) -> None:
    with pytest.raises(ParameterError, match=f"partition_by '{column}'.*valid here: .*town"):
        write(copula, tmp_path / "rows", partition_by=column)
    assert not (tmp_path / "rows").exists()


def test_a_column_of_as_many_values_as_there_may_be_folders_divides_rows() -> None:
    columns = {
        n: SimpleNamespace(name=n, kind=Kind.CATEGORICAL, cardinality=c) for n, c in (("a", MOST_PARTITIONS), ("b", 2))
    }
    value_of(lambda: check_partition("a", SimpleNamespace(columns=tuple(columns.values()))))  # type: ignore[arg-type]
    columns["a"].cardinality += 1
    with pytest.raises(ParameterError, match=f"at most {MOST_PARTITIONS} values; valid here: b$"):
        check_partition("a", SimpleNamespace(columns=tuple(columns.values())))  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_compression_is_what_was_asked_for(copula: GaussianCopula, tmp_path: Path, compression: str) -> None:
    write(copula, tmp_path, 150, compression=compression)
    found = pq.ParquetFile(tmp_path / "part-00000.parquet").metadata.row_group(0).column(2).compression
    assert found.lower() == {"none": "uncompressed"}.get(compression, compression)


def test_no_rows_are_one_empty_file(copula: GaussianCopula, tmp_path: Path) -> None:
    manifest = write(copula, tmp_path, 0)
    assert [f.rows for f in manifest.files] == [0]
    assert {p.name for p in (tmp_path / "_raysynth").iterdir()} == {"plan.json", "part-00000.json", "manifest.json"}
    assert list(pd.read_parquet(tmp_path)) == list(copula.schema_.names)


def test_many_conditions_make_a_short_plan(copula: GaussianCopula, tmp_path: Path) -> None:
    given = pd.DataFrame({"age": list(range(20, 70)) * 4, "town": ["Bonn", "Celle"] * 100})
    copula.sample_to(tmp_path, conditions=given, seed=1, where="local")
    plan = json.loads((tmp_path / "_raysynth" / "plan.json").read_text())
    assert plan["conditions"].startswith("sha256 ") and len(plan["conditions"]) < 100
    written = pd.read_parquet(tmp_path)
    assert written.age.tolist() == given.age.tolist()
    assert written.town.tolist() == given.town.tolist()


def test_types_of_the_files_are_those_of_the_schema(copula: GaussianCopula, tmp_path: Path) -> None:
    write(copula, tmp_path, 150)
    found = pq.read_schema(tmp_path / "part-00000.parquet")
    for column in copula.schema_.columns:
        if column.dtype != "string":
            assert found.field(column.name).type == column.arrow_type
        else:
            assert str(found.field(column.name).type).startswith("dictionary<values=string, indices=int32")


@pytest.mark.parametrize(("n_chunks", "of_a_file"), [(1, 1), (32, 1), (33, 2), (77, 3), (512, 16), (15_259, 16)])
def test_files_are_many_enough_for_all_cores_and_of_a_million_rows_at_most(n_chunks: int, of_a_file: int) -> None:
    assert chunks_of_a_file(n_chunks) == of_a_file
    assert chunks_of_a_file(1) == 1


@pytest.mark.parametrize(
    ("values", "through"),
    [([1, 1], True), ([1, 2], False), ([1, 1, 2, 3], False), ([*range(2048), *range(2049)], True)],
)
def test_a_dictionary_is_for_numbers_of_which_each_comes_twice(
    values: list[int], through: bool, tmp_path: Path
) -> None:
    """On average, of the first 4,096 rows."""
    table = pa.table({"x": values})
    write_part(place(tmp_path), "part.parquet", [table], table.schema, compression="none", row_group_rows=5000)
    written = pq.read_metadata(tmp_path / "part.parquet").row_group(0).column(0)
    assert ("RLE_DICTIONARY" in written.encodings) == through


def test_only_values_that_repeat_are_written_through_a_dictionary(tmp_path: Path) -> None:
    table = pa.table({"few": np.arange(9_000) % 7, "many": np.arange(9_000), "text": pa.array(["a", "b", "c"] * 3_000)})
    table = table.set_column(2, "text", table.column("text").dictionary_encode())
    write_part(place(tmp_path), "part.parquet", [table], table.schema, compression="zstd", row_group_rows=5_000)
    groups = pq.read_metadata(tmp_path / "part.parquet")
    kept = {
        groups.row_group(g).column(c).path_in_schema: "RLE_DICTIONARY" in groups.row_group(g).column(c).encodings
        for g in range(2)
        for c in range(3)
    }
    assert kept == {"few": True, "many": False, "text": True}
    assert pq.read_table(tmp_path / "part.parquet").equals(table.cast(table.schema))
