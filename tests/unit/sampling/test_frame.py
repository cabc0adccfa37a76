"""A DataFrame comes back in the dtypes and the column order that it had, missing values included."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth import ColumnSchema, GaussianCopula, Kind, TableSchema
from raysynth.sampling.frame import to_frame, with_whole_numbers

N = 300
RNG = np.random.default_rng(0)
WHOLE = RNG.integers(0, 100, N)
GAPS = RNG.random(N) < 0.2
DAYS = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(WHOLE, unit="D"))


def gaps(values: Any, missing: Any = None) -> list[Any]:
    return [missing if gap else v for v, gap in zip(list(values), GAPS, strict=True)]


COLUMNS: dict[str, pd.Series] = {
    **{d: pd.Series(WHOLE, dtype=d) for d in ("int8", "int16", "int32", "int64")},
    **{d: pd.Series(WHOLE, dtype=d) for d in ("uint8", "uint16", "uint32", "uint64")},
    **{d: pd.Series(WHOLE / 4, dtype=d) for d in ("float32", "float64")},
    **{d: pd.array(gaps(WHOLE.tolist(), pd.NA), dtype=d) for d in ("Int8", "Int16", "Int32", "Int64")},
    **{d: pd.array(gaps(WHOLE.tolist(), pd.NA), dtype=d) for d in ("UInt8", "UInt64")},
    **{d: pd.array(gaps((WHOLE / 4).tolist(), pd.NA), dtype=d) for d in ("Float32", "Float64")},
    "bool": pd.Series(WHOLE < 40),
    "boolean": pd.array(gaps((WHOLE < 40).tolist(), pd.NA), dtype="boolean"),
    "category of text": pd.Series(gaps(np.array(["a", "b", "c"])[WHOLE % 3]), dtype="category"),
    "category of whole numbers": pd.Series(pd.Categorical(gaps((WHOLE % 3).tolist()), categories=[0, 1, 2])),
    "str": pd.Series(gaps(np.array(["a", "b", "c"])[WHOLE % 3]), dtype="str"),
    "string": pd.Series(gaps(np.array(["a", "b", "c"])[WHOLE % 3]), dtype="string"),
    "object of text": pd.Series(gaps(np.array(["a", "b"])[WHOLE % 2].tolist()), dtype=object),
    "object of whole numbers": pd.Series(gaps(WHOLE.tolist()), dtype=object),
    "object of booleans": pd.Series(gaps((WHOLE < 40).tolist()), dtype=object),
    "object of dates": pd.Series(gaps(datetime.date(2020, 1, 1 + v % 28) for v in WHOLE.tolist()), dtype=object),
    "object of decimals": pd.Series(gaps(Decimal(int(v)).scaleb(-1) for v in WHOLE), dtype=object),
    "datetime64[ns]": DAYS.astype("datetime64[ns]"),
    "datetime64[s]": DAYS.astype("datetime64[s]"),
    "datetime64[ns, Europe/Berlin]": DAYS.dt.tz_localize("Europe/Berlin").astype("datetime64[ns, Europe/Berlin]"),
    "timedelta64[ns]": pd.Series(gaps(pd.to_timedelta(WHOLE, unit="s")), dtype="timedelta64[ns]"),
    "int64[pyarrow]": pd.Series(gaps(WHOLE.tolist()), dtype="int64[pyarrow]"),
    "double[pyarrow]": pd.Series((WHOLE / 4).tolist(), dtype="double[pyarrow]"),
}  # fmt: skip


@pytest.fixture(scope="module")
def both() -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = pd.DataFrame(COLUMNS)
    return frame, value_of(lambda: GaussianCopula(seed=1, verbose=False).fit(frame).sample(1000, seed=1))


def test_columns_keep_their_order(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    assert list(both[0]) == list(both[1])
    assert isinstance(both[1].index, pd.RangeIndex)


@pytest.mark.parametrize("name", COLUMNS)
def test_dtype_and_python_types_come_back(both: tuple[pd.DataFrame, pd.DataFrame], name: str) -> None:
    real, synthetic = both[0][name], both[1][name]
    if name.startswith("category"):
        assert synthetic.dtype == "category"
        assert set(synthetic.cat.categories) == set(real.cat.categories)
        assert synthetic.cat.categories.dtype == real.cat.categories.dtype
    else:
        assert synthetic.dtype == real.dtype
    assert {type(v) for v in real.dropna()} == {type(v) for v in synthetic.dropna()}
    assert real.isna().any() == synthetic.isna().any()
    assert set(map(type, synthetic[synthetic.isna()])) <= set(map(type, real[real.isna()]))


@pytest.mark.parametrize("name", [n for n in COLUMNS if "number" not in n and "bool" not in n])
def test_values_lie_among_the_real_ones(both: tuple[pd.DataFrame, pd.DataFrame], name: str) -> None:
    """At most 100 distinct values, each in 5 rows or merged into its neighbours: the range is the real one."""
    real, synthetic = both[0][name].dropna(), both[1][name].dropna()
    if pd.api.types.is_numeric_dtype(real) or pd.api.types.is_datetime64_any_dtype(real):
        assert real.min() <= synthetic.min()
        assert synthetic.max() <= real.max()
    else:
        assert len(set(synthetic) - set(real)) <= len(set(real)) * 0.2


def test_no_rows_keep_the_dtypes() -> None:
    frame = pd.DataFrame({n: COLUMNS[n] for n in ("int32", "Int64", "boolean", "str", "datetime64[ns]")})
    model = value_of(lambda: GaussianCopula(seed=1, verbose=False).fit(frame))
    none = model.sample(0)
    assert none.dtypes.to_dict() == frame.dtypes.to_dict()
    assert len(none) == 0


def test_whole_numbers_with_gaps_are_written_whole_where_floats_hold_them_exactly() -> None:
    most = 2.0**53
    columns = {"exact": [most, np.nan, 1.0], "beyond": [2 * most, np.nan, 1.0], "full": [1.0, 2.0, 3.0]}
    schema = TableSchema(
        (
            *(ColumnSchema(n, Kind.CONTINUOUS, "double", decimals=0) for n in columns),
            ColumnSchema("tenths", Kind.CONTINUOUS, "double", decimals=1),
        )
    )
    written = with_whole_numbers(pd.DataFrame({**columns, "tenths": [1.0, np.nan, 2.5]}), schema)
    assert {n: str(t) for n, t in written.dtypes.items()} == {
        "exact": "Int64",
        "beyond": "float64",
        "full": "float64",
        "tenths": "float64",
    }
    assert written["exact"].tolist() == [2**53, pd.NA, 1]


@pytest.mark.parametrize(
    ("held", "dtype", "values"), [("bool", "bool", [True, None, False]), ("double", "int64", [1.0, None, 3.0])]
)
def test_a_missing_value_stays_missing_where_the_declared_dtype_has_none(
    held: str, dtype: str, values: list[Any]
) -> None:
    kind = Kind.BOOLEAN if held == "bool" else Kind.CONTINUOUS
    schema = TableSchema((ColumnSchema("c", kind, held, pandas_dtype=dtype),))
    made = value_of(lambda: to_frame(pa.table({"c": pa.array(values)}), schema))["c"]
    assert made.isna().tolist() == [False, True, False] and made.dropna().tolist() == [values[0], values[2]]
    whole = to_frame(pa.table({"c": pa.array(values).drop_null()}), schema)["c"]
    assert str(whole.dtype) == dtype


@pytest.mark.parametrize(
    ("column", "values", "dtype"),
    [
        (ColumnSchema("c", Kind.CONTINUOUS, "double"), [1.5, None], "float64"),
        (ColumnSchema("c", Kind.CONTINUOUS, "int64"), [1, None], "Int64"),
        (ColumnSchema("c", Kind.CONTINUOUS, "int64", pandas_dtype="int64"), [1, None], "Int64"),
        (ColumnSchema("c", Kind.CONTINUOUS, "int64", pandas_dtype="float64"), [1, None], "float64"),
        (ColumnSchema("c", Kind.CATEGORICAL, "string", pandas_dtype="category"), ["b", "a", "b"], "category"),
        (ColumnSchema("c", Kind.CATEGORICAL, "int64", pandas_dtype="category"), [3, None, 1], "category"),
    ],
)
def test_dtypes_that_nobody_declared_and_categories_without_an_order(
    column: ColumnSchema, values: list[Any], dtype: str
) -> None:
    made = value_of(lambda: to_frame(pa.table({"c": values}), TableSchema((column,))))["c"]
    assert str(made.dtype) == dtype and made.astype(object).where(made.notna(), None).tolist() == values
    assert dtype != "category" or (not made.cat.ordered and made.cat.categories.dtype != "float64")


def test_texts_that_came_through_a_dictionary_are_texts_where_no_category_is_declared() -> None:
    coded = pa.table({"c": pa.array(["b", "a", "b"]).dictionary_encode()})
    for dtype in (None, "string[pyarrow]", "object"):
        made = to_frame(coded, TableSchema((ColumnSchema("c", Kind.CATEGORICAL, "string", pandas_dtype=dtype),)))["c"]
        assert not isinstance(made.dtype, pd.CategoricalDtype) and "dictionary" not in str(made.dtype)
        assert made.tolist() == ["b", "a", "b"]
