"""Recipient by recipient: what whoever gets the table, the model behind an interface, or its file can find out.

Each recipient is played by the attacks that it can run, with nothing that it does not have, on the same targets; beside
them stands the direct comparison (`direct.py`). The verdicts hold for all attacks and comparisons of all recipients at
once: where nothing leaks, any of them accuses with probability 0.05 at most (`verdicts.py`).

Singling out, linkability and inference are the three risks of opinion 05/2014 of the Article 29 working party.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysynth.attacks.attack import Attack, Records, Scene
from raysynth.attacks.direct import Comparison, People, compare_file, compare_release, public_columns
from raysynth.attacks.registry import new_attack
from raysynth.attacks.results import AttackResult
from raysynth.attacks.run import FEWEST_ROWS, make_scenes, run_attack, sample_records
from raysynth.attacks.singling_out import SinglingOutAttack
from raysynth.attacks.verdicts import corrected
from raysynth.comparison.pairing import LABELS, Tables, person_notes
from raysynth.comparison.rows import numbered_rows
from raysynth.data.table import as_table
from raysynth.errors import DataError
from raysynth.files.model_file import ModelContent
from raysynth.fitting.checks import unlisted
from raysynth.statistics.dated_table import with_forms

ON_ROWS = (
    *("singling_out_univariate", "singling_out_multivariate", "linkability", "attribute_nearest", "attribute_model"),
    *("attribute_key", "inversion_table", "distance", "nearest", "density_ratio", "local_likelihood", "plagiarism"),
    "tracing",
)
RISKS = ("singling_out", "linkability", "inference")
MOST_ROWS = 20_000  # of each table that attacks see; the direct comparison sees 100,000
DRAWN = 5  # times the published rows are drawn anew from the model


@dataclass(frozen=True)
class Recipient:
    """Who gets what.

    Args:
        key, title: 'table', 'api' or 'file', and for people.
        holds: what it has, in words; its attackers have that, a reference sample of other people where an attack needs
            one, and nothing else.
        attacks: names.
        also: key of a recipient all of whose attacks it can run, too; empty: none.
    """

    key: str
    title: str
    holds: str
    attacks: tuple[str, ...]
    also: str = ""


RECIPIENTS = (
    Recipient("table", "The synthetic table", "the published rows", ON_ROWS),
    Recipient("api", "The model behind an interface", "rows and conditions at will", (*ON_ROWS, "inversion_model")),
    Recipient("file", "The model file", "the file, and rows at will", ("likelihood", "inversion_input"), "api"),
)


@dataclass(frozen=True)
class RecipientRisks:
    """What one recipient can find out.

    Args:
        recipient: who.
        attacks: by name, with corrected verdicts.
        comparisons: direct ones, with corrected verdicts.
        not_run: titles of attacks that these tables or this model do not allow.
    """

    recipient: Recipient
    attacks: Mapping[str, AttackResult]
    comparisons: tuple[Comparison, ...]
    not_run: tuple[str, ...]

    def of_risk(self, risk: str) -> list[AttackResult]:
        """The attacks of one of the `RISKS`."""
        return [r for r in self.attacks.values() if risk_of(r) == risk]


@dataclass(frozen=True)
class Played:
    """What all recipients can find out, how many rows of each table were looked at, and what a reader must know."""

    risks: tuple[RecipientRisks, ...]
    looked_at: Mapping[str, int]
    notes: tuple[str, ...]


def risk_of(result: AttackResult) -> str:
    """Which of the three risks an attack measures; membership, attributes and rebuilt rows are inference."""
    return result.family if result.family in RISKS else "inference"


def recipient_risks(
    tables: Tables, model: Any, content: ModelContent, *, n_targets: int, n_experiments: int, seed: int
) -> Played:
    """Play every recipient.

    Args:
        tables: real, synthetic and holdout; model: the fitted synthesizer; content: its file's.

    Raises:
        DataError: fewer than 20 rows of a table, or the model makes other columns.
    """
    rng = np.random.default_rng(seed)
    records = sample_records(tables, rng)
    for label in LABELS:
        if len(records[label]) < FEWEST_ROWS or not tables.compared:
            raise DataError(
                f"the {label} table has {len(records[label])} rows and {len(tables.compared)} columns that are "
                f"compared; a dossier needs at least {FEWEST_ROWS} rows of each table and one column"
            )
    drawn = _drawn(tables, model, records["synthetic"], rng)
    public = public_columns(model.schema_)
    people = People(records["real"], records["holdout"], tables.kinds, public, max(model.schema_.rare_threshold, 2))
    few = {label: r if len(r) <= MOST_ROWS else r.sample(MOST_ROWS, rng) for label, r in records.items()}
    scenes = make_scenes(few, n_experiments, n_targets, unlisted(model.clone()), None, rng)
    views = {"table": few["synthetic"], "api": drawn, "file": drawn}
    direct = {"table": compare_release(people, records["synthetic"]), "api": compare_release(people, drawn)}
    stored = compare_file(people, content)
    direct["file"] = () if stored is None else (stored,)
    attacks = {r.key: _attacks(r, _seen(scenes, views[r.key], model, r), seed) for r in RECIPIENTS}
    looked_at = {label: len(r) for label, r in records.items()} | {"drawn": len(drawn)}
    notes = tuple(person_notes(tables, {label: r.table for label, r in records.items()}))
    return Played(_judged(attacks, direct, scenes), looked_at, notes)


def _drawn(tables: Tables, model: Any, published: Records, rng: np.random.Generator) -> Records:
    """Rows drawn anew from the model, more than were published, in the same space."""
    if set(model.schema_.names) != set(tables.real.names):
        extra = sorted(set(model.schema_.names) ^ set(tables.real.names))
        raise DataError(
            f"the model and the real table differ in column '{extra[0]}'; give the table that the model was fitted to"
        )
    n, seed = min(max(DRAWN * len(published), FEWEST_ROWS), MOST_ROWS), int(rng.integers(2**31))
    # a model of sequences is asked for these: left open, there are about as many rows as it learned from
    made = model.sample_arrow(None if model.learns_sequences else n, seed=seed).select(list(tables.real.names))
    table = with_forms(as_table(made, min_rows=0), tables.real.text_forms)
    rows, numbers = numbered_rows(table, list(tables.real.names), n, rng)
    return Records(published.rows.space.encode(rows.select(tables.compared)), rows, numbers, published.keys)


def _seen(scenes: Sequence[Scene], seen: Records, model: Any, recipient: Recipient) -> list[Scene]:
    """The same targets before another attacker."""
    has_model = None if recipient.key == "table" else model
    return [replace(s, view=replace(s.view, synthetic=seen, model=has_model)) for s in scenes]


def _attacks(recipient: Recipient, scenes: Sequence[Scene], seed: int) -> dict[str, AttackResult | Attack]:
    """Each attack's result; the attack itself where it cannot be run."""
    found: dict[str, AttackResult | Attack] = {}
    n_claims = max(sum(len(s.members) for s in scenes) // 2, 1)
    for number, name in enumerate(recipient.attacks):
        attack = new_attack(name)
        if attack.needs_keys and not scenes[0].view.synthetic.keys:
            continue
        if isinstance(attack, SinglingOutAttack):
            attack.n_claims = n_claims
        if attack.fits(scenes[0].view):
            found[name] = replace(run_attack(attack, scenes, seed + number), threat=_knows(attack, recipient))
        else:
            found[name] = attack
    return found


def _knows(attack: Attack, recipient: Recipient) -> str:
    return recipient.holds + (", a reference sample" if attack.threat.reference else "")


def _judged(
    attacks: Mapping[str, Mapping[str, AttackResult | Attack]],
    direct: Mapping[str, tuple[Comparison, ...]],
    scenes: Sequence[Scene],
) -> tuple[RecipientRisks, ...]:
    """All with verdicts that allow for all of them; what a recipient can do as another can, it gets from there."""
    ran = {key: {n: r for n, r in of.items() if isinstance(r, AttackResult)} for key, of in attacks.items()}
    outcomes = {f"{key} {n}": (r.outcome, r.curve is not None) for key, of in ran.items() for n, r in of.items()}
    rounds = [(len(s.members), 0 if s.others is None else len(s.others)) for s in scenes]
    p_values = {f"{key} {c.key}": c.p_value for key, of in direct.items() for c in of}
    verdicts = corrected(outcomes, rounds, p_values)
    found: dict[str, RecipientRisks] = {}
    for r in RECIPIENTS:
        own = {n: replace(result, verdict=verdicts[f"{r.key} {n}"]) for n, result in ran[r.key].items()}
        compared = tuple(replace(c, verdict=verdicts[f"{r.key} {c.key}"]) for c in direct[r.key])
        missing = tuple(a.title for a in attacks[r.key].values() if isinstance(a, Attack))
        if r.also:
            before = found[r.also]
            own, compared = {**before.attacks, **own}, (*before.comparisons, *compared)
            missing = (*before.not_run, *missing)
        found[r.key] = RecipientRisks(r, own, compared, missing)
    return tuple(found.values())
