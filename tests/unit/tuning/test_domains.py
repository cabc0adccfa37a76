"""What a parameter may be: values of a list, or numbers between two; anything else is named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raysynth.errors import ParameterError
from raysynth.tuning.domains import Domain


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
