"""A second accountant looks at a planned training before its first step: Opacus' PRV, in a child process.

Gopi, Lee and Wutschitz 2021, "Numerical composition of differential privacy" (arXiv 2106.02848), as Opacus has it:
another method and other code than ours. It bounds epsilon from below and above to a stated error; our figure, an upper
bound of privacy loss distributions, must lie between, but for that error and our own rounding. It takes a second for
most plans and for ever for some (small rates over many steps), so it has a time limit, and a plan without an answer is
written down as not checked. All that it sees is public.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import lru_cache

from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.ledger import Event, subsampled_gaussian
from raysynth.errors import TrainingError

SECONDS = 20.0  # Opacus brings torch, which takes some of them; 0: no plan is checked
NOT_CHECKED = "not checked"
RELATIVE_ERROR = 0.01  # asked of the other accountant, of our epsilon
OURS = 0.02  # of epsilon: by so much our pessimistic rounding may be above its upper bound
_CHILD = """
import json, sys
from opacus.accountants import PRVAccountant
rate, sigma, steps, delta, error = json.load(sys.stdin)
accountant = PRVAccountant()
accountant.history.append((sigma, rate, steps))
bounds = accountant._get_dprv(eps_error=error, delta_error=delta / 1000).compute_epsilon(delta, delta / 1000, error)
print(json.dumps([float(x) for x in bounds]))
"""


def checked_by(event: Event, delta: float) -> str:
    """What the second accountant says of a planned training, for the ledger: its bounds, or that it was not checked.

    Args:
        event: Poisson-sampled Gaussian steps.
        delta: at which both figures are compared.

    Raises:
        TrainingError: it disagrees beyond the stated errors; nothing was trained.
    """
    assert event.noise_multiplier is not None
    bounds = prv_bounds(event.sampling_rate, event.noise_multiplier, event.steps, delta, SECONDS)
    if bounds is None:
        return NOT_CHECKED
    low, high = bounds
    ours = total_epsilon((event,), delta)
    if not low * (1 - RELATIVE_ERROR) <= ours <= high * (1 + OURS) + RELATIVE_ERROR:
        raise TrainingError(
            f"two accountants disagree on '{event.released}': epsilon {ours:.6g} by ours, {low:.6g} to {high:.6g} by "
            "Opacus, so the guarantee is not sure and nothing was trained; please report it (SECURITY.md), with the "
            f"plan: sampling rate {event.sampling_rate!r}, noise multiplier {event.noise_multiplier!r}, "
            f"{event.steps} steps, delta {delta!r}"
        )
    return f"Opacus' PRV accountant: epsilon {low:.4g} to {high:.4g} at delta {delta:.3g}"


@lru_cache(maxsize=256)
def prv_bounds(
    sampling_rate: float, noise_multiplier: float, steps: int, delta: float, seconds: float
) -> tuple[float, float] | None:
    """Bounds of epsilon by the PRV accountant; None where it has no finite answer in time, or fails."""
    if seconds <= 0:
        return None
    event = subsampled_gaussian("a plan", noise_multiplier, sampling_rate=sampling_rate, steps=steps)
    error = RELATIVE_ERROR * max(total_epsilon((event,), delta), RELATIVE_ERROR)
    asked = json.dumps([sampling_rate, noise_multiplier, steps, delta, error])
    command = [sys.executable, "-c", _CHILD]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=seconds, check=True)
        low, _, high = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return (low, high) if 0 <= low <= high and math.isfinite(low) else None  # huge epsilons are beyond its grid
