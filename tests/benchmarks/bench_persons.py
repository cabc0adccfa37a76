"""Persons with several rows: what of them leaves by default, and whether made persons have rows as real ones do.

    python tests/benchmarks/bench_persons.py --out figures.jsonl [--persons 5000] [--methods trees,copula,...]
        [--settings '{"epochs": 2}'] [--no-again]

Persons of 1 to 40 rows, with keys, a name, an account, a date of birth and a salary of their own. Every method is
fitted at its defaults, without a budget and without `entity=`, and draws as many rows. For each, one line:

- `keys_in_sample`, `keys_in_file`: real keys, names and accounts found there. Wanted: 0.
- `rows_each`, `rows_each_real`: total variation between the numbers of rows of made and of real persons, and between
  those of two independent samples of persons. Wanted: at most 1.2 times.
- `coincidences`: of made dates of birth and salaries, the share that a person learned from has, less the share that one
  of as many unseen persons has, with the half-width of its 95 % interval. Wanted: within it of 0.
- `nearer`: share of made rows whose date of birth, salary and sex are nearer to those of a person learned from than to
  those of as many unseen ones. These columns do not depend on each other, so it is 0.5 where no person is copied.
- `constant`: share of made persons of several rows in whom a column stays constant that is constant in real ones.
- `same_again`: whether other keys in the same order leave every row of the sample as it is (a second fit).

A line of --out is a finished method; a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from raysynth.api import new_synthesizer
from tests.unit.fitting.test_persons import EXACT, KEYS, persons, visits

METHODS = "trees,copula,bayesian_network,autoregressive,tvae,ctgan,conditional_gan,gan"
MOST_ROWS = 40


def rows_each(n_persons: int, seed: int) -> np.ndarray:
    """Numbers of rows of persons: 1 to 40, most of them few."""
    return np.minimum(np.random.default_rng(seed).geometric(0.15, n_persons), MOST_ROWS)


def table_of(n_persons: int, seed: int) -> pd.DataFrame:
    """Rows of persons who are not those of another seed."""
    of = persons(n_persons, seed)
    rng = np.random.default_rng(seed + 1)
    of["name"] = [f"{name} {v:05x}" for name, v in zip(of["name"], rng.integers(0, 16**5, n_persons), strict=True)]
    return visits(of, rows_each(n_persons, seed + 2), seed + 3)


def other_keys(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each record number exchanged for another one, the order of all kept."""
    known = np.sort(table["record_number"].unique())
    fresh = np.sort(np.random.default_rng(99).choice(10**10, len(known), replace=False))
    return table.assign(
        record_number=table["record_number"].map({k: f"MRN-{v:010d}" for k, v in zip(known, fresh, strict=True)})
    )


def variation(a: pd.Series, b: pd.Series) -> float:
    """Total variation between two samples of numbers of rows."""
    p, q = (x.value_counts(normalize=True).reindex(range(1, MOST_ROWS + 1), fill_value=0) for x in (a, b))
    return float((p - q).abs().sum() / 2)


def coincidences(made: pd.Series, learned: pd.Series, unseen: pd.Series) -> tuple[float, float]:
    """How much more often made values are those of persons learned from, and 1.96 standard errors over made values."""
    values = pd.Series(made.unique())
    more = values.isin(set(learned)).astype(float) - values.isin(set(unseen)).astype(float)
    return float(more.mean()), float(1.96 * more.std() / np.sqrt(len(more)))


def nearer(made: pd.DataFrame, learned: pd.DataFrame, unseen: pd.DataFrame) -> float:
    """Share of made rows whose own columns are nearer to a person learned from (by rank, Euclidean); ties are half."""
    persons = [t.drop_duplicates("record_number") for t in (learned, unseen)]
    known = pd.concat(persons)

    def places(table: pd.DataFrame) -> np.ndarray:
        ranks = [np.searchsorted(np.sort(known[c].to_numpy()), table[c].to_numpy()) / len(known) for c in EXACT]
        return np.stack([*ranks, (table["sex"] == "f").to_numpy(float)], axis=1)

    own, other = (cKDTree(places(p)).query(places(made))[0] for p in persons)
    return float((own < other).mean() + 0.5 * (own == other).mean())


def constant_share(table: pd.DataFrame, column: str) -> float:
    """Of the persons with several rows, those in whom a column has one value."""
    by = table.groupby("record_number")[column]
    return float((by.nunique(dropna=False)[by.size() > 1] == 1).mean())


def stored(model: Any) -> bytes:
    """All members of the model's file."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        with zipfile.ZipFile(Path(folder) / "model") as file:
            return b"".join(file.read(name) for name in sorted(file.namelist()))


def figures(method: str, settings: dict[str, Any], n_persons: int, again: bool) -> dict[str, Any]:
    """The line of one method."""
    real, unseen = table_of(n_persons, 1), table_of(n_persons, 11)
    begun = time.process_time()
    model = new_synthesizer(method, seed=0, verbose=False, **settings).fit(real)
    seconds = time.process_time() - begun
    made, content = model.sample(len(real), seed=1), stored(model)
    size = [t.groupby("record_number").size() for t in (made, real, unseen)]
    record: dict[str, Any] = {
        "method": method,
        "cpu_seconds": round(seconds, 1),
        "keys_in_sample": sum(len(set(real[k]) & set(made[k])) for k in KEYS),
        "keys_in_file": sum(str(v).encode() in content for k in KEYS for v in real[k].unique()),
        "rows_each": round(variation(size[0], size[1]), 4),
        "rows_each_real": round(variation(size[1], size[2]), 4),
        "coincidences": {c: [round(x, 5) for x in coincidences(made[c], real[c], unseen[c])] for c in EXACT},
        "nearer": round(nearer(made, real, unseen), 4),
        "constant": {c: round(constant_share(made, c), 4) for c in ("name", "iban", "birth_date", "salary", "sex")},
    }
    if again:
        other = new_synthesizer(method, seed=0, verbose=False, **settings).fit(other_keys(real))
        record["same_again"] = bool(other.sample(len(real), seed=1).equals(made))
    return record


def main() -> None:
    """A line for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=5_000)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--settings", default="{}", help="JSON, of all methods named")
    parser.add_argument("--no-again", action="store_true", help="without the second fit")
    given = parser.parse_args()
    lines = given.out.read_text(encoding="utf-8").splitlines() if given.out.exists() else []
    done = {json.loads(line)["method"] for line in lines}
    with given.out.open("a", encoding="utf-8") as out:
        for method in given.methods.split(","):
            if method not in done:
                line = json.dumps(figures(method, json.loads(given.settings), given.persons, not given.no_again))
                print(line, flush=True)
                out.write(line + "\n")
                out.flush()


if __name__ == "__main__":
    main()
