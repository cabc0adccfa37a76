"""How long the neural methods fit one table, against ctgan's models and their default of 300 epochs.

    python tests/benchmarks/bench_fit_time.py --data ../shared/data/adult.csv --peer-python VENV/bin/python \
        --methods tvae,ctgan,gan --peers tvae,ctgan

Ours are whole fits with the method's defaults (`--set NAME=JSON` for others), from the rows of a file to a model that
can sample. A peer is fitted for `--peer-epochs` epochs, two numbers, after a fit that warms its process up: what an
epoch costs and what comes before it is the line through the two times, read off at 300 epochs; `--peer-epochs 300` runs
them all instead. Each process has `--threads` threads of torch. The table is the judge's training part: 80 % by chance.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from raysynth.cli.steps import read_settings
from raysynth.methods.registry import synthesizer_class

PEER_DEFAULT = 300


def main() -> None:
    """Fit, print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--peer-python", required=True, help="a Python with ctgan")
    parser.add_argument("--methods", default="tvae,ctgan,gan")
    parser.add_argument("--peers", default="tvae,ctgan")
    parser.add_argument("--peer-epochs", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="parameters other than the defaults")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        train = Path(folder) / "train.csv"
        pd.read_csv(options.data).sample(frac=0.8, random_state=0).to_csv(train, index=False)
        peers = {name: peer_seconds(options, train, name) for name in options.peers.split(",") if name}
        for method in options.methods.split(","):
            model = synthesizer_class(method)(seed=0, verbose=False, **read_settings(options.set))  # type: ignore[call-arg]
            begun = time.perf_counter()
            model.fit(str(train))
            seconds = time.perf_counter() - begun
            ratios = ", ".join(f"1/{total / seconds:.1f} of ctgan's {name}" for name, total in peers.items())
            print(f"{method}: {seconds:.1f} s, {len(getattr(model, 'history_', []))} epochs; {ratios}", flush=True)


def peer_seconds(options: argparse.Namespace, train: Path, name: str) -> float:
    """Seconds of a peer's 300 epochs: measured, or by the line through two shorter fits."""
    command = [
        options.peer_python,
        str(Path(__file__).with_name("peer_models.py")),
        str(train),
        name,
        str(options.threads),
    ]
    command += ["1", *(str(epochs) for epochs in sorted(options.peer_epochs))]  # the first fit warms up
    printed = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    times = [(int(e), float(s)) for e, s in re.findall(r"SECONDS (\d+) ([\d.]+)", printed)][1:]
    (first, before), (last, after) = times[0], times[-1]
    an_epoch = (after - before) / (last - first) if last > first else after / last
    if an_epoch <= 0:
        raise SystemExit(f"{name}: {times} are no line; give --peer-epochs that are farther apart")
    total = after + (PEER_DEFAULT - last) * an_epoch
    how = "measured" if last >= PEER_DEFAULT else f"from fits of {first} and {last} epochs"
    print(f"ctgan's {name}: {total:.0f} s for {PEER_DEFAULT} epochs ({an_epoch:.2f} s each; {how})", flush=True)
    return total


if __name__ == "__main__":
    main()
