"""The best attack there is on a fit that counts: all its noised releases seen, each weighed by its exact law.

The adversary knows the algorithm and all rows but the canary, so that for every answer it can say what the exact values
behind it would be with the canary and without it: the fit is run again on the other table and given the same answers,
whatever was asked depending on earlier ones. The sum of the log-likelihood ratios is the privacy loss, and by Neyman
and Pearson (1933) no test that sees these releases tells the two worlds better. Guesses are judged by what they hit and
not by what the laws say, so an answer with too little noise shows.

From the whole curve of these scores follows a mu of Gaussian differential privacy, too: the curve of a mu-GDP mechanism
lies nowhere above that of N(0, 1) against N(mu, 1) (Dong, Roth and Su 2022, definition 3), so the area below it is at
most Phi(mu / sqrt(2)), and the lower end of the area's interval bounds mu from below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from raysynth.attacks.audit.results import AuditedAttack, game_bound, gaussian_mu
from raysynth.dp.accounting.calibration import gaussian_noise_multiplier
from raysynth.dp.mechanisms.noise import Listener, NoiseSource, Question, check_unheard, listening, noise_source
from raysynth.errors import ParameterError
from raysynth.running.runner import in_this_process

if TYPE_CHECKING:
    from raysynth.dp.accounting.calibration import PrivacyBudget
    from raysynth.methods.base import Synthesizer

THRESHOLDS = 200
OTHER_COUNTS = (
    "with the canary, the fit asks for other counts than without it: declare the categories of all columns that are "
    "not numbers, so that the canary brings none of its own"
)


@dataclass(frozen=True)
class SeenFit:
    """A fitted model, and all questions that were asked of its table, with their answers."""

    model: Synthesizer
    releases: tuple[tuple[Question, np.ndarray], ...]


def privacy_loss(model: Synthesizer, worlds: Sequence[Any], world: int) -> float:
    """Of one fit: log-likelihood of all its releases with the canary less that without it, in nats.

    Args:
        model: unfitted.
        worlds: the data without the canary, and with it.
        world: which of these is fitted.

    Raises:
        ParameterError: as `seen_fit` and `loss_of`.
    """
    loss = loss_of(seen_fit(model, worlds[world]), worlds[1 - world])
    return loss if world else -loss


def seen_fit(model: Synthesizer, table: Any) -> SeenFit:
    """A fit whose releases are all seen; raises `ParameterError` for noise that belongs to no counted release."""
    seen: list[tuple[Question, np.ndarray]] = []

    def draws(question: Question, draw: Callable[[], np.ndarray]) -> np.ndarray:
        with noise.released():
            seen.append((question, np.asarray(draw())))
        return seen[-1][1]

    noise = _ReleasesOnly(noise_source(bool(model.secure_mode)))
    return SeenFit(_fitted(model, table, noise, draws), tuple(seen))


def loss_of(fit: SeenFit, other: Any) -> float:
    """How much likelier a fit's releases are with its own table than with the other one, in nats.

    Raises:
        ParameterError: of the other table the fit asks for other counts.
    """
    left = iter(fit.releases)
    ratios = []

    def repeats(question: Question, draw: Callable[[], np.ndarray]) -> np.ndarray:
        own, answer = next(left, (None, None))
        if own is None or answer is None or not own.is_like(question):
            raise ParameterError(OTHER_COUNTS)
        ratios.append(own.log_likelihood(answer) - question.log_likelihood(answer))
        return answer

    _fitted(fit.model, other, _ReleasesOnly(noise_source(bool(fit.model.secure_mode))), repeats)
    if next(left, None) is not None:
        raise ParameterError(OTHER_COUNTS)
    return math.fsum(ratios)


def _fitted(model: Synthesizer, table: Any, noise: NoiseSource, listener: Listener) -> Synthesizer:
    fresh = model.clone()
    fresh._noise = noise
    with in_this_process(), listening(listener):
        return fresh.fit(table)


class _ReleasesOnly:
    """A source that gives nothing but the noise of releases that are listened to."""

    def __init__(self, source: NoiseSource) -> None:
        self._source, self._is_released = source, False
        self.guarantee = source.guarantee

    @contextmanager
    def released(self) -> Iterator[None]:
        """Inside, draws are those of one release."""
        self._is_released = True
        try:
            yield
        finally:
            self._is_released = False

    def _open(self) -> NoiseSource:
        if not self._is_released:
            check_unheard("which rows of a person count")
        return self._source

    def uniform(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Numbers in (0, 1), float64."""
        return self._open().uniform(shape)

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Standard normal numbers, float64."""
        return self._open().normal(shape)

    def words(self, n: int) -> np.ndarray:
        """64 random bits each, uint64 (n,)."""
        return self._open().words(n)


def sharpest_threshold(
    inside: np.ndarray, outside: np.ndarray, bound: Callable[[int, int], float], n_judged: int
) -> float:
    """The loss above which a fit is taken to have had the canary, so that `n_judged` fits of each world show most.

    By normal laws of the adversary's own losses: where the sharpest threshold lies, few of them lie beyond it.

    Args:
        inside, outside: losses of the adversary's own fits with the canary and without it.
        bound: epsilon shown by so many hits and false alarms.
        n_judged: fits of each world that are to be judged.
    """
    at = np.linspace(min(outside.min(), inside.min()), max(outside.max(), inside.max()), THRESHOLDS)
    hits, alarms = (n_judged * ndtr((x.mean() - at) / max(float(x.std()), 1e-12)) for x in (inside, outside))
    shown = [bound(int(h), math.ceil(a)) for h, a in zip(hits, alarms, strict=True)]
    return float(at[int(np.argmax(shown))])


def judged(
    inside: np.ndarray, outside: np.ndarray, n_learning: int, confidence: float, budget: PrivacyBudget
) -> AuditedAttack:
    """A threshold that is learned on the first losses of each world and judged on the others; mu from all.

    Args:
        inside, outside: losses of fits with the canary and without it, as many.
        n_learning: of each, that the adversary learns on.
        confidence: of each of the two bounds by itself.
        budget: the claim.
    """
    n_judged = len(inside) - n_learning
    bound = partial(game_bound, members=n_judged, others=n_judged, delta=budget.delta, confidence=confidence)
    threshold = sharpest_threshold(
        inside[:n_learning], outside[:n_learning], lambda hits, alarms: bound(hits, false_alarms=alarms), n_judged
    )
    hits, alarms = (int((x[n_learning:] > threshold).sum()) for x in (inside, outside))
    return AuditedAttack(
        "releases",
        bound(hits, false_alarms=alarms),
        bound(n_judged, false_alarms=0),
        confidence,
        {"fits judged": 2 * n_judged, "of the adversary": 2 * n_learning, "hits": hits, "false alarms": alarms},
        "the privacy loss of all releases",
        gaussian_mu(inside, outside, confidence),
        1 / gaussian_noise_multiplier(budget.epsilon, budget.delta),
    )
