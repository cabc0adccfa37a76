"""What the any-order model does beside sampling: completing rows, and likelihoods, each beside something known.

    python tests/benchmarks/bench_autoregressive.py --data ../shared/data/adult.csv [--rows 5000] [--seed 0]

Four fifths of the table are learned from; of the other fifth,
- imputation: 20 % of the cells are removed at random and filled by `impute(how='best')` and `how='sample'`, by the most
  frequent value (numbers: the mean), and by scikit-learn's IterativeImputer on ordinal codes, rounded to a code;
  categories: share of filled cells that are wrong; numbers: root mean square error in standard deviations of the
  column; each the mean over columns.
- likelihood: mean log probability of the rows by this model (mean over 8 orders) and by the Bayesian network, over the
  same codes, in nats.

Columns that hold text are categories. Prints one JSON line for each of the two.
"""

from __future__ import annotations

import argparse
import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa

from raysynth import AutoregressiveSynthesizer, BayesianNetworkSynthesizer

REMOVED = 0.2
N_BINS = 100


def main() -> None:
    """Fit once, print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--rows", type=int, help="use so many rows of the table only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    table = pd.read_csv(options.data, skipinitialspace=True).sample(frac=1, random_state=options.seed)
    table = table[: options.rows].reset_index(drop=True)
    train, test = table[: len(table) * 4 // 5], table[len(table) * 4 // 5 :].reset_index(drop=True)
    model = AutoregressiveSynthesizer(seed=options.seed, verbose=False, n_bins=N_BINS).fit(train)
    print(json.dumps({"bench": "likelihood", **likelihood(model, train, test, options.seed)}), flush=True)
    print(json.dumps({"bench": "imputation", **imputation(model, train, test, options.seed)}), flush=True)


def likelihood(
    model: AutoregressiveSynthesizer, train: pd.DataFrame, test: pd.DataFrame, seed: int
) -> dict[str, float]:
    """Nats a row by both models over the same codes."""
    network = BayesianNetworkSynthesizer(seed=seed, verbose=False, n_bins=N_BINS).fit(train)
    codes = [m.encoder_.encode(pa.Table.from_pandas(test, preserve_index=False)).codes_NC for m in (model, network)]
    if not np.array_equal(*codes):
        raise SystemExit("the two models encode the table differently: their likelihoods cannot be compared")
    own = model.log_prob(test)
    return {
        "rows": len(test),
        "autoregressive": float(own["log_prob"].mean()),
        "spread_over_orders": float(own["spread"].mean()),
        "bayesian_network": float(network.log_prob(test).mean()),
    }


def imputation(
    model: AutoregressiveSynthesizer, train: pd.DataFrame, test: pd.DataFrame, seed: int
) -> dict[str, dict[str, float]]:
    """Errors of each way to fill the same gaps."""
    removed = pd.DataFrame(np.random.default_rng(seed).random(test.shape) < REMOVED, columns=test.columns)
    gaps = test.astype(object).mask(removed | test.isna())
    removed &= test.notna()
    ways = {
        "best": model.impute(gaps, how="best", seed=seed),
        "sample": model.impute(gaps, how="sample", seed=seed),
        "mode": gaps.fillna({c: train[c].mean() if is_number(train[c]) else train[c].mode()[0] for c in train}),
        "iterative": iterative(train, gaps, seed),
    }
    return {name: errors(train, test, filled, removed) for name, filled in ways.items()}


def iterative(train: pd.DataFrame, gaps: pd.DataFrame, seed: int) -> pd.DataFrame:
    """IterativeImputer (Bayesian ridge, its default) on numbers and ordinal codes of categories."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    levels = {c: pd.Index(train[c].dropna().unique()).sort_values() for c in train if not is_number(train[c])}

    def numbers(frame: pd.DataFrame) -> np.ndarray:
        parts = [levels[c].get_indexer(frame[c]) if c in levels else frame[c].astype(float) for c in train]
        matrix = np.column_stack(parts).astype(float)
        for i, c in enumerate(train):
            if c in levels:
                matrix[matrix[:, i] < 0, i] = np.nan
        return matrix

    done = IterativeImputer(random_state=seed).fit(numbers(train)).transform(numbers(gaps))
    filled = pd.DataFrame(done, columns=train.columns)
    for c, own in levels.items():
        filled[c] = own.to_numpy()[np.clip(filled[c].round().astype(int), 0, len(own) - 1)]
    return filled


def errors(train: pd.DataFrame, test: pd.DataFrame, filled: pd.DataFrame, removed: pd.DataFrame) -> dict[str, float]:
    """'wrong': of categories; 'rmse': of numbers; means over columns, of the removed cells."""
    wrong, rmse = [], []
    for c in test:
        at = removed[c].to_numpy()
        if not is_number(train[c]):
            wrong.append(float((filled[c][at].astype(object) != test[c][at].astype(object)).mean()))
            continue
        difference = (filled[c][at].astype(float) - test[c][at].astype(float)) / train[c].std()
        rmse.append(float(np.sqrt((difference**2).mean())))
    return {"wrong": float(np.mean(wrong)), "rmse": float(np.mean(rmse))}


def is_number(column: pd.Series) -> bool:
    """Whether a column is numeric."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


if __name__ == "__main__":
    main()
