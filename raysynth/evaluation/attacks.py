"""Attacks in an evaluation: those that need the tables only, their checks, and their section of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from raysynth.attacks.registry import FAMILIES
from raysynth.attacks.run import DEFAULT_TYPES, FEWEST_ROWS, Asked, ask, attack_records
from raysynth.attacks.verdicts import NEGLIGIBLE
from raysynth.evaluation.charts import line_path
from raysynth.evaluation.decision import Purpose, spent_words
from raysynth.evaluation.privacy import Check
from raysynth.evaluation.section import Section, section_body

if TYPE_CHECKING:
    from raysynth.attacks.attack import Attack, Records
    from raysynth.attacks.results import AttackResults
    from raysynth.dp.accounting.privacy_spent import PrivacySpent

ROC_SIZE = 220.0
N_EXPERIMENTS, N_TARGETS = 10, 2_000
FULL_COLUMNS, FEWEST_TARGETS = 50, 400  # targets, and rows in memory, are fewer in proportion beyond so many columns
TITLES = {
    "membership_inference": "Membership attack",
    "attribute_inference": "Attribute attack",
    "model_inversion": "Model inversion",
    "linkability": "Linkability",
    "singling_out": "Singling out",
}


def asked_attacks(attack_types: Sequence[str | Attack] | None, has_holdout: bool) -> Asked | None:
    """The attacks of an evaluation, checked before any work; None: none. Types None: the three main families."""
    types = DEFAULT_TYPES if attack_types is None else attack_types
    return ask(types, N_EXPERIMENTS, N_TARGETS, has_holdout=has_holdout) if len(types) else None


def attack_rows(records: Mapping[str, Records], asked: Asked, seed: int) -> tuple[AttackResults | None, list[str]]:
    """What the attacks found, and what the reader must know; None where the tables are too small to be attacked."""
    small = [label for label, found in records.items() if len(found) < FEWEST_ROWS]
    if small:
        return None, [f"no attack was run: the {small[0]} table has fewer than {FEWEST_ROWS} rows"]
    width, notes = len(records["real"].rows.space.names), []
    if width > FULL_COLUMNS:
        n_targets = max(FEWEST_TARGETS, asked.n_targets * FULL_COLUMNS // width)
        notes = [f"attacks: on {n_targets:,} targets, not {asked.n_targets:,}, since the table has {width} columns"]
        asked = replace(asked, n_targets=n_targets)
    return attack_records(records, asked, np.random.default_rng(seed)), notes


def attack_checks(results: AttackResults) -> tuple[Check, ...]:
    """One check for each type of attack: its strongest attack beside the baseline.

    The risk is what the attack gains, (success - baseline) / (1 - baseline), where it surely gains, all attacks
    considered; else 0. A check passes unless the attack surely gains more than 0.03, or on a few rows: then the figure
    is the share of members among those that it is surest of. Intervals allow for having picked the strongest of several
    (Bonferroni). Without holdout rows 'proximity' stands in the place of membership, under its own name.
    """
    checks = []
    for kind, names in results.families.items():
        best = results.of_type(kind)
        is_family = kind in FAMILIES and best.name != "proximity"
        which = f"strongest of {len(names)}: {best.title}" if len(names) > 1 else best.title
        if not is_family:
            which = f"baseline: {best.baseline_is}"
        if best.beside_margins:
            which += f", where {best.beside_margins}"
        title = TITLES[kind] if is_family else best.title
        figure, baseline, risk = best.success, best.baseline.value, best.risk.value
        if best.surest is not None:
            title, figure, baseline, risk = f"{title}, surest rows", best.surest, 0.5, 2 * best.surest.value - 1
        checks.append(
            Check(
                key=f"attack_{kind}" if best.name != "proximity" else "proximity",
                title=title,
                figure=figure,
                baseline=baseline,
                risk=_risk(risk, best.found),
                passed=None if math.isnan(best.gain.low) else not best.is_shown,
                minor=best.is_minor,
                rule=f"{which}; {best.in_words}; passes unless it surely gains {NEGLIGIBLE}, or gains on a few rows",
                rows_to_decide=best.rows_to_decide,
            )
        )
    return tuple(checks)


def attack_purpose(results: AttackResults, spent: PrivacySpent | None) -> Purpose:
    """Whether the attacked table can be shared: what was found beyond what is minor, and what follows."""
    name, shown = "Sharing outside", [r for r in results.details.values() if r.is_shown]
    found = [r.title for r in shown if not r.is_minor]
    if found:
        step = "Do not share it yet. Fit with a budget (--epsilon 1), or learn from more rows."
        return Purpose(name, "no", "bad", f"More than by chance was gained by: {'; '.join(found)}.", step)
    tried = f"None of {len(results.details)} attacks is sure to gain more than next to nothing"
    if shown:
        listed = "; ".join(f"{r.title}, {r.success.value:.3f}, guessing {r.baseline.value:.3f}" for r in shown)
        tried = f"What attacks surely gain is slight, or what margins alone give ({listed})"
    if spent is not None and spent.guarantee:
        step = "State epsilon, delta and the unit with the table."
        return Purpose(name, "yes", "good", f"{tried}, and a guarantee holds: {spent_words(spent)}.", step)
    step = "Share under contract; to publish, fit with a budget (--epsilon 1)."
    return Purpose(
        name, "with care", "fair", f"{tried}; a stronger one may, since no guarantee is known to hold.", step
    )


def attack_section(results: AttackResults) -> Section:
    """What `run_privacy_attacks` found, for `generate_report(path, sections=[...])`; never releasable."""
    attacks = list(results.details.values())
    curves = [
        (r, line_path(r.curve.false_positive, r.curve.true_positive, ROC_SIZE)) for r in attacks if r.curve is not None
    ]
    body = section_body("raysynth.evaluation", "attacks.html.j2", attacks=attacks, curves=curves, results=results)
    return Section("attacks", "Attacks", body)


def _risk(excess: float, found: bool) -> float:
    if math.isnan(excess):
        return excess
    return min(max(excess, 0.0), 1.0) if found else 0.0
