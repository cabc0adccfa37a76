"""Every method keeps the promises of `check_synthesizer`, and a method that breaks one is named with the promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pandas as pd
import pytest
from tiny import tiny

from raysynth import check_synthesizer
from raysynth.methods.conformance import CHECKS
from raysynth.methods.copula.synthesizer import GaussianCopula
from raysynth.methods.fitted import Fitted
from raysynth.methods.registry import METHODS, synthesizer_class

GAN = {"epochs": 1, "batch_size": 60}
EPOCH: dict[str, Any] = {"epochs": 1}
SMALL = tiny(
    tuple(METHODS),
    gan=GAN,
    ctgan=GAN,
    conditional_gan={**GAN, "conditional_columns": ["kind"]},
    tvae=EPOCH,
    dp_tvae=EPOCH,
    bayesian_network={"restarts": 0},
    timegan=EPOCH,
    autoregressive=EPOCH,
    autoregressive_sequences=EPOCH,
)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_its_promises(method: str) -> None:
    assert check_synthesizer(synthesizer_class(method), **SMALL[method]) == tuple(check.__name__ for check in CHECKS)


class Forgetful(GaussianCopula):
    """Does not look at the seed of sampling, nor at conditions."""

    method: ClassVar[str] = "forgetful"

    def sample(self, n_samples: int | None = None, conditions: Any = None, seed: int | None = None) -> pd.DataFrame:
        return super().sample(n_samples, None, None if n_samples == 20 else seed).astype({"count": "float64"})


class Secretive(GaussianCopula):
    """Checks nothing, and says nothing of its budget."""

    method: ClassVar[str] = "copula"

    def _check_parameters(self) -> None:
        pass

    def _learn(self, *given: Any) -> Fitted:
        return replace(super()._learn(*given), privacy_spent=None)


@pytest.mark.parametrize(
    ("cls", "promises"),
    [
        (Forgetful, ("types_come_back: .*'count' is float64", "conditions_are_met")),
        (
            Secretive,
            ("values_out_of_range_are_refused", "a_file_holds_the_model", "a_budget_is_kept_or_refused"),
        ),
    ],
)
def test_a_broken_promise_is_named(cls: type[GaussianCopula], promises: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError) as failed:
        check_synthesizer(cls)
    for promise in promises:
        assert failed.match(promise)
    assert f"{cls.__name__} breaks {len(str(failed.value).splitlines()) - 1} promise(s)" in str(failed.value)
