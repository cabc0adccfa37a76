"""A second accountant, for tests: epsilon of a ledger's JSON without the product's accountant.

Nothing here imports raysynth or dp-accounting. Poisson-subsampled Gaussians: Opacus' PRV accountant. Gaussians alone:
the closed form (Balle and Wang 2018). The rest: its own convolution of privacy losses on a grid, rounded upwards, so
that it errs by at most the grid's width times the number of losses. The loss of an exponential mechanism is the worst
of range epsilon (Dong, Durfee and Rogers 2020): P(loss > x) = sqrt(E) (sqrt(E) - e^(x / 2)) / (E - 1), E = e^epsilon.
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
    basic = [e for e in events if e.get("composition") == "basic"]
    joint = [e for e in events if e.get("composition") != "basic"]
    delta = content["delta"] - sum(e.get("delta", 0.0) * e["steps"] for e in basic)
    added = sum(e["epsilon"] * e["steps"] for e in basic)
    if not joint:
        return added, 0.0
    failing = sum(e["delta"] * e["steps"] for e in joint if e.get("epsilon") == 0.0 and e["mechanism"] == "approximate")
    joint = [e for e in joint if not (e.get("epsilon") == 0.0 and e["mechanism"] == "approximate")]
    if any(e.get("sampling_rate", 1.0) < 1 for e in joint):
        epsilon, error = _by_prv(joint, delta - failing)
    elif all(e["mechanism"] == "gaussian" for e in joint):
        precision = sum(e["steps"] / e["noise_multiplier"] ** 2 for e in joint)
        epsilon, error = _root(lambda x: _gaussian_delta(x, precision**-0.5), delta - failing), 1e-6
    else:
        epsilon, error = _by_convolution(joint, delta - failing)
    return added + epsilon, error


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


def _by_convolution(events: Sequence[dict[str, Any]], delta: float) -> tuple[float, float]:
    edges = np.arange(-HALF_RANGE, HALF_RANGE, WIDTH)
    spectrum, n_losses, lost = 1.0 + 0j, 0, 0.0
    precision = sum(e["steps"] / e["noise_multiplier"] ** 2 for e in events if e["mechanism"] == "gaussian")
    survivals: list[tuple[Callable[[np.ndarray], np.ndarray], int]] = []
    if precision:
        mu = precision / 2
        survivals.append((lambda x: ndtr((mu - x) / math.sqrt(2 * mu)), 1))
    for e in events:
        if e["mechanism"] == "exponential":
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

    def delta_at(epsilon: float) -> float:
        return lost + float((total * np.maximum(1 - np.exp(np.minimum(epsilon - edges, 0.0)), 0.0)).sum())

    return _root(delta_at, delta), n_losses * WIDTH


def _exponential_survival(epsilon: float) -> Callable[[np.ndarray], np.ndarray]:
    root = math.exp(epsilon / 2)
    return lambda x: np.clip(root * (root - np.exp(np.minimum(x, epsilon) / 2)) / math.expm1(epsilon), 0.0, 1.0)


def _randomised_survival(epsilon: float) -> Callable[[np.ndarray], np.ndarray]:
    p = 1 / (1 + math.exp(-epsilon))
    return lambda x: np.where(x < -epsilon, 1.0, np.where(x < epsilon, p, 0.0))


def _root(delta_at: Callable[[float], float], delta: float) -> float:
    low, high = 0.0, HALF_RANGE
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_at(middle) > delta else (low, middle)
    return high
