"""Epsilon of every private method, recomputed from the ledger's JSON by an accountant that is not the product's."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import BY_SGD as TABLES
from tiny import tiny

from raysynth.api import new_synthesizer
from raysynth.methods.registry import METHODS, synthesizer_class

EPSILONS = (0.5, 1.0, 3.0, 8.0)
DELTA = 1e-5
WITHOUT_SGD = ("bayesian_network", "copula")
BATCH: dict[str, Any] = {"batch_size": 100}
GAN = {**BATCH, "pac": 1}
BY_SGD = tiny(
    TABLES,
    gan=GAN,
    ctgan=GAN,
    conditional_gan={**GAN, "conditional_columns": ["a", "b"]},
    tvae=BATCH,
    dp_tvae=BATCH,
    autoregressive=BATCH,
)
OF_A_KEY: dict[str, Any] = {"sequence_key": "key", "sequence_length": 3}
OF_SEQUENCES = tiny(
    ("timegan", "autoregressive_sequences"), timegan=OF_A_KEY, autoregressive_sequences={**OF_A_KEY, **BATCH}
)
ALL = (*WITHOUT_SGD, *BY_SGD, *OF_SEQUENCES)
# one epsilon a method, each of the four with some; the other pairs are `slow`
USUAL = {(method, EPSILONS[i % len(EPSILONS)]) for i, method in enumerate(ALL)}
CASES = [
    pytest.param(method, epsilon, marks=() if (method, epsilon) in USUAL else pytest.mark.slow)
    for method in ALL
    for epsilon in EPSILONS
]


def rows(n: int = 1000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.choice(list("xyw"), n), "b": rng.choice(list("uv"), n), "x": rng.normal(size=n)})


def visits(n: int = 1000) -> pd.DataFrame:
    """Sequences of one to five rows, a column of their own, and a category that nobody declares."""
    rng = np.random.default_rng(0)
    key = np.repeat(np.arange(n), rng.integers(1, 6, n))
    return rows(len(key)).assign(key=key, own=np.where(key % 3 == 0, "p", "q"))


def test_no_private_method_is_left_out() -> None:
    private = {m for m in METHODS if synthesizer_class(m).has_differential_privacy}
    assert private == set(ALL) == {m for m, _ in USUAL} and {e for _, e in USUAL} == set(EPSILONS)
    assert len(CASES) == len(private) * len(EPSILONS) == 40


@pytest.mark.parametrize(("method", "epsilon"), CASES)
def test_the_claim_is_at_least_what_another_accountant_finds(
    method: str, epsilon: float, accountant: ModuleType
) -> None:
    """The ledger is fixed before training begins, so two passes say all; the whole model is fitted nevertheless."""
    by_sgd = {**BY_SGD, **OF_SEQUENCES}
    parameters = {**by_sgd[method], "epochs": 2} if method in by_sgd else {}
    parameters |= {"static_columns": ["own"]} if method in OF_SEQUENCES else {}
    data = visits() if method in OF_SEQUENCES else rows()
    model = new_synthesizer(method, epsilon=epsilon, delta=DELTA, verbose=False, **parameters).fit(data)
    spent = model.privacy_spent_
    assert spent is not None and spent.guarantee and spent.delta == DELTA
    assert 0.9 * epsilon <= spent.epsilon <= epsilon, "the budget is spent, and no more"
    ledger = json.loads(json.dumps(spent.to_dict()))
    assert any(e.get("sampling_rate", 1.0) < 1 for e in ledger["ledger"]["events"]) == (method in by_sgd)
    found, error = accountant.recomputed_epsilon(ledger)
    assert found <= spent.epsilon * 1.01 + error
    assert found >= 0.9 * spent.epsilon, "the claim is no loose bound either"
