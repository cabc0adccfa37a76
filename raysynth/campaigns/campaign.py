"""AttackCampaign: trials by the thousand, here or as Ray tasks, each kept as it is done, going on after any kill.

The live table shows for each method and budget how many models are done, failed and left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysynth.arguments import check_one_of, check_whole
from raysynth.attacks.shadow import ShadowAttack
from raysynth.campaigns.plan import CampaignStore, Plan, Trial
from raysynth.campaigns.results import CampaignResults
from raysynth.campaigns.trial import Report, World, make_world, run_trial
from raysynth.comparison.rates import confidence_sequence
from raysynth.dp.accounting.odometer import record_use
from raysynth.errors import ClusterError, ParameterError, RaysynthError
from raysynth.evaluation.page import table_name
from raysynth.running.progress import console_of_progress, progress
from raysynth.running.runner import WHERE, ray_pays

if TYPE_CHECKING:
    from rich.table import Table

_FIRST_LOOK = 10  # pairs of models before a group may stop


class AttackCampaign:
    """A grid of membership games: methods x epsilons x attacks x target records x seeds.

    Each trial fits one model to a training table that holds a random half of the targets, and attacks every target. So
    trials are independent runs of the method, and their rates speak of the method, not of one table.

    Args:
        data: the table that targets and training tables are drawn from.
        methods: names ('copula'), a mapping name -> {'method': ..., hyper-parameters} or name -> synthesizer.
        storage_path: folder or URI where trials are kept; the same call goes on with what is there.
        attacks, epsilons, n_models, n_targets, targets, n_training, n_synthetic, game, delta, seed, entity: see `Plan`.
        num_cpus, num_gpus: of a trial over Ray; fractions of a GPU share it.
        max_in_flight: trials submitted at once; None: twice as many as fit on the cluster.
        max_retries: of a trial whose worker died or ran out of memory.
        confidence_target: stop a (method, epsilon) once the success rate of every attack is known to within this (half
            the width of a confidence sequence, valid whenever it is looked at); None: run all models.
        where: 'auto' (Ray where it runs already, or where there are several cores), 'local' or 'ray'.
        odometer: private folder that counts what is released of the table; each run is listed there as a whole.
    """

    def __init__(
        self,
        data: Any,
        methods: Sequence[str] | Mapping[str, Any],
        storage_path: str | os.PathLike[str],
        *,
        attacks: Sequence[Any] = ("distance", "density_ratio"),
        epsilons: Sequence[float | None] = (None,),
        n_models: int = 100,
        n_targets: int = 20,
        targets: str | Sequence[int] = "vulnerable",
        n_training: int | None = None,
        n_synthetic: int | None = None,
        game: str = "add_remove",
        delta: float = 1e-5,
        seed: int = 0,
        entity: str | None = None,
        num_cpus: float = 1,
        num_gpus: float = 0,
        max_in_flight: int | None = None,
        max_retries: int = 3,
        confidence_target: float | None = None,
        where: str = "auto",
        odometer: str | os.PathLike[str] | None = None,
    ) -> None:
        named = methods if isinstance(methods, Mapping) else {name: {"method": name} for name in methods}
        self.plan = Plan(
            dict(named),
            attacks,
            epsilons,
            n_models,
            n_targets,
            targets,
            n_training,
            n_synthetic,
            game,
            delta,
            seed,
            entity,
        ).check()
        self.data = data
        self.store = CampaignStore.at(storage_path)
        self.num_cpus, self.num_gpus = num_cpus, num_gpus
        self.max_in_flight, self.max_retries = max_in_flight, max_retries
        self.confidence_target = confidence_target
        self.where = where
        self.odometer = odometer
        self._check()

    def run(self) -> CampaignResults:
        """Run what is missing, and give all results.

        Raises:
            StorageError: the folder holds another campaign or cannot be written.
            ClusterError: every trial failed, or the cluster was lost.
        """
        record_use(self.odometer, "an attack campaign on exact rows")
        world = make_world(self.plan, self.data)
        if self.confidence_target is not None and any(isinstance(a, ShadowAttack) for a in world.attacks):
            raise ParameterError("confidence_target needs attacks that score at once; leave out those by shadow models")
        done = self.store.open(self.plan.record(), self.plan.digest(_fingerprint(world)))
        self.store.forget_failures()
        watch = Watch(world, self.confidence_target, self._known(world, done))
        missing = (t for t in self.plan.trials() if t.key not in done and not watch.has_stopped(t.group))
        failures: dict[str, str] = {}
        with live_table(self.plan, done) as tick:
            for report in self._reports(world, missing):
                if report.error is not None:
                    failures[report.key] = report.error
                    self.store.write_failure(report.key, report.error)
                watch.add(report)
                tick(report.key, report.error)
        written = self.store.done() & {t.key for t in self.plan.trials()}
        if failures and not written:
            raise ClusterError(f"every trial failed; the first: {next(iter(failures.values()))}")
        return self._results(world, written, failures, watch)

    def results(self) -> CampaignResults:
        """Results of the trials that are there, without running any."""
        world = make_world(self.plan, self.data)
        done = self.store.open(self.plan.record(), self.plan.digest(_fingerprint(world)))
        watch = Watch(world, self.confidence_target, self._known(world, done))
        return self._results(world, done, self.store.failed(), watch)

    def _results(self, world: World, written: set[str], failures: Mapping[str, str], watch: Watch) -> CampaignResults:
        keys = [t.key for t in self.plan.trials() if t.key in written]
        records = self.store.read(keys)
        table = pa.concat_tables(records) if records else None
        found = CampaignResults.of(self.plan, world.attacks, table, dict(failures), watch.sequences())
        return replace(found, source=table_name(self.data))

    def _reports(self, world: World, trials: Iterator[Trial]) -> Iterator[Report]:
        wants_scores = self.confidence_target is not None
        work = partial(work_on, store=self.store, wants_scores=wants_scores)
        if self._on_ray():
            from raysynth.campaigns.trial import reports_from_ray

            options = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "max_retries": self.max_retries}
            yield from reports_from_ray(work, world, trials, options, self.max_in_flight)
            return
        for trial in trials:
            yield work(world, trial)

    def _on_ray(self) -> bool:
        return self.where == "ray" or (self.where == "auto" and ray_pays())

    def _known(self, world: World, done: set[str]) -> dict[str, Mapping[str, np.ndarray]]:
        """Scores of the trials that are there, where stopping needs them."""
        if self.confidence_target is None:
            return {}
        keys = [t.key for t in self.plan.trials() if t.key in done]
        return {key: scores_in(records) for key, records in zip(keys, self.store.read(keys), strict=True)}

    def _check(self) -> None:
        for name, value, low in (("num_cpus", self.num_cpus, 0), ("num_gpus", self.num_gpus, 0)):
            if not isinstance(value, int | float) or value < low:
                raise ParameterError(f"{name} must be a number of at least {low}; found {value!r}")
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise ParameterError(f"max_in_flight must be None or at least 1; found {self.max_in_flight!r}")
        check_whole("max_retries", self.max_retries, 0)
        target = self.confidence_target
        if target is not None and not 0 < target < 0.5:
            raise ParameterError(f"confidence_target must be None or between 0 and 0.5; found {target!r}")
        check_one_of("where", self.where, WHERE)


def work_on(world: World, trial: Trial, store: CampaignStore, wants_scores: bool) -> Report:
    """Run a trial and write it; what goes wrong with its data or method is its result, not the campaign's end."""
    try:
        store.require_shared()
        records = run_trial(world, trial)
    except (RaysynthError, ValueError, ArithmeticError, MemoryError) as error:
        return Report(trial.key, f"{type(error).__name__}: {error}")
    store.write(trial.key, records)
    return Report(trial.key, None, scores_in(records) if wants_scores else {})


def scores_in(records: pa.Table) -> dict[str, np.ndarray]:
    """Attack -> the first number found of each target (T,)."""
    names = np.asarray(records["attack"].to_pylist())
    first = np.array([f[0] for f in records["found"].to_pylist()])
    return {str(n): first[names == n] for n in dict.fromkeys(names.tolist())}


class Watch:
    """Decides which groups may stop: looks at pairs of models in the order of their seeds, never of their arrival.

    A pair's value is the share of targets that score higher in the model that held them (ties half): independent from
    pair to pair, in [0, 1], with the attack's success rate as mean.
    """

    def __init__(self, world: World, target: float | None, known: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        self._world, self._target = world, target
        self._scores: dict[str, Mapping[str, np.ndarray]] = dict(known)
        self._stopped: set[tuple[str, float | None]] = set()
        self._groups = {t.key: t.group for t in world.plan.trials()} if target is not None else {}
        for group in world.plan.groups if target is not None else ():
            self._look(group)

    def has_stopped(self, group: tuple[str, float | None]) -> bool:
        """Whether a group needs no more trials."""
        return group in self._stopped

    def add(self, report: Report) -> None:
        """Take note of a finished trial."""
        if self._target is None or report.error is not None:
            return
        self._scores[report.key] = report.scores
        self._look(self._groups[report.key])

    def sequences(self) -> dict[tuple[str, float | None, str], Any]:
        """(method, epsilon, attack) -> success rate by confidence sequence; empty without a target."""
        if self._target is None:
            return {}
        return {
            (*group, attack.name): confidence_sequence(self._wins(group, attack.name))
            for group in self._world.plan.groups
            for attack in self._world.attacks
        }

    def _look(self, group: tuple[str, float | None]) -> None:
        assert self._target is not None
        widths = []
        for attack in self._world.attacks:
            wins = self._wins(group, attack.name)
            if len(wins) < _FIRST_LOOK:
                return
            found = confidence_sequence(wins)
            widths.append((found.high - found.low) / 2)
        if max(widths) <= self._target:
            self._stopped.add(group)

    def _wins(self, group: tuple[str, float | None], attack: str) -> np.ndarray:
        plan, wins = self._world.plan, []
        for seed in range(0, plan.n_models, 2):
            pair = [self._scores.get(Trial(*group, s).key) for s in (seed, seed + 1)]
            if pair[0] is None or pair[1] is None:
                break  # the first gap ends what may be looked at
            inside = plan.inside(seed, len(self._world.targets))
            first, second = pair[0][attack], pair[1][attack]
            gap = np.where(inside, first - second, second - first)
            wins.append(float(((np.sign(gap) + 1) / 2).mean()))
        return np.array(wins)


def _fingerprint(world: World) -> bytes:
    """Of every row that trials are drawn from: targets, population and reference, in their order."""
    import hashlib

    digest = hashlib.sha256(str(world.targets.rows.space.names).encode())
    for records in (world.targets, world.population, world.reference):
        digest.update(str(len(records)).encode())
        for array in (records.rows.numbers_NV, records.rows.codes_NC):
            digest.update(array.tobytes())
    digest.update(repr(world.targets.rows.space.coders).encode())
    return digest.digest()


_SECONDS = 0.5  # between two pictures


@contextmanager
def live_table(plan: Plan, done: set[str]) -> Iterator[Callable[[str, str | None], None]]:
    """A table on standard error (plain lines where it is no terminal), for the block; yields `tick(key, error)`."""
    group_of = {t.key: t.group for t in plan.trials()}
    counts = {group: [0, 0] for group in plan.groups}
    for key in done & set(group_of):
        counts[group_of[key]][0] += 1
    console = console_of_progress()

    def count(key: str, error: str | None) -> None:
        counts[group_of[key]][error is not None] += 1

    if console is None:
        n_models = plan.n_models * len(list(plan.groups))
        with progress("models attacked", n_models, done=len(done & set(group_of))) as more:

            def advance(key: str, error: str | None) -> None:
                count(key, error)
                more(1)

            yield advance
        return
    from rich.live import Live

    begun, started = time.monotonic(), sum(c[0] for c in counts.values())
    with Live(_picture(plan, counts, begun, started), console=console, auto_refresh=False) as live:
        shown = 0.0

        def tick(key: str, error: str | None) -> None:
            nonlocal shown
            count(key, error)
            if time.monotonic() - shown > _SECONDS:
                shown = time.monotonic()
                live.update(_picture(plan, counts, begun, started), refresh=True)

        yield tick
        live.update(_picture(plan, counts, begun, started), refresh=True)


def _picture(plan: Plan, counts: dict[tuple[str, float | None], list[int]], begun: float, started: int) -> Table:
    from rich.table import Table

    now = sum(c[0] for c in counts.values()) - started
    rate = 60 * now / max(time.monotonic() - begun, 1e-3)
    table = Table(title=f"Attack campaign: {now} models, {rate:.1f} a minute")
    for name in ("method", "epsilon", "models", "failed", "left"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for (method, epsilon), (good, bad) in counts.items():
        left = plan.n_models - good - bad
        table.add_row(method, "-" if epsilon is None else f"{epsilon:g}", str(good), str(bad), str(left))
    return table
