"""Sweeps: the trade-off on Adult with a kill half-way, trials side by side, and what Ray Tune adds to a trial.

    python tests/benchmarks/bench_sweep.py tradeoff --data ../shared/data/adult.csv --out DIR [--rows 10000]
    python tests/benchmarks/bench_sweep.py parallel --data ../shared/data/adult.csv [--trials 4] [--epochs 20]
    python tests/benchmarks/bench_sweep.py overhead --data ../shared/data/adult.csv [--trials 12]
    python tests/benchmarks/bench_sweep.py stopping --data ../shared/data/adult.csv [--trials 8] [--epochs 30]
    python tests/benchmarks/bench_sweep.py stages --data ../shared/data/adult.csv [--methods M,M] [--seeds 3]

`tradeoff`: 4 methods x epsilons 0.5, 1, 3 and infinity x 3 seeds at the methods' default epochs, in a process that is
killed when half of the trials are finished, and started again; DIR holds the report, and the same command goes on after
a stop. Prints a line for each setting; for each method utility(inf) - utility(0.5) with Welch's 95 % interval;
what was repeated, and the seconds. `parallel`: fits of a VAE, one and two at a time. `overhead`: seconds of a sweep
beyond those of its trials, one at a time, for each trial. `stages`: medians of the seconds of a trial and its stages,
one at a time, without a budget: what trials share they take from the first. `stopping`: the same settings of a VAE,
all to their end and with ASHA, then as many that Optuna draws. Every trial runs on one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from raysynth.tuning import SweepResult, sweep

METHODS = "ctgan,tvae,copula,bayesian_network"
EPSILONS = (0.5, 1.0, 3.0, math.inf)
CPUS = 2
_LOOK_EVERY = 1.0  # seconds


def main() -> None:
    """Run the chosen part."""
    warnings.filterwarnings("ignore")
    os.environ |= {"RAYSYNTH_QUIET": "1", "OMP_NUM_THREADS": "1"}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", required=True, help="Adult as CSV")
    parser.add_argument("--out", help="folder of a resumable run")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--methods", default=METHODS, help="of tradeoff")
    parser.add_argument("--seeds", type=int, default=3, help="of tradeoff")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--epochs", type=int, help="of tradeoff: instead of the defaults, for a smoke test")
    options = parser.parse_args()
    for figure in PARTS[options.part](options):
        print(json.dumps(figure), flush=True)


def adult(options: argparse.Namespace) -> pd.DataFrame:
    """Rows of Adult, drawn at random."""
    data = pd.read_csv(options.data, skipinitialspace=True)
    return data.sample(options.rows, random_state=0).reset_index(drop=True)


# ---------------------------------------------------------------------------------------------------------- trade-off


def tradeoff(options: argparse.Namespace) -> Any:
    """The sweep in a child process, killed when half is done; then the figures of the folder."""
    folder = Path(options.out or tempfile.mkdtemp())
    trials = folder / "sweep" / "trials"
    n = len(options.methods.split(",")) * len(EPSILONS) * options.seeds
    kill_note, seconds_note = folder / "killed.json", folder / "seconds.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    if not kill_note.exists():
        spent = child(options, folder, lambda: len(finished(trials)) >= n // 2)
        kill_note.write_text(json.dumps(finished(trials)))
        add_line(seconds_note, spent)
    add_line(seconds_note, child(options, folder, lambda: False))
    before, after = json.loads(kill_note.read_text()), finished(trials)
    yield from judged(json.loads((folder / "record.json").read_text())["trials"])
    yield {
        "trials": len(after),
        "finished_at_the_kill": len(before),
        "of_these_run_again": sum(after.get(name) != when for name, when in before.items()),
        "seconds_of_each_start": [float(line) for line in seconds_note.read_text().split()],
        "report": str(folder / "report.html"),
    }


def child(options: argparse.Namespace, folder: Path, is_enough: Any) -> float:
    """Run `once` in a process group of its own, killed where it is enough; seconds."""
    words = [sys.executable, __file__, "once", "--data", options.data, "--out", str(folder)]
    for name in ("rows", "methods", "seeds", "epochs"):
        if getattr(options, name) is not None:
            words += [f"--{name}", str(getattr(options, name))]
    begun = time.perf_counter()
    process = subprocess.Popen(words, start_new_session=True)
    while process.poll() is None:
        if is_enough():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            time.sleep(_LOOK_EVERY)
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the sweep ended with {process.returncode}")
    return round(time.perf_counter() - begun, 1)


def once(options: argparse.Namespace) -> Any:
    """The sweep itself, from where it was stopped; leaves report and record in the folder."""
    folder = Path(options.out)
    started()
    methods = options.methods.split(",")
    neural = [m for m in methods if m in ("ctgan", "tvae")]
    space = {m: {"epochs": [options.epochs]} for m in neural} if options.epochs else None
    result = sweep(
        adult(options),
        methods,
        EPSILONS,
        out=folder / "sweep",
        n_seeds=options.seeds,
        target_columns="income",
        search_space=space,
        n_trials=1,
    )
    (folder / "record.json").write_text(json.dumps(result.record()))
    result.generate_report(folder / "report.html")
    yield {"explain": result.explain().splitlines(), "repeated_from_storage": result.repeated}


def finished(trials: Path) -> dict[str, int]:
    """Finished trials, with the time at which their result was written."""
    return {f.name: f.stat().st_mtime_ns for f in trials.glob("*.json") if '"finished"' in f.read_text()}


def judged(trials: list[dict[str, Any]]) -> Any:
    """Means over seeds of every setting, then each method's loss of utility at the smallest epsilon."""
    table = pd.DataFrame(trials)
    table["epsilon"] = table["epsilon"].fillna(math.inf)
    for (method, epsilon), rows in table.groupby(["method", "epsilon"], sort=False):
        names = ("utility", "similarity", "ml_efficacy", "attack", "fit_seconds")
        means = {name: round(float(rows[name].mean()), 4) for name in names if name in rows}
        failed = int((rows["status"] != "finished").sum())
        yield {
            "method": method,
            "epsilon": str(epsilon),
            **means,
            "sd": round(rows["utility"].std(), 4),
            "failed": failed,
        }
    for method, rows in table.groupby("method", sort=False):
        with_none, with_least = (rows.loc[rows["epsilon"] == e, "utility"] for e in (math.inf, min(EPSILONS)))
        yield {"method": method, "utility_inf_minus_least": welch(with_none, with_least)}


def welch(first: pd.Series, second: pd.Series) -> dict[str, float]:
    """Difference of two means with Welch's two-sided 95 % interval, and the one-sided 95 % lower bound."""
    from scipy.stats import ttest_ind

    test = ttest_ind(first, second, equal_var=False)
    both, least = test.confidence_interval(0.95), test.confidence_interval(0.90)
    found = {"difference": first.mean() - second.mean(), "low": both.low, "high": both.high, "lower_bound": least.low}
    return {name: round(float(value), 4) for name, value in found.items()}


def add_line(path: Path, value: float) -> None:
    """Keep a figure across runs."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{value}\n")


# ----------------------------------------------------------------------------------------------- parallel and overhead


def parallel(options: argparse.Namespace) -> Any:
    """The same trials one at a time and two at a time; the processes are warm in both."""
    data, n = adult(options), options.trials or 4
    started()
    seconds = {}
    for at_once in (1, 2):
        timed(data, 2, at_once, "tvae", epochs=1)
        result, seconds[at_once] = timed(data, n, at_once, "tvae", epochs=options.epochs or 20)
        yield {"at_once": at_once, "trials": n, "seconds": seconds[at_once], "of_each": of_trials(result)}
    yield {"two_at_once_times_faster": round(seconds[1] / seconds[2], 2)}


def overhead(options: argparse.Namespace) -> Any:
    """What a sweep takes beyond its trials' own seconds."""
    data, n = adult(options)[:2000], options.trials or 12
    begun = time.perf_counter()
    started()
    start_seconds = time.perf_counter() - begun
    result, seconds = timed(data, n, 1, "copula")
    beyond = seconds - sum(of_trials(result))
    yield {
        "trials": n,
        "seconds": seconds,
        "ray_start_seconds": round(start_seconds, 1),
        "overhead_seconds_a_trial": round(beyond / n, 2),
        "with_ray_start": round((beyond + start_seconds) / n, 2),
    }


def stages(options: argparse.Namespace) -> Any:
    """Seconds of each stage of a trial, by method."""
    started()
    with tempfile.TemporaryDirectory() as folder:
        methods = options.methods.split(",")
        neural = {m: {"epochs": [options.epochs]} for m in methods if options.epochs and m in ("ctgan", "tvae")}
        found = sweep(
            adult(options),
            methods,
            out=folder,
            n_seeds=options.seeds,
            target_columns="income",
            search_space=neural,
            n_trials=1,
            max_concurrent_trials=1,
        ).table
    seconds = found[[c for c in found if c.endswith("_seconds")]]
    seconds = seconds.assign(total=seconds.sum(axis=1))
    for method, rows in seconds.groupby(found["method"]):
        yield {"method": method, "trials": len(rows), **rows.median().round(3).to_dict()}
    yield {"method": "all", "trials": len(seconds), **seconds.median().round(3).to_dict()}


def stopping(options: argparse.Namespace) -> Any:
    """Seconds and the best utility of one search space: at random, stopped early, and drawn by Optuna."""
    data, n = adult(options), options.trials or 8
    started()
    space = {"learning_rate": (1e-4, 2e-2), "latent_dim": (4, 64), "loss_factor": (0.5, 8.0)}
    space |= {"epochs": [options.epochs or 30]}
    timed(data, 2, 2, "tvae", epochs=1)  # warm processes
    for how in ({}, {"scheduler": "asha"}, {"scheduler": "asha", "search": "optuna"}):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            given = {"search_space": {"tvae": space}, "n_trials": n, "n_seeds": 1, "target_columns": "income", **how}
            result = sweep(data, ["tvae"], out=folder, **given)
            seconds = round(time.perf_counter() - begun, 1)
        best = round(result.candidates[0].utility.value, 4)
        yield {**how, "trials": n, "stopped": len(result.stopped), "seconds": seconds, "best_utility": best}


def timed(data: pd.DataFrame, n: int, at_once: int, method: str, **parameters: Any) -> tuple[SweepResult, float]:
    """A sweep of one setting with n seeds, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        result = sweep(
            data,
            [method],
            out=folder,
            n_seeds=n,
            target_columns="income",
            parameters=parameters,
            max_concurrent_trials=at_once,
        )
        seconds = round(time.perf_counter() - begun, 1)
    if result.failed:
        raise SystemExit(f"a trial failed: {result.failed[0].error}")
    return result, seconds


def of_trials(result: SweepResult) -> list[float]:
    """Seconds of each trial, as it measured them."""
    return [round(sum(r.seconds.values()), 1) for r in result.results]


def started() -> None:
    """Ray with as many processors as the trade-off is stated for."""
    import ray

    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, object_store_memory=2 * 10**8)


PARTS = {
    "tradeoff": tradeoff,
    "once": once,
    "parallel": parallel,
    "overhead": overhead,
    "stages": stages,
    "stopping": stopping,
}

if __name__ == "__main__":
    main()
