"""The privacy scope of one run inside a private selection: statistics came before, and once; every run has its budget.

A method spends it like any other scope (`scope.py`). What differs is the yardstick: not the privacy loss of a ledger,
but that of `selection.RunBudget`, which was fixed before any row was read, so that the cost of the choice holds for
every run, whatever was released before it and whichever method it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from raysynth.dp.accounting.budget import PrivacyBudget
from raysynth.dp.accounting.calibration import MOST_NOISE, TOLERANCE, least_scale
from raysynth.dp.accounting.ledger import Event, subsampled_gaussian
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.accounting.selection import RunBudget
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.errors import ParameterError


class RunScope(PrivacyScope):
    """What one run may spend, and has spent; its ledger holds the run's own events only.

    Args:
        budget: of the statistics that were released before (a method asks how much noise theirs have).
        run: what all events of the run together may cost.
        n_rows: the noised number of rows, released with the statistics.
        secure_mode, preprocessing_share, noise: as in `PrivacyScope`.
    """

    asks_twice: ClassVar[bool] = False  # the yardstick is another one

    def __init__(
        self,
        budget: PrivacyBudget,
        run: RunBudget,
        n_rows: int,
        *,
        secure_mode: bool = False,
        preprocessing_share: float,
        noise: NoiseSource | None = None,
    ) -> None:
        super().__init__(
            budget, secure_mode=secure_mode, preprocessing_share=preprocessing_share, noise=noise, n_rows=n_rows
        )
        self.run = run

    def charge(self, *planned: Event) -> tuple[Event, ...]:
        """Write events to the run's ledger, before what they stand for is done; gives them as they were written.

        Raises:
            ParameterError: the run would cost more than it may, or an event has a delta of its own.
        """
        new = tuple(replace(e, guarantee=e.guarantee and self.noise.guarantee, unit=self.unit) for e in planned)
        if not self.run.covers((*self.ledger, *new)):
            raise ParameterError(f"{new[0].released!r} would cost more than one run of a private selection may")
        self.ledger.append(*new)
        return new

    def noise_multiplier_for(self, sampling_rate: float, steps: int) -> float:
        """The noise multiplier of DP-SGD with which the run just stays within its budget."""
        return self.calibrated(
            lambda sigma: (subsampled_gaussian("gradients", sigma, sampling_rate=sampling_rate, steps=steps),),
            start=max(0.8, sampling_rate * steps**0.5 * self.run.noise_multiplier),
        )

    def calibrated(self, plan: Callable[[float], Sequence[Event]], *, start: float = 1.0) -> float:
        """The least scale of noise with which the planned events and the run's ledger stay within its budget.

        Raises:
            ParameterError: no noise is enough.
        """
        before = tuple(self.ledger)
        found = least_scale(lambda x: self.run.covers((*before, *plan(x))), start, TOLERANCE, MOST_NOISE)
        if found is None:
            raise ParameterError(
                "the epsilons of this space are too small for its methods: the noise would drown every step; raise the "
                "smallest one"
            )
        return found
