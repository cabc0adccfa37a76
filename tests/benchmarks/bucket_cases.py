"""The cases of `bench_faults.py` on nodes that share no disk: a bucket (moto) alone in common, and a node is killed.

Each family is fitted from Parquet in the bucket, kept there, and its sample is written there; a node with its scratch
disk is lost in the middle of the fit, and another in the middle of the sample. What is counted, and every sample, is
that of one process; a training has as many epochs (tvae: 'same_weights' as an undisturbed run, or not). At the end no
node keeps a file of rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import pandas as pd
import pyarrow.fs as pafs
import pytest
from fault_cases import CHUNK, EPOCHS, STEPS, Figure, frame, in_fragments
from faults import Nodes, a_node_is_lost, killing, nodes
from object_store import object_store

from raysynth import load_synthetic_model
from raysynth.evaluation import statistical_similarity_score
from raysynth.files.storage import place
from raysynth.methods.base import Synthesizer
from raysynth.methods.registry import METHODS, synthesizer_class
from raysynth.sampling.writer import verify
from raysynth.training.private_batches import started_steps
from raysynth.tuning import on_ray, sweep

COUNTED = ("copula", "bayesian_network", "trees")  # learn from passes over the table, and train no network
OF_SEQUENCES = ("timegan", "autoregressive_sequences")
SEQUENCE = 8
SMALL: dict[str, dict[str, Any]] = {  # networks whose epochs take a second
    "gan": {"embedding_dim": 8, "generator_dim": (16,), "discriminator_dim": (16,)},
    "tvae": {"latent_dim": 2, "encoder_layers": (16,), "decoder_layers": (16,), "prior_components": 2},
    "timegan": {"hidden_dim": 8},
    "autoregressive": {"width": 16, "hidden": 16, "layers": 1},
    "autoregressive_sequences": {"units": 16, "width": 16, "hidden": 8},
}
SMALL |= {"ctgan": SMALL["gan"], "conditional_gan": {**SMALL["gan"], "conditional_columns": ["c"]}}
SMALL |= {"dp_tvae": {**SMALL["tvae"], "epsilon": 2.0, "delta": 1e-6}}


@dataclass(frozen=True)
class Apart:
    """Nodes with a bucket in common, and a table in it.

    Args:
        made: the nodes. store: the bucket's file system.
        table: URI of a folder of Parquet files. rows: the same in memory.
        scratch: of the driver, for marks.
    """

    made: Nodes
    store: pafs.FileSystem
    table: str
    rows: pd.DataFrame
    scratch: Path

    def left(self) -> list[str]:
        """Files of rows on the nodes' own disks."""
        return [str(path) for path in self.made.rows()]


@contextmanager
def apart(scratch: Path, n_nodes: int, rows: pd.DataFrame) -> Iterator[Apart]:
    """So many nodes, a bucket and a table of two files in it."""
    with object_store("127.0.0.1") as store, pytest.MonkeyPatch.context() as patch:
        in_fragments(patch, len(rows))
        for part in range(2):
            half = rows.iloc[part * len(rows) // 2 : (part + 1) * len(rows) // 2]
            with store.open_output_stream(f"bucket/table/part-{part}.parquet") as stream:
                half.to_parquet(stream, index=False, row_group_size=max(1, len(rows) // 20))
        with nodes(n_nodes, scratch / "nodes") as made:
            yield Apart(made, store, "s3://bucket/table", rows, scratch)


def panel(rows: int) -> pd.DataFrame:
    """Sequences of eight steps whose level differs by group."""
    n, rng = rows // SEQUENCE, np.random.default_rng(3)
    group = rng.choice(["a", "b"], n)
    x = np.cumsum(rng.normal(size=(n, SEQUENCE)), axis=1) + np.where(group == "a", 0.0, 5.0)[:, None]
    return pd.DataFrame({"id": np.repeat(np.arange(n), SEQUENCE), "g": np.repeat(group, SEQUENCE), "x": x.ravel()})


# ---- a family --------------------------------------------------------------------------------------------------------


def family(method: str, n_nodes: int, scratch: Path, rows: int) -> Figure:
    """Fitted though a node is lost, kept, loaded and sampled though another is lost."""
    rows = rows if method in COUNTED else rows // 8
    data = panel(rows) if method in OF_SEQUENCES else frame(rows)
    with apart(scratch, n_nodes, data) as here:
        model, found = (counted if method in COUNTED else trained)(here, method, n_nodes)
        model.save("s3://bucket/model.raysynth")
        loaded = load_synthetic_model("s3://bucket/model.raysynth")
        equal = found.pop("equal") and loaded.sample(200, seed=1).equals(model.sample(200, seed=1))
        if method not in OF_SEQUENCES:
            equal = equal and sampled(here, loaded, n_nodes + 1)
        left = here.left()
    return {"result": "completed", "equal": equal and not left, "nodes": n_nodes, "left": left, **found}


def holder_on(node_id: str) -> Any:
    """An actor that holds the one processor of a node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Holder:
        def holds(self) -> bool:
            return True

    there = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    holder = ray.remote(num_cpus=1, scheduling_strategy=there)(Holder).remote()
    assert ray.get(holder.holds.remote())
    return holder


def counted(here: Apart, method: str, n_nodes: int) -> tuple[Synthesizer, Figure]:
    """A node is lost in the statistics; the model is that of one process."""
    with a_node_is_lost(here.made, "_summarise_fragment", here.scratch / "fit"):
        model = synthesizer_class(method)(seed=0, verbose=False).fit(here.table)
    alone = synthesizer_class(method)(seed=0, verbose=False).fit(here.rows)
    return model, {"equal": model.sample(500, seed=2).equals(alone.sample(500, seed=2))}


def trained(here: Apart, method: str, n_nodes: int) -> tuple[Synthesizer, Figure]:
    """The node of a worker is lost after a third of the epochs, and another one, which was busy, takes its place."""
    import ray

    undisturbed = trained_on(here, method, n_nodes, "undisturbed") if method == "tvae" else None
    mark, run = here.scratch / "lost", place("s3://bucket/runs/lost")
    lost = next(iter(here.made.scratch))

    busy = holder_on(here.made.add().node_id)  # Ray adds nodes in the main thread alone

    def replaced() -> str:
        ray.kill(busy)
        return lost

    with killing(here.made, mark, replaced), reaching(run, EPOCHS // 3, mark):
        model = trained_on(here, method, n_nodes, "lost")
    killed_before_the_end = not (here.scratch / "lost.over").exists()
    compared = {}
    if undisturbed is not None:
        one, other = (m._model_state()[1] for m in (undisturbed, model))
        compared = {"same_weights": all(np.array_equal(array, other[name]) for name, array in one.items())}
    epochs = [int(entry["epoch"]) for entry in model.history_]
    paid = charged(model, run)
    equal = epochs == list(range(1, EPOCHS + 1)) and killed_before_the_end and paid.get("charged") == paid.get("begun")
    return model, {"equal": equal, **compared, **paid}


def charged(model: Synthesizer, run: Any) -> Figure:
    """Under a budget: steps that were begun, repeated ones too, are those that the ledger was charged with."""
    if model.privacy_spent_ is None:
        return {}
    (events,) = [e.steps for e in model.privacy_spent_.ledger if e.sampling_rate < 1]
    (journal,) = (name for name in run.sizes() if name.rpartition("/")[2].startswith("started-steps-"))
    return {"charged": events, "begun": started_steps(run / journal), "epsilon": model.privacy_spent_.epsilon}


def trained_on(here: Apart, method: str, n_nodes: int, name: str) -> Any:
    """A fit by a worker on each node, with its checkpoints in the bucket."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    scaling = ScalingConfig(num_workers=n_nodes, resources_per_worker={"CPU": 1}, placement_strategy="STRICT_SPREAD")
    run = RunConfig(name=name, storage_path="s3://bucket/runs", failure_config=FailureConfig(max_failures=3))
    sequences = {"sequence_key": "id"} if method in OF_SEQUENCES else {}
    units = here.rows["id"].nunique() if method in OF_SEQUENCES else len(here.rows)
    batch = max(1, units // STEPS // (10 * n_nodes)) * 10 * n_nodes  # packs of ten for each worker
    common = {"epochs": EPOCHS, "batch_size": batch, "checkpoint_every": 1, "seed": 0, "verbose": False}
    settings = {**common, **SMALL[method], **sequences, "scaling_config": scaling, "run_config": run}
    return synthesizer_class(method)(**settings).fit(here.table)


@contextmanager
def reaching(run: Any, checkpoints: int, mark: Path) -> Iterator[None]:
    """Makes the mark once so many checkpoints of a run are in the bucket."""
    import threading

    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            found = {name.partition("/")[0] for name in run.sizes() if name.startswith("checkpoint_")}
            if len(found) >= checkpoints:
                mark.touch()
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def sampled(here: Apart, model: Synthesizer, n_files: int) -> bool:
    """A node is lost while files are written into the bucket, one on each; whether they are those of one process."""
    write = partial(model.sample_to, n_samples=n_files * CHUNK, seed=1, rows_per_file=CHUNK)
    expected = write(here.scratch / "whole", where="local")
    with a_node_is_lost(here.made, "_call", here.scratch / "sample"):
        found = write("s3://bucket/made", where="ray")
    return found.files == expected.files == verify("s3://bucket/made").files


# ---- what follows a fit ----------------------------------------------------------------------------------------------


def bucket_evaluation(scratch: Path, rows: int) -> Figure:
    """Two tables in the bucket are compared, and a node is lost meanwhile."""
    with apart(scratch, 2, frame(rows)) as here:
        synthesizer_class("copula")(seed=0, verbose=False).fit(here.rows).sample_to("s3://bucket/made", rows, seed=1)
        with a_node_is_lost(here.made, "_summarise_fragment", scratch / "mark"):
            found = statistical_similarity_score(here.table, "s3://bucket/made")
        expected = statistical_similarity_score(here.table, "s3://bucket/made")
        left = here.left()
    return {"result": "completed", "equal": found == expected and not left, "left": left, "score": round(found, 6)}


def bucket_sweep(scratch: Path, rows: int) -> Figure:
    """Trials on all nodes, results in the bucket; a node is lost with a trial, and nothing is done twice."""
    wanted: dict[str, Any] = {"methods": ["copula", "bayesian_network"], "n_seeds": 3, "target_columns": "c"}
    with apart(scratch, 2, frame(rows // 10)) as here:
        with a_node_is_lost(here.made, "_trainable", scratch / "mark", on_ray):
            found = sweep(here.table, out="s3://bucket/choice", **wanted)
        again = sweep(here.table, out="s3://bucket/choice", **wanted)
        whole = sweep(here.table, out="s3://bucket/undisturbed", **wanted)
        left = here.left()
    figures = [{r.trial.key: r.figures for r in s.results} for s in (found, whole)]
    equal = figures[0] == figures[1] and again.repeated == len(found.results) == 6
    return {"result": "completed", "equal": equal and not left, "left": left, "trials": len(found.results)}


BUCKET_CASES: dict[str, Callable[[Path, int], Figure]] = {f"bucket_{m}": partial(family, m, 2) for m in METHODS}
BUCKET_CASES |= {f"bucket_{m}_4": partial(family, m, 4) for m in ("copula", "tvae", "dp_tvae")}
BUCKET_CASES |= {case.__name__: case for case in (bucket_evaluation, bucket_sweep)}
