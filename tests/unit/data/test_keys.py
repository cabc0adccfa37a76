"""Keys of several tables: what is inferred and what is not, and what a database at fault is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from unit_databases import RELATIONS, shop

from raysynth.data.key_inference import as_database_schema, infer_relations
from raysynth.data.keys import check_database
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.schema.relations import DatabaseSchema, Relation


def test_every_kind_of_key_is_inferred_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    schema = infer_relations(shop())
    assert sorted(map(str, schema.relations)) == sorted(RELATIONS)
    keys = {t.name: t.primary_key for t in schema.tables}
    assert keys == {
        "customers": ("id",), "orders": ("order_id",), "lines": (), "products": ("id",),
        "weather": ("region", "week"), "deliveries": (),
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "orders.customer_id -> customers.id: its name is that of the table" in printed
    assert printed.count("\n") == 1 + len(RELATIONS)


def test_unrelated_tables_of_small_whole_numbers_have_no_keys(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    tables = {
        n: pd.DataFrame({"id": np.arange(1, 201), "score": rng.integers(1, 100, 200), "rank": rng.permutation(200) + 1})
        for n in ("films", "wines", "towns")
    }
    assert infer_relations(tables).relations == ()
    assert "none" in capsys.readouterr().out


def test_text_keys_are_found_by_their_values_and_half_found_ones_by_their_names() -> None:
    codes = [f"{a}{b}X" for a in "ABCDE" for b in "KLMNO"]
    airports = pd.DataFrame({"faa": codes, "altitude": range(25)})
    planes = pd.DataFrame({"tailnum": [f"N{i}" for i in range(90)], "seats": 100})
    flights = pd.DataFrame({"dest": codes * 8, "tailnum": [f"N{i % 100}" for i in range(200)], "delay": range(200)})
    found = infer_relations({"airports": airports, "planes": planes, "flights": flights}, verbose=False)
    assert set(map(str, found.relations)) == {"flights.dest -> airports.faa", "flights.tailnum -> planes.tailnum"}


def test_a_copied_text_column_is_no_key_where_the_table_has_one() -> None:
    """An order repeats its customer's address, and a list of prices has the name and the code of each country."""
    streets = [f"{n} High Street" for n in range(40)]
    customers = pd.DataFrame({"CustomerId": range(1, 41), "Address": streets})
    orders = pd.DataFrame({"CustomerId": list(range(1, 41)) * 3, "BillingAddress": streets * 3, "Total": range(120)})
    countries = pd.DataFrame({"id": range(100, 130), "iso": [f"C{n}" for n in range(30)]})
    prices = pd.DataFrame({"iso": [f"C{n}" for n in range(30)] * 2, "price": range(60)})
    tables = {"Customer": customers, "Order": orders, "countries": countries, "prices": prices}
    found = set(map(str, infer_relations(tables, verbose=False).relations))
    assert found == {"Order.CustomerId -> Customer.CustomerId", "prices.iso -> countries.iso"}


def test_relations_as_users_write_them(tmp_path: Path) -> None:
    tables = shop()
    texts = ["orders.customer_id -> customers.id", "orders.rank >= customers.stars"]
    schema = as_database_schema(texts, tables)
    assert schema.names == tuple(tables)
    assert schema["customers"].primary_key == ("id",)
    assert (len(schema.relations), len(schema.rules)) == (1, 1)
    schema.save(tmp_path / "keys.json")
    assert as_database_schema(tmp_path / "keys.json", tables) == schema
    assert as_database_schema(texts[0], tables).relations == (Relation.parse(texts[0]),)
    assert as_database_schema(schema, tables) is schema
    with pytest.raises(SchemaError, match="needs one key that leads from 'orders' to 'customers'"):
        as_database_schema(texts[1], tables)
    with pytest.raises(SchemaError, match="relations must be"):
        as_database_schema(3, tables)  # type: ignore[arg-type]


def declared(*relations: str) -> DatabaseSchema:
    return as_database_schema(list(relations), shop())


def test_a_sound_database_comes_back_with_what_may_be_missing() -> None:
    tables, schema = check_database(shop(), declared(*(r.removesuffix(", nullable") for r in RELATIONS)))
    assert sorted(map(str, schema.relations)) == sorted(RELATIONS)
    assert tables["lines"].n_rows == 1800


def test_keys_that_point_nowhere_are_refused_or_missing() -> None:
    database = shop()
    database["orders"].loc[:9, "customer_id"] = 10**6
    database["deliveries"].loc[:4, "region"] = "east"
    cure = r"table 'orders': the key \(customer_id\) points nowhere in 10 of 900 rows: table 'customers'.*'missing'"
    with pytest.raises(DataError, match=cure):
        check_database(database, declared(*RELATIONS))
    tables, schema = check_database(database, declared(*RELATIONS), dangling="missing")
    assert tables["orders"].to_arrow(["customer_id"])["customer_id"].null_count == 10
    assert tables["orders"].to_arrow(["rank"])["rank"].null_count == 0
    region, week = tables["deliveries"].to_arrow(["region", "week"]).columns
    assert region.null_count == week.null_count == 5
    assert region.slice(5).to_pylist() == database["deliveries"]["region"][5:].tolist()
    assert {r.child for r in schema.relations if r.nullable} == {"customers", "orders", "deliveries"}
    with pytest.raises(ParameterError, match="'error' or 'missing'"):
        check_database(database, declared(*RELATIONS), dangling="drop")


def test_keys_of_any_source_are_compared_by_value(tmp_path: Path) -> None:
    """Whole numbers as floats, since some are missing, and in files."""
    database = shop()
    database["orders"]["customer_id"] = database["orders"]["customer_id"].astype("float64")
    database["orders"].to_parquet(tmp_path / "orders.parquet")
    database["lines"].to_csv(tmp_path / "lines.csv", index=False)
    sources = {**database, "orders": tmp_path / "orders.parquet", "lines": str(tmp_path / "lines.csv")}
    sources["products"] = pa.Table.from_pandas(database["products"])
    check_database(sources, declared(*RELATIONS))
    assert sorted(map(str, infer_relations(sources, verbose=False).relations)) == sorted(RELATIONS)


@pytest.mark.parametrize(
    ("relation", "error", "message"),
    [
        ("orders.customer -> customers.id", SchemaError, "table 'orders' has no column 'customer'; it has: order_id"),
        ("visits.customer -> customers.id", SchemaError, "no table 'visits'"),
        (
            "deliveries.region -> products.id",
            SchemaError,
            "'deliveries.region' holds string, but 'products.id' .*int64",
        ),
        (
            "deliveries.(week,region) -> weather.(region,week)",
            SchemaError,
            "'deliveries.week' holds int64, but 'weather.region' holds string; cast one",
        ),
        ("lines.quantity -> customers.stars", DataError, r"table 'customers': key|primary key \(stars\) is not unique"),
        ("orders.rank -> customers.referred_by", DataError, r"\(referred_by\) is missing in \d+ of 300 rows"),
    ],
)
def test_a_key_at_fault_is_named(relation: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_database(shop(), declared(relation))


def test_a_repeated_primary_key_is_counted() -> None:
    database = shop()
    database["products"].loc[1:3, "id"] = 1
    with pytest.raises(DataError, match=r"'products': primary key \(id\) is not unique: 3 of 30 rows"):
        check_database(database, declared(*RELATIONS))


def test_tables_at_fault_are_named() -> None:
    with pytest.raises(DataError, match="'lines': .* points nowhere"):
        check_database(shop() | {"products": shop()["products"][:0]}, declared(*RELATIONS))
    with pytest.raises(DataError, match="table 'lines': cannot read a table from builtins.int"):
        check_database(shop() | {"lines": 3}, declared(*RELATIONS))
    with pytest.raises(DataError, match="dict of name to table"):
        infer_relations([shop()["lines"]])  # type: ignore[arg-type]
