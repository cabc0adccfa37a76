"""BIC and BDeu from counts equal pgmpy's on the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth.errors import ParameterError
from raysynth.methods.bayesian_network.counting import SetCounts, all_subsets
from raysynth.methods.bayesian_network.scores import SetScores


@pytest.fixture(scope="module")
def rows():
    """500 rows of 4 dependent columns; column 3 never takes its last code, which must not count as a parameter."""
    rng = np.random.default_rng(3)
    a = rng.integers(0, 3, size=500)
    b = (a + rng.integers(0, 2, size=500)) % 3
    c = rng.integers(0, 2, size=500)
    d = (b + c) % 3
    return np.stack([a, b, c, d], axis=1), [3, 3, 2, 5]


def known(rows, count_of, score):
    codes, cards = rows
    scores = SetScores(SetCounts(count_of(codes, cards), cards, len(codes)), score, equivalent_sample_size=10)
    scores.start(all_subsets(4, 2))
    scores.require(all_subsets(4, 3))
    return scores


@pytest.mark.parametrize(("score", "name"), [("bic", "BIC"), ("bdeu", "BDeu")])
def test_scores_equal_pgmpy(rows, count_of, score, name):
    import pgmpy.structure_score as reference

    frame = pd.DataFrame(rows[0], columns=list("abcd")).astype("category")
    arguments = {"equivalent_sample_size": 10} if score == "bdeu" else {}
    theirs = getattr(reference, name)(frame, **arguments)
    ours = known(rows, count_of, score)
    for child in range(4):
        for parents in ([], [(child + 1) % 4], [(child + 1) % 4, (child + 2) % 4]):
            expected = theirs.local_score("abcd"[child], tuple("abcd"[p] for p in parents))
            assert ours.family(child, sum(1 << p for p in parents)) == pytest.approx(expected, abs=1e-6)


def test_equivalent_networks_score_the_same(rows, count_of):
    for score in ("bic", "bdeu"):
        scores = known(rows, count_of, score)
        assert scores.total([0, 0b1, 0, 0]) == pytest.approx(scores.total([0b10, 0, 0, 0]), abs=1e-8)


@pytest.mark.parametrize("score", ["bic", "bdeu"])
def test_rows_repeated_for_their_persons_score_as_these_persons_once(rows, count_of, score):
    codes, cards = rows
    once = known(rows, count_of, score)
    again = SetScores(
        SetCounts(count_of(np.repeat(codes, 7, axis=0), cards), cards, 7 * len(codes)), score, 10, range(4), 7
    )
    again.start(all_subsets(4, 2))
    again.require(all_subsets(4, 3))
    for child in range(4):
        for parents in (0, 1 << (child + 1) % 4, 1 << (child + 1) % 4 | 1 << (child + 2) % 4):
            assert again.family(child, parents) == pytest.approx(once.family(child, parents), abs=1e-6)
            assert again.log_likelihood(child, parents) == pytest.approx(once.log_likelihood(child, parents), abs=1e-6)
            assert again.penalty(child, parents) == pytest.approx(once.penalty(child, parents), abs=1e-6)


def test_codes_that_never_occur_are_no_parameters(rows, count_of):
    assert known(rows, count_of, "bic").seen.tolist() == [3, 3, 2, 3]


def test_unknown_score_is_refused(count_of):
    with pytest.raises(ParameterError, match="bic, bdeu"):
        SetScores(SetCounts(lambda sets: {}, [2], 1), "aic")
