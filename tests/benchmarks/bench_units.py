"""Persons of several rows under a budget: training over two workers beside one process, and an audit of two workers.

    python tests/benchmarks/bench_units.py fits --data batting.csv --unit playerID --target HR \
        --judge ../shared/bench/judge.py --peer-python VENV/bin/python --out fits.jsonl
    python tests/benchmarks/bench_units.py choice --data batting.csv --unit playerID --methods bayesian_network
    python tests/benchmarks/bench_units.py audit [--canaries 400] [--epsilons 1,3,8] [--methods dp_tvae,autoregressive]

`fits`: domains are declared, epsilon 3, delta 1e-5, at most 5 rows of a person count. Each seed is fitted in this
process and over two workers of Ray with the same seeded noise, so that what is charged can be compared event by event;
a second accountant (`tests/unit/dp/independent_accountant.py`) recomputes epsilon. Prints a line for each fit, then
whether the charges are the same, and the quality of both ways. `--out` keeps finished fits.

`choice`: how many rows of each person count at epsilon 1: 1 to 32, and what a noised count chooses; the quality
of as many made rows beside all real ones, by our own evaluation (the judge's definition), mean and spread over seeds.

`audit`: every canary is a person of three rows, each in the table with chance 1/2; in each step the gradient of any of
a canary's rows is far above the clip, along the person's own coordinate. Two ranks in threads of this process do what
two workers do (their own shards of persons, their own draws, half of the noise's variance each), and the adversary sees
all released gradients. Beside it three faults: noise left out (at a claim of 1 it must be found), noise of half the
variance, and rows dealt to the workers instead of persons. Exits with 1 where a claim is refuted, or that is not found.
"""

from __future__ import annotations

import argparse
import contextvars
import json
import os
import secrets
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from threading import Barrier
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from bench_audit import TINY
from bench_privacy import DELTA, NAMES, _judge, declared, domains

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "dp"))
from independent_accountant import recomputed_epsilon

from raysynth.api import new_synthesizer
from raysynth.attacks.audit.run import _judged
from raysynth.attacks.audit.units import EntityUnits, units_of
from raysynth.dp import InsecureSeededNoise
from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.evaluation import evaluate_synthetic_data
from raysynth.methods.shared import neural
from raysynth.running.runner import in_this_process
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import units as units_of_persons
from raysynth.statistics.units import CHOICES, chosen_most
from raysynth.training.canaries import GradientCanaries, planted
from raysynth.training.job import Place, train_worker
from raysynth.training.kept_shards import OwnedShards, stream_owned_shards
from raysynth.training.shards import ShardSet, write_file

EPSILON, ROWS_EACH, WORKERS = 3.0, 5, 2
OF_CANARY, PERSONS, AUDIT_DELTA, CONFIDENCE = 3, 200, 1e-8, 0.999
WIDER: dict[str, dict[str, Any]] = {  # as many weights as canaries
    "dp_tvae": {"encoder_layers": (32,), "decoder_layers": (32,)},
    "autoregressive": {"width": 32, "hidden": 16},
}
FAULTS = ("", "no noise", "noise of one worker too few", "rows dealt out")


def main() -> None:
    """Run the chosen part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("fits", "choice", "audit"))
    parser.add_argument("--data", help="a CSV whose persons have several rows")
    parser.add_argument("--unit", help="column that names the person")
    parser.add_argument("--target", help="column to predict")
    parser.add_argument("--judge", help="path of judge.py")
    parser.add_argument("--peer-python", help="a Python with sdmetrics")
    parser.add_argument("--methods", default="dp_tvae,autoregressive")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: the method's own")
    parser.add_argument("--epsilons", default="1,3,8", help="claims to audit")
    parser.add_argument("--canaries", type=int, default=400)
    parser.add_argument("--out", help="JSON lines of finished fits; read first, so that a run can go on")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    {"fits": fits, "choice": choice, "audit": audit}[options.part](options)


# ---- two workers beside one process ----------------------------------------------------------------------------------


def fits(options: argparse.Namespace) -> None:
    """Fit both ways, judge, print."""
    import ray

    ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    kept = Path(options.out).read_text().splitlines() if options.out and Path(options.out).exists() else []
    done = {(r["method"], r["seed"], r["workers"]): r for r in map(json.loads, kept)}
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), pd.read_csv(options.data)
        data.to_csv(folder / "all.csv", index=False)
        _judge(options, "split", str(folder / "all.csv"), str(folder))
        for method in options.methods.split(","):
            for seed in range(options.seeds):
                for workers in (1, WORKERS):
                    key = (method, seed, workers)
                    if key not in done:
                        done[key] = fitted(options, folder, data, *key)
                        with open(options.out or os.devnull, "a", encoding="utf-8") as file:
                            file.write(json.dumps(done[key]) + "\n")
                    print(json.dumps({k: v for k, v in done[key].items() if k != "events"}), flush=True)
            told([r for r in done.values() if r["method"] == method])


def choice(options: argparse.Namespace) -> None:
    """A line for each method and number of rows."""
    data = pd.read_csv(options.data)
    for method in options.methods.split(","):
        for most in (None, *(int(k) for k in CHOICES[:6])):
            chosen, found = [], []

            def noted(table: Any, column: str, scope: Any, chosen: list[int] = chosen) -> int:
                chosen.append(chosen_most(table, column, scope))
                return chosen[-1]

            for seed in range(options.seeds):
                model = private_model(options.unit, data, method, 1.0, most, seed)
                with in_this_process(), mock.patch.object(units_of_persons, "chosen_most", noted):
                    made = model.fit(data).sample(len(data), seed=seed)
                compared = [t.drop(columns=options.unit) for t in (data, made)]
                similarity = evaluate_synthetic_data(*compared, metrics=["statistical_similarity"], seed=0).similarity
                assert similarity is not None
                found.append(similarity.quality)
            spread = stdev(found) if len(found) > 1 else float("nan")
            print(
                f"{method} {most or f'chosen {chosen}'}: quality {mean(found):.4f} (of seeds {spread:.4f})", flush=True
            )


def private_model(
    unit: str, data: pd.DataFrame, method: str, epsilon: float, most: int | None, seed: int, **more: Any
) -> Any:
    """An unfitted one whose columns are declared."""
    of_rows = data.drop(columns=unit)
    key = ColumnSchema(unit, Kind.IDENTIFIER, "string", nullable=False)
    schema = TableSchema((key, *declared(of_rows, domains(of_rows)).columns))
    budget = {"epsilon": epsilon, "delta": DELTA, "privacy_unit": unit, "max_rows_per_unit": most}
    return new_synthesizer(method, **budget, schema=schema, seed=seed, verbose=False, **more)


def fitted(
    options: argparse.Namespace, folder: Path, data: pd.DataFrame, method: str, seed: int, workers: int
) -> dict[str, Any]:
    """The charges and the figures of one fit."""
    from ray.train import ScalingConfig

    train = pd.read_csv(folder / "train.csv")
    more: dict[str, Any] = {} if options.epochs is None else {"epochs": options.epochs}
    more["scaling_config"] = None if workers == 1 else ScalingConfig(num_workers=workers)
    model = private_model(options.unit, data, method, EPSILON, ROWS_EACH, seed, **more)
    model._noise = InsecureSeededNoise(1000 + seed)
    begun = time.perf_counter()
    if workers == 1:
        with in_this_process():
            model.fit(train)
    else:
        model.fit(train)
    seconds = round(time.perf_counter() - begun, 1)
    made = model.sample(len(train), seed=seed).drop(columns=options.unit)
    files = [str(folder / f"{name}.csv") for name in ("rows", "test", "synthetic")]
    train[made.columns].to_csv(files[0], index=False)
    pd.read_csv(files[1])[made.columns].to_csv(files[1], index=False)
    made.to_csv(files[2], index=False)
    scored = _judge(options, "score", *files, options.target).split()
    spent = model.privacy_spent_
    assert spent is not None
    again, error = recomputed_epsilon(json.loads(json.dumps(spent.to_dict())))
    steps = [e for e in spent.ledger.events if e.sampling_rate < 1]
    figures = {n: float(scored[scored.index(n) + 1]) for n in NAMES}
    return {
        "method": method,
        "seed": seed,
        "workers": workers,
        "seconds": seconds,
        "spent": spent.epsilon,
        "recomputed": again,
        "error": error,
        "steps": steps[0].steps,
        **figures,
        "events": [repr(e) for e in spent.ledger.events],
    }


def told(records: list[dict[str, Any]]) -> None:
    """Whether the charges are equal, and quality of both ways, with the spread of seeds."""
    by_way = {w: sorted((r for r in records if r["workers"] == w), key=lambda r: r["seed"]) for w in (1, WORKERS)}
    pairs = list(zip(by_way[1], by_way[WORKERS], strict=True))
    same = sum(a["events"] == b["events"] for a, b in pairs)
    print(f"{records[0]['method']}: the same events in {same} of {len(pairs)} pairs; recomputed at most "
          f"{max(r['recomputed'] - r['error'] for r in records):.4f} of {EPSILON:g}")  # fmt: skip
    for name in NAMES:
        one, two = ([r[name] for r in by_way[w]] for w in (1, WORKERS))
        spread = stdev(one) if len(one) > 1 else float("nan")
        print(f"  {name:<8} one process {mean(one):.4f} (of seeds {spread:.4f}), two workers {mean(two):.4f}")


# ---- an audit of two ranks -------------------------------------------------------------------------------------------


class OverThreads:
    """Averages and sums over threads, each a rank (an `Average`)."""

    n_workers = WORKERS

    def __init__(self) -> None:
        self.held: list[list[torch.Tensor]] = []
        self.all_there = Barrier(WORKERS, timeout=60)
        self.all_read = Barrier(WORKERS, lambda: self.held.clear(), timeout=60)

    def __call__(self, tensors: Any) -> None:
        """The mean, in place."""
        self.total(tensors, 1 / WORKERS)

    def total(self, tensors: Any, factor: float = 1.0) -> None:
        """The sum, in place."""
        own = list(tensors)
        self.held.append(own)
        self.all_there.wait()
        sums = [sum(parts) * factor for parts in zip(*self.held, strict=True)]
        self.all_read.wait()
        for tensor, found in zip(own, sums, strict=True):
            tensor.copy_(found)


class RankCanaries(GradientCanaries):
    """Those of one rank: rows by their places in the table, a canary of several rows, and what the others put there."""

    def __init__(self, of: GradientCanaries, place_R: np.ndarray) -> None:
        super().__init__(of.first_row, np.isin(np.arange(of.n_canaries), of._in_table_K), of.seed)
        self.place_R = place_R
        self.all_others_M = np.zeros(of.n_canaries)

    def add(self, release: Any, part: Any, uses: Any, weights: Any) -> None:
        """As in one process; a canary's `OF_CANARY` rows follow each other, and count as the first of them."""
        place_N = np.where(part.rows_N >= 0, self.place_R[part.rows_N], -1)
        beyond_N = place_N - self.first_row
        canary_N = np.where(beyond_N >= 0, self.first_row + beyond_N // OF_CANARY, place_N)
        super().add(release, replace(part, rows_N=canary_N), uses, weights)

    def see(self, released: Any, expected_batch: float) -> None:
        """And keeps what this rank's other rows put at the coordinates."""
        self.all_others_M = self.all_others_M + self._others_M
        super().see(released, expected_batch)


def trained_by_ranks(canaries: GradientCanaries, fault: str, job: Any, prepared: Any, *_: Any) -> Any:
    """In place of `neural._train_on_ray`: the same shards of persons, the same worker, each rank in a thread."""
    number_R = prepared.units.number_R
    if fault == "rows dealt out":
        number_R = np.arange(len(number_R))
    n_shards, average, cpu = 4 * WORKERS, OverThreads(), torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        put = partial(write_file, Path(name))
        made = stream_owned_shards(prepared.table, prepared.encoder, number_R, put, n_shards=n_shards)
        shards = OwnedShards(ShardSet(Path(name), made), True)

        def rank(number: int) -> tuple[Any, RankCanaries]:
            places = [np.flatnonzero(number_R % n_shards == i) for i in range(number, n_shards, WORKERS)]
            own = RankCanaries(canaries, np.concatenate(places))
            with planted(own):
                place = Place(number, WORKERS, cpu, average)
                share = shards.share(number, WORKERS)
                return train_worker(job, share, place, n_rows=len(number_R), store=None, label=""), own

        with ThreadPoolExecutor(WORKERS) as both:
            runs = [both.submit(contextvars.copy_context().run, rank, r) for r in range(WORKERS)]
            found = [run.result() for run in runs]
    trained, first = found[0]
    assert first.scores_M is not None
    canaries.scores_M = first.scores_M - sum(own.all_others_M for _, own in found[1:])
    canaries.n_steps = first.n_steps
    return trained


@contextmanager
def planted_fault(fault: str) -> Iterator[None]:
    """Noise of no size, or a share of it that is one of more workers than there are."""
    normal = {"no noise": 0.0, "noise of one worker too few": WORKERS**-0.5}.get(fault)
    if normal is None:
        yield
        return
    whole = DpSgdPlan.noise

    def less(plan: DpSgdPlan, purpose: str) -> Any:
        source = whole(plan, purpose)
        if not purpose.startswith("gradients"):
            return source
        return mock.Mock(wraps=source, normal=lambda n: normal * source.normal(n))

    with mock.patch.object(DpSgdPlan, "noise", less):
        yield


def audit(options: argparse.Namespace) -> None:
    """A line for each method, epsilon and fault."""
    rng, wrong = np.random.default_rng(0), []
    who = np.repeat(np.arange(PERSONS), rng.integers(1, 6, PERSONS))
    data = pd.DataFrame({"who": who, **{c: rng.choice(["x", "y"], len(who)) for c in "ab"}})
    columns = [ColumnSchema(c, Kind.CATEGORICAL, "string", categories=("x", "y"), nullable=False) for c in "ab"]
    cells = [(m, float(e), f) for m in options.methods.split(",") for e in options.epsilons.split(",") for f in FAULTS]
    for method, epsilon, fault in cells:
        model = new_synthesizer(
            method,
            **{**TINY[method], **WIDER.get(method, {}), "batch_size": 5000},
            epsilon=epsilon, delta=AUDIT_DELTA, privacy_unit="who", max_rows_per_unit=OF_CANARY,
            schema=TableSchema(tuple(columns)), seed=0, verbose=False, scaling_config=object(),
        )  # fmt: skip
        units = units_of(model, data, None)
        assert isinstance(units, EntityUnits)
        included_M = np.array([secrets.randbits(1) for _ in range(options.canaries)], bool)
        canaries = GradientCanaries(units.n_units, included_M)
        run = partial(trained_by_ranks, canaries, fault)
        with in_this_process(), mock.patch.object(neural, "_train_on_ray", run), planted_fault(fault):
            model.fit(replace(units, cap=OF_CANARY).with_canaries(int(included_M.sum())))
        found = _judged(canaries, included_M, CONFIDENCE, AUDIT_DELTA)
        refuted = found.lower_bound > epsilon
        missed = fault == "no noise" and epsilon <= 1 and not refuted  # so many canaries show no more than about 4
        wrong += [(method, epsilon, fault)] if missed or (refuted and not fault) else []
        about = f"at least {found.lower_bound:.3f} of {found.largest:.2f} {'REFUTED' if refuted else 'stands'}"
        name = fault or "as it is"
        print(f"{method:<15} claim {epsilon:<4g} {name:<28} {about} {dict(found.figures)}", flush=True)
    print(f"wrong: {wrong}" if wrong else "every claim stands, and noise left out is found")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
