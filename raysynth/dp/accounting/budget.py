"""The budget of a fit: epsilon and delta, fixed before anything is released."""

from __future__ import annotations

from dataclasses import dataclass

from raysynth.arguments import is_finite
from raysynth.errors import ParameterError

DEFAULT_EPSILON = 1.0
DEFAULT_DELTA = 1e-5
DELTA_EXPONENT = 1.1


@dataclass(frozen=True)
class PrivacyBudget:
    """An (epsilon, delta) guarantee, under the addition or removal of one unit (Dwork and Roth 2014, definition 2.4).

    Args:
        epsilon: > 0.
        delta: in (0, 1); the chance with which the guarantee of epsilon may fail.

    Raises:
        ParameterError: either is out of its range.
    """

    epsilon: float
    delta: float = DEFAULT_DELTA

    def __post_init__(self) -> None:
        if not (is_finite(self.epsilon) and self.epsilon > 0):
            raise ParameterError(f"epsilon must be a number > 0 (1 is strict, 10 is weak); found {self.epsilon!r}")
        if not (is_finite(self.delta) and 0 < self.delta < 1):
            raise ParameterError(f"delta must be a number between 0 and 1, such as 1e-5; found {self.delta!r}")

    @classmethod
    def fixed(cls, epsilon: float, delta: float | None = None, about_rows: float | None = None) -> PrivacyBudget:
        """The budget with delta by rule, from public values only.

        Args:
            epsilon: > 0.
            delta: the user's wins; else 1e-5, or min(1e-5, 1 / about_rows^1.1).
            about_rows: the declared (public) order of magnitude of the number of units.
        """
        if about_rows is not None and not (is_finite(about_rows) and about_rows >= 1):
            raise ParameterError(f"about_rows must be a number >= 1, such as 1e6; found {about_rows!r}")
        if delta is None:
            delta = DEFAULT_DELTA if about_rows is None else min(DEFAULT_DELTA, about_rows**-DELTA_EXPONENT)
        return cls(epsilon, delta)

    def warning(self, noised_n: float) -> str | None:
        """What to say where delta is above one over the (noised) number of units; None where it is below."""
        if self.delta * max(noised_n, 1.0) <= 1:
            return None
        return (
            f"delta = {self.delta:g} exceeds one over the number of units (about {noised_n:,.0f}): a mechanism that "
            f"publishes one of them at random would pass; set delta to {max(noised_n, 2.0) ** -DELTA_EXPONENT:.1g} "
            "or below"
        )
