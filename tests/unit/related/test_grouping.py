"""Rows by their parents: places, most frequent values, grids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related.bounding import _alone
from raysynth.related.forms import difference_of
from raysynth.related.grouping import (
    MOST_LEVELS,
    NO_PARENT,
    Family,
    code_column,
    codes,
    deal,
    group_modes,
    is_shared,
    kinds_of,
    levels,
    number_column,
    numbers,
    numbers_or_null,
    on_grid,
    persons_each,
    plain,
    reaching,
    take_or_null,
    unit_in,
    values_of,
    varies,
)
from raysynth.schema.columns import ColumnSchema, Kind


def test_siblings_stand_in_their_order_and_rows_without_a_parent_first() -> None:
    family = Family.of(np.array([0, 2, 0, -1, 0]), 3, np.array([3.0, 1.0, 1.0, 0.0, 2.0]))
    assert family.number.tolist() == [3, 0, 1]
    assert family.place.tolist() == [2, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("x", "unit"),
    [([4.0, 6.0, np.nan], 2), ([0.0, -9.0], 9), ([4.5, 6.0], 0), ([4.0, 6.5], 0), ([2.0**63], 0), ([np.nan], 0)],
)
def test_the_unit_of_numbers_is_what_all_are_multiples_of(x: list[float], unit: int) -> None:
    assert unit_in(np.array(x)) == unit


def test_the_most_frequent_value_of_a_group_is_the_first_met_of_several() -> None:
    group, code = np.array([0, 0, 0, 2, 2, 3]), np.array([1, 0, 0, 2, 1, -1])
    mode, share = value_of(lambda: group_modes(group, code, 4))
    assert mode.tolist() == [0, -1, 2, -1]
    np.testing.assert_allclose(share[[0, 2]], [2 / 3, 1 / 2])


def test_a_row_is_alone_whose_key_no_other_has_or_which_has_none() -> None:
    assert _alone(pa.array(["a", "b", "b", None, "c", None])).tolist() == [True, False, False, True, True, True]


@pytest.mark.parametrize(
    ("kind", "dtype", "decimals", "difference"),
    [
        (Kind.CONTINUOUS, "double", None, ("double", None)),
        (Kind.CONTINUOUS, "double", 2, ("double", 2)),
        (Kind.CONTINUOUS, "double", 0, ("int64", 0)),
        (Kind.DATETIME, "timestamp[us]", None, ("int64", 0)),
    ],
)
def test_differences_are_whole_where_values_are(
    kind: Kind, dtype: str, decimals: int | None, difference: tuple[str, int | None]
) -> None:
    found = difference_of(ColumnSchema("c", kind, dtype, decimals=decimals))
    assert (found.dtype, found.decimals) == difference


def families(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parents of 60 rows, some with none, numbers of few values, some missing, and codes, some missing."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(60) < 0.2, np.nan, rng.integers(0, 5, 60) / 2)
    return rng.integers(0, 12, 60), x, rng.integers(-1, 4, 60)


@pytest.mark.parametrize(("differing", "found"), [(2, False), (3, True), (1, False)])
def test_values_vary_where_they_do_in_most_families_of_several(differing: int, found: bool) -> None:
    parent = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    x = np.array([float(i % 2 == 1 and i // 2 < differing) for i in range(9)])
    assert varies(x, parent, np.array([2, 2, 2, 2, 1])) is found


@pytest.mark.parametrize("seed", range(4))
def test_persons_of_a_code_are_counted_once(seed: int) -> None:
    persons, _, code = families(seed)
    expected = [len({p for p, c in zip(persons.tolist(), code.tolist(), strict=True) if c == k}) for k in range(4)]
    assert value_of(lambda: persons_each(code, persons, 6)).tolist() == [*expected, 0, 0]
    assert is_shared(code, persons, max(expected)) and not is_shared(code, persons, max(expected) + 1)
    nobody = np.full(3, NO_PARENT)
    assert persons_each(nobody, np.arange(3), 2).tolist() == [0, 0] and not is_shared(nobody, np.arange(3), 1)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_families_reach_their_ends(seed: int, together: bool) -> None:
    """One row of each family at each end, or all that share it; what lies between and families of one value stay."""
    parent, x, _ = families(seed)
    least, width = np.arange(12) * 100.0 + 1000, np.arange(12) + 50.0
    moved = value_of(lambda: reaching(x.copy(), parent, least, width, together))
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(x))
    for p in range(12):
        at = np.flatnonzero((parent == p) & ~np.isnan(x))
        if not len(at):
            continue
        low, high = x[at].min(), x[at].max()
        if low == high:
            assert (moved[at] == least[p]).sum() == 1 and (
                (moved[at] == least[p]) | (moved[at] == least[p] + width[p]) | (moved[at] == low)
            ).all()
            continue
        for end, wanted in ((low, least[p]), (high, least[p] + width[p])):
            same = at[x[at] == end]
            assert (moved[same] == wanted).sum() == (len(same) if together else 1)
            assert np.isin(moved[same], [wanted, end]).all()
        between = at[(x[at] > low) & (x[at] < high)]
        np.testing.assert_array_equal(moved[between], x[between])
    assert np.isnan(reaching(np.array([np.nan]), np.array([0]), least, width, together)).all()


def test_codes_name_values_and_missing_ones_have_none() -> None:
    for array in (pa.array(["b", None, "a", "b"]), pa.array([7, None, 5, 7])):
        code, distinct = codes(array)
        assert code[1] == -1 and code[0] == code[3] != code[2] and len(distinct) == 2
        assert plain(values_of(distinct, code)).equals(array)
        assert plain(values_of(distinct, np.array([-1, code[2]]))).to_pylist() == [None, array[2].as_py()]
    assert pa.types.is_dictionary(values_of(pa.array(["a"]), np.array([0])).type)
    assert numbers(pa.array([1, None, 3], pa.int32())).tolist()[::2] == [1.0, 3.0]
    assert np.isnan(numbers(pa.array([1, None], pa.int32()))[1]) and numbers_or_null(np.array([3, -1])).to_pylist() == [
        3,
        None,
    ]


def test_grids_kinds_and_rows_of_parents() -> None:
    assert on_grid(np.array([0.0, 7.0, 8.0, -4.0]), 5).tolist() == [0.0, 5.0, 10.0, -5.0]
    assert on_grid(np.array([7.25]), 0).tolist() == [7.25]
    assert [unit_in(np.array(x)) for x in ([2.0**62, 2.0**61], [])] == [2**61, 0]
    rows = pa.table({"kind": pa.array([2, None, 0])})
    assert kinds_of(rows, "kind", 5).tolist() == [2, NO_PARENT, 0] and kinds_of(rows, "other", 5).tolist() == [5, 5, 5]
    assert take_or_null(pa.array(["a", "b"]), np.array([1, NO_PARENT, 0])).to_pylist() == ["b", None, "a"]
    assert take_or_null(pa.array([], pa.string()), np.array([NO_PARENT])).to_pylist() == [None]
    assert (number_column("n").kind, number_column("n").decimals) == (Kind.CONTINUOUS, 0)
    assert code_column("n").kind is Kind.CATEGORICAL


def test_levels_of_a_hierarchy_are_the_rows_above_and_a_circle_has_none() -> None:
    parent = np.array([NO_PARENT, 0, 1, 1, NO_PARENT, 2])
    assert levels(parent) is not None and levels(parent).tolist() == [0, 1, 2, 2, 0, 3]  # type: ignore[union-attr]
    assert levels(np.array([1, 0])) is None and levels(np.array([0])) is None
    chain = np.arange(-1, MOST_LEVELS - 2)
    assert levels(chain).tolist() == list(range(MOST_LEVELS - 1))  # type: ignore[union-attr]


def test_without_places_parents_are_drawn_by_their_numbers_and_of_another_level_never() -> None:
    wanted = np.concatenate([np.zeros(4000, int), np.full(3, 2)])
    dealt = value_of(
        lambda: deal(wanted, np.array([0, 0, 1]), np.array([10, 30, 9]), np.random.default_rng(0), level=2)
    )
    share = np.bincount(dealt[:4000], minlength=3) / 4000
    np.testing.assert_allclose(share, [0.25, 0.75, 0.0], atol=0.04)  # 5 standard errors; nine by their level
    assert (dealt[4000:] == NO_PARENT).all()
    assert (deal(np.array([0, 1]), np.array([], int), np.array([], int), np.random.default_rng(0)) == NO_PARENT).all()
