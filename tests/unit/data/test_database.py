"""A database in memory: where keys point, and halves that share no entity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from unit_databases import RELATIONS, shop

from raysynth.data.database import entity_table, lineage, read_database, split_database
from raysynth.data.key_inference import as_database_schema
from raysynth.data.keys import MISSING, NOWHERE, key_values, parent_rows
from raysynth.data.table import as_table
from raysynth.errors import ParameterError, SchemaError

SCHEMA = as_database_schema(list(RELATIONS), shop())


def keys(**columns: list[object]) -> pa.Table:
    return key_values(as_table(pa.table(columns)), list(columns))


def test_each_key_points_to_its_row_or_says_why_not() -> None:
    parents = keys(a=["x", "y", "z"])
    assert parent_rows(keys(a=["z", None, "q", "x"]), parents).tolist() == [2, MISSING, NOWHERE, 0]
    both = keys(a=["x", "x", "y"], b=[1, 2, 1])
    found = parent_rows(keys(a=["y", "x", "y", None, "x"], b=[1, 2, 2, 1, None]), both)
    assert found.tolist() == [2, 1, NOWHERE, MISSING, MISSING]
    assert parent_rows(keys(a=[1.0, 2.5]), keys(a=[1, 2])).tolist() == [0, NOWHERE]  # compared as text


def test_pointers_agree_with_a_join_by_pandas() -> None:
    tables = shop()
    database = read_database(tables, SCHEMA)
    composite = next(r for r in SCHEMA.relations if r.child == "deliveries")
    rain = database.tables["weather"]["rain"].to_numpy()[database.pointers[composite]]
    joined = tables["deliveries"].merge(tables["weather"], on=["region", "week"], how="left")
    np.testing.assert_array_equal(rain, joined["rain"])
    orders = next(r for r in SCHEMA.relations if r.child_key == ("customer_id",))
    counts = tables["orders"]["customer_id"].value_counts().reindex(tables["customers"]["id"], fill_value=0)
    assert database.children_each(orders).tolist() == counts.tolist()
    assert database.own_columns("lines") == ["quantity"]


def test_entities_are_the_root_with_most_below_it() -> None:
    assert entity_table(SCHEMA) == "customers"
    link = as_database_schema(
        ["rating.user -> users.id", "rating.film -> films.id"], {"users": 0, "films": 0, "rating": 0}
    )
    assert entity_table(link) == "users"  # the first of two, however many rows either has
    assert {n: r.child_key for n, r in lineage(SCHEMA, "customers").items()} == {
        "orders": ("customer_id",),
        "lines": ("order_id",),
    }
    with pytest.raises(SchemaError, match="no table 'people'"):
        entity_table(SCHEMA, "people")


def test_halves_share_no_entity_and_lose_no_row() -> None:
    tables = shop()
    first, second = split_database(tables, SCHEMA, fraction=0.6, seed=1)
    assert len(first["customers"]) == 180
    for part in (first, second):
        assert set(part["orders"]["customer_id"]) <= set(part["customers"]["id"])
        assert set(part["lines"]["order_id"]) <= set(part["orders"]["order_id"])
        assert set(part["customers"]["referred_by"].dropna()) <= set(part["customers"]["id"])  # others are missing
        pd.testing.assert_frame_equal(part["weather"], tables["weather"])  # no entity's: whole
    for name in ("customers", "orders", "lines"):
        assert len(first[name]) + len(second[name]) == len(tables[name])
    assert not set(first["customers"]["id"]) & set(second["customers"]["id"])
    again, _ = split_database(tables, SCHEMA, fraction=0.6, seed=1)
    pd.testing.assert_frame_equal(again["lines"], first["lines"])


def test_halves_have_the_form_that_was_given() -> None:
    tables = shop() | {"orders": pa.Table.from_pandas(shop()["orders"])}
    first, _ = split_database(tables, SCHEMA)
    assert isinstance(first["orders"], pa.Table)
    assert first["orders"]["billing_customer_id"].null_count > 0  # who pays is in the other half
    with pytest.raises(ParameterError, match="between 0 and 1"):
        split_database(tables, SCHEMA, fraction=1)
