"""A sweep: which method, and which epsilon? Each is fitted, evaluated and attacked over Ray, and one is recommended.

    python examples/sweep.py [--rows 6000] [--seeds 3] [--out choice]

Killed and started again on the same folder, it repeats no finished trial. What it says of private rows is for their
holder only; `selection='proxy'` keeps the choice itself within a budget.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from raysynth.tuning import sweep


def main(rows: int, seeds: int, out: Path, epsilons: tuple[float, ...] = (1.0, 3.0, math.inf)) -> None:
    """Sweep, explain, keep the winner."""
    from statsmodels.datasets import fair  # a survey, one person a row

    data = fair.load_pandas().data.sample(min(rows, 6_366), random_state=0)
    result = sweep(
        data[["age", "yrs_married", "children", "affairs"]],
        methods=["copula", "bayesian_network"],
        epsilons=epsilons,
        out=out,
        n_seeds=seeds,
        target_columns="children",
        seed=1,
    )
    print(result.table[["method", "epsilon", "status", "utility", "similarity", "attack"]].to_string(index=False))
    print(result.explain())
    result.generate_report(out / "sweep.html")
    result.best().save(out / "best.raysynth")
    print(f"written to {out}/: sweep.html, best.raysynth")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=6_000, help="rows of the table")
    parser.add_argument("--seeds", type=int, default=3, help="fits of each method and epsilon")
    parser.add_argument("--out", type=Path, default=Path("choice"), help="folder of the results")
    given = parser.parse_args()
    main(given.rows, given.seeds, given.out)
