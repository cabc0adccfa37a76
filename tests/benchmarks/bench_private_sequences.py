"""Methods of sequences under a privacy budget beside independent steps of the same budget: how steps hang together.

    python tests/benchmarks/bench_private_sequences.py --data ../shared/data                   # epsilon 0.5, 1, 3, 8
    python tests/benchmarks/bench_private_sequences.py --data ../shared/data --epsilons 1 --epochs 2         # a look

Windows of 24 days of the six features of the stocks table; four of five blocks of a hundred days are learned, the fifth
is held out. The unit of the guarantee is one window. Windows of one series overlap, and a day is in 24 of them: this
measures a method on real sequences, and protects neither a day nor the series.

Figures, each against the held-out windows: the mean absolute difference of the autocorrelations of lags 1 to 5 (within
windows, per feature), of the correlations between features, and of the ranks of single values (Kolmogorov-Smirnov).
'independent' draws every step by itself from histograms that had nearly the whole budget. 'real' are the learned
windows themselves. Delta is 1e-5. Prints a line for each fit, then the means over the seeds as a table, and one JSON
line.
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
import torch

from raysynth.api import new_synthesizer
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.encoding.numbers import NumericEncoder
from raysynth.encoding.table_encoder import build_encoder
from raysynth.evaluation.sequence_metrics import autocorrelations, cross_correlation_difference, pair_arrays
from raysynth.methods.sequences.private_tables import sequences_of_array
from raysynth.statistics.noised import release_statistics

STEPS, LAGS, BLOCK, DELTA = 24, 5, 100, 1e-5
ALL_BUT_THE_COUNT = 0.99  # of the budget's rho, for the histograms of the baseline
NAMES = ("autocorrelation", "cross-correlation", "single values")


def main() -> None:
    """Fit, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder with stocks.csv")
    parser.add_argument("--epsilons", default="0.5,1,3,8")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="independent,timegan,autoregressive_sequences")
    parser.add_argument("--epochs", type=int, help="default: the method's own under a budget")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyper-parameter")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["RAYSYNTH_QUIET"] = "1"
    learned, held = windows(pd.read_csv(Path(options.data) / "stocks.csv").to_numpy(float))
    print(
        f"{len(learned):,} windows learned, {len(held):,} held out; real: {shown(figures(held, learned))}", flush=True
    )
    parameters = {name: json.loads(value) for name, value in (entry.split("=", 1) for entry in options.set)}
    if options.epochs is not None:
        parameters["epochs"] = options.epochs
    means = {}
    for epsilon in (float(e) for e in options.epsilons.split(",")):
        for method in options.methods.split(","):
            found = [one_fit(method, learned, held, epsilon, seed, parameters) for seed in range(options.seeds)]
            means[f"{method} at {epsilon:g}"] = np.mean(found, axis=0).round(4).tolist()
    print("\n" + "".join(f"{name:>32}" for name in ("", *NAMES)))
    for name, row in means.items():
        print(f"{name:>32}" + "".join(f"{value:>32.4f}" for value in row))
    print(json.dumps({"bench": "private sequences", "seeds": options.seeds, "names": NAMES, "means": means}))


def windows(values_DF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows (n, steps, features) that lie in blocks that are learned, and those in blocks that are held out."""
    blocks = [values_DF[first : first + BLOCK] for first in range(0, len(values_DF), BLOCK)]
    cut = [
        np.lib.stride_tricks.sliding_window_view(b, STEPS, axis=0).transpose(0, 2, 1) for b in blocks if len(b) >= STEPS
    ]
    held = np.concatenate(cut[4::5])
    return np.concatenate([w for i, w in enumerate(cut) if i % 5 != 4]), held


def one_fit(
    method: str, learned: np.ndarray, held: np.ndarray, epsilon: float, seed: int, parameters: dict[str, Any]
) -> list[float]:
    """The figures of one fit."""
    begun = time.perf_counter()
    if method == "independent":
        made = independent_steps(learned, epsilon, np.random.default_rng(seed))
    else:
        given = {"sequence_length": STEPS, "epsilon": epsilon, "delta": DELTA, "seed": seed, "verbose": False}
        model = new_synthesizer(method, **given, **parameters)
        made = model.fit(learned).sample(len(held) * 4, seed=seed)
    found = figures(held, made)
    print(f"{method} at {epsilon:g}, {time.perf_counter() - begun:.0f} s: {shown(found)}", flush=True)
    return found


def independent_steps(learned: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """Sequences whose every number is drawn by itself from the released histogram of its feature."""
    sequences = sequences_of_array(learned, length=None, features=None)
    budget, length = PrivacyBudget(epsilon, DELTA), sequences.length
    scope = PrivacyScope(budget, rows_per_unit=length, unit="window")
    steps = release_statistics(sequences.steps, sequences.step_schema, scope, share=ALL_BUT_THE_COUNT)
    columns = build_encoder(sequences.step_schema, steps.columns, numeric="scaled").columns
    assert all(isinstance(column, NumericEncoder) for column in columns)
    drawn = [c.distribution.quantile(rng.random(len(learned) * length)) for c in columns]  # type: ignore[union-attr]
    return np.stack(drawn, 1).reshape(len(learned), length, -1)


def figures(held: np.ndarray, made: np.ndarray) -> list[float]:
    """Differences from the held-out windows, in the order of `NAMES`."""
    of_held, of_made = (autocorrelations(x, LAGS) for x in pair_arrays(held, made))
    apart = [ranks_apart(held[..., f].ravel(), made[..., f].ravel()) for f in range(held.shape[2])]
    return [
        float(np.nanmean(np.abs(of_held - of_made))),
        float(cross_correlation_difference(held, made)),
        float(np.mean(apart)),
    ]


def ranks_apart(x: np.ndarray, y: np.ndarray) -> float:
    """Largest difference of two empirical distribution functions."""
    at = np.sort(np.concatenate([x, y]))
    return float(
        np.abs(
            np.searchsorted(np.sort(x), at, "right") / len(x) - np.searchsorted(np.sort(y), at, "right") / len(y)
        ).max()
    )


def shown(found: list[float]) -> str:
    """Figures with their names."""
    return ", ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, found, strict=True))


if __name__ == "__main__":
    main()
