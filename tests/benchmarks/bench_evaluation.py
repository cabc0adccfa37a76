"""Evaluation: agreement with SDMetrics 0.32, sanity, and speed.

    python tests/benchmarks/bench_evaluation.py --data ../shared/data --peer-python /path/to/venv/bin/python

`--peer-python`: an interpreter with sdmetrics 0.32. Prints a table, and one JSON line for each figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from raysynth.comparison.neighbours import gower_metric, nearest
from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation.evaluate import compare_tables, read_rows
from raysynth.evaluation.privacy import closer_to_training

PEER_QUALITY = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from sdmetrics.reports.single_table import QualityReport
real, synthetic = (pd.read_parquet(p) for p in sys.argv[1:3])
kinds = json.loads(sys.argv[3])
report = QualityReport()
report.num_rows_subsample = None
begun = time.perf_counter()
report.generate(real, synthetic, {"columns": {c: {"sdtype": k} for c, k in kinds.items()}}, verbose=False)
scores = report.get_properties().set_index("Property")["Score"]
print(json.dumps({"shapes": scores["Column Shapes"], "pairs": scores["Column Pair Trends"],
                  "quality": report.get_score(), "seconds": time.perf_counter() - begun}))
"""
PEER_DCR = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from sdmetrics.single_table.privacy import DCROverfittingProtection
real, synthetic, holdout = (pd.read_parquet(p) for p in sys.argv[1:4])
kinds = json.loads(sys.argv[4])
found = DCROverfittingProtection.compute_breakdown(
    real, synthetic, holdout, {"tables": {"t": {"columns": {c: {"sdtype": k} for c, k in kinds.items()}}}}, "t")
print(json.dumps({"protection": found["score"]}))
"""


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python", help="interpreter with sdmetrics 0.32; left out: no agreement, no peer's time")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the speed comparison")
    parser.add_argument("--only", choices=["agreement", "sanity", "speed", "neighbours"])
    arguments = parser.parse_args()
    parts: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, object]]]] = {
        "agreement": agreement,
        "sanity": sanity,
        "speed": speed,
        "neighbours": neighbours,
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            for figures in part(arguments):
                print(json.dumps({"part": name, **figures}), flush=True)


def agreement(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Our figures beside SDMetrics' on three tables, each against another half and against permuted columns."""
    if arguments.peer_python is None:
        return
    for name in ("adult", "medical", "stocks"):
        halves = _halves(_read(arguments.data, name))
        rng = np.random.default_rng(0)
        permuted = halves[0].apply(lambda c, rng=rng: rng.permutation(c.to_numpy()))
        for against, synthetic in (("other half", halves[1]), ("permuted", permuted)):
            ours, kinds = _quality(halves[0], synthetic)
            peer = _peer(arguments.peer_python, PEER_QUALITY, [halves[0], synthetic], kinds)
            yield {"table": name, "against": against, **_beside(ours, peer, ("shapes", "pairs", "quality"))}
        small = [h.sample(min(2000, len(h)), random_state=0) for h in halves]
        copied = pd.concat([small[0][:300], small[1][:700]])  # three in ten are copies of training rows
        tables = pair_tables(small[0], copied, small[1])
        rows = read_rows(tables, 0)
        to_real = nearest(rows["synthetic"], rows["real"], gower_metric(rows["real"]), 2)
        _, protection = closer_to_training(
            rows["synthetic"], rows["real"], rows["holdout"], to_real, np.random.default_rng(0)
        )
        peer = _peer(arguments.peer_python, PEER_DCR, [small[0], copied, small[1]], _sdtypes(tables))
        yield {"table": name, **_beside({"protection": protection}, peer, ("protection",))}


def sanity(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Quality of another half, of permuted columns, of a copy and of noise, on Adult."""
    real, other = _halves(_read(arguments.data, "adult"))
    rng = np.random.default_rng(0)
    numbers = real.select_dtypes("number")
    noise = real.apply(
        lambda c: rng.permutation(real["sex"].to_numpy()) if c.name not in numbers else c.to_numpy() * 50 + 1e7
    )
    tables = {
        "other half": other,
        "permuted": real.apply(lambda c: rng.permutation(c.to_numpy())),
        "copy": real,
        "noise": noise,
    }
    for name, synthetic in tables.items():
        ours, _ = _quality(real, synthetic)
        yield {"synthetic": name, **{k: round(v, 4) for k, v in ours.items()}}


def speed(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """All similarity figures (and triples) on all rows of two large tables, from memory, beside SDMetrics."""
    adult = _read(arguments.data, "adult")
    tables = [_enlarged(adult, arguments.rows, seed) for seed in (0, 1)]
    begun = time.perf_counter()
    ours, kinds = _quality(*tables)
    seconds = time.perf_counter() - begun
    result: dict[str, object] = {"rows": arguments.rows, "columns": 15, "raysynth_seconds": round(seconds, 2)}
    if arguments.peer_python:
        peer = _peer(arguments.peer_python, PEER_QUALITY, tables, kinds)
        result |= {"sdmetrics_seconds": round(peer["seconds"], 2), "times_faster": round(peer["seconds"] / seconds, 1)}
        result |= _beside(ours, peer, ("shapes", "pairs", "quality"))
    yield result


def neighbours(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """The two nearest of 100,000 rows for each of 100,000 others, 15 mixed columns."""
    adult = _read(arguments.data, "adult")
    rows = read_rows(
        pair_tables(_enlarged(adult, 100_000, 0), _enlarged(adult, 20_000, 1), _enlarged(adult, 100_000, 2)), 0
    )
    begun = time.perf_counter()
    nearest(rows["holdout"], rows["real"], gower_metric(rows["real"]), 2)
    yield {"queries": 100_000, "references": 100_000, "columns": 15, "seconds": round(time.perf_counter() - begun, 1)}


def _quality(real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[dict[str, float], dict[str, str]]:
    tables = pair_tables(real, synthetic)
    found = compare_tables(tables)
    figures = {"shapes": found.column_shapes, "pairs": found.column_pair_trends, "quality": found.quality}
    return figures, _sdtypes(tables)


def _sdtypes(tables) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """SDMetrics' names for the kinds that were compared."""
    return {n: "numerical" if tables.kinds[n].is_numeric else "categorical" for n in tables.compared}


def _peer(python: str, code: str, tables: list[pd.DataFrame], kinds: dict[str, str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{i}.parquet") for i in range(len(tables))]
        for table, path in zip(tables, paths, strict=True):
            table[list(kinds)].to_parquet(path, index=False)
        done = subprocess.run(
            [python, "-c", code, *paths, json.dumps(kinds)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _beside(ours: dict[str, float], peer: dict[str, float], names: tuple[str, ...]) -> dict[str, object]:
    figures = {n: [round(ours[n], 5), round(peer[n], 5)] for n in names}
    return {**figures, "largest_difference": round(max(abs(ours[n] - peer[n]) for n in names), 6)}


def _read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", skipinitialspace=True)


def _halves(table: pd.DataFrame) -> list[pd.DataFrame]:
    shuffled, half = table.sample(frac=1, random_state=0).reset_index(drop=True), len(table) // 2
    return [shuffled[:half], shuffled[half : 2 * half].reset_index(drop=True)]


def _enlarged(table: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """n rows drawn again, one number given noise so that it has as many values as rows."""
    rng = np.random.default_rng(seed)
    drawn = table.iloc[rng.integers(0, len(table), n)].reset_index(drop=True)
    drawn["fnlwgt"] = drawn["fnlwgt"] + rng.normal(0, 1000, n)
    return drawn


if __name__ == "__main__":
    main()
