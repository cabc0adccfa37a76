"""Shadow models: the attacker fits the method to tables of its own making, some with and some without each target.

One set of models serves all targets: each target is in a random half of the shadow tables (the design of Carlini et al.
2022), the rest of each table is drawn from the reference sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from raysynth.attacks.attack import MembershipAttack, Records, View
from raysynth.comparison.rows import RowSpace
from raysynth.errors import DataError, ParameterError
from raysynth.running.progress import progress
from raysynth.running.runner import iter_tasks

R = TypeVar("R")
N_SHADOWS = 16


class ShadowAttack(MembershipAttack):
    """An attack that learns from shadow models what the attacked one should look like with and without a target.

    A subclass says what it looks at (`look`) and how it tells (`tell`); both serve campaigns too, where every trial's
    model is a shadow of the others.

    Args:
        n_shadows: models that the attacker fits.
    """

    in_one_go: ClassVar[bool] = True

    def __init__(self, n_shadows: int = N_SHADOWS) -> None:
        if n_shadows < 4:
            raise ParameterError(f"n_shadows must be at least 4; found {n_shadows!r}")
        self.n_shadows = n_shadows

    def look(self, targets: Records, view: View, seed: int) -> np.ndarray:
        """What the attacker reads off a synthetic table or model of each target (N, F); one seed for all models."""
        raise NotImplementedError

    def tell(self, found_NF: np.ndarray, shadows_SNF: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
        """Scores (N,) from what was found and what S shadows gave, of which `inside_SN` held a target."""
        raise NotImplementedError

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Fit the shadow models, look at each of them and at the attacked one, and tell."""
        plan = shadow_plan(len(targets), view, self.n_shadows, rng)
        look_seed, seed = (int(s) for s in rng.integers(2**31, size=2))
        look = partial(self.look, targets, seed=look_seed)
        shadows_SNF = np.array(from_shadows(plan, targets, view, look, seed))
        return self.tell(self.look(targets, view, look_seed), shadows_SNF, plan.inside_ST)


@dataclass(frozen=True)
class ShadowPlan:
    """Which targets each shadow table holds.

    Args:
        inside_ST: whether shadow S holds target T.
        n_reference: reference rows in each shadow table, beside the targets.
    """

    inside_ST: np.ndarray
    n_reference: int


def shadow_plan(n_targets: int, view: View, n_shadows: int, rng: np.random.Generator) -> ShadowPlan:
    """Each target in exactly half of the shadow tables; tables as large as the training table where there are rows."""
    assert view.reference is not None
    half = np.arange(n_shadows) < n_shadows // 2
    inside_TS = np.array([rng.permutation(half) for _ in range(n_targets)])
    wanted = max(view.n_training - n_targets // 2, 0)
    n_reference = min(wanted, len(view.reference))
    if n_reference + n_targets // 2 < 20:
        raise DataError("too few rows for shadow models; give a larger holdout")
    return ShadowPlan(inside_TS.T, n_reference)


def from_shadows(plan: ShadowPlan, targets: Records, view: View, look: Callable[[View], R], seed: int) -> list[R]:
    """What `look` gives at the view of each shadow model; several are fitted at a time, on Ray where it runs."""
    work = partial(_one_shadow, plan, targets, view, look, seed)
    results: dict[int, R] = {}
    with progress("Shadow models", len(plan.inside_ST)) as advance:
        for index, result in iter_tasks(work, range(len(plan.inside_ST))):
            results[index] = result
            advance(1)
    return [results[i] for i in range(len(plan.inside_ST))]


def fit_quietly(method: Any, table: Any, seed: int) -> Any:
    """A fresh model of a method, fitted to a table without a word."""
    model = method.clone()
    model.set_params(verbose=False, seed=seed)
    return model.fit(table)


def _one_shadow(
    plan: ShadowPlan,
    targets: Records,
    view: View,
    look: Callable[[View], R],
    seed: int,
    index: int,
) -> R:
    assert view.reference is not None
    rng = np.random.default_rng([seed, index])
    inside = targets.take(np.flatnonzero(plan.inside_ST[index]))
    table = inside.joined(view.reference.sample(plan.n_reference, rng)).table
    fit_seed, sample_seed = (int(s) for s in rng.integers(2**31, size=2))
    model = fit_quietly(view.method, table, fit_seed)
    synthetic = published(model, len(view.synthetic), sample_seed, view.synthetic.rows.space)
    return look(replace(view, synthetic=synthetic, model=model))


def published(model: Any, n_rows: int, seed: int, space: RowSpace) -> Records:
    """The synthetic table that a model publishes."""
    table = model.sample_arrow(n_rows, seed=seed)
    return Records(space.encode(table.select(list(space.names))), table)
