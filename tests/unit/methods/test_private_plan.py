"""The plan of DP-SGD is what was charged, and draws its noise where the fit does."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.api import new_synthesizer
from raysynth.dp import InsecureSeededNoise, OsNoise, PrivacyBudget, PrivacyScope, SecureNoise
from raysynth.fitting.opening import privacy_scope
from raysynth.fitting.private_run import spending_plan
from raysynth.methods.registry import METHODS, synthesizer_class

BUDGET = PrivacyBudget(2.0, 1e-5)
ASKED = {"batch_size": 400, "epochs": 2, "clip_norm": 0.7}


def test_what_is_run_is_what_was_charged() -> None:
    scope = PrivacyScope(BUDGET)
    scope.release_row_count(4000)
    plan = spending_plan(scope, "gradients", **ASKED)  # type: ignore[arg-type]
    event = scope.ledger.events[-1]
    assert (plan.noise_multiplier, plan.sampling_rate, plan.steps) == (
        event.noise_multiplier,
        event.sampling_rate,
        event.steps,
    )
    assert plan.clip == event.sensitivity == 0.7 and plan.steps_per_epoch * 2 == event.steps
    assert plan.expected_batch == pytest.approx(400), "q times the noised number of rows"
    assert event.sampling_rate == 400 / scope.n_rows and scope.spent.epsilon <= 2.0


def test_noise_and_draws_come_from_where_the_fit_says() -> None:
    for noise, wanted in ((None, OsNoise), (SecureNoise(), SecureNoise), (InsecureSeededNoise(3), InsecureSeededNoise)):
        scope = PrivacyScope(BUDGET, noise=noise, n_rows=4000)
        plan = spending_plan(scope, "gradients", **ASKED)  # type: ignore[arg-type]
        sources = [plan.noise(purpose) for purpose in ("gradients", "batches of worker 0")]
        assert {type(s) for s in sources} == {wanted}
        again = [plan.noise(purpose) for purpose in ("gradients", "batches of worker 0")]
        repeats = [np.array_equal(a.uniform(4), b.uniform(4)) for a, b in zip(sources, again, strict=True)]
        assert repeats == [wanted is InsecureSeededNoise] * 2
        assert scope.ledger.events[-1].guarantee is (wanted is not InsecureSeededNoise)


@pytest.mark.parametrize("method", [m for m in METHODS if synthesizer_class(m).has_differential_privacy])
def test_a_users_seed_reaches_no_noise_and_secure_mode_does(method: str) -> None:
    plain = privacy_scope(new_synthesizer(method, epsilon=1.0, seed=7))
    secure = privacy_scope(new_synthesizer(method, epsilon=1.0, seed=7, secure_mode=True))
    assert plain is not None and type(plain.noise) is OsNoise
    assert secure is not None and type(secure.noise) is SecureNoise and secure.secure_mode
