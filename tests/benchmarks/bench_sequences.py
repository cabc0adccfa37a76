"""Methods for sequences on the stocks table by the protocol of the TimeGAN paper, and a long table of two entities.

    python tests/benchmarks/bench_sequences.py --data ../shared/data                                     # all methods
    python tests/benchmarks/bench_sequences.py --data ../shared/data --method autoregressive_sequences
    python tests/benchmarks/bench_sequences.py --data ../shared/data --epochs 5 --scorings 1 --updates 200   # a look
    python tests/benchmarks/bench_sequences.py --rows 1000000 --epochs 1 --method autoregressive_sequences   # large
    python tests/benchmarks/bench_sequences.py --data ../shared/data --method autoregressive_sequences --strict

Windows of 24 days of six features, scaled to [0, 1]; one training, then the mean of several scorings by a post-hoc GRU
(`evaluation/sequence_metrics.py`), each with a seed and sequences of its own. The published scores have a GRU of 3
units; a stricter one of 24 stands beside it. The long table is the same prices as two entities of different length,
with a column of categories (up, down, still). Prints the figures and one JSON line for each method; `--model FILE`
keeps the model of the array and goes on from it (with one method). `--rows` fits a made-up long table of so many rows,
written as Parquet in the order of time, so that no sequence lies together: seconds, and memory of all processes.

`--strict` judges by sequences that nobody learned from, by a GRU of 32 units (2,000 updates): stocks by the windows of
the last 40 % of the days, a window's length after the last day that was learned from; the hours of Bikeshare's days by
the other half of the days. Beside made sequences stand those that were learned from (real against real) and the
judged ones with their steps shuffled (which must show); and the share of made days nearer to a learned day than to a
judged one (0.5 is no copying; of the learned days themselves 1).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from process_memory import watched
from scipy.spatial.distance import cdist

from raysynth import AutoregressiveSequences, TimeSeriesGAN, TreeSequences, load_synthetic_model
from raysynth.evaluation.sequence_metrics import (
    autocorrelation_difference,
    cross_correlation_difference,
    discriminative_score,
    predictive_score,
)

STEPS = 24
METHODS = {
    "timegan": TimeSeriesGAN,
    "autoregressive_sequences": AutoregressiveSequences,
    "tree_sequences": TreeSequences,
}


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder with stocks.csv")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="may be repeated; default: all")
    parser.add_argument("--epochs", type=int, help="default: the method's own")
    parser.add_argument("--scorings", type=int, default=5)
    parser.add_argument("--updates", type=int, help="of the post-hoc networks; default: as published")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", type=Path, help="file for the model; where it exists, it is scored")
    parser.add_argument("--no-table", action="store_true", help="leave the long table out")
    parser.add_argument("--strict", action="store_true", help="judge by sequences that nobody learned from")
    parser.add_argument("--table", choices=["stocks", "bikes"], help="with --strict: this one alone")
    parser.add_argument("--rows", type=int, help="fit a made-up long table of so many rows, and nothing else")
    parser.add_argument("--folder", help=argparse.SUPPRESS)  # of such a table, in the process that is watched
    options = parser.parse_args()
    if options.rows:
        large(options)
        return
    torch.set_num_threads(options.threads)
    os.environ["RAYSYNTH_QUIET"] = "1"
    prices = pd.read_csv(Path(options.data) / "stocks.csv")
    methods = options.method or list(METHODS)
    if options.model is not None and len(methods) > 1:
        parser.error("--model keeps one model; name one --method")
    for method in methods:
        print(f"-- {method}", flush=True)
        if options.strict:
            for name, (learned, judged) in unseen(prices, Path(options.data)).items():
                if options.table not in (None, name):
                    continue
                figures = strict(learned, judged, method, options)
                print(json.dumps({"bench": "strict", "method": method, "table": name, **figures}), flush=True)
            continue
        figures = of_array(prices, method, options)
        if not options.no_table:
            figures["long_table"] = of_table(prices, method, options)
        print(json.dumps({"bench": "sequences", "method": method, "threads": options.threads, **figures}), flush=True)


def large(options: argparse.Namespace) -> None:
    """Write a long table, and fit it in a process that is watched; in that process: fit it, and print."""
    if options.folder:
        begun = time.perf_counter()
        how = {"epochs": options.epochs, "sequence_key": "user", "time_column": "at", "seed": options.seed}
        model = METHODS[options.method[0]](**{k: v for k, v in how.items() if v is not None}).fit(options.folder)
        print(f"{time.perf_counter() - begun:.1f} s, {model.n_rows_:,} sequences")
        return
    with tempfile.TemporaryDirectory() as folder:
        written(options.rows, Path(folder))
        for method in options.method or list(METHODS):
            own = ["--rows", str(options.rows), "--folder", folder, "--method", method, "--seed", str(options.seed)]
            own += [] if options.epochs is None else ["--epochs", str(options.epochs)]
            found = watched([sys.executable, __file__, *own])
            print(f"{options.rows:,} rows, {method}: {found.last_line}, peak {found.peak_mb:,.0f} MB", flush=True)


def written(n_rows: int, folder: Path, block: int = 1_000_000) -> None:
    """A long table of readings, in the order of time: of each user 20 on average, 5 to 35."""
    users = n_rows // 20
    level, kinds = np.random.default_rng(0).normal(size=users), np.array(["walk", "run", "ride"])
    for number, first in enumerate(range(0, n_rows, block)):
        rng, n = np.random.default_rng([1, number]), min(block, n_rows - first)
        user = rng.integers(0, users, n)
        seconds = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(first, first + n), unit="s")
        pulse = (80 + 10 * level[user] + rng.normal(0, 5, n)).round(1)
        kind = kinds[np.minimum((rng.random(n) + 0.3 * level[user] + 1).astype(int).clip(0), 2)]
        rows = {"user": user, "at": seconds, "pulse": pulse, "kind": kind, "steps": rng.poisson(30 + pulse)}
        pd.DataFrame(rows).to_parquet(folder / f"{number:05d}.parquet", index=False)


def windows(prices: pd.DataFrame) -> np.ndarray:
    """All windows (n, 24, 6) in the order of the file, each feature scaled by its range."""
    values = prices.to_numpy(float)
    values = (values - values.min(0)) / (values.max(0) - values.min(0))
    return np.lib.stride_tricks.sliding_window_view(values, STEPS, axis=0).transpose(0, 2, 1).copy()


def of_array(prices: pd.DataFrame, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one training, and the mean and standard deviation of the scores."""
    real = windows(prices)
    model, seconds = trained(real, method, options)
    counts = {} if options.updates is None else {"updates": options.updates}
    scores: dict[str, list[float]] = {}
    for seed in range(options.scorings):
        made = model.sample(n_sequences=len(real), seed=seed)
        found = {
            "discriminative": discriminative_score(real, made, seed=seed, **counts),
            "discriminative, 24 units": discriminative_score(real, made, seed=seed, hidden=24, **counts),
            "predictive": predictive_score(real, made, seed=seed, **counts),
            "predictive, real": predictive_score(real, real, seed=seed, **counts),
            "autocorrelation difference": autocorrelation_difference(real, made),
            "cross-correlation difference": cross_correlation_difference(real, made),
        }
        print(f"scoring {seed + 1}: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()), flush=True)
        for name, value in found.items():
            scores.setdefault(name, []).append(value)
    means = {name: [round(float(np.mean(v)), 4), round(float(np.std(v)), 4)] for name, v in scores.items()}
    print(f"training {seconds:.0f} s" if seconds else "trained before")
    for name, (mean, deviation) in means.items():
        print(f"{name:<30} {mean:.4f} +- {deviation:.4f}")
    return {"training_seconds": round(seconds, 1), "scores": means}


def unseen(prices: pd.DataFrame, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Sequences to learn from and others to judge by, features scaled by the range of both."""
    series = windows(prices)
    last = round(0.6 * len(series))
    bikes = pd.read_csv(folder / "Bikeshare.csv")
    names = ["bikers", "temp", "atemp", "hum", "windspeed"]
    days = [g[names].to_numpy(float) for _, g in bikes.groupby("day") if len(g) == STEPS]
    days = np.stack(days)[np.random.default_rng(0).permutation(len(days))]
    days = (days - days.min((0, 1))) / (days.max((0, 1)) - days.min((0, 1)))
    half = len(days) // 2
    return {"stocks": (series[:last], series[last + 2 * STEPS :]), "bikes": (days[:half], days[half:])}


def strict(learned: np.ndarray, judged: np.ndarray, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, scores against `judged` (mean, standard deviation), and the share that lies nearer to `learned`."""
    model, seconds = trained(learned, method, options)
    counts = {} if options.updates is None else {"updates": options.updates}
    scores: dict[str, list[float]] = {}
    nearer = []
    for seed in range(options.scorings):
        made = np.asarray(model.sample(n_sequences=len(judged), seed=seed))
        mixed = np.random.default_rng(seed).permuted(np.tile(np.arange(STEPS), (len(judged), 1)), axis=1)
        shuffled = np.take_along_axis(judged, mixed[..., None], axis=1)
        for name, rows in (("made", made), ("real", learned), ("shuffled", shuffled)):
            scores.setdefault(name, []).append(discriminative_score(judged, rows, seed=seed, hidden=32, **counts))
        n = min(len(learned), len(judged))
        to = [cdist(made.reshape(len(made), -1), own[:n].reshape(n, -1)).min(1) for own in (learned, judged)]
        nearer.append(float((to[0] < to[1]).mean()))
    means = {name: [round(float(np.mean(v)), 4), round(float(np.std(v)), 4)] for name, v in scores.items()}
    steps = [float(np.abs(np.diff(x, axis=1)).mean()) for x in (made, judged)]
    figures = {"sequences": [len(learned), len(judged)], "training_seconds": round(seconds, 1), "scores": means}
    return {**figures, "nearer": round(float(np.mean(nearer)), 4), "steps": [round(v, 5) for v in steps]}


def trained(real: np.ndarray, method: str, options: argparse.Namespace) -> tuple[Any, float]:
    """The model, and the seconds of its training (0: it was kept from an earlier run)."""
    if options.model is not None and options.model.exists():
        return load_synthetic_model(options.model), 0.0
    begun = time.perf_counter()
    model = unfitted(method, options, features=real.shape[2]).fit(real)
    seconds = time.perf_counter() - begun
    if options.model is not None:
        model.save(options.model)
    return model, seconds


def unfitted(method: str, options: argparse.Namespace, **parameters: Any) -> Any:
    """A synthesizer of the method, with its own defaults where no option says otherwise."""
    if options.epochs is not None and method != "tree_sequences":
        parameters["epochs"] = options.epochs
    return METHODS[method](sequence_length=STEPS, seed=options.seed, verbose=False, **parameters)


def of_table(prices: pd.DataFrame, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """Two entities of different length with categories: what comes back, and how alike it is."""
    table = two_entities(prices)
    begun = time.perf_counter()
    model = unfitted(method, options, sequence_key="share", time_column="day").fit(table)
    seconds = time.perf_counter() - begun
    made = model.sample(500, seed=0)
    kept = model.sample(50, conditions={"market": "small"}, seed=0)
    figures = {
        "training_seconds": round(seconds, 1),
        "same columns and dtypes": bool((made.dtypes == table.dtypes).all()),
        "conditions hold": bool((kept["market"] == "small").all()),
        "shares, real": table["move"].value_counts(normalize=True).round(3).to_dict(),
        "shares, made": made["move"].value_counts(normalize=True).round(3).to_dict(),
        "move agrees with close, real": round(agreement(table), 3),
        "move agrees with close, made": round(agreement(made), 3),
        "days between rows, real": gap_shares(table),
        "days between rows, made": gap_shares(made),
    }
    for name, value in figures.items():
        print(f"{name:<30} {value}")
    return figures


def two_entities(prices: pd.DataFrame) -> pd.DataFrame:
    """The first 1,500 days as one share, the next 900 as another, smaller one; business days; up, down or still."""
    days = pd.bdate_range("2004-08-19", periods=len(prices))
    parts = []
    for share, market, first, n in (("S-1001", "large", 0, 1500), ("S-2002", "small", 1500, 900)):
        part = prices.iloc[first : first + n][["Close", "Volume"]].reset_index(drop=True)
        change = part["Close"].pct_change().fillna(0)
        part.insert(0, "share", share)
        part.insert(1, "market", market)
        part.insert(2, "day", days[first : first + n])
        part["move"] = np.select([change > 0.005, change < -0.005], ["up", "down"], "still")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def agreement(table: pd.DataFrame) -> float:
    """Share of the rows marked 'up' or 'down' whose close moved that way."""
    change = table.groupby("share")["Close"].diff()
    moved = table["move"].isin(["up", "down"]) & change.notna()
    return float((np.sign(change[moved]) == np.where(table["move"][moved] == "up", 1, -1)).mean())


def gap_shares(table: pd.DataFrame) -> dict[int, float]:
    """Share of each number of days between rows."""
    gaps = table.groupby("share")["day"].diff().dropna().dt.days
    return {int(k): round(float(v), 3) for k, v in gaps.value_counts(normalize=True).items()}


if __name__ == "__main__":
    main()
