"""Differential privacy on one table: every private method at every epsilon, with baselines and dpmm in the same run.

    python tests/benchmarks/bench_privacy.py --data ../shared/data/adult.csv --target income \
        --judge ../shared/bench/judge.py --peer-python VENV/bin/python --out figures.jsonl \
        --methods bayesian_network,copula --epsilons 0.5,1,3,8 --seeds 3 [--dpmm VENV/bin/python --dpmm-methods mst,aim]

Domains are declared, for ours as for dpmm: the categories and the smallest and largest number of the whole file. Delta
is 1e-5. `independent` is the baseline: noised marginals of the same budget, nearly all of it, no relations. Prints
a line for each fit (quality, TSTR and the rest by the judge, seconds of the fit, epsilon spent), then the means of the
seeds; `--out` keeps finished fits, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd

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
    parser.add_argument("--dpmm", help="a Python with dpmm")
    parser.add_argument("--dpmm-methods", default="privbayes,mst")
    parser.add_argument("--dpmm-iterations", type=int, help="of its estimation; left out: its own 5,000")
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.NAME=VALUE", help="a hyper-parameter")
    parser.add_argument("--rows", type=int, help="use so many rows of the file, for a smoke test")
    parser.add_argument("--out", help="JSON lines of finished fits; read first, so that a run can go on")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    methods = options.methods.split(",")
    methods += [f"dpmm {m}" for m in options.dpmm_methods.split(",")] if options.dpmm else []
    done = _finished(options.out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = pd.read_csv(options.data, nrows=options.rows)
        data.to_csv(folder / "all.csv", index=False)
        _judge(options, "split", str(folder / "all.csv"), str(folder))
        (folder / "domains.json").write_text(json.dumps(domains(data)), encoding="utf-8")
        for method in methods:
            for epsilon in (float(e) for e in options.epsilons.split(",")):
                for seed in range(options.seeds):
                    key = (method, epsilon, seed)
                    if key not in done:
                        done[key] = measure(options, folder, method, epsilon, seed)
                        _keep(options.out, done[key])
                    print(json.dumps(done[key]), flush=True)
    _table([r for r in done.values() if r["method"] in methods])


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
    made = _dpmm(options, folder, method, epsilon) if method.startswith("dpmm ") else None
    if made is None:
        made = _ours(options, folder, method, epsilon, seed)
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


def _dpmm(options: argparse.Namespace, folder: Path, method: str, epsilon: float) -> dict[str, float]:
    rows = len(pd.read_csv(folder / "train.csv", usecols=[0]))
    peer = Path(__file__).with_name("peer_dpmm.py")
    files = [str(folder / "train.csv"), str(folder / "domains.json")]
    command = [options.dpmm, str(peer), *files, method.removeprefix("dpmm "), str(epsilon), str(DELTA), str(rows)]
    command += [str(folder / "synthetic.csv"), *([str(options.dpmm_iterations)] if options.dpmm_iterations else [])]
    printed = subprocess.run(command, check=True, text=True, capture_output=True).stdout
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


if __name__ == "__main__":
    main()
