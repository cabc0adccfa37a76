"""Numbers between Arrow and float64, beside plain Python: every type, ends of the types, look-ups, lines of places."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.encoding.numbers import LOOKUP_SPAN, MOST_PLACES, WholeLine, interval_of, to_float, to_numbers
from raysynth.encoding.numeric import build_bins
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.numeric import NumericSummary

INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]


@pytest.mark.parametrize(
    ("array", "values", "missing"),
    [
        *((pa.array([0, 1, 100], t), [0, 1, 100], None) for t in INTEGERS),
        (pa.array([7, None, 9], pa.int16()), [7, 0, 9], [False, True, False]),
        (pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, 0], [False, True]),
        (pa.array([-(2**63), 2**63 - 1]), [-(2**63), 2**63 - 1], None),
        (pa.array([1.5, -2.0]), [1.5, -2.0], None),
        (pa.array([1.5, None, math.nan, -math.inf]), [1.5, 0, 0, 0], [False, True, True, True]),
        (pa.array([1.5, math.inf]), [1.5, 0], [False, True]),
        (pa.array([0.1], pa.float32()), [float(np.float32(0.1))], None),
        (pa.array([Decimal("0.07"), Decimal("-1.15"), None]), [0.07, -1.15, 0], [False, False, True]),
        (pa.array([Decimal("90071992547409.93")]), [float(Decimal("90071992547409.93"))], None),
        (pa.array([date(1970, 1, 3), None]), [2, 0], [False, True]),
        (pa.array([datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("ms")), [1000], None),
        (pa.array([timedelta(seconds=2)], pa.duration("us")), [2_000_000], None),
        (pa.array([5, 7, 5]).dictionary_encode(), [5, 7, 5], None),
    ],
)
def test_values_and_what_is_missing(array: pa.Array, values: list[Any], missing: list[bool] | None) -> None:
    x, absent = to_numbers(array)
    assert x.tolist() == values
    assert absent is None if missing is None else absent is not None and absent.tolist() == missing
    as_float, same = to_float(array)
    assert as_float.dtype == np.float64 and as_float.tolist() == [float(v) for v in values]
    assert (same is None) == (missing is None)


@pytest.mark.parametrize("low", [-40_000, 5])
@pytest.mark.parametrize("span", [LOOKUP_SPAN - 1, LOOKUP_SPAN, 3 * LOOKUP_SPAN])
@pytest.mark.parametrize("n", [10, LOOKUP_SPAN // 8, LOOKUP_SPAN // 8 + 1])
def test_intervals_are_the_same_by_look_up(low: int, span: int, n: int) -> None:
    x = np.random.default_rng(span).integers(low, low + span + 1, n)
    x[:2] = low, low + span
    for boundaries in (np.array([low, low + 0.5, low + 7.0, low + span / 2, low + span]), np.empty(0)):
        expected = [sum(b <= v for b in boundaries.tolist()) for v in x.tolist()]
        for whole in (True, False):
            found = interval_of(x, boundaries, whole)
            assert found.dtype == np.uint16 and found.tolist() == expected


def encoder_of(array: pa.Array, rare: int = 1) -> Any:
    summary = NumericSummary(array.type)
    summary.update(array)
    kind = Kind.DATETIME if pa.types.is_temporal(array.type) else Kind.CONTINUOUS
    column = ColumnSchema("x", kind, str(array.type).replace("date32[day]", "date32"))
    return build_bins(column, summary.distribution(), rare_threshold=rare, n_bins=400)


@pytest.mark.parametrize("type_", INTEGERS)
def test_the_ends_of_each_type_come_back(type_: pa.DataType) -> None:
    info = np.iinfo(type_.to_pandas_dtype())
    values = [int(info.min), int(info.max), int(info.min) + 1, int(info.max) - 1, 0, 1] * 5
    array = pa.array(values, type_)
    encoder = encoder_of(array)
    codes, _ = encoder.encode(array)
    assert encoder.decode(codes, None, np.random.default_rng(0)).equals(array)
    for v in values[:6]:
        assert encoder.reaches(v)


def plain_place(knots: list[int], places: list[float], step: int, x: int) -> float:
    """Of a whole number on a line: by its knot below, in whole steps and half a step between."""
    if x < knots[0]:
        return places[0] - 0.5
    at = max(i for i, k in enumerate(knots) if k <= x)
    if at == len(knots) - 1:
        return places[-1] + (0.5 if x > knots[-1] else 0.0)
    steps = (knots[at + 1] - knots[at]) // step
    scale = min(1.0, (places[at + 1] - places[at]) / steps)
    inside = x - knots[at]
    return places[at] + inside // step * scale + (0.5 * scale if inside % step else 0.0)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 10**6) | st.integers(0, 2**50), min_size=1, max_size=8),
    st.integers(1, 9),
    st.sampled_from([-(2**62), 0, 2**62]),
    st.data(),
)
def test_places_are_those_of_a_plain_reference(gaps: list[int], step: int, first: int, data: st.DataObject) -> None:
    knots = [first]
    for gap in gaps:
        knots.append(knots[-1] + step * (gap + 1))
    line = WholeLine.through(np.array(knots[::-1]), step)
    expected = np.cumsum([0, *(min((b - a) // step, MOST_PLACES) for a, b in zip(knots[:-1], knots[1:], strict=True))])
    assert line.knots.tolist() == knots and line.places.tolist() == expected.tolist() and line.is_sound
    asked = data.draw(st.lists(st.sampled_from(knots) | st.integers(knots[0] - 3, knots[-1] + 3), min_size=1))
    found = line.place(np.array(asked))
    for x, place in zip(asked, found.tolist(), strict=True):
        assert place == pytest.approx(plain_place(knots, expected.tolist(), step, x), abs=1e-3)
        assert line.place_of(x) == place and line.place_of(float(2**70)) == expected[-1] + 0.5
    assert line.number(line.place(np.array(knots))).tolist() == knots
    assert line.number(np.array([-5.0, expected[-1] + 9.0])).tolist() == [knots[0], knots[-1]]
    assert (line.place_of(-math.inf), line.place_of(math.inf)) == (-math.inf, math.inf)


def test_an_end_between_whole_numbers_lies_half_way() -> None:
    line = WholeLine.through(np.array([2**60, 2**60 + 9]), 1)
    assert line.place_of(2**60 + 3) == 3.0 and line.place_of(-(2.0**70)) == -0.5
    unsigned = WholeLine.through(np.array([0, 4, 9], np.uint64), 1)
    assert [unsigned.place_of(x) for x in (1.5, 4.5, 8.25, -3.5)] == [1.5, 4.5, 8.5, -0.5]
    assert unsigned.place(np.array([-7, 3, 2**62])).tolist() == [0.0, 3.0, 9.5]
    assert unsigned.place(np.array([-7.0, 3.0, 1e30])).tolist() == [0.0, 3.0, 9.5]


@pytest.mark.parametrize(
    ("knots", "places", "step"),
    [
        ([1, 5], [0.0, 4.0], 0),
        ([1, 5], [0.0, 4.0], 1 << 63),
        ([1, 5], [0.0, 4.0], 1.0),
        ([[1, 5]], [[0.0, 4.0]], 1),
        ([], [], 1),
        ([5, 1], [0.0, 4.0], 1),
        ([1, 1], [0.0, 4.0], 1),
        ([1, 5], [0.0], 1),
        ([1, 5], [0, 4], 1),
        ([1, 5], [0.0, 0.5], 1),
        ([1, 5], [0.0, math.inf], 1),
        ([1, 5], [math.nan, 4.0], 1),
    ],
)
def test_a_line_whose_parts_do_not_fit_is_not_sound(knots: list[Any], places: list[Any], step: Any) -> None:
    ours = WholeLine(np.array(knots, np.int64), np.array(places) if places else np.empty(0), step)
    assert not ours.is_sound
    for sound in (
        WholeLine(np.array([1, 5]), np.array([0.0, 1.0]), (1 << 63) - 1),
        WholeLine(np.array([3]), np.zeros(1), 1),
    ):
        assert sound.is_sound
