"""Atoms survive every encoder: a value that many rows share is encoded as itself and decoded to itself."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.encoding.distribution import SmoothDistribution, parametric, smooth
from raysynth.encoding.numeric import BinEncoder, ModeEncoder, build_bins, build_modes, build_scaled
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.noised_tails import grid_of
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import NumericDistribution

TINY = 5e-324
COLUMN = ColumnSchema("x", Kind.CONTINUOUS, "double")
N = 600

Released = Callable[[np.ndarray], NumericDistribution]


def exact(x: np.ndarray) -> NumericDistribution:
    summary = NumericSummary(pa.float64())
    summary.update(pa.array(x))
    return summary.distribution()


def noised(x: np.ndarray) -> NumericDistribution:
    """The leaves of a histogram as a private fit has them: zero and both ends are leaves of no width."""
    grid = grid_of(COLUMN, (float(x.min()), float(x.max())))
    counts = np.bincount(np.searchsorted(grid.starts, x, side="right") - 1, minlength=len(grid.starts))
    first = np.flatnonzero(counts)
    return grid.distribution(first, counts[first].astype(float), 0.0)


def spiked(seed: int, spikes: list[float], share: float) -> np.ndarray:
    """Rows of which `share` have one of the spikes; the others are drawn around them."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(N) < share, rng.choice(spikes, N), rng.normal(0, max(abs(s) for s in spikes) + 1, N))


def assert_atoms_are_their_own_cells(distribution: SmoothDistribution) -> None:
    atoms = np.flatnonzero(distribution.low == distribution.high)
    np.testing.assert_array_equal(distribution.cell_of(distribution.low[atoms]), atoms)


def assert_atoms_come_back(encoder: BinEncoder | ModeEncoder, atoms: np.ndarray) -> None:
    codes, values = encoder.encode(pa.array(atoms))
    assert len(np.unique(codes)) == len(atoms)
    assert encoder.decode(codes, values, np.random.default_rng(0)).to_numpy().tolist() == atoms.tolist()


values = st.floats(-1e9, 1e9, allow_subnormal=True)


@pytest.mark.parametrize("release", [exact, noised])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    spikes=st.lists(st.sampled_from([0.0, TINY, -TINY, sys.float_info.min, 1.0, -9999.0]) | values, min_size=1,
                    max_size=4, unique=True),
    share=st.floats(0.3, 0.95),
)  # fmt: skip
def test_every_encoder_keeps_every_atom(release: Released, seed: int, spikes: list[float], share: float) -> None:
    numbers = release(spiked(seed, spikes, share))
    distribution = smooth(numbers, 5)
    assert_atoms_are_their_own_cells(distribution)
    atoms = distribution.low[(distribution.low == distribution.high) & (distribution.share > 0.06)]
    assert_atoms_come_back(build_bins(COLUMN, numbers, rare_threshold=5, n_bins=20), atoms)
    assert_atoms_come_back(build_modes(COLUMN, numbers, rare_threshold=5, n_modes=5), atoms)
    assert_atoms_come_back(build_scaled(COLUMN, numbers, rare_threshold=5), atoms)


@pytest.mark.parametrize("spike", [0.0, TINY, -TINY, 3.5])
def test_parametric_marginals_keep_their_atoms(spike: float) -> None:
    assert_atoms_are_their_own_cells(parametric(smooth(exact(spiked(0, [spike], 0.4)), 5))[0])


def test_zero_beside_the_smallest_number_is_its_own_cell() -> None:
    """The middle of 0 and the smallest positive double is 0."""
    distribution = SmoothDistribution(np.array([0.0, TINY]), np.array([0.0, 0.1]), np.array([0.8, 0.2]), 0.0, None)
    assert distribution.cell_of(np.array([-1.0, 0.0, TINY, 0.05])).tolist() == [0, 0, 1, 1]
    assert distribution.rank(np.array([0.0]))[0] == pytest.approx(0.4)


def test_an_atom_where_the_next_cell_begins_is_its_own_cell() -> None:
    low, high = np.array([-1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    distribution = SmoothDistribution(low, high, np.array([0.2, 0.5, 0.3]), 0.0, None)
    assert distribution.cell_of(np.array([-TINY, 0.0, TINY])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [0.1, 0.25, 0.7, 1e-3], ids=str)
def test_an_atom_keeps_what_arithmetic_left_in_it(size: float) -> None:
    """3 * 0.1 is 0.30000000000000004: rounded to one decimal, a column of such values is told from the real one."""
    x = np.repeat(np.cumsum(np.full(40, size)), 20)
    x = np.concatenate([x, np.linspace(0, 40 * size, 41).round(3)])  # single rows are drawn on the grid
    numbers = exact(x)
    atoms = np.unique(x[:-41])
    assert numbers.decimals is not None and (size == 0.25 or (np.round(atoms, numbers.decimals) != atoms).any())
    bins = build_bins(COLUMN, numbers, rare_threshold=5, n_bins=200)
    for encoder in (bins, BinEncoder.from_state(COLUMN, *bins.to_state())):
        assert_atoms_come_back(encoder, atoms)
        codes, values = encoder.encode(pa.array(x))
        made = encoder.decode(codes, values, np.random.default_rng(1)).to_numpy()
        others = made[~np.isin(made, atoms)]
        np.testing.assert_array_equal(others, np.round(others, numbers.decimals))
    scaled = build_scaled(COLUMN, numbers, rare_threshold=5)
    codes, values = scaled.encode(pa.array(atoms))
    assert scaled.decode(codes, values, np.random.default_rng(0)).to_numpy().tolist() == atoms.tolist()
