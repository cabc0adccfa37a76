"""Whether a regenerated column has a value: codes of any type of column, and back to booleans."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raysynth.encoding.block import PresenceEncoder
from raysynth.schema import ColumnSchema, Kind

ENCODER = PresenceEncoder("mail", Kind.PERSONAL, np.array([0.75, 0.25]))


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "nan", "b"]),
        pa.array(["a", None, "nan", "b"]).dictionary_encode(),
        pa.array([1, None, 3, 4]),
        pa.array([1.0, float("nan"), 2.0, 3.0]),
    ],
    ids=lambda a: str(a.type),
)
def test_missing_is_code_1(array: pa.Array) -> None:
    codes, values = ENCODER.encode(array)
    assert values is None and codes.dtype == np.uint16
    assert codes.tolist() == [0, 1, 0, 0]
    assert ENCODER.decode(codes, None, np.random.default_rng(0)).to_pylist() == [True, False, True, True]


def test_layout_and_state() -> None:
    place = ENCODER.layout()
    assert (place.cardinality, place.missing_code, place.value_index) == (2, 1, None)
    meta, arrays = ENCODER.to_state()
    again = PresenceEncoder.from_state(ColumnSchema("mail", Kind.PERSONAL, "string", personal="email"), meta, arrays)
    assert again.shares.tolist() == [0.75, 0.25]
    assert ENCODER.condition_weights(None).tolist() == [1, 1]
