"""Codes of changes: predictions take what is linear, bins what is left; unchanged, missing and extreme numbers."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.methods.autoregressive_sequences.changes import Changes


@pytest.fixture(scope="module")
def prices() -> tuple[np.ndarray, np.ndarray]:
    """Two walks of small steps over a wide range, the second a hundredth above the first: rows before, and rows."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.01, 4001).cumsum()
    first *= 0.9 / np.abs(first).max()
    both = np.stack([first, first + 0.01 + rng.normal(0, 0.0005, 4001)], 1)
    return both[:-1], both[1:]


def test_decoded_numbers_are_as_near_as_the_bins_are_fine(prices: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = prices
    counts = np.ones(now.shape, bool)
    changes = Changes.fit(before, now, counts, n_bins=100, rare=5)
    codes = changes.encode(before, now, counts)
    made = np.zeros_like(now)
    for v in range(2):
        made[:, v] = changes.decode(v, codes[:, v].astype(np.int64), before, made, np.random.default_rng(1))
    assert np.quantile(np.abs(made - now)[:, 0], 0.95) < 0.002  # a hundred bins of the level are 0.02 wide
    gap = np.diff(made, axis=1)
    assert abs(gap.mean() - 0.01) < 1e-4 and gap.std() < 0.0008  # the second keeps its distance from the first


def test_shares_are_those_of_the_codes_and_no_bin_is_rare(prices: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = prices
    counts = np.ones(now.shape, bool)
    counts[:100, 1] = False
    changes = Changes.fit(before, now, counts, n_bins=50, rare=20)
    codes = changes.encode(before, now, counts)
    assert (codes[:100, 1] == changes.n_bins + 1).all() and codes.max() < changes.cardinality
    for v in range(2):
        found = np.bincount(codes[:, v], minlength=changes.cardinality)
        np.testing.assert_allclose(changes.frequency_VB[v], found / len(codes))
        used = found[: changes.n_bins]
        assert used[used > 0].min() >= 19  # an edge lies between two rows, on either side of the twentieth
    assert changes.edges_VB[0, -1] < np.sort(np.abs(now - before)[:, 0])[-5]  # the outermost edge is no single row's


def test_unchanged_numbers_stay_exactly(prices: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = (x.copy() for x in prices)
    still = np.arange(len(now)) % 3 == 0
    now[still, 0] = before[still, 0]
    counts = np.ones(now.shape, bool)
    changes = Changes.fit(before, now, counts, n_bins=100, rare=5)
    codes = changes.encode(before, now, counts)
    assert (codes[still, 0] == changes.n_bins).all() and (codes[~still, 0] < changes.n_bins).all()
    made = changes.decode(0, codes[:, 0].astype(np.int64), before, np.zeros_like(now), np.random.default_rng(0))
    assert (made[still] == before[still, 0]).all() and changes.frequency_VB[1, changes.n_bins] == 0


def test_first_rows_have_no_row_before_them() -> None:
    rng = np.random.default_rng(2)
    now = rng.uniform(-1, 1, (2000, 1)) * np.ones((1, 2)) + rng.normal(0, 1e-3, (2000, 2))
    none, counts = now[:, :0], np.ones(now.shape, bool)
    changes = Changes.fit(none, now, counts, n_bins=100, rare=5)
    codes = changes.encode(none, now, counts)
    made = np.zeros_like(now)
    for v in range(2):
        made[:, v] = changes.decode(v, codes[:, v].astype(np.int64), none, made, rng)
    assert np.abs(made[:, 0] - now[:, 0]).max() < 0.03  # a bin of the level
    assert np.diff(made, axis=1).std() < 0.002  # but the second follows the first closely


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_few_rows_are_no_error(rows: int) -> None:
    now = np.linspace(-0.5, 0.5, rows)[:, None]
    changes = Changes.fit(now, now + 0.1, np.ones(now.shape, bool), n_bins=100, rare=5)
    codes = changes.encode(now, now + 0.1, np.ones(now.shape, bool))
    assert (codes < changes.n_bins).all()
    made = changes.decode(0, codes[:, 0].astype(np.int64), now, now, np.random.default_rng(0))
    np.testing.assert_allclose(made, now[:, 0] + 0.1)


def test_arrays_give_it_back(prices: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = prices
    changes = Changes.fit(before, now, np.ones(now.shape, bool), n_bins=20, rare=5)
    again = Changes.from_arrays(changes.to_arrays())
    np.testing.assert_array_equal(again.edges_VB, changes.edges_VB)
    with pytest.raises(ValueError, match="not finite and ascending"):
        Changes.from_arrays({**changes.to_arrays(), "edges": -changes.edges_VB})
    with pytest.raises(ValueError, match="other shapes"):
        Changes.from_arrays({**changes.to_arrays(), "weight": changes.weight_VL[:1]})
