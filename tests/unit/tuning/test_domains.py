"""What a parameter may be: values of a list, or numbers between two; anything else is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raysynth.errors import ParameterError
from raysynth.tuning.trials import Domain, checked_space


def test_a_list_gives_its_values_and_a_pair_the_numbers_between() -> None:
    rng = np.random.default_rng(0)
    layers, whole, real = (Domain.of("p", v) for v in ([[64], [64, 64], [64]], (2, 4), (0.5, 1.0)))
    assert {layers.draw(rng) for _ in range(30)} == {(64,), (64, 64)}
    assert {whole.draw(rng) for _ in range(60)} == {2, 3, 4}
    assert all(0.5 <= real.draw(rng) <= 1.0 for _ in range(30))
    assert [d.size for d in (layers, whole, real)] == [2, 3, math.inf]


@pytest.mark.parametrize("given", [7, [], (2, 1), "ab", (1, 2, 3)])
def test_anything_else_is_named(given: object) -> None:
    with pytest.raises(ParameterError, match=r"search_space: 'p' must be a list of values, or a pair"):
        Domain.of("p", given)


def test_a_method_declares_values_that_a_search_tries() -> None:
    space = checked_space({"copula": None, "tvae": {"latent_dim": (4, 8)}})
    assert space["copula"]["n_bins"] == [12, 24, 48] and space["tvae"] == {"latent_dim": (4, 8)}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"copula": {"bins": [3]}}, "'copula' has no parameter 'bins'; it has: marginals, n_bins"),
        ({"copula": {"n_bins": [12, 1000]}}, "n_bins must be a whole number from 4 to 200; found 1000"),
        ({"tvae": {"warm_up": (0.1, 1.5)}}, "warm_up must be a number from 0 to 1; found 1.5"),
        ({"tvae": {"schedule": ["cosine", "step"]}}, "schedule must be 'constant' or 'cosine'; found 'step'"),
    ],
)
def test_a_space_outside_the_declared_ranges_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        checked_space(space)
