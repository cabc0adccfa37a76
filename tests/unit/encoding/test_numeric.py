"""Numbers and times to codes and back: exact round trips of every type, total on any input, conditions by code."""

from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.encoding.numbers import LOOKUP_SPAN, interval_of, to_float, to_numbers
from raysynth.encoding.numeric import BinEncoder, ModeEncoder, begins_run, build_bins, build_modes
from raysynth.errors import ModelFileError
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.distinct import Sharers
from raysynth.statistics.numeric import NumericSummary

RNG = np.random.default_rng(0)
N = 2000
WHOLE = RNG.integers(0, 120, N)
DAY_US = 86_400_000_000
TYPES: dict[str, pa.Array] = {
    **{t: pa.array(WHOLE).cast(t) for t in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    "negative int8": pa.array(WHOLE - 120).cast("int8"),
    "int64 beyond 2**53": pa.array(RNG.integers(2**60, 2**62, N)),
    "uint64 beyond 2**63": pa.array(RNG.integers(2**63, 2**64 - 1, N, dtype=np.uint64)),
    "steps of 250": pa.array(WHOLE * 250 + 17),
    "float32": pa.array((WHOLE / 10).astype(np.float32)),
    "float64 of one decimal": pa.array(WHOLE / 10),
    "prices that end in .95": pa.array(WHOLE + 0.95),
    "eighths": pa.array(WHOLE / 8),
    "float32 in steps of 2.5": pa.array((WHOLE * 2.5 - 40).astype(np.float32)),
    "decimal128(9, 2) in steps of 0.05": pa.array([Decimal(int(v) * 5).scaleb(-2) for v in WHOLE], pa.decimal128(9, 2)),
    "float64": pa.array(RNG.normal(size=N)),
    "huge float64": pa.array(RNG.normal(size=N) * 1e300),
    "tiny float64": pa.array(RNG.normal(size=N) * 1e-300),
    "decimal128(9, 2)": pa.array([Decimal(int(v)).scaleb(-2) for v in RNG.integers(0, 10**6, N)], pa.decimal128(9, 2)),
    "decimal128(20, 4)": pa.array([Decimal(int(v)).scaleb(-4) for v in WHOLE], pa.decimal128(20, 4)),
    "timestamp[s]": pa.array(RNG.integers(0, 10**9, N)).cast(pa.timestamp("s")),
    "timestamp[ms]": pa.array(RNG.integers(0, 10**12, N)).cast(pa.timestamp("ms")),
    "timestamp[ns, tz=UTC]": pa.array(RNG.integers(16 * 10**8, 17 * 10**8, N) * 10**9).cast(pa.timestamp("ns", "UTC")),
    "milliseconds in ns": pa.array(RNG.integers(16 * 10**11, 17 * 10**11, N) * 10**6).cast(pa.timestamp("ns")),
    "days in us": pa.array(RNG.integers(16_000, 19_000, N) * DAY_US).cast(pa.timestamp("us", "Europe/Berlin")),
    "before 1970": pa.array(RNG.integers(-20_000, -10_000, N) * DAY_US).cast(pa.timestamp("us")),
    "date32": pa.array(RNG.integers(10_000, 19_000, N).astype(np.int32)).cast(pa.date32()),
    "duration[s]": pa.array(RNG.integers(0, 10**5, N)).cast(pa.duration("s")),
    "duration[ns]": pa.array(RNG.integers(0, 10**15, N)).cast(pa.duration("ns")),
}  # fmt: skip


def column(array: pa.Array, **more: Any) -> ColumnSchema:
    kind = Kind.CONTINUOUS
    if pa.types.is_temporal(array.type):
        kind = Kind.TIMEDELTA if pa.types.is_duration(array.type) else Kind.DATETIME
    return ColumnSchema("x", kind, str(array.type), **more)


def bins(array: pa.Array, n_bins: int = 100, rare: int = 5) -> BinEncoder:
    summary = NumericSummary(array.type)
    summary.update(array)
    return build_bins(column(array), summary.distribution(), rare_threshold=rare, n_bins=n_bins)


def modes(array: pa.Array, n_modes: int = 10, rare: int = 5) -> ModeEncoder:
    summary = NumericSummary(array.type)
    summary.update(array)
    return build_modes(column(array), summary.distribution(), rare_threshold=rare, n_modes=n_modes)


def with_missing(array: pa.Array) -> pa.Array:
    return array.take(pa.array(np.arange(len(array)), mask=np.arange(len(array)) % 7 == 0))


def whole(array: pa.Array) -> np.ndarray:
    return array.cast(pa.int32() if pa.types.is_date32(array.type) else pa.int64()).to_numpy()


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("n_bins", [24, 100, 1024])
def test_codes_come_back_from_decoded_values(name: str, missing: bool, n_bins: int) -> None:
    """codes -> values -> codes is the identity: edges lie off the grid, so rounding never crosses one."""
    array = with_missing(TYPES[name]) if missing else TYPES[name]
    encoder = value_of(lambda: bins(array, n_bins))
    codes, values = encoder.encode(array)
    assert values is None and codes.dtype == np.uint16
    assert (codes == encoder.cardinality - 1).sum() == array.null_count
    decoded = encoder.decode(codes, None, np.random.default_rng(1))
    assert decoded.type == array.type and decoded.null_count == array.null_count
    again = encoder.encode(decoded)[0]
    np.testing.assert_array_equal(again, codes)


@pytest.mark.parametrize("name", TYPES)
def test_decoded_values_have_type_range_and_grid_of_the_real_ones(name: str) -> None:
    real = TYPES[name]
    for encoder in (bins(real), modes(real)):
        codes, values = encoder.encode(real)
        decoded = encoder.decode(codes, values, np.random.default_rng(1))
        assert decoded.type == real.type
        assert min(real.to_pylist()) <= min(decoded.to_pylist())
        assert max(decoded.to_pylist()) <= max(real.to_pylist())
    if name == "steps of 250":
        assert (whole(decoded) % 250 == 17).all()
    if name in ("days in us", "before 1970"):
        assert (whole(decoded) % DAY_US == 0).all()
    if name == "milliseconds in ns":
        assert (whole(decoded) % 10**6 == 0).all()
    if name == "timestamp[ns, tz=UTC]":
        assert (whole(decoded) % 10**9 == 0).all()
    if name in ("float64 of one decimal", "float32"):
        x = decoded.to_numpy()
        np.testing.assert_array_equal(x, (np.rint(x.astype(float) * 10) / 10).astype(x.dtype))


@pytest.mark.parametrize("name", TYPES)
def test_modes_give_values_back_within_their_clip(name: str) -> None:
    real = TYPES[name]
    encoder = modes(real, rare=1)
    codes, alpha = encoder.encode(real)
    assert alpha.dtype == np.float32 and np.abs(alpha).max() <= 1
    x, _ = encoder.places(real)
    y, _ = encoder.places(encoder.decode(codes, alpha, np.random.default_rng(1)))
    unclipped = np.abs(alpha) < 1
    assert unclipped.mean() > 0.99
    unit = encoder.distribution.unit
    spread = np.abs(x).max() if unit == 0 else np.ptp(x)
    assert np.abs(y - x)[unclipped].max() <= max(2e-6 * spread, unit * 1.01) + np.spacing(np.abs(x).max())


@pytest.mark.parametrize("name", TYPES)
def test_state_comes_back(name: str) -> None:
    for encoder in (bins(with_missing(TYPES[name])), modes(with_missing(TYPES[name]))):
        meta, arrays = encoder.to_state()
        again = value_of(lambda: type(encoder).from_state(column(TYPES[name]), meta, arrays))  # noqa: B023
        block = encoder.encode(TYPES[name])
        decoded = [e.decode(*block, np.random.default_rng(3)) for e in (encoder, again)]
        assert decoded[0].equals(decoded[1])
        np.testing.assert_array_equal(encoder.shares, again.shares)


@pytest.mark.parametrize("make", [bins, modes])
def test_shares_are_counted_frequencies(make: Any) -> None:
    """Of all codes, 'missing' too: exactly where values are atoms, within a pooled cell elsewhere."""
    for array in (with_missing(TYPES["int8"]), with_missing(TYPES["float64"])):
        encoder = make(array)
        counted = np.bincount(encoder.encode(array)[0], minlength=encoder.cardinality) / N
        assert encoder.shares.sum() == pytest.approx(1)
        assert encoder.shares[-1] == pytest.approx(array.null_count / N)
        np.testing.assert_allclose(encoder.shares, counted, atol=0.006 if make is modes else 0.004)


TOTAL = (bins(TYPES["float64"]), modes(TYPES["float64"]), bins(TYPES["float32"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_encoding_is_total(values: list[float]) -> None:
    """NaN and infinity are missing, numbers outside go to the outermost codes; of float64 and float32."""
    for encoder in TOTAL:
        with np.errstate(over="ignore"):
            array = pa.array(np.array(values, np.float32 if encoder.dtype == pa.float32() else np.float64))
        codes, alpha = encoder.encode(array)
        assert (codes < encoder.cardinality).all()
        finite = np.isfinite(array.to_numpy())
        np.testing.assert_array_equal(codes == encoder.cardinality - 1, ~finite)
        if alpha is not None:
            assert np.isfinite(alpha).all() and (np.abs(alpha) <= 1).all() and (alpha[~finite] == 0).all()
    assert TOTAL[0].encode(pa.array([-1e308, 1e308]))[0].tolist() == [0, TOTAL[0].cardinality - 2]


@pytest.mark.statistical
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TYPES)), st.floats(0, 1), st.floats(0, 1), st.sampled_from([12, 100]))
def test_condition_weights_are_the_share_of_decoded_values_inside(name: str, a: float, b: float, n_bins: int) -> None:
    """Of each code. 20,000 draws; false alarm per code 6e-7 at 5 deviations."""
    encoder = bins(TYPES[name], n_bins)
    distribution = encoder.distribution
    x, _ = to_numbers(encoder.to_arrow(distribution.quantile(np.sort([a, b])), np.zeros(2, bool)))
    bounds = (x[0].item(), x[1].item())
    weights = encoder.condition_weights(bounds)
    assert weights.shape == (encoder.cardinality,) and weights[-1] == 0 and ((weights >= 0) & (weights <= 1)).all()
    rng = np.random.default_rng(5)
    codes = rng.integers(0, encoder.cardinality - 1, 20_000).astype(np.uint16)
    y, _ = to_numbers(encoder.decode(codes, None, rng))
    inside = (y >= bounds[0]) & (y <= bounds[1])
    n = np.bincount(codes, minlength=encoder.cardinality - 1)
    found = np.bincount(codes, weights=inside, minlength=encoder.cardinality - 1) / n
    tolerance = 5 * np.sqrt(np.maximum(weights[:-1] * (1 - weights[:-1]), 1e-3) / n) + 1e-6
    assert (np.abs(found - weights[:-1]) <= tolerance).all()
    possible = codes[weights[codes] > 0]
    made = value_of(lambda: encoder.decode(possible, None, rng, bounds))
    limited, _ = to_numbers(made)
    assert (encoder.encode(made)[0] == possible).all(), "values of their codes"
    assert ((limited >= bounds[0]) & (limited <= bounds[1])).all()


def test_mode_weights_add_up_to_the_rank_of_the_range() -> None:
    for name in ("float64", "int8", "steps of 250"):
        encoder = modes(TYPES[name])
        x, _ = to_float(TYPES[name])
        for low, high in ((0.1, 0.5), (0.3, 0.9)):
            bounds = tuple(np.quantile(x, [low, high], method="nearest"))
            inside = ((x >= bounds[0]) & (x <= bounds[1])).mean()
            assert encoder.condition_weights(bounds) @ encoder.shares == pytest.approx(inside, abs=0.01)


def test_heaped_values_are_codes_of_their_own() -> None:
    rng = np.random.default_rng(7)
    values = np.where(rng.random(5000) < 0.3, 0.0, rng.normal(100, 10, 5000))
    encoder = bins(pa.array(values))
    zero = encoder.encode(pa.array([0.0]))[0]
    assert encoder.shares[zero[0]] == pytest.approx((values == 0).mean(), abs=0.002)
    decoded = encoder.decode(np.repeat(zero, 100), None, rng).to_numpy()
    assert (decoded == 0).all()


@pytest.mark.parametrize("n_bins", [10, 40])
def test_bins_hold_about_equal_shares(n_bins: int) -> None:
    encoder = bins(TYPES["float64"], n_bins)
    assert encoder.cardinality == pytest.approx(n_bins + 1, abs=n_bins * 0.1)
    assert encoder.shares[1:-2].max() < 1.6 / n_bins


@pytest.mark.parametrize("rows_each", [1, 4])
def test_drawn_values_are_those_of_persons_learned_from_no_more_than_those_of_others(rows_each: int) -> None:
    """Of 3,000 persons: cells of five are theirs by 1.6 points more (of 9), those of a standard error by .2."""
    rng, n = np.random.default_rng(4), 3000
    excess = []
    for _ in range(6):
        own, others = rng.integers(0, 30_000, (2, n))
        summary = NumericSummary(pa.int64())
        summary.update(pa.array(np.repeat(own, rows_each)))
        seen = summary.distribution()
        if rows_each > 1:
            sharers = Sharers(5).with_rows(np.searchsorted(seen.low, own), np.arange(n, dtype=np.uint64))
            seen = replace(seen, sharers=sharers)
        encoder = build_bins(column(pa.array(own)), seen, rare_threshold=5, n_bins=50)
        made = np.unique(encoder.decode(encoder.encode(pa.array(own))[0], None, rng).to_numpy())
        excess.append(np.isin(made, own).mean() - np.isin(made, others).mean())
    assert np.mean(excess) < 0.005


def test_look_up_of_whole_numbers_equals_the_search() -> None:
    rng = np.random.default_rng(8)
    boundaries = np.sort(rng.normal(0, 1000, 50))
    x = rng.integers(-5000, 5000, 20_000).astype(float)
    expected = np.searchsorted(boundaries, x, side="right")
    np.testing.assert_array_equal(interval_of(x, boundaries, True), expected)
    np.testing.assert_array_equal(interval_of(x, boundaries, False), expected)
    np.testing.assert_array_equal(interval_of(x[:0], boundaries, True), [])


def test_missing_is_not_a_number_named_nan() -> None:
    array = pa.array([1.0, None, float("nan"), float("inf"), 2.0] * 10)
    encoder = bins(array)
    assert (encoder.encode(array)[0] == encoder.cardinality - 1).tolist() == [False, True, True, True, False] * 10
    assert encoder.shares[-1] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("value", "expected"), [(17.0, True), (267.0, True), (18.0, False), (-1e9, False), (1e9, False)]
)
def test_reach_of_steps(value: float, expected: bool) -> None:
    assert bins(TYPES["steps of 250"]).reaches(value) is expected


def test_decimals_are_the_nearest_doubles() -> None:
    cents = [Decimal(i).scaleb(-2) for i in range(5000)]
    x, missing = to_float(pa.array(cents, pa.decimal128(10, 2)))
    assert missing is None
    np.testing.assert_array_equal(x, [float(c) for c in cents])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("low", lambda a: a[:-1]),
        ("low", lambda a: a[::-1].copy()),
        ("high", lambda a: a - 1e9),
        ("share", lambda a: -a),
        ("share", lambda a: a * np.nan),
        ("share", lambda a: np.append(np.inf, a[1:])),
        ("share", lambda a: a * 0),
        ("low", lambda a: a[:, None]),
        ("first_cell", lambda a: a + 1),
        ("first_cell", lambda a: a[:0]),
        ("first_cell", lambda a: a * 10_000),
        ("first_cell", lambda a: a.astype(float)),
    ],
)
def test_inconsistent_state_is_refused(name: str, change: Any) -> None:
    encoder = bins(TYPES["float64"])
    meta, arrays = encoder.to_state()
    with pytest.raises(ModelFileError, match="'x'"):
        BinEncoder.from_state(column(TYPES["float64"]), meta, {**arrays, name: change(arrays[name])})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mixture_mean", lambda a: a[:-1]),
        ("mixture_mean", lambda a: a * np.inf),
        ("mixture_std", lambda a: a[:, None]),
        ("mixture_boundaries", lambda a: a[1:]),
        ("mixture_interval_mode", lambda a: a + 100),
        ("mixture_interval_mode", lambda a: a - 100),
    ],
)
def test_inconsistent_modes_are_refused(name: str, change: Any) -> None:
    encoder = modes(TYPES["float64"])
    meta, arrays = encoder.to_state()
    with pytest.raises(ModelFileError, match="'x'"):
        ModeEncoder.from_state(column(TYPES["float64"]), meta, {**arrays, name: change(arrays[name])})


def test_dates_come_back_as_dates() -> None:
    encoder = bins(TYPES["date32"])
    decoded = encoder.decode(encoder.encode(TYPES["date32"])[0], None, np.random.default_rng(0))
    assert all(type(v) is datetime.date for v in decoded.to_pylist())


@pytest.mark.parametrize(("step", "first", "decimals"), [(0.25, -3.0, 2), (1.0, 0.99, 2), (0.5, 7.1, 1), (2.5, 0, 1)])
@pytest.mark.parametrize("build", [bins, modes])
def test_numbers_of_few_decimals_keep_their_step(step: float, first: float, decimals: int, build: Any) -> None:
    values = np.round(first + step * np.random.default_rng(1).integers(0, 900, 3_000), decimals)
    parts = [NumericSummary(pa.float64()), NumericSummary(pa.float64())]
    for part, rows in zip(parts, (values[:10], values[10:]), strict=True):
        part.update(pa.array(rows))
    parts[0].merge(parts[1])
    assert (parts[0].distribution().step, parts[0].distribution().decimals) == (step, decimals)
    places = np.random.default_rng(2).uniform(values.min(), values.max(), 500)
    made = build(pa.array(values)).to_arrow(places, np.zeros(500, bool)).to_numpy()
    steps = (made - first) / step
    assert np.abs(steps - np.rint(steps)).max() < 1e-9 and len(np.unique(made)) > 200
    assert (np.round(made, decimals) == made).all()  # no noise of doubles


def test_a_run_begins_at_what_stands_alone_and_behind_it() -> None:
    mass, alone = np.array([5.0, 1.0, 1.0, 5.0, 1.0]), np.array([True, False, False, True, False])
    assert begins_run(mass, alone, 3).tolist() == [True, True, False, True, True]
    assert begins_run(np.ones(4), np.zeros(4, bool), 2).tolist() == [True, False, True, False]


def test_codes_of_numbers_between_whole_ones_are_those_of_their_cells() -> None:
    encoder = bins(pa.array(np.arange(4000) / 1000))
    x = np.tile([0.25, 0.75, 2.5, 2.75, 3.9], LOOKUP_SPAN // 8)
    boundaries = encoder.distribution.boundaries[encoder.first_cell[1:] - 1]
    expected = np.searchsorted(boundaries, x, side="right")
    assert len({*expected}) == 5 and encoder.encode(pa.array(x))[0].tolist() == expected.tolist()


@pytest.mark.parametrize(("decimals", "expected"), [(None, 2), (1, 1), (9, 2)])
def test_decimals_have_no_more_digits_than_their_type(decimals: int | None, expected: int) -> None:
    """Whatever the doubles that were counted seem to need, and the ends are those nearest to decimals."""
    array = TYPES["decimal128(9, 2)"]
    summary = NumericSummary(array.type)
    summary.update(array)
    released = replace(summary.distribution(), decimals=decimals)
    off = replace(released, low=released.low * (1 + 1e-16), high=released.high * (1 - 1e-16))
    cells = value_of(lambda: build_bins(column(array), off, rare_threshold=5, n_bins=20)).distribution
    assert cells.decimals == expected and bins(TYPES["float64"]).distribution.decimals is None
