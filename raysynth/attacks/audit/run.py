"""audit_epsilon: attacks a synthesizer's own claim, and says how large epsilon is at least.

Three experiments, by an adversary who knows the algorithm, the published seed, the canary and all other rows:

- **file**: a membership game. Many small fits with and without a canary; the adversary reads the whole model file
  (`adversary.py`), learns on some fits and is judged on the others.
- **gradients**: one fit by DP-SGD with many canaries, each of them in the table with chance 1/2; the adversary sees all
  iterates (`training/canaries.py`). Only where the method trains by DP-SGD.
- **releases**: the game again, where the adversary sees every noised count, not only what of it is in the file
  (`releases.py`). Only where the method counts, by one row; asked for by name.

A canary is one unit of the guarantee: a row, all rows of a person, or a whole sequence (`units.py`).

Each gives a lower bound of epsilon at the claimed delta. A bound above the claim refutes it. A bound below it proves
nothing; `largest` says what a perfect attack could have shown with so many trials.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.arguments import check_whole
from raysynth.attacks.audit.adversary import Decision, features_of, learned
from raysynth.attacks.audit.releases import judged, privacy_loss
from raysynth.attacks.audit.results import AuditedAttack, EpsilonAudit, check_confidence, game_bound, one_run_bound
from raysynth.attacks.audit.units import Units, units_of
from raysynth.dp.accounting.odometer import record_use
from raysynth.errors import ParameterError
from raysynth.running.runner import in_this_process, run_tasks

if TYPE_CHECKING:
    from raysynth.dp.accounting.calibration import PrivacyBudget
    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.methods.base import Synthesizer
    from raysynth.training.canaries import GradientCanaries

ATTACKS = ("file", "gradients", "releases")
BY_DEFAULT = ATTACKS[:2]
FEWEST_REFITS = 32
GUESSED_SHARES = (0.2, 1.0)  # of the canaries: the surest fifth, and all


def audit_epsilon(
    synthesizer: Synthesizer,
    data: Any,
    *,
    canary: Mapping[str, Any] | None = None,
    n_refits: int = 200,
    n_canaries: int = 200,
    learning_share: float = 0.25,
    confidence: float = 0.95,
    attacks: Sequence[str] = BY_DEFAULT,
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
        n_refits: fits of 'file' and of 'releases', half of them with the canary; at least 32.
        n_canaries: of 'gradients'; no more than the network has weights.
        learning_share: of the refits, that the adversary learns on; they are not judged.
        confidence: of all bounds together.
        attacks: of 'file', 'gradients' and 'releases'; methods that do not train by DP-SGD have no 'gradients', and
            they alone have 'releases', which shows most of what they spend where categories are declared.
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
    if "releases" in wanted:
        worlds = units.with_canaries(0), units.with_canaries(1)
        found.append(_by_releases(model, worlds, n_refits, learning_share, each, scope.budget, where))
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
    n_learning, n_judged = _divided(n_refits, learning_share)
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


def _divided(n_refits: int, learning_share: float) -> tuple[int, int]:
    """Fits of each world that the adversary learns on, and that are judged."""
    n_learning = max(4, round(n_refits * learning_share / 2))
    return n_learning, n_refits // 2 - n_learning


def _by_releases(
    model: Synthesizer,
    worlds: tuple[Any, Any],
    n_refits: int,
    learning_share: float,
    confidence: float,
    budget: PrivacyBudget,
    where: str,
) -> AuditedAttack:
    n_learning, n_judged = _divided(n_refits, learning_share)
    fits = [i % 2 for i in range(2 * (n_learning + n_judged))]
    loss = partial(privacy_loss, model, worlds)
    losses = np.array(run_tasks(loss, fits, label="fits whose releases are weighed", where=where))
    return judged(losses[1::2], losses[0::2], n_learning, confidence, budget)


def _features(model: Synthesizer, worlds: Sequence[Any], world: int) -> dict[str, float]:
    with in_this_process():
        return features_of(model.clone().fit(worlds[world])._content())


def _guess(model: Synthesizer, worlds: Sequence[Any], decision: Decision, world: int) -> bool:
    return decision.says_in(_features(model, worlds, world))


# ---- one run with gradient canaries ----------------------------------------------------------------------------------


def _one_run(model: Synthesizer, units: Units, n_canaries: int) -> tuple[GradientCanaries, np.ndarray] | None:
    """The canaries after a fit, and which were in the data; None where nothing was trained by DP-SGD."""
    from raysynth.training.canaries import GradientCanaries, planted

    if model.max_rows_per_unit is None and model.can_resume:  # it trains, and who has which rows changes by the choice
        raise ParameterError(
            "canaries of gradients need to know how many rows of a person count: give max_rows_per_unit a number, or "
            "audit with attacks=['file']"
        )
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
    check_confidence(confidence)
    if isinstance(attacks, str) or not attacks or set(attacks) - set(ATTACKS):
        raise ParameterError(f"attacks must be a list of {' and '.join(map(repr, ATTACKS))}; found {attacks!r}")
