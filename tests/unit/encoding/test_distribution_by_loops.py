"""Distributions, mixtures and codes of numbers beside plain loops over single values, cells and modes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of
from scipy import stats

from raysynth.encoding.distribution import (
    FEW_CELLS,
    MANY,
    SmoothDistribution,
    behind,
    ends_on_grid,
    parametric,
    smooth,
)
from raysynth.encoding.mixture import Mixture, fit_mixture
from raysynth.encoding.numeric import ModeEncoder, begins_run, build_bins, build_scaled
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import NumericDistribution
from tests.unit.encoding.test_mixture import cells

SEEDS = range(5)


def cell_by_loops(d: SmoothDistribution, x: float) -> int:
    """An atom has its own value alone; else the middle between two cells divides them."""
    at = 0
    for i in range(1, len(d.low)):
        middle = (Fraction(d.high[i - 1]) + Fraction(d.low[i])) / 2
        is_beyond_atom = d.low[i - 1] < d.high[i - 1] or x > d.high[i - 1]
        at = i if x >= min(middle, Fraction(d.low[i])) and is_beyond_atom else at
    return at


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_ranks_and_values_at_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = cells(rng, int(rng.integers(1, 12)))
    ends = np.concatenate([d.low, d.high])
    x = np.concatenate([ends, (ends[1:] + ends[:-1]) / 2, ends + 1e-9, ends - 1e-9, [-50.0, 1e6]])
    before = [sum(d.share[:i]) for i in range(len(d.share) + 1)]
    for value, cell, rank in zip(x.tolist(), d.cell_of(x).tolist(), d.rank(x).tolist(), strict=True):
        assert cell == cell_by_loops(d, value)
        low, high = d.low[cell], d.high[cell]
        inside = 0.5 if low == high else (min(max(value, low), high) - low) / (high - low)
        assert rank == pytest.approx(before[cell] + inside * d.share[cell], abs=1e-12)
        for inclusive in (True, False):
            mass = 0.0
            for a, b, share in zip(d.low, d.high, d.share, strict=True):
                if a == b:
                    mass += share * (a <= value if inclusive else a < value)
                else:
                    mass += share * min(max((value - a) / (b - a), 0.0), 1.0)
            assert d.rank_below(value, inclusive=inclusive) == pytest.approx(mass, abs=1e-12)
    ranks = np.concatenate([rng.random(40), [0.0, 1.0]])
    for rank, value in zip(ranks.tolist(), value_of(lambda: d.quantile(ranks)).tolist(), strict=True):
        cell = max(i for i in range(len(d.share)) if i == 0 or before[i] <= rank)
        inside = min((rank - before[cell]) / max(d.share[cell], 1e-300), 1.0)
        assert value == pytest.approx(d.low[cell] + inside * (d.high[cell] - d.low[cell]), abs=1e-6)
    np.testing.assert_array_equal(d.is_atom(ends), [v in set(d.low[d.low == d.high]) for v in ends])


@pytest.mark.parametrize("n", [5, MANY, MANY + 1])
def test_edges_behind_values_are_counted(n: int) -> None:
    x = np.resize([-1.0, 0.0, 0.5, 3.0, 9.0], n)
    assert behind(np.array([0.0, 1.0, 3.0]), x)[:5].tolist() == [0, 1, 1, 3, 3]
    assert not behind(np.empty(0), x).any()


@pytest.mark.parametrize(
    ("decimals", "step", "offset"), [(0, 0.0, 0.0), (2, 0.0, 0.0), (0, 5.0, 3.0), (2, 0.25, 0.1), (None, 4.0, 1.0)]
)
def test_values_are_rounded_to_the_grid_and_stay_between_its_points(
    decimals: int | None, step: float, offset: float
) -> None:
    unit = step or 10.0**-decimals  # type: ignore[operator]
    low, high = (
        np.array([offset + 1.4 * unit, offset + 20 * unit]),
        np.array([offset + 9 * unit, offset + 30.7 * unit]),
    )
    d = SmoothDistribution(low, high, np.array([0.5, 0.5]), 0.0, decimals, step, offset)
    assert d.unit == pytest.approx(unit)
    points = [offset + k * unit for k in range(2, 31)]
    assert d.ends == pytest.approx((points[0], points[-1]))
    x = np.linspace(low[0] - unit, high[-1] + unit, 157)
    for value, found in zip(x.tolist(), value_of(lambda: d.rounded(x)).tolist(), strict=True):
        assert min(abs(found - p) for p in points) < 1e-9 * max(1, abs(found))
        assert abs(found - value) <= min(abs(p - value) for p in points) + 1e-9
    gap = [p for p in points if high[0] + 1e-9 < p < low[1] - 1e-9]
    assert gap and not np.isin(np.round(d.possible(np.array(gap)), 6), np.round(gap, 6)).any()
    first, last = d.inwards(offset + 4.3 * unit, offset + 8 * unit)
    assert (first, last) == pytest.approx((offset + 5 * unit, offset + 8 * unit))
    for edge in (7.0, 7.3):
        below = [d.rank_below(offset + edge * unit, inclusive=i) for i in (False, True)]
        at = [6.5, 7.5] if edge == 7.0 else [7.5, 7.5]  # values that round to less, and to no more
        assert below == pytest.approx([0.5 * (a - 1.4) / 7.6 for a in at])
    moved = ends_on_grid(d)
    assert (moved.low[0], moved.high[-1]) == pytest.approx((points[0], points[-1]))
    assert moved.low[1] == d.low[1] and moved.high[0] == d.high[0]


def released(values: np.ndarray) -> NumericDistribution:
    summary = NumericSummary(pa.array(values).type)
    summary.update(pa.array(values))
    return summary.distribution()


@pytest.mark.parametrize(
    ("values", "step", "offset"),
    [
        (np.arange(40) * 5 + 3, 5.0, 3.0),
        (np.arange(40) * 5, 5.0, 0.0),
        (np.arange(40), 0.0, 0.0),
        (np.arange(40) * 0.25 + 0.1, 0.25, 0.1),
        (np.arange(40) * 0.01, 0.0, 0.0),
    ],
)
def test_the_step_of_numbers_is_found_with_its_offset(values: np.ndarray, step: float, offset: float) -> None:
    d = value_of(lambda: smooth(released(values), 1))
    assert (d.step, d.offset) == pytest.approx((step, offset))


@pytest.mark.parametrize("rare", [2, 5])
def test_cells_hold_as_many_rows_as_their_size_asks_for(rare: int) -> None:
    """Of 2,500 rows: the protected few, which none goes below, twice as many, or a half of the root of all rows."""
    values = np.random.default_rng(0).normal(size=2500)
    least = {"least": rare, "doubled": 2 * rare, "coarse": max(rare, 2500 / (2 * 50))}
    for size, rows in least.items():
        held = value_of(lambda size=size: smooth(released(values), rare, size)).share * 2500  # type: ignore[arg-type]
        assert held.min() >= rare - 1e-6 and rows - 1e-6 <= np.median(held) < 2.5 * rows


def em_by_loops(x: list[float], mass: list[float], k: int) -> list[tuple[float, float, float]]:
    """Modes of weighted points, point by point: from even quantiles, weak ones dropped, until means stand still."""
    center = math.fsum(m * v for m, v in zip(mass, x, strict=True))
    scale = math.sqrt(math.fsum(m * (v - center) ** 2 for m, v in zip(mass, x, strict=True)))
    z = [(v - center) / scale for v in x]
    k = min(k, len(set(z)))
    ranks = np.cumsum(mass) - np.array(mass) / 2
    modes = [(1 / k, float(np.interp((i + 0.5) / k, ranks, z)), 1 / k) for i in range(k)]
    for _ in range(150):
        parts = []
        for v, m in zip(z, mass, strict=True):
            density = [math.log(w / s) - 0.5 * ((v - mu) / s) ** 2 for w, mu, s in modes]
            top = max(density)
            own = [math.exp(d - top) for d in density]
            parts.append([m * o / sum(own) for o in own])
        found = [math.fsum(p[i] for p in parts) for i in range(len(modes))]
        kept = [i for i, f in enumerate(found) if f > 0.005]
        means = [math.fsum(p[i] * v for p, v in zip(parts, z, strict=True)) / found[i] for i in kept]
        spread = [
            math.sqrt(math.fsum(p[i] * (v - mu) ** 2 for p, v in zip(parts, z, strict=True)) / found[i] + 1e-6)
            for i, mu in zip(kept, means, strict=True)
        ]
        stands = len(kept) == len(modes) and max(abs(a - m[1]) for a, m in zip(means, modes, strict=True)) < 1e-4
        total = sum(found[i] for i in kept)
        modes = [(found[i] / total, mu, s) for i, mu, s in zip(kept, means, spread, strict=True)]
        if stands:
            break
    return [(w, center + scale * mu, scale * s) for w, mu, s in modes]


@pytest.mark.parametrize("seed", SEEDS)
def test_modes_are_those_of_expectation_and_maximisation_by_loops(seed: int) -> None:
    """Each cell is three points, a third of its rows each; one of two thirds of its rows is an atom by itself."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.choice([0.2, 1.0, 9.0], 24))
    low, high = edges[::2], edges[1::2]
    share = rng.dirichlet(np.full(12, 0.6))
    found = value_of(lambda: fit_mixture(SmoothDistribution(low, high, share, 0.0, None), 3))
    points = [a + (b - a) * f for a, b in zip(low, high, strict=True) for f in (1 / 6, 1 / 2, 5 / 6)]
    expected = em_by_loops(points, [s / 3 for s in share for _ in range(3)], 3)
    assert len(found.weight) == len(expected)
    np.testing.assert_allclose(np.stack([found.weight, found.mean, found.std], 1), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_runs_of_cells_are_cut_by_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mass, alone, most = rng.dirichlet(np.ones(30)), rng.random(30) < 0.2, int(rng.integers(1, 12))
    rest = sum(m for m, a in zip(mass, alone, strict=True) if not a)
    begins, before, last = [], 0.0, -2
    for m, is_alone in zip(mass.tolist(), alone.tolist(), strict=True):
        target = -1 if is_alone else math.floor((before + m / 2) / rest * max(most - alone.sum(), 1))
        begins.append(target != last or is_alone)
        before, last = before + (0 if is_alone else m), target
    assert value_of(lambda: begins_run(mass, alone, most)).tolist() == begins


def encoder(rng: np.random.Generator, missing: float) -> ModeEncoder:
    """Two wide modes and an atom, over cells without gaps."""
    d = SmoothDistribution(
        np.array([0.0, 4.0, 4.5, 8.0]), np.array([4.0, 4.0, 8.0, 20.0]), rng.dirichlet(np.ones(4)), missing, None
    )
    mixture = Mixture(np.array([0.5, 0.3, 0.2]), np.array([2.0, 4.0, 12.0]), np.array([1.0, 0.0, 3.0]),
                      np.array([3.9, 4.1, 7.0, 18.0]), np.array([0, 1, 0, 2, 0]))  # fmt: skip
    return ModeEncoder(name="x", kind=Kind.CONTINUOUS, dtype=pa.float64(), distribution=d, mixture=mixture)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mode_and_how_far_from_its_mean_stand_for_a_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, d = encoder(rng, 0.25), encoder(np.random.default_rng(seed), 0.25).distribution
    x = np.concatenate([rng.uniform(-3, 23, 40), [3.9, 4.0, 4.1, 7.0, 18.0]])
    codes, values = ours.encode(pa.array([*x.tolist(), None]))
    edges, of = [3.9, 4.1, 7.0, 18.0], [0, 1, 0, 2, 0]
    for v, code, value in zip(x.tolist(), codes.tolist(), values.tolist(), strict=False):
        mode = of[sum(e <= v for e in edges)]
        mean, std = (2.0, 4.0, 12.0)[mode], (1.0, 0.0, 3.0)[mode]
        assert code == mode
        assert value == pytest.approx(0.0 if std == 0 else min(max((v - mean) / (4 * std), -1), 1), abs=1e-6)
    assert (codes[-1], values[-1], ours.cardinality) == (3, 0.0, 4)
    made = ours.decode(codes, values, rng).to_pylist()
    assert made[-1] is None
    for v, code, value in zip(made[:-1], codes.tolist(), values.tolist(), strict=False):
        mean, std = (2.0, 4.0, 12.0)[code], (1.0, 0.0, 3.0)[code]
        raw = mean + 4 * std * value
        near = (
            min(raw if a <= raw <= b else min((a, b), key=lambda e: abs(e - raw)) for a, b in [(0, 4), (4.5, 20)])
            if (not 4 < raw < 4.5 and 0 <= raw <= 20)
            else None
        )
        assert near is None or v == pytest.approx(raw, abs=1e-5)
        assert 0 <= v <= 20 and not 4 < v < 4.5
    below = [0.0, *(d.rank_below(e, inclusive=False) for e in edges), 1.0]
    share = [sum(b - a for a, b, m in zip(below[:-1], below[1:], of, strict=True) if m == mode) for mode in range(3)]
    assert ours.shares.tolist() == pytest.approx([*(0.75 * s for s in share), 0.25])
    first, last = d.rank_below(3.0, inclusive=False), d.rank_below(9.0, inclusive=True)
    for mode, weight in enumerate(ours.condition_weights((3.0, 9.0)).tolist()[:-1]):
        inside = sum(
            min(max(b, first), last) - min(max(a, first), last)
            for a, b, m in zip(below[:-1], below[1:], of, strict=True)
            if m == mode
        )
        assert weight == pytest.approx(min(inside / share[mode], 1.0))
    assert ours.condition_weights((3.0, 9.0))[-1] == 0


def test_the_range_of_a_sequences_numbers_is_one_mode_from_minus_one_to_one() -> None:
    values = np.concatenate([np.zeros(300), np.random.default_rng(1).normal(50, 9, 700)])
    column = ColumnSchema("x", Kind.CONTINUOUS, "double")
    scaled = value_of(lambda: build_scaled(column, released(values), rare_threshold=5))
    d, smooth_mode = scaled.distribution, int(np.flatnonzero(scaled.mixture.std > 0)[0])
    assert scaled.mixture.mean.tolist().count(0.0) == 1 and len(scaled.mixture.mean) == 2
    assert scaled.mixture.mean[smooth_mode] == pytest.approx((d.low[0] + d.high[-1]) / 2)
    codes, x = scaled.encode(pa.array([d.high[-1], d.low[0] + 1e-3]))
    assert codes[0] == smooth_mode and x[0] == pytest.approx(1.0, abs=1e-5)
    few = value_of(lambda: build_scaled(column, released(np.repeat([1.0, 2.0], 50)), rare_threshold=5))
    assert few.mixture.mean.tolist() == [1.0, 2.0] and not few.mixture.std.any()


def test_values_of_half_a_bin_are_codes_of_their_own_and_few_cells_all_are() -> None:
    rng = np.random.default_rng(2)
    column = ColumnSchema("x", Kind.CONTINUOUS, "double")
    values = np.concatenate([np.repeat([-5.0, -7.0], [260, 240]), rng.random(9500) + 1])
    bins = value_of(lambda: build_bins(column, released(values), rare_threshold=1, n_bins=20))
    d = bins.distribution
    own = {
        float(d.low[a])
        for a, b in zip(bins.first_cell, [*bins.first_cell[1:], len(d.low)], strict=True)
        if b == a + 1 and d.low[a] == d.high[a]
    }
    assert -5.0 in own and bins.shares.sum() == pytest.approx(1)
    smooth_codes = [s for a, s in zip(bins.first_cell, bins.shares, strict=False) if d.low[a] > 0]
    assert np.ptp(smooth_codes[1:-1]) < 0.01
    few = build_bins(column, released(np.arange(30.0)), rare_threshold=1, n_bins=20)
    more = build_bins(column, released(np.arange(31.0)), rare_threshold=1, n_bins=20)
    assert len(few.first_cell) == 30 and len(more.first_cell) == 20 or len(more.first_cell) == 31


def test_a_fitted_family_has_the_shape_of_the_values_and_keeps_what_is_heaped() -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random(20_000) < 0.1, 7.0, rng.normal(10, 2, 20_000))
    d = smooth(released(values), 5)
    found, name = value_of(lambda: parametric(d))
    assert name != "empirical" and found.share.sum() == pytest.approx(1)
    assert (found.low[1:] >= found.high[:-1]).all() and found.share[
        (found.low == 7.0) & (found.high == 7.0)
    ] == pytest.approx(0.1, abs=0.01)
    inside = found.quantile(np.array([0.05, 0.25, 0.5, 0.75, 0.95]))
    np.testing.assert_allclose(inside, np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]), atol=0.15)
    assert (found.low[0], found.high[-1]) == pytest.approx((d.low[0], d.high[-1]), abs=0.7)
    few = SmoothDistribution(
        np.arange(FEW_CELLS) * 2.0, np.arange(FEW_CELLS) * 2.0 + 1, np.full(FEW_CELLS, 1 / FEW_CELLS), 0.0, None
    )
    assert parametric(few) == (few, "empirical")
    x = np.linspace(-3, 3, 200)
    normal = SmoothDistribution(x[:-1], x[1:], np.diff(stats.norm.cdf(x)) / np.diff(stats.norm.cdf(x)).sum(), 0.0, None)
    assert parametric(normal)[1] in ("norm", "t", "beta", "gamma", "lognorm", "weibull_min")


def test_many_rows_are_a_thousand_cells_and_a_value_of_each_two_thousandth_is_an_atom() -> None:
    edges = np.arange(10_241.0)
    fine = NumericDistribution(edges[:-1], edges[1:], np.full(10_240, 10), 0.0, 0.0, 1.0, None, False, 0.0)
    d = value_of(lambda: smooth(fine, 1))
    assert len(d.low) == 1024 and d.share == pytest.approx(1 / 1024)
    heaps = np.full(10_240, 10)
    heaps[[500, 900]] = 53, 51
    single = replace(fine, counts=heaps, high=np.where(heaps > 10, edges[:-1], edges[1:]))
    atoms = value_of(lambda: smooth(single, 1))
    assert heaps.sum() * 0.0005 > 51 and atoms.low[atoms.low == atoms.high].tolist() == [500.0]


@pytest.mark.parametrize("number", [float, np.float64, lambda v: float(np.float32(v))])
def test_every_value_of_a_grid_is_below_and_not_below_itself(number: Callable[[float], float]) -> None:
    """A cent of a thousand, whatever arithmetic makes of its place, and as a column of float32 has it."""
    d = SmoothDistribution(np.array([1234.005]), np.array([1244.005]), np.ones(1), 0.0, 2)
    for k in range(123_402, 124_400, 7):
        x = number(k / 100)
        below, up_to = (value_of(lambda x=x, i=i: d.rank_below(x, inclusive=i)) for i in (False, True))
        assert up_to - below == pytest.approx(1e-3, abs=1e-9)
        assert below == pytest.approx((k - 123_401) / 1000, abs=1e-6)
