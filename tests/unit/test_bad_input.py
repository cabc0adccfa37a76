"""Bad input on the whole user path: class of the error, its message (which column, what to do), nothing half-written.

One test for each entry of the list: tables, schemas, conditions, model files, paths, disks, clusters. The method is the
copula wherever any method would do.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import GaussianCopula, TableSchema, generate_synthetic_data, load_synthetic_model
from raysynth.errors import (
    ClusterError,
    ConditionError,
    DataError,
    InputError,
    ModelFileError,
    NotFittedError,
    ParameterError,
    RaysynthError,
    SchemaError,
    StorageError,
)
from raysynth.methods.base import Synthesizer

N = 400


def people(n: int = N) -> pd.DataFrame:
    """A sampled table: a category, a whole number, a decimal, a flag; sampled with a fixed seed."""
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "region": rng.choice(["north", "south", "west"], n, p=[0.5, 0.3, 0.2]),
            "age": rng.integers(18, 90, n),
            "income": rng.gamma(2, 900, n).round(2),
            "smoker": rng.random(n) < 0.3,
        }
    )


def fitted(data: Any, **parameters: Any) -> Synthesizer:
    return GaussianCopula(seed=1, verbose=False, **parameters).fit(data)


@pytest.fixture(scope="module")
def model() -> Synthesizer:
    return fitted(people())


def assert_says(error: pytest.ExceptionInfo[BaseException], *words: str) -> None:
    """The message holds each word: the column or file at fault and the cure."""
    message = str(error.value)
    assert [w for w in words if w not in message] == [], message
    assert isinstance(error.value, RaysynthError)


# ------------------------------------------------------------------------------------------------ columns and kinds


def test_missing_column_in_a_list() -> None:
    with pytest.raises(SchemaError) as error:
        fitted(people(), categorical_columns=["regoin"])
    assert_says(error, "'regoin'", "no such column", "region")


def test_column_in_both_lists() -> None:
    with pytest.raises(SchemaError) as error:
        fitted(people(), categorical_columns=["age"], continuous_columns=["age"])
    assert_says(error, "'age'", "keep one")


def test_text_column_listed_as_continuous() -> None:
    with pytest.raises(SchemaError) as error:
        fitted(people(), continuous_columns=["region"])
    assert_says(error, "'region'")


def test_schema_with_a_column_that_the_table_lacks() -> None:
    schema = fitted(people()).schema_
    with pytest.raises(SchemaError) as error:
        fitted(people().drop(columns="income"), schema=schema)
    assert_says(error, "'income'")


def test_schema_file_that_is_no_schema(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"columns": [{"name": "age", "kind": "numeric", "dtype": "int64"}]}')
    with pytest.raises(SchemaError) as error:
        fitted(people(), schema=path)
    assert_says(error, "'age'", "unknown kind 'numeric'", "continuous")
    path.write_text("{")
    with pytest.raises(SchemaError) as error:
        TableSchema.load(path)
    assert_says(error, "schema.json", "not valid JSON")


# ------------------------------------------------------------------------------------------------------------ tables


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("as_file", [False, True], ids=["frame", "csv"])
def test_table_of_no_or_one_row(n: int, as_file: bool, tmp_path: Path) -> None:
    data: Any = people(10).head(n)
    if as_file:
        data.to_csv(tmp_path / "few.csv", index=False)
        data = str(tmp_path / "few.csv")
    with pytest.raises(DataError) as error:
        fitted(data)
    assert_says(error, f"{n} row", "at least 2")


def test_table_without_columns() -> None:
    with pytest.raises(DataError) as error:
        fitted(pd.DataFrame(index=range(9)))
    assert_says(error, "no columns", "at least one")


@pytest.mark.parametrize("as_file", [False, True], ids=["frame", "csv"])
def test_repeated_column_names(as_file: bool, tmp_path: Path) -> None:
    data: Any = people()
    data.columns = ["region", "age", "age", "smoker"]
    if as_file:
        data.to_csv(tmp_path / "twice.csv", index=False)
        data = str(tmp_path / "twice.csv")
    with pytest.raises(DataError) as error:
        fitted(data)
    assert_says(error, "age", "rename")


def test_mixed_types_in_a_column() -> None:
    data = people()
    data["mixed"] = [1, "two"] * (N // 2)
    with pytest.raises(DataError) as error:
        fitted(data)
    assert_says(error, "'mixed'", "int", "str", "astype(str)")


def test_nested_values() -> None:
    data = people()
    data["tags"] = [["a", "b"]] * N
    with pytest.raises(DataError) as error:
        fitted(data)
    assert_says(error, "'tags'", "flatten")


def test_something_that_is_no_table() -> None:
    with pytest.raises(DataError) as error:
        fitted({"age": [1, 2]})
    assert_says(error, "dict", "pandas DataFrame")


def test_file_that_is_missing_or_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        fitted(str(tmp_path / "none.parquet"))
    assert_says(error, "none.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 this is no parquet file PAR1")
    with pytest.raises(DataError) as error:
        fitted(str(tmp_path / "broken.parquet"))
    assert_says(error, "broken.parquet")


@pytest.mark.parametrize("nothing", [np.nan, None, pd.NaT], ids=["nan", "none", "nat"])
def test_column_without_any_value(nothing: Any) -> None:
    data = people().assign(empty=[nothing] * N)
    model = fitted(data)
    assert "no value in any row" in model.schema_["empty"].reason
    assert model.sample(20, seed=1)["empty"].isna().all()


def test_infinite_values() -> None:
    data = people()
    data.loc[:9, "income"] = np.inf
    with pytest.raises(DataError) as error:
        fitted(data)
    assert_says(error, "'income'", "10 infinite values", "np.nan")
    income = fitted(data.replace([np.inf, -np.inf], np.nan)).sample(2000, seed=1)["income"]
    assert np.isinf(income).sum() == 0, "the cure works"
    assert 0 < income.isna().mean() < 0.06, "10 of 400 rows are missing: 0.025, with 2,000 draws +- 0.0035"


# ----------------------------------------------------- tables that are odd but usable: they fit, and come back alike


def test_constant_column_comes_back_constant() -> None:
    data = people().assign(country="CH", version=3)
    rows = fitted(data).sample(50, seed=1)
    assert set(rows["country"]) == {"CH"} and set(rows["version"]) == {3}


def test_unique_key_is_made_anew_and_never_copied() -> None:
    data = people().assign(patient=[f"P{7 * i:06d}" for i in range(N)])
    rows = fitted(data).sample(N, seed=1)
    assert rows["patient"].is_unique
    assert rows["patient"].str.fullmatch(r"P\d{6}").all()
    # 400 of the 10^6 keys of the pattern are real: chance alone would give 0.16 among 400; 10 is far beyond it
    assert rows["patient"].isin(data["patient"]).sum() < 10


def test_a_hundred_thousand_categories_stay_small(tmp_path: Path) -> None:
    n = 150_000
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"code": rng.integers(0, 100_000, n).astype(str), "age": rng.integers(0, 99, n)})
    data["code"] = "c" + data["code"]
    model = fitted(data, categorical_columns=["code"])
    rows = model.sample(2000, seed=1)
    model.save(tmp_path / "m")
    assert (tmp_path / "m").stat().st_size < 20e6
    assert len(rows) == 2000 and rows["age"].between(0, 99).all()


# --------------------------------------------------------------------------------------------- arguments and conditions


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"regoin": "north"}, ("'regoin'", "no such column")),
        ({"region": "nroth"}, ("'region'", "'nroth'")),
        ({"region": []}, ("'region'", "at least one value")),
        ({"age": (60, 20)}, ("'age'", "empty")),
        ({"age": (1000, 2000)}, ("'age'", "(1000, 2000)")),
        ({"age": "old"}, ("'age'", "'old'")),
        ({"region": ("a", "b")}, ("'region'", "list of values")),
        ("north", ("dict",)),
    ],
    ids=str,
)
def test_condition_that_cannot_be_met(model: Synthesizer, conditions: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ConditionError) as error:
        model.sample(5, conditions=conditions)
    assert_says(error, *words)


@pytest.mark.parametrize("n", [-1, 2.5, "10", None, True])
def test_number_of_rows_that_is_none(model: Synthesizer, n: Any) -> None:
    with pytest.raises(ParameterError) as error:
        model.sample(n)
    assert_says(error, "rows")


def test_more_rows_than_the_memory_holds(model: Synthesizer) -> None:
    with pytest.raises(ParameterError) as error:
        model.sample(10**12)
    assert_says(error, "GB of memory", "sample_to")


@pytest.mark.parametrize("seed", [-1, 2**70, "one", 0.5])
def test_seed_that_is_none(model: Synthesizer, seed: Any) -> None:
    with pytest.raises(ParameterError) as error:
        model.sample(5, seed=seed)
    assert_says(error, "seed", "whole number")


def test_sample_and_save_before_fit(tmp_path: Path) -> None:
    unfitted = GaussianCopula()
    for call in (
        lambda: unfitted.sample(5),
        lambda: unfitted.save(tmp_path / "m"),
        lambda: unfitted.sample_to(tmp_path / "f", 5),
    ):
        with pytest.raises(NotFittedError) as error:
            call()
        assert_says(error, "GaussianCopula", "call fit(data) first")
    assert os.listdir(tmp_path) == []


def test_unknown_method_and_parameter() -> None:
    with pytest.raises(ParameterError) as error:
        generate_synthetic_data(people(), method="magic")
    assert_says(error, "'magic'", "copula", "ctgan", "bayesian_network", "autoregressive")
    with pytest.raises(ParameterError) as error:
        generate_synthetic_data(people(), method="copula", n_binz=3)
    assert_says(error, "n_binz", "n_bins", "categorical_columns")


def test_evaluation_of_tables_that_do_not_match() -> None:
    from raysynth.evaluation import evaluate_synthetic_data

    with pytest.raises(InputError) as error:
        evaluate_synthetic_data(people(), people().drop(columns="income"))
    assert_says(error, "income")
    with pytest.raises(InputError) as error:
        evaluate_synthetic_data(people(), people(), target_columns="incme", metrics=["ml_efficacy"])
    assert_says(error, "incme")
    with pytest.raises(ParameterError) as error:
        evaluate_synthetic_data(people(), people(), metrics=["beauty"])
    assert_says(error, "beauty", "statistical_similarity")
    with pytest.raises(DataError) as error:
        evaluate_synthetic_data(people(), people().assign(income=np.inf))
    assert_says(error, "'income' of the synthetic table", "infinite")


# -------------------------------------------------------------------------------------------------------- model files


@pytest.fixture
def saved(model: Synthesizer, tmp_path: Path) -> Path:
    path = tmp_path / "model.raysynth"
    model.save(path)
    return path


def refused(path: Path) -> str:
    """The message of the `ModelFileError` that loading must raise."""
    with pytest.raises(ModelFileError) as error:
        load_synthetic_model(path)
    assert path.name in str(error.value)
    return str(error.value)


class Bomb:
    """What a hostile pickle looks like: loading it would make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def test_model_file_missing_or_of_another_kind(tmp_path: Path) -> None:
    refused(tmp_path / "none.raysynth")
    refused(tmp_path)
    (tmp_path / "text").write_text("hello")
    assert "was not written by raysynth" in refused(tmp_path / "text")


def test_pickle_in_place_of_a_model_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    refused(tmp_path / "model.pkl")
    assert not (tmp_path / "ran").exists()


def test_model_file_cut_or_damaged_anywhere(saved: Path) -> None:
    whole = saved.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        saved.write_bytes(whole[: int(share * len(whole))])
        refused(saved)
    for position in np.linspace(0, len(whole) - 1, 60).astype(int):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        saved.write_bytes(bytes(damaged))
        try:
            load_synthetic_model(saved)  # a byte that carries no meaning may differ
        except ModelFileError as error:
            assert saved.name in str(error)


def rewritten(saved: Path, change: Any, extra: dict[str, bytes] | None = None) -> Path:
    """The model file with its JSON changed and entries added, as a hostile author would."""
    with zipfile.ZipFile(saved) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(entries["model.json"])
    change(meta)
    entries["model.json"] = json.dumps(meta).encode()
    path = saved.with_name("changed.raysynth")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**entries, **(extra or {})}.items():
            archive.writestr(name, content)
    return path


def test_model_file_of_another_version_or_method(saved: Path) -> None:
    assert "format version 99" in refused(rewritten(saved, lambda m: m.update(format_version=99)))
    assert "none of raysynth's own" in refused(rewritten(saved, lambda m: m.update(method="os:system")))


@pytest.mark.parametrize("entry", ["../evil.py", "/tmp/evil.py", "code.pkl"])
def test_model_file_with_other_entries(saved: Path, entry: str) -> None:
    refused(rewritten(saved, lambda m: None, {entry: b"print('ran')"}))
    assert sorted(os.listdir(saved.parent)) == ["changed.raysynth", "model.raysynth"]


@pytest.mark.parametrize("key", ["method", "schema", "encoder", "model", "n_rows", "parameters"])
@pytest.mark.parametrize("value", [None, "text", [], {}, -1], ids=str)
def test_model_file_with_other_content(saved: Path, key: str, value: Any) -> None:
    path = rewritten(saved, lambda m: m.update({key: value}))
    try:
        load_synthetic_model(path)
    except ModelFileError as error:
        assert path.name in str(error)
    else:
        assert key in ("n_rows", "parameters"), f"a model file with {key} = {value!r} was taken"


def test_model_file_with_bottomless_json(saved: Path) -> None:
    path = saved.with_name("deep.raysynth")
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as hostile:
        hostile.writestr("model.json", b"[" * 1_000_000)
        hostile.writestr("arrays.safetensors", archive.read("arrays.safetensors"))
    refused(path)


def test_model_file_that_names_a_method_of_faker_to_call(saved: Path, tmp_path: Path) -> None:
    def hostile(meta: dict[str, Any]) -> None:
        column = {"name": "evil", "kind": "personal", "dtype": "string", "personal": "__reduce__"}
        meta["schema"]["columns"].append(column)
        meta["modelled_schema"]["columns"].append(column)

    with pytest.raises(InputError) as error:
        load_synthetic_model(rewritten(saved, hostile)).sample(5, seed=1)
    assert_says(error, "'evil'")


# -------------------------------------------------------------------------------------------------- disks and paths


FULL_DISK = """
import resource, sys
from raysynth import load_synthetic_model
from raysynth.cli.sample import write_sample
from raysynth.errors import StorageError
model = load_synthetic_model(sys.argv[1])
model.sample(10, seed=1)  # whatever is loaded on first use is loaded
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # no file beyond 2,000 bytes: a disk that is almost full
try:
    if sys.argv[2] == "save":
        model.save(sys.argv[3])
    else:
        write_sample(model, sys.argv[3], 5000, None, 1)
except StorageError as error:
    print(error)
    sys.exit(1)
"""


@pytest.mark.parametrize(
    ("what", "name"), [("save", "m.raysynth"), ("sample", "s.csv"), ("sample", "s.parquet"), ("sample", "s")]
)
def test_full_disk_leaves_no_half_written_file(saved: Path, tmp_path: Path, what: str, name: str) -> None:
    target = tmp_path / "full" / name
    command = [sys.executable, "-c", FULL_DISK, str(saved), what, str(target)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1, result.stdout + result.stderr
    assert str(target) in result.stdout and "write elsewhere" in result.stdout
    left = [
        p for p in (tmp_path / "full").rglob("*") if p.is_file() and p.suffix in ("", ".csv", ".parquet", ".raysynth")
    ]
    assert left == [], f"half-written: {left}"


def test_full_disk_keeps_the_older_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(StorageError) as error:
        fitted(people()).save(saved)
    assert_says(error, "model.raysynth", "disk is full")
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["model.raysynth"]


def test_path_under_a_file(model: Synthesizer, saved: Path) -> None:
    for call in (lambda: model.save(saved / "m"), lambda: model.sample_to(saved / "rows", 5)):
        with pytest.raises(StorageError) as error:
            call()
        assert_says(error, str(saved), "choose another path")


def test_folder_of_another_run_is_refused(model: Synthesizer, tmp_path: Path) -> None:
    model.sample_to(tmp_path / "rows", 20, seed=1)
    with pytest.raises(StorageError) as error:
        model.sample_to(tmp_path / "rows", 30, seed=1)
    assert_says(error, "rows", "choose a new folder")


# ------------------------------------------------------------------------------------------------------------- cluster

UNREACHABLE = """
import sys
from raysynth import load_synthetic_model
from raysynth.errors import ClusterError
try:
    load_synthetic_model(sys.argv[1]).sample_to(sys.argv[2], 100, seed=1, where="ray")
except ClusterError as error:
    print(error)
    sys.exit(1)
"""


def test_unreachable_cluster(saved: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "RAYSYNTH_QUIET": "1", "HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", UNREACHABLE, str(saved), str(tmp_path / "rows")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert issubclass(ClusterError, RaysynthError)
    assert result.returncode == 1, result.stderr
    assert "127.0.0.1:1" in result.stdout and "RAY_ADDRESS" in result.stdout
    assert list((tmp_path / "rows").glob("*.parquet")) == []
