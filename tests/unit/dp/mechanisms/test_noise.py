"""Noise: right in law, never the same twice, and marked where it could be. False alarms: 1e-6 for each test."""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from outcome import value_of
from scipy import stats

from raysynth.dp import InsecureSeededNoise, OsNoise, SecureNoise
from raysynth.dp.mechanisms.noise import NoiseSource, noise_source

pytestmark = pytest.mark.statistical

SOURCES = [OsNoise(), SecureNoise(), InsecureSeededNoise(0)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: type(s).__name__)
def test_draws_have_the_law_they_claim(source: NoiseSource) -> None:
    assert stats.kstest(source.normal((50, 1000)).ravel(), "norm").pvalue > 1e-6
    assert stats.kstest(source.uniform(50_000), "uniform").pvalue > 1e-6


@pytest.mark.parametrize("source", SOURCES[:2], ids=lambda s: type(s).__name__)
def test_noise_under_a_guarantee_cannot_be_repeated(source: NoiseSource) -> None:
    np.random.seed(0)
    first = type(source)().normal(8)
    np.random.seed(0)
    assert source.guarantee and not np.array_equal(first, type(source)().normal(8))


def test_seeded_noise_says_that_it_guarantees_nothing() -> None:
    assert np.array_equal(InsecureSeededNoise(3).normal(8), InsecureSeededNoise(3).normal(8))
    assert not InsecureSeededNoise(3).guarantee


def test_secure_mode_takes_the_cryptographic_source() -> None:
    assert isinstance(noise_source(True), SecureNoise) and isinstance(noise_source(False), OsNoise)


@pytest.mark.parametrize("source", [OsNoise(), InsecureSeededNoise(0)], ids=lambda s: type(s).__name__)
def test_a_uniform_number_of_zero_is_the_smallest_that_is_drawn_else(source: Any) -> None:
    """Generators give multiples of 2^-53 from zero on."""
    source._rng = SimpleNamespace(random=lambda shape: np.array([0.0, 2.0**-53, 0.5])[:shape])
    assert source.uniform(3).tolist() == [2.0**-53, 2.0**-53, 0.5]


def test_secure_uniforms_never_reach_the_ends() -> None:
    draws = SecureNoise().uniform(100_000)
    assert draws.min() > 0 and draws.max() < 1


@pytest.mark.parametrize(("byte", "expected"), [(0, 2.0**-54), (255, 1 - 2.0**-54)])
def test_secure_uniforms_lie_in_the_middle_of_their_cells(
    byte: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 53 bits, so that neither end comes, whatever the bits are."""
    monkeypatch.setattr(os, "urandom", lambda size: bytes([byte]) * size)
    assert value_of(lambda: SecureNoise().uniform((2, 3))).tolist() == [[expected] * 3] * 2


def test_secure_normals_are_sums_of_four_by_the_systems_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one floating-point draw gives away of itself is hidden by three more."""
    asked: list[int] = []
    inner = os.urandom

    def urandom(size: int) -> bytes:
        asked.append(size)
        return inner(size)

    monkeypatch.setattr(os, "urandom", urandom)
    first = SecureNoise().normal(100)
    assert sum(asked) == 100 * 4 * 2 * 8, "four draws for each number, of two uniform numbers of 8 bytes each"
    monkeypatch.setattr(os, "urandom", lambda size: b"\x37" * size)
    assert len(set(SecureNoise().normal(100).tolist())) == 1 < len(set(first.tolist())), "nothing else is drawn from"


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: type(s).__name__)
def test_words_have_64_bits(source: NoiseSource) -> None:
    """Each bit is 1 in about half of 4,000 words; false alarm: below 1e-6 for all of them."""
    words = value_of(lambda: source.words(4000))
    ones = np.unpackbits(words.view(np.uint8)).reshape(4000, 64).sum(0, dtype=np.int64)
    assert words.dtype == np.uint64 and abs(ones - 2000).max() < 200
