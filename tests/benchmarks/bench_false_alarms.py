"""False alarms and power of the whole suite: attacks and distances on tables of every kind of column.

    python tests/benchmarks/bench_false_alarms.py [--repeats 200] [--rows 250] [--kinds numbers,mixed] [--out DIR]
    python tests/benchmarks/bench_false_alarms.py --copies 0.05 [--rows 500] [--holdout 1000]
    python tests/benchmarks/bench_false_alarms.py --attacks tracing [--repeats 100]
    python tests/benchmarks/bench_false_alarms.py --copies 0.05 --rows 500 --limit [--repeats 400]

Real, synthetic and holdout rows are three independent samples (`tests/unit/attacks/kinds_of_tables.py`), so that
whatever is found is a false alarm; with `--copies` a share of the synthetic rows are real rows, and a table without an
alarm is missed. A table is accused where a privacy check of the report fails and is not minor, or an attack surely
gains as much; what is told besides (any gain that is sure, however small, and checks that are minor) counts as a false
alarm and as no power. `--attacks` runs the named attacks alone. `--limit` says what could be found at all: the power
of the likelihood ratio of copies to none, at 5 % and for nothing else, by one who knows the true probability of each
row (Neyman and Pearson 1933: no test has more), of two kinds of table for which it is a simple product. Resumable with
--out: one file a table. Prints a JSON line for each kind: of how many tables something was told, how many were accused,
and by what.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import poisson

from raysynth.attacks.attack import Attack
from raysynth.attacks.registry import new_attack
from raysynth.attacks.run import ask, attack_records, sample_records
from raysynth.attacks.singling_out import MultivariateSinglingOut, UnivariateSinglingOut
from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation.attacks import attack_checks
from raysynth.evaluation.privacy import privacy_figures
from raysynth.running.runner import iter_tasks
from tests.unit.attacks.kinds_of_tables import KINDS, three_samples, with_copies

BY_NAME = (
    "distance",
    "density_ratio",
    "local_likelihood",
    "plagiarism",
    "tracing",
    "attribute_nearest",
    "attribute_model",
    "linkability",
    "inversion_table",
)
FALSE_ALARMS, POWER = 0.05, 0.9


def main() -> None:
    """Run all kinds."""
    warnings.filterwarnings("ignore")
    os.environ["RAYSYNTH_QUIET"] = "1"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--rows", type=int, default=250, help="of the real and of the synthetic table")
    parser.add_argument("--holdout", type=int, help="rows held out; as many as real ones where left out")
    parser.add_argument("--copies", type=float, default=0.0, help="share of synthetic rows that are real ones")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--attacks", default="", help="names; the figures of the report are then left out")
    parser.add_argument("--out", help="folder of a resumable run")
    parser.add_argument("--limit", action="store_true", help="the power of one who knows the population")
    options = parser.parse_args()
    for figure in limits(options) if options.limit else judged(options):
        print(json.dumps(figure), flush=True)


def judged(options: Any) -> Iterator[dict[str, Any]]:
    """A line for each kind of table, and the verdict."""
    folder = Path(options.out or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    sizes = options.rows, options.rows, options.holdout or options.rows
    missed = []
    for kind in options.kinds.split(","):
        name = f"{kind}-{sizes[0]}-{sizes[2]}-{options.copies:g}{options.attacks and '-' + options.attacks}"
        todo = [r for r in range(options.repeats) if not (folder / f"{name}-{r}.json").exists()]
        alone = tuple(filter(None, options.attacks.split(",")))
        for _ in iter_tasks(partial(one_table, kind, sizes, options.copies, folder / name, alone), todo, where="local"):
            pass
        found = [json.loads((folder / f"{name}-{r}.json").read_text()) for r in range(options.repeats)]
        told, accused = (sum(bool(f[what]) for f in found) for what in ("told", "accused"))
        meets = accused >= POWER * len(found) if options.copies else told <= FALSE_ALARMS * len(found)
        missed += [] if meets else [kind]
        by = {what: dict(Counter(name for f in found for name in f[what])) for what in ("told", "accused")}
        yield {"kind": kind, "tables": len(found), "told": told, "accused": accused, "by": by, "meets": meets}
    demanded = f"accused: at least {POWER:.0%}" if options.copies else f"told: at most {FALSE_ALARMS:.0%}"
    yield {"verdict": "PASSED" if not missed else "MISSED", "demanded": demanded, "missed": missed}


def limits(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A line for each kind whose probabilities are known."""
    for kind, chance in (("whole_numbers", chance_of_whole_numbers), ("categories", chance_of_categories)):
        ratios: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(options.repeats):
            real, fresh, _ = three_samples(kind, (options.rows, options.rows, 1), 50_000 + repeat)
            for copied, rows in ((False, fresh), (True, with_copies(fresh, real, options.copies, repeat))):
                equal = pd.MultiIndex.from_frame(real).value_counts().reindex(pd.MultiIndex.from_frame(rows)).fillna(0)
                times = equal.to_numpy() / len(real) / chance(rows)
                ratios[copied].append(float(np.log1p(options.copies * (times - 1)).sum()))
        power = float(np.mean(np.array(ratios[True]) > np.quantile(ratios[False], 1 - FALSE_ALARMS)))
        yield {"kind": kind, "tables": options.repeats, "power of one who knows the population": round(power, 3)}


def chance_of_whole_numbers(rows: pd.DataFrame) -> np.ndarray:
    """Probability of each row of `kinds_of_tables.whole_numbers`."""
    gain = rows["gain"].to_numpy()
    below, above = (1 - np.exp(-np.maximum(gain + half, 0) / 4000) for half in (-50, 50))
    return poisson.pmf(rows["visits"], 2) * (0.2 * (above - below) + np.where(gain == 0, 0.8, 0)) / 72


def chance_of_categories(rows: pd.DataFrame) -> np.ndarray:
    """Probability of each row of `kinds_of_tables.categories`."""
    group = rows["group"].map({"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}).to_numpy()
    same = np.where(rows["group"] == rows["other"], 0.6, 0) + 0.4 / 4
    return np.asarray(group * same * np.where(rows["member"], 0.3, 0.7) / 5)


def one_table(
    kind: str, sizes: tuple[int, int, int], copies: float, path: Path, alone: tuple[str, ...], repeat: int
) -> None:
    """All attacks and distances (or some attacks alone) on one synthetic table; what accuses it, in one file."""
    real, synthetic, holdout = three_samples(kind, sizes, 1000 + repeat)
    if copies:
        synthetic = with_copies(synthetic, real, copies, repeat)
    rng = np.random.default_rng(repeat)
    records = sample_records(pair_tables(real, synthetic, holdout), rng)
    attacks: list[Attack] = list(map(new_attack, alone or BY_NAME))
    attacks += [] if alone else [UnivariateSinglingOut(200), MultivariateSinglingOut(200)]
    results = attack_records(records, ask(attacks, 2, 2_000, has_holdout=True), rng)
    told = [r.name for r in results.details.values() if r.found]
    accused = [r.name for r in results.details.values() if r.is_shown and not r.is_minor]
    if not alone:
        rows = {label: found.rows for label, found in records.items()}
        figures = privacy_figures(rows["real"], rows["synthetic"], rows["holdout"], repeat, attack_checks(results))
        told += [c.key for c in figures.checks if c.passed is False]
        accused += [c.key for c in figures.checks if c.passed is False and not c.minor]
    temporary = path.with_name(f".{path.name}-{repeat}.tmp")
    temporary.write_text(json.dumps({"told": told, "accused": accused}))
    temporary.rename(path.with_name(f"{path.name}-{repeat}.json"))


if __name__ == "__main__":
    main()
