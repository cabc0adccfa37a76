"""The privacy scope of a fit: its budget, its ledger and its noise. How a method spends a budget:

    scope = prepared.privacy                      # None without a budget
    q = batch_size / scope.n_rows                 # the noised number of rows; never the exact one
    sigma = scope.noise_multiplier_for(q, steps)  # DP-SGD that spends all that is left, and no more
    scope.charge(subsampled_gaussian("discriminator", sigma, sampling_rate=q, steps=steps))   # before the work
    noise = scope.noise.normal(shape) * sigma * clip     # float64; scope.secure_mode decides where it comes from

Training that runs in segments charges each before it runs (`steps` of the segment), so that one repeated after a crash
is counted twice; `charge` refuses what would exceed the budget, before anything is released. A method without SGD plans
its events first and takes the scale of its noise from `calibrated(plan)`. Batches drawn at random use
`scope.noise.uniform`, too. For a resumed fit: `PrivacyScope(budget, ledger=Ledger(earlier_events))`.

`RunScope` is that of one run inside a private selection: statistics came before, and once; every run has its budget. A
method spends it like any other scope. What differs is the yardstick: not the privacy loss of a ledger,
but that of `selection.RunBudget`, which was fixed before any row was read, so that the cost of the choice holds for
every run, whatever was released before it and whichever method it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.accountant import Spent, spent, total_epsilon
from raysynth.dp.accounting.calibration import (
    MOST_NOISE,
    PREPROCESSING_SHARE,
    TOLERANCE,
    PrivacyBudget,
    calibrated,
    dpsgd_noise_multiplier,
    gaussian_noise_multiplier,
    least_scale,
)
from raysynth.dp.accounting.ledger import ROUNDING, ROW, Event, Ledger, subsampled_gaussian
from raysynth.dp.accounting.selection import RunBudget
from raysynth.dp.mechanisms.counts import noised_count
from raysynth.dp.mechanisms.noise import NoiseSource, SecureNoise, noise_source
from raysynth.errors import ParameterError

ROW_COUNT_SHARE = 0.02  # of epsilon, for the noised number of rows
UNIT_COUNT_SHARE = 0.01  # of epsilon, for the noised number of units where these have several rows
SLACK = 1e-9  # of epsilon: rounding of the accountant


class PrivacyScope:
    """What one fit may spend and has spent; `asks_twice`: whether a second accountant looks at a planned training.

    Args:
        budget: epsilon and delta.
        secure_mode: cryptographic noise, hardened against floating-point attacks.
        preprocessing_share: of the budget's rho for all statistics before training (see `calibration`).
        unit: what one unit is, in words: 'row'.
        rows_per_unit: k, most rows that one unit has: the sensitivity of all that is counted over rows is k times that
            of one row. What a method charges and the noise that it draws must have this factor.
        ledger: continues an earlier one.
        noise: where noise comes from; None: the operating system. Seeded noise voids the guarantee and says so.
        n_rows, n_units: the noised numbers of rows and of units, where the earlier ledger has paid for them.
    """

    asks_twice: ClassVar[bool] = True

    def __init__(
        self,
        budget: PrivacyBudget,
        *,
        secure_mode: bool = False,
        preprocessing_share: float = PREPROCESSING_SHARE,
        unit: str = ROW,
        rows_per_unit: int = 1,
        ledger: Ledger | None = None,
        noise: NoiseSource | None = None,
        n_rows: int | None = None,
        n_units: int | None = None,
    ) -> None:
        if not 0 < preprocessing_share < 1:
            raise ParameterError(f"preprocessing_share must be between 0 and 1; found {preprocessing_share!r}")
        self.budget = budget
        self.preprocessing_share = preprocessing_share
        self.unit = unit
        self.rows_per_unit = rows_per_unit
        self.ledger = Ledger() if ledger is None else ledger
        self.noise = noise_source(secure_mode) if noise is None else noise
        self.secure_mode = isinstance(self.noise, SecureNoise)
        self._n_rows, self._n_units = n_rows, n_units
        self.joint: Spent | None = None  # where the fit shares releases with others: what all cost together

    @property
    def n_rows(self) -> int:
        """The noised number of rows, at least 1; raises `ParameterError` before `release_row_count`."""
        if self._n_rows is None:
            raise ParameterError("the number of rows is private and was not released yet; call release_row_count first")
        return self._n_rows

    @property
    def row_count_sigma(self) -> float:
        """Standard deviation of the noise in `n_rows`: of a Laplace distribution."""
        return math.sqrt(2) * self.rows_per_unit / (ROW_COUNT_SHARE * self.budget.epsilon)

    @property
    def n_units(self) -> int:
        """The noised number of units, at least 1: of rows, where no other was released."""
        return self.n_rows if self._n_units is None else self._n_units

    @property
    def spent(self) -> Spent:
        """The cost of all events so far."""
        return spent(self.ledger, self.budget.delta)

    def release_row_count(self, n: int) -> int:
        """Charge and draw the noised number of rows: the first release, joined to the rest by basic composition."""
        epsilon = ROW_COUNT_SHARE * self.budget.epsilon
        k = self.rows_per_unit
        self.charge(events.laplace("number of rows", epsilon, sensitivity=k, unit=self.unit, composition="basic"))
        self._n_rows = max(1, noised_count(n, epsilon, self.noise, sensitivity=k))
        return self._n_rows

    def release_unit_count(self, n: int) -> int:
        """Charge and draw the noised number of units, which training draws; one unit changes it by one."""
        epsilon = UNIT_COUNT_SHARE * self.budget.epsilon
        self.charge(events.laplace("number of units", epsilon, unit=self.unit, composition="basic"))
        self._n_units = max(1, noised_count(n, epsilon, self.noise))
        return self._n_units

    def charge(self, *planned: Event) -> tuple[Event, ...]:
        """Write events to the ledger, before what they stand for is done; gives them as they were written.

        Raises:
            ParameterError: the budget would be exceeded; nothing is written then.
        """
        new = tuple(replace(e, guarantee=e.guarantee and self.noise.guarantee, unit=self.unit) for e in planned)
        total = total_epsilon((*self.ledger, *new), self.budget.delta)
        if total > self.budget.epsilon * (1 + SLACK):
            raise ParameterError(
                f"the privacy budget is epsilon = {self.budget.epsilon:g}; with {new[0].released!r} it would be "
                f"{total:.4g}: raise epsilon, or stop here and keep what was learned so far"
            )
        self.ledger.append(*new)
        return new

    def replay(
        self,
        earlier: Sequence[Event],
        n_rows: int,
        n_units: int | None = None,
        *,
        what: str = "the releases that the kept rows were encoded with",
        otherwise: str = "leave out keep_shards, so that this fit makes its own",
    ) -> None:
        """Pay for what was released earlier, the noised number of rows among it, as if it were drawn now.

        Args:
            earlier: events of one ledger.
            n_rows, n_units: the noised numbers of rows and of units; None: no such number is among them.
            what, otherwise: for the message: what they are, and what to do but to raise epsilon.

        Raises:
            ParameterError: it leaves nothing of the budget; nothing is written then.
        """
        taken = total_epsilon(earlier, self.budget.delta)
        if len(self.ledger) or any(event.unit != self.unit for event in earlier):
            raise ValueError("releases are replayed into an empty ledger of the same unit")
        if taken >= self.budget.epsilon:
            raise ParameterError(
                f"{what} cost epsilon = {taken:.4g} at delta = {self.budget.delta:g} already, and the budget is "
                f"epsilon = {self.budget.epsilon:g}: raise it, or {otherwise}"
            )
        self.ledger.append(*earlier)
        self._n_rows, self._n_units = n_rows, n_units

    def noise_multiplier_for(self, sampling_rate: float, steps: int) -> float:
        """The noise multiplier of DP-SGD with which the whole ledger just stays within the budget.

        Raises:
            ParameterError: the budget is too small to train; says how small and what would do.
        """
        return dpsgd_noise_multiplier(self.budget, sampling_rate, steps, self.ledger)

    def calibrated(self, plan: Callable[[float], Sequence[Event]], *, start: float = 1.0) -> float:
        """The least scale of noise with which the planned events and the ledger stay within the budget."""
        return calibrated(plan, self.budget, self.ledger, start=start)

    def share_multiplier(self, share: float, delta_share: float = 0.0) -> float:
        """The noise multiplier of a Gaussian release that has `share` of the budget's rho (see `calibration`).

        Args:
            share: in (0, 1); several releases that add up to it divide it: a third of it has sqrt(3) times the noise.
            delta_share: of delta, that other events (selection of categories) take.

        A little more than that release needs, so that discrete noise, too, stays within (`ledger.py`).
        """
        whole = gaussian_noise_multiplier(
            self.budget.epsilon * (1 - ROW_COUNT_SHARE), self.budget.delta * (1 - delta_share)
        )
        return math.hypot(whole / share**0.5, ROUNDING)


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
