"""Whole numbers of 64 bits: exact from the table to the codes and back, in range conditions too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.encoding.numbers import WholeLine, to_numbers
from raysynth.encoding.numeric import BinEncoder, ModeEncoder, build_bins, build_modes, build_scaled
from raysynth.errors import ModelFileError
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.numeric import NumericSummary

SIGNED, UNSIGNED = (-(2**63), 2**63 - 1), (0, 2**64 - 1)
N = 600


def column(array: pa.Array) -> ColumnSchema:
    return ColumnSchema("x", Kind.DATETIME if pa.types.is_temporal(array.type) else Kind.CONTINUOUS, str(array.type))


def encoders(array: pa.Array, rare: int = 5) -> tuple[BinEncoder, ModeEncoder, ModeEncoder]:
    summary = NumericSummary(array.type)
    for part in (array[: N // 2], array[N // 2 :]):
        own = NumericSummary(array.type)
        own.update(part)
        summary.merge(own)
    numbers = summary.distribution()
    return (
        build_bins(column(array), numbers, rare_threshold=rare, n_bins=2000),
        build_modes(column(array), numbers, rare_threshold=rare, n_modes=5),
        build_scaled(column(array), numbers, rare_threshold=rare),
    )


@st.composite
def ranges(draw: Any) -> tuple[str, int, int]:
    """A type of 64 bits and a range of it, anywhere and of any width up to 200."""
    dtype = draw(st.sampled_from(["int64", "uint64"]))
    low, high = SIGNED if dtype == "int64" else UNSIGNED
    first = draw(st.integers(low, high - 200) | st.integers(2**53 - 100, 2**53 + 100) | st.just(high - 200))
    return dtype, first, draw(st.integers(0, 200))


@settings(max_examples=60, deadline=None)
@given(ranges(), st.integers(0, 2**32 - 1), st.integers(1, 10**6))
def test_any_range_of_whole_numbers_comes_back_exactly(wanted: tuple[str, int, int], seed: int, step: int) -> None:
    dtype, first, width = wanted
    low, high = SIGNED if dtype == "int64" else UNSIGNED
    step = max(1, min(step, (high - first) // 201))
    values = [first + step * int(k) for k in np.random.default_rng(seed).integers(0, width + 1, N)]
    array = pa.array(values, pa.type_for_alias(dtype))
    bins, *_ = encoders(array, rare=1)
    decoded = bins.decode(bins.encode(array)[0], None, np.random.default_rng(0))
    assert decoded.equals(array)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["int64", "uint64"]), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_frequent_values_anywhere_are_atoms(dtype: str, seed: int, n_values: int) -> None:
    """Repeated 64-bit keys and sentinels, spread over the whole type."""
    rng = np.random.default_rng(seed)
    low, high = SIGNED if dtype == "int64" else UNSIGNED
    known = rng.integers(low, high, n_values, dtype=dtype, endpoint=True)
    known[:2] = (0, high)[: len(known[:2])]
    array = pa.array(np.concatenate([np.repeat(known, 30), rng.choice(known, N)]))
    for encoder in encoders(array)[:1] if n_values > 20 else encoders(array):
        decoded = encoder.decode(*encoder.encode(array), np.random.default_rng(0))
        assert decoded.equals(array)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_values_spread_over_the_whole_type_keep_range_and_ranks(dtype: str) -> None:
    rng = np.random.default_rng(3)
    low, high = SIGNED if dtype == "int64" else UNSIGNED
    array = pa.array(rng.integers(low, high, 20_000, dtype=dtype, endpoint=True))
    for encoder in encoders(array):
        x = to_numbers(encoder.decode(*encoder.encode(array), np.random.default_rng(0)))[0].astype(float)
        real = array.to_numpy().astype(float)
        assert real.min() <= x.min() and x.max() <= real.max()
        np.testing.assert_allclose(
            np.quantile(x, [0.1, 0.5, 0.9]), np.quantile(real, [0.1, 0.5, 0.9]), atol=0.02 * 2.0**64
        )


def test_no_knot_is_a_rare_value() -> None:
    rng = np.random.default_rng(4)
    values = np.unique(2**60 + rng.integers(0, 10**9, 3000))
    knots = encoders(pa.array(values))[0].line
    assert knots is not None and not np.isin(knots.knots, values).any()


def test_nanoseconds_keep_their_grid() -> None:
    rng = np.random.default_rng(5)
    array = pa.array(rng.integers(1_600_000_000_000, 1_700_000_000_000, N) * 1_000_000 + 123).cast(pa.timestamp("ns"))
    for encoder in encoders(array):
        whole = encoder.decode(*encoder.encode(array), rng).cast(pa.int64()).to_numpy()
        assert (whole % 1_000_000 == 123).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(2**60, 2**60 + 999), st.integers(2**60, 2**60 + 999))
def test_ranges_and_points_are_exact(a: int, b: int) -> None:
    """Weights of all codes add up to the share of values inside; neighbours differ though their doubles do not."""
    low, high = min(a, b), max(a, b)
    weight = EACH.condition_weights((low, high)) @ EACH.shares
    assert weight == pytest.approx((high - low + 1) / 1000)
    assert EACH.reaches(low) and not EACH.reaches(2**60 + 1000)
    codes = np.flatnonzero(EACH.condition_weights((low, high))).astype(np.uint16)
    x = EACH.decode(codes, None, np.random.default_rng(0), (low, high)).to_pylist()
    assert low <= min(x) and max(x) <= high


EACH = encoders(pa.array(np.repeat(2**60 + np.arange(1000), 6)))[0]


def test_state_comes_back_and_inconsistent_lines_are_refused() -> None:
    array = pa.array([2**60 + k % 100 for k in range(N)])
    for encoder in encoders(array):
        meta, arrays = encoder.to_state()
        again = type(encoder).from_state(column(array), meta, arrays)
        assert again.line is not None and again.encode(array)[0].tolist() == encoder.encode(array)[0].tolist()
        places, knots = arrays["line_places"], arrays["line_knots"]
        wrong = ("line_places", places[::-1].copy()), ("line_knots", knots[:0]), ("line_knots", knots.astype("u8"))
        for name, value in wrong:
            with pytest.raises(ModelFileError, match="'x'"):
                type(encoder).from_state(column(array), meta, {**arrays, name: value})


@given(st.lists(st.integers(*SIGNED), min_size=1, max_size=30, unique=True))
def test_knots_have_places_of_their_own_and_order_is_kept(values: list[int]) -> None:
    line = WholeLine.through(np.array(values), 1)
    places = line.place(line.knots)
    assert (np.diff(places) >= 1).all() and line.number(places).tolist() == sorted(values)
    assert line.place_of(float("-inf")) == float("-inf")


@pytest.mark.parametrize("bounds", [(-5.0, -1.0), (2.0**64, 2.0**70), (-np.inf, -0.5)])
def test_a_range_beyond_the_type_holds_no_value(bounds: tuple[float, float]) -> None:
    """Of unsigned numbers, the smallest possible and the largest possible among them."""
    array = pa.array([0, 7, 2**64 - 1] * 40, pa.uint64())
    for encoder in encoders(array)[:2]:
        assert not encoder.condition_weights(bounds).any()
        assert encoder.condition_weights((-5.0, 0.0)).sum() > 0 and encoder.condition_weights((2.0**63, 2.0**64)).any()
