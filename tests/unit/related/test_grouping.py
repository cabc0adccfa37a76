"""Rows by their parents: places, most frequent values, grids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related.bounding import _alone
from raysynth.related.forms import difference_of
from raysynth.related.grouping import Family, group_modes, unit_in
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
