"""Kinds of columns: inferred with a reason, declared by the user, refused where they do not fit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.fitting.opening import open_exactly
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import collect, infer_schema

N = 400
RNG = np.random.default_rng(11)
PLACES = ["Airport", "Municipal Airport", "Regional", "Field", "County Airport", "Beach", "Heliport", "Airfield"]
PEOPLE = ["Smith", "Nguyen", "Garcia", "Church", "Kowalski", "Jones", "Haddad", "Okafor"]


def schema_of(frame: pd.DataFrame | pa.Table, declared: TableSchema | None = None, **kinds: list[str]) -> TableSchema:
    table = as_table(frame)
    return infer_schema(table, collect(table), declared, {Kind(k): v for k, v in kinds.items()})


def one(name: str, values: Any) -> ColumnSchema:
    column = schema_of(pd.DataFrame({name: values}))[name]
    assert column.reason
    return column


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("colour", RNG.choice(["red", "blue"], N), Kind.CATEGORICAL),
        ("flag", RNG.random(N) < 0.5, Kind.BOOLEAN),
        ("age", RNG.integers(18, 90, N), Kind.CONTINUOUS),
        ("rating", RNG.integers(1, 6, N), Kind.CONTINUOUS),
        ("bit", RNG.integers(0, 2, N), Kind.CATEGORICAL),
        ("price", RNG.gamma(2, 10, N), Kind.CONTINUOUS),
        ("weight", RNG.permutation(np.arange(N) * 37 + 5), Kind.CONTINUOUS),  # unique, but no key: like fnlwgt
        ("customer_id", RNG.permutation(np.arange(N) * 37 + 5), Kind.IDENTIFIER),
        ("patient_id", pd.Series(RNG.permutation(np.arange(N) * 37 + 5.0)).where(np.arange(N) > 9), Kind.IDENTIFIER),
        ("x", np.arange(100, 100 + N), Kind.IDENTIFIER),
        ("patnum", RNG.permutation(np.arange(100_000, 100_000 + 3 * N))[:N], Kind.IDENTIFIER),  # drawn without repeats
        ("custnum", np.arange(N) * 5 + 100, Kind.IDENTIFIER),  # a regular grid: a series, but for its name
        ("income", RNG.permutation(np.arange(10_000, 10_000 + 40 * N * N))[:N], Kind.CONTINUOUS),
        ("year", RNG.permutation(np.arange(1500, 2000))[:N], Kind.CONTINUOUS),
        ("name", [f"{a} {b}" for a in ("Akron", "Elk Grove", "Moton") for b in PLACES] * 5, Kind.CATEGORICAL),
        ("name", [f"{a} {b}" for a in ("Anna", "Mary Ann", "Juan") for b in PEOPLE] * 5, Kind.PERSONAL),
        ("score", RNG.normal(size=N), Kind.CONTINUOUS),  # a unique float is no key
        ("code", [f"P{i:06d}" for i in range(N)], Kind.IDENTIFIER),
        ("contact", [f"user{i % 90}@mail.example" for i in range(N)], Kind.PERSONAL),
        ("when", pd.date_range("2020-01-01", periods=N, tz="Europe/Paris"), Kind.DATETIME),
        ("took", pd.to_timedelta(RNG.integers(0, 90, N), unit="s"), Kind.TIMEDELTA),
        ("same", ["x"] * N, Kind.CONSTANT),
        ("level", pd.Series(RNG.integers(0, 5, N)).astype("category"), Kind.CATEGORICAL),
        ("iso", ["2020-01-01", "2020-02-03"] * (N // 2), Kind.CATEGORICAL),
    ],
)
def test_kinds(name: str, values: Any, kind: Kind) -> None:
    assert one(name, values).kind is kind


def test_decimals_nullability_and_dtypes_are_noted() -> None:
    frame = pd.DataFrame({"price": [1.25, 2.5, None, 8.0] * 15, "n": pd.array([1, 2, 3] * 20, dtype="Int64")})
    schema = schema_of(frame)
    assert (schema["price"].decimals, schema["price"].nullable, schema["price"].dtype) == (2, True, "double")
    assert (schema["n"].decimals, schema["n"].nullable, schema["n"].pandas_dtype) == (0, False, "Int64")


def test_a_constant_keeps_its_value_in_json_form(tmp_path: Any) -> None:
    frame = pd.DataFrame({"a": ["x"] * 30, "t": [pd.Timestamp("2020-01-01")] * 30, "n": range(30)})
    schema = schema_of(frame)
    assert schema["a"].value == "x"
    schema.save(tmp_path / "schema.json")
    loaded = TableSchema.load(tmp_path / "schema.json")
    assert pa.scalar(loaded["t"].value, pa.int64()).cast(loaded["t"].arrow_type).as_py() == frame["t"][0]


def test_declared_kinds_win() -> None:
    frame = pd.DataFrame({"age": RNG.integers(18, 90, N), "zip": RNG.integers(100, 999, N)})
    assert schema_of(frame, categorical=["zip"])["zip"].kind is Kind.CATEGORICAL
    declared = TableSchema((ColumnSchema("zip", Kind.CATEGORICAL, "int64"),), rare_threshold=3)
    schema = schema_of(frame, declared)
    assert schema.names == ("age", "zip") and schema.rare_threshold == 3
    assert schema["zip"].kind is Kind.CATEGORICAL and schema["age"].kind is Kind.CONTINUOUS
    assert schema_of(frame, declared, continuous=["zip"])["zip"].kind is Kind.CONTINUOUS


def test_a_listed_date_becomes_a_datetime_and_a_key_gets_a_pattern() -> None:
    frame = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=N), "key": [f"A-{i:04d}" for i in range(N)]})
    schema = schema_of(frame, continuous=["when"])
    assert schema["when"].kind is Kind.DATETIME
    assert schema["key"].pattern == "A-[0-9]{4}"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (ColumnSchema("gone", Kind.CATEGORICAL, "string"), "'gone'.*the table has"),
        (ColumnSchema("text", Kind.CONTINUOUS, "string"), "'text'.*continuous.*string"),
        (ColumnSchema("text", Kind.CONTINUOUS, "int64"), "'text'.*int64.*string"),
        (ColumnSchema("number", Kind.BOOLEAN, "int64"), "'number'.*boolean"),
        (ColumnSchema("number", Kind.CONTINUOUS, "int64", bounds=(0, 10)), "'number'.*bounds"),
        (ColumnSchema("number", Kind.CONSTANT, "int64"), "'number'.*constant.*differ"),
        (ColumnSchema("text", Kind.CATEGORICAL, "string", categories=("a",)), "'text'.*categories"),
        (ColumnSchema("text", Kind.CATEGORICAL, "string", nullable=False), "'text'.*not nullable.*missing"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(column: ColumnSchema, message: str) -> None:
    frame = pd.DataFrame({"text": ["a", "b", None, "c"] * 25, "number": range(100)})
    with pytest.raises(SchemaError, match=message):
        schema_of(frame, TableSchema((column,)))


def test_unknown_and_doubly_listed_columns_are_refused() -> None:
    frame = pd.DataFrame({"a": range(20), "b": range(20)})
    with pytest.raises(SchemaError, match="'c' is listed.*no such column"):
        schema_of(frame, categorical=["c"])
    with pytest.raises(SchemaError, match="'a'.*keep one"):
        schema_of(frame, categorical=["a"], continuous=["a"])


def test_a_column_without_values_is_kept_as_a_constant_of_none() -> None:
    frame = pd.DataFrame({"a": range(20), "empty": [None] * 20})
    empty = schema_of(frame)["empty"]
    assert (empty.kind, empty.value) == (Kind.CONSTANT, None) and "no value in any row" in empty.reason
    declared = TableSchema((ColumnSchema("empty", Kind.CONSTANT, "null"),))
    assert schema_of(frame, declared)["empty"].value is None


def test_row_numbers_are_made_anew_in_their_range() -> None:
    numbers = np.random.default_rng(1).permutation(5000)[:4000] + 1
    column = one("ID", numbers)
    assert (column.kind, column.pattern) == (Kind.IDENTIFIER, "integer(1, 5000)")
    assert one("ID", numbers * 10).pattern == "integer(1, 99999)"  # neither counted through nor sparse
    assert one("ID", numbers * 40 + 1_000_000).pattern == "integer(1000000, 1200000)"


def test_a_schema_in_which_a_key_of_whole_doubles_was_found_can_be_declared() -> None:
    frame = pd.DataFrame({"patient_id": np.repeat(np.arange(90.0) * 7 + 1000, 4), "x": np.arange(360) % 11})
    found = schema_of(frame)
    assert found["patient_id"].kind is Kind.IDENTIFIER
    assert schema_of(frame, found)["patient_id"].kind is Kind.IDENTIFIER
    with pytest.raises(SchemaError, match="a key is text or a whole number"):
        schema_of(frame.assign(patient_id=frame.patient_id + 0.5), found)


@pytest.mark.parametrize(("n", "kind"), [(2, Kind.CONTINUOUS), (3, Kind.IDENTIFIER)])
def test_three_different_numbers_named_like_a_key_are_one(n: int, kind: Kind) -> None:
    table = pd.DataFrame({"id": [70, 91, 42][:n], "x": [1.5, 2.5, 3.1][:n]})
    assert schema_of(table)["id"].kind is kind


@pytest.mark.parametrize(
    ("name", "values", "several"),
    [
        ("where", [f"{48 + i / 997:.5f}, {-3 - i / 991:.5f}" for i in range(N)], True),
        ("geom", [f"POINT ({-3 - i / 991:.6f} {48 + i / 997:.6f})" for i in range(N)], True),
        ("spot", [f"{i / 997 + 7:.4f}°N {i / 991 + 9:.4f}°W" for i in range(N)], True),
        ("pressure", [f"{88 + i // 9}/{52 + i % 41}" for i in range(N)], True),
        ("size", [f"{3 + i}x{1200 - i} mm" for i in range(N)], True),
        ("goals", [f"{i % 5}-{i % 3}" for i in range(N)], False),  # few different ones, to be learned
        ("article", [f"{100 + i}-{99 - i % 90:02d}" for i in range(N)], False),  # fixed places: a key's
        ("docket", [f"{7 + i}/{1990 + i % 30}" for i in range(N)], False),
        ("version_no", [f"{1 + i}-{2 + i % 13}" for i in range(N)], False),
        ("host", [f"10.{i % 250}.{i % 7}.{i % 200}" for i in range(N)], False),
    ],
)
def test_several_measured_numbers_in_one_text_are_no_key(name: str, values: list[str], several: bool) -> None:
    column = one(name, values)
    assert ("several numbers" in column.reason) is several
    assert not several or column.kind is Kind.CATEGORICAL


def test_a_range_that_a_rule_read_from_the_rows_stays_private_and_binds_no_other_fit() -> None:
    """Rows lie beyond a protected range, so one taken for declared would refuse the rows that it was read from."""
    rng = np.random.default_rng(0)
    low = rng.exponential(9, 3000).round()
    table = as_table(
        pd.DataFrame({"low": low, "high": low + rng.exponential(40, 3000).round(), "top": low.max() + 900})
    )
    found = open_exactly(table, None, {}, rules="auto").schema
    ranged = [c for c in found.columns if c.bounds is not None]
    assert ranged and all("bounds" in c.inferred for c in ranged)
    again = open_exactly(table, found, {}, rules="none").schema
    assert all("bounds" in again[c.name].inferred for c in ranged)


def test_levels_of_fewer_rows_than_are_protected_are_left_out() -> None:
    values = pd.Categorical(
        np.repeat(["low", "mid", "high", "top"], [4, 5, 60, 31]), ["low", "mid", "none", "high", "top"], ordered=True
    )
    found = schema_of(pd.DataFrame({"level": values, "x": np.arange(100.0)}))
    assert found.rare_threshold == 5 and found["level"].levels == ("mid", "none", "high", "top")


def test_what_nobody_declared_is_named_and_stays_so_in_a_second_fit() -> None:
    frame = pd.DataFrame({"n": [1, 2, 3, 4, 5] * 10, "t": ["a", "b"] * 25, "m": [1.5, 2.5, None, 4.5, 0.5] * 10})
    found = schema_of(frame, categorical=["t"])
    assert found["n"].inferred == ("kind", "dtype", "pandas_dtype", "nullable", "decimals")
    assert found["t"].inferred == ("dtype", "pandas_dtype", "nullable")
    assert schema_of(frame, found)["n"].inferred == found["n"].inferred
    own = TableSchema((replace(found["n"], inferred=()), replace(found["m"], inferred=(), decimals=None)))
    again = schema_of(frame, own)
    assert (again["n"].inferred, again["m"].inferred) == ((), ("decimals",)) and again["m"].decimals == 1
    assert "kind" in again["t"].inferred and again["t"].kind is Kind.CATEGORICAL


@pytest.mark.parametrize(("bounds", "fits"), [((0, 99), True), ((0, 98), False), ((1, 99), False), ((-5, 200), True)])
def test_rows_may_reach_both_ends_of_a_declared_range(bounds: tuple[int, int], fits: bool) -> None:
    frame = pd.DataFrame({"n": range(100)})
    declared = TableSchema((ColumnSchema("n", Kind.CONTINUOUS, "int64", bounds=bounds),))
    if fits:
        assert value_of(lambda: schema_of(frame, declared))["n"].bounds == bounds
        return
    with pytest.raises(SchemaError, match="'n' has values outside the declared bounds"):
        schema_of(frame, declared)


def test_rows_are_held_to_a_declaration_only_where_they_are_checked() -> None:
    frame = pd.DataFrame({"t": ["a", "b", "c", "a", None] * 9})
    table = as_table(frame)
    column = ColumnSchema("t", Kind.CATEGORICAL, "string", categories=("a",), nullable=False)
    found = infer_schema(table, collect(table), TableSchema((column,)), check_rows=False)
    assert found["t"].categories == ("a",) and not found["t"].nullable
    with pytest.raises(SchemaError, match="not nullable, but 9 rows are missing"):
        schema_of(frame, TableSchema((column,)))
    with pytest.raises(SchemaError, match="has 2 values that the declared categories lack"):
        schema_of(frame, TableSchema((replace(column, nullable=True),)))
    whole = TableSchema((replace(column, categories=("a", "b", "c", "d")),))
    assert value_of(lambda: schema_of(frame.dropna(), whole))["t"].categories == ("a", "b", "c", "d")


@pytest.mark.parametrize(("values", "fits"), [([7] * 30, True), ([7] * 29 + [8], False), ([7] * 29 + [None], False)])
def test_a_declared_constant_is_one_in_every_row(values: list[int | None], fits: bool) -> None:
    frame = pd.DataFrame({"c": pd.array(values, dtype="Int64"), "x": range(30)})
    declared = TableSchema((ColumnSchema("c", Kind.CONSTANT, "int64", value=7),))
    if fits:
        assert value_of(lambda: schema_of(frame, declared))["c"].value == 7
        return
    with pytest.raises(SchemaError, match="'c' is declared constant, but its rows differ"):
        schema_of(frame, declared)


def test_a_list_of_columns_is_no_text_and_may_be_empty_or_named_twice() -> None:
    frame = pd.DataFrame({"a": range(20), "b": range(20)})
    with pytest.raises(SchemaError, match="categorical columns must be a list of names; found the text 'ab'"):
        schema_of(frame, categorical="ab")  # type: ignore[arg-type]
    table = as_table(frame)
    found = value_of(
        lambda: infer_schema(table, collect(table), None, {Kind.CATEGORICAL: ["a", "a"], Kind.CONTINUOUS: None})
    )
    assert (found["a"].kind, found["a"].reason) == (Kind.CATEGORICAL, "declared")


@pytest.mark.parametrize(
    ("scale", "largest", "fits"),
    [(2, "90071992547409.91", True), (2, "90071992547409.92", False), (2, "-90071992547409.92", False), (0, "9", True)],
)
def test_decimals_of_more_digits_than_a_double_holds_are_refused(scale: int, largest: str, fits: bool) -> None:
    values = [Decimal(largest), *(Decimal(i) / 10**scale for i in range(11, 50))]
    table = pa.table({"d": pa.array(values, pa.decimal128(30, scale))})
    if fits:
        assert value_of(lambda: schema_of(table))["d"].kind is Kind.CONTINUOUS
        return
    with pytest.raises(SchemaError, match="'d' holds decimals of more digits than the 15"):
        schema_of(table)


def test_decimals_of_many_digits_reach_the_ends_of_their_declared_range() -> None:
    """-1.15 is read from a column of 30 digits as the double that is nearest, not as the one below."""
    table = pa.table({"d": pa.array([Decimal("-1.15"), Decimal("0.07"), Decimal("29.35")] * 9, pa.decimal128(30, 2))})
    column = ColumnSchema("d", Kind.CONTINUOUS, "decimal128(30, 2)", bounds=(-1.15, 29.35))
    assert value_of(lambda: schema_of(table, TableSchema((column,))))["d"].bounds == (-1.15, 29.35)
