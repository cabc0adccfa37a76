"""The audit's matrix: every private method at every epsilon, attacked through its whole file and its gradients.

    python tests/benchmarks/bench_audit.py --out audit.jsonl [--methods copula,dp_tvae] [--epsilons 0.5,1,3,8] \
        [--refits 240] [--canaries 400] [--rows 100] [--where local]

One adversary (`raysynth.privacy.audit_epsilon`) on tiny tables and networks, since a claim holds for any table or for
none, and many small fits have more power than few large ones. Prints a line for each method and epsilon: the lower
bound that was shown, the claim, and the largest lower bound that a perfect attack could have shown with as many trials;
then how many claims were refuted, which must be none (exit 1). `timegan`, whose claim is by sequence, learns a long
table of so many sequences (`--rows`), and its canary is a sequence. The confidence of all bounds together is 0.999:
each cell of the matrix has its part of the error. `--out` keeps finished cells, and a second run goes on from there.
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

import numpy as np
import pandas as pd

from raysynth.api import new_synthesizer
from raysynth.methods.registry import METHODS, synthesizer_class
from raysynth.privacy import audit_epsilon
from raysynth.schema import ColumnSchema, Kind, TableSchema

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
}
OF_SEQUENCES = {"sequence_key": "who", "time_column": "t", "static_columns": ["a"], "sequence_length": 3}


def main() -> None:
    """Audit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    classes = {m: synthesizer_class(m) for m in METHODS}
    private = [m for m, c in classes.items() if c.has_differential_privacy]
    parser.add_argument("--methods", default=",".join(private))
    parser.add_argument("--epsilons", default="0.5,1,3,8")
    parser.add_argument("--refits", type=int, default=240, help="fits of the membership game, half with the canary")
    parser.add_argument("--canaries", type=int, default=400, help="canaries of the one run; at most as many as weights")
    parser.add_argument("--rows", type=int, default=100, help="rows, or sequences")
    parser.add_argument("--where", default="local", choices=("local", "ray"), help="where the refits run")
    parser.add_argument("--out", help="JSON lines of finished cells; read first, so that a run can go on")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    warnings.simplefilter("ignore")
    cells = [(m, float(e)) for m in options.methods.split(",") for e in options.epsilons.split(",")]
    confidence = 1 - FAMILY_ERROR / len(cells)
    done = _finished(options)
    for cell in cells:
        if cell not in done:
            done[cell] = audited(options, *cell, confidence)
            _keep(options.out, done[cell])
        print(_line(done[cell]), flush=True)
    refuted = [cell for cell in cells if done[cell]["refuted"]]
    print(f"{len(refuted)} of {len(cells)} claims refuted{': ' + str(refuted) if refuted else ''}")
    sys.exit(1 if refuted else 0)


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


def audited(options: argparse.Namespace, method: str, epsilon: float, confidence: float) -> dict[str, Any]:
    """One cell: both attacks where the method trains by DP-SGD, else the file's alone."""
    small = dict(TINY.get(method, {}))
    by_sgd, by_sequence = bool(small), synthesizer_class(method).learns_sequences
    if by_sgd:
        small["batch_size"] = 5 * options.rows  # all rows in every step: each fit spends the same events
    small |= OF_SEQUENCES if by_sequence else {}
    model = new_synthesizer(method, epsilon=epsilon, delta=DELTA, seed=0, schema=declared(), verbose=False, **small)
    begun = time.perf_counter()
    found = audit_epsilon(
        model,
        sequences(options.rows) if by_sequence else rows(options.rows),
        n_refits=options.refits,
        n_canaries=options.canaries,
        confidence=confidence,
        attacks=["file", "gradients"] if by_sgd else ["file"],
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
