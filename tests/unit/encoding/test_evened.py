"""Fine cells from which values are drawn evenly over more rows: what moves, what stays, and what a file holds of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.encoding.distribution import SmoothDistribution
from raysynth.encoding.numeric import ALIKE, AS_DENSE, SPARSE, BinEncoder, evened
from raysynth.errors import ModelFileError
from raysynth.schema.columns import ColumnSchema, Kind


@st.composite
def cells_and_rows(draw: st.DrawFn) -> tuple[SmoothDistribution, np.ndarray]:
    """Cells with atoms (width 0) and gaps among them, and rows of each, some of none."""
    n = draw(st.integers(1, 30))
    width = np.array(draw(st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, 5.5, 11.0]), min_size=n, max_size=n)))
    gap = np.array(draw(st.lists(st.sampled_from([0.0, 0.0, 0.0, 3.0]), min_size=n, max_size=n)))
    gap = np.where((width == 0) & (np.append(1.0, width[:-1]) == 0), 3.0, gap)  # no two atoms at one place
    low = np.cumsum(gap + np.append(0.0, width[:-1]))
    rows = np.array(draw(st.lists(st.integers(0, 20), min_size=n, max_size=n)))
    return SmoothDistribution(low, low + width, np.full(n, 1 / n), 0.0, draw(st.sampled_from([0, 2, 3, None]))), rows


@settings(max_examples=60, deadline=None)
@given(cells_and_rows())
def test_runs_of_like_neighbours_keep_their_span_and_are_even_inside(
    cells_rows: tuple[SmoothDistribution, np.ndarray],
) -> None:
    cells, rows = cells_rows
    after, most = evened(cells, rows), rows.sum() ** 0.5 / 2
    if cells.decimals is None:  # values of these never meet
        assert (after.low.tolist(), after.high.tolist()) == (cells.low.tolist(), cells.high.tolist())
        return
    assert (after.low <= after.high).all() and (after.low[1:] >= after.high[:-1]).all()
    first = 0
    while first < len(rows):  # by what it says, cell by cell
        members = [first]
        for i in range(first + 1, len(rows)):
            widths = [cells.high[m] - cells.low[m] for m in (*members, i)]
            if cells.low[i] != cells.high[i - 1] or min(widths) == 0 or rows[members].sum() >= most:
                break
            dense = [max(rows[m], 0.5) / w for m, w in zip((*members, i), widths, strict=True)]
            if max(widths) > ALIKE * min(widths) or max(dense) > AS_DENSE * min(dense):
                break
            if rows[[*members, i]].sum() < SPARSE * sum(widths) / 10.0**-cells.decimals:
                break
            members.append(i)
        start, end = cells.low[first], cells.high[members[-1]]
        assert (after.low[first], after.high[members[-1]]) == (start, end)
        share = rows[members] / max(rows[members].sum(), 1)
        if rows[members].sum():
            np.testing.assert_allclose((after.high - after.low)[members], share * (end - start), atol=1e-9)
        first = members[-1] + 1


def encoder_of(cells: SmoothDistribution) -> BinEncoder:
    """One code for each cell."""
    fields = {"name": "x", "kind": Kind.CONTINUOUS, "dtype": pa.float64(), "distribution": cells}
    return BinEncoder(**fields, first_cell=np.arange(len(cells.low)))


def test_codes_are_learned_from_the_cells_and_drawn_from_the_evened_ones() -> None:
    cells = SmoothDistribution(np.arange(40.0), np.arange(1.0, 41.0), np.full(40, 1 / 40), 0.0, 2)
    encoder = encoder_of(cells).evened(np.tile([3, 1], 20))  # even over sqrt(80) / 2 rows: the first three, and so on
    values = pa.array(np.arange(40) + 0.5)
    assert encoder.encode(values)[0].tolist() == list(range(40))  # as before
    drawn = encoder.decode(np.repeat(np.arange(3), 500), None, np.random.default_rng(0)).to_numpy().reshape(3, -1)
    ends = [0.0, 9 / 7, 12 / 7, 3.0]  # three, one and three of seven rows
    for inside, low, high in zip(drawn, ends[:-1], ends[1:], strict=True):
        assert low - 0.01 <= inside.min() < low + 0.05 and high - 0.05 < inside.max() <= high + 0.01
    meta, arrays = encoder.to_state()
    column = ColumnSchema("x", Kind.CONTINUOUS, "double")
    again = BinEncoder.from_state(column, meta, arrays)
    assert again.encode(values)[0].tolist() == list(range(40))
    np.testing.assert_array_equal(again.distribution.low, encoder.distribution.low)
    good = arrays["starts"]
    for starts in (good[1:], np.append(np.nan, good[1:]), good[::-1]):
        with pytest.raises(ModelFileError, match="'x'"):
            BinEncoder.from_state(column, meta, {**arrays, "starts": starts})


def test_codes_of_several_cells_stay_as_they_are() -> None:
    cells = SmoothDistribution(np.arange(4.0), np.arange(1.0, 5.0), np.full(4, 0.25), 0.0, None)
    several = replace(encoder_of(cells), first_cell=np.array([0, 2]))
    assert several.evened(np.array([30, 10])) is several
