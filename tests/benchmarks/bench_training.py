"""Training over Ray Train: throughput and memory of one and two workers, and whether two learn as well as one; and what
`compile_step` is worth.

    python tests/benchmarks/bench_training.py throughput --data ../shared/data/adult.csv --method tvae --rows 10000000
    python tests/benchmarks/bench_training.py equivalence --data ../shared/data/adult.csv --target income \
        --judge ../shared/bench/judge.py --peer-python VENV/bin/python --method tvae --out runs.jsonl

`throughput` makes a table by sampling from a Bayesian network of the data (`--rows` rows in Parquet, kept in `--work`),
then trains one epoch with 1 and with 2 workers (`--workers`) of one core each (one torch thread, through
OMP_NUM_THREADS); prints rows per second of the training stage, their ratio, and the peak memory of each worker: the
largest `Pss_Anon + Pss_Shmem` of a process of Ray Train that is at work, sampled twice a second.
`ingestion` encodes that table in turns onto this machine's disk and, over Ray's object store, onto the scratch disk of
two workers that check their shares; prints the medians of `--turns` turns.
`equivalence` fits with 1 and 2 workers and `--seeds` seeds, judges each, and prints the difference of the mean
qualities with its 90 % interval (two one-sided tests at 5 %, margin 0.01); `--out` keeps finished fits.
`step` trains with and without `compile_step`, in turns of `--steps` steps on one thread (or on the first GPU, where
there is one), and prints the milliseconds of a step, the seconds that compiling took, and the most that a default fit
of this table, all its epochs, wins by it. On a CPU times are the processor's, so that others at work do not count.

    python tests/benchmarks/bench_training.py step --data ../shared/data/adult.csv --method tvae
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent.parent))
from process_memory import own_bytes, train_workers
from shards import write_shards

from raysynth.methods.base import Synthesizer
from raysynth.methods.registry import synthesizer_class
from raysynth.training.shards import ShardSet, stream_shards

MARGIN = 0.01


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", choices=["throughput", "ingestion", "equivalence", "step"])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--method", default="tvae")
    parser.add_argument("--epochs", type=int, help="default: 1 for throughput, the method's own for equivalence")
    parser.add_argument("--batch-size", type=int, help="of all workers together; default: the method's own")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the table of throughput and ingestion")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of throughput")
    parser.add_argument("--work", help="folder that keeps the sampled table; default: a temporary one")
    parser.add_argument("--turns", type=int, default=3, help="of ingestion")
    parser.add_argument("--target", help="column to predict (equivalence)")
    parser.add_argument("--judge", help="path of judge.py (equivalence)")
    parser.add_argument("--peer-python", help="a Python with sdmetrics (equivalence)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", help="JSON lines of finished fits (equivalence)")
    parser.add_argument("--steps", type=int, default=40, help="of each of ten turns (step)")
    options = parser.parse_args()
    os.environ.update({"RAYSYNTH_QUIET": "1", "OMP_NUM_THREADS": "1"})
    if options.bench == "step":
        print(json.dumps(steps_compared(options)))
        return
    with tempfile.TemporaryDirectory(prefix="raysynth-bench-") as scratch, cluster():
        folder = Path(options.work or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.bench == "throughput":
            throughput(options, folder)
        elif options.bench == "ingestion":
            print(json.dumps(ingestion(options, folder)))
        else:
            equivalence(options, folder)


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray of two cores in which each process computes with one thread."""
    import ray

    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=1_000_000_000,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    try:
        yield
    finally:
        ray.shutdown()


# ---- throughput and memory -------------------------------------------------------------------------------------------


def throughput(options: argparse.Namespace, folder: Path) -> None:
    """Rows per second and peak memory with each number of workers."""
    table = sampled_table(options.data, folder, options.rows)
    figures: dict[str, Any] = {"bench": "throughput", "method": options.method, "rows": options.rows}
    for workers in options.workers:
        watch = MemoryWatch()
        with watch.watching():
            model = fitted(options, table, workers, seed=0, epochs=options.epochs or 1)
        seconds = sum(e["seconds"] for e in model.history_)  # type: ignore[attr-defined]
        epochs = len(model.history_)  # type: ignore[attr-defined]
        figures[f"rows_per_second_{workers}"] = round(options.rows * epochs / seconds)
        figures[f"worker_peak_gb_{workers}"] = round(watch.peak_bytes / 1e9, 3)
        print(json.dumps(figures), flush=True)
    if {1, 2} <= set(options.workers):
        figures["ratio"] = round(figures["rows_per_second_2"] / figures["rows_per_second_1"], 3)
        print(json.dumps(figures))


def sampled_table(data: str, folder: Path, rows: int) -> Path:
    """A folder of Parquet of so many rows like the data's; sampled again only what is missing."""
    from raysynth import BayesianNetworkSynthesizer

    path = folder / f"table-{rows}"
    BayesianNetworkSynthesizer(seed=0, verbose=False).fit(pd.read_csv(data)).sample_to(path, rows, seed=1)
    return path


class MemoryWatch:
    """The largest memory that one process of Ray Train's workers holds, of its own or shared (not mapped files)."""

    def __init__(self) -> None:
        self.peak_bytes = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look twice a second while the block runs."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.5):
                self.peak_bytes = max([self.peak_bytes, *(own_bytes(pid) for pid in train_workers())])

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


# ---- rows on their way to the workers --------------------------------------------------------------------------------


def ingestion(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of encoding onto this machine's disk, and onto the workers' scratch disks."""
    from raysynth import GaussianCopula
    from raysynth.data.table import as_table

    table = as_table(str(sampled_table(options.data, folder, options.rows)))
    encoder = GaussianCopula(seed=0, verbose=False).fit(options.data).encoder_
    ways: dict[str, Callable[[Any, Any, Path], Any]] = {"written": write_shards, "handed": handed}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.turns + 1):  # the first one starts Ray's workers
        for name, encode in ways.items():
            began = time.perf_counter()
            encode(table, encoder, folder / f"shards-{turn}")
            took[name].append(time.perf_counter() - began)
            shutil.rmtree(folder / f"shards-{turn}", ignore_errors=True)
    seconds = {f"{name}_seconds": float(np.median(each[1:])) for name, each in took.items()}
    ratio = round(seconds["handed_seconds"] / seconds["written_seconds"], 3)
    return {"bench": "ingestion", "rows": options.rows, "turns": options.turns, **seconds, "ratio": ratio}


def handed(table: Any, encoder: Any, folder: Path) -> None:
    """Encoded, handed over, and laid on the scratch disk by two workers, each of which opens and checks its share."""
    import ray

    from raysynth.training.scratch import handing

    with handing() as out:
        shards = ShardSet(folder, stream_shards(table, encoder, out.put), out.files)
        share = ray.remote(num_cpus=1)(lambda rank: len(shards.share(rank, 2)))
        assert sum(ray.get([share.remote(rank) for rank in (0, 1)])) == shards.n_rows


# ---- two workers learn as well as one --------------------------------------------------------------------------------


def equivalence(options: argparse.Namespace, folder: Path) -> None:
    """Quality by the judge for each seed with 1 and 2 workers, and the interval of the difference."""
    judge(options, "split", options.data, str(folder))
    done = finished(options.out)
    for seed in range(options.seeds):
        for workers in (1, 2):
            if (workers, seed) not in done:
                done[workers, seed] = one_fit(options, folder, workers, seed)
                if options.out:
                    with open(options.out, "a", encoding="utf-8") as file:
                        file.write(json.dumps(done[workers, seed]) + "\n")
            print(json.dumps(done[workers, seed]), flush=True)
    quality = {w: np.array([done[w, s]["quality"] for s in range(options.seeds)]) for w in (1, 2)}
    difference = quality[2].mean() - quality[1].mean()
    print(json.dumps({"difference": difference, **interval(quality[1], quality[2])}))


def interval(one: np.ndarray, two: np.ndarray) -> dict[str, Any]:
    """90 % interval of the difference of the means (Welch), and whether it lies within the margin."""
    from scipy.stats import t

    parts = [a.var(ddof=1) / len(a) for a in (one, two)]
    error = np.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / max(sum(p**2 / (len(one) - 1) for p in parts), 1e-300)
    half = float(t.ppf(0.95, freedom) * error)
    middle = float(two.mean() - one.mean())
    return {"low": middle - half, "high": middle + half, "equivalent": abs(middle) + half < MARGIN}


def one_fit(options: argparse.Namespace, folder: Path, workers: int, seed: int) -> dict[str, Any]:
    """Fit, sample, judge."""
    begun = time.perf_counter()
    model = fitted(options, folder / "train.csv", workers, seed, options.epochs)
    seconds = time.perf_counter() - begun
    out = folder / "synthetic.csv"
    model.sample(len(pd.read_csv(folder / "train.csv")), seed=seed).to_csv(out, index=False)
    scored = judge(options, "score", str(folder / "train.csv"), str(folder / "test.csv"), str(out), options.target)
    names = ("quality", "TSTR")
    figures = {n: float(re.search(rf"{n} (-?[\d.]+)", scored)[1]) for n in names}  # type: ignore[index]
    return {"method": options.method, "workers": workers, "seed": seed, "fit_seconds": round(seconds, 1), **figures}


def judge(options: argparse.Namespace, *arguments: str) -> str:
    """What the judge prints."""
    command = [options.peer_python, options.judge, *arguments]
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def finished(path: str | None) -> dict[tuple[int, int], dict[str, Any]]:
    """Fits that an earlier run kept."""
    if path is None or not Path(path).exists():
        return {}
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {(r["workers"], r["seed"]): r for r in records}


def fitted(options: argparse.Namespace, data: Path, workers: int, seed: int, epochs: int | None) -> Synthesizer:
    """A model trained by Ray Train's workers of one core each."""
    from ray.train import ScalingConfig

    parameters: dict[str, Any] = {"epochs": epochs, "batch_size": options.batch_size}
    given = {k: v for k, v in parameters.items() if v is not None}
    scaling = ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 0.9})
    model = synthesizer_class(options.method)(seed=seed, verbose=False, scaling_config=scaling, **given)
    return model.fit(str(data))


# ---- compiled steps --------------------------------------------------------------------------------------------------


def steps_compared(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step, plain and compiled."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # whose work is then this process's, and counted
    import torch

    from raysynth.training.job import average_alone, default_device

    torch.set_num_threads(1)
    job, rows = captured(options)
    device, size = default_device(), job.settings.batch_size
    steps = len(rows) // size
    batches = job.batches(rows, batch_size=size, steps=steps, rank=0, device=device)
    turns = Turns(batches, device, options.steps)
    learners = [
        replace(job, settings=replace(job.settings, compile_step=wanted)).learner(device, average_alone)
        for wanted in (False, True)
    ]
    begun = spent(device)
    turns.seconds(learners[1], 4)  # compiles; a CUDA graph is recorded and replayed
    compiling = spent(device) - begun
    turns.seconds(learners[0], 4)
    each = np.array([[turns.seconds(learner) for learner in learners] for _ in range(10)]) / options.steps
    plain, fast = np.median(each, axis=0)
    return {
        "bench": "step",
        "method": options.method,
        "device": str(device),
        "plain_ms": round(1e3 * plain, 3),
        "compiled_ms": round(1e3 * fast, 3),
        "compile_seconds": round(compiling, 1),
        "steps_of_a_fit": job.settings.epochs * steps,
        "won_seconds_at_most": round((plain - fast) * job.settings.epochs * steps, 1),
    }


def captured(options: argparse.Namespace) -> tuple[Any, Any]:
    """The job and the rows that a default fit in this process trains."""

    class Captured(Exception):
        pass

    def capture(job: Any, rows: Any, **_: Any) -> None:
        raise Captured(job, rows)

    given = {k: v for k, v in {"epochs": options.epochs, "batch_size": options.batch_size}.items() if v is not None}
    with mock.patch("raysynth.methods.shared.neural.train_here", capture):
        try:
            synthesizer_class(options.method)(seed=0, verbose=False, **given).fit(pd.read_csv(options.data))
        except Captured as found:
            job, rows = found.args
            return job, rows
    raise SystemExit(f"{options.method} trains no network")


class Turns:
    """Steps on training batches, the same ones for each learner."""

    def __init__(self, batches: Any, device: Any, steps: int) -> None:
        from raysynth.training.batches import ValidationBatch

        needed = [b for b in islice(batches.epoch(0), steps) if not isinstance(b, ValidationBatch)]
        self.batches, self.device = needed, device

    def seconds(self, learner: Any, steps: int | None = None) -> float:
        """What a turn takes."""
        import torch

        rng = torch.Generator(self.device).manual_seed(0)
        begun = spent(self.device)
        for batch in self.batches[:steps]:
            learner.step(batch, rng)
        return spent(self.device) - begun


def spent(device: Any) -> float:
    """Seconds of a GPU that has done all it was asked for, or of this processor, compilers included."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


if __name__ == "__main__":
    main()
