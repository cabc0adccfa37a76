"""What a sweep found: a table, the Pareto front, the best model under limits, and the recommendation in words."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raysynth.arguments import check_one_of
from raysynth.comparison.intervals import FEWEST_REPEATS, Estimate
from raysynth.errors import ParameterError
from raysynth.files.notebook import html_table
from raysynth.files.storage import Folder, Target, write_atomically
from raysynth.tuning import front as fronts
from raysynth.tuning.report import render_sweep
from raysynth.tuning.trials import FAILED, STOPPED, TrialResult

if TYPE_CHECKING:
    import pandas as pd

    from raysynth.methods.base import Synthesizer

SELECTION_NOTE = "selection among models by figures of the private rows: not covered by epsilon"


@dataclass(frozen=True)
class SweepResult:
    """The trials of one sweep.

    Args:
        results: one a trial, failed and stopped ones among them.
        selection: 'internal', 'proxy' or 'private'; see `raysynth.tuning.sweep`.
        objective: what utility is.
        folder: where models and results are: a path, or a place in an object store.
        winner: gives the fitted model of a candidate.
        repeated: how many trials were on storage already.
        data: path of the table; empty where it has none.
        rows: how many were learned from and held out, in words; of a private selection that is not told.
    """

    results: tuple[TrialResult, ...]
    selection: str
    objective: str
    folder: Folder
    winner: Callable[[fronts.Candidate], Synthesizer] = field(repr=False, compare=False)
    repeated: int = 0
    data: str = ""
    rows: str = "not told: their number is private"

    @property
    def label(self) -> str:
        """Who may see these figures."""
        if self.selection == "internal":
            return "private: figures of the private rows, for the data's holder only"
        if self.selection == "private":
            return "covered by epsilon: of the trials nothing but the winner, with its noised score, is released"
        return "no figure here was computed from the private rows: the sweep ran on proxy rows"

    @property
    def table(self) -> pd.DataFrame:
        """One row a trial: setting, seed, status, utility, figures, attack, seconds, error."""
        import pandas as pd

        return pd.DataFrame([_row(r) for r in self.results])

    @property
    def failed(self) -> tuple[TrialResult, ...]:
        """Trials without figures; `error` says why."""
        return tuple(r for r in self.results if r.status == FAILED)

    @property
    def stopped(self) -> tuple[TrialResult, ...]:
        """Trials that a scheduler stopped early; they are no candidates."""
        return tuple(r for r in self.results if r.status == STOPPED)

    @property
    def candidates(self) -> tuple[fronts.Candidate, ...]:
        """Settings with their means and error bars over seeds, best first."""
        return fronts.candidates(self.results)

    def front(self, against: str = "epsilon") -> tuple[fronts.Candidate, ...]:
        """The Pareto front of utility `against` 'epsilon' or the 'attack' advantage, cheapest first."""
        check_one_of("against", against, fronts.AGAINST)
        return fronts.pareto_front(self.candidates, against)

    def best(
        self, max_epsilon: float = math.inf, min_utility: float = -math.inf, max_attack: float = math.inf
    ) -> Synthesizer:
        """The fitted model of the setting of highest mean utility within the limits.

        'private': the winner, as it was released; its epsilon is that of fit and choice together.
        'internal': the trial's own model, of its seed of highest utility. Its ledger says that selection is not covered
        by epsilon. 'proxy': the setting is fitted to the private rows now, once; the ledger holds both fits.

        Args:
            max_epsilon: largest epsilon.
            min_utility: lowest mean utility.
            max_attack: largest mean advantage of the attack.

        Raises:
            ParameterError: nothing is within the limits; says what comes nearest.
        """
        return self.winner(self._chosen(max_epsilon, min_utility, max_attack))

    def explain(
        self, max_epsilon: float = math.inf, min_utility: float = -math.inf, max_attack: float = math.inf
    ) -> str:
        """The choice in words: what, why, what it costs, what would do as well, and who may see these figures.

        Args:
            max_epsilon, min_utility, max_attack: limits, as in `best`.
        """
        chosen = self._chosen(max_epsilon, min_utility, max_attack)
        if self.selection == "private":
            return f"{_private_words(chosen)}\nThese results are {self.label}."
        covered = self._within_a_guarantee(chosen, min_utility, max_attack)
        lines = [] if covered is None else [_covered_words(covered, self.objective), _attack_words(covered)]
        lines.append(
            f"Of {len(self.candidates)} settings, {chosen.setting.label} at {chosen.setting.budget} has the highest "
            f"mean {self.objective} within the limits: {_over_seeds(chosen.utility, chosen)}."
        )
        lines += [_attack_words(chosen)] if covered is None else []
        if (instead := fronts.cheaper(self.candidates, chosen)) is not None:
            lines.append(
                f"{instead.setting.label} at {instead.setting.budget} cannot be told from it: it is lower by "
                f"{chosen.gain_over(instead)}, seed by seed. The smaller epsilon protects better."
            )
        if len(self.candidates) > 1 and not fronts.told_apart(self.candidates):
            lines.append(f"With fewer than {FEWEST_REPEATS} seeds chance cannot be told from a difference.")
        if math.isinf(chosen.setting.epsilon):
            lines.append("No epsilon: nothing is guaranteed about what its rows disclose.")
        if self.stopped:
            lines.append(f"{len(self.stopped)} trials were stopped early, behind others of their method and epsilon.")
        if self.failed:
            lines.append(f"{len(self.failed)} trials failed: {self.failed[0].error}")
        lines.append(f"To fit it: {fit_command(covered or chosen, self.data)}")
        return "\n".join([*lines, f"These results are {self.label}."])

    def generate_report(self, path: Target) -> None:
        """Write one self-contained HTML file to `path`: the plots, the table, the words.

        Raises:
            StorageError: the file cannot be written.
        """
        write_atomically(path, render_sweep(self).encode(), private=self.selection == "internal")

    write_report = generate_report  # as all results

    def _repr_html_(self) -> str:
        rows = [(_name(c), c.utility, c.attack, len(c.results)) for c in self.candidates]
        header = ("setting", self.objective, "advantage of an attack", "seeds")
        return html_table(f"Sweep of {len(rows)} settings, best first", header, rows, [f"{self.label}."])

    def record(self) -> dict[str, Any]:
        """Everything as plain JSON values; undefined figures, and an infinite epsilon, are None."""
        from raysynth.evaluation.plain import plain

        content = {
            "selection": self.selection,
            "label": self.label,
            "objective": self.objective,
            "trials": [_row(r) for r in self.results],
            "settings": [_summary(c, self.candidates[0]) for c in self.candidates],
            "front": {a: [_name(c) for c in self.front(a)] for a in fronts.AGAINST},
            "failed": len(self.failed),
            "stopped": len(self.stopped),
            "repeated": self.repeated,
        }
        record: dict[str, Any] = plain(content)
        return record

    def _within_a_guarantee(
        self, chosen: fronts.Candidate, min_utility: float, max_attack: float
    ) -> fronts.Candidate | None:
        """The best setting with an epsilon, where the best of all has none although some were tried."""
        if math.isfinite(chosen.setting.epsilon):
            return None
        return fronts.choose(self.candidates, sys.float_info.max, min_utility, max_attack)

    def _chosen(self, max_epsilon: float, min_utility: float, max_attack: float) -> fronts.Candidate:
        found = self.candidates
        if not found and self.selection == "private":
            raise ParameterError(
                "the private selection released no winner (no trial was drawn, or none gave a model; which one is not "
                "told); another selection is another release"
            )
        if not found:
            reason = self.failed[0].error if self.failed else "no trial was run"
            raise ParameterError(f"no trial gave figures: {reason}")
        chosen = fronts.choose(found, max_epsilon, min_utility, max_attack)
        if chosen is None:
            best, least = found[0], min(c.setting.epsilon for c in found)
            raise ParameterError(
                f"no setting is within the limits; the highest {self.objective} is {best.utility.value:.3f} "
                f"({_name(best)}), the smallest epsilon {least:g}: loosen max_epsilon, min_utility or max_attack"
            )
        return chosen


def _row(result: TrialResult) -> dict[str, Any]:
    setting = result.trial.setting
    return {
        "method": setting.method,
        "epsilon": setting.epsilon,
        **dict(setting.parameters),
        "seed": result.trial.seed,
        "status": result.status,
        "utility": result.utility,
        **result.figures,
        "attack": result.attack.value,
        "attack_low": result.attack.low,
        "attack_high": result.attack.high,
        **{f"{k}_seconds": v for k, v in result.seconds.items()},
        "error": result.error,
    }


def _summary(candidate: fronts.Candidate, best: fronts.Candidate) -> dict[str, Any]:
    u, a, below = candidate.utility, candidate.attack, best.gain_over(candidate)
    return {
        "setting": _name(candidate),
        "seeds": len(candidate.results),
        "utility": [u.value, u.low, u.high],
        "attack": [a.value, a.low, a.high],
        "below_best": [below.value, below.low, below.high],
    }


def _name(candidate: fronts.Candidate) -> str:
    return f"{candidate.setting.label}, {candidate.setting.budget}"


def _private_words(chosen: fronts.Candidate) -> str:
    fit = chosen.results[0].figures["epsilon_of_one_fit"]
    return (
        f"{chosen.setting.label}, fitted at epsilon {fit:g}, was chosen privately among a random number of trials; its "
        f"noised score over pairs of columns is {chosen.utility.value:.3f} (1: as the real rows).\n"
        f"Statistics, fit and choice together cost epsilon {chosen.setting.epsilon:.3g}, as its ledger says."
    )


def fit_command(candidate: fronts.Candidate, data: str) -> str:
    """The command line that fits a setting to a table; DATA stands for one that has no path."""
    setting = candidate.setting
    budget = [] if math.isinf(setting.epsilon) else ["--epsilon", f"{setting.epsilon:g}"]
    given = [w for name, value in setting.parameters for w in ("--set", f"{name}={json.dumps(value)}")]
    options = ["--method", setting.method, *budget, *given, "--model", "model.raysynth"]
    return shlex.join(["raysynth", "fit", data or "DATA", *options])


def _covered_words(candidate: fronts.Candidate, objective: str) -> str:
    return (
        f"Of the settings with a guarantee, {candidate.setting.label} at {candidate.setting.budget} is best: "
        f"{objective} {_over_seeds(candidate.utility, candidate)}."
    )


def _over_seeds(estimate: Estimate, candidate: fronts.Candidate) -> str:
    n = len(candidate.results)
    if n < FEWEST_REPEATS:
        return f"{estimate.value:.3f} ({'one seed' if n == 1 else f'{n} seeds'}, so no error bar)"
    return f"{estimate} over {n} seeds"


def _attack_words(candidate: fronts.Candidate) -> str:
    attack = candidate.attack
    if math.isnan(attack.value):
        return "No attack was measured."
    if math.isnan(attack.low):
        return f"The membership attack has an advantage of {attack} (0: guessing, 1: everybody known)."
    verdict = "tells members of the training rows" if attack.low > 0 else "does no better than guessing"
    return f"The membership attack {verdict}: advantage {attack} (0: guessing, 1: everybody known)."
