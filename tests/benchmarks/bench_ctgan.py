"""CTGAN beside ctgan: encoder, epoch and sampling times in one run on the same cores; quality with the judge.

    python tests/benchmarks/bench_ctgan.py --data ../shared/data --peer-python VENV/bin/python
    python tests/benchmarks/bench_ctgan.py --data ../shared/data --peer-python VENV/bin/python --judge FILE --quality

Same networks, batch size and pac, float32, the same number of threads; the two take turns and the fastest turn of each
counts. `--quality` fits the full number of epochs and scores the rows, also for a model of one half (copying). The
judge runs in the peer's Python, which has sdmetrics. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from raysynth.methods.base import Synthesizer

PEER = Path(__file__).with_name("peer_ctgan.py")


def main() -> None:
    """Measure, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder with adult.csv")
    parser.add_argument("--peer-python", help="Python with ctgan and sdmetrics")
    parser.add_argument("--judge", help="path of judge.py")
    parser.add_argument("--method", default="ctgan", help="method of raysynth")
    parser.add_argument("--epochs", type=int, default=5, help="epochs that are timed")
    parser.add_argument("--rows", type=int, default=524_288, help="rows that are sampled")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quality", action="store_true", help="fit in full and score with the judge")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["RAYSYNTH_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        figures = run(options, Path(folder))
    print(json.dumps({"bench": options.method, "threads": options.threads, **figures}))


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures that the options ask for."""
    train = Path(options.data) / "adult.csv"
    if options.judge:
        subprocess.run([sys.executable, options.judge, "split", str(train), str(folder)], check=True, text=True)
        train = folder / "train.csv"
    figures: dict[str, Any] = {}
    ours, peers = [], []
    for _ in range(0 if options.quality else options.turns):
        ours.append(measure(train, options))
        if options.peer_python:
            peers.append(measure_peer(train, options))
    if ours:
        figures.update(compare(ours, peers))
        figures["matmul_share"] = matmul_share(figures["raysynth"]["epoch_seconds"], train, options)
    if options.quality:
        figures["quality"] = quality(options, folder)
    return figures


def measure(train: Path, options: argparse.Namespace) -> dict[str, float]:
    """Our seconds for the encoder and an epoch, and our sampled rows per second."""

    from raysynth.data.table import as_table
    from raysynth.encoding.table_encoder import build_encoder
    from raysynth.fitting.prepared import Prepared
    from raysynth.statistics.inference import infer_schema
    from raysynth.statistics.table_statistics import collect

    data = pd.read_csv(train)
    clock = time.perf_counter()
    table = as_table(data)
    statistics = collect(table, label="statistics")
    schema = infer_schema(table, statistics, None, {})
    encoder = build_encoder(schema, statistics.columns, numeric="modes")
    fitted = time.perf_counter()
    Prepared(table, schema, statistics, encoder, 0).encoded()
    figures = {"encoder_fit_seconds": fitted - clock, "encoder_transform_seconds": time.perf_counter() - fitted}
    model = synthesizer(options, epochs=options.epochs)
    clock = time.perf_counter()
    model.fit(data)
    figures["fit_seconds"] = time.perf_counter() - clock
    figures["epoch_seconds"] = sum(e["seconds"] for e in model.history_) / options.epochs  # type: ignore[attr-defined]
    model.sample(1000, seed=0)
    clock = time.perf_counter()
    model.sample(options.rows, seed=1)
    figures["rows_per_second"] = options.rows / (time.perf_counter() - clock)
    return figures


def measure_peer(train: Path, options: argparse.Namespace, *more: str) -> dict[str, float]:
    """The same figures of ctgan."""
    command = [options.peer_python, str(PEER), str(train), options.epochs, options.rows, options.threads, *more]
    done = subprocess.run([str(c) for c in command], check=True, text=True, capture_output=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(ours: list[dict[str, float]], peers: list[dict[str, float]]) -> dict[str, Any]:
    """The best turn of each, and how many times faster ours is."""

    def best(turns: list[dict[str, float]]) -> dict[str, float]:
        return {k: (max if "per_second" in k else min)(t[k] for t in turns) for k in turns[0]}

    result: dict[str, Any] = {"raysynth": best(ours)}
    if peers:
        result["ctgan"] = best(peers)
        a, b = result["raysynth"], result["ctgan"]
        seconds = ("encoder_fit_seconds", "encoder_transform_seconds")
        result["times_faster"] = {
            "encoder": sum(b[k] for k in seconds) / sum(a[k] for k in seconds),
            "epoch": b["epoch_seconds"] / a["epoch_seconds"],
            "sampling": a["rows_per_second"] / b["rows_per_second"],
        }
    for name, values in result.items():
        print(f"{name:<14}", "  ".join(f"{k} {v:,.3f}" for k, v in values.items()))
    return result


def matmul_share(epoch_seconds: float, train: Path, options: argparse.Namespace) -> float:
    """Floating-point operations of an epoch's matrix products over what the machine does in plain large products."""
    from raysynth.methods.gan.synthesizer import CTGAN

    model = CTGAN(epochs=1, verbose=False, seed=0).fit(pd.read_csv(train))
    width, conditions = model.sampler_.spans.width, model.sampler_.conditions.size
    batch, pac, noise, h1, h2 = 500, 10, 128, 256, 256
    packs, first = batch // pac, 2 * batch // pac * pac * width * 256
    generator = noise * (h1 + h2 + width) + h1 * h2 + (h1 + h2) * width
    generator_flops = 2 * batch * (2 * generator + h1 * h2 + (h1 + h2) * width)
    condition = 2 * packs * pac * conditions * 256
    critic_flops = first * (1 + 1 + 1 + 3) + condition * 3 + first * 2 + 2 * packs * 256 * 256 * (3 + 3 + 1 + 3 + 2)
    steps = model.n_rows_ // batch
    a = torch.randn(1024, 1024)
    rates = []
    for _ in range(20):
        clock = time.perf_counter()
        a @ a
        rates.append(2 * 1024**3 / (time.perf_counter() - clock))
    share = steps * (generator_flops + critic_flops) / epoch_seconds / max(rates)
    print(f"matrix products: {max(rates) / 1e9:.0f} GFLOP/s alone; training reaches {share:.0%} of it")
    return share


def quality(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fit on the training split and on one half; what the judge says of the rows."""
    figures: dict[str, Any] = {}
    for part in ("train", "half_a"):
        data = pd.read_csv(folder / f"{part}.csv")
        model = synthesizer(options)
        clock = time.perf_counter()
        model.fit(data)
        figures[f"{part}_fit_seconds"] = time.perf_counter() - clock
        rows = folder / f"synthetic_{part}.csv"
        model.sample(len(data), seed=1).to_csv(rows, index=False)
        if part == "train":
            judged = ["score", folder / "train.csv", folder / "test.csv", rows, "income"]
        else:
            judged = ["copying", folder / "half_a.csv", folder / "half_b.csv", rows]
        python = options.peer_python or sys.executable
        done = subprocess.run([python, options.judge, *map(str, judged)], check=True, text=True, capture_output=True)
        figures[part] = done.stdout.strip()
        print(f"{part}: fitted in {figures[f'{part}_fit_seconds']:.0f} s; {figures[part]}", flush=True)
    return figures


def synthesizer(options: argparse.Namespace, **parameters: Any) -> Synthesizer:
    """An unfitted model of the method."""
    from raysynth.methods.registry import synthesizer_class

    return synthesizer_class(options.method)(seed=0, verbose=False, **parameters)


if __name__ == "__main__":
    main()
