"""Evaluation: agreement with SDMetrics 0.32 and mostlyai-qa, sanity, speed and memory.

    python tests/benchmarks/bench_evaluation.py --data ../shared/data --peer-python /path/to/venv/bin/python \\
        --qa-python /path/to/other/venv/bin/python

`--peer-python`: an interpreter with sdmetrics 0.32; `--qa-python`: one with mostlyai-qa. Prints one JSON line for each
figure. Parts: `agreement` (within 0.005 of SDMetrics on three tables, and of mostlyai-qa), `sanity` (holdout at least
0.97; a copy fails every privacy figure; permuted columns; noise), `speed` (similarity of 1 M against 1 M rows, at least
3 times faster than SDMetrics), `memory` (peak over all processes at 20 M against 20 M rows, at most 1.3 times that at
2 M; the sum of `Pss_Anon` and `Pss_Shmem`, looked at five times a second), `neighbours` (100,000 x 100,000 rows of 15
mixed columns, under 120 s).
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
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from process_memory import watched

from raysynth.comparison.neighbours import gower_metric, nearest
from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation import evaluate_synthetic_data
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
PEER_QA = """
import json, sys
import pandas as pd
from mostlyai.qa import _accuracy as qa
real, synthetic = (pd.read_parquet(p).add_prefix("tgt::") for p in sys.argv[1:3])
binned, bins = qa.bin_data(real, 10)
other, _ = qa.bin_data(synthetic, bins)
parts = {"univariate": qa.calculate_univariates(binned, other), "bivariate": qa.calculate_bivariates(binned, other)}
print(json.dumps({k + end: float(v[column].mean()) for k, v in parts.items()
                  for end, column in (("", "accuracy"), ("_fresh", "accuracy_max"))}))
"""
MEMORY_STAGE = """
import sys
from raysynth.running.ray_session import start_ray
start_ray()  # the larger table starts it anyway; both sizes are measured with it
from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation import evaluate_synthetic_data
from raysynth.evaluation.evaluate import compare_tables
print(compare_tables(pair_tables(*sys.argv[1:3])).quality)
"""


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python", help="interpreter with sdmetrics 0.32; left out: no agreement, no peer's time")
    parser.add_argument("--qa-python", help="interpreter with mostlyai-qa; left out: no agreement with it")
    parser.add_argument("--memory-rows", type=int, nargs=2, default=[2_000_000, 20_000_000])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the speed comparison")
    parser.add_argument("--only", choices=["agreement", "sanity", "speed", "memory", "neighbours"])
    arguments = parser.parse_args()
    parts: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, object]]]] = {
        "agreement": agreement,
        "sanity": sanity,
        "speed": speed,
        "memory": memory,
        "neighbours": neighbours,
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            for figures in part(arguments):
                print(json.dumps({"part": name, **figures}), flush=True)


def agreement(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Our figures beside the peers' on three tables, each against another half and against permuted columns."""
    for name in ("adult", "medical", "stocks"):
        halves = _halves(_read(arguments.data, name))
        rng = np.random.default_rng(0)
        permuted = halves[0].apply(lambda c, rng=rng: rng.permutation(c.to_numpy()))
        for against, synthetic in (("other half", halves[1]), ("permuted", permuted)):
            if arguments.qa_python:
                yield {"table": name, "against": against, "peer": "mostlyai-qa", **_qa(arguments, halves[0], synthetic)}
            if arguments.peer_python is None:
                continue
            ours, kinds = _quality(halves[0], synthetic)
            peer = _peer(arguments.peer_python, PEER_QUALITY, [halves[0], synthetic], kinds)
            yield {"table": name, "against": against, **_beside(ours, peer, ("shapes", "pairs", "quality"))}
        if arguments.peer_python is None:
            continue
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
    train, fresh, holdout = (real[:4000], real[4000:8000].reset_index(drop=True), other[:4000])
    for name, synthetic in {"fresh rows": fresh, "copy": train}.items():
        results = evaluate_synthetic_data(train, synthetic, holdout_data=holdout, metrics="privacy_metrics")
        assert results.privacy is not None
        checks = {c.key: f"{'pass' if c.passed else 'FAIL'} {c.figure}" for c in results.privacy.checks}
        yield {"synthetic": name, "privacy": checks, "risk": round(results.privacy.risk, 4)}


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


def memory(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Peak memory of all processes while all similarity figures are computed from Parquet files of two sizes."""
    adult, peaks = _read(arguments.data, "adult"), []
    for rows in arguments.memory_rows:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{side}.parquet") for side in ("real", "synthetic")]
            for seed, path in enumerate(paths):
                _write_enlarged(adult, rows, seed, path)
            begun = time.perf_counter()
            run = watched([sys.executable, "-c", MEMORY_STAGE, *paths])
            peaks.append(run.peak_mb)
            seconds, quality = round(time.perf_counter() - begun, 1), round(float(run.last_line), 4)
            yield {"rows": rows, "peak_MB": round(run.peak_mb), "seconds": seconds, "quality": quality}
    yield {"peak_of_larger_over_smaller": round(peaks[1] / peaks[0], 3)}


def _write_enlarged(table: pd.DataFrame, rows: int, seed: int, path: str) -> None:
    """A Parquet file of many rows, a million at a time."""
    writer = None
    for start in range(0, rows, 1_000_000):
        part = _enlarged(table, min(1_000_000, rows - start), seed * 1000 + start // 1_000_000)
        block = pa.Table.from_pandas(part, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, block.schema)
        writer.write_table(block, row_group_size=250_000)
    assert writer is not None
    writer.close()


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


def _qa(arguments: argparse.Namespace, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, object]:
    """Our accuracies beside mostlyai-qa's, on the columns that we compare."""
    tables = pair_tables(real, synthetic)
    found = compare_tables(tables).accuracies
    ours = {k + end: found[k][i] for k in ("univariate", "bivariate") for i, end in enumerate(("", "_fresh"))}
    as_compared = {n: "str" for n in tables.compared if not tables.kinds[n].is_numeric}
    kinds = _sdtypes(tables)
    sides = [t[list(kinds)].astype(as_compared).where(t[list(kinds)].notna()) for t in (real, synthetic)]
    peer = _peer(arguments.qa_python, PEER_QA, sides, kinds)
    return _beside(ours, peer, tuple(ours))


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
