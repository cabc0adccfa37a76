"""The ledger: every release made from the private rows, in order, as JSON that a third party can account for.

An event says which mechanism ran, on what, and with which parameters; the accountant needs nothing else. Fields by
mechanism:

| mechanism | parameters | what it is |
|---|---|---|
| gaussian | noise_multiplier, sampling_rate, steps | N(0, (noise_multiplier * sensitivity)^2) on a vector of that L2 |
|  |  | sensitivity; on a Poisson sample where sampling_rate < 1; steps times |
| discrete_gaussian | noise_multiplier, coordinates, steps | whole numbers with P(k) ~ exp(-k^2 / (2 s^2)), |
|  |  | s = noise_multiplier * sensitivity, on a vector of whole numbers of that L2 sensitivity; coordinates: how many |
|  |  | of them one unit changes, each by 1; 0: others may be possible, and sensitivity is the least L2 sensitivity |
| laplace | epsilon, steps | (discrete) Laplace noise of scale sensitivity / epsilon on one number |
| exponential | epsilon, steps | one choice with probability ~ exp(epsilon * score / (2 * sensitivity)) |
| approximate | epsilon, delta, steps | any other (epsilon, delta)-private release |
| selection | epsilon, delta, law, mean_runs, | best of K runs, K of that law and mean; each run costs, at Renyi |
|  | noise_multiplier, most_order | orders up to most_order, no more than one gaussian of that |
|  |  | noise_multiplier; epsilon at delta by Papernot and Steinke 2022 |
| not_covered | none | something that the guarantee does not cover; `released` says what, in words |

What discrete Gaussian noise on counts costs is known exactly where one unit changes known counts by one, else by a
bound.

**Known changes.** One row more changes `coordinates` counts by exactly 1 each, and no others. So an event is that many
independent scalar mechanisms of sensitivity 1, and the privacy loss distribution of each is that of the exact law.

**Unknown changes** (k rows of a unit, split over the cells in whichever way). The scalar's loss for a change by the
whole norm is no bound for all of these, and that of continuous noise is none for any. But noise of parameter s on whole
numbers is what a public step makes of continuous noise of variance s^2 - r^2, but for a factor near 1: from a real
number z draw a whole number x with probability ~ exp(-(x - z)^2 / (2 r^2)) (randomised rounding; Peikert 2010, "An
efficient and parallel Gaussian sampler for lattices", theorem 3.1). For z = v + N(0, s^2 - r^2), v whole,

    P(x) = integral of N(z; v, s^2 - r^2) exp(-(x - z)^2 / (2 r^2)) / R(z) dz

with R(z) = sum_j exp(-(j - z)^2 / (2 r^2)), and by Poisson's summation R(z) = sqrt(2 pi) r (1 + sum_{j != 0} exp(-2
pi^2 r^2 j^2) cos(2 pi j z)), which lies within a factor 1 - h .. 1 + h of sqrt(2 pi) r, h = 2 sum_{j > 0} exp(-2 pi^2
r^2 j^2). So P(x) is within 1 / (1 + h) .. 1 / (1
- h) of N(x; v, s^2), and the discrete Gaussian's own probability within 1 / (1 + h) .. 1 of the same, since its sum of
weights is R(0) for s >= r. Their ratio lies in (1 - h) / (1 + h) .. 1 + h, for each coordinate that a unit changes; the
others have one law and drop out. With d of these the profile is at most (1 + h)^d times that of the continuous
mechanism of the lesser variance, at an epsilon less by d ln((1 + h)^2 / (1 - h)); over adaptive steps the factors
multiply. For r = 1.25, h is 8e-14. That holds for every vector of changes of a given L2 norm, so no maximum is
searched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from raysynth.errors import ModelFileError, ParameterError

FORMAT_VERSION = 1
ROW = "row"


class Mechanism(StrEnum):
    """What kind of noise an event drew; see the module."""

    GAUSSIAN = "gaussian"
    DISCRETE_GAUSSIAN = "discrete_gaussian"
    LAPLACE = "laplace"
    EXPONENTIAL = "exponential"
    APPROXIMATE = "approximate"
    SELECTION = "selection"
    NOT_COVERED = "not_covered"


@dataclass(frozen=True)
class Event:
    """One release (or `steps` equal ones).

    Args:
        mechanism: see the module.
        released: what left, in words.
        sensitivity: most that one unit changes the exact value by (L2 norm for both kinds of Gaussian noise).
        noise_multiplier: standard deviation over sensitivity.
        sampling_rate: Poisson sampling rate of units; 1: all.
        steps: how often.
        epsilon, delta: of one step.
        composition: 'joint': in the one composition by privacy loss; 'basic': its epsilon and delta are added to the
            rest's, since the parameters of later events depend on its outcome (a noised number of rows).
        relation: 'add_remove': of one unit.
        unit: 'row', or what else one unit is.
        guarantee: False where the noise was seeded (tests), so that nothing is guaranteed.
        law, mean_runs, most_order: of 'selection'; see the module.
        coordinates: of 'discrete_gaussian'; see the module.
        checked: what a second accountant says of it (`second_opinion.py`); empty for events that none looks at.
    """

    mechanism: Mechanism
    released: str
    sensitivity: float = 1.0
    noise_multiplier: float | None = None
    sampling_rate: float = 1.0
    steps: int = 1
    epsilon: float | None = None
    delta: float = 0.0
    composition: str = "joint"
    relation: str = "add_remove"
    unit: str = ROW
    guarantee: bool = True
    law: str = ""
    mean_runs: float | None = None
    most_order: float | None = None
    coordinates: int = 0
    checked: str = ""

    def __post_init__(self) -> None:
        what = f"ledger event '{self.released}'"
        if self.mechanism in (Mechanism.GAUSSIAN, Mechanism.DISCRETE_GAUSSIAN):
            _require(_positive(self.noise_multiplier), f"{what}: noise_multiplier must be > 0")
        elif self.mechanism in (Mechanism.LAPLACE, Mechanism.EXPONENTIAL):
            _require(_positive(self.epsilon), f"{what}: epsilon must be > 0")
        elif self.mechanism is Mechanism.APPROXIMATE:
            _require(self.epsilon is not None and self.epsilon >= 0, f"{what}: epsilon must be >= 0")
        elif self.mechanism is Mechanism.SELECTION:
            described = all(_positive(x) for x in (self.epsilon, self.noise_multiplier, self.mean_runs))
            _require(described, f"{what}: epsilon, noise_multiplier and mean_runs must be > 0")
        _require(0 <= self.delta < 1, f"{what}: delta must be in [0, 1)")
        _require(0 < self.sampling_rate <= 1, f"{what}: sampling_rate must be in (0, 1]")
        _require(isinstance(self.steps, int) and self.steps >= 1, f"{what}: steps must be a whole number >= 1")
        _require(_positive(self.sensitivity), f"{what}: sensitivity must be > 0")
        if self.mechanism is Mechanism.DISCRETE_GAUSSIAN:
            _require(self.sampling_rate == 1, f"{what}: discrete noise is added to counts of all rows")
            _require(self.sensitivity >= 1, f"{what}: counts change by whole numbers, so sensitivity must be >= 1")
            fits = self.coordinates in (0, round(self.sensitivity**2)) and isinstance(self.coordinates, int)
            _require(fits, f"{what}: sensitivity must be the root of coordinates, which is a whole number")
        _require(self.composition in ("joint", "basic"), f"{what}: composition must be 'joint' or 'basic'")
        _require(self.relation == "add_remove", f"{what}: relation must be 'add_remove'")
        basic = self.composition != "basic" or self.mechanism in (Mechanism.LAPLACE, Mechanism.APPROXIMATE)
        _require(basic, f"{what}: only laplace and approximate events can be joined by basic composition")

    @property
    def is_covered(self) -> bool:
        """False for what the guarantee leaves out."""
        return self.mechanism is not Mechanism.NOT_COVERED


def gaussian(released: str, noise_multiplier: float, *, sensitivity: float = 1.0, unit: str = ROW) -> Event:
    """A vector of L2 sensitivity `sensitivity` with Gaussian noise."""
    return Event(Mechanism.GAUSSIAN, released, sensitivity, noise_multiplier, unit=unit)


def discrete_gaussian(
    released: str, noise_multiplier: float, *, coordinates: int = 1, rows: int = 1, steps: int = 1, known: bool = True
) -> Event:
    """Vectors of counts with discrete Gaussian noise of parameter noise_multiplier * sensitivity.

    Args:
        released: what left.
        noise_multiplier: of the joint release of all coordinates.
        coordinates: counts that one row changes, each by 1 (tables of disjoint cells, levels of a histogram).
        rows: k, most rows of one unit: then each of these counts changes by up to k, split in whichever way.
        steps: how often.
        known: False where `coordinates` is only the least number (levels of a range that is yet to be found).
    """
    sensitivity = rows * math.sqrt(coordinates)
    own = coordinates if known and rows == 1 else 0
    return Event(Mechanism.DISCRETE_GAUSSIAN, released, sensitivity, noise_multiplier, steps=steps, coordinates=own)


def subsampled_gaussian(
    released: str,
    noise_multiplier: float,
    *,
    sampling_rate: float,
    steps: int,
    sensitivity: float = 1.0,
    unit: str = ROW,
) -> Event:
    """Steps of DP-SGD: each on a Poisson sample of units, the sum clipped to `sensitivity` for each unit."""
    return Event(Mechanism.GAUSSIAN, released, sensitivity, noise_multiplier, sampling_rate, steps, unit=unit)


def laplace(
    released: str, epsilon: float, *, sensitivity: float = 1.0, unit: str = ROW, composition: str = "joint"
) -> Event:
    """One number with Laplace noise of scale sensitivity / epsilon."""
    return Event(Mechanism.LAPLACE, released, sensitivity, epsilon=epsilon, composition=composition, unit=unit)


def exponential(released: str, epsilon: float, *, steps: int = 1, sensitivity: float = 1.0, unit: str = ROW) -> Event:
    """Choices by the exponential mechanism, each with probability ~ exp(epsilon * score / (2 * sensitivity))."""
    return Event(Mechanism.EXPONENTIAL, released, sensitivity, steps=steps, epsilon=epsilon, unit=unit)


def approximate(released: str, epsilon: float, delta: float, *, steps: int = 1, unit: str = ROW) -> Event:
    """Any other (epsilon, delta)-private release."""
    return Event(Mechanism.APPROXIMATE, released, steps=steps, epsilon=epsilon, delta=delta, unit=unit)


def selection(
    released: str,
    epsilon: float,
    delta: float,
    *,
    noise_multiplier: float,
    most_order: float,
    law: str,
    mean_runs: float,
    unit: str = ROW,
) -> Event:
    """The best of a random number of runs, of which nothing else is released; see `selection.py`."""
    return Event(
        Mechanism.SELECTION,
        released,
        noise_multiplier=noise_multiplier,
        epsilon=epsilon,
        delta=delta,
        law=law,
        mean_runs=mean_runs,
        most_order=most_order,
        unit=unit,
    )


def not_covered(released: str) -> Event:
    """What no epsilon stands for, for example 'selection: not covered by epsilon'."""
    return Event(Mechanism.NOT_COVERED, released, guarantee=False)


def unit_in_words(column: str, most: int | None) -> str:
    """What one unit is, for the ledger and the report; None: how many of its rows count is an event of the ledger."""
    counted = "of which so many count as were chosen" if most is None else f"at most {most} of which count"
    return f"value of '{column}' with all its rows ({counted})"


class Ledger:
    """Events in the order in which they were charged: it only grows.

    Args:
        events: those of an earlier ledger that this one continues.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events: list[Event] = list(events)

    @property
    def events(self) -> tuple[Event, ...]:
        """All events so far."""
        return tuple(self._events)

    def append(self, *events: Event) -> None:
        """Add events at the end."""
        self._events.extend(events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self._events)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; fields at their default are left out, except for the ones that a reader needs."""
        defaults = {f.name: f.default for f in fields(Event)}
        kept = {"sensitivity", "steps", "relation", "unit"}
        events = [
            {k: v for k, v in asdict(event).items() if k in kept or v != defaults.get(k, ...)} for event in self._events
        ]
        return {"format_version": FORMAT_VERSION, "events": events}

    @classmethod
    def from_dict(cls, content: Any) -> Ledger:
        """The inverse of `to_dict`; raises `ModelFileError` for anything else."""
        try:
            if content["format_version"] != FORMAT_VERSION:
                raise ModelFileError(f"the privacy ledger has format version {content['format_version']!r}, not 1")
            return cls(Event(**{**e, "mechanism": Mechanism(e["mechanism"])}) for e in content["events"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the privacy ledger cannot be read: {error}") from error

    def to_json(self) -> str:
        """The ledger as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Ledger:
        """The inverse of `to_json`; raises `ModelFileError`."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ModelFileError(f"the privacy ledger is not valid JSON: {error}") from error
        return cls.from_dict(content)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ParameterError(message)


ROUNDING = 1.25  # r, as far as the noise allows
MOST_SIGMA = 1e3  # up to which the exact law is composed; beyond, the bound costs a millionth and takes no time
MOST_LEVELS = 4  # of a histogram whose range is yet to be found (`mechanisms/histogram.py`)
CUT_OFF = 1e-29  # of delta for each coordinate: tails that the exact distribution leaves out (1e-30), with room


def is_exact(event: Event) -> bool:
    """Whether an event of discrete Gaussian noise is accounted for by its exact law; else by the bound."""
    return event.coordinates > 0 and (event.noise_multiplier or 0.0) * event.sensitivity <= MOST_SIGMA


def continuous_multiplier(event: Event) -> float:
    """The noise multiplier of the continuous Gaussian mechanism that dominates an event."""
    assert event.noise_multiplier is not None
    least = event.noise_multiplier**2 - (_rounding(event) / event.sensitivity) ** 2
    return math.sqrt(least)


def closeness(event: Event) -> float:
    """What is added to epsilon, and to the logarithm of delta, beside that mechanism, in all steps; inf: no bound."""
    r = _rounding(event)
    h = 2 * sum(math.exp(-2 * (math.pi * r * j) ** 2) for j in (1, 2, 3, 4))
    if h >= 0.5:
        return math.inf
    changed = MOST_LEVELS * math.ceil(event.sensitivity**2)  # each by at least 1, so no more than the squared norm
    return event.steps * changed * (2 * math.log1p(h) - math.log1p(-h))


def exact_distribution(sigma: float, interval: float) -> Any:
    """The privacy loss distribution of one count that changes by 1, `sigma` the parameter of its noise."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    return pld.from_discrete_gaussian_mechanism(
        sigma, sensitivity=1, value_discretization_interval=interval, use_connect_dots=True
    )


def _rounding(event: Event) -> float:
    assert event.noise_multiplier is not None
    return min(ROUNDING, event.noise_multiplier * event.sensitivity / math.sqrt(2))
