"""What attacks found: a figure for each with its baseline, intervals and ROC curve, and all of them as one mapping."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.attacks import roc
from raysynth.attacks.attack import Attack, Outcome
from raysynth.attacks.verdicts import NEGLIGIBLE, Verdict, figures, in_words, rows_to_decide
from raysynth.comparison import rates
from raysynth.comparison.intervals import Estimate
from raysynth.files.notebook import html_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AttackResult:
    """One attack.

    Args:
        name, title, family: of the attack.
        threat: what the attacker had, in words.
        success: the success rate: of a scoring attack its AUC (shown one member and one other row, how often it picks
            the member); of the others the share of trials that succeeded.
        baseline: the same where nothing can have leaked (see `baseline_is`).
        gain: success minus baseline.
        risk: gain / (1 - baseline), as Giomi et al. (2023) define it.
        measures: 'advantage', 'tpr_at_10%', 'tpr_at_1%', 'tpr_at_0.1%', 'epsilon' (its low bound counts); of tracing
            'auc_of_exact_margins', which any table with the training table's margins has.
        curve: ROC curve of a scoring attack; None for the others.
        outcome: the trials themselves.
        baseline_is: what the baseline is, in words.
        n_trials, n_experiments: how many.
        verdict: significance, corrected for all attacks of the run; None: judged by its own interval.
    """

    name: str
    title: str
    family: str
    threat: str
    success: Estimate
    baseline: Estimate
    gain: Estimate
    risk: Estimate
    measures: Mapping[str, Estimate]
    curve: roc.Curve | None
    outcome: Outcome = field(repr=False)
    baseline_is: str
    n_trials: int
    n_experiments: int
    verdict: Verdict | None = None

    @property
    def found(self) -> bool:
        """Whether the attack has a significant gain: its p-value, corrected for all attacks, is at most 0.05."""
        return self.gain.low > 0 if self.verdict is None else self.verdict.found

    @property
    def in_words(self) -> str:
        """'not measured', 'no gain shown', 'gain on few rows', or 'slight', 'clear' or 'large gain' by its risk.

        'not decided': it surely gains something, and next to nothing is within the interval of how much. 'gain of
        margins': clear or large, spread over all rows, and not surely more than exact margins alone give.
        """
        words, margins = in_words(self._judged, self.risk.value), self.outcome.by_margins
        is_of_margins = margins is not None and words in ("clear gain", "large gain") and not self._judged.few_exposed
        return "gain of margins" if is_of_margins and not self.success.low > (margins or 0.0) else words

    @property
    def _judged(self) -> Verdict:
        """The verdict; where there is none, that of this attack's own interval."""
        p = math.nan if math.isnan(self.gain.low) else 0.0 if self.found else 1.0
        return self.verdict or Verdict(p, gain=self.gain)

    @property
    def is_shown(self) -> bool:
        """Whether it surely gains more than next to nothing, or on few rows."""
        return self.in_words not in ("not measured", "no gain shown", "not decided") and (
            self.in_words == "gain on few rows" or self._judged.gain.value > NEGLIGIBLE
        )

    @property
    def is_minor(self) -> bool:
        """Whether all that it found is slight, not decided, or what any table with these margins gives."""
        return self.in_words in ("slight gain", "gain of margins", "not decided")

    @property
    def surest(self) -> Estimate | None:
        """Share of members among the targets that it is surest of, where the verdict rests on these; else None."""
        verdict = self._judged
        return verdict.surest if verdict.on_few or self.in_words == "gain on few rows" else None

    @property
    def rows_to_decide(self) -> float:
        """How many times as many targets would decide what is 'not decided'; NaN where all is decided."""
        if self.in_words != "not decided":
            return math.nan
        found, allowed = (self._judged.gain, 0.0) if self.surest is None else (self.surest, 0.5)
        return rows_to_decide(found.value, found.low, allowed + NEGLIGIBLE)

    @property
    def beside_margins(self) -> str:
        """Beside what the training table's margins alone would give, in words; empty where that is not known."""
        margins = self.outcome.by_margins
        return "" if margins is None else f"exact margins alone give {margins:.3f}"

    def record(self) -> dict[str, Any]:
        """All figures as plain values; undefined ones are None."""
        spread = {"success": self.success, "baseline": self.baseline, "gain": self.gain, "risk": self.risk}
        return {
            "attack": self.name,
            "title": self.title,
            "family": self.family,
            "threat": self.threat,
            **{k: _plain(e) for k, e in {**spread, **self.measures}.items()},
            "verdict": self.in_words,
            "p_value": None if self.verdict is None else _number(self.verdict.p_value),
            "baseline_is": self.baseline_is,
            "trials": self.n_trials,
            "experiments": self.n_experiments,
        }


class AttackResults(Mapping[str, float]):
    """Success rates of attacks by type; for a family of attacks that of its strongest one.

    Iterated as a mapping of floats. Of a family the attack with the largest gain counts, and its interval
    (`intervals`) is Bonferroni's over the family, since the strongest of several is picked.

    Args:
        details: every attack that was run, by name.
        families: attack type asked for -> names of the attacks behind it.
        notes: what the reader must know.
        delta: for which epsilon is given.
    """

    def __init__(
        self,
        details: Mapping[str, AttackResult],
        families: Mapping[str, Sequence[str]],
        notes: Sequence[str] = (),
        delta: float = 0.0,
    ) -> None:
        self.details = dict(details)
        self.families = {k: tuple(v) for k, v in families.items()}
        self.notes = tuple(notes)
        self.delta = delta

    def __getitem__(self, key: str) -> float:
        return self.strongest(key).success.value

    def __iter__(self) -> Iterator[str]:
        return iter(self.families)

    def __len__(self) -> int:
        return len(self.families)

    def strongest(self, key: str) -> AttackResult:
        """The attack of type `key` with the largest gain.

        Of those with a sure gain, if there are any, and of these of those that are not minor, so that a large gain by
        margins hides no few rows that another attack finds.
        """
        found = [self.details[name] for name in self.families[key]]
        return max(
            found,
            key=lambda r: (r.found, not r.is_minor, -math.inf if math.isnan(r.gain.value) else r.gain.value),
        )

    @property
    def intervals(self) -> dict[str, Estimate]:
        """Success rate of each type with an interval that allows for having picked the strongest attack."""
        return {key: self.of_type(key).success for key in self.families}

    def of_type(self, key: str) -> AttackResult:
        """The attack of type `key` that gains most, its intervals widened for having been picked (Bonferroni)."""
        best, level = self.strongest(key), 1 - (1 - rates.LEVEL) / len(self.families[key])
        success, baseline, gain, risk = figures(best.outcome, best.curve is not None, level)
        return replace(best, success=success, baseline=baseline, gain=gain, risk=risk)

    @property
    def risk(self) -> float:
        """The largest risk of any attack with a significant gain; 0 if none has one, NaN if none was measured."""
        known = [r for r in self.details.values() if not math.isnan(r.risk.value)]
        return max([max(r.risk.value, 0.0) for r in known if r.found], default=0.0 if known else float("nan"))

    def to_frame(self) -> pd.DataFrame:
        """One row for each attack: figures, with '_low' and '_high' for their intervals."""
        import pandas as pd

        rows = []
        for result in self.details.values():
            row: dict[str, Any] = {}
            for key, value in result.record().items():
                if isinstance(value, dict):
                    row |= {key: value["value"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
                else:
                    row[key] = value
            rows.append(row)
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Success rates by type, every attack's record, and the notes, as plain JSON values."""
        return {
            "success": {k: _number(v) for k, v in self.items()},
            "intervals": {k: _plain(e) for k, e in self.intervals.items()},
            "risk": _number(self.risk),
            "attacks": [r.record() for r in self.details.values()],
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The figures as text, one attack a line."""
        lines = ["Attacks on the synthetic table"]
        for r in self.details.values():
            verdict = r.in_words.upper() if r.found else r.in_words
            figure = "AUC" if r.curve is not None else "success"
            base = "" if math.isnan(r.baseline.value) else f", baseline {r.baseline.value:.3f}"
            line = f"  {r.title:<44} {verdict:<17} {figure} {r.success}{base}  ({r.threat})"
            if r.surest is not None:
                line += f"; of those that it is surest of {r.surest} are members"
            if not math.isnan(r.rows_to_decide):
                line += f"; about {r.rows_to_decide:.2g} times as many targets would decide"
            lines.append(line if r.outcome.by_margins is None else f"{line}; {r.beside_margins}")
        return "\n".join([*lines, *(f"  Note: {n}" for n in self.notes)])

    def _repr_html_(self) -> str:
        rows = [(r.title, r.threat, r.success, r.baseline, r.in_words) for r in self.details.values()]
        header = ("attack", "the attacker has", "success", "baseline", "verdict")
        return html_table("Attacks on the synthetic table", header, rows, self.notes)

    def __repr__(self) -> str:
        return f"AttackResults({', '.join(f'{k}={v:.4f}' for k, v in self.items())})"


def judge(attack: Attack, outcome: Outcome, *, has_holdout: bool, n_experiments: int, delta: float) -> AttackResult:
    """All figures of an attack's trials."""
    success, baseline, gain, risk = figures(outcome, attack.scores, rates.LEVEL)
    return AttackResult(
        name=attack.name,
        title=attack.title,
        family=attack.family,
        threat=str(attack.threat),
        success=success,
        baseline=baseline,
        gain=gain,
        risk=risk,
        measures=_measures(attack, outcome, gain, delta),
        curve=roc.roc_curve(outcome.members, outcome.others) if attack.scores else None,
        outcome=outcome,
        baseline_is=attack.baseline(has_holdout),
        n_trials=len(outcome.members),
        n_experiments=n_experiments,
    )


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """The trials of several experiments together.

    Clusters keep their numbers where one number means one row in all experiments (see `ClaimAttack`).
    """
    members, others = (np.concatenate([getattr(o, side) for o in outcomes]) for side in ("members", "others"))
    clusters: list[np.ndarray | None] = []
    for side, values in (("member_clusters", "members"), ("other_clusters", "others")):
        parts = [getattr(o, side) for o in outcomes]
        if any(p is None for p in parts):
            clusters.append(None)
            continue
        start, moved = 0, []
        for part, outcome in zip(parts, outcomes, strict=True):
            moved.append(np.where(part < 0, part - start, part))
            start += len(getattr(outcome, values))
        clusters.append(np.concatenate(moved))
    first = outcomes[0]
    return replace(first, members=members, others=others, member_clusters=clusters[0], other_clusters=clusters[1])


def _measures(attack: Attack, outcome: Outcome, gain: Estimate, delta: float) -> dict[str, Estimate]:
    members, others = outcome.members, outcome.others
    if attack.scores:
        return {
            "advantage": roc.advantage(members, others),
            **{f"tpr_at_{100 * r:g}%": roc.tpr_at_fpr(members, others, r) for r in roc.FALSE_POSITIVE_RATES},
            "epsilon": roc.empirical_epsilon(members, others, delta),
            **({} if outcome.by_margins is None else {"auc_of_exact_margins": Estimate(outcome.by_margins)}),
        }
    return {"advantage": gain}


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "low": _number(estimate.low), "high": _number(estimate.high)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
