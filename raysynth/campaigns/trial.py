"""One trial: draw a training table with some of the targets, fit a model, publish, attack every target.

Over Ray trials are tasks: a bounded number in flight, lost workers retried, each task writes its own file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.attacks.attack import MembershipAttack, Records, View
from raysynth.attacks.neighbourhood import vulnerable_records
from raysynth.attacks.registry import new_attack
from raysynth.attacks.run import read_records
from raysynth.attacks.shadow import ShadowAttack, published
from raysynth.campaigns.plan import Plan, Trial
from raysynth.comparison.pairing import pair_tables
from raysynth.comparison.rows import one_of_each
from raysynth.errors import ClusterError, DataError, ParameterError
from raysynth.fitting.checks import unlisted
from raysynth.running.metrics import count_done
from raysynth.running.ray_session import start_ray

SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("epsilon", pa.float64()),
        ("seed", pa.int64()),
        ("attack", pa.string()),
        ("target", pa.int64()),
        ("member", pa.bool_()),
        ("found", pa.list_(pa.float32())),
        ("seconds", pa.float64()),
    ]
)


@dataclass(frozen=True)
class World:
    """What all trials share.

    Args:
        plan: the grid.
        targets: the records that are attacked.
        target_rows: their row numbers in the data.
        population: rows that training tables are drawn from; no targets among them.
        reference: rows that the attacker has; in no training table.
        attacks: the attacks themselves.
    """

    plan: Plan
    targets: Records
    target_rows: np.ndarray
    population: Records
    reference: Records
    attacks: tuple[MembershipAttack, ...]

    @property
    def n_training(self) -> int:
        """Rows of a training table beside the targets; a replace-one game keeps some for those that are out."""
        if self.plan.n_training is not None:
            return self.plan.n_training
        return len(self.population) - self.n_replacements

    @property
    def n_replacements(self) -> int:
        """The most rows that take a target's place in one table."""
        return len(self.targets) if self.plan.game == "replace_one" else 0


@dataclass(frozen=True)
class Report:
    """What a finished trial says to the driver: whether it is written, and the pair's scores where stopping needs them.

    Args:
        key: the trial's.
        error: why it failed; None: it is written.
        scores: attack -> scores (T,), only where a confidence target is set.
    """

    key: str
    error: str | None = None
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)


def make_world(plan: Plan, data: Any) -> World:
    """Targets, population and reference from a table; raises `DataError`, `ParameterError`."""
    plan.check()
    attacks = campaign_attacks(plan.attacks)
    for method, epsilon in plan.groups:
        new_method(plan.methods[method], epsilon, plan.delta, 0)
    records = read_records(pair_tables(data, data, entity=plan.entity), np.random.default_rng([plan.seed, 1]))["real"]
    rng = np.random.default_rng([plan.seed, 2])
    chosen = _targets(plan, records, rng)
    rest = records.take(_of_others(records, chosen))
    n_reference = len(rest) // 2
    reference, population = rest.split(n_reference, rng)
    world = World(plan, records.take(chosen), chosen, population, reference, attacks)
    if world.n_training + world.n_replacements > len(population) or world.n_training < 2:
        kept = f", of which {world.n_replacements} may take a target's place" if world.n_replacements else ""
        raise DataError(
            f"n_training is {world.n_training}, but half of the rows that are no targets are the attacker's "
            f"reference and {len(population)} are left{kept}; give more rows or a smaller n_training"
        )
    return world


def campaign_attacks(attacks: Sequence[Any]) -> tuple[MembershipAttack, ...]:
    """The attacks of a campaign; raises `ParameterError` for one that does not score targets."""
    found: list[MembershipAttack] = []
    for given in attacks:
        attack = new_attack(given) if isinstance(given, str) else given
        if not isinstance(attack, MembershipAttack):
            raise ParameterError(f"a campaign plays membership games; '{attack.name}' does not score targets")
        found.append(attack)
    if len({a.name for a in found}) < len(found):
        raise ParameterError(f"attacks names one twice: {', '.join(a.name for a in found)}")
    return tuple(found)


def run_trial(world: World, trial: Trial) -> pa.Table:
    """The trial's records, one for each attack and target."""
    begun = time.perf_counter()
    plan = world.plan
    inside_T = plan.inside(trial.seed, len(world.targets))
    rng = np.random.default_rng([plan.seed, 3, *trial.key.encode()])
    training = training_table(world, inside_T, rng)
    model = new_method(plan.methods[trial.method], trial.epsilon, plan.delta, int(rng.integers(2**31)))
    model.fit(training.table)
    n_rows = len(training) if plan.n_synthetic is None else plan.n_synthetic
    synthetic = published(model, n_rows, int(rng.integers(2**31)), world.targets.rows.space)
    view = View(synthetic, world.reference, model, model, len(training))
    columns: dict[str, list[Any]] = {name: [] for name in ("attack", "target", "member", "found")}
    for attack in world.attacks:
        found_TF = look_of(attack, world.targets, view, plan.seed, rng)
        columns["attack"] += [attack.name] * len(inside_T)
        columns["target"] += world.target_rows.tolist()
        columns["member"] += inside_T.tolist()
        columns["found"] += found_TF.astype(np.float32).tolist()
    n = len(columns["attack"])
    same = {"method": trial.method, "epsilon": trial.epsilon, "seed": trial.seed}
    same["seconds"] = time.perf_counter() - begun
    return pa.table({**{k: [v] * n for k, v in same.items()}, **columns}, schema=_ordered(SCHEMA, same, columns))


def look_of(attack: MembershipAttack, targets: Records, view: View, seed: int, rng: np.random.Generator) -> np.ndarray:
    """Features of a shadow attack, else scores, of each target (T, F)."""
    if isinstance(attack, ShadowAttack):
        return attack.look(targets, view, seed)
    return np.asarray(attack.score(targets, view.limited_to(attack.threat), rng), dtype=float)[:, None]


def training_table(world: World, inside_T: np.ndarray, rng: np.random.Generator) -> Records:
    """Rows of the population and the targets that are in; in a replace-one game other rows for those that are out."""
    n_out = int((~inside_T).sum()) if world.plan.game == "replace_one" else 0
    base = world.population.sample(world.n_training + n_out, rng)
    together = base.joined(world.targets.take(np.flatnonzero(inside_T)))
    return together.take(rng.permutation(len(together)))


def new_method(spec: Any, epsilon: float | None, delta: float, seed: int) -> Any:
    """An unfitted synthesizer of a plan's method, with its budget."""
    if isinstance(spec, Mapping):
        from raysynth.api import new_synthesizer

        model = new_synthesizer(**spec)
    else:
        model = unlisted(spec.clone())
    known = set(model.get_params())
    if epsilon is not None:
        if "epsilon" not in known:
            raise ParameterError(
                f"{type(model).__name__} has no differential privacy, so no epsilon; leave epsilons out"
            )
        budget = {"differential_privacy": True, "epsilon": epsilon, "delta": delta}
        model.set_params(**{k: v for k, v in budget.items() if k in known})
    return model.set_params(**{k: v for k, v in {"seed": seed, "verbose": False}.items() if k in known})


def _of_others(records: Records, chosen: np.ndarray) -> np.ndarray:
    """The rows of persons who are no targets."""
    owners_N = records.rows.owners_N
    if owners_N is None:
        return np.setdiff1d(np.arange(len(records)), chosen)
    return np.flatnonzero(~np.isin(owners_N, owners_N[chosen]))


def _targets(plan: Plan, records: Records, rng: np.random.Generator) -> np.ndarray:
    n = plan.n_targets if isinstance(plan.targets, str) else len(plan.targets)
    if n > len(records) // 4:
        raise DataError(f"{n} targets of {len(records)} rows; a campaign needs four times as many rows as targets")
    if isinstance(plan.targets, str):
        rows = np.arange(len(records)) if records.rows.owners_N is None else one_of_each(records.rows.owners_N, rng)
        if n > len(rows) // 2:
            raise DataError(f"{n} targets of {len(rows)} persons; a campaign needs twice as many persons as targets")
        if plan.targets == "random":
            return rows[rng.choice(len(rows), n, replace=False)]
        return rows[vulnerable_records(records if len(rows) == len(records) else records.take(rows), n)]
    chosen = np.unique(np.asarray(plan.targets, dtype=np.int64))
    if chosen.min() < 0 or chosen.max() >= len(records):
        raise ParameterError(f"targets holds row {chosen.max()}; rows run from 0 to {len(records) - 1}")
    return chosen


def _ordered(schema: pa.Schema, *parts: Mapping[str, Any]) -> pa.Schema:
    """The schema in the order in which the columns come."""
    return pa.schema([schema.field(name) for part in parts for name in part])


def reports_from_ray(
    work: Callable[[World, Trial], Any],
    world: World,
    trials: Iterator[Trial],
    options: Mapping[str, Any],
    max_in_flight: int | None,
) -> Iterator[Any]:
    """A report for each trial, as they are done.

    Trials are taken from the iterator only when there is room for them, so that it may look at what is known by then.
    A task is safe to run again: its file has the trial's name, and replaces itself.

    Args:
        work: (world, trial) -> report.
        options: num_cpus, num_gpus, max_retries.
        max_in_flight: None: twice as many as the cluster's resources hold at once, read anew as nodes come and go.
    """
    ray = start_ray()
    task = ray.remote(**options)(_one)
    shared_work, shared_world = ray.put(work), ray.put(world)
    running: dict[Any, Trial] = {}
    more = True
    try:
        while more or running:
            bound = max_in_flight if max_in_flight is not None else 2 * _slots(ray.cluster_resources(), options)
            while more and len(running) < bound:
                trial = next(trials, None)
                if trial is None:
                    more = False
                    break
                named = task.options(name=f"raysynth {trial.key}")
                running[named.remote(shared_work, shared_world, trial)] = trial
            if not running:
                break
            ready, _ = ray.wait(list(running), num_returns=1, timeout=10.0)
            for ref in ready:
                count_done("trials")
                yield _report(ray, ref, running.pop(ref))
    finally:
        for ref in running:
            ray.cancel(ref)


def _one(work: Callable[[World, Trial], Any], world: World, trial: Trial) -> Any:
    import torch

    torch.set_num_threads(1)
    return work(world, trial)


def _report(ray: Any, ref: Any, trial: Trial) -> Any:
    """The task's report; a failure where its worker died more often than the retries allow."""
    try:
        return ray.get(ref)
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.LocalRayletDiedError,
    ) as error:
        return Report(trial.key, f"{type(error).__name__}: its worker died more often than the retries allow")
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from error
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the cluster was lost ({error}); call run() again to go on") from error


def _slots(resources: Mapping[str, float], options: Mapping[str, Any]) -> int:
    """Tasks that the cluster holds at once."""
    room = [resources.get("CPU", 1) / options["num_cpus"]] if options["num_cpus"] else []
    if options["num_gpus"]:
        room.append(resources.get("GPU", 0) / options["num_gpus"])
    return max(int(min(room, default=1)), 1)
