"""Conditions by every method: are they met, is the rest right given them, and what do they cost.

    python tests/benchmarks/bench_conditions.py --data ../shared/data/adult.csv \
        --methods conditional_gan,copula,bayesian_network,autoregressive,tvae,ctgan,gan --epochs 100

Fits each method once on Adult and prints a line with
- held: whether all of 10,000 rows under {'sex': 'Male', 'age': (25, 40)} satisfy it;
- ratio: mean total variation between the marginals of the other columns and those of the real rows that satisfy the
  condition, over the same figure without a condition at the same numbers of real and synthetic rows (numbers in ten
  bins of equal mass);
- seconds of 1,000 rows without a condition, and under conditions of about 1 % and 0.1 % frequency, as a multiple of it.

The two rare conditions are found in the table: an age range and a sex whose frequency is nearest to the one wanted.
`--out FILE` keeps finished methods, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysynth.errors import RaysynthError
from raysynth.methods.base import Synthesizer
from raysynth.methods.registry import synthesizer_class

CONDITION = {"sex": "Male", "age": (25, 40)}
ROWS, RARE_ROWS = 10_000, 1_000


def main() -> None:
    """Fit each method, print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="adult.csv")
    parser.add_argument("--methods", default="conditional_gan,copula,bayesian_network,autoregressive,tvae,ctgan,gan")
    parser.add_argument("--epochs", type=int, help="of the neural methods; default: their own")
    parser.add_argument("--rows", type=int, help="learn from so many rows of the table only")
    parser.add_argument("--out", help="JSON lines of finished methods")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    real = pd.read_csv(options.data, skipinitialspace=True)
    if options.rows:
        real = real.sample(options.rows, random_state=0)
    done = _finished(options.out)
    for method in options.methods.split(","):
        if method not in done:
            done[method] = measure(method, real, options.epochs)
            if options.out:
                with open(options.out, "a", encoding="utf-8") as file:
                    file.write(json.dumps(done[method]) + "\n")
        print(json.dumps(done[method]), flush=True)


def measure(method: str, real: pd.DataFrame, epochs: int | None) -> dict[str, Any]:
    """All figures of one method."""
    model = fitted(method, real, epochs)
    chosen = real[satisfies(real, CONDITION)]
    rows = model.sample(ROWS, CONDITION, seed=1)
    held = bool(len(rows) == ROWS and satisfies(rows, CONDITION).all())
    others = [c for c in real if c not in CONDITION]
    given = variation(chosen[others], rows[others], real)
    unconditional = variation(
        real.sample(len(chosen), random_state=0)[others], model.sample(ROWS, seed=2)[others], real
    )
    figures = {"method": method, "held": held, "tv_given": given, "tv_unconditional": unconditional}
    figures["ratio"] = given / unconditional
    plain = timed(model, None)
    figures["plain_seconds"] = plain
    for share in (0.01, 0.001):
        condition, frequency = rare_condition(real, share)
        figures[f"frequency_{share:g}"] = frequency
        try:
            figures[f"times_{share:g}"] = timed(model, condition) / plain
        except RaysynthError as error:
            figures[f"refused_{share:g}"] = str(error)
    return figures


def fitted(method: str, real: pd.DataFrame, epochs: int | None) -> Synthesizer:
    """A model of the table."""
    cls = synthesizer_class(method)
    parameters: dict[str, Any] = {"seed": 0, "verbose": False}
    if epochs is not None and "epochs" in cls._parameter_names():
        parameters["epochs"] = epochs
    if method == "conditional_gan":
        parameters["conditional_columns"] = list(CONDITION)
    return cls(**parameters).fit(real)


def satisfies(table: pd.DataFrame, condition: dict[str, Any]) -> pd.Series:
    """For each row whether it satisfies a condition."""
    result = pd.Series(True, index=table.index)
    for column, wanted in condition.items():
        result &= table[column].between(*wanted) if isinstance(wanted, tuple) else table[column] == wanted
    return result


def variation(a: pd.DataFrame, b: pd.DataFrame, real: pd.DataFrame) -> float:
    """Mean over columns of the total variation of two marginals; numbers in ten bins of equal mass of the table."""
    found = []
    for column in a:
        x, y = a[column], b[column]
        if pd.api.types.is_numeric_dtype(real[column]):
            edges = np.unique(np.quantile(real[column].dropna(), np.linspace(0, 1, 11))[1:-1])
            x, y = (pd.Series(np.searchsorted(edges, v, side="right")) for v in (x, y))
        p, q = x.value_counts(normalize=True), y.value_counts(normalize=True)
        found.append(0.5 * p.subtract(q, fill_value=0).abs().sum())
    return float(np.mean(found))


def rare_condition(real: pd.DataFrame, share: float) -> tuple[dict[str, Any], float]:
    """A sex and an age range of one to four years whose frequency is nearest to `share`, and that frequency."""
    best: tuple[float, dict[str, Any], float] | None = None
    for sex in ("Female", "Male"):
        for low in range(17, 88):
            for width in range(4):
                condition = {"sex": sex, "age": (low, low + width)}
                frequency = float(satisfies(real, condition).mean())
                distance = abs(np.log((frequency + 1e-9) / share))
                if best is None or distance < best[0]:
                    best = (distance, condition, frequency)
    assert best is not None
    return best[1], best[2]


def timed(model: Synthesizer, condition: dict[str, Any] | None) -> float:
    """Seconds of 1,000 rows, the better of two; raises `RaysynthError` where the rows are refused."""
    seconds = []
    for seed in (3, 4):
        begun = time.perf_counter()
        rows = model.sample(RARE_ROWS, condition, seed=seed)
        seconds.append(time.perf_counter() - begun)
        assert len(rows) == RARE_ROWS and satisfies(rows, condition or {}).all()
    return min(seconds)


def _finished(path: str | None) -> dict[str, dict[str, Any]]:
    if path is None or not Path(path).exists():
        return {}
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {r["method"]: r for r in records}


if __name__ == "__main__":
    main()
