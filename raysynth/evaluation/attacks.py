"""The attacks' section of the report: each attack beside its baseline, with ROC curves where attacks score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysynth.evaluation.charts import line_path
from raysynth.evaluation.section import Section, section_body

if TYPE_CHECKING:
    from raysynth.privacy.results import AttackResults

ROC_SIZE = 220.0


def attack_section(results: AttackResults) -> Section:
    """What `run_privacy_attacks` found, for `generate_report(path, sections=[...])`; never releasable."""
    attacks = list(results.details.values())
    curves = [
        (r.title, r.success, line_path(r.curve.false_positive, r.curve.true_positive, ROC_SIZE))
        for r in attacks
        if r.curve is not None
    ]
    body = section_body("raysynth.evaluation", "attacks.html.j2", attacks=attacks, curves=curves, results=results)
    return Section("attacks", "Attacks", body)
