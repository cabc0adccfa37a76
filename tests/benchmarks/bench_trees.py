"""The default method beside sequential CART on real tables: likeness to unseen rows, usefulness, copying, seconds.

    python tests/benchmarks/bench_trees.py --data FOLDER --more FOLDER --judge-python PYTHON --judge judge.py \
        --cart cart.py --out results.jsonl [--tables magic OJ] [--splits 3] [--methods auto]

`--data` holds the tables of TABLES as CSV, `--more` further ones as Parquet; judge and yardstick are files
of their own, so that nothing of this project judges itself. A run that was interrupted goes on from the lines in
`--out`; with all lines there it prints the table alone. Under 5,000 rows a table has ten splits, else three.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SMALL = 5_000
METHODS = ("cart", "auto")


@dataclass(frozen=True)
class Benchmarked:
    """A table: the column that the usefulness test predicts, and columns that are left out beforehand."""

    target: str
    without: tuple[str, ...] = ()


TABLES = {
    "OJ": Benchmarked("Purchase"),
    "College": Benchmarked("Grad.Rate"),
    "Bikeshare": Benchmarked("bikers", ("casual", "registered")),
    "magic": Benchmarked("class"),
    "adult": Benchmarked("income"),
    "credit_default": Benchmarked("Y"),
    "diamonds": Benchmarked("price"),
}
MORE = {
    "flchain": Benchmarked("death"),  # missing cells
    "flights": Benchmarked("arr_delay"),  # dates
    "house_prices": Benchmarked("price"),  # parcels numbered by district, some sold twice
    "air_quality": Benchmarked("pm2.5"),  # row numbers in order of time
    "courts": Benchmarked("two_year_recid"),  # row numbers, case numbers that most rows lack, names, dates as text
}


def main() -> None:
    """Run what is not in the results yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "more", "judge", "cart", "out"):
        parser.add_argument(f"--{name}", type=Path, required=name != "more")
    parser.add_argument("--judge-python", default=sys.executable)
    parser.add_argument("--tables", nargs="*", default=[*TABLES, *MORE])
    parser.add_argument("--splits", type=int)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    options = parser.parse_args()
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for name, split, method in planned(options):
        if not any((d["table"], d["split"], d["method"]) == (name, split, method) for d in done):
            done.append(measured(options, name, split, method))
            with options.out.open("a") as lines:
                lines.write(json.dumps(done[-1]) + "\n")
            print(done[-1], flush=True)
    print(summary(done))


def planned(options: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Table, split and method of each run."""
    for name in options.tables:
        splits = options.splits or (10 if len(table_of(options, name)) < SMALL else 3)
        for split in range(splits):
            for method in options.methods:
                yield name, split, method


def table_of(options: argparse.Namespace, name: str) -> pd.DataFrame:
    """A table as users read it, without the columns that would give the target away."""
    if name in MORE:
        return pd.read_parquet(options.more / f"{name}.parquet")
    table = pd.read_csv(options.data / f"{name}.csv", skipinitialspace=True)
    return table.drop(columns=list(TABLES[name].without))


def measured(options: argparse.Namespace, name: str, split: int, method: str) -> dict[str, Any]:
    """One method on one split: fitted to the training part, and for copying to one half of it."""
    target = (TABLES | MORE)[name].target
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = split_of(table_of(options, name), split)
        for part, rows in parts.items():
            rows.to_parquet(folder / f"{part}.parquet", index=False)
        seconds = 0.0
        for part in ("half_a", "train"):
            begun = time.perf_counter()
            made = synthetic(options, parts[part], folder, part, method, split)
            seconds = time.perf_counter() - begun
            made.to_parquet(folder / f"made_{part}.parquet", index=False)
        files = [str(folder / f"{f}.parquet") for f in ("train", "test", "made_train")]
        score = judged(options, "score", *files, target)
        files = [str(folder / f"{f}.parquet") for f in ("half_a", "half_b", "made_half_a")]
        copying = judged(options, "copying", *files)
    return {
        "table": name,
        "split": split,
        "method": method,
        "seconds": round(seconds, 2),
        "quality": number(r"quality ([\d.]+)", score),
        "real": number(r"TRTR (-?[\d.]+)", score),
        "useful": number(r"TSTR (-?[\d.]+)", score),
        "unseen": number(r"unseen ([\d.]+)", score),
        "copying": number(r"training half ([\d.]+)", copying),
        "exact": number(r"exact copies ([\d.]+)", copying) - number(r"other half ([\d.]+)", copying),
    }


def split_of(table: pd.DataFrame, split: int) -> dict[str, pd.DataFrame]:
    """The judge's split for split 0, others for other seeds: 80 / 20, and both halves of the larger part."""
    train = table.sample(frac=0.8, random_state=split)
    shuffled, half = train.sample(frac=1, random_state=split + 1), len(train) // 2
    test = table.drop(train.index)
    return {"train": train, "test": test, "half_a": shuffled[:half], "half_b": shuffled[half : 2 * half]}


def synthetic(
    options: argparse.Namespace, rows: pd.DataFrame, folder: Path, part: str, method: str, seed: int
) -> pd.DataFrame:
    """As many rows as were learned from."""
    if method == "cart":
        files = [str(folder / f"{part}.parquet"), str(folder / f"cart_{part}.parquet")]
        subprocess.run([options.judge_python, str(options.cart), *files], check=True)
        return pd.read_parquet(files[1])
    from raysynth.api import new_synthesizer

    model = new_synthesizer(method, seed=seed, verbose=False).fit(rows.reset_index(drop=True))
    return model.sample(len(rows), seed=seed)


def judged(options: argparse.Namespace, *arguments: str) -> str:
    """What the judge prints."""
    command = [options.judge_python, str(options.judge), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def number(pattern: str, text: str) -> float:
    """The number after a word of the judge's line."""
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"the judge said nothing like {pattern!r}: {text!r}")
    return float(found.group(1))


def summary(done: list[dict[str, Any]]) -> str:
    """Means over the splits, CART's beside the default method's, and the mean paired difference in 'unseen'."""
    frame = pd.DataFrame(done)
    figures = ["seconds", "quality", "useful", "unseen", "copying", "exact"]
    lines = ["table | splits | real | " + " | ".join(f"{f}: cart, auto" for f in figures) + " | unseen: auto - cart"]
    for name, rows in frame.groupby("table", sort=False):
        means = rows.groupby("method")[figures].mean()
        if set(means.index) != set(METHODS):
            continue
        pairs = rows.pivot(index="split", columns="method", values="unseen")
        apart = (pairs.auto - pairs.cart).dropna()
        error = apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else float("nan")
        cells = [f"{means.loc['cart', f]:.3f}, {means.loc['auto', f]:.3f}" for f in figures]
        lines.append(
            f"{name} | {len(apart)} | {rows.real.mean():.3f} | "
            + " | ".join(cells)
            + f" | {apart.mean():+.3f} +- {error:.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
