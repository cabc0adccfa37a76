"""Discrete noise has exactly the law that it should have. False alarms: 1e-6 for each test of a law."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from outcome import value_of
from scipy import stats

from raysynth.dp import InsecureSeededNoise, OsNoise
from raysynth.dp.mechanisms import counts
from raysynth.dp.mechanisms.counts import discrete_gaussian, discrete_laplace, geometric

pytestmark = pytest.mark.statistical
N = 200_000


def fits(drawn: np.ndarray, log_weight: np.ndarray, k: np.ndarray) -> float:
    """P-value of a chi-square test of whole numbers against weights; cells that expect fewer than 10 are joined."""
    share = np.exp(log_weight - log_weight.max())
    expected = share / share.sum() * len(drawn)
    found = np.bincount(np.clip(drawn, k[0], k[-1]) - k[0], minlength=len(k))
    enough = np.flatnonzero(expected >= 10)
    inner = slice(enough[0], enough[-1] + 1)
    rest = expected[: inner.start].sum() + expected[inner.stop :].sum()
    observed, law = found[inner], expected[inner]
    if rest > 5:
        observed, law = np.append(observed, len(drawn) - observed.sum()), np.append(law, rest)
    return float(stats.chisquare(observed, law * observed.sum() / law.sum()).pvalue)


class Counting(InsecureSeededNoise):
    """Counts the calls for words; a loop that does not end is an error."""

    calls = 0

    def words(self, n: int) -> np.ndarray:
        self.calls += 1
        assert self.calls <= 30, "three for each turn, most of whose proposals are accepted"
        return super().words(n)


@pytest.mark.parametrize("n", [0, 1, 5000])
def test_so_many_numbers_come_of_a_few_draws(n: int) -> None:
    noise = Counting(1)
    assert len(discrete_gaussian(3.0, n, noise)) == n


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 2.5, math.pi * 10, 400.0])
def test_discrete_gaussians_have_the_exact_law(sigma: float) -> None:
    drawn = discrete_gaussian(sigma, N, InsecureSeededNoise(int(sigma * 100)))
    k = np.arange(-math.ceil(12 * sigma) - 2, math.ceil(12 * sigma) + 3)
    assert fits(drawn, -(k**2) / (2 * sigma**2), k) > 1e-6
    assert drawn.var() < sigma**2 * 1.02, "no more than of the continuous law"


@pytest.mark.parametrize("scale", [0.4, 1.0, 7.3, 250.0])
def test_discrete_laplace_and_geometric_numbers_have_the_exact_law(scale: float) -> None:
    noise = InsecureSeededNoise(int(scale * 10))
    k = np.arange(-math.ceil(40 * scale), math.ceil(40 * scale) + 1)
    assert fits(discrete_laplace(scale, N, noise), -np.abs(k) / scale, k) > 1e-6
    assert fits(geometric(scale, N, noise), np.where(k >= 0, -k / scale, -1e9), k) > 1e-6


class Words:
    """Given words, in order; then those of a seed, of which none needs many."""

    guarantee = False

    def __init__(self, *words: int) -> None:
        self.given, self.rest = list(words), Counting(0)
        self.rest.calls -= 2 * len(words)

    def words(self, n: int) -> np.ndarray:
        taken, self.given = self.given[:n], self.given[n:]
        return np.concatenate([np.array(taken, np.uint64), self.rest.words(n - len(taken))])


@pytest.mark.parametrize(("further", "expected"), [(0, 3), ((1 << 64) - 1, 2)])
def test_what_64_bits_leave_open_is_decided_by_further_ones(further: int, expected: int) -> None:
    """P(G >= 3) = exp(-3 / scale): at the word in which that chance lies, the next word tells."""
    scale = 1.7
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        word = int((Decimal(-3) / Decimal(scale)).exp() * (1 << 64))
    assert geometric(scale, 1, Words(word, further)).tolist() == [expected]  # type: ignore[arg-type]
    assert geometric(scale, 1, Words(word - 1)).tolist() == [3]  # type: ignore[arg-type]
    assert geometric(scale, 1, Words(word + 1)).tolist() == [2]  # type: ignore[arg-type]


@pytest.mark.parametrize("logarithm", [0.01, 1.0, 21.0])
def test_numbers_of_a_wide_law_are_those_of_decimals(logarithm: float) -> None:
    """At a scale of 10^14, where rounding in double precision decides some; uniforms of about e^-logarithm."""
    from decimal import Decimal

    scale, at = 1e14, int(math.exp(-logarithm) * 2**64)
    words = [at + int(w) % (at // 1000) for w in InsecureSeededNoise(1).words(600)]
    ends = [[int(-(Decimal(w + i) / (1 << 64)).ln() * Decimal(scale)) for i in (1, 0)] for w in words]
    found = value_of(lambda: geometric(scale, len(words), Words(*words)))  # type: ignore[arg-type]
    assert all(low <= k <= high for k, (low, high) in zip(found.tolist(), ends, strict=True))


def test_a_word_of_zeros_alone_leaves_the_number_without_bound() -> None:
    """u lies between 2^-192 and 2^-191, so -ln(u) / 100 lies above 1."""
    assert geometric(0.01, 1, Words(0, 0, 1)).tolist() == [1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "further", "accepted"), [(-1, 5, True), (0, 0, True), (0, (1 << 64) - 1, False), (1, 5, False)]
)
def test_a_proposal_that_64_bits_leave_open_is_decided_by_further_ones(word: int, further: int, accepted: bool) -> None:
    """The chance of keeping 5 lies within one word, which the next word divides; the words beside it are decided."""
    from decimal import Decimal, localcontext

    sigma, scale, k = 2.5, 3.0, 5
    with localcontext() as context:
        context.prec = 60
        square = Decimal(sigma) ** 2
        chance = (-((k - square / Decimal(scale)) ** 2) / (2 * square)).exp()
        at = int(chance * (1 << 64)) + word
    found = counts._accepted(np.array([k]), sigma, scale, Words(at, further))  # type: ignore[arg-type]
    assert found.tolist() == [accepted]


def test_a_look_decides_nothing_within_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both bounds, moved apart by the relative error of the decimals, say the same it is decided."""
    from decimal import Decimal

    looks: list[Callable[[Decimal, Decimal, Decimal], int | None]] = []
    monkeypatch.setattr(counts, "_decided", lambda word, decide, noise: looks.append(decide) or 0)
    geometric(1.7, 1, Words(0))  # type: ignore[arg-type]
    monkeypatch.setattr(np, "flatnonzero", lambda x: np.arange(len(x)))
    counts._accepted(np.array([5]), 2.5, 3.0, Words(7))  # type: ignore[arg-type]
    number, stays = looks
    at = (Decimal("-2.05") / Decimal(1.7)).exp()
    assert [number(at, at, Decimal(s)) for s in ("0", "0.01", "0.1")] == [2, 2, None]
    square = Decimal(2.5) ** 2
    chance = (-((5 - square / Decimal(3.0)) ** 2) / (2 * square)).exp()
    below, above = chance * Decimal("0.95"), chance * Decimal("1.05")
    assert [stays(below, below, Decimal(s)) for s in ("0", "0.01", "0.1")] == [1, 1, None]
    assert [stays(above, above, Decimal(s)) for s in ("0", "0.01", "0.1")] == [0, 0, None]


def test_exact_looks_are_rare_and_agree_with_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every proposal decided by decimals alone gives the same numbers from the same bits."""
    fast = discrete_gaussian(3.3, 2000, InsecureSeededNoise(4))
    looks: list[int] = []
    decided = counts._decided
    monkeypatch.setattr(counts, "_decided", lambda *a: looks.append(1) or decided(*a))
    assert np.array_equal(discrete_gaussian(3.3, 2000, InsecureSeededNoise(4)), fast)
    assert not looks, "about once in 1e9 draws"


def test_noise_of_wide_and_narrow_parameters_and_what_is_refused() -> None:
    assert not discrete_gaussian(0.01, 1000, OsNoise()).any()
    wide = discrete_gaussian(1e9, 20_000, OsNoise())
    assert stats.kstest(wide / 1e9, "norm").pvalue > 1e-6
    assert value_of(lambda: discrete_gaussian(2.0**40, 3, OsNoise())).shape == (3,)
    for wrong in (0.0, -1.0, math.nan, 2.0**40 * (1 + 1e-12)):
        with pytest.raises(ValueError, match="parameter of discrete Gaussian noise"):
            discrete_gaussian(wrong, 1, OsNoise())
