"""What is told of a column of numbers beside plain Python over its values: moments, ends, cells, categories."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.errors import SchemaError
from raysynth.statistics import numeric as module
from raysynth.statistics.cells import CAP, Cells, cells_of, float_keys
from raysynth.statistics.numeric import ExactSum, NumericSummary, is_numeric

RNG = np.random.default_rng(7)
FEW = RNG.integers(-9, 9, 60) / 4


def summary(array: pa.Array, parts: int = 1) -> NumericSummary:
    whole = NumericSummary(array.type)
    for part in np.array_split(np.arange(len(array)), parts):
        own = NumericSummary(array.type)
        own.update(array.take(pa.array(part)))
        whole.merge(own)
    return whole


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(
    ("values", "type_", "decimals", "step"),
    [
        (FEW.tolist(), pa.float64(), 2, 0.25),
        ((FEW * 4).tolist(), pa.float64(), 0, None),
        ((FEW * 40).astype(int).tolist(), pa.int32(), 0, 10),
        ([5, 5, 5, None], pa.int64(), 0, 1),
        ([2**63 + 5, 2**63 + 11, 2**63 + 5], pa.uint64(), 0, 6),
        ([0.5, 2.0], pa.float64(), 1, None),
        ([0.1, 0.25, 0.4], pa.float64(), 2, 0.15),
        ([1e-300, 2e300, 0.1], pa.float64(), None, None),
    ],
)
def test_a_distribution_is_that_of_the_values(
    values: list[Any], type_: pa.DataType, decimals: int | None, step: float | None, parts: int
) -> None:
    array = pa.array(values, type_)
    found = value_of(lambda: summary(array, parts).distribution())
    own = sorted(v for v in values if v is not None)
    exact = [Fraction(v) for v in own]
    mean = sum(exact) / len(exact)
    assert found.mean == float(mean)
    variance = sum((v - mean) ** 2 for v in exact) / len(exact)
    if max(own) < 2**63:  # of larger whole numbers the doubles may be one
        std = math.sqrt(variance) if variance < 1e300 else 2e300 * math.sqrt(2) / 3
        assert found.std == pytest.approx(std, rel=1e-9)
    distinct = sorted(set(own))
    assert found.low.tolist() == found.high.tolist() == [float(v) for v in distinct]
    assert found.counts.tolist() == [own.count(v) for v in distinct]
    assert (found.missing, found.exact, found.rank_error, found.decimals) == (values.count(None), True, 0.0, decimals)
    assert found.step == (None if step is None else pytest.approx(step))
    assert (found.whole is not None) == (max(map(abs, own)) >= 2**53 and pa.types.is_integer(type_))
    if found.whole is not None:
        assert [w.tolist() for w in found.whole] == [distinct, distinct]
    told = summary(array, parts)
    assert (told.n_finite, told.n_distinct, told.extremes) == (len(own), len(distinct), (own[0], own[-1]))
    assert told.all_unique == (len(own) == len(distinct))
    counts = told.categories("x")
    assert counts.values == tuple(sorted(distinct, key=lambda v: (-own.count(v), str(v))))
    assert counts.counts.tolist() == [own.count(v) for v in counts.values] and counts.missing == values.count(None)


@pytest.mark.parametrize(("n", "expected"), [(1, ["0"]), (2, ["0", "9"]), (4, ["0", "3", "6", "9"]), (99, None)])
def test_examples_are_spread_evenly_over_distinct_values(n: int, expected: list[str] | None) -> None:
    shown = value_of(lambda: summary(pa.array([*range(10), 9, 9])).examples(n))
    assert shown == (expected or [str(v) for v in range(10)])
    assert summary(pa.array([], pa.int64())).examples(3) == [] and summary(pa.array([], pa.int64())).extremes is None


def test_no_value_has_no_moments_and_infinite_ones_are_missing() -> None:
    found = value_of(lambda: summary(pa.array([math.inf, None, math.nan, -math.inf])).distribution())
    assert (found.mean, found.std, found.missing, len(found.low)) == (0.0, 0.0, 4.0, 0)
    assert found.exact and found.rank_error == 0.0


def test_a_spread_that_nearly_cancels_is_that_of_the_cells() -> None:
    x = 1e9 + np.arange(20) / 8
    assert summary(pa.array(x)).distribution().std == pytest.approx(np.std(np.arange(20) / 8), rel=1e-9)
    huge = np.array([1e200, 1.5e200, 3e200])
    assert summary(pa.array(huge)).distribution().std == pytest.approx(np.std(huge / 1e200) * 1e200)


def test_cells_of_several_values_say_how_far_ranks_may_be_off() -> None:
    """Beyond 65,536 different values: the most rows of a cell of several; digits and steps are of values, not cells."""
    values = np.concatenate([np.arange(CAP + 4_464) * 0.001, np.full(500, 3.0)])
    told = summary(pa.array(values), 3)
    found = told.distribution()
    wide = found.low < found.high
    assert not found.exact and found.rank_error == found.counts[wide].max() / len(values) and found.step is None
    assert found.counts.sum() == len(values) and found.decimals == 3
    assert told.n_distinct == pytest.approx(70_000, rel=0.05)
    with pytest.raises(SchemaError, match="'x' has about .* distinct numbers, too many for categories"):
        told.categories("x")
    assert summary(pa.array(np.arange(CAP) * 0.5)).distribution().exact


@pytest.mark.parametrize(
    ("low", "high", "counts", "n_low", "expected"),
    [
        ([1, 5], [3, 5], [80, 4], [12, 4], [(1, 1, 12, 12), (2, 3, 68, 0), (5, 5, 4, 4)]),
        ([1, 5], [3, 5], [80, 4], [11, 4], [(1, 3, 80, 11), (5, 5, 4, 4)]),
        ([5], [5], [80], [80], [(5, 5, 80, 80)]),
    ],
)
def test_a_value_of_more_than_an_eighth_of_a_cells_rows_stands_apart(
    low: list[int], high: list[int], counts: list[int], n_low: list[int], expected: list[tuple[int, ...]]
) -> None:
    arrays = [np.array(x, np.int64) for x in (low, high, counts, n_low)]
    found = value_of(Cells("integers", 3, *arrays).with_spikes_apart)
    assert list(zip(found.low, found.high, found.counts, found.n_low, strict=True)) == expected and found.level == 3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cap", [3, 8])
def test_cells_are_neighbours_by_the_first_bits_of_their_keys(seed: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(size=30) * 10.0 ** rng.integers(-3, 4, 30), [0.0, -0.0, 1.0, 1.0]])
    keys = float_keys(values)
    found = value_of(lambda: cells_of(keys, "floats").fitted(cap))
    groups: dict[int, list[int]] = {}
    level = next(lv for lv in range(65) if len({int(k) >> min(lv, 63) for k in keys}) <= cap)
    for k in keys.tolist():
        groups.setdefault(k >> min(level, 63), []).append(k)
    expected = [(min(g), max(g), len(g), g.count(min(g))) for _, g in sorted(groups.items())]
    assert list(zip(found.low, found.high, found.counts, found.n_low, strict=True)) == expected
    assert found.level == level
    assert found.low_values.tolist() == [min(v for v, k in zip(values, keys, strict=True) if k == c) for c in found.low]


def test_exact_sums_of_many_rows_are_added_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ROWS", 5)
    x, counts = RNG.normal(size=9) * 1e5, np.array([1, 2, 9, 1, 1, 7, 1, 3, 2])
    for of in (None, counts):
        total = ExactSum()
        value_of(lambda total=total, of=of: total.add(x, of))
        n = 9 if of is None else int(of.sum())
        weights = [1] * 9 if of is None else of.tolist()
        exact = sum(Fraction(v) * w for v, w in zip(x.tolist(), weights, strict=True))
        assert total.mean(n) == float(exact / n)
    empty = ExactSum()
    empty.add(np.empty(0))
    assert empty.scaled == 0


@pytest.mark.parametrize(
    ("type_", "numeric"),
    [(pa.float32(), True), (pa.decimal128(5, 2), True), (pa.uint8(), True), (pa.date32(), True), (pa.string(), False),
     (pa.bool_(), False), (pa.duration("s"), True)],
)  # fmt: skip
def test_numbers_and_times_are_summed(type_: pa.DataType, numeric: bool) -> None:
    assert is_numeric(type_) is numeric


@pytest.mark.parametrize("precision", [9, 15, 16, 30])
def test_decimals_are_the_nearest_doubles_whatever_their_precision(precision: int) -> None:
    values = [Decimal("0.07"), None, Decimal("-1.15"), Decimal("29.35")]
    array = pa.array(values, pa.decimal128(precision, 2))
    for part in (array, array[1:], array[2:3]):
        own = [v for v in part.to_pylist() if v is not None]
        assert value_of(lambda part=part: summary(part)).distribution().low.tolist() == sorted(map(float, own))
        assert set(summary(part).categories("x").values) == set(own)


def test_spans_of_time_are_whole_numbers_of_their_unit() -> None:
    spans = summary(pa.array([timedelta(seconds=6), timedelta(seconds=15), None], pa.duration("ms")))
    found = spans.distribution()
    assert (found.low.tolist(), found.step, found.calendar, found.missing) == ([6000.0, 15_000.0], 9000, None, 1.0)
    assert set(spans.categories("x").values) == {timedelta(seconds=6), timedelta(seconds=15)}
