"""Tails beyond the values that enough persons share: how far they reach, and where there are none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raysynth.encoding.distribution import SmoothDistribution, smooth
from raysynth.encoding.numbers import protected_fields
from raysynth.encoding.tails import farthest, largest_expected
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import NumericDistribution
from tests.unit.encoding.test_shared_cells import of_persons

EVERYWHERE = (-np.inf, np.inf)


def found(x: np.ndarray, dtype: pa.DataType | None = None) -> NumericDistribution:
    array = pa.array(x, dtype)
    summary = NumericSummary(array.type)
    summary.update(array)
    return summary.distribution()


def of(x: np.ndarray, reach: tuple[float, float] | None = EVERYWHERE) -> SmoothDistribution:
    return smooth(found(x), 5, reach=reach)


@pytest.mark.parametrize("law", ["normal", "exponential", "gamma"])
@pytest.mark.parametrize("sign", [1, -1])
def test_ranges_are_nearer_to_the_real_ones_than_without_tails(law: str, sign: int) -> None:
    """Of 20 seeded columns of 1,000 rows: the mean distance of both ends from the real ones, a quarter less."""
    apart = {True: 0.0, False: 0.0}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = sign * (
            rng.gamma(2.0, size=1000)
            if law == "gamma"
            else getattr(rng, law.replace("exponential", "standard_exponential"))(size=1000)
        )
        for tails in (True, False):
            made = of(x, EVERYWHERE if tails else None)
            apart[tails] += abs(made.low[0] - x.min()) + abs(made.high[-1] - x.max())
    assert apart[True] < apart[False] * 3 / 4


@pytest.mark.parametrize("n", [100, 300, 2000])
def test_no_tail_is_beyond_numbers_that_come_to_an_end(n: int) -> None:
    """Minutes, days of a month and even numbers, 40 seeded columns each: at most three say something beyond."""
    laws = (lambda r: r.integers(0, 60, n), lambda r: r.integers(1, 32, n), lambda r: r.uniform(3, 70, n))
    for law in laws:
        columns = [law(np.random.default_rng(seed)) * 1.0 for seed in range(40)]
        assert sum(of(x).high[-1] > x.max() or of(x).low[0] < x.min() for x in columns) <= 3


def test_the_persons_beyond_an_end_are_the_rows_of_the_tail() -> None:
    x = np.random.default_rng(3).normal(size=2000)
    with_tails, without = of(x), of(x, None)
    inside = (with_tails.low >= without.low[0]) & (with_tails.high <= without.high[-1])
    assert (~inside).tolist() == [True, *[False] * (len(inside) - 2), True]
    np.testing.assert_array_equal(with_tails.low[1:-1], without.low)
    assert with_tails.share[[0, -1]].tolist() == [5 / 2000, 5 / 2000]
    assert with_tails.share.sum() == pytest.approx(1)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_four_outermost_persons_move_no_end(sign: int) -> None:
    """Of a column and of one in which those beyond the fifth are ten times as far, but within no wide gap."""
    x = np.sort(np.random.default_rng(4).exponential(size=1000))
    other = x.copy()
    other[-4:] = x[-5] + 0.2 * np.arange(1, 5)
    made, same = of(sign * x), of(sign * other)
    np.testing.assert_array_equal(made.low, same.low)
    np.testing.assert_array_equal(made.high, same.high)
    assert (made.high[-1] > of(x, None).high[-1]) if sign > 0 else (made.low[0] < of(-x, None).low[0])


def test_one_person_with_many_rows_moves_no_end() -> None:
    """Thirty rows beyond all others, of one person, count as the next persons' values do."""
    x, person = np.sort(np.random.default_rng(9).exponential(size=1000)), np.arange(1000)
    more = np.concatenate([x, np.full(30, x[-2] * 1.1)])
    far = of_persons(more, np.concatenate([person, np.full(30, 999)]), 5, pa.float64(), EVERYWHERE)
    assert far.high[-1] < 1.5 * of(x).high[-1]


@pytest.mark.parametrize("sentinel", [99.0, 9999.0])
def test_nothing_reaches_into_a_wide_gap(sentinel: float) -> None:
    x = np.append(np.random.default_rng(4).uniform(size=1000), [sentinel] * 3)
    assert of(x).high[-1] < 1.1


def test_tails_cross_neither_zero_nor_bounds_nor_what_a_type_holds() -> None:
    rng = np.random.default_rng(5)
    positive = rng.uniform(0.01, 3, 2000)
    assert of(positive).low[0] > 0 and of(-positive).high[-1] < 0
    assert of(100 - rng.exponential(2, 3000)).high[-1] <= 100
    small = np.random.default_rng(91).exponential(12, 1000).round()  # whose tail goes beyond the largest, 84
    small += 127 - small.max()
    for column in (
        ColumnSchema("x", Kind.CONTINUOUS, "int8"),
        ColumnSchema("x", Kind.CONTINUOUS, "int64", bounds=(30, 127)),
    ):
        cells = protected_fields(column, found(small.astype(np.int64), column.arrow_type), 5)["distribution"]
        assert cells.rounded(np.array([1e9])).item() <= 127 < of(small * 1.0).high[-1]


def test_times_have_no_tails() -> None:
    days = np.random.default_rng(6).normal(9000, 300, 3000).astype(np.int32)
    column = ColumnSchema("x", Kind.DATETIME, "date32[day]")
    cells = protected_fields(column, found(days, pa.date32()), 5)["distribution"]
    assert cells.high[-1] <= days.max() and cells.low[0] >= days.min()


def test_whole_numbers_stay_whole_and_zero_has_no_sign() -> None:
    x = np.random.default_rng(7).poisson(3, 5000) * 1.0
    made = of(x)
    assert not np.signbit(made.low).any()
    values = made.rounded(made.quantile(np.linspace(0, 1, 2001)))
    assert (values == values.round()).all() and values.min() == 0


@pytest.mark.parametrize(
    ("end", "far"), [(63.0, 100.0), (0.93, 1.0), (100.0, 1000.0), (-0.4, -0.1), (-63.0, -10.0), (0.0, 0.0)]
)
def test_the_next_power_of_ten(end: float, far: float) -> None:
    assert farthest(end) == pytest.approx(far)


def test_the_largest_of_exponential_values_is_expected_where_it_is() -> None:
    """Its median over a threshold is log(n / log 2) standard deviations away; of 400 samples, so within a tenth."""
    rng = np.random.default_rng(8)
    reached = [largest_expected(np.sort(rng.exponential(size=20)), np.ones(20)) for _ in range(400)]
    known = [r for r in reached if r is not None]
    assert len(known) > 380
    assert np.median(known) == pytest.approx(np.log(20 / np.log(2)), rel=0.1)
