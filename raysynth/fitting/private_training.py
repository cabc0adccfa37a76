"""How a neural method spends what a privacy budget has left: one plan of DP-SGD, charged before the first step.

What is drawn in each step are units: rows, or with a privacy unit of several rows one row of each unit that is drawn.

Defaults under a budget, where the user left them open: batches of a 25th of the (noised)
number of units, from 256 to 4,096, since the noise of a step does not grow with its batch; gradients clipped to an L2
norm of 1. Rows are never held back, and neither training's end nor its best weights are chosen by a loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from raysynth.dp.accounting.ledger import subsampled_gaussian
from raysynth.dp.accounting.second_opinion import checked_by
from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.dp.mechanisms.noise import InsecureSeededNoise

if TYPE_CHECKING:
    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.fitting.private_run import PrivateRun, Releases


class UnderBudget(Protocol):
    """Prepared rows or sequences that may be under a budget, and the record of a fit that is kept."""

    @property
    def privacy(self) -> PrivacyScope | None:
        """What pays; None without a budget."""

    @property
    def private_run(self) -> PrivateRun | None:
        """None where nothing is kept."""


def private_batch_size(n_units: int) -> int:
    """Expected rows of a batch by the noised number of units; a multiple of 8."""
    return int(np.clip(n_units // 25 // 8 * 8, 256, 4096))


def charged_plan(
    prepared: UnderBudget,
    released: str,
    *,
    batch_size: int,
    epochs: int,
    clip_norm: float,
    releases: Releases | None = None,
) -> DpSgdPlan:
    """A plan of DP-SGD that spends all that is left, already in the ledger; a fit that goes on has its earlier one.

    Args:
        prepared: under a budget, after its statistics.
        released: what is released, for the ledger.
        batch_size: expected rows of a batch; all units in each step where there are fewer.
        epochs: passes over the units.
        clip_norm: of each row's gradient.
        releases: what else the fit has released for training, which one that goes on must take as it is.

    Raises:
        ParameterError: the budget is too small; says how small and what would do.
    """
    scope, run = prepared.privacy, prepared.private_run
    if scope is None:
        raise ValueError("a plan is charged under a privacy budget only")
    if run is not None and run.plan is not None:
        return run.plan
    plan = spending_plan(scope, released, batch_size=batch_size, epochs=epochs, clip_norm=clip_norm)
    return plan if run is None else run.charged(plan, releases)


def spending_plan(scope: PrivacyScope, released: str, *, batch_size: int, epochs: int, clip_norm: float) -> DpSgdPlan:
    """A plan of DP-SGD that spends all that a scope has left, already in its ledger; arguments of `charged_plan`."""
    q = min(1.0, batch_size / scope.n_units)
    steps = epochs * max(1, round(1 / q))
    sigma = scope.noise_multiplier_for(q, steps)
    planned = subsampled_gaussian(released, sigma, sampling_rate=q, steps=steps, sensitivity=clip_norm)
    checked = checked_by(planned, scope.budget.delta) if scope.asks_twice else ""
    scope.charge(replace(planned, checked=checked))
    return DpSgdPlan(
        clip=clip_norm,
        noise_multiplier=sigma,
        sampling_rate=q,
        expected_batch=q * scope.n_units,
        steps=steps,
        secure_mode=scope.secure_mode,
        insecure_seed=scope.noise.seed if isinstance(scope.noise, InsecureSeededNoise) else None,
    )


def releasable_history(history: list[dict[str, float]], privacy_spent: Any) -> list[Mapping[str, float]]:
    """What a model file may hold of `history_`: under a budget nothing, since losses are exact."""
    return [] if privacy_spent is not None else list(history)
