"""Questions that mechanisms answer: their likelihoods beside scipy's, which are alike, and who hears them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from outcome import value_of
from scipy import stats

from raysynth.dp import InsecureSeededNoise
from raysynth.dp.mechanisms.counts import chosen, gaussian_vector, noised_count, noised_counts
from raysynth.dp.mechanisms.noise import Law, Question, answered, check_unheard, listening
from raysynth.errors import ParameterError

EXACT, OTHER, ANSWER = (np.array(x, float) for x in ([3, 0, 7], [3, 1, 5], [4, -2, 6]))
LAWS: dict[Law, Callable[[np.ndarray, float], float]] = {
    Law.GAUSSIAN: lambda exact, scale: stats.norm.logpdf(ANSWER, exact, scale).sum(),
    Law.DISCRETE_GAUSSIAN: lambda exact, scale: stats.norm.logpdf(ANSWER, exact, scale).sum(),
    Law.LAPLACE: lambda exact, scale: stats.laplace.logpdf(ANSWER, exact, scale).sum(),
}


@pytest.mark.parametrize("scale", [0.7, 3.0])
@pytest.mark.parametrize("law", list(LAWS))
def test_likelihoods_of_two_tables_differ_as_the_law_has_it(law: Law, scale: float) -> None:
    found = [value_of(lambda x=x: Question(law, x, scale).log_likelihood(ANSWER)) for x in (EXACT, OTHER)]
    assert found[0] - found[1] == pytest.approx(LAWS[law](EXACT, scale) - LAWS[law](OTHER, scale))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_choice_has_its_chance(at: int) -> None:
    weights = np.exp(0.4 * EXACT)
    found = value_of(lambda: Question(Law.CHOICE, EXACT, 0.4).log_likelihood(np.array(at)))
    assert found == pytest.approx(np.log(weights[at] / weights.sum()))


def test_questions_are_alike_where_only_the_exact_values_differ() -> None:
    question = Question(Law.GAUSSIAN, EXACT, 2.0)
    assert question.is_like(Question(Law.GAUSSIAN, OTHER, 2.0))
    others = (Law.LAPLACE, EXACT, 2.0), (Law.GAUSSIAN, EXACT, 2.1), (Law.GAUSSIAN, EXACT[:2], 2.0)
    assert not any(question.is_like(Question(*other)) for other in others)


def test_every_mechanism_is_heard_and_only_while_somebody_listens() -> None:
    heard: list[tuple[Question, np.ndarray]] = []

    def listener(question: Question, draw: Callable[[], np.ndarray]) -> np.ndarray:
        heard.append((question, draw()))
        return heard[-1][1]

    def draws() -> list[Any]:
        noise = InsecureSeededNoise(5)
        return [
            gaussian_vector(EXACT, 3.0, noise, sensitivity=2.0).tolist(),
            noised_counts(EXACT, 1.5, noise, sensitivity=2.0).tolist(),
            noised_count(9, 0.5, noise, sensitivity=3.0),
            chosen(EXACT, 0.8, noise, sensitivity=2.0),
        ]

    with listening(listener):
        made = value_of(draws)
        with pytest.raises(ParameterError, match="this fit draws noise of batches: audit it"):
            check_unheard("noise of batches")
    assert made == draws() and len(heard) == 4
    check_unheard("noise of batches")
    assert [q.law for q, _ in heard] == [Law.GAUSSIAN, Law.DISCRETE_GAUSSIAN, Law.LAPLACE, Law.CHOICE]
    assert [a.shape for _, a in heard] == [(3,), (3,), (1,), ()], "nothing more is drawn than is told"
    assert [q.scale for q, _ in heard] == pytest.approx([6.0, 3.0, 6.0, 0.2])
    assert [np.ravel(q.exact).tolist() for q, _ in heard] == [EXACT.tolist(), EXACT.tolist(), [9], EXACT.tolist()]
    assert answered(Question(Law.GAUSSIAN, EXACT, 1.0), lambda: OTHER) is OTHER
    with listening(lambda question, draw: ANSWER):
        assert noised_counts(EXACT, 1.5, InsecureSeededNoise(1)).tolist() == ANSWER.tolist(), "an answer of before"
