"""What a campaign found: rates for each method, budget and attack, the risk of each record, verdicts, the report."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysynth.attacks import roc
from raysynth.attacks.attack import MembershipAttack
from raysynth.attacks.roc import roc_curve
from raysynth.attacks.shadow import ShadowAttack
from raysynth.campaigns.plan import Plan
from raysynth.comparison import rates
from raysynth.comparison.intervals import FEWEST_INDEPENDENT, Estimate
from raysynth.evaluation.attacks import ROC_SIZE
from raysynth.evaluation.charts import line_path
from raysynth.evaluation.decision import Purpose
from raysynth.evaluation.page import page_heading, write_page
from raysynth.evaluation.plain import plain
from raysynth.evaluation.section import Section, section_body
from raysynth.files.notebook import html_table

if TYPE_CHECKING:
    import pandas as pd


_FOLDS, _REPEATS = 5, 200


@dataclass(frozen=True)
class Game:
    """All trials of one method, budget and attack.

    Args:
        method, epsilon, attack: of the grid.
        models_S: seeds of the models.
        targets_T: row numbers of the targets.
        scores_ST: of each target against each model.
        inside_ST: whether the model's training table held the target.
        sequence: success rate by confidence sequence, where the campaign could stop early; or None.
    """

    method: str
    epsilon: float | None
    attack: str
    models_S: np.ndarray
    targets_T: np.ndarray
    scores_ST: np.ndarray = field(repr=False)
    inside_ST: np.ndarray = field(repr=False)
    sequence: Estimate | None = None

    @property
    def members(self) -> np.ndarray:
        """Scores of targets that were in."""
        return self.scores_ST[self.inside_ST]

    @property
    def others(self) -> np.ndarray:
        """Scores of targets that were out."""
        return self.scores_ST[~self.inside_ST]

    def auc(self) -> Estimate:
        """Success rate over all targets; trials of one pair of models depend on each other. A confidence sequence's
        interval where the campaign could stop early."""
        pair_ST = np.broadcast_to((self.models_S // 2)[:, None], self.scores_ST.shape)
        found = rates.auc(self.members, self.others, pair_ST[self.inside_ST], pair_ST[~self.inside_ST])
        if self.sequence is not None and not math.isnan(self.sequence.value):
            return Estimate(found.value, self.sequence.low, self.sequence.high)
        return found

    def tpr_at_fpr(self, rate: float) -> Estimate:
        """True positive rate at a false positive `rate`, with the percentile interval over resampled pairs of models;
        no interval for fewer than five pairs."""
        pairs = np.unique(self.models_S // 2)
        rows = {p: np.flatnonzero(self.models_S // 2 == p) for p in pairs}
        rng = np.random.default_rng(0)

        def value(chosen: np.ndarray) -> float:
            scores, inside = self.scores_ST[chosen], self.inside_ST[chosen]
            return roc.tpr_value(scores[inside], scores[~inside], rate)

        whole = value(np.arange(len(self.models_S)))
        if len(pairs) < FEWEST_INDEPENDENT:
            return Estimate(whole)
        drawn = [value(np.concatenate([rows[p] for p in rng.choice(pairs, len(pairs))])) for _ in range(_REPEATS)]
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if not np.isnan(drawn).all() else (math.nan, math.nan)
        return Estimate(whole, float(low), float(high))

    def epsilon_bound(self, delta: float) -> Estimate:
        """Empirical epsilon at `delta` from independent trials: of each pair of models one target, in turn."""
        members, others = self._independent()
        return roc.empirical_epsilon(members, others, delta)

    def outside(self, epsilon: float, delta: float, level: float = 0.999) -> tuple[tuple[float, float], ...]:
        """(FPR, TPR) points outside the region of `epsilon` and `delta`, by target; Bonferroni over targets.

        A method that keeps its promise has one at all with a chance of at most 1 - `level`.
        """
        found: list[tuple[float, float]] = []
        each = 1 - (1 - level) / len(self.targets_T)
        for t in range(len(self.targets_T)):
            scores, inside = self.scores_ST[:, t], self.inside_ST[:, t]
            found += roc.outside_region(scores[inside], scores[~inside], epsilon, delta, each)
        return tuple(found)

    def records(self) -> Iterator[dict[str, Any]]:
        """Success rate and advantage against each target; its trials are independent."""
        for t, row in enumerate(self.targets_T.tolist()):
            scores, inside = self.scores_ST[:, t], self.inside_ST[:, t]
            found = rates.auc(scores[inside], scores[~inside])
            gain = roc.advantage(scores[inside], scores[~inside])
            yield {
                "method": self.method,
                "epsilon": self.epsilon,
                "attack": self.attack,
                "record": row,
                "models": len(scores),
                **_spread("auc", found),
                **_spread("advantage", gain),
            }

    def _independent(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores of one target for each model, another one from model to model."""
        turn_S = (self.models_S // 2) % len(self.targets_T)
        rows = np.arange(len(self.models_S))
        scores_S, inside_S = self.scores_ST[rows, turn_S], self.inside_ST[rows, turn_S]
        return scores_S[inside_S], scores_S[~inside_S]


@dataclass(frozen=True)
class CampaignResults:
    """The games of a campaign.

    Args:
        plan: the grid.
        games: one for each method, budget and attack with finished trials.
        failures: trials that failed, and why.
        seconds: summed over all trials.
        source: what a private page calls the real table.
    """

    plan: Plan
    games: tuple[Game, ...]
    failures: Mapping[str, str]
    seconds: float
    source: str = ""

    @classmethod
    def of(
        cls,
        plan: Plan,
        attacks: Sequence[MembershipAttack],
        records: pa.Table | None,
        failures: Mapping[str, str],
        sequences: Mapping[tuple[str, float | None, str], Estimate],
    ) -> CampaignResults:
        """From the records of all trials.

        Args:
            plan: the grid.
            attacks: that were played.
            records: one row for each trial, attack and target; None: no trial has finished.
            failures: trials that failed, and why.
            sequences: success rate by confidence sequence of each (method, epsilon, attack) that could stop early.
        """
        if records is None:
            return cls(plan, (), failures, 0.0)
        frame = records.to_pandas()
        games = []
        for method, epsilon in plan.groups:
            same = frame["epsilon"].isna() if epsilon is None else frame["epsilon"] == epsilon
            for attack in attacks:
                part = frame[(frame["method"] == method) & same & (frame["attack"] == attack.name)]
                if len(part):
                    sequence = sequences.get((method, epsilon, attack.name))
                    games.append(_game(method, epsilon, attack, part, sequence))
        one = frame.drop_duplicates(["method", "epsilon", "seed"])
        return cls(plan, tuple(games), failures, float(one["seconds"].sum()))

    def game(self, method: str, attack: str, epsilon: float | None = None) -> Game:
        """The game of `method`, `attack` and budget (`epsilon`; None: without one)."""
        return next(g for g in self.games if (g.method, g.attack, g.epsilon) == (method, attack, epsilon))

    def to_frame(self) -> pd.DataFrame:
        """One row for each method, budget and attack: rates with '_low' and '_high', and whether theory is kept.

        'respects_epsilon': no point outside the budget's region, at a level where a private method is accused once in
        a thousand; None without a budget.
        """
        import pandas as pd

        return pd.DataFrame([self._row(game) for game in self.games])

    def per_record(self) -> pd.DataFrame:
        """One row for each game and target record, the most exposed first."""
        import pandas as pd

        frame = pd.DataFrame([r for game in self.games for r in game.records()])
        return frame.sort_values("auc", ascending=False, ignore_index=True) if len(frame) else frame

    def to_dict(self) -> dict[str, Any]:
        """Plan, table, risk by record and failures as plain JSON values."""
        return {
            "plan": {**self.plan.record(), "n_models": self.plan.n_models},
            "games": plain(self.to_frame().to_dict("records")),
            "records": plain(self.per_record().to_dict("records")),
            "failures": dict(self.failures),
            "seconds": round(self.seconds, 3),
        }

    def summary(self) -> str:
        """The figures as text, one game a line."""
        lines = [f"Attack campaign: {len(self.games)} games, {len(self.failures)} failed trials"]
        for game in self.games:
            row = self._row(game)
            budget = "" if game.epsilon is None else f", epsilon {game.epsilon:g}"
            kept = {None: "", True: "; within its epsilon", False: "; OUTSIDE ITS EPSILON"}[row["respects_epsilon"]]
            epsilon = row["epsilon_shown"]
            shown = "epsilon not measured" if math.isnan(epsilon) else f"epsilon at least {epsilon:.2f}"
            rate = Estimate(row["tpr_at_1%"], row["tpr_at_1%_low"], row["tpr_at_1%_high"])
            lines.append(
                f"  {game.method}{budget}, {game.attack}: AUC {game.auc()}, TPR at 1 % FPR {rate}, "
                f"{shown} ({row['models']} models{kept})"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        budgets = ["none" if g.epsilon is None else f"{g.epsilon:g}" for g in self.games]
        rows = [
            (g.method, budget, g.attack, g.auc(), g.tpr_at_fpr(0.01), f"{g.epsilon_bound(self.plan.delta).low:.2f}")
            for g, budget in zip(self.games, budgets, strict=True)
        ]
        header = ("method", "epsilon", "attack", "AUC", "TPR at 1 % FPR", "epsilon is at least")
        return html_table(f"Attack campaign of {len(rows)} games, {len(self.failures)} failed trials", header, rows)

    def write_report(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained HTML file to `path`: table, ROC curves and the risk of each record."""
        games = self.games
        budgets = sorted({math.inf if g.epsilon is None else g.epsilon for g in games})
        told = ", ".join("none" if math.isinf(e) else f"epsilon {e:g}, delta {self.plan.delta:.2g}" for e in budgets)
        head = page_heading(
            "Attack campaign",
            table=self.source,
            method=", ".join(sorted({g.method for g in games})),
            guarantee=told,
            rows=f"{max((len(g.targets_T) for g in games), default=0):,} target records",
            more=[
                ("Models of each", f"{max((len(g.models_S) for g in games), default=0):,}"),
                ("Attacks", ", ".join(sorted({g.attack for g in games}))),
            ],
        )
        write_page(path, head, [campaign_section(self)], campaign_purposes(self.to_frame().to_dict("records")))

    generate_report = write_report  # as all results

    def _row(self, game: Game) -> dict[str, Any]:
        shown = game.epsilon_bound(self.plan.delta)
        respects = None
        if game.epsilon is not None:
            respects = not game.outside(*self.plan.guarantee(game.epsilon))
        return {
            "method": game.method,
            "epsilon": game.epsilon,
            "attack": game.attack,
            "models": len(game.models_S),
            "targets": len(game.targets_T),
            **_spread("auc", game.auc()),
            **{
                key: value
                for rate in roc.FALSE_POSITIVE_RATES
                for key, value in _spread(f"tpr_at_{100 * rate:g}%", game.tpr_at_fpr(rate)).items()
            },
            "epsilon_shown": shown.low,
            "respects_epsilon": respects,
        }


def _game(
    method: str, epsilon: float | None, attack: MembershipAttack, part: pd.DataFrame, sequence: Estimate | None
) -> Game:
    """Records as a game; shadow attacks judge each record by models of the other folds."""
    ordered = part.sort_values(["seed", "target"], kind="stable")
    models, targets = np.unique(ordered["seed"].to_numpy()), np.unique(ordered["target"].to_numpy())
    found_STF = np.stack(ordered["found"].to_list()).astype(float).reshape(len(models), len(targets), -1)
    inside_ST = ordered["member"].to_numpy().reshape(len(models), len(targets))
    scores_ST = (
        _shadow_scores(attack, found_STF, inside_ST, models) if isinstance(attack, ShadowAttack) else found_STF[:, :, 0]
    )
    return Game(method, epsilon, attack.name, models, targets, scores_ST, inside_ST, sequence)


def _shadow_scores(
    attack: ShadowAttack, found_STF: np.ndarray, inside_ST: np.ndarray, models_S: np.ndarray
) -> np.ndarray:
    """Scores (S, T): each fold of pairs is judged by models of all others."""
    pairs_S = models_S // 2
    if len(np.unique(pairs_S)) < _FOLDS:
        return np.full(inside_ST.shape, np.nan)
    scores_ST = np.empty(inside_ST.shape)
    for fold in range(_FOLDS):
        mine = pairs_S % _FOLDS == fold
        shadows, inside = found_STF[~mine], inside_ST[~mine]
        for s in np.flatnonzero(mine):
            scores_ST[s] = attack.tell(found_STF[s], shadows, inside)
    return scores_ST


def _spread(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


_RECORDS = 40


def campaign_section(results: CampaignResults) -> Section:
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


def _bar(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the places of its interval on a scale from 0 to 200."""
    middle = 0.5 if math.isnan(record["auc"]) else record["auc"]
    known = {k: middle if math.isnan(record[k]) else record[k] for k in ("auc", "auc_low", "auc_high")}
    return {**record, **{f"{k}_x": 200 * min(max(value, 0.0), 1.0) for k, value in known.items()}}


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
