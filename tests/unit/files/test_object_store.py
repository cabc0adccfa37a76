"""A bucket as the only storage: a server on loopback (moto) that speaks S3, found by AWS_ENDPOINT_URL.

No access to other machines, no Ray: what workers do with a `Place` they do here.
"""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from object_store import object_store
from typer.testing import CliRunner

from raysynth import GaussianCopula, TableSchema, TabularVAE, load_synthetic_model
from raysynth.campaigns.plan import CampaignStore
from raysynth.cli import app
from raysynth.dp.gradients.release import GradientRelease
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import DataError, ModelFileError, ParameterError, StorageError
from raysynth.evaluation import evaluate_synthetic_data
from raysynth.files import stores
from raysynth.files.storage import atomic_path, check_writable, folder_at, place, write_atomically
from raysynth.sampling.writer import verify
from raysynth.training.checkpoints import latest_checkpoint
from raysynth.training.learner import Learner
from raysynth.training.private_batches import started_steps
from raysynth.tuning.trials import (
    STARTED,
    Setting,
    Trial,
    TrialResult,
    claim,
    has_ended,
    kept_results,
    require_same_sweep,
    result_path,
)

ROWS = 70_000  # two chunks, two files


@pytest.fixture(scope="module")
def store() -> Iterator[pafs.FileSystem]:
    """An S3 of this process with one bucket, 'bucket'."""
    with object_store("127.0.0.1") as filesystem:
        yield filesystem


@pytest.fixture(scope="module")
def table(store: pafs.FileSystem) -> str:
    """A folder of two Parquet files of made rows (fixed seed) in the bucket."""
    rng = np.random.default_rng(1)
    for part in range(2):
        frame = pd.DataFrame({"age": rng.integers(18, 90, 600), "town": rng.choice(["Bonn", "Celle"], 600)})
        with store.open_output_stream(f"bucket/table/part-{part}.parquet") as stream:
            frame.to_parquet(stream, index=False)
    return "s3://bucket/table"


@pytest.fixture(scope="module")
def model(table: str) -> GaussianCopula:
    return GaussianCopula(seed=1, verbose=False).fit(table)


def test_a_model_and_its_schema_go_to_a_bucket_and_come_back(model: GaussianCopula) -> None:
    model.save("s3://bucket/models/m.raysynth")
    loaded = load_synthetic_model("s3://bucket/models/m.raysynth")
    pd.testing.assert_frame_equal(loaded.sample(100, seed=3), model.sample(100, seed=3))
    model.schema_.save("s3://bucket/schema.json")
    assert TableSchema.load("s3://bucket/schema.json").to_dict() == model.schema_.to_dict()


def test_a_sample_in_a_bucket_is_the_one_on_disk_resumed_and_verified(
    model: GaussianCopula, store: pafs.FileSystem, tmp_path: Path
) -> None:
    expected = model.sample_to(tmp_path, ROWS, seed=5, rows_per_file=65_536)
    written = model.sample_to("s3://bucket/sample", ROWS, seed=5, rows_per_file=65_536)
    assert [f.sha256 for f in written.files] == [f.sha256 for f in expected.files] and len(written.files) == 2
    kept = store.get_file_info("bucket/sample/part-00000.parquet").mtime_ns
    store.delete_file("bucket/sample/part-00001.parquet")
    with pytest.raises(StorageError, match="part-00001.parquet is missing"):
        verify("s3://bucket/sample")
    assert model.sample_to("s3://bucket/sample", ROWS, seed=5, rows_per_file=65_536) == written
    assert store.get_file_info("bucket/sample/part-00000.parquet").mtime_ns == kept
    write_atomically("s3://bucket/sample/part-00000.parquet", b"x" * written.files[0].bytes)
    with pytest.raises(StorageError, match="part-00000.parquet is damaged"):
        verify("s3://bucket/sample")
    with pytest.raises(StorageError, match="'s3://bucket/sample' holds another run"):
        model.sample_to("s3://bucket/sample", ROWS, seed=6)


def test_an_evaluation_reads_both_tables_from_a_bucket_and_writes_its_report_there(
    model: GaussianCopula, table: str, store: pafs.FileSystem
) -> None:
    with atomic_path("s3://bucket/synthetic.csv") as temporary:
        model.sample(800, seed=2).to_csv(temporary, index=False)
    results = evaluate_synthetic_data(table, "s3://bucket/synthetic.csv", metrics=["statistical_similarity"], seed=0)
    results.generate_report("s3://bucket/reports/report.html")
    with store.open_input_stream("bucket/reports/report.html") as stream:
        assert stream.read().startswith(b"<!doctype html>") or stream.size() > 10_000


def test_the_command_line_takes_buckets_for_every_file(table: str, store: pafs.FileSystem) -> None:
    for command in (
        f"fit {table} --method copula --seed 1 --model s3://bucket/cli/m",
        "sample s3://bucket/cli/m -n 50 --out s3://bucket/cli/s.csv",
        "sample s3://bucket/cli/m -n 50 --out s3://bucket/cli/s",
        "sample --verify s3://bucket/cli/s",
    ):
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, result.output
    with store.open_input_stream("bucket/cli/s.csv") as stream:
        assert len(pd.read_csv(stream)) == 50


def small_vae(name: str, storage: str, **more: Any) -> TabularVAE:
    sizes: dict[str, Any] = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,), "prior_components": 2}
    run_config = SimpleNamespace(storage_path=storage, name=name)
    return TabularVAE(
        **sizes, epochs=2, batch_size=200, checkpoint_every=1, seed=1, verbose=False, run_config=run_config, **more
    )


def test_a_run_keeps_its_checkpoints_in_a_bucket_and_goes_on_from_there(
    table: str, store: pafs.FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_vae("run", str(tmp_path)).fit(table)
    small_vae("run", "s3://bucket/runs").fit(table)
    assert list(place("s3://bucket/runs/run").sizes()) == ["checkpoint.pt"]
    here, there = (latest_checkpoint(place(p)) for p in (tmp_path / "run", "s3://bucket/runs/run"))
    losses = [[(entry["epoch"], entry["reconstruction"]) for entry in run.history] for run in (here, there)]
    assert losses[0] == losses[1] and len(losses[0]) == 2
    monkeypatch.setattr(Learner, "step", lambda *_: pytest.fail("both epochs were done before"))
    small_vae("run", "s3://bucket/runs").fit(table)
    small_vae("other", "s3://bucket/runs").fit(table, resume="s3://bucket/runs/run")
    with pytest.raises(ParameterError, match="no checkpoint in 's3://bucket/runs/none'"):
        small_vae("other", "s3://bucket/runs").fit(table, resume="s3://bucket/runs/none")


def test_a_private_run_keeps_its_record_and_its_journal_in_a_bucket(
    table: str, store: pafs.FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in its second epoch, it goes on with what is left of the charged steps."""
    budget: dict[str, Any] = {"epsilon": 3.0, "delta": 1e-3, "public_types": True}
    noised, left = GradientRelease.noised_mean, [*range(8)]

    def stopped(own: GradientRelease) -> Any:
        if left:
            left.pop()
            return noised(own)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(GradientRelease, "noised_mean", stopped)
        small_vae("dp", "s3://bucket/runs", **budget).fit(table)
    assert {"private-run.raysynth", "checkpoint.pt"} < set(place("s3://bucket/runs/dp").sizes())
    with pytest.raises(ParameterError, match="'s3://bucket/runs/dp' holds a fit that has spent"):
        small_vae("dp", "s3://bucket/runs", **budget).fit(table)
    resumed = small_vae("dp", "s3://bucket/runs", **budget).fit(table, resume="s3://bucket/runs/dp")
    (journal,) = (name for name in place("s3://bucket/runs/dp").sizes() if name.startswith("started-steps-"))
    spent = resumed.privacy_spent_
    assert spent is not None and spent.epsilon <= 3.0
    assert started_steps(f"s3://bucket/runs/dp/{journal}") == spent.ledger.events[-1].steps


def test_storage_that_cannot_be_had_is_refused_before_any_work(
    table: str, store: pafs.FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TabularVAE, "_fit_table", lambda *_: pytest.fail("work was done"))
    for named, found, message in (
        ("s3://nowhere/runs", StorageError, "no bucket 'nowhere'; make it"),
        ("memory://runs", ParameterError, "storage_path 'memory://runs': what lies in the memory"),
        ("nosuch://runs", ParameterError, "storage_path 'nosuch://runs'"),
    ):
        with pytest.raises(found, match=message):
            small_vae("run", named).fit(table)
    with pytest.raises(StorageError, match="'s3://nowhere/kept/manifest.json': there is no bucket 'nowhere'"):
        small_vae("run", "s3://bucket/runs", keep_shards="s3://nowhere/kept").fit(table)
    refused(monkeypatch, "upload_part")
    with pytest.raises(StorageError, match=r"(?s)'s3://bucket/runs/run/checkpoint.pt'.*your rights to it"):
        small_vae("run", "s3://bucket/runs").fit(table)


def test_a_second_fit_takes_the_rows_that_were_kept_in_a_bucket_unless_they_are_damaged(
    table: str, store: pafs.FileSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoded: list[int] = []
    encode = TableEncoder.encode
    monkeypatch.setattr(TableEncoder, "encode", lambda self, rows: encoded.append(rows.num_rows) or encode(self, rows))
    first = small_vae("first", "s3://bucket/kept", keep_shards=True).fit(table)
    assert sum(encoded) == 1200
    encoded.clear()
    second = small_vae("second", "s3://bucket/kept", keep_shards=True).fit(table)
    assert encoded == []
    pd.testing.assert_frame_equal(first.sample(50, seed=1), second.sample(50, seed=1))
    kept = place("s3://bucket/kept/shards")
    codes = next(name for name in kept.sizes() if name.endswith(".codes.npy"))
    write_atomically(kept / codes, b"damaged")
    third = small_vae("third", "s3://bucket/kept", keep_shards=True).fit(table)
    assert sum(encoded) == 1200 and "its checksum is wrong" in caplog.text
    pd.testing.assert_frame_equal(first.sample(50, seed=1), third.sample(50, seed=1))


@pytest.mark.parametrize("unit", [{}, {"privacy_unit": "age", "max_rows_per_unit": 5}], ids=["rows", "persons"])
def test_under_a_budget_rows_kept_in_a_bucket_are_paid_for_by_every_fit(
    table: str, store: pafs.FileSystem, unit: dict[str, Any]
) -> None:
    budget: dict[str, Any] = {
        "epsilon": 3.0,
        "public_types": True,
        "keep_shards": f"s3://bucket/paid{len(unit)}",
        **unit,
    }
    first, second = (
        small_vae(name, f"s3://bucket/paying{len(unit)}", **budget).fit(table) for name in ("first", "second")
    )
    spent = [model.privacy_spent_ for model in (first, second)]
    assert spent[0] is not None and spent[1] is not None and spent[0].joint is None and spent[1].joint is not None
    released = [[e for e in s.ledger if e.sampling_rate == 1] for s in spent if s is not None]
    assert released[0] == released[1] and spent[1].joint.epsilon > spent[1].epsilon
    assert sum("/fits/" in name for name in place(f"s3://bucket/paid{len(unit)}").sizes()) == 2


def test_a_write_that_fails_leaves_the_old_object(store: pafs.FileSystem) -> None:
    write_atomically("s3://bucket/kept", b"old")
    with pytest.raises(ValueError, match="bug"), atomic_path("s3://bucket/kept") as temporary:
        temporary.write_bytes(b"half")
        raise ValueError("bug")
    with place("s3://bucket/kept").open() as stream:
        assert stream.read() == b"old"


@pytest.mark.parametrize("error", [OSError("connection reset"), KeyboardInterrupt()], ids=["failed", "interrupted"])
def test_an_upload_that_breaks_half_way_leaves_the_old_object_and_nothing_else(
    store: pafs.FileSystem, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(source: BinaryIO, stream: BinaryIO, size: int) -> None:
        stream.write(source.read(1000))
        raise error

    write_atomically("s3://bucket/broken/kept", b"old")
    monkeypatch.setattr(shutil, "copyfileobj", half)
    with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
        write_atomically("s3://bucket/broken/kept", bytes(1 << 20))
    with place("s3://bucket/broken/kept").open() as stream:
        assert stream.read() == b"old"
    assert list(place("s3://bucket/broken").sizes()) == ["kept"]


KILLED = """
import sys
from raysynth.files.storage import atomic_path
with atomic_path("s3://bucket/never") as copy:
    copy.write_text("secret")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_local_copy_of_an_upload_that_was_killed_goes_with_the_next_one(
    store: pafs.FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.kill()
    (copy,) = (p for p in tmp_path.rglob("*") if p.is_file() and p.read_bytes() == b"secret")
    assert copy.parent.stat().st_mode & 0o077 == 0
    write_atomically("s3://bucket/next", b"")
    assert not list(tmp_path.iterdir()) and not place("s3://bucket/never").exists()


def test_what_a_store_does_not_copy_in_one_step_is_written_in_place(
    store: pafs.FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_MOST_COPIED", 3)
    write_atomically("s3://bucket/large", b"1234")
    write_atomically("s3://bucket/large", b"56789")
    with place("s3://bucket/large").open() as stream:
        assert stream.read() == b"56789"


def test_what_is_not_there_is_said_before_the_work(store: pafs.FileSystem) -> None:
    with pytest.raises(StorageError, match="no bucket 'nowhere'; make it"):
        check_writable("s3://nowhere/m")
    with pytest.raises(StorageError, match="cannot write 's3://nowhere/m'"):
        write_atomically("s3://nowhere/m", b"x")
    with pytest.raises(ModelFileError, match="s3://bucket/none"):
        load_synthetic_model("s3://bucket/none")
    with pytest.raises(DataError, match="no file or folder"):
        GaussianCopula(verbose=False).fit("s3://bucket/none.parquet")
    assert place("s3://bucket/none").sizes() == {}


def refused(monkeypatch: pytest.MonkeyPatch, request: str) -> None:
    """From now on the server refuses one kind of request, as a store does where a right is missing."""
    from moto.s3.responses import S3Response

    def denied(self: Any, *_: Any, **__: Any) -> Any:
        return 403, {}, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

    monkeypatch.setattr(S3Response, request, denied)


@pytest.mark.parametrize("right", ["upload_part", "copy_object", "head_object"])
def test_a_right_to_write_that_is_missing_is_found_before_the_work(
    right: str, store: pafs.FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(monkeypatch, right)
    before = place("s3://bucket").sizes()
    with pytest.raises(StorageError, match=r"(?s)cannot write 's3://bucket/later/m'.*your rights to it"):
        check_writable("s3://bucket/later/m")
    monkeypatch.undo()
    assert place("s3://bucket").sizes() == before


def test_what_may_be_written_is_as_it_was_after_the_look(store: pafs.FileSystem) -> None:
    write_atomically("s3://bucket/looked/m", b"old")
    check_writable("s3://bucket/looked/m")
    assert place("s3://bucket/looked").sizes() == {"m": 3}


def test_a_place_travels_to_another_process_and_its_name_has_no_keys(store: pafs.FileSystem) -> None:
    write_atomically("s3://bucket/folder/a", b"12")
    write_atomically("s3://bucket/folder/b/c", b"123")
    there = pickle.loads(pickle.dumps(place("s3://KEY:SECRET@bucket/folder")))
    assert str(there / "a") == "s3://bucket/folder/a"
    assert pickle.loads(pickle.dumps(place("s3://bucket/folder"))).sizes() == {"a": 2, "b/c": 3}


def test_a_campaign_keeps_its_trials_in_a_bucket(store: pafs.FileSystem) -> None:
    campaign = CampaignStore.at("s3://bucket/campaign")
    assert campaign.open({"seed": 0}, "digest") == set()
    rows = pa.table({"member": [True, False]})
    campaign.write("one", rows)
    campaign.write_failure("two", "why")
    again = CampaignStore.at("s3://bucket/campaign")
    assert again.open({"seed": 0}, "digest") == {"one"} and again.failed() == {"two": "why"}
    assert again.read(["one"]) == [rows]
    again.forget_failures()
    assert again.failed() == {}
    with pytest.raises(StorageError, match="'s3://bucket/campaign' holds another campaign"):
        again.open({"seed": 1}, "other")


def test_a_folder_of_a_sweep_in_a_bucket_is_read_and_emptied(store: pafs.FileSystem) -> None:
    folder = folder_at("s3://bucket/choice")
    trial = Trial(Setting("copula", float("inf")), 0)
    claim(folder, "this sweep")
    TrialResult(trial, STARTED).write(result_path(folder, trial))
    write_atomically(folder / "trials" / ".unfinished.json", b"half")
    assert [r.trial for r in kept_results(folder)] == [trial] and not has_ended(result_path(folder, trial))
    require_same_sweep(folder, "this sweep")
    with pytest.raises(StorageError, match="'s3://bucket/choice' holds another sweep"):
        require_same_sweep(folder, "another")
    place(folder).delete_all()
    assert place(folder).sizes() == {} and kept_results(folder) == []
