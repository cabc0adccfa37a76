"""Columns as the library stores them: one spelling of each number."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from raysynth.data.arrow_types import canonical_array

PARTS = ([1.5, float("inf")], [-0.0], [float("nan")], [None])


@pytest.mark.parametrize("type_", [pa.float32(), pa.float64()], ids=str)
def test_numbers_have_one_zero_and_what_is_no_number_is_missing(type_: pa.DataType) -> None:
    for chosen in product([False, True], repeat=len(PARTS)):
        values = [v for part, wanted in zip(PARTS, chosen, strict=True) if wanted for v in part]
        given = np.array([np.nan if v is None else v for v in values], dtype=type_.to_pandas_dtype())
        array = pa.array(given, type_, mask=np.array([v is None for v in values], dtype=bool))
        found = canonical_array(array, type_, "x", lenient=False)
        expected = [None if v is None or v != v else v + 0.0 for v in values]
        assert found.type == type_ and found.to_pylist() == expected
        assert not any(np.signbit(v) for v in found.to_pylist() if v is not None), values
        assert found.null_count == sum(v is None for v in expected)
