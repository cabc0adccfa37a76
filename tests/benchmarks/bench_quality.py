"""Quality, usefulness, copying and fitting time of every method on one table, by the judge, with peers in the same run.

    python tests/benchmarks/bench_quality.py --data ../shared/data/adult.csv --target income \
        --judge ../shared/bench/judge.py --peer-python VENV/bin/python --methods copula,bayesian_network --seeds 3 --sdv

The table is split by the judge; each seed fits the training part (judged against the test part) and one half
of it (copying check: share of synthetic rows nearer to that half than to the other). `--sdv` adds SDV's
GaussianCopulaSynthesizer and `--peers ctgan,tvae` the two models of ctgan (300 epochs, their default), run and judged
by the peer's Python, which has sdv, ctgan and sdmetrics; `--argn PYTHON` adds TabularARGN, run by a Python that has
mostlyai-engine, with as many seeds as ours. `--data statsmodels:randhie` takes a table that statsmodels ships,
`--data wide:150` the made one of 150 mixed columns and 25,000 rows of `bench_wide.py` (target: boolean_3).
Prints a line for each fit and a table of means; `--out FILE` keeps finished fits, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent))
from bench_wide import wide_table

from raysynth.cli.steps import read_settings
from raysynth.methods.registry import synthesizer_class

SDV = """
import sys, time, pandas as pd
from sdv.metadata import Metadata
from sdv.single_table import GaussianCopulaSynthesizer
train, out, rows = pd.read_csv(sys.argv[1]), sys.argv[2], int(sys.argv[3])
begun = time.perf_counter()
model = GaussianCopulaSynthesizer(Metadata.detect_from_dataframes({"table": train}))
model.fit({"table": train})
fitted = time.perf_counter()
rows = model.sample(rows)
(rows["table"] if isinstance(rows, dict) else rows).to_csv(out, index=False)
print("SECONDS", fitted - begun)
"""

PEER_EPOCHS = 300  # ctgan's default
ARGN = "TabularARGN"
SHIPPED, WIDE = "statsmodels:", "wide:"
WIDE_ROWS = 25_000  # of which the judge's split leaves 20,000 to learn from


def main() -> None:
    """Fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV, statsmodels:NAME, or wide:COLUMNS")
    parser.add_argument("--target", required=True, help="column to predict")
    parser.add_argument(
        "--drop", default="", help="columns left out, as identifiers that no table of figures can score"
    )
    parser.add_argument("--judge", required=True, help="path of judge.py")
    parser.add_argument("--peer-python", required=True, help="a Python with sdmetrics (and sdv)")
    parser.add_argument("--methods", default="copula,bayesian_network,ctgan,autoregressive")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="parameters other than the defaults")
    parser.add_argument("--sdv", action="store_true", help="SDV's Gaussian copula in the same run")
    parser.add_argument("--peers", default="", help="of ctgan's models: ctgan, tvae")
    parser.add_argument("--argn", metavar="PYTHON", help="a Python with mostlyai-engine: TabularARGN in the same run")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch, ours and the peers'")
    parser.add_argument("--out", help="JSON lines of finished fits; read first, so that a run can go on")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    torch.set_num_threads(options.threads)
    done = _finished(options.out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _judge(options, "split", _table_file(options, folder), str(folder))
        peers = [f"ctgan's {name}" for name in options.peers.split(",") if name]
        peers += ["sdv copula"] if options.sdv else []
        argn = [ARGN] if options.argn else []
        methods = [*(m for m in options.methods.split(",") if m), *argn, *peers]
        for method in methods:
            for seed in range(1 if method in peers else options.seeds):
                if (method, seed) not in done:
                    done[method, seed] = measure(options, folder, method, seed)
                    _keep(options.out, done[method, seed])
                print(json.dumps(done[method, seed]), flush=True)
    _table([r for (m, _), r in done.items() if m in methods])


def _table_file(options: argparse.Namespace, folder: Path) -> str:
    """A CSV of the data; what has to be made of it first lies in the folder."""
    dropped = [c for c in options.drop.split(",") if c]
    path = folder / "table.csv"
    if options.data.startswith(SHIPPED):
        import statsmodels.datasets

        table = getattr(statsmodels.datasets, options.data.removeprefix(SHIPPED)).load_pandas().data
    elif options.data.startswith(WIDE):
        table = wide_table(int(options.data.removeprefix(WIDE)), WIDE_ROWS)
    elif not dropped:
        return str(options.data)
    else:
        table = pd.read_csv(options.data)
    table.drop(columns=dropped).to_csv(path, index=False)
    return str(path)


def measure(options: argparse.Namespace, folder: Path, method: str, seed: int) -> dict[str, Any]:
    """The figures of one method and seed."""
    synthetic, copied = str(folder / "synthetic.csv"), str(folder / "copied.csv")
    seconds = _make(options, method, seed, folder / "train.csv", synthetic)
    _make(options, method, seed, folder / "half_a.csv", copied)
    train, test = str(folder / "train.csv"), str(folder / "test.csv")
    scored = _judge(options, "score", train, test, synthetic, options.target)
    nearer = _judge(options, "copying", str(folder / "half_a.csv"), str(folder / "half_b.csv"), copied)
    names = ("shapes", "pairs", "quality", "TRTR", "TSTR", "C2ST")
    figures = {n: float(re.search(rf"{n} (-?[\d.]+|nan)", scored)[1]) for n in names}  # type: ignore[index]
    share = float(re.search(r"training half ([\d.]+)", nearer)[1])  # type: ignore[index]
    return {"method": method, "seed": seed, "fit_seconds": round(seconds, 2), **figures, "nearer": share}


def _make(options: argparse.Namespace, method: str, seed: int, train: Path, out: str) -> float:
    """Fit, sample as many rows, write them; seconds of the fit."""
    rows = train.read_text(encoding="utf-8").count("\n") - 1
    if method == "sdv copula":
        command = [options.peer_python, "-c", SDV, str(train), out, str(rows)]
        return _seconds(command)
    if method.startswith("ctgan's "):
        peer = [options.peer_python, str(Path(__file__).with_name("peer_models.py")), str(train)]
        peer += [method.removeprefix("ctgan's "), str(options.threads), str(PEER_EPOCHS), "--sample", str(rows), out]
        return _seconds(peer)
    if method == ARGN:
        script = str(Path(__file__).with_name("peer_argn.py"))
        peer = [options.argn, script, str(train), str(options.threads), str(seed), str(rows), out]
        return _seconds(peer)
    parameters = read_settings(options.set)
    if method == "conditional_gan":
        parameters.setdefault("conditional_columns", [options.target])
    model = synthesizer_class(method)(seed=seed, verbose=False, **parameters)  # type: ignore[call-arg]
    begun = time.perf_counter()
    model.fit(str(train))
    seconds = time.perf_counter() - begun
    model.sample(rows).to_csv(out, index=False)
    return seconds


def _judge(options: argparse.Namespace, *arguments: str) -> str:
    return _printed([options.peer_python, options.judge, *arguments])


def _seconds(peer: list[str]) -> float:
    """Seconds of a peer's fit: the last number of its line 'SECONDS ...'."""
    return float(re.search(r"SECONDS (?:\d+ )?([\d.]+)", _printed(peer))[1])  # type: ignore[index]


def _printed(command: list[str]) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def _finished(path: str | None) -> dict[tuple[str, int], dict[str, Any]]:
    if path is None or not Path(path).exists():
        return {}
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {(r["method"], r["seed"]): r for r in records}


def _keep(path: str | None, record: dict[str, Any]) -> None:
    if path is not None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _table(records: list[dict[str, Any]]) -> None:
    names = [n for n in records[0] if n not in ("method", "seed")]
    print(f"\n{'mean of seeds':<18}" + "".join(f"{n:>12}" for n in names))
    for method in dict.fromkeys(r["method"] for r in records):
        own = [r for r in records if r["method"] == method]
        print(f"{method:<18}" + "".join(f"{mean(r[n] for r in own):>12.4f}" for n in names))


if __name__ == "__main__":
    main()
