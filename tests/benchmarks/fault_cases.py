"""The cases of `bench_faults.py`: what is disturbed, and whether it ends as an undisturbed run does.

Each case takes an empty folder and a number of rows, and gives 'result', 'equal' and figures of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import pandas as pd
import pyarrow.fs as pafs
import pytest
from faults import (
    FailingReads,
    HeldJob,
    a_node_is_lost,
    a_worker_is_lost,
    checkpoints,
    fit_on_ray,
    nodes,
    stopped_driver,
)
from shards import write_shards

from raysynth import GaussianCopula, TabularVAE, load_synthetic_model
from raysynth.data import fragments as table_module
from raysynth.data.fragments import Table
from raysynth.data.sources.formats import Found
from raysynth.data.sources.parquet import read_parquet
from raysynth.data.table import as_table
from raysynth.evaluation import statistical_similarity_score
from raysynth.files.private_folder import PREFIX
from raysynth.methods.vae import recipe as vae
from raysynth.sampling.writer import RECORDS, verify
from raysynth.statistics import collect
from raysynth.training import distributed
from raysynth.training.private_batches import started_steps
from raysynth.training.shards import ShardSet

Figure = dict[str, Any]
FRAGMENTS = 20
FILES = 12  # of a sample, of one chunk each
CHUNK = 65_536
EPOCHS, STEPS = 6, 10  # in each epoch of a training; the node is lost in the middle of the third
LOST_AT = 25
MARGIN = 0.01  # of quality
STORE_BYTES = 80 * 10**6  # of each node: Ray takes no less than 75 MB
ROW_BYTES = 24


# ---- what is worked on -----------------------------------------------------------------------------------------------


def frame(rows: int, seed: int = 3) -> pd.DataFrame:
    """Two numbers that depend on each other, a category that depends on them, and missing values."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    y = np.where(rng.random(rows) < 0.05, np.nan, x + rng.normal(size=rows))
    return pd.DataFrame({"x": x, "y": y, "c": np.where(x > 0.5, "a", rng.choice(["a", "b", "c"], rows))})


def parquet(scratch: Path, rows: int) -> Path:
    """The same as a file of many row groups."""
    path = scratch / "rows.parquet"
    frame(rows).to_parquet(path, row_group_size=rows // FRAGMENTS)
    return path


def in_fragments(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Tables have fragments of few rows, so that every node has some."""
    for name in ("_BLOCK_ROWS", "_FEWEST_ROWS"):
        patch.setattr(table_module, name, rows // FRAGMENTS)


def numbers(table: Table, where: str) -> list[Any]:
    """Statistics of a table, as numbers that can be compared."""
    found = collect(table, where=where)
    spread = [found.columns[name].distribution().value for name in ("x", "y")]
    counts = found.columns["c"].categories().value
    return [found.n_rows, *((d.mean, d.std) for d in spread), tuple(counts.values), tuple(counts.counts.tolist())]


def copula(rows: int) -> GaussianCopula:
    """A model of the table."""
    return GaussianCopula(seed=0, verbose=False).fit(frame(rows))


# ---- a lost node -----------------------------------------------------------------------------------------------------


def node_statistics(scratch: Path, rows: int) -> Figure:
    """Killed in the statistics."""
    with pytest.MonkeyPatch.context() as patch, nodes(3, scratch / "nodes") as made:
        in_fragments(patch, rows)
        table = as_table(parquet(scratch, rows))
        with a_node_is_lost(made, "_summarise_fragment", scratch / "mark"):
            found = numbers(table, "ray")
        return {"result": "completed", "equal": found == numbers(table, "local")}


def node_shards(scratch: Path, rows: int) -> Figure:
    """Killed in the encoding."""
    with pytest.MonkeyPatch.context() as patch, nodes(3, scratch / "nodes") as made:
        in_fragments(patch, rows)
        table, encoder = as_table(parquet(scratch, rows)), copula(rows).encoder_
        expected = write_shards(table, encoder, scratch / "whole", rows_per_shard=rows // 50)
        with a_node_is_lost(made, "_apply_to_fragment", scratch / "mark"):
            found = write_shards(table, encoder, scratch / "lost", rows_per_shard=rows // 50)
        whole = len(found.share(0, 1)) == rows  # checks each file
        return {"result": "completed", "equal": whole and found.shards == expected.shards}


def node_sampling(scratch: Path, rows: int) -> Figure:
    """Killed while files are written."""
    with nodes(3, scratch / "nodes") as made:
        sample = partial(copula(rows).sample_to, n_samples=FILES * CHUNK, seed=1, rows_per_file=CHUNK)
        expected = sample(scratch / "whole", where="local")
        with a_node_is_lost(made, "_call", scratch / "mark"):
            found = sample(scratch / "lost", where="ray")
        return {"result": "completed", "equal": found.files == expected.files == verify(scratch / "lost").files}


def node_evaluation(scratch: Path, rows: int) -> Figure:
    """Killed in the evaluation."""
    with pytest.MonkeyPatch.context() as patch, nodes(3, scratch / "nodes") as made:
        in_fragments(patch, rows)
        real, synthetic = str(parquet(scratch, rows)), str(scratch / "synthetic")
        copula(rows).sample_to(synthetic, rows, seed=1, where="local")
        expected = statistical_similarity_score(real_data=real, synthetic_data=synthetic)
        with a_node_is_lost(made, "_summarise_fragment", scratch / "mark"):
            found = statistical_similarity_score(real_data=real, synthetic_data=synthetic)
        return {"result": "completed", "equal": found == expected, "score": round(float(found), 6)}


def node_training(scratch: Path, rows: int) -> Figure:
    """Killed in the third epoch of six: those left go on from the checkpoint of the second. A quarter of the rows."""
    rows //= 4
    with nodes(4, scratch / "nodes") as made:
        undisturbed, steps = trained(scratch, "undisturbed", rows)
        with a_worker_is_lost(made, scratch / "lost.mark"):
            lost, steps_lost = trained(scratch, "lost", rows)
        real = frame(rows)
        scores = [
            statistical_similarity_score(real_data=real, synthetic_data=model.sample(rows, seed=1))
            for model in (undisturbed, lost)
        ]
    epochs = [entry["epoch"] for entry in lost.history_]
    right = epochs == list(range(1, EPOCHS + 1)) and steps_lost == steps == EPOCHS * STEPS
    figures = {"steps": [steps, steps_lost], "quality": [round(float(s), 4) for s in scores]}
    return {"result": "completed", "equal": right and abs(scores[0] - scores[1]) <= MARGIN, **figures}


def node_private_training(scratch: Path, rows: int) -> Figure:
    """The same under a budget: the epoch that is repeated uses up charged steps."""
    with nodes(4, scratch / "nodes") as made, a_worker_is_lost(made, scratch / "private.mark"):
        model, steps = trained(scratch, "private", rows // 4, epsilon=2.0, delta=1e-6)
    assert model.privacy_spent_ is not None
    (charged,) = [e.steps for e in model.privacy_spent_.ledger if e.sampling_rate < 1]
    (journal,) = (scratch / "storage" / "private").glob("started-steps-*.json")
    begun, repeated = started_steps(journal), STEPS  # an epoch's steps are counted when it begins
    figures = {"charged": charged, "begun": begun, "in_the_model": steps, "epsilon": model.privacy_spent_.epsilon}
    return {"result": "completed", "equal": begun == charged and steps + repeated == charged, **figures}


def trained(scratch: Path, name: str, rows: int, **budget: float) -> tuple[TabularVAE, int]:
    """A model trained on two nodes, and how many steps its weights have seen; held where NAME.mark is awaited."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    mark = None if name == "undisturbed" else scratch / f"{name}.mark"
    head, results, train = ray.get_runtime_context().get_node_id(), [], distributed.train_on_ray

    def seen(*args: Any, **kwargs: Any) -> Any:
        results.append(train(*args, **kwargs))
        return results[-1]

    with pytest.MonkeyPatch.context() as within:
        within.setattr(vae, "VaeJob", partial(HeldJob, mark=mark, head=head, held_at=LOST_AT))
        within.setattr(distributed, "train_on_ray", seen)
        storage, failures = str(scratch / "storage"), FailureConfig(max_failures=2)
        model = TabularVAE(
            epochs=EPOCHS,
            batch_size=rows // STEPS,
            learning_rate=1e-2,
            checkpoint_every=1,
            seed=0,
            verbose=False,
            scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}, placement_strategy="SPREAD"),
            run_config=RunConfig(name=name, storage_path=storage, failure_config=failures),
            **budget,
        ).fit(frame(rows))
    return model, int(results[0].state["weights"]["steps"])


# ---- a lost driver ---------------------------------------------------------------------------------------------------


def driver_fit(scratch: Path, rows: int) -> Figure:
    """kill -9 in the middle of a training under Ray Train; then the same command, and beside it an undisturbed run."""
    storage, first = scratch / "storage", scratch / "first"
    stopped_driver(fit_on_ray(storage, EPOCHS, run=first), lambda: len(checkpoints(storage / "run")) >= 2)
    left = len(list(scratch.rglob("*.npy")))
    subprocess.run(fit_on_ray(storage, EPOCHS, run=first, undisturbed=scratch / "second"), check=True)
    models = [load_synthetic_model(path) for path in (first, scratch / "second")]
    arrays = [model._model_state()[1] for model in models]
    equal = all(np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items())
    gone = not list(scratch.rglob("*.npy")) and not list(scratch.rglob(f"{PREFIX}*"))
    figures = {"files_of_rows_after_the_kill": left, "after_the_restart": 0 if gone else "some"}
    return {"result": "completed after a restart", "equal": equal and gone and left > 0, **figures}


WRITE = """
import sys
import ray
from raysynth import load_synthetic_model
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         object_store_memory=2 * 10**8)
load_synthetic_model(sys.argv[1]).sample_to(sys.argv[2], int(sys.argv[3]), seed=1, rows_per_file=65536, where="ray")
"""


def driver_sampling(scratch: Path, rows: int) -> Figure:
    """kill -9 once a third of the files is finished; then the same command."""
    model, out = copula(rows), scratch / "killed"
    model.save(scratch / "model")
    expected = model.sample_to(scratch / "whole", 4 * FILES * CHUNK, seed=1, rows_per_file=CHUNK, where="local")
    command = [sys.executable, "-c", WRITE, str(scratch / "model"), str(out), str(4 * FILES * CHUNK)]
    stopped_driver(command, lambda: len(list((out / RECORDS).glob("part-*.json"))) >= 4 * FILES // 3)
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("part-*.parquet")}
    subprocess.run(command, check=True)
    again = sum((out / name).stat().st_mtime_ns != written for name, written in before.items())
    figures = {"files": len(expected.files), "after_the_kill": len(before), "written_again": again}
    return {"result": "completed after a restart", "equal": verify(out).files == expected.files, **figures}


# ---- storage and memory ----------------------------------------------------------------------------------------------


def transient_read(scratch: Path, rows: int) -> Figure:
    """Statistics and shards over a file system whose reads fail, beside those over a sound one."""
    with pytest.MonkeyPatch.context() as patch, nodes(4, scratch / "nodes"):
        in_fragments(patch, rows)
        path, marks, encoder = parquet(scratch, rows), scratch / "marks", copula(rows).encoder_
        marks.mkdir()
        failing = pafs.PyFileSystem(FailingReads(str(marks)))
        table = read_parquet(Found(failing, (pafs.FileInfo(str(path)),), ((),), "a file system that fails"))
        equal = numbers(table, "ray") == numbers(as_table(path), "local")
        sets = [write_shards(t, encoder, scratch / n) for t, n in ((table, "failing"), (as_table(path), "sound"))]
        equal = equal and sets[0].shards == sets[1].shards
    failures = len(list(marks.iterdir()))
    return {"result": "completed", "equal": equal and failures > 0, "failed_reads": failures}


LIMITED = """
import resource, sys
from pathlib import Path
import pandas as pd
from raysynth import TabularVAE, load_synthetic_model
from raysynth.errors import StorageError
scratch, limit = Path(sys.argv[1]), int(sys.argv[2])
model, rows = load_synthetic_model(scratch / "model"), pd.read_parquet(scratch / "rows.parquet")
model.sample(10, seed=1)
vae = TabularVAE(epochs=1, seed=0, verbose=False, batch_size=2000, keep_shards=scratch / "kept")
works = {
    "fit": lambda: vae.fit(rows).save(scratch / "vae"),
    "sample": lambda: model.sample_to(scratch / "rows", 200_000, seed=1, rows_per_file=65536, where="local"),
    "save": lambda: model.save(scratch / "again"),
}
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for name, work in works.items():
    try:
        work()
        print(name, "done")
    except StorageError as error:
        print(name, "refused:", error)
"""


def full_disk(scratch: Path, rows: int) -> Figure:
    """A fit, a sample and a saved model that the system refuses to write; then the same with room."""
    parquet(scratch, rows)
    model = copula(rows)
    model.save(scratch / "model")
    expected = model.sample_to(scratch / "whole", 200_000, seed=1, rows_per_file=CHUNK, where="local")
    command = [sys.executable, "-c", LIMITED, str(scratch)]
    full = subprocess.run([*command, "4096"], check=True, capture_output=True, text=True).stdout
    clear = full.count("refused: cannot write") == 3
    left = [p.name for p in scratch.rglob("*") if p.suffix == ".npy" or p.name in ("vae", "again")]
    left += [p.name for p in (scratch / "rows").rglob("part-*.parquet")]
    room = subprocess.run([*command, "0"], check=True, capture_output=True, text=True).stdout
    own = TabularVAE(epochs=1, seed=0, verbose=False, batch_size=2000).fit(frame(rows))
    fitted = load_synthetic_model(scratch / "vae").sample(1000, seed=1)
    equal = verify(scratch / "rows").files == expected.files and fitted.equals(own.sample(1000, seed=1))
    right = equal and clear and not left and room.count("done") == 3
    return {"result": "a clear error, then completed", "equal": right, "half_written": left}


def object_store(scratch: Path, rows: int) -> Figure:
    """Statistics and shards of a Dataset with half as much again as Ray's stores have room for; blocks go to disk."""
    import ray

    n, at_once = 3 * STORE_BYTES // ROW_BYTES, 100_000
    whole = frame(n)
    stop, most = threading.Event(), [0]
    with nodes(2, scratch / "nodes", store_bytes=STORE_BYTES):
        watcher = threading.Thread(target=watch, args=(scratch / "nodes", stop, most))
        watcher.start()
        dataset = ray.data.from_pandas([whole[i : i + at_once] for i in range(0, n, at_once)]).materialize()
        table, encoder = as_table(dataset), copula(rows).encoder_
        found = numbers(table, "auto")
        shards = write_shards(table, encoder, scratch / "shards")
        stop.set()
        watcher.join()
    local = write_shards(as_table(whole), encoder, scratch / "local")
    equal = found == numbers(as_table(whole), "local") and same_rows(shards, local)
    figures = {
        "dataset_mb": n * ROW_BYTES // 10**6,
        "stores_mb": 2 * STORE_BYTES // 10**6,
        "spilled_mb": most[0] // 10**6,
    }
    return {"result": "completed", "equal": equal and most[0] > 0, **figures}


def watch(folder: Path, stop: threading.Event, most: list[int]) -> None:
    """The most bytes of spilled objects."""
    while not stop.wait(0.2):
        sizes = []
        for path in folder.rglob("spilled/**/*"):
            try:
                sizes.append(path.stat().st_size if path.is_file() else 0)
            except FileNotFoundError:  # deleted while it was looked at
                continue
        most[0] = max(most[0], sum(sizes))


def same_rows(one: ShardSet, other: ShardSet) -> bool:
    """Whether two sets of shards hold the same rows; blocks of a Dataset have no order."""
    hashed = []
    for shards in (one, other):
        rows = shards.share(0, 1)
        block = rows.take(np.arange(len(rows)))
        columns = [*block.codes_NC.T, *block.values_NV.T]
        table = pd.DataFrame(dict(enumerate(columns)))
        hashed.append(np.sort(pd.util.hash_pandas_object(table, index=False).to_numpy()))
    return bool(np.array_equal(*hashed))


CASES: dict[str, Callable[[Path, int], Figure]] = {
    case.__name__: case
    for case in (
        node_statistics,
        node_shards,
        node_sampling,
        node_evaluation,
        node_training,
        node_private_training,
        driver_fit,
        driver_sampling,
        transient_read,
        full_disk,
        object_store,
    )
}
