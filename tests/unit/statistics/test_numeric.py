"""Numeric summaries: exact where few values are distinct, of any type, split in any way; decimals, steps, sums."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.errors import SchemaError
from raysynth.statistics.distinct import DistinctSample, hash_integers, hash_strings
from raysynth.statistics.numeric import ExactSum, NumericSummary
from raysynth.statistics.steps import Step, joint_step, needed_decimals


def summary_of(values: pa.Array, cuts: tuple[int, ...] = ()) -> NumericSummary:
    edges = [0, *sorted(min(c, len(values)) for c in cuts), len(values)]
    whole = NumericSummary(values.type)
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        part = NumericSummary(values.type)
        part.update(values.slice(start, end - start))
        whole.merge(part)
    return whole


def assert_same(a: NumericSummary, b: NumericSummary) -> None:
    x, y = a.distribution(), b.distribution()
    for name in ("low", "high", "counts"):
        np.testing.assert_array_equal(getattr(x, name), getattr(y, name))
    assert (x.missing, x.mean, x.std, x.decimals, x.step, a.n_inf, a.n_distinct, a.all_unique) == (
        *(y.missing, y.mean, y.std, y.decimals, y.step),
        *(b.n_inf, b.n_distinct, b.all_unique),
    )


@settings(max_examples=60)
@given(st.lists(st.none() | st.floats(), max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_any_split_gives_the_identical_summary(values: list[float | None], cuts: list[int]) -> None:
    array = pa.array(values, pa.float64())
    assert_same(summary_of(array), summary_of(array, tuple(cuts)))


def test_split_of_many_values_gives_the_identical_summary() -> None:
    rng = np.random.default_rng(1)
    values = pa.array(np.concatenate([rng.normal(size=700_000), np.full(1000, 0.5), [np.nan, np.inf]]))
    whole = summary_of(values)
    assert_same(whole, summary_of(values, (10, 100_000, 650_000)))
    found, x = value_of(whole.distribution), np.sort(values.to_numpy()[:-2])
    assert (found.low[0], found.high[-1]) == (x[0], x[-1]) and (found.low < found.high).any()
    within = np.searchsorted(x, found.high, "right") - np.searchsorted(x, found.low, "left")
    assert found.counts.tolist() == within.tolist() and found.counts.sum() == len(x)


@settings(max_examples=60)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=40))
def test_exact_sum_is_the_correctly_rounded_mean(values: list[float]) -> None:
    total = ExactSum()
    total.add(np.array(values))
    assert total.mean(len(values)) == float(sum(map(Fraction, values)) / len(values))


def test_missing_and_infinite_rows_are_counted_apart() -> None:
    summary = summary_of(pa.array([1.0, None, float("nan"), float("inf"), -float("inf"), 2.0]))
    assert (summary.missing, summary.n_inf, summary.n_finite) == (2, 2, 2)
    assert summary.distribution().missing == 4
    assert summary.extremes == (1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([3, 1, 2**62, None, 3], pa.int64()),
        ([3, 1, 255], pa.uint8()),
        ([date(2020, 2, 29), None, date(1960, 1, 1)], pa.date32()),
        ([datetime(2020, 1, 1, 12), datetime(1969, 1, 1)], pa.timestamp("us")),
        ([timedelta(days=2), timedelta(seconds=-1)], pa.duration("ms")),
        ([Decimal("1.10"), Decimal("-2.35"), None], pa.decimal128(8, 2)),
        ([0.1, 0.25, None], pa.float32()),
    ],
)
def test_categories_come_back_in_the_columns_own_type(values: list, type_: pa.DataType) -> None:
    array = pa.array(values, type_)
    counts = summary_of(array).categories("x")
    expected = {v for v in array.to_pylist() if v is not None}
    assert set(counts.values) == expected
    assert counts.missing == values.count(None)
    assert counts.total == len(values)


def test_integers_beyond_doubles_stay_exact() -> None:
    summary = summary_of(pa.array([2**62, 2**62 + 1, 2**62 + 1]))
    assert summary.n_distinct == 2
    assert summary.extremes == (2**62, 2**62 + 1)


def test_too_many_numbers_are_no_categories() -> None:
    summary = summary_of(pa.array(np.arange(70_000)))
    with pytest.raises(SchemaError, match=r"'x'.*too many.*continuous"):
        summary.categories("x")


@pytest.mark.statistical
def test_distinct_numbers_and_uniqueness_beyond_the_exact_range() -> None:
    unique = summary_of(pa.array(np.random.default_rng(0).permutation(300_000)))
    assert unique.all_unique
    assert unique.n_distinct == pytest.approx(300_000, rel=0.08)  # five standard errors of 1/sqrt(4096)
    repeated = summary_of(pa.array(np.random.default_rng(0).integers(0, 100_000, 300_000)))
    assert not repeated.all_unique
    assert repeated.n_distinct == pytest.approx(95_000, rel=0.08)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([1.0, 2e18, -3.0], 0),
        ([0.5, 1.25], 2),
        ([19.99, 1234567.01], 2),
        ([0.1 + 0.2], 1),  # but for the noise of the sum
        ([1e-9], 9),
        ([math.pi * 1e6], 16),
    ],
)
def test_decimals_are_the_digits_that_hold_every_value(values: list[float], decimals: int) -> None:
    assert needed_decimals(np.array(values)) == decimals


@pytest.mark.parametrize(("decimals", "largest"), [(0, 1e9), (1, 1e8), (2, 1e7), (4, 1e5)])
def test_noise_of_arithmetic_adds_no_decimals(decimals: int, largest: float) -> None:
    rng = np.random.default_rng(decimals)
    values = np.round(rng.uniform(-largest, largest, 2000), decimals)
    noisy = np.where(rng.random(2000) < 0.1, values + rng.choice([-4, -1, 1, 3], 2000) * np.spacing(values), values)
    assert needed_decimals(noisy) == decimals
    assert needed_decimals(np.cumsum(np.full(2000, 3 * 10.0**-decimals))) == decimals
    assert needed_decimals(rng.uniform(-largest, largest, 2000)) > 9 - np.log10(largest)  # measured values keep theirs


def test_decimals_of_32_bit_floats_are_those_that_were_written() -> None:
    assert needed_decimals(np.array([0.1, 2.35, 7.0], dtype=np.float32)) == 2


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-50, 50).map(lambda v: v * 86_400), min_size=1))
def test_step_is_the_greatest_common_divisor_of_the_differences(values: list[int]) -> None:
    keys = np.array(values, dtype=np.int64)
    step = joint_step(joint_step(Step(), keys[: len(keys) // 2]), keys[len(keys) // 2 :])
    assert step.size == math.gcd(*(v - values[0] for v in values))
    assert step.size == 1 or step.anchor == min(values)


def test_a_column_of_dates_has_a_step_of_a_day() -> None:
    days = pa.array([datetime(2020, 1, 1) + timedelta(days=int(d)) for d in (0, 3, 10)], pa.timestamp("us"))
    assert summary_of(days).distribution().step == 86_400_000_000


@given(st.lists(st.text(max_size=30), unique=True), st.integers(0, 3))
def test_equal_strings_have_equal_hashes_and_others_differ(texts: list[str], offset: int) -> None:
    array = pa.array(["x" * k for k in range(offset)] + texts, pa.string())
    hashes = hash_strings(array.slice(offset))
    np.testing.assert_array_equal(hashes, hash_strings(pa.array(texts, pa.string())))
    assert len(np.unique(hashes)) == len(texts)


@pytest.mark.statistical
def test_hashes_of_neighbours_are_spread_evenly() -> None:
    """Bits of 2**16 consecutive numbers: each is set in half of them, within six standard deviations."""
    for hashes in (hash_integers(np.arange(1 << 16)), hash_strings(pa.array([str(i) for i in range(1 << 16)]))):
        share = np.array([np.mean((hashes >> np.uint64(b)) & np.uint64(1)) for b in range(64)])
        assert np.abs(share - 0.5).max() < 6 * 0.5 / 256


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(0, 200))
def test_distinct_sample_is_the_same_for_any_split_and_its_counts_are_exact(values: list[int], cut: int) -> None:
    hashes = hash_integers(np.array(values, dtype=np.int64))
    whole, left, right = (DistinctSample(8) for _ in range(3))
    whole.add(hashes)
    left.add(hashes[:cut])
    right.add(hashes[cut:])
    left.merge(right)
    np.testing.assert_array_equal(whole.hashes, left.hashes)
    np.testing.assert_array_equal(whole.counts, left.counts)
    expected, counts = np.unique(hashes, return_counts=True)
    np.testing.assert_array_equal(whole.hashes, expected[:8])
    np.testing.assert_array_equal(whole.counts, counts[:8])


def test_one_value_of_any_number_of_rows_adds_up_exactly() -> None:
    total = ExactSum()
    value_of(lambda: total.add(np.array([0.1, 0.3]), np.array([1 << 40, 1])))
    n = (1 << 40) + 1
    assert total.mean(n) == float(((n - 1) * Fraction(0.1) + Fraction(0.3)) / n)


def test_the_spread_of_numbers_near_the_largest_is_finite() -> None:
    values = pa.array([1.5e308, 1.7e308] * 50)
    found = summary_of(values).distribution()
    assert found.mean == pytest.approx(1.6e308) and found.std == pytest.approx(0.1e308)


@pytest.mark.parametrize("more", [2.0**-26, -(2.0**-26), 2.0**-53, 2.0**-52, 0.25, 3 * 2.0**-53])
@pytest.mark.parametrize("size", [1.0, 2.0**-900, 2.0**900])
def test_sums_that_nearly_cancel_are_exact(more: float, size: float) -> None:
    """Of upper or lower halves of the digits nothing may be left, or one."""
    values = np.array([(0.5 + more) * size, -0.5 * size, 1.5 * size, -1.5 * size])
    total = ExactSum()
    value_of(lambda: total.add(values))
    expected = sum(map(Fraction, values.tolist())) / 4
    assert total.mean(4) == float(expected) != 0
    weighed = ExactSum()
    value_of(lambda: weighed.add(values, np.array([3, 3, 1, 1])))
    assert weighed.mean(4) == float(3 * expected)
