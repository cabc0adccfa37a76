"""A campaign as a section of the report, and as a page of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from raysynth.attacks.roc import roc_curve
from raysynth.campaigns.plan import Plan
from raysynth.evaluation.attacks import ROC_SIZE
from raysynth.evaluation.charts import line_path
from raysynth.evaluation.page import write_page
from raysynth.evaluation.section import Section, section_body

if TYPE_CHECKING:
    import pandas as pd

_RECORDS = 40


class ReportedGame(Protocol):
    """What the report asks of one game (`results.Game`)."""

    @property
    def method(self) -> str:
        """Name of the method."""
        ...

    @property
    def epsilon(self) -> float | None:
        """Of each model; None without a budget."""
        ...

    @property
    def attack(self) -> str:
        """Name of the attack."""
        ...

    @property
    def members(self) -> np.ndarray:
        """Scores of records in trials that trained on them."""
        ...

    @property
    def others(self) -> np.ndarray:
        """Scores of records in trials that did not train on them."""
        ...


class ReportedCampaign(Protocol):
    """What the report asks of a campaign (`results.CampaignResults`)."""

    @property
    def plan(self) -> Plan:
        """Methods, epsilons and seeds of all trials."""
        ...

    @property
    def games(self) -> Sequence[ReportedGame]:
        """One for each method, budget and attack."""
        ...

    @property
    def failures(self) -> Mapping[str, str]:
        """Trials that failed, and why."""
        ...

    def to_frame(self) -> pd.DataFrame:
        """One row for each game."""
        ...

    def per_record(self) -> pd.DataFrame:
        """One row for each game and record."""
        ...


def campaign_section(results: ReportedCampaign) -> Section:
    """Table, ROC curves and risk by record, for `generate_report(path, sections=[...])`."""
    curves = []
    for game in results.games:
        curve = roc_curve(game.members, game.others)
        budget = "" if game.epsilon is None else f", epsilon {game.epsilon:g}"
        path = line_path(curve.false_positive, curve.true_positive, ROC_SIZE)
        curves.append((f"{game.method}{budget}, {game.attack}", path))
    body = section_body(
        "raysynth.campaigns",
        "campaign.html.j2",
        rows=results.to_frame().to_dict("records"),
        curves=curves,
        records=[_bar(r) for r in results.per_record().head(_RECORDS).to_dict("records")],
        failures=dict(results.failures),
        plan=results.plan,
    )
    return Section("campaign", "Attack campaign", body)


def write_report(results: ReportedCampaign, path: str | os.PathLike[str]) -> None:
    """One self-contained HTML file; raises `StorageError`."""
    games = results.games
    budgets = sorted({math.inf if g.epsilon is None else g.epsilon for g in games})
    facts = [
        ("Methods", ", ".join(sorted({g.method for g in games}))),
        ("Epsilons", ", ".join("none" if math.isinf(e) else f"{e:g}" for e in budgets)),
        ("Attacks", ", ".join(sorted({g.attack for g in games}))),
    ]
    write_page(path, "Attack campaign", [campaign_section(results)], facts)


def _bar(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the places of its interval on a scale from 0 to 200."""
    middle = 0.5 if math.isnan(record["auc"]) else record["auc"]
    known = {k: middle if math.isnan(record[k]) else record[k] for k in ("auc", "auc_low", "auc_high")}
    return {**record, **{f"{k}_x": 200 * min(max(value, 0.0), 1.0) for k, value in known.items()}}
