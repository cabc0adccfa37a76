"""Differential privacy on one table: every private method at every epsilon, with baselines and peers in the same run.

    python tests/benchmarks/bench_privacy.py --data ../shared/data/adult.csv --target income \
        --judge ../shared/bench/judge.py --peer-python VENV/bin/python --out figures.jsonl \
        --methods bayesian_network,copula --epsilons 0.5,1,3,8 --seeds 3 \
        [--peers "dpmm mst=PYTHON" "dpsynth swift=PYTHON" --peer-seeds 1 --limit 1800]

Domains are declared, for ours as for peers (`peer_private.py` says which there are): the categories and the smallest
and largest number of the whole file. Delta is 1e-5. `independent` is the baseline: noised marginals of the same
budget, nearly all of it, no relations. Prints a line for each fit (quality, TSTR and the rest by the judge, seconds of
the fit, epsilon spent), then the means of the seeds, and how far the first method is above each peer with a 95 %
interval (Student's, of fits whose spread is alike). A peer that ends in an error or takes longer than the limit has no
result. `--out` keeps finished fits, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from math import sqrt
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from raysynth.fitting.prepared import Prepared
from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.synthesizer import BayesianNetworkSynthesizer, Learned
from raysynth.methods.fitted import Fitted
from raysynth.methods.registry import synthesizer_class
from raysynth.schema import ColumnSchema, Kind, TableSchema

DELTA = 1e-5
NAMES = ("shapes", "pairs", "quality", "TRTR", "TSTR", "C2ST")


class Independent(BayesianNetworkSynthesizer):
    """The baseline: noised marginals that take nearly the whole budget, and no relation between columns."""

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        shares = prepared.encoder.frequencies()
        tables = tuple(s[None, :] / s.sum() for s in shares)
        network = Network(prepared.encoder.cardinalities, ((),) * len(shares), tables, prepared.n_rows)
        return begun.with_learned(Learned(network))


def main() -> None:
    """Fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--target", required=True, help="column to predict")
    parser.add_argument("--judge", required=True, help="path of judge.py")
    parser.add_argument("--peer-python", required=True, help="a Python with sdmetrics")
    parser.add_argument("--methods", default="independent,bayesian_network,copula")
    parser.add_argument("--epsilons", default="0.5,1,3,8")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=[], metavar="PACKAGE METHOD=PYTHON")
    parser.add_argument("--peer-seeds", type=int, help="as many as of ours when left out")
    parser.add_argument("--limit", type=float, default=1800, help="seconds for each fit of a peer")
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.NAME=VALUE", help="a hyper-parameter")
    parser.add_argument("--rows", type=int, help="use so many rows of the file, for a smoke test")
    parser.add_argument("--out", help="JSON lines of finished fits; read first, so that a run can go on")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    methods = options.methods.split(",")
    options.pythons = dict(peer.split("=", 1) for peer in options.peers)
    methods += list(options.pythons)
    done = _finished(options.out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = pd.read_csv(options.data, nrows=options.rows)
        data.to_csv(folder / "all.csv", index=False)
        _judge(options, "split", str(folder / "all.csv"), str(folder))
        (folder / "domains.json").write_text(json.dumps(domains(data)), encoding="utf-8")
        for method in methods:
            for epsilon in (float(e) for e in options.epsilons.split(",")):
                for seed in range((method in options.pythons and options.peer_seeds) or options.seeds):
                    key = (method, epsilon, seed)
                    if key not in done:
                        done[key] = measure(options, folder, method, epsilon, seed)
                        _keep(options.out, done[key])
                    print(json.dumps(done[key]), flush=True)
    results = [r for r in done.values() if r["method"] in methods and "no_result" not in r]
    _table(results)
    _differences(results, methods[0], list(options.pythons))


def domains(data: pd.DataFrame) -> dict[str, Any]:
    """The declared domain of each column, in dpmm's form."""
    return {
        c: {"lower": float(data[c].min()), "upper": float(data[c].max())}
        if pd.api.types.is_numeric_dtype(data[c])
        else {"categories": sorted(data[c].dropna().unique().tolist())}
        for c in data
    }


def declared(data: pd.DataFrame, domain: dict[str, Any]) -> TableSchema:
    """The same domains as a schema."""
    columns = []
    for name, own in domain.items():
        nullable = bool(data[name].isna().any())
        if "categories" in own:
            column = ColumnSchema(
                name, Kind.CATEGORICAL, "string", categories=tuple(own["categories"]), nullable=nullable
            )
        else:
            whole = pd.api.types.is_integer_dtype(data[name])
            bounds = (own["lower"], own["upper"])
            dtype, decimals = ("int64", 0) if whole else ("double", None)
            column = ColumnSchema(name, Kind.CONTINUOUS, dtype, bounds=bounds, decimals=decimals, nullable=nullable)
        columns.append(column)
    return TableSchema(tuple(columns))


def measure(options: argparse.Namespace, folder: Path, method: str, epsilon: float, seed: int) -> dict[str, Any]:
    """The figures of one fit."""
    synthetic = str(folder / "synthetic.csv")
    begun, why = time.perf_counter(), ""
    try:
        made = (_peer if method in options.pythons else _ours)(options, folder, method, epsilon, seed)
    except subprocess.TimeoutExpired:
        why = "limit"
    except subprocess.CalledProcessError as error:
        why = (str(error.stderr).splitlines() or [""])[-1] or f"status {error.returncode}"
    if why:
        seconds = round(time.perf_counter() - begun)
        return {"method": method, "epsilon": epsilon, "seed": seed, "no_result": why, "seconds": seconds}
    scored = _judge(options, "score", str(folder / "train.csv"), str(folder / "test.csv"), synthetic, options.target)
    figures = {n: float(re.search(rf"{n} (-?[\d.]+)", scored)[1]) for n in NAMES}  # type: ignore[index]
    return {"method": method, "epsilon": epsilon, "seed": seed, **made, **figures}


def _ours(options: argparse.Namespace, folder: Path, method: str, epsilon: float, seed: int) -> dict[str, float]:
    train, whole = pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "all.csv")
    cls = Independent if method == "independent" else synthesizer_class(method)
    parameters: dict[str, Any] = {"statistics_share": 0.95} if method == "independent" else {}
    for setting in options.set:
        name, _, value = setting.partition("=")
        if name.startswith(f"{method}."):
            parameters[name.split(".", 1)[1]] = json.loads(value)
    schema = declared(whole, json.loads((folder / "domains.json").read_text(encoding="utf-8")))
    model = cls(epsilon=epsilon, delta=DELTA, schema=schema, seed=seed, verbose=False, **parameters)  # type: ignore[call-arg]
    begun = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - begun
    model.sample(len(train)).to_csv(folder / "synthetic.csv", index=False)
    spent = model.privacy_spent_
    return {"fit_seconds": round(seconds, 2), "spent": np.nan if spent is None else round(spent.epsilon, 4)}


def _peer(options: argparse.Namespace, folder: Path, method: str, epsilon: float, seed: int) -> dict[str, float]:
    files = [str(folder / "train.csv"), str(folder / "domains.json")]
    command = [options.pythons[method], str(Path(__file__).with_name("peer_private.py")), *files, method]
    command += [str(epsilon), str(DELTA), str(seed), str(folder / "synthetic.csv")]
    printed = subprocess.run(command, check=True, text=True, capture_output=True, timeout=options.limit).stdout
    return {"fit_seconds": round(json.loads(printed.splitlines()[-1])["fit_seconds"], 2), "spent": epsilon}


def _judge(options: argparse.Namespace, *arguments: str) -> str:
    command = [options.peer_python, options.judge, *arguments]
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def _finished(path: str | None) -> dict[tuple[str, float, int], dict[str, Any]]:
    if path is None or not Path(path).exists():
        return {}
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {(r["method"], r["epsilon"], r["seed"]): r for r in records}


def _keep(path: str | None, record: dict[str, Any]) -> None:
    if path is not None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _table(records: list[dict[str, Any]]) -> None:
    names = ("fit_seconds", "spent", *NAMES)
    print(f"\n{'mean of seeds':<20}{'epsilon':>8}" + "".join(f"{n:>12}" for n in names))
    for key in dict.fromkeys((r["method"], r["epsilon"]) for r in records):
        own = [r for r in records if (r["method"], r["epsilon"]) == key]
        print(f"{key[0]:<20}{key[1]:>8g}" + "".join(f"{mean(r[n] for r in own):>12.4f}" for n in names))


def _differences(records: list[dict[str, Any]], ours: str, peers: list[str]) -> None:
    """How far ours is above each peer at each epsilon, fits of both taken to have the same spread."""
    for peer, epsilon in dict.fromkeys((r["method"], r["epsilon"]) for r in records if r["method"] in peers):
        for name in ("quality", "TSTR"):
            values = [
                [r[name] for r in records if (r["method"], r["epsilon"]) == (method, epsilon)]
                for method in (ours, peer)
            ]
            free = len(values[0]) + len(values[1]) - 2
            spread = sqrt(sum(sum((v - mean(own)) ** 2 for v in own) for own in values) / max(free, 1))
            half = student.ppf(0.975, free) * spread * sqrt(sum(1 / len(own) for own in values)) if free else np.nan
            above = f"{mean(values[0]) - mean(values[1]):.4f} +- {half:.4f}"
            print(f"{name} above {peer} at {epsilon:g}: {above} ({len(values[0])} and {len(values[1])} seeds)")


if __name__ == "__main__":
    main()
