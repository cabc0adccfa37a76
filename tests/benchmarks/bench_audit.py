"""The audit's matrix: every private method at every epsilon, attacked through its whole file and its gradients.

    python tests/benchmarks/bench_audit.py --out audit.jsonl [--methods copula,dp_tvae] [--epsilons 0.5,1,3,8] \
        [--refits 240] [--canaries 400] [--rows 100] [--where local]
    python tests/benchmarks/bench_audit.py --persons --rows 200 --methods bayesian_network,copula --epsilons 1,3
    python tests/benchmarks/bench_audit.py --releases --out losses.jsonl [--methods copula,bayesian_network] \
        [--epsilons 1] [--refits 5000]

One adversary (`raysynth.privacy.audit_epsilon`) on tiny tables and networks, since a claim holds for any table or for
none, and many small fits have more power than few large ones. Prints a line for each method and epsilon: the lower
bound that was shown, the claim, and the largest lower bound that a perfect attack could have shown with as many trials;
then how many claims were refuted, which must be none (exit 1). `timegan` and `autoregressive_sequences`, whose claim is
by sequence, learn a long table of so many sequences (`--rows`), and their canary is a sequence. The confidence of all
bounds together is 0.999: each cell of the matrix has its part of the error. `--out` keeps finished cells, and a second
run goes on from there.

`--persons`: the unit is a person of 40 to 64 rows, and how many of them count is chosen with noise; the canary is a
person of 1,024, and delta 1e-2. Beside it a fault, which must be found at a claim of 1: what is counted has noise for
one row of each.

`--releases`: methods that count, by an adversary who sees every noised release (`attacks/audit/releases.py`), at delta
1e-2, where the bound of a game is sharp. All columns have declared categories, and the canary the rarer one of each:
its scores in a copula are the largest there are. Prints the lower bounds of epsilon and mu at 95 % (wanted: at least
half of the claim), those at 99.99 % over all methods (above the claim: exit 1), and beside them what a synthetic table
of each fit gives away by itself. `--out` keeps each fit's privacy loss.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from raysynth.api import new_synthesizer
from raysynth.attacks.audit.adversary import learned
from raysynth.attacks.audit.releases import judged, loss_of, seen_fit
from raysynth.attacks.audit.results import game_bound
from raysynth.attacks.audit.units import units_of
from raysynth.data.fragments import Table
from raysynth.dp import PrivacyBudget
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.methods.registry import METHODS, synthesizer_class
from raysynth.privacy import audit_epsilon
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import units as units_of_persons
from raysynth.statistics.units import chosen_most

FAMILY_ERROR = 0.001
DELTA = 1e-8  # the one-run theorem's term for delta leaves no power at 1e-5
GAN = {"generator_dim": (4,), "discriminator_dim": (16,), "embedding_dim": 4, "epochs": 1}
VAE = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,), "epochs": 2}
TINY: dict[str, dict[str, Any]] = {
    "ctgan": GAN,
    "gan": {**GAN, "discriminator_dim": (32,)},  # as many weights as the one run has canaries
    "conditional_gan": {**GAN, "discriminator_dim": (32,), "conditional_columns": ["a", "b"]},
    "dp_tvae": VAE,
    "tvae": {**VAE, "prior_components": 2},
    "autoregressive": {"width": 8, "hidden": 4, "layers": 1, "epochs": 2},
    "timegan": {"hidden_dim": 8, "noise_dim": 2, "epochs": 1},
    "autoregressive_sequences": {"units": 8, "width": 8, "hidden": 4, "layers": 1, "epochs": 1},
}
COUNTING = ("copula", "bayesian_network")
SHARP_DELTA, COLUMNS, LEARNING = 1e-2, 2, 0.2
OF_SEQUENCES = {"sequence_key": "who", "time_column": "t", "static_columns": ["a"], "sequence_length": 3}


def main() -> None:
    """Audit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    classes = {m: synthesizer_class(m) for m in METHODS}
    private = [m for m, c in classes.items() if c.has_differential_privacy]
    parser.add_argument("--releases", action="store_true", help="methods that count, with every release seen")
    parser.add_argument("--persons", action="store_true", help="by person, of whom a chosen number of rows counts")
    parser.add_argument("--methods", help="default: all that are meant")
    parser.add_argument("--epsilons", help="default: 0.5,1,3,8; with --releases 1")
    parser.add_argument("--refits", type=int, help="fits of the membership game, half with the canary; 240, or 5000")
    parser.add_argument("--canaries", type=int, default=400, help="canaries of the one run; at most as many as weights")
    parser.add_argument("--rows", type=int, default=100, help="rows, or sequences")
    parser.add_argument("--where", default="local", choices=("local", "ray"), help="where the refits run")
    parser.add_argument("--out", help="JSON lines of finished cells; read first, so that a run can go on")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    warnings.simplefilter("ignore")
    options.methods = options.methods or ",".join(COUNTING if options.releases else private)
    options.epsilons = options.epsilons or ("1" if options.releases else "0.5,1,3,8")
    options.refits = options.refits or (5000 if options.releases else 240)
    if options.releases:
        refuted = [cell for cell in cells_of(options) if by_releases(options, *cell)]
        sys.exit(1 if refuted else 0)
    cells = cells_of(options)
    confidence = 1 - FAMILY_ERROR / len(cells)
    done = _finished(options)
    for cell in cells:
        if cell not in done:
            done[cell] = audited(options, *cell, confidence)
            _keep(options.out, done[cell])
        print(_line(done[cell]), flush=True)
    refuted = [cell for cell in cells if done[cell]["refuted"]]
    if options.persons:
        with mock.patch.object(units_of_persons, "chosen_most", chosen_but_not_paid):
            faulty = audited(options, cells[0][0], 1.0, confidence)
        print(f"noise for one row of each: {_line(faulty)}")
        refuted += [] if faulty["refuted"] else [("a planted fault stands", 1.0)]
    print(f"{len(refuted)} of {len(cells)} claims refuted{': ' + str(refuted) if refuted else ''}")
    sys.exit(1 if refuted else 0)


def cells_of(options: argparse.Namespace) -> list[tuple[str, float]]:
    """Methods and epsilons."""
    return [(m, float(e)) for m in options.methods.split(",") for e in options.epsilons.split(",")]


def by_releases(options: argparse.Namespace, method: str, epsilon: float) -> bool:
    """Fit until there are enough, then the line of one method; whether its claim is refuted."""
    kept = _losses(options.out, method, epsilon)
    model = new_synthesizer(method, epsilon=epsilon, delta=SHARP_DELTA, seed=0, schema=categories(), verbose=False)
    units = units_of(model, of_categories(options.rows), None)
    worlds = units.with_canaries(0), units.with_canaries(1)
    while len(kept) < options.refits // 2 * 2:
        world, begun = len(kept) % 2, time.process_time()
        fit = seen_fit(model, worlds[world])
        loss = loss_of(fit, worlds[1 - world]) * (1 if world else -1)
        table = fit.model.sample(options.rows, seed=len(kept))
        own = {f"{c} {v}": float(n) for c in table for v, n in table[c].value_counts().items()}
        seconds = round(time.process_time() - begun, 4)
        kept.append({"method": method, "epsilon": epsilon, "loss": loss, "table": own, "seconds": seconds})
        _keep(options.out, kept[-1])
    kept = kept[: len(kept) // 2 * 2]  # of a run that was stopped
    losses = np.array([k["loss"] for k in kept])
    n_learning, budget = int(LEARNING * len(kept) / 2), PrivacyBudget(epsilon, SHARP_DELTA)
    surest = 1 - 0.0001 / len(cells_of(options))
    found, sure = (judged(losses[1::2], losses[::2], n_learning, c, budget) for c in (0.95, surest))
    assert found.mu is not None and found.mu_claimed is not None
    decision = learned(
        [k["table"] for k in kept[1 : 2 * n_learning : 2]], [k["table"] for k in kept[: 2 * n_learning : 2]]
    )
    said = [decision.says_in(k["table"]) for k in kept[2 * n_learning :]]
    n = len(said) // 2
    by_table = game_bound(sum(said[1::2]), n, sum(said[::2]), n, delta=SHARP_DELTA, confidence=0.95)
    refuted = sure.lower_bound > epsilon or (sure.mu or 0) > found.mu_claimed
    seconds = sum(k["seconds"] for k in kept)
    share, mu_share = found.lower_bound / epsilon, found.mu / found.mu_claimed
    print(
        f"{method}, epsilon {epsilon:g}, delta {SHARP_DELTA:g}, {len(kept):,} fits: "
        f"epsilon at least {found.lower_bound:.3f} = {share:.0%} of the claim (a perfect attack {found.largest:.2f}); "
        f"mu at least {found.mu:.3f} of {found.mu_claimed:.3f} = {mu_share:.0%}; "
        f"at 99.99 % {sure.lower_bound:.3f} and {sure.mu:.3f}, {'REFUTED' if refuted else 'stands'}; "
        f"by a synthetic table alone {by_table:.3f}; {dict(found.figures)}; {seconds:.0f} CPU s",
        flush=True,
    )
    return refuted


def categories() -> TableSchema:
    """Columns of two declared values."""
    return TableSchema(
        tuple(
            ColumnSchema(f"c{i}", Kind.CATEGORICAL, "string", categories=("x", "y"), nullable=False)
            for i in range(COLUMNS)
        )
    )


def of_categories(n: int) -> pd.DataFrame:
    """Of seven rows in ten the first value, so that the other one's score is clipped; independent columns."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({f"c{i}": rng.choice(["x", "y"], n, p=(0.7, 0.3)) for i in range(COLUMNS)})


def _losses(path: str | None, method: str, epsilon: float) -> list[dict[str, Any]]:
    """Of finished fits of a method."""
    if path is None or not Path(path).exists():
        return []
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [r for r in records if (r["method"], r["epsilon"]) == (method, epsilon)]


def rows(n: int) -> pd.DataFrame:
    """Two short lists of values and a number."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.choice(list("xyw"), n), "b": rng.choice(list("uvw"), n), "x": rng.normal(size=n)})


def sequences(n: int) -> pd.DataFrame:
    """One to four rows of each; column a is the sequence's own."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(n), rng.integers(1, 5, n))
    own = rng.choice(list("xyw"), n)[who]
    steps = rows(len(who)).assign(a=own)
    return steps.assign(who=who, t=np.arange(len(who)))


def declared() -> TableSchema:
    """Column a has one declared value that no row has, for the canary."""
    a = ColumnSchema("a", Kind.CATEGORICAL, "string", categories=("x", "y", "w", "z"), nullable=False)
    return TableSchema((a,))


def chosen_but_not_paid(table: Table, column: str, scope: PrivacyScope) -> int:
    """The fault: the rows of each person that were chosen count, and noise is that of one."""
    most, scope.rows_per_unit = chosen_most(table, column, scope), 1
    return most


def persons(n: int) -> pd.DataFrame:
    """Forty to sixty-four rows of each, so that many of them are chosen."""
    who = np.repeat(np.arange(n), np.random.default_rng(1).integers(40, 65, n))
    return rows(len(who)).assign(who=who)


def audited(options: argparse.Namespace, method: str, epsilon: float, confidence: float) -> dict[str, Any]:
    """One cell: both attacks where the method trains by DP-SGD, else the file's alone."""
    small = dict(TINY.get(method, {}))
    by_sgd, by_sequence = bool(small), synthesizer_class(method).learns_sequences
    if by_sgd:
        small["batch_size"] = 5 * options.rows  # all rows in every step: each fit spends the same events
    small |= OF_SEQUENCES if by_sequence else {}
    small |= {"privacy_unit": "who", "max_rows_per_unit": None} if options.persons else {}
    table = sequences if by_sequence else persons if options.persons else rows
    delta = SHARP_DELTA if options.persons else DELTA
    model = new_synthesizer(method, epsilon=epsilon, delta=delta, seed=0, schema=declared(), verbose=False, **small)
    begun = time.perf_counter()
    found = audit_epsilon(
        model,
        table(options.rows),
        n_refits=options.refits,
        n_canaries=options.canaries,
        confidence=confidence,
        attacks=["file", "gradients"] if by_sgd and not options.persons else ["file"],
        where=options.where,
    )
    about = {"method": method, "refits": options.refits, "canaries": options.canaries, "rows": options.rows}
    return {**about, **found.to_dict(), "seconds": round(time.perf_counter() - begun, 1)}


def _line(record: dict[str, Any]) -> str:
    attacks = "; ".join(f"{a['name']} {a['lower_bound']:.3f} of {a['largest']:.2f}" for a in record["attacks"])
    verdict = "REFUTED" if record["refuted"] else "stands"
    share = record["lower_bound"] / record["epsilon"]
    return (
        f"{record['method']:<18} claim {record['epsilon']:<4g} lower bound {record['lower_bound']:.3f} = {share:.0%} "
        f"(a perfect attack {record['largest']:.2f}) {verdict}  [{attacks}]  {record['seconds']:.0f} s"
    )


def _finished(options: argparse.Namespace) -> dict[tuple[str, float], dict[str, Any]]:
    """Cells of the same sizes that an earlier run has finished."""
    if options.out is None or not Path(options.out).exists():
        return {}
    records = [json.loads(line) for line in Path(options.out).read_text(encoding="utf-8").splitlines()]
    sizes = (options.refits, options.canaries, options.rows)
    return {(r["method"], r["epsilon"]): r for r in records if (r["refits"], r["canaries"], r["rows"]) == sizes}


def _keep(path: str | None, record: dict[str, Any]) -> None:
    if path is not None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
