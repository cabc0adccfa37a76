"""What discrete noise costs, against enumeration of its law for every way in which a unit can change counts."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from outcome import value_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from independent_accountant import recomputed_epsilon

from raysynth.dp import total_epsilon
from raysynth.dp.accounting import ledger
from raysynth.dp.accounting.ledger import closeness, continuous_multiplier
from raysynth.errors import ParameterError

DELTA = 1e-5


def exact_epsilon(changes: list[tuple[int, float]], delta: float) -> float:
    """Epsilon of independent counts that change by whole numbers, (change, sigma) each: all outcomes are enumerated."""
    losses, mass = np.zeros(1), np.ones(1)
    for change, sigma in changes:
        k = np.arange(-math.ceil(9 * sigma), math.ceil(9 * sigma) + 1)
        p = np.exp(-(k**2) / (2 * sigma**2))
        own = ((k - change) ** 2 - k**2) / (2 * sigma**2)
        losses = np.add.outer(losses, own).reshape(-1)
        mass = np.multiply.outer(mass, p / p.sum()).reshape(-1)
    low, high = 0.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        found = float((mass * np.maximum(-np.expm1(np.minimum(middle - losses, 0)), 0)).sum())
        low, high = (middle, high) if found > delta else (low, middle)
    return high


@pytest.mark.parametrize(("sigma", "steps"), [(0.7, 1), (0.7, 2), (3.0, 2), (6.0, 1), (40.0, 1)])
def test_known_changes_cost_what_the_law_says(sigma: float, steps: int) -> None:
    exact = exact_epsilon([(1, sigma)] * steps, DELTA)
    found = total_epsilon([ledger.discrete_gaussian("x", sigma, steps=steps)], DELTA)
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 1.01 + 1e-4
    levels = ledger.discrete_gaussian("x", sigma / math.sqrt(steps), coordinates=steps)
    assert total_epsilon([levels], DELTA) == pytest.approx(found, rel=1e-9)


def test_the_continuous_figure_is_too_low_for_little_noise() -> None:
    """The issue's example: sigma 0.7 costs 6.96, and continuous noise of the same 6.65."""
    discrete = total_epsilon([ledger.discrete_gaussian("x", 0.7)], DELTA)
    continuous = total_epsilon([ledger.gaussian("x", 0.7)], DELTA)
    assert discrete == pytest.approx(6.96, abs=0.02) and continuous == pytest.approx(6.65, abs=0.02)


def partitions(total: int, most: int | None = None) -> list[list[int]]:
    """Whole numbers >= 1 whose sum is `total`."""
    if total == 0:
        return [[]]
    firsts = range(min(total, most or total), 0, -1)
    return [[first, *rest] for first in firsts for rest in partitions(total - first, first)]


@pytest.mark.parametrize(("rows", "multiplier"), [(2, 1.5), (3, 1.0), (3, 2.0), (4, 0.8)])
def test_units_of_several_rows_cost_no_more_than_charged_however_they_split(rows: int, multiplier: float) -> None:
    """Enumerated: `rows` rows in one, two or three cells (more cells change less)."""
    claimed = total_epsilon([ledger.discrete_gaussian("x", multiplier, rows=rows)], DELTA)
    ways = [p for n in range(1, rows + 1) for p in partitions(n) if len(p) <= 3]
    worst = max(exact_epsilon([(change, multiplier * rows) for change in way], DELTA) for way in ways)
    assert worst <= claimed
    sigma = multiplier * rows
    assert claimed <= worst * (1.05 if sigma**2 > 35 else 1.3 if sigma**2 > 8 else 1.7)


def test_the_bound_costs_nothing_but_for_little_noise() -> None:
    wide = ledger.discrete_gaussian("x", 10.0, rows=5)
    assert continuous_multiplier(wide) == pytest.approx(10.0, rel=1e-3) and closeness(wide) < 1e-10
    narrow = ledger.discrete_gaussian("x", 1.0, known=False)
    assert 1e-4 < closeness(narrow) < 0.01
    assert total_epsilon([ledger.discrete_gaussian("x", 0.1, known=False)], DELTA) == math.inf


def test_a_mixed_ledger_is_recomputed_by_an_independent_convolution() -> None:
    events = [
        ledger.laplace("number of rows", 0.02, composition="basic"),
        *(ledger.discrete_gaussian(f"counts of '{i}'", 26.0) for i in range(6)),
        ledger.discrete_gaussian("histogram of 'a'", 26.0, coordinates=3),
        ledger.discrete_gaussian("histogram of 'b'", 31.0, known=False),
        ledger.discrete_gaussian("tables", 30.0, steps=30),
        ledger.exponential("choice", 0.04, steps=30),
        ledger.gaussian("moments", 12.0),
    ]
    claimed = total_epsilon(events, DELTA)
    content = {"delta": DELTA, "ledger": ledger.Ledger(events).to_dict()}
    found, error = recomputed_epsilon(content)
    assert abs(claimed - found) <= error + 5e-3 * claimed
    continuous = [
        ledger.gaussian(e.released, e.noise_multiplier or 1.0) if e.mechanism == "discrete_gaussian" else e
        for e in events
        for _ in range(e.steps if e.mechanism == "discrete_gaussian" else 1)
    ]
    assert claimed == pytest.approx(total_epsilon(continuous, DELTA), rel=0.01), "at this noise it costs hardly more"


def test_wide_noise_is_bounded_at_once_and_hardly_dearer() -> None:
    wide, exact = (ledger.discrete_gaussian("x", sigma, steps=10_000) for sigma in (1_001.0, 999.0))
    assert total_epsilon([exact], DELTA) == pytest.approx(total_epsilon([wide], DELTA), rel=0.01)
    assert total_epsilon([ledger.discrete_gaussian("x", 1e7)], DELTA) < 1e-5


def test_ledgers_name_the_distribution_and_refuse_what_no_fit_charges() -> None:
    event = ledger.discrete_gaussian("x", 3.0, coordinates=4)
    again = ledger.Ledger.from_json(ledger.Ledger([event]).to_json()).events
    assert again == (event,) and event.sensitivity == 2.0 and event.coordinates == 4
    of_several = value_of(lambda: ledger.discrete_gaussian("x", 3.0, coordinates=4, rows=2))
    of_at_least = value_of(lambda: ledger.discrete_gaussian("x", 3.0, coordinates=4, known=False))
    assert of_several.coordinates == of_at_least.coordinates == 0, "which changes are possible is not known"
    assert '"discrete_gaussian"' in ledger.Ledger([event]).to_json()
    for wrong in ({"sensitivity": 0.5}, {"sampling_rate": 0.5}, {"coordinates": 3}, {"noise_multiplier": 0.0}):
        with pytest.raises(ParameterError):
            ledger.Event(ledger.Mechanism.DISCRETE_GAUSSIAN, "x", **{"noise_multiplier": 1.0, **wrong})  # type: ignore[arg-type]
