"""Ordered cells: the same for any split of the rows, exact below the cap, with the stated error above."""

from __future__ import annotations

from functools import reduce
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raysynth.statistics import cells as module
from raysynth.statistics.cells import (
    Cells,
    Numbers,
    cells_of,
    float_keys,
    from_float_keys,
    no_cells,
    unsigned_keys,
    values_of,
)

CAP = 8
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20)


def sketch(parts: list[np.ndarray], numbers: Numbers) -> Cells:
    return reduce(lambda a, keys: a.merged(cells_of(keys, numbers, cap=CAP), CAP), parts, no_cells(numbers))


def assert_same(a: Cells, b: Cells) -> None:
    assert a.level == b.level
    for x, y in ((a.low, b.low), (a.high, b.high), (a.counts, b.counts), (a.n_low, b.n_low)):
        np.testing.assert_array_equal(x, y)


@given(arrays(np.float64, st.integers(0, 60), elements=FLOATS))
def test_keys_of_floats_keep_order_and_values(values: np.ndarray) -> None:
    keys = float_keys(values)
    np.testing.assert_array_equal(from_float_keys(keys), values)
    order = np.argsort(keys, kind="stable")
    assert (np.diff(values[order]) >= 0).all()


@given(arrays(np.float64, st.integers(1, 80), elements=FLOATS), st.lists(st.integers(0, 80), max_size=5))
def test_floats_split_in_any_way_give_the_same_cells(values: np.ndarray, cuts: list[int]) -> None:
    keys = float_keys(values)
    assert_same(sketch([keys], "floats"), sketch(np.split(keys, sorted(min(c, len(keys)) for c in cuts)), "floats"))


@given(arrays(np.int64, st.integers(1, 80), elements=INTEGERS), st.lists(st.integers(0, 80), max_size=5))
def test_integers_split_in_any_way_give_the_same_cells(keys: np.ndarray, cuts: list[int]) -> None:
    kinds: tuple[Numbers, ...] = ("integers", "unsigned")
    for numbers in kinds:
        parts = np.split(keys, sorted(min(c, len(keys)) for c in cuts))
        assert_same(sketch([keys], numbers), sketch(parts, numbers))


@given(arrays(np.uint64, st.integers(1, 60), elements=st.integers(0, 2**64 - 1) | st.integers(0, 20)))
def test_keys_of_unsigned_integers_keep_order_and_values(values: np.ndarray) -> None:
    keys = unsigned_keys(values)
    np.testing.assert_array_equal(values_of(keys, "unsigned"), values)
    np.testing.assert_array_equal(values[np.argsort(keys, kind="stable")], np.sort(values))
    assert sketch([keys], "unsigned").low_values[0] == values.min()


@given(arrays(np.int64, st.integers(1, 80), elements=INTEGERS), st.booleans(), st.randoms(use_true_random=False))
def test_order_of_merging_does_not_matter(keys: np.ndarray, as_floats: bool, random: object) -> None:
    keys = float_keys(keys.astype(np.float64)) if as_floats else keys
    parts = [
        cells_of(part, "floats" if as_floats else "integers", cap=CAP).fitted(CAP) for part in np.array_split(keys, 5)
    ]
    forward = reduce(lambda a, b: a.merged(b, CAP), parts)
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert_same(forward, reduce(lambda a, b: a.merged(b, CAP), parts))


@given(arrays(np.int64, st.integers(1, 200), elements=INTEGERS))
def test_cells_cover_their_values_and_the_level_is_the_lowest(keys: np.ndarray) -> None:
    cells = sketch([keys], "integers")
    assert len(cells) <= CAP
    assert cells.counts.sum() == len(keys)
    assert (cells.low[1:] > cells.high[:-1]).all()
    for low, high, count in zip(cells.low, cells.high, cells.counts, strict=True):
        inside = keys[(keys >= low) & (keys <= high)]
        assert len(inside) == count and inside.min() == low and inside.max() == high
    np.testing.assert_array_equal(cells.n_low, [np.count_nonzero(keys == k) for k in cells.low])
    if cells.level > 0:
        finer = cells_of(keys, "integers").at_level(cells.level - 1)
        assert len(finer) > CAP


@settings(max_examples=60)
@given(
    arrays(np.float64, st.integers(64, 300), elements=st.floats(-1e6, 1e6) | st.just(0.0)),
    st.booleans(),
    st.integers(0, 55),
)
def test_counting_without_sorting_gives_the_same_cells(values: np.ndarray, whole: bool, level: int) -> None:
    keys = np.rint(values).astype(np.int64) if whole else float_keys(values)
    if whole:
        keys = keys * 1_000_003  # beyond the small range that is counted directly
    numbers: Numbers = "integers" if whole else "floats"
    sorted_cells = cells_of(keys, numbers).at_level(level).fitted(CAP)
    with mock.patch.object(module, "_SAMPLE", 16):
        coarse = module._counted_coarsely(keys, numbers, level, CAP)
    if coarse is not None:
        assert_same(coarse, sorted_cells)


@pytest.mark.parametrize("draw", ["normal", "lognormal", "uniform", "spike"])
def test_quantiles_of_many_values_are_within_the_stated_rank_error(draw: str) -> None:
    import pyarrow as pa

    from raysynth.statistics.numeric import NumericSummary

    rng = np.random.default_rng(3)
    n = 300_000
    values = {
        "normal": rng.normal(size=n),
        "lognormal": rng.lognormal(5, 3, n),
        "uniform": rng.random(n),
        "spike": np.where(rng.random(n) < 0.5, 40.0, rng.normal(40, 5, n)),
    }[draw]
    summary = NumericSummary(pa.float64())
    summary.update(pa.array(values))
    distribution = summary.distribution()
    assert not distribution.exact and 0 < distribution.rank_error < 1e-3
    q = np.linspace(0.001, 0.999, 999)
    found = distribution.quantile(q)
    ordered = np.sort(values)
    below = np.searchsorted(ordered, found, side="left") / n
    upto = np.searchsorted(ordered, found, side="right") / n
    slack = distribution.rank_error + 1 / n
    assert (below <= q + slack).all() and (upto >= q - slack).all()
    assert distribution.mean == pytest.approx(values.mean(), rel=1e-12)
    assert distribution.std == pytest.approx(values.std(), rel=1e-9)
    if draw == "spike":  # an exact value stays an atom among 150,000 others
        (atom,) = np.flatnonzero((distribution.low == 40.0) & (distribution.high == 40.0))
        assert distribution.counts[atom] == np.count_nonzero(values == 40.0)


@pytest.mark.parametrize("distinct", [1, 300, 60_000, 400_000])
def test_values_that_repeat_are_counted_by_hashing_and_the_same(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    keys = float_keys(rng.normal(size=distinct)[rng.integers(0, distinct, 100_000)])
    hashed = module._counted_by_hashing(keys)
    assert (hashed is not None) == (distinct < 100_000)  # where nearly every value is another, sorting is quicker
    for found in (hashed, module._counted_by_sorting(keys)):
        for ours, numpy in zip(found or (), np.unique(keys, return_counts=True), strict=False):
            np.testing.assert_array_equal(ours, numpy)
