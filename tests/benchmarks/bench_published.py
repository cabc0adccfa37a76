"""The published two-sample score of the default method on tables of the literature, beside CART and copied rows.

    python tests/benchmarks/bench_published.py --data FOLDER --judge-python PYTHON --judge judge.py --cart cart.py \
        --out results.jsonl [--tables adult magic]

The protocol of TabSyn, TabDiff and TabPC (april-tools/tabpc, `src/metrics/metrics.py`): nine tenths of a table are
learned, as many rows are made, and SDMetrics' detection metric with XGBoost tells them from the rows that were learned
from: 1 where it cannot, 0 where it always can (1 - s / 2 is the AUC). That score rewards copies, so beside it stand
the same score against the tenth that nobody learned from, the judge's shares, and how many made rows equal a learned
row (`equal`; of the tenth `equal_unseen`); `copy` gives the learned rows themselves, `cart` is sequential CART with
leaves of 2 rows. The split is ours (seed 1234); of Adult too, where theirs is the official one. Columns are numbers or
categories as their files have them.

FOLDER holds NAME.csv of the tables of PUBLISHED: `beijing` (PM2.5) without rows that have gaps and without row numbers,
`default` without its row numbers. PYTHON has sdmetrics and xgboost (this file runs itself there, too).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

# the best of TabSyn, TabDiff and TabPC, as TabPC's paper prints them; what usefulness predicts
PUBLISHED = {
    "adult": (0.855, "income"),
    "beijing": (0.772, "pm2.5"),
    "default": (0.591, "Y"),
    "magic": (0.860, "class"),
    "shoppers": (0.894, "Revenue"),
}
METHODS = ("auto", "cart", "copy")


def main() -> None:
    """Run what is not in the results yet, then print the table."""
    if sys.argv[1] == "detect":
        print(json.dumps([detected(*sys.argv[2:4]), detected(sys.argv[4], sys.argv[3])]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "judge", "cart", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--judge-python", required=True)
    parser.add_argument("--tables", nargs="*", default=list(PUBLISHED))
    options = parser.parse_args()
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for name in options.tables:
        for method in METHODS:
            if not any((d["table"], d["method"]) == (name, method) for d in done):
                done.append(measured(options, name, method))
                with options.out.open("a") as lines:
                    lines.write(json.dumps(done[-1]) + "\n")
                print(done[-1], flush=True)
    keys = ("seconds", "score", "against_unseen", "unseen", "nearer", "quality", "equal", "equal_unseen")
    print(f"{'table':<10} published " + " ".join(f"{key:>14}" for key in ("method", *keys)))
    for d in done:
        figures = " ".join(f"{d[key]:14.4g}" for key in keys)
        print(f"{d['table']:<10} {PUBLISHED[d['table']][0]:9.3f} {d['method']:>14} {figures}")


def measured(options: argparse.Namespace, name: str, method: str) -> dict[str, Any]:
    """One method on one table."""
    table = pd.read_csv(options.data / f"{name}.csv")
    train = table.sample(frac=0.9, random_state=1234)
    with tempfile.TemporaryDirectory() as scratch:
        files = [str(Path(scratch, f"{part}.parquet")) for part in ("train", "test", "made")]
        train.to_parquet(files[0], index=False)
        table.drop(train.index).to_parquet(files[1], index=False)
        begun = time.perf_counter()
        if method == "cart":
            subprocess.run([options.judge_python, str(options.cart), files[0], files[2], "2"], check=True)
        elif method == "copy":
            train.to_parquet(files[2], index=False)
        else:
            from raysynth.api import new_synthesizer

            model = new_synthesizer(method, seed=0, verbose=False).fit(train.reset_index(drop=True))
            model.sample(len(train), seed=0).to_parquet(files[2], index=False)
        seconds = time.perf_counter() - begun
        run = [options.judge_python, __file__, "detect", files[0], files[2], files[1]]
        scores = json.loads(_output(run).splitlines()[-1])
        judged = _output([options.judge_python, str(options.judge), "score", *files, PUBLISHED[name][1]])
        equal = [equal_share(pd.read_parquet(file), train) for file in (files[2], files[1])]
    shares = {key: float(re.findall(rf"{key} ([\d.]+)", judged)[0]) for key in ("unseen", "nearer", "quality")}
    figures = {"seconds": round(seconds, 1), "score": scores[0], "against_unseen": scores[1], **shares}
    return {"table": name, "method": method, **figures, "equal": equal[0], "equal_unseen": equal[1]}


def equal_share(rows: pd.DataFrame, learned: pd.DataFrame) -> float:
    """The share of `rows` that equal a learned row in every column."""
    found = rows.merge(learned.drop_duplicates(), how="left", indicator=True)["_merge"]
    return round(float((found == "both").mean()), 4)


def detected(real: str, synthetic: str) -> float:
    """SDMetrics' score of XGBoost; at most as many synthetic rows.

    The metric knows no category that the real table lacks (of the tenth that was left out: a rare one), so such a value
    counts as the most frequent one.
    """
    from sdmetrics.single_table.detection.sklearn import ScikitLearnClassifierDetectionMetric
    from xgboost import XGBClassifier

    class Detection(ScikitLearnClassifierDetectionMetric):
        @staticmethod
        def _get_classifier() -> Any:
            return XGBClassifier(eval_metric="logloss", enable_categorical=True, random_state=0, n_jobs=1)

    first, second = pd.read_parquet(real), pd.read_parquet(synthetic)
    if len(first) < len(second):
        second = second.sample(len(first), random_state=0)
    kinds = {c: "numerical" if pd.api.types.is_numeric_dtype(first[c]) else "categorical" for c in first}
    for column in (c for c, kind in kinds.items() if kind == "categorical"):
        first[column], second[column] = first[column].astype(str), second[column].astype(str)
        second[column] = second[column].where(second[column].isin(first[column]), first[column].mode()[0])
    metadata = {"columns": {c: {"sdtype": kind} for c, kind in kinds.items()}}
    return round(float(Detection.compute(first, second, metadata)), 4)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
