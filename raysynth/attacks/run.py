"""run_privacy_attacks: every attack asked for on one synthetic table, in several experiments, with one judge."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysynth.arguments import check_whole
from raysynth.attacks.attack import Attack, Outcome, Records, Scene, View
from raysynth.attacks.registry import FAMILIES, attacks_of
from raysynth.attacks.results import AttackResult, AttackResults, judge, pooled
from raysynth.attacks.verdicts import corrected
from raysynth.comparison.pairing import LABELS, Tables, check_of_one_table, pair_tables, person_notes
from raysynth.comparison.rows import numbered_rows, row_space
from raysynth.data.fragments import each_once
from raysynth.data.sequences import codes_of
from raysynth.dp.accounting.odometer import record_use
from raysynth.errors import DataError, ParameterError
from raysynth.fitting.checks import unlisted
from raysynth.running.runner import run_tasks

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer
    from raysynth.schema.table import TableSchema

DEFAULT_TYPES = ("membership_inference", "attribute_inference", "model_inversion")
_ROWS = 100_000
FEWEST_ROWS = 20  # of each table


def run_privacy_attacks(
    real_data: Any,
    synthetic_data: Any,
    attack_types: Sequence[str | Attack] = DEFAULT_TYPES,
    n_experiments: int = 10,
    holdout_data: Any = None,
    synthesizer: Synthesizer | str | None = None,
    *,
    n_targets: int = 2_000,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    schema: TableSchema | None = None,
    entity: str | None = None,
    delta: float = 1e-5,
    seed: int | None = None,
    odometer: str | os.PathLike[str] | None = None,
) -> AttackResults:
    """Attack a synthetic table, and measure what the attacks learn about the rows that it was made from.

    Experiments take targets of their own and fresh random choices; their trials are pooled. Intervals are over targets,
    for this synthetic table; to learn about a method over its runs, see `raysynth.campaigns`.

    Args:
        real_data: the rows that the synthesizer was fitted to, in any form that `fit` takes.
        synthetic_data: the synthetic rows, with the same columns.
        attack_types: families ('membership_inference', 'attribute_inference', 'model_inversion', 'linkability',
            'singling_out'), attacks by name (`raysynth.privacy.ATTACKS`), or `Attack` objects of your own.
        n_experiments: independent rounds that the targets are dealt out to.
        holdout_data: real rows of the same population that the synthesizer has not seen. Half of them are targets that
            were no members, half are the attacker's reference. Without them membership cannot be measured: its place
            takes 'proximity', and other attacks are compared with the same attack from other real rows.
        synthesizer: what made the table. Unfitted, or the name of a method: the attacker can fit models of that kind;
            fitted: the attacker holds the model, too.
        n_targets: of each attack, over all experiments.
        categorical_columns, continuous_columns, schema: kinds of columns; the others are inferred as `fit` does.
        entity: the column that says whose each row is, where persons have several: targets, reference and training
            rows are then divided by persons. None: that of the schema, or one that looks like it.
        delta: for which 'epsilon' is given.
        seed: of every random choice; None: 0.
        odometer: private folder that counts what is released of this table; exact figures are listed there.

    Returns:
        A mapping of attack type to success rate, with `.details`, `.intervals`, `.to_frame()` and `.summary()`.

    Raises:
        DataError: the tables cannot be compared or are too small; names the cure.
        ParameterError: unknown attack or column, or an attack that needs what was not given.
    """
    asked = ask(attack_types, n_experiments, n_targets, has_holdout=holdout_data is not None)
    record_use(odometer, "attacks on exact rows")
    tables = pair_tables(
        real_data,
        synthetic_data,
        holdout_data,
        categorical_columns=categorical_columns,
        continuous_columns=continuous_columns,
        schema=schema,
        entity=entity,
    )
    rng = np.random.default_rng(seed or 0)
    records = read_records(tables, rng)
    method, model = _method_and_model(synthesizer)
    results = attack_records(records, asked, rng, method=method, model=model, delta=delta)
    return AttackResults(results.details, results.families, [*_notes(tables, records), *results.notes], delta)


@dataclass(frozen=True)
class _Wanted:
    """An attack type as asked for: its key in the results, its attacks, and whether it was asked for by family."""

    key: str
    attacks: tuple[Attack, ...]
    is_family: bool


@dataclass(frozen=True)
class Asked:
    """Attacks that were asked for, checked: their families, and how many rounds and targets."""

    wanted: tuple[_Wanted, ...]
    n_experiments: int
    n_targets: int


def ask(attack_types: Sequence[str | Attack], n_experiments: int, n_targets: int, *, has_holdout: bool) -> Asked:
    """The attacks of the types; raises `ParameterError` for an unknown one, before any work."""
    check_counts(n_experiments, n_targets)
    return Asked(tuple(_resolve(attack_types, has_holdout)), n_experiments, n_targets)


def attack_records(
    records: Mapping[str, Records],
    asked: Asked,
    rng: np.random.Generator,
    *,
    method: Any = None,
    model: Any = None,
    delta: float = 1e-5,
) -> AttackResults:
    """Attack rows that are in memory: 'real', 'synthetic' and perhaps 'holdout', at least 20 of each.

    Raises `ParameterError` where an attack needs what was not given.
    """
    scenes = make_scenes(records, asked.n_experiments, asked.n_targets, method, model, rng)
    details, families, notes = _run_all(asked.wanted, scenes, rng, delta)
    return AttackResults(details, families, notes, delta)


def read_records(tables: Tables, rng: np.random.Generator) -> dict[str, Records]:
    """Up to 100,000 rows of each table, by label; raises `DataError` for fewer than 20."""
    records = sample_records(tables, rng)
    if not tables.compared:
        raise DataError("no column can be attacked: all are made anew for each row (identifiers, personal data)")
    for label, found in records.items():
        if len(found) < FEWEST_ROWS:
            raise DataError(
                f"the {label} table has {len(found)} rows; attacks need at least {FEWEST_ROWS} of each table"
            )
    return records


def sample_records(
    tables: Tables,
    rng: np.random.Generator,
    *,
    most_rows: Mapping[str, int] | None = None,
    columns: Sequence[str] | None = None,
) -> dict[str, Records]:
    """Some rows of each table, by label, drawn at random.

    Args:
        most_rows: how many of each; None: 100,000.
        columns: those that are kept as they were read, the compared ones among them; None: all.
    """
    drawn, numbers, keys = {}, {}, tuple(tables.keys_in_order)
    for label, table in zip(LABELS, (tables.real, tables.synthetic, tables.holdout), strict=True):
        if table is not None:
            limit = _ROWS if most_rows is None else most_rows[label]
            names = each_once(*(table.names if columns is None else columns), tables.entity, *keys)
            drawn[label], numbers[label] = numbered_rows(table, names, limit, rng)
    space = row_space(tables.marginals(), drawn)
    owners = {label: _owners(rows, tables.entity) for label, rows in drawn.items()}
    return {
        label: Records(space.encode(rows.select(tables.compared), owners[label]), rows, numbers[label], keys)
        for label, rows in drawn.items()
    }


def _owners(rows: pa.Table, entity: str | None) -> np.ndarray | None:
    """A number for the person of each row; None where the tables have no column of persons."""
    return None if entity is None else codes_of(rows.column(entity))


def make_scenes(
    records: Mapping[str, Records],
    n_experiments: int,
    n_targets: int,
    method: Any,
    model: Any,
    rng: np.random.Generator,
) -> list[Scene]:
    """One scene for each experiment, with targets of its own: of persons with several rows one row each."""
    real, synthetic, holdout = records["real"], records["synthetic"], records.get("holdout")
    if holdout is None:
        training, stand_in = real.split(len(real) // 2, rng)
        n = min(len(stand_in), len(synthetic))  # as many rows on both sides, or the larger one guesses better
        stand_in = stand_in.sample(n, rng)
        view = View(synthetic.sample(n, rng), None, method, model, len(real))
        targets = training.independent(rng).sample(n_targets, rng)
        return [Scene(m, None, training, None, view, stand_in) for m in dealt(targets, n_experiments)]
    members, candidates = real.independent(rng), holdout.independent(rng)
    n = min(n_targets, len(members), len(candidates) // 2)
    others, reference = holdout.split(n, rng)
    if (owners_N := candidates.rows.owners_N) is not None and holdout.rows.owners_N is not None:
        chosen = rng.permutation(len(candidates))[:n]
        others = candidates.take(chosen)
        reference = holdout.take(np.flatnonzero(~np.isin(holdout.rows.owners_N, owners_N[chosen])))
    n_checked = min(len(real), len(holdout))
    training, control = real.sample(n_checked, rng), holdout.sample(n_checked, rng)
    view = View(synthetic, reference, method, model, len(real))
    sides = zip(dealt(members.sample(n, rng), n_experiments), dealt(others, n_experiments), strict=True)
    return [Scene(m, o, training, control, view) for m, o in sides]


def dealt(targets: Records, n: int) -> list[Records]:
    """Targets dealt out to n experiments (fewer where there are not two for each)."""
    n = max(min(n, len(targets) // 2), 1)
    return [targets.take(part) for part in np.array_split(np.arange(len(targets)), n)]


def together(scenes: Sequence[Scene]) -> Scene:
    """One scene with the targets of all."""
    first = scenes[0]
    members = reduce(Records.joined, [s.members for s in scenes])
    others = [s.others for s in scenes if s.others is not None]
    return replace(first, members=members, others=reduce(Records.joined, others) if others else None)


def run_attack(attack: Attack, scenes: Sequence[Scene], seed: int, delta: float = 0.0) -> AttackResult:
    """One attack on all scenes, judged."""
    if attack.in_one_go:
        scenes = [together(scenes)]
    tasks = list(enumerate(scenes))
    outcomes: list[Outcome] = run_tasks(partial(_one, attack, seed), tasks, label=attack.title, where="local")
    has_holdout = scenes[0].others is not None
    return judge(attack, pooled(outcomes), has_holdout=has_holdout, n_experiments=len(scenes), delta=delta)


def _one(attack: Attack, seed: int, task: tuple[int, Scene]) -> Outcome:
    index, scene = task
    return attack.run(scene, np.random.default_rng([seed, index]))


def _resolve(attack_types: Sequence[str | Attack], has_holdout: bool) -> list[_Wanted]:
    listed = [attack_types] if isinstance(attack_types, str | Attack) else list(attack_types)
    if not listed:
        raise ParameterError(f"attack_types is empty; families: {', '.join(FAMILIES)}")
    wanted = []
    for kind in listed:
        if isinstance(kind, Attack):
            wanted.append(_Wanted(kind.name, (kind,), False))
        elif isinstance(kind, str):
            wanted.append(_Wanted(kind, tuple(attacks_of(kind, has_holdout)), kind in FAMILIES))
        else:
            raise ParameterError(f"attack_types holds {kind!r}; give names or Attack objects")
    names = [a.name for w in wanted for a in w.attacks]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise ParameterError(f"attack_types asks for {', '.join(repeated)} twice")
    return wanted


def _run_all(
    wanted: Sequence[_Wanted], scenes: Sequence[Scene], rng: np.random.Generator, delta: float
) -> tuple[dict[str, AttackResult], dict[str, list[str]], list[str]]:
    view, has_holdout = scenes[0].view, scenes[0].others is not None
    details: dict[str, AttackResult] = {}
    families: dict[str, list[str]] = {}
    notes = []
    for entry in wanted:
        able = [a for a in entry.attacks if a.fits(view) and (has_holdout or not a.scores)]
        if not able and not (entry.is_family and _too_narrow(entry, view)):
            raise ParameterError(_what_is_lacking(entry, view, has_holdout))
        skipped = [a for a in entry.attacks if a not in able and not a.needs_keys]
        if entry.is_family and skipped:
            listed = "; ".join(f"'{a.title}' (needs {_needs(a, view)})" for a in skipped)
            notes.append(f"not run, since there is not what it takes: {listed}")
        for attack in able:
            details[attack.name] = run_attack(attack, scenes, int(rng.integers(2**31)), delta)
        if able:
            families[entry.key] = [a.name for a in able]
    if not details:
        raise ParameterError(_what_is_lacking(wanted[0], view, has_holdout))
    rounds = [(len(s.members), 0 if s.others is None else len(s.others)) for s in scenes]
    verdicts = corrected({name: (r.outcome, r.curve is not None) for name, r in details.items()}, rounds)
    return {name: replace(r, verdict=verdicts[name]) for name, r in details.items()}, families, notes


def _too_narrow(entry: _Wanted, view: View) -> bool:
    """Whether all attacks of an entry need more columns than are compared."""
    return all(len(view.synthetic.rows.space.names) < a.min_columns for a in entry.attacks)


def _needs(attack: Attack, view: View) -> str:
    """What an attack needs that is not there, in words."""
    few = len(view.synthetic.rows.space.names) < attack.min_columns
    if attack.needs_keys and not few:
        return "a key of whole numbers whose order tells of other columns"
    return f"{attack.min_columns} columns that are compared" if few else str(attack.threat)


def _what_is_lacking(entry: _Wanted, view: View, has_holdout: bool) -> str:
    attack = entry.attacks[0]
    if _too_narrow(entry, view):
        return f"'{attack.name}' needs {_needs(attack, view)}; identifiers, which are made anew, are not compared"
    if not has_holdout and (attack.scores or attack.threat.reference):
        return (
            f"'{attack.name}' separates members from others, so it needs holdout_data (real rows that the synthesizer "
            "has not seen); 'proximity' does without"
        )
    if attack.needs_keys:
        return f"'{attack.name}' needs {_needs(attack, view)}, which the tables lack"
    return (
        f"'{attack.name}' needs {attack.threat}, beyond {view.threat}; pass synthesizer=, fitted where the model counts"
    )


def _method_and_model(synthesizer: Any) -> tuple[Any, Any]:
    """What the attacker knows of the method, and of the model."""
    if synthesizer is None:
        return None, None
    if isinstance(synthesizer, str):
        from raysynth.methods.registry import synthesizer_class

        return synthesizer_class(synthesizer)(verbose=False), None
    check_of_one_table(synthesizer)
    if not hasattr(synthesizer, "clone"):
        raise ParameterError(f"synthesizer must be a synthesizer or the name of a method; found {synthesizer!r}")
    return unlisted(synthesizer.clone()), synthesizer if hasattr(synthesizer, "stages_") else None


def _notes(tables: Tables, records: Mapping[str, Records]) -> list[str]:
    notes = list(person_notes(tables, {label: r.table for label, r in records.items()}))
    if "holdout" not in records:
        notes.append(
            "no holdout rows were given: membership cannot be measured, and 'proximity' only says how near the "
            "synthetic table is to the real rows; keep real rows out of the fit and pass them as holdout_data"
        )
    if keys := tables.keys_in_order:
        notes.append(f"attribute attackers know {', '.join(map(repr, keys))} too, whose order tells of other columns")
    totals = {"real": tables.real_statistics.n_rows, "synthetic": tables.synthetic_statistics.n_rows}
    for label, total in totals.items():
        if len(records[label]) < total:
            notes.append(f"{len(records[label]):,} of the {total:,} {label} rows took part, drawn at random")
    return notes


def check_counts(n_experiments: int, n_targets: int) -> None:
    """Raise `ParameterError` unless both are whole numbers, and there are two targets at least."""
    check_whole("n_experiments", n_experiments)
    check_whole("n_targets", n_targets, 2)
