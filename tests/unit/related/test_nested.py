"""Tables of which one is a part of another, though both are declared as children of one parent alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth import RelationalSynthesizer, load_synthetic_model
from raysynth.related.grouping import Family
from raysynth.related.nested import apart_within
from raysynth.related.opened import open_tables
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints import FixedCombinations, Positive
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys
from raysynth.schema.table import TableSchema

RELATIONS = ["seasons.player -> players.id", "positions.player -> players.id"]
KEY = Relation("seasons", "positions", ("player", "year"), ("player", "year"))


def league(n: int = 300, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Players, the seasons of each, and in each season one to three positions, of the season's club and year."""
    rng = np.random.default_rng(seed)
    players = pd.DataFrame({"id": np.arange(n), "height": rng.normal(180, 8, n).round()})
    number, first = rng.integers(1, 8, n), rng.integers(1950, 2010, n)
    of = np.repeat(np.arange(n), number)
    year = np.concatenate([f + np.arange(k) for f, k in zip(first, number, strict=True)])
    seasons = pd.DataFrame({"player": of, "year": year, "club": rng.choice(list("ABCD"), len(of))})
    seasons["games"] = rng.integers(1, 160, len(of))
    held = np.repeat(np.arange(len(of)), rng.integers(1, 4, len(of)))
    positions = seasons.loc[held, ["player", "year", "club"]].reset_index(drop=True)
    positions["position"] = rng.choice(["pitcher", "catcher", "field"], len(held))
    return {"players": players, "seasons": seasons, "positions": positions}


def nested(
    tables: dict[str, pd.DataFrame], schema: DatabaseSchema, schemas: Mapping[str, TableSchema] | None = None
) -> tuple[Relation, ...]:
    """The keys that are found."""
    return open_tables(tables, schema, schemas or {}, "error").nested


def declared(*rules: str, order: str | None = None) -> DatabaseSchema:
    """The schema of `RELATIONS`."""
    keys = (TableKeys("players", ("id",)), TableKeys("seasons"), TableKeys("positions", order=order))
    return DatabaseSchema.from_dict(
        {**DatabaseSchema(keys, tuple(map(Relation.parse, RELATIONS))).to_dict(), "rules": list(rules)}
    )


def test_parts_are_made_for_the_row_that_they_are_parts_of(tmp_path: Path) -> None:
    real = league()
    model = value_of(
        lambda: RelationalSynthesizer(relations=RELATIONS, seed=1, verbose=False, parameters={"n_trees": 2}).fit(real)
    )
    assert model.database_.nested == (KEY,)
    assert [str(r) for r in model.schema_.relations] == RELATIONS
    assert model.schema_.rules == ()
    made = model.sample(scale=2.0, seed=2)
    columns = ["player", "year", "club"]
    assert set(map(tuple, made["positions"][columns].to_numpy())) <= set(
        map(tuple, made["seasons"][columns].to_numpy())
    )
    each = [t["positions"].groupby(["player", "year"]).size().mean() for t in (real, made)]
    assert each[1] == pytest.approx(each[0], rel=0.2)
    assert list(made["positions"].dtypes) == list(real["positions"].dtypes)
    model.save(file := tmp_path / "league.model")
    again = load_synthetic_model(file)
    assert isinstance(again, RelationalSynthesizer)
    assert again.schema_ == model.schema_
    pd.testing.assert_frame_equal(again.sample(scale=2.0, seed=2)["positions"], made["positions"])


def test_no_key_is_found_where_rows_have_no_other_or_several() -> None:
    real, schema = league(), declared()
    assert nested(real, schema) == (KEY,)
    without = {**real, "seasons": real["seasons"].drop(index=7)}
    twice = {**real, "seasons": pd.concat([real["seasons"], real["seasons"][7:8]], ignore_index=True)}
    lacking = {**real, "positions": real["positions"].assign(year=real["positions"]["year"].where(lambda y: y > 1950))}
    for tables in (without, twice, lacking):
        assert nested(tables, schema) == ()


def test_what_the_user_declares_of_the_rows_goes_before() -> None:
    real = league()
    born = {**real, "players": real["players"].assign(born=1900)}
    assert nested(born, declared("positions.year >= players.born")) == ()
    assert nested(born, declared(order="year")) == ()
    later = TableSchema((ColumnSchema("year", Kind.CONTINUOUS, "int64", decimals=0),), (Positive("year"),))
    assert nested(real, declared(), {"positions": later}) == ()


def visits() -> tuple[dict[str, pd.DataFrame], DatabaseSchema]:
    """Persons, and three visits of each, in the order of their days, which are texts."""
    rng = np.random.default_rng(2)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(
        np.cumsum(rng.integers(1, 90, (80, 3)), axis=1).ravel(), unit="D"
    )
    rows = pd.DataFrame({"person": np.repeat(np.arange(80), 3), "day": days.strftime("%d.%m.%Y")})
    rows["town"] = rng.choice(["Bern", "Basel", "Lyon"], 240)
    rows["land"] = np.where(rows.town == "Lyon", "FR", "CH")
    keys = (TableKeys("persons", ("id",)), TableKeys("visits", order="day"))
    schema = DatabaseSchema(keys, (Relation.parse("visits.person -> persons.id"),))
    return {"persons": pd.DataFrame({"id": np.arange(80), "age": rng.integers(20, 70, 80)}), "visits": rows}, schema


def test_tables_are_opened_with_their_dates_read_and_other_columns_as_they_are() -> None:
    tables, schema = visits()
    plain = value_of(lambda: open_tables(tables, schema, {}, "error")).tables["visits"].rows
    assert pa.types.is_temporal(plain["day"].type) and plain["town"].to_pylist() == tables["visits"].town.tolist()
    named = tables | {"persons": tables["persons"].assign(mail=[f"p{i}@x.org" for i in range(80)])}
    found = value_of(lambda: open_tables(named, schema, {}, "error")).tables["persons"]
    assert [c.name for c in found.modelled] == ["age"], "neither the key, which is made, nor personal values"
    code = {"persons": TableSchema((ColumnSchema("id", Kind.CATEGORICAL, "int64"),))}
    assert [c.name for c in open_tables(tables, schema, code, "error").tables["persons"].modelled] == ["age"]
    rule = {"visits": TableSchema((), (FixedCombinations(("town", "land")),))}
    ruled = value_of(lambda: open_tables(tables, schema, rule, "error")).tables["visits"].rows
    assert ruled["town"].to_pylist() == tables["visits"].town.tolist() and ruled["day"].equals(plain["day"])


def test_rows_that_stand_in_an_order_are_made_in_it() -> None:
    tables, schema = visits()
    parameters = {"n_trees": 1}
    model = RelationalSynthesizer(relations=schema, seed=1, verbose=False, parameters=parameters)
    made = value_of(lambda: model.fit(tables).sample(seed=2))["visits"]
    days = pd.to_datetime(made.day, format="%d.%m.%Y")
    assert len(made) > 100 and (days.groupby(made.person).diff().dropna() >= pd.Timedelta(0)).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_columns_that_tell_children_apart_are_found_and_chance_is_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = np.repeat(np.arange(80), 6)
    days = np.concatenate([rng.permutation(12)[:6] for _ in range(80)])
    pairs = np.concatenate([rng.permutation(12)[:6] for _ in range(80)])
    columns = {
        "day": days,
        "ward": np.array(list("abc"))[pairs % 3],
        "shift": pairs // 3,
        "times": rng.integers(0, 10**9, 480),
        "kind": rng.integers(0, 4, 480),
        "share": days / 7,
        "nullable": pa.array(days, mask=days == 3),
    }
    family = Family.of(parent, 80, rng.random(480))
    found = apart_within(pa.table(columns), family, [])
    assert found == (("day",), ("ward", "shift")), "no times, which seldom agree, no fractions, none that are missing"
    assert apart_within(pa.table(columns), family, [("parent", "day")]) == (("ward", "shift"),)
    broken = columns | {"day": np.where(np.arange(480) == 1, days[0], days)}
    assert apart_within(pa.table(broken), family, []) == (("ward", "shift"),)
    alone = Family.of(np.full(480, -1), 80, rng.random(480))
    assert apart_within(pa.table(columns), alone, []) == ()
