"""Kept shards: a second fit encodes nothing; another table, schema or encoder, or damage, means encoding again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth import GaussianCopula, TabularVAE
from raysynth.data.table import as_table
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError
from raysynth.schema import Kind
from raysynth.training import kept_shards as module
from raysynth.training.kept_releases import fingerprint
from raysynth.training.kept_shards import LABEL, KeptRows, ShardKey, kept_shards
from raysynth.training.shards import ShardSet

SMALL: dict[str, Any] = {"latent_dim": 4, "encoder_layers": (16,), "decoder_layers": (16,), "prior_components": 4}


def rows(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a = rng.choice(list("xyz"), n).astype(object)
    a[rng.random(n) < 0.1] = None
    return pd.DataFrame({"a": a, "b": rng.normal(size=n), "c": rng.random(n) < 0.3, "d": rng.integers(0, 5, n)})


def vae(keep: Any, epochs: int = 2, **parameters: Any) -> TabularVAE:
    return TabularVAE(**SMALL, epochs=epochs, seed=3, verbose=False, keep_shards=keep, **parameters)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows were encoded, call by call."""
    calls: list[int] = []
    encode = TableEncoder.encode

    def counted(self: TableEncoder, batch: pa.RecordBatch) -> Any:
        calls.append(batch.num_rows)
        return encode(self, batch)

    monkeypatch.setattr(TableEncoder, "encode", counted)
    yield calls


def kept_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir())


def test_a_second_fit_encodes_nothing_and_gives_the_same_model(tmp_path: Path, encoded: list[int]) -> None:
    first = vae(tmp_path).fit(rows())
    assert sum(encoded) == 600
    encoded.clear()
    second = vae(tmp_path).fit(rows())
    other = vae(tmp_path, epochs=1, learning_rate=1e-4).fit(rows())
    assert encoded == []
    assert len(other.history_) == 1
    pd.testing.assert_frame_equal(first.sample(50, seed=1), second.sample(50, seed=1))
    in_memory = vae(False).fit(rows())
    pd.testing.assert_frame_equal(first.sample(50, seed=1), in_memory.sample(50, seed=1))
    assert kept_in(tmp_path) and "private" in (tmp_path / LABEL).read_text()


def changed_value(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(b=frame["b"].where(frame.index != 300, frame["b"][301]))  # neither minimum nor maximum


def reordered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[::-1].reset_index(drop=True)  # the same statistics, and the same encoder


@pytest.mark.parametrize(
    ("change", "parameters"),
    [
        (changed_value, {}),
        (reordered, {}),
        (lambda frame: frame.assign(a=frame["a"].fillna("x")), {}),
        (lambda frame: frame, {"continuous_columns": ["d"]}),
    ],
    ids=["a value", "the order", "missing ones", "the schema"],
)
def test_a_change_means_encoding_again(tmp_path: Path, encoded: list[int], change: Any, parameters: Any) -> None:
    vae(tmp_path, epochs=1).fit(rows())
    encoded.clear()
    vae(tmp_path, epochs=1, **parameters).fit(change(rows()))
    assert sum(encoded) == 600
    assert len(kept_in(tmp_path)) == 2


def test_another_encoder_means_encoding_again() -> None:
    table = as_table(rows())
    coarse, fine = (GaussianCopula(verbose=False, seed=0).fit(rows()) for _ in range(2))
    same = [ShardKey.of(table, m.modelled_schema_, m.encoder_).digest for m in (coarse, fine)]
    assert same[0] == same[1]
    other = GaussianCopula(verbose=False, seed=0).fit(changed_value(rows()))
    assert ShardKey.of(table, coarse.modelled_schema_, other.encoder_).digest != same[0]


@pytest.mark.parametrize("damage", ["a byte", "a file", "the manifest", "the key"])
def test_damage_means_encoding_again(
    tmp_path: Path, encoded: list[int], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    vae(tmp_path, epochs=1).fit(rows())
    encoded.clear()
    (home,) = (tmp_path / name for name in kept_in(tmp_path))
    path = home / "shard-000000.values.npy"
    if damage == "a byte":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "a file":
        path.unlink()
    elif damage == "the manifest":
        (home / "manifest.json").write_text("{}")
    else:
        key = json.loads((home / "key.json").read_text())
        (home / "key.json").write_text(json.dumps({**key, "data": "0" * 64}))
    with caplog.at_level(logging.WARNING, "raysynth"):
        vae(tmp_path, epochs=1).fit(rows())
    assert sum(encoded) == 600
    assert "encoded again" in caplog.text
    encoded.clear()
    vae(tmp_path, epochs=1).fit(rows())
    assert encoded == [] and kept_in(tmp_path) == [home.name]


def test_any_number_of_workers_takes_them(tmp_path: Path, encoded: list[int]) -> None:
    """Eight shards serve up to eight workers; for more the table is divided again."""
    model = GaussianCopula(verbose=False, seed=0).fit(rows())
    made = partial(KeptRows, as_table(rows()), model.modelled_schema_, model.encoder_)
    eight = kept_shards(made(75, 2), tmp_path)
    assert [len(kept_shards(made(600, w), tmp_path).shards) for w in (1, 3, 8)] == [8, 8, 8]
    assert sum(len(eight.share(rank, 3)) for rank in range(3)) == 600
    encoded.clear()
    twelve = kept_shards(made(50, 9), tmp_path)
    assert sum(encoded) == 600 and len(twelve.shards) == 12
    assert len(kept_in(tmp_path)) == 1


def test_an_interrupted_fit_leaves_no_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> ShardSet:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "stream_shards", interrupted)
        with pytest.raises(KeyboardInterrupt):
            vae(tmp_path, epochs=1).fit(rows())
    assert kept_in(tmp_path) == []


def test_the_fingerprint_is_of_values_not_of_how_they_lie_in_memory() -> None:
    table = pa.table({"a": pa.array(["x", None, "y", "x"]), "b": pa.array([1.0, 2.0, None, 4.0])})
    dirty = pa.Array.from_buffers(
        pa.float64(), 4, [pa.py_buffer(b"\x0b"), pa.py_buffer(np.array([1.0, 2.0, 99.0, 4.0]).tobytes())]
    )
    sliced = pa.concat_tables([table.slice(0, 1), table]).combine_chunks().slice(1)
    names = ["a", "b"]
    expected = fingerprint(as_table(table), names)
    assert fingerprint(as_table(table.set_column(1, "b", dirty)), names) == expected
    assert fingerprint(as_table(sliced), names) == expected
    moved = table.set_column(1, "b", pa.array([1.0, None, 2.0, 4.0]))  # the same values, another row without one
    assert fingerprint(as_table(moved), names) != expected


def test_where_shards_cannot_be_kept_says_why(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"STORAGE_PATH/shards"):
        vae(True).fit(rows())
    with pytest.raises(ParameterError, match="keep_shards 'memory://shards': what lies in the memory of one process"):
        vae("memory://shards").fit(rows())
    with pytest.raises(ParameterError, match="learns without encoded shards"):
        GaussianCopula(keep_shards=tmp_path, verbose=False).fit(rows())


def test_true_keeps_them_with_the_run_and_a_model_file_does_not_know(tmp_path: Path) -> None:
    run = SimpleNamespace(storage_path=str(tmp_path), name="run")
    model = vae(True, epochs=1, run_config=run).fit(rows())
    assert len(kept_in(tmp_path / "shards")) == 1
    assert "keep_shards" not in model._saved_parameters()


def test_the_schema_is_part_of_the_key() -> None:
    model = GaussianCopula(verbose=False, seed=0).fit(rows())
    schema = model.modelled_schema_
    other = replace(schema, columns=tuple(replace(c, kind=Kind.CATEGORICAL) for c in schema.columns))
    keys = [ShardKey.of(as_table(rows()), s, model.encoder_) for s in (schema, other)]
    assert keys[0].data == keys[1].data and keys[0].digest != keys[1].digest


def test_kept_rows_are_their_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask: encoded rows were 0644 in folders of 0755."""
    before = os.umask(0)
    try:
        vae(tmp_path / "kept", epochs=1).fit(rows())
    finally:
        os.umask(before)
    modes: dict[bool, set[int]] = {True: set(), False: set()}
    for path in (tmp_path / "kept", *(tmp_path / "kept").rglob("*")):
        modes[path.is_dir()].add(path.stat().st_mode & 0o777)
    assert modes == {True: {0o700}, False: {0o600}}
