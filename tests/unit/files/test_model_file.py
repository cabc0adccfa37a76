"""The model file: the same model from any ending, a stable digest, and nothing but data whatever a file holds."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load, save

from raysynth import GaussianCopula, load_synthetic_model
from raysynth.errors import ModelFileError, NotFittedError, StorageError
from raysynth.files.model_file import ModelContent, read_model, write_model


@pytest.fixture(scope="module")
def model() -> GaussianCopula:
    rng = np.random.default_rng(1)
    n = 1500
    frame = pd.DataFrame(
        {
            "id": [f"P-{i:05d}" for i in range(n)],
            "town": pd.Series(rng.choice(["Aachen", "Bonn", "ü€"], n)).where(rng.random(n) < 0.9),
            "x": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "k": rng.integers(0, 4, n),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 30, n), unit="D"),
        }
    )
    return GaussianCopula(seed=1, verbose=False, categorical_columns=["k", "day"]).fit(frame)


@pytest.fixture
def saved(model: GaussianCopula, tmp_path: Path) -> Path:
    model.save(tmp_path / "m.raysynth")
    return tmp_path / "m.raysynth"


@pytest.mark.parametrize("name", ["m.pkl", "m.raysynth", "m.zip", "m", "m.pt", "mödel with space.json"])
def test_loaded_model_is_the_saved_one_whatever_its_ending(model: GaussianCopula, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / name)
    again = load_synthetic_model(tmp_path / name)
    assert type(again) is GaussianCopula
    assert again.schema_ == model.schema_ and again.n_rows_ == model.n_rows_
    kept = {k: v for k, v in model.get_params().items() if k != "schema"}
    assert {k: v for k, v in again.get_params().items() if k != "schema"} == kept
    pd.testing.assert_frame_equal(again.sample(500, seed=3), model.sample(500, seed=3))
    pd.testing.assert_frame_equal(
        again.sample(50, {"town": "Bonn", "day": "2020-01-05"}, seed=3),
        model.sample(50, {"town": "Bonn", "day": "2020-01-05"}, seed=3),
    )


def test_file_is_two_plain_entries(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == ["model.json", "arrays.safetensors"]
        meta = json.loads(archive.read("model.json"))
        arrays = load(archive.read("arrays.safetensors"))
    assert meta["format_version"] == 1 and meta["method"] == "copula"
    assert "model.correlation" in arrays


def test_the_same_model_gives_the_same_bytes_and_digest(model: GaussianCopula, saved: Path, tmp_path: Path) -> None:
    again = load_synthetic_model(saved)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()
    assert again._content().digest() == model._content().digest()
    assert again.clone().set_params(schema=model.schema_).get_params()["schema"] is model.schema_


def test_digest_does_not_depend_on_the_process(saved: Path) -> None:
    """Another process with another hash seed: sets and dicts must not order what is digested."""
    code = "import sys, raysynth; print(raysynth.load_synthetic_model(sys.argv[1])._content().digest())"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    answer = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, env=environment)
    assert answer.stdout.strip() == load_synthetic_model(saved)._content().digest(), answer.stderr


@pytest.mark.parametrize(
    "other",
    [
        ModelContent({"a": 2}, {"x": np.arange(3)}),
        ModelContent({"a": 1}, {"y": np.arange(3)}),
        ModelContent({"a": 1}, {"x": np.arange(3)[::-1]}),
        ModelContent({"a": 1}, {"x": np.arange(3.0)}),
        ModelContent({"a": 1}, {"x": np.arange(3)[:, None]}),
    ],
)
def test_digest_tells_contents_apart(other: ModelContent) -> None:
    assert other.digest() != ModelContent({"a": 1}, {"x": np.arange(3)}).digest()


def test_arrays_of_any_layout_come_back(tmp_path: Path) -> None:
    arrays = {
        "transposed": np.arange(6).reshape(2, 3).T,
        "strided": np.arange(10)[::3],
        "flags": np.array([True, False]),
        "half": np.arange(3, dtype=np.float16),
        "none": np.empty((0, 4), np.float32),
        "codes": np.arange(3, dtype=np.uint16),
    }
    write_model(tmp_path / "m", ModelContent({"text": "ü€\ud800", "n": np.int64(3), "v": np.arange(2)}, arrays))
    content = read_model(tmp_path / "m")
    assert content.meta["n"] == 3 and content.meta["v"] == [0, 1] and content.meta["text"] == "ü€\ud800"
    for name, array in arrays.items():
        np.testing.assert_array_equal(content.arrays[name], array)
        assert content.arrays[name].dtype == array.dtype


def test_unfitted_model_and_unwritable_path(model: GaussianCopula, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        GaussianCopula().save(tmp_path / "m")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        model.save(tmp_path / "file" / "m")
    with pytest.raises(TypeError, match="cannot stand in a model file"):
        write_model(tmp_path / "m", ModelContent({"a": object()}, {}))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# ------------------------------------------------------------------------------------------------------ hostile files


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(ModelFileError, match=match) as error:
        load_synthetic_model(path)
    assert str(path) in str(error.value)


def test_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    refused(tmp_path / "m.pkl", "not written by raysynth")
    with zipfile.ZipFile(tmp_path / "torch.pt", "w") as archive:  # the form of torch.save
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(tmp_path / "ran")))
    refused(tmp_path / "torch.pt", "it holds")
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb(tmp_path / "ran")], dtype=object), allow_pickle=True)
    rewritten(tmp_path / "npy", {"model.json": b"{}", "arrays.safetensors": buffer.getvalue()})
    refused(tmp_path / "npy")
    assert not (tmp_path / "ran").exists()


def rewritten(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def test_file_that_is_missing_a_folder_or_nothing(tmp_path: Path) -> None:
    refused(tmp_path / "none", "No such file")
    refused(tmp_path, "cannot read")
    (tmp_path / "empty").write_bytes(b"")
    refused(tmp_path / "empty")


def test_compressed_entries_and_bombs_are_refused_before_unpacking(saved: Path, tmp_path: Path) -> None:
    rewritten(tmp_path / "small", entries_of(saved), zipfile.ZIP_DEFLATED)
    refused(tmp_path / "small", "compressed entries")
    bomb = {"model.json": b" " * 300_000_000, "arrays.safetensors": b""}
    rewritten(tmp_path / "bomb", bomb, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb").stat().st_size < 1_000_000
    refused(tmp_path / "bomb", "compressed entries")
    rewritten(tmp_path / "large", bomb)
    refused(tmp_path / "large", "description of over 64 MiB")
    many = {"model.json": b"[" + b"0," * 2_000_001 + b"0]", "arrays.safetensors": b""}
    refused(rewritten(tmp_path / "many", many), "2,000,002 values; at most 2,000,000")


def test_repeated_and_foreign_entries_are_refused(saved: Path, tmp_path: Path) -> None:
    entries = entries_of(saved)
    rewritten(tmp_path / "more", {**entries, "../../evil.py": b"print()"})
    refused(tmp_path / "more", "it holds")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "twice", "w") as archive:
        for name in ("model.json", "arrays.safetensors", "model.json"):
            archive.writestr(name, entries[name])
    refused(tmp_path / "twice", "it holds")


def test_array_that_claims_more_than_the_file_holds(saved: Path, tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode()
    entries = {**entries_of(saved), "arrays.safetensors": struct.pack("<Q", len(header)) + header + b"\0" * 64}
    refused(rewritten(tmp_path / "m", entries))


def test_every_cut_and_many_damages_are_refused_or_harmless(saved: Path, tmp_path: Path) -> None:
    """A cut file never loads. A file with some bytes changed never raises anything but ModelFileError."""
    whole = saved.read_bytes()
    rng = random.Random(1)
    path = tmp_path / "damaged"
    for at in [0, 1, 30, len(whole) - 1, *rng.sample(range(len(whole)), 40)]:
        path.write_bytes(whole[:at])
        refused(path)
    for _ in range(250):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.choice([rng.randrange(len(whole)), rng.randrange(60), -1 - rng.randrange(200)])] = (
                rng.randrange(256)
            )
        path.write_bytes(damaged)
        try:
            load_synthetic_model(path)
        except ModelFileError:
            continue


def json_change(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, bytes]], None]:
    def apply(entries: dict[str, bytes]) -> None:
        meta = json.loads(entries["model.json"])
        result = change(meta)
        entries["model.json"] = json.dumps(meta if result is None else result).encode()

    return apply


def array_change(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, bytes]], None]:
    def apply(entries: dict[str, bytes]) -> None:
        arrays = load(entries["arrays.safetensors"])
        arrays[name] = np.ascontiguousarray(change(arrays[name]))
        entries["arrays.safetensors"] = save(arrays)

    return apply


def set_dtype(meta: dict[str, Any], dtype: str) -> None:
    for schema in ("schema", "modelled_schema"):
        meta[schema]["columns"][2]["pandas_dtype"] = dtype


CHANGES: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "other version": (json_change(lambda m: {**m, "format_version": 2}), "format version 2.*reads 1"),
    "no version": (json_change(lambda m: m.pop("format_version") and None), "format version None"),
    "unknown method": (json_change(lambda m: {**m, "method": "gpt"}), "'gpt' is none of raysynth's own"),
    "method is a list": (json_change(lambda m: {**m, "method": ["copula"]}), ""),
    "method is a module": (json_change(lambda m: {**m, "method": "os:system"}), "none of raysynth's own"),
    "no method": (json_change(lambda m: m.pop("method") and None), "method"),
    "a list": (json_change(lambda m: [m]), "format version None"),
    "unknown parameter": (json_change(lambda m: m["parameters"].update(cmd="rm") and None), "cmd"),
    "parameter out of range": (json_change(lambda m: m["parameters"].update(n_bins=10**9) and None), "n_bins"),
    "no schema": (json_change(lambda m: m.pop("schema") and None), "schema"),
    "schema of other columns": (json_change(lambda m: m["modelled_schema"]["columns"].pop(1) and None), ""),
    "modelled schema of another table": (
        json_change(lambda m: m["modelled_schema"]["columns"][2].update(name="z") and None),
        "",
    ),
    "dtype that takes memory": (json_change(lambda m: set_dtype(m, "V100000000")), "pandas_dtype"),
    "dtype of Python objects": (json_change(lambda m: set_dtype(m, "datetime64[generic]")), "pandas_dtype"),
    "dtype that cannot hold it": (json_change(lambda m: set_dtype(m, "datetime64[ns, No/Where]")), ""),
    "a list without end": (
        json_change(lambda m: m["parameters"].update(categorical_columns=["k"] * 30_000) and None),
        "categorical_columns.*30,000 entries",
    ),
    "columns without end": (
        json_change(lambda m: m["schema"].update(columns=m["schema"]["columns"] * 5_000) and None),
        "25,000 columns",
    ),
    "column of unknown kind": (json_change(lambda m: m["schema"]["columns"][1].update(kind="exec") and None), "exec"),
    "unknown encoder": (json_change(lambda m: m["encoder"]["columns"][0].update({"class": "Popen"}) and None), ""),
    "encoder is text": (json_change(lambda m: {**m, "encoder": "x"}), ""),
    "fewer encoders": (json_change(lambda m: m["encoder"]["columns"].pop() and None), ""),
    "missing is text": (json_change(lambda m: {**m, "model": {"missing": "none", "families": {}}}), ""),
    "key is text": (json_change(lambda m: {**m, "identifier_key": "k"}), ""),
    "more categories": (json_change(lambda m: m["encoder"]["columns"][0]["state"]["values"].append("new")), "town"),
    "a category twice": (
        json_change(lambda m: m["encoder"]["columns"][0]["state"].update(values=["Bonn", "Bonn", "ü€"])), "town"
    ),
    "correlation cut": (array_change("model.correlation", lambda a: a[:-1]), ""),
    "correlation flat": (array_change("model.correlation", lambda a: a.ravel()), ""),
    "correlation not finite": (array_change("model.correlation", lambda a: a * np.nan), ""),
    "correlation not definite": (array_change("model.correlation", lambda a: np.eye(len(a)) * -1), ""),
    "order of other codes": (array_change("model.order.0", lambda a: a + 60_000), ""),
    "order of other length": (array_change("model.order.0", lambda a: a[:-1]), ""),
    "share of other length": (array_change("model.share.1", lambda a: a[:-5]), ""),
    "share negative": (array_change("model.share.1", lambda a: -a), ""),
    "encoder's shares cut": (array_change("encoder.0.shares", lambda a: a[:-1]), "town"),
    "encoder's cells cut": (array_change("encoder.1.low", lambda a: a[:-1]), "'x'"),
    "encoder's cells crossed": (array_change("encoder.1.low", lambda a: a[::-1]), "'x'"),
    "encoder's codes beyond": (array_change("encoder.1.first_cell", lambda a: a * 1000), "'x'"),
    "fewer codes": (array_change("encoder.1.first_cell", lambda a: a[:10]), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_content_that_does_not_fit_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    change, match = CHANGES[name]
    entries = entries_of(saved)
    change(entries)
    refused(rewritten(tmp_path / "m", entries), match or None)


VALUES = (None, True, 0, -1, 2**40, 1e308, float("nan"), "", "x", "int64", [], {}, [1, "a"], {"a": [0]})


def mutate(entries: dict[str, bytes], rng: random.Random) -> None:
    """One value of the description becomes another one, or one array is cut, turned or has a number changed."""
    if rng.random() < 0.6:
        meta = json.loads(entries["model.json"])
        at: Any = meta
        while True:
            key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if not (isinstance(at[key], (dict, list)) and at[key]) or rng.random() < 0.15:
                break
            at = at[key]
        at[key] = rng.choice(VALUES)
        entries["model.json"] = json.dumps(meta).encode()
        return
    arrays = load(entries["arrays.safetensors"])
    name = rng.choice(sorted(arrays))
    array = arrays[name].copy()
    flat = array.reshape(-1)
    if len(flat) and rng.random() < 0.6:
        value = rng.choice([-1, 0, 1, 70_000, 2**31, 1e300, float("nan"), float("inf")])
        fits = array.dtype.kind == "f" or (isinstance(value, int) and -1 < value <= np.iinfo(array.dtype).max)
        flat[rng.randrange(len(flat))] = value if fits else 0
    else:
        array = rng.choice([array[:-1], array[::-1], flat, array[:0], array.astype(np.float32)])
    arrays[name] = np.ascontiguousarray(array)
    entries["arrays.safetensors"] = save(arrays)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_file_that_loads_can_be_sampled(saved: Path, tmp_path: Path) -> None:
    """Of 300 mutated files (fixed seed) each is refused by `ModelFileError`, or gives rows."""
    rng, original, refusals = random.Random(7), entries_of(saved), 0
    for _ in range(300):
        entries = dict(original)
        mutate(entries, rng)
        rewritten(tmp_path / "m", entries)
        try:
            model = load_synthetic_model(tmp_path / "m")
        except ModelFileError:
            refusals += 1
            continue
        assert len(model.sample(7, seed=1)) == 7
    assert refusals > 100


def test_numbers_that_are_no_numbers(saved: Path, tmp_path: Path) -> None:
    entries = entries_of(saved)
    entries["model.json"] = b'{"format_version": 1, "method": "copula", "a": ' + b"[" * 100_000 + b"}"
    refused(rewritten(tmp_path / "deep", entries), "damaged|deep")
    entries["model.json"] = b"\xff\xfe\x00"
    refused(rewritten(tmp_path / "bytes", entries))


def test_loading_imports_no_code_that_the_file_names(saved: Path) -> None:
    """A copula is loaded and sampled without torch, Ray or scikit-learn."""
    code = (
        "import sys, raysynth; raysynth.load_synthetic_model(sys.argv[1]).sample(5);"
        "print(sorted({'torch', 'ray', 'sklearn', 'pgmpy', 'pickle5'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr
