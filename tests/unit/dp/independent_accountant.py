"""A second accountant, for tests: epsilon of a ledger's JSON without the product's accountant.

Nothing here imports raysynth or dp-accounting. Poisson-subsampled Gaussians: Opacus' PRV accountant. Gaussians alone:
the closed form (Balle and Wang 2018). The rest, sampled Gaussians beside others too: its own convolution of privacy
losses on a grid, rounded upwards, so that it errs by at most the grid's width times the number of losses. Discrete
Gaussians: the exact law of one count where all changes are known; else continuous ones of a variance less by 1.25^2,
which dominate them (Peikert 2010's rounding; `dp/accounting/ledger.py` has the argument). The loss of an exponential
mechanism is the worst of range epsilon (Dong, Durfee and Rogers 2020): P(loss > x) = sqrt(E) (sqrt(E) - e^(x / 2)) / (E
- 1), E = e^epsilon. A private selection: theorem 2 or 6 of Papernot and Steinke 2022 evaluated anew on a fine grid of
orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr

PRV_ERROR = 1e-3
WIDTH = 5e-5
HALF_RANGE = 40.0


def recomputed_epsilon(content: dict[str, Any]) -> tuple[float, float]:
    """(epsilon, its own error) of `model.privacy_spent_.to_dict()` at its delta."""
    events = [e for e in content["ledger"]["events"] if e["mechanism"] != "not_covered"]
    for e in events:
        if e["mechanism"] == "selection":
            assert _selection(e) <= 1.01 * e["epsilon"], "the theorems allow no smaller epsilon"
    basic = [e for e in events if e.get("composition") == "basic"]
    joint = [e for e in events if e.get("composition") != "basic"]
    delta = content["delta"] - sum(e.get("delta", 0.0) * e["steps"] for e in basic)
    added = sum(e["epsilon"] * e["steps"] for e in basic)
    if not joint:
        return added, 0.0
    joint = [
        _as_continuous(e) if e["mechanism"] == "discrete_gaussian" and not e.get("coordinates") else e for e in joint
    ]
    failing = sum(e["delta"] * e["steps"] for e in joint if e.get("epsilon") == 0.0 and e["mechanism"] == "approximate")
    joint = [e for e in joint if not (e.get("epsilon") == 0.0 and e["mechanism"] == "approximate")]
    gaussian = all(e["mechanism"] == "gaussian" for e in joint)
    if gaussian and any(_is_sampled(e) for e in joint):
        epsilon, error = _by_prv(joint, delta - failing)
    elif gaussian:
        precision = sum(e["steps"] / e["noise_multiplier"] ** 2 for e in joint)
        epsilon, error = _root(lambda x: _gaussian_delta(x, precision**-0.5), delta - failing), 1e-6
    else:
        ways = [_by_convolution(joint, delta - failing, more) for more in (False, True)]
        epsilon, error = max(ways)
    return added + epsilon, error


def _as_continuous(e: dict[str, Any]) -> dict[str, Any]:
    sigma = e["noise_multiplier"] * e["sensitivity"]
    assert sigma**2 > 8, "for less noise the argument costs something"
    return {**e, "mechanism": "gaussian", "noise_multiplier": math.sqrt(sigma**2 - 1.25**2) / e["sensitivity"]}


def _selection(e: dict[str, Any]) -> float:
    """Epsilon at the event's delta of the best of K Gaussians of its noise multiplier."""
    orders = 1 + np.geomspace(0.01, e["most_order"] - 1, 4000)
    one, mean = orders / (2 * e["noise_multiplier"] ** 2), e["mean_runs"]
    if e["law"] == "geometric":
        curve = one + 2 * ((1 - 1 / orders) * one + math.log(mean) / orders).min() + math.log(mean) / (orders - 1)
    else:
        hat = np.log1p(1 / (orders - 1))[:, None]
        fixed = orders * np.log1p(-1 / orders) - np.log(orders - 1)
        deltas = np.exp(((orders - 1) * (one - hat) + fixed).min(axis=1))
        curve = one + mean * np.minimum(deltas, 1) + math.log(mean) / (orders - 1)
    found = curve + np.log1p(-1 / orders) - np.log(e["delta"] * orders) / (orders - 1)
    return float(found.min())


def _by_prv(events: Sequence[dict[str, Any]], delta: float) -> tuple[float, float]:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    for e in events:
        assert e["mechanism"] == "gaussian"
        accountant.history.append((e["noise_multiplier"], e.get("sampling_rate", 1.0), e["steps"]))
    return float(accountant.get_epsilon(delta, eps_error=PRV_ERROR)), PRV_ERROR


def _gaussian_delta(epsilon: float, sigma: float) -> float:
    a, b = 1 / (2 * sigma), epsilon * sigma
    return float(ndtr(a - b) - math.exp(epsilon + log_ndtr(-a - b)))


def _is_sampled(event: dict[str, Any]) -> bool:
    return bool(event.get("sampling_rate", 1.0) < 1)


def _by_convolution(events: Sequence[dict[str, Any]], delta: float, more: bool) -> tuple[float, float]:
    """One direction: whether the table at hand has one unit more or less; only sampled steps tell these apart."""
    edges = np.arange(-HALF_RANGE, HALF_RANGE, WIDTH)
    spectrum, n_losses, lost = 1.0 + 0j, 0, 0.0
    plain = [e for e in events if e["mechanism"] == "gaussian" and not _is_sampled(e)]
    precision = sum(e["steps"] / e["noise_multiplier"] ** 2 for e in plain)
    survivals: list[tuple[Callable[[np.ndarray], np.ndarray], int]] = []
    if precision:
        mu = precision / 2
        survivals.append((lambda x: ndtr((mu - x) / math.sqrt(2 * mu)), 1))
    for e in events:
        if _is_sampled(e):
            survivals.append((_sampled_survival(e["noise_multiplier"], e["sampling_rate"], more), e["steps"]))
        elif e["mechanism"] == "discrete_gaussian":
            survival = _discrete_survival(e["noise_multiplier"] * e["sensitivity"])
            survivals.append((survival, e["steps"] * e["coordinates"]))
        elif e["mechanism"] == "exponential":
            survivals.append((_exponential_survival(e["epsilon"]), e["steps"]))
        elif e["mechanism"] != "gaussian":
            survivals.append((_randomised_survival(e["epsilon"]), e["steps"]))
            lost += e.get("delta", 0.0) * e["steps"]
    zero = int(round(HALF_RANGE / WIDTH))
    for survival, steps in survivals:
        above = survival(edges)
        mass = np.append(above[:-1] - above[1:], 0.0)  # of (edge i, edge i + 1], put at its upper end
        mass = np.roll(mass, 1)
        lost += steps * float(above[-1])
        spectrum = spectrum * np.fft.rfft(np.roll(mass, -zero)) ** steps
        n_losses += steps
    total = np.roll(np.fft.irfft(spectrum, len(edges)), zero)

    from_above = np.append(np.cumsum(total[::-1])[::-1], 0.0)  # of the losses at and above each edge
    weighted = np.append(np.cumsum((total * np.exp(-np.maximum(edges, 0.0)))[::-1])[::-1], 0.0)

    def delta_at(epsilon: float) -> float:
        first = int(np.searchsorted(edges, epsilon, "right"))
        return lost + float(from_above[first] - math.exp(epsilon) * weighted[first])

    return _root(delta_at, delta), n_losses * WIDTH


def _exponential_survival(epsilon: float) -> Callable[[np.ndarray], np.ndarray]:
    root = math.exp(epsilon / 2)
    return lambda x: np.clip(root * (root - np.exp(np.minimum(x, epsilon) / 2)) / math.expm1(epsilon), 0.0, 1.0)


def _discrete_survival(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    """P(loss > x) of one count: the loss is (1 - 2 y) / (2 sigma^2) at the noise y, so y < 1 / 2 - sigma^2 x."""
    k = np.arange(-math.ceil(40 * sigma) - 1, math.ceil(40 * sigma) + 2)
    weight = np.exp(-(k**2) / (2 * sigma**2))
    below = np.append(0.0, np.cumsum(weight)) / weight.sum()  # P(y < k)
    return lambda x: below[np.searchsorted(k, 0.5 - sigma**2 * x, side="left")]


def _sampled_survival(sigma: float, q: float, more: bool) -> Callable[[np.ndarray], np.ndarray]:
    """P(loss > x) of one Poisson-sampled Gaussian: log(1 - q + q e^((2 y - 1) / (2 sigma^2))) rises with the output y.

    With one unit more y is a mixture of N(0, sigma^2) and N(1, sigma^2); with one less it is N(0, sigma^2), and the
    loss is the negative.
    """

    def output(loss: np.ndarray) -> np.ndarray:
        odds = np.expm1(loss) + q
        return np.where(odds > 0, sigma**2 * np.log(np.maximum(odds, 1e-300) / q) + 0.5, -np.inf)

    if more:
        return lambda x: (1 - q) * ndtr(-output(x) / sigma) + q * ndtr((1 - output(x)) / sigma)
    return lambda x: ndtr(output(-x) / sigma)


def _randomised_survival(epsilon: float) -> Callable[[np.ndarray], np.ndarray]:
    p = 1 / (1 + math.exp(-epsilon))
    return lambda x: np.where(x < -epsilon, 1.0, np.where(x < epsilon, p, 0.0))


def _root(delta_at: Callable[[float], float], delta: float) -> float:
    low, high = 0.0, HALF_RANGE
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_at(middle) > delta else (low, middle)
    return high
