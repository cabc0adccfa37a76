"""What follows from a campaign: whether the budgets hold, and whether learned records are told from others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from raysynth.comparison.intervals import Estimate
from raysynth.evaluation.decision import Purpose


def campaign_purposes(games: Sequence[Mapping[str, Any]]) -> list[Purpose]:
    """The verdicts of a campaign, each with reason and next step.

    Args:
        games: rows of `CampaignResults.to_frame`: 'method', 'epsilon' (None or NaN: no budget), 'attack', 'auc' with
            its 95 % interval, 'respects_epsilon'.
    """
    budgeted = [game for game in games if _epsilon(game) is not None]
    return [*([_of_budgets(budgeted)] if budgeted else []), _of_records(games)]


def _of_budgets(games: Sequence[Mapping[str, Any]]) -> Purpose:
    name, broken = "Do the budgets hold?", sorted({_named(game) for game in games if not game["respects_epsilon"]})
    if broken:
        reason = f"Attacks tell more than the budget allows: {', '.join(broken)}."
        return Purpose(name, "no", "bad", reason, "Do not release anything of these: report it (SECURITY.md).")
    reason = f"No attack told more than its budget allows ({len(games)} games, each tested at 99.9 %)."
    return Purpose(name, "not refuted", "none", reason, "No proof: more models make a sharper test.")


def _of_records(games: Sequence[Mapping[str, Any]]) -> Purpose:
    """An attack tells where the interval of its AUC lies above one half at a level that allows for all games."""
    from scipy.stats import norm

    name = "Are learned records told from others?"
    wider = norm.isf(0.025 / max(len(games), 1)) / norm.isf(0.025)  # Bonferroni's interval beside the one at 95 %
    told = [game for game in games if game["auc"] - wider * (game["auc"] - game["auc_low"]) > 0.5]
    if told:
        worst = max(told, key=lambda game: float(game["auc_low"]))
        figure = Estimate(worst["auc"], worst["auc_low"], worst["auc_high"])
        most = f"most surely {_named(worst)}, {worst['attack']}: AUC {figure}"
        reason = f"{len(told)} of {len(games)} games tell them; {most}."
        safe = {_epsilon(game) for game in games} - {_epsilon(game) for game in told} - {None}
        step = f"Fit with epsilon {max(e for e in safe if e is not None):g}" if safe else "Fit with a smaller budget"
        return Purpose(name, "yes", "bad", reason, f"{step}; the records that are told best stand below.")
    ends = [game["auc_high"] for game in games if not math.isnan(game["auc_high"])]
    if not ends:
        reason = "No AUC has an interval: of fewer than five pairs of models none can be said."
        return Purpose(name, "not decided", "none", reason, "Run ten models or more (n_models).")
    reason = f"No AUC is surely above one half, all games considered; the widest interval reaches {max(ends):.2f}."
    step = "Take the method that serves best; more models narrow the intervals."
    return Purpose(name, "not shown", "none", reason, step)


def _epsilon(game: Mapping[str, Any]) -> float | None:
    epsilon = game["epsilon"]
    return None if epsilon is None or math.isnan(epsilon) else float(epsilon)


def _named(game: Mapping[str, Any]) -> str:
    epsilon = _epsilon(game)
    return str(game["method"]) if epsilon is None else f"{game['method']} at epsilon {epsilon:g}"
