"""audit_epsilon: attacks a synthesizer's own claim, and says how large epsilon is at least.

Two experiments, by one adversary who knows the algorithm, the published seed, all rows but the canary, and the canary:

- **file**: a membership game. Many small fits with and without a canary; the adversary reads the whole model file
  (`adversary.py`), learns on some fits and is judged on the others.
- **gradients**: one fit by DP-SGD with many canaries, each of them in the table with chance 1/2; the adversary sees all
  iterates (`training/canaries.py`). Only where the method trains by DP-SGD.

A canary is one unit of the guarantee: a row, all rows of a person, or a whole sequence (`units.py`).

Each gives a lower bound of epsilon at the claimed delta. A bound above the claim refutes it. A bound below it proves
nothing; `largest` says what a perfect attack could have shown with so many trials.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.arguments import check_whole
from raysynth.attacks.audit.adversary import Decision, features_of, learned
from raysynth.attacks.audit.units import Units, units_of
from raysynth.comparison.rates import clopper_pearson
from raysynth.dp.accounting.odometer import record_use
from raysynth.errors import ParameterError
from raysynth.files.notebook import html_table
from raysynth.running.runner import in_this_process, run_tasks

if TYPE_CHECKING:
    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.methods.base import Synthesizer
    from raysynth.training.canaries import GradientCanaries

ATTACKS = ("file", "gradients")
LARGEST = 60.0  # no experiment of any size shows more
FEWEST_REFITS = 32
GUESSED_SHARES = (0.2, 1.0)  # of the canaries: the surest fifth, and all


@dataclass(frozen=True)
class AuditedAttack:
    """The result of one experiment of an audit.

    Args:
        name: 'file' or 'gradients'.
        lower_bound: epsilon is at least this, with `confidence`.
        largest: the lower bound that a perfect attack would have shown with as many trials.
        confidence: of this bound, in (0, 1).
        figures: the number of trials, and how often the adversary was right.
        looked_at: which part of the model file or of the gradients the adversary decided by.
    """

    name: str
    lower_bound: float
    largest: float
    confidence: float
    figures: Mapping[str, int]
    looked_at: str

    def __str__(self) -> str:
        figures = ", ".join(f"{k} {v}" for k, v in self.figures.items())
        return (
            f"{self.name}: epsilon >= {self.lower_bound:.3g} (a perfect attack: {self.largest:.3g}; "
            f"confidence {self.confidence:.6g}; {figures}; by {self.looked_at})"
        )


@dataclass(frozen=True)
class EpsilonAudit:
    """The result of an audit: lower bounds of epsilon beside the claim.

    Args:
        epsilon, delta: the claim.
        confidence: of all bounds together.
        attacks: the experiments.
        unit: what one canary is: a row, all rows of a person, or a sequence.
    """

    epsilon: float
    delta: float
    confidence: float
    attacks: tuple[AuditedAttack, ...]
    unit: str

    @property
    def lower_bound(self) -> float:
        """Epsilon is at least this, with the audit's confidence."""
        return max(a.lower_bound for a in self.attacks)

    @property
    def largest(self) -> float:
        """The largest lower bound that a perfect attack could have shown."""
        return max(a.largest for a in self.attacks)

    @property
    def refuted(self) -> bool:
        """Whether the claim is broken: the lower bound is above it."""
        return self.lower_bound > self.epsilon

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        own = [{**vars(a), "figures": dict(a.figures)} for a in self.attacks]
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "unit": self.unit,
            "confidence": self.confidence,
            "lower_bound": self.lower_bound,
            "largest": self.largest,
            "refuted": self.refuted,
            "attacks": own,
        }

    def __str__(self) -> str:
        verdict = "REFUTED" if self.refuted else "not refuted"
        claim = f"claim: epsilon = {self.epsilon:g}, delta = {self.delta:g} for one {self.unit} more or less"
        lines = [f"{claim}: {verdict}"]
        return "\n".join([*lines, *(f"  {a}" for a in self.attacks)])

    def _repr_html_(self) -> str:
        rows = [(a.name, f"{a.lower_bound:.3g}", f"{a.largest:.3g}", a.looked_at) for a in self.attacks]
        header = ("attack", "epsilon is at least", "a perfect attack", "went by")
        return html_table(str(self).partition("\n")[0], header, rows)


def audit_epsilon(
    synthesizer: Synthesizer,
    data: Any,
    *,
    canary: Mapping[str, Any] | None = None,
    n_refits: int = 200,
    n_canaries: int = 200,
    learning_share: float = 0.25,
    confidence: float = 0.95,
    attacks: Sequence[str] = ATTACKS,
    where: str = "auto",
) -> EpsilonAudit:
    """Attack a synthesizer's privacy claim: a lower bound of its true epsilon, with a confidence level.

    Args:
        synthesizer: unfitted, with `epsilon`: the claim. Small networks and few steps make an audit cheap; its own
            `seed` counts as published (None: 0).
        data: rows, or sequences, of the worst table that one can think of; a hundred are enough for 'file'. Each fit
            reads them all.
        canary: values of the canary's columns ('feature 1' ... of an array); the others are extreme
            (`units.py`). Of a sequence: one value for all steps, or a list with one for each.
        n_refits: fits of 'file', half of them with the canary; at least 32.
        n_canaries: of 'gradients'; no more than the network has weights.
        learning_share: of the refits, that the adversary learns on; they are not judged.
        confidence: of all bounds together.
        attacks: 'file', 'gradients' or both; methods that do not train by DP-SGD have 'file' alone.
        where: 'local' (this process), 'ray', or 'auto': over Ray where it runs.

    Returns:
        The audit; print it, or ask `.lower_bound`, `.largest` and `.refuted`.

    Raises:
        ParameterError: the synthesizer claims nothing, or a parameter is out of range. DataError, SchemaError: of
            sequences, about names and types.
    """
    _check(synthesizer, n_refits, n_canaries, learning_share, confidence, attacks)
    scope = _claim(synthesizer)
    delta = scope.budget.delta
    units = units_of(synthesizer, data, canary)
    record_use(synthesizer.odometer, f"an audit of {type(synthesizer).__name__}")
    model = synthesizer.clone().set_params(
        seed=synthesizer.seed or 0, verbose=False, scaling_config=None, run_config=None, odometer=None
    )
    canaries = _one_run(model, units, n_canaries) if "gradients" in attacks else None
    wanted = [a for a in ATTACKS if a in attacks and (a != "gradients" or canaries is not None)]
    if not wanted:
        raise ParameterError(f"{type(synthesizer).__name__} does not train by DP-SGD; audit it with attacks=['file']")
    each = 1 - (1 - confidence) / len(wanted)
    found = []
    if "file" in wanted:
        worlds = units.with_canaries(0), units.with_canaries(1)
        found.append(_game(model, worlds, n_refits, learning_share, each, delta, where))
    if canaries is not None:
        found.append(_judged(*canaries, each, delta))
    return EpsilonAudit(scope.budget.epsilon, delta, confidence, tuple(found), scope.unit)


# ---- the membership game ---------------------------------------------------------------------------------------------


def _game(
    model: Synthesizer,
    worlds: tuple[Any, Any],
    n_refits: int,
    learning_share: float,
    confidence: float,
    delta: float,
    where: str,
) -> AuditedAttack:
    n_learning = max(4, round(n_refits * learning_share / 2))
    n_judged = n_refits // 2 - n_learning
    look = partial(_features, model, worlds)
    own = run_tasks(look, [i % 2 for i in range(2 * n_learning)], label="fits of the adversary", where=where)
    decision = learned(own[1::2], own[0::2])
    guess = partial(_guess, model, worlds, decision)
    said = run_tasks(guess, [i % 2 for i in range(2 * n_judged)], label="fits to tell apart", where=where)
    hits, alarms = sum(said[1::2]), sum(said[0::2])
    bound = partial(game_bound, members=n_judged, others=n_judged, delta=delta, confidence=confidence)
    figures = {"fits judged": 2 * n_judged, "of the adversary": 2 * n_learning, "hits": hits, "false alarms": alarms}
    lower, largest = bound(hits, false_alarms=alarms), bound(n_judged, false_alarms=0)
    return AuditedAttack("file", lower, largest, confidence, figures, decision.looks_at)


def _features(model: Synthesizer, worlds: Sequence[Any], world: int) -> dict[str, float]:
    with in_this_process():
        return features_of(model.clone().fit(worlds[world])._content())


def _guess(model: Synthesizer, worlds: Sequence[Any], decision: Decision, world: int) -> bool:
    return decision.says_in(_features(model, worlds, world))


# ---- one run with gradient canaries ----------------------------------------------------------------------------------


def _one_run(model: Synthesizer, units: Units, n_canaries: int) -> tuple[GradientCanaries, np.ndarray] | None:
    """The canaries after a fit, and which were in the data; None where nothing was trained by DP-SGD."""
    from raysynth.training.canaries import GradientCanaries, planted

    included_M = np.array([secrets.randbits(1) for _ in range(n_canaries)], bool)
    canaries = GradientCanaries(units.n_units, included_M)
    with planted(canaries), in_this_process():
        model.clone().fit(units.with_canaries(int(included_M.sum())))
    return None if canaries.scores_M is None else (canaries, included_M)


def _judged(canaries: GradientCanaries, included_M: np.ndarray, confidence: float, delta: float) -> AuditedAttack:
    """Guesses by the scores: the highest are in, the lowest out; each number of guesses has its part of the error."""
    scores_M, m = canaries.scores_M, len(included_M)
    assert scores_M is not None
    each = 1 - (1 - confidence) / len(GUESSED_SHARES)
    order = np.argsort(scores_M, kind="stable")
    best = (-1.0, 0, 0)
    for share in GUESSED_SHARES:
        half = max(1, int(share * m / 2))
        right = int(included_M[order[-half:]].sum() + (~included_M[order[:half]]).sum())
        best = max(best, (one_run_bound(m, 2 * half, right, delta=delta, confidence=each), 2 * half, right))
    bound, guesses, right = best
    largest = one_run_bound(m, m - m % 2, m - m % 2, delta=delta, confidence=each)
    figures = {"canaries": m, "steps": canaries.n_steps, "guesses": guesses, "right": right}
    return AuditedAttack("gradients", bound, largest, confidence, figures, "the sum of all released gradients")


# ---- input -----------------------------------------------------------------------------------------------------------


def _claim(synthesizer: Synthesizer) -> PrivacyScope:
    """What a fit may spend, and by which unit."""
    from raysynth.fitting.opening import privacy_scope
    from raysynth.methods.sequences.private import sequence_scope
    from raysynth.methods.sequences.synthesizer import SequenceSynthesizer

    if isinstance(synthesizer, SequenceSynthesizer):
        return sequence_scope(synthesizer)
    scope = privacy_scope(synthesizer)
    assert scope is not None
    return scope


def _check(
    synthesizer: Any, n_refits: Any, n_canaries: Any, learning_share: Any, confidence: Any, attacks: Sequence[str]
) -> None:
    from raysynth.methods.base import Synthesizer

    if not isinstance(synthesizer, Synthesizer):
        raise ParameterError(f"synthesizer must be a synthesizer with epsilon; found {synthesizer!r}")
    if synthesizer.epsilon is None and not synthesizer.differential_privacy:
        raise ParameterError(f"{type(synthesizer).__name__} claims nothing: give it epsilon, which the audit attacks")
    check_whole("n_refits", n_refits, FEWEST_REFITS)
    check_whole("n_canaries", n_canaries, 10)
    if not 0 < learning_share < 0.9:
        raise ParameterError(f"learning_share must be between 0 and 0.9; found {learning_share!r}")
    _check_confidence(confidence)
    if isinstance(attacks, str) or not attacks or set(attacks) - set(ATTACKS):
        raise ParameterError(f"attacks must be a list of {' and '.join(map(repr, ATTACKS))}; found {attacks!r}")


def game_bound(hits: int, members: int, false_alarms: int, others: int, *, delta: float, confidence: float) -> float:
    """What a membership game shows: epsilon is at least this, with the given confidence.

    An (epsilon, delta)-private mechanism gives every test TPR <= e^epsilon FPR + delta and, with the worlds exchanged,
    1 - FPR <= e^epsilon (1 - TPR) + delta (Kairouz, Oh and Viswanath 2015, theorem 2.1). TPR from below and FPR from
    above, by Clopper and Pearson at half the error each, bound epsilon from below in both ways at once.

    Args:
        hits, members: trials with the canary that the adversary took for such, of how many.
        false_alarms, others: trials without it that the adversary took for such, of how many.
        delta: of the claim.
        confidence: for example 0.95; the chance that the bound is too high is at most 1 - confidence.
    """
    _check_confidence(confidence)
    tpr = clopper_pearson(hits, members, confidence).low  # its two tails have half the error: the lower one counts
    fpr = clopper_pearson(false_alarms, others, confidence).high
    ways = ((tpr - delta, fpr), (1 - fpr - delta, 1 - tpr))
    return max(0.0, *(math.log(a / b) for a, b in ways if a > 0 and b > 0))


def one_run_bound(canaries: int, guesses: int, right: int, *, delta: float, confidence: float) -> float:
    """What one run shows in which each canary was in with chance 1/2 and `guesses` of them were guessed.

    Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), theorem 5.2: for an (epsilon, delta)-private mechanism

        P(right >= v) <= P(W >= v) + 2 m delta max_(1 <= i <= v) P(v > W >= v - i) / i,   W ~ Bin(guesses, p),

    with p = e^epsilon / (1 + e^epsilon) and m canaries. The bound is the largest epsilon that this refutes.

    Args:
        canaries: m.
        guesses: how many were guessed to be in or out; fixed before the run.
        right: of these.
        delta, confidence: as in `game_bound`.
    """
    _check_confidence(confidence)
    if not 0 <= right <= guesses <= canaries:
        raise ParameterError(f"{right} right of {guesses} guesses on {canaries} canaries cannot be")
    return _largest_refuted(lambda eps: one_run_chance(canaries, guesses, right, eps, delta), 1 - confidence)


def one_run_chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Largest chance of so many right guesses under (epsilon, delta)-privacy; see `one_run_bound`."""
    import numpy as np
    from scipy.stats import binom

    p = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, p))
    if right == 0:
        return 1.0
    steps = np.arange(1, right + 1)
    slope = float((np.cumsum(binom.pmf(right - steps, guesses, p)) / steps).max())
    return min(1.0, tail + 2 * canaries * delta * slope)


def _largest_refuted(chance: Callable[[float], float], error: float) -> float:
    """The largest epsilon whose chance is below the error; the chance rises with epsilon."""
    if chance(0.0) >= error:
        return 0.0
    low, high = 0.0, 1.0
    while chance(high) < error:
        if high >= LARGEST:
            return LARGEST
        low, high = high, high * 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) < error else (low, middle)
    return low


def _check_confidence(confidence: float) -> None:
    if not 0.5 < confidence < 1:
        raise ParameterError(f"confidence must be between 0.5 and 1, such as 0.95; found {confidence!r}")
