"""A capacity model: time and money for a table of any size on a cluster, from figures measured on one machine.

    python tests/benchmarks/bench_scale.py --data adult.csv --folder DIR --rows 5000000   # once
    python examples/capacity.py DIR/figures.jsonl [--rows 1e9] [--columns 50] [--workers 64] [--price 0.05]

Assumptions, in this order of weight: every pass over the table is divided evenly over the workers' cores (fragments of
about a million rows are tasks of their own); reading and sampling grow with the number of columns, counting pairs of
columns with its square; storage gives all workers what they read at once (the output names the bandwidth that this
takes); cores are as fast as the measured ones. A worker is one core; the price is of one core for an hour.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED_COLUMNS = 15


@dataclass(frozen=True)
class Estimate:
    """What a stage would take.

    Args:
        stage: its name.
        seconds: on all workers.
        gigabytes_per_second: that storage must give or take meanwhile.
    """

    stage: str
    seconds: float
    gigabytes_per_second: float


def main(figures: Path, rows: float, columns: int, workers: int, price: float) -> list[Estimate]:
    """Print the table of stages; returns it."""
    lines = figures.read_text(encoding="utf-8").splitlines()
    measured = [figure for line in lines if (figure := json.loads(line))["part"] in ("fit", "sample")]
    largest = max(figure["rows"] for figure in measured)
    estimates = [scaled(f, rows, columns, workers) for f in measured if f["rows"] == largest]
    print(f"{rows:,.0f} rows x {columns} columns on {workers} cores (measured at {largest:,} x {MEASURED_COLUMNS}):")
    for e in estimates:
        cost = e.seconds / 3600 * workers * price
        print(f"{e.stage:<28} {e.seconds / 60:8.1f} min {cost:8.2f} USD {e.gigabytes_per_second:8.2f} GB/s of storage")
    slowest = max(estimates, key=lambda e: e.seconds)
    print(f"first bottleneck: the cores, in '{slowest.stage}'; storage, if it gives less than the rates above")
    return estimates


def scaled(figure: dict[str, Any], rows: float, columns: int, workers: int) -> Estimate:
    """A measured figure at another size: by rows, by columns (a fit: their square), by cores."""
    width = columns / MEASURED_COLUMNS
    growth = width**2 if figure["part"] == "fit" else width
    seconds = figure["seconds"] * figure["cores"] * rows / figure["rows"] * growth / workers
    gigabytes = figure["bytes"] / figure["rows"] * rows * width * figure.get("passes", 1) / 1e9
    return Estimate(f"{figure['method']}, {figure['part']}", seconds, gigabytes / seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, help="figures.jsonl of bench_scale.py")
    parser.add_argument("--rows", type=float, default=1e9, help="of the table, and of the sample")
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--workers", type=int, default=64, help="cores")
    parser.add_argument("--price", type=float, default=0.05, help="USD for a core and hour")
    given = parser.parse_args()
    main(given.figures, given.rows, given.columns, given.workers, given.price)
