"""Very large tables: fit and sample at growing numbers of rows, memory, linearity, Ray's share, CTGAN over shards.

    python tests/benchmarks/bench_scale.py --data ../shared/data/adult.csv --folder DIR
        [--rows 5000000 20000000 50000000] [--methods bayesian_network copula] [--parts fit sample ctgan]
        [--ctgan-rows 20000000] [--cores N] [--judge ../shared/bench/judge.py --target income] [--clean]

The tables (15 columns, Parquet of a million rows a row group) are sampled from a copula of the given one, so that rows
are distinct. Each figure comes from a process of its own, with Ray of N cores (all) and 1 GB of object store, started
before the clock. Resumable: figures are kept as lines of FOLDER/figures.jsonl, and one that is there is not measured
again.

peak_mb: the most memory of all processes of the run (`process_memory.py`). worker_mb: of the largest training worker.
ray_share: of the wall time, the part that is Ray's: for each pass over the table (or each round of sampling tasks) its
wall time less the time in which its tasks ran, divided by the cores; by Ray's own record of its tasks (`ray.timeline`).
What the driver computes between passes is our own and counts as such.
cpu_seconds: of all processes from the first row on, Ray's own included; other work on the machine hardly changes them.
quality, useful, unseen: by the judge, of 50,000 rows that a model makes, beside as many of its table and as many others
of the same copula; means over two samples. With --cores 1 under `taskset -c 0`, so that threads have one core, too.
linear: cpu_seconds per row at the most rows, relative to those at the fewest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from bench_statistics import FILE_GROUPS, GROUP_ROWS
from bench_trees import number
from process_memory import cpu_of_run, watched

PARTS = ("fit", "sample", "quality", "ctgan")
STORE_BYTES = 1_000_000_000
CTGAN_BATCH = 5_000
WARM_TASKS = 2 * (os.cpu_count() or 1)
PAUSE = 0.2
CORES, JUDGE = "RAYSYNTH_BENCH_CORES", "RAYSYNTH_BENCH_JUDGE"
JUDGED_ROWS, JUDGED_SEEDS = 50_000, (1, 2)
JUDGED = {"quality": r"quality ([\d.]+)", "useful": r"TSTR (-?[\d.]+)", "unseen": r"unseen ([\d.]+)"}
Figure = dict[str, Any]


def main() -> None:
    """Measure what is missing, then print every figure and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a CSV; the tables are sampled from its copula")
    parser.add_argument("--folder", type=Path, required=True, help="for tables, models and figures")
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000, 20_000_000, 50_000_000])
    parser.add_argument("--methods", nargs="+", default=["bayesian_network", "copula"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["fit", "sample", "ctgan"])
    parser.add_argument("--ctgan-rows", type=int, default=20_000_000)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="of Ray")
    for name in ("judge", "target"):
        parser.add_argument(f"--{name}", default="", help="of the part 'quality'")
    parser.add_argument("--judge-python", default=sys.executable)
    parser.add_argument("--clean", action="store_true", help="delete tables and models at the end")
    parser.add_argument("--one", nargs=3, metavar=("PART", "METHOD", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    if options.one:
        part, method, rows = options.one
        os.environ[CORES] = str(options.cores)
        os.environ[JUDGE] = os.pathsep.join([options.judge_python, options.judge, options.target])
        print(json.dumps(MEASURED[part](options.folder, method, int(rows))))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    figures = [measured(options, *work) for work in works(options)]
    for line in ratios(figures):
        print(json.dumps(line))
    if options.clean:
        for path in options.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)


def works(options: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """(part, method, rows) in order; a model is fitted before it is sampled from."""
    for rows in sorted(options.rows):
        for method in options.methods:
            yield from ((part, method, rows) for part in PARTS[:3] if part in options.parts)
    if "ctgan" in options.parts:
        yield "ctgan", "ctgan", options.ctgan_rows


def measured(options: argparse.Namespace, part: str, method: str, rows: int) -> Figure:
    """One figure: the one that an earlier run kept, or a new one."""
    key = {"part": part, "method": method, "rows": rows, "cores": options.cores}
    record = options.folder / "figures.jsonl"
    kept = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.exists() else []
    for figure in kept:
        if key.items() <= figure.items():
            print(json.dumps(figure), flush=True)
            return figure
    make_table(options.data, options.folder, rows)
    command = [sys.executable, __file__, "--folder", str(options.folder), "--cores", str(options.cores)]
    command += ["--judge", options.judge, "--judge-python", options.judge_python, "--target", options.target]
    command += ["--one", part, method, str(rows)]
    run = watched(command)
    peaks = {"peak_mb": round(run.peak_mb), "worker_mb": round(run.worker_mb)}
    figure = {**key, **json.loads(run.last_line), **{k: v for k, v in peaks.items() if v}}
    with open(record, "a", encoding="utf-8") as file:
        file.write(json.dumps(figure) + "\n")
    print(json.dumps(figure), flush=True)
    return figure


def make_table(data: str | None, folder: Path, rows: int) -> None:
    """FOLDER/table-ROWS, made once; an interrupted making goes on."""
    from raysynth import GaussianCopula

    target = table_of(folder, rows)
    if (target / "_raysynth" / "manifest.json").exists():
        return
    if data is None:
        raise SystemExit(f"--data: a CSV to make the table of {rows:,} rows from")
    model = GaussianCopula(seed=0, verbose=False).fit(data)
    model.sample(JUDGED_ROWS, seed=8).to_parquet(folder / "unseen.parquet", index=False)
    model.sample_to(target, rows, seed=7, rows_per_file=GROUP_ROWS * FILE_GROUPS, row_group_rows=GROUP_ROWS)


def table_of(folder: Path, rows: int) -> Path:
    """The folder of a table."""
    return folder / f"table-{rows}"


# ---- one figure, in a process of its own -----------------------------------------------------------------------------


def fit(folder: Path, method: str, rows: int) -> Figure:
    """Seconds of a fit and Ray's share of them; the model stays for `sample`."""
    from raysynth.methods.registry import synthesizer_class

    ray = started_ray()
    passes = timed_passes()
    begun, cpu = time.perf_counter(), cpu_of_run()
    model = synthesizer_class(method)(seed=0, verbose=False).fit(str(table_of(folder, rows)))
    seconds, cpu = time.perf_counter() - begun, cpu_of_run() - cpu
    model.save(folder / f"{method}-{rows}.raysynth")
    stages = {s.name: round(s.seconds, 2) for s in model.stages_}
    size = sum(p.stat().st_size for p in table_of(folder, rows).glob("*.parquet"))
    figure = {"seconds": round(seconds, 2), "rows_per_second": round(rows / seconds), "bytes": size, "stages": stages}
    return {
        **figure,
        "cpu_seconds": round(cpu, 1),
        "passes": len(passes),
        "each_pass": [round(s, 2) for s in passes],
        **ray_share(ray, sum(passes), seconds),
    }


def sample(folder: Path, method: str, rows: int) -> Figure:
    """Seconds of sampling as many rows to Parquet over Ray; they are deleted."""
    from raysynth import load_synthetic_model

    ray = started_ray()
    model = load_synthetic_model(folder / f"{method}-{rows}.raysynth")
    out = folder / f"sample-{uuid.uuid4().hex}"
    begun, cpu = time.perf_counter(), cpu_of_run()
    try:
        manifest = model.sample_to(out, rows, seed=1, where="ray")
        seconds, cpu = time.perf_counter() - begun, cpu_of_run() - cpu
    finally:
        shutil.rmtree(out, ignore_errors=True)
    size = sum(f.bytes for f in manifest.files)
    figure = {"seconds": round(seconds, 2), "rows_per_second": round(rows / seconds), "bytes": size}
    return {**figure, "cpu_seconds": round(cpu, 1), **ray_share(ray, seconds, seconds)}


def quality(folder: Path, method: str, rows: int) -> Figure:
    """What the judge says of made rows; see the first lines of this file."""
    import pyarrow.parquet as pq

    from raysynth import load_synthetic_model

    python, judge, target = os.environ[JUDGE].split(os.pathsep)
    model = load_synthetic_model(folder / f"{method}-{rows}.raysynth")
    found: dict[str, list[float]] = {name: [] for name in JUDGED}
    with tempfile.TemporaryDirectory() as name:
        train, made = Path(name) / "train.parquet", Path(name) / "made.parquet"
        first = pq.ParquetFile(min(table_of(folder, rows).glob("*.parquet")))
        next(first.iter_batches(JUDGED_ROWS)).to_pandas().to_parquet(train, index=False)
        for seed in JUDGED_SEEDS:
            model.sample(JUDGED_ROWS, seed=seed).to_parquet(made, index=False)
            files = [str(f) for f in (train, folder / "unseen.parquet", made)]
            said = subprocess.run(
                [python, judge, "score", *files, target], check=True, capture_output=True, text=True
            ).stdout
            for figure, pattern in JUDGED.items():
                found[figure].append(number(pattern, said))
    return {figure: round(sum(each) / len(each), 4) for figure, each in found.items()}


def ctgan(folder: Path, method: str, rows: int) -> Figure:
    """One epoch of CTGAN over all rows as memory-mapped shards, by one worker for each core."""
    from ray.train import RunConfig, ScalingConfig

    from raysynth import CTGAN

    started_ray()
    workers = cores()
    scaling = ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 0.9})
    with_storage = RunConfig(name=uuid.uuid4().hex, storage_path=str(folder / "runs"))
    model = CTGAN(
        seed=0,
        epochs=1,
        batch_size=CTGAN_BATCH,
        verbose=False,
        scaling_config=scaling,
        run_config=with_storage,
    )
    begun = time.perf_counter()
    try:
        model.fit(str(table_of(folder, rows)))
    finally:
        shutil.rmtree(folder / "runs", ignore_errors=True)
    seconds = time.perf_counter() - begun
    stages = {s.name: s.record() for s in model.stages_}
    return {
        "seconds": round(seconds, 2),
        "workers": workers,
        "batch": CTGAN_BATCH,
        "shard_seconds": stages["shards"]["seconds"],
        "shard_bytes_per_row": round(stages["shards"]["bytes"] / rows, 1),
        "training_seconds": stages["training"]["seconds"],
        "trained_rows_per_second": stages["training"]["rows_per_second"],
        "epoch_seconds": round(model.history_[-1]["seconds"], 2),  # of the training without Ray Train's start
    }


MEASURED: dict[str, Callable[[Path, str, int], Figure]] = dict(zip(PARTS, (fit, sample, quality, ctgan), strict=True))


def started_ray() -> Any:
    """Ray on all cores of this machine, with one task done by each of its workers."""
    import ray

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=cores(), object_store_memory=STORE_BYTES, **quiet)  # not a cluster that others left
    task = ray.remote(num_cpus=1)(pause)
    ray.get([task.remote() for _ in range(WARM_TASKS)])
    return ray


def cores() -> int:
    """Of Ray, in the process of a figure."""
    return int(os.environ.get(CORES, os.cpu_count() or 1))


def pause() -> None:
    """What the first task of a worker does, before the clock runs."""
    time.sleep(PAUSE)


def timed_passes() -> list[float]:
    """The seconds of each pass over Ray from now on, appended as they end; what is done with its results included."""
    from raysynth.running import ray as ray_execution

    seconds: list[float] = []

    def timed(run: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return run(*args, **kwargs)
            finally:
                seconds.append(time.perf_counter() - begun)

        return wrapped

    inner = ray_execution.made_in_order_on_ray

    def made_in_order(*args: Any) -> Iterator[Any]:
        begun = time.perf_counter()
        yield from inner(*args)
        seconds.append(time.perf_counter() - begun)

    vars(ray_execution)["made_in_order_on_ray"] = made_in_order
    vars(ray_execution)["summarise_on_ray"] = timed(ray_execution.summarise_on_ray)
    return seconds


def ray_share(ray: Any, pass_seconds: float, wall_seconds: float) -> Figure:
    """Ray's part of the wall time; see the first lines of this file."""
    ran = 0.0
    for _ in range(20):  # workers hand their records on once a second
        times = [e["dur"] / 1e6 for e in ray.timeline() if e.get("cat") == "task:execute"]
        before, ran = ran, sum(times) - PAUSE * WARM_TASKS
        if ran and ran == before:
            break
        time.sleep(1)
    idle = pass_seconds - ran / cores()
    return {"pass_seconds": round(pass_seconds, 2), "ray_share": round(idle / wall_seconds, 3)}


def ratios(figures: list[Figure]) -> Iterator[Figure]:
    """How time and memory grow with the rows."""
    for part in ("fit", "sample"):
        for method in dict.fromkeys(f["method"] for f in figures if f["part"] == part):
            found = sorted((f for f in figures if (f["part"], f["method"]) == (part, method)), key=lambda f: f["rows"])
            few, many = found[0], found[-1]
            if few is not many:
                linear = (many["cpu_seconds"] / many["rows"]) / (few["cpu_seconds"] / few["rows"])
                yield {"part": part, "method": method, "rows": [few["rows"], many["rows"]], "linear": round(linear, 3)}


if __name__ == "__main__":
    main()
