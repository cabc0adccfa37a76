"""Rules and orders that the real rows do not keep are refused; by name, column and number of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of
from unit.related.shop import RELATIONS, shop

from raysynth import RelationalSynthesizer
from raysynth.data.database import read_database
from raysynth.errors import DataError, InputError, ParameterError, SchemaError
from raysynth.related import rules as module
from raysynth.related.opened import open_tables
from raysynth.related.rules import proposed_rules
from raysynth.schema.constraints import Inequality
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation, TableKeys
from raysynth.schema.table import TableSchema

Change = Callable[[dict[str, pd.DataFrame]], object]


def opened(rule: str, change: Change | None = None, order: str | None = None) -> None:
    """Open a shop whose orders know the number of their lines, their sum and their customer's segment."""
    tables = shop(80)
    lines, orders = tables["lines"].groupby("order"), tables["orders"]
    tables["orders"] = orders.assign(
        total=orders.id.map(lines.paid.sum().round(2)),
        n=orders.id.map(lines.size()),
        segment=orders.customer.map(tables["customers"].set_index("id").segment),
    )
    if change is not None:
        change(tables)
    keys = tuple(TableKeys(n, (), order if n == "orders" else None) for n in tables)
    rules = (CrossTableRule.parse(rule),) if rule else ()
    open_tables(tables, DatabaseSchema(keys, tuple(map(Relation.parse, RELATIONS)), rules), {}, "error")


def first_is(table: str, column: str, value: object) -> Change:
    """Another value in the third row."""

    def change(tables: dict[str, pd.DataFrame]) -> None:
        tables[table][column] = tables[table][column].where(tables[table].index != 2, value)

    return change


BROKEN = {
    "orders.day >= customers.joined": first_is("orders", "day", pd.Timestamp("1999-01-01")),
    "orders.total = sum(lines.paid)": first_is("orders", "total", 1e6),
    "orders.n = count(lines)": first_is("orders", "n", 99),
    "orders.segment == customers.segment": first_is("orders", "segment", "nobody"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_rule_that_one_row_breaks_is_refused_and_holds_else(rule: str) -> None:
    opened(rule)
    with pytest.raises(DataError, match=r"does not hold in 1 of \d+ rows of 'orders'; mend"):
        opened(rule, BROKEN[rule])


def test_missing_values_break_no_rule() -> None:
    for rule, (table, column) in {
        "orders.day >= customers.joined": ("orders", "day"),
        "orders.total = sum(lines.paid)": ("orders", "total"),
        "orders.segment == customers.segment": ("customers", "age"),
    }.items():
        opened(rule, first_is(table, column, None))


@pytest.mark.parametrize(
    ("rule", "order", "column"),
    [
        ("orders.channel >= customers.age", None, "channel"),
        ("orders.total = sum(lines.product)", None, "product"),
        ("", "channel", "channel"),
    ],
)
def test_what_is_no_number_or_time_is_named(rule: str, order: str | None, column: str) -> None:
    with pytest.raises(SchemaError, match=f"column '{column}' of '.*' must hold numbers or times, and holds text"):
        opened(rule, order=order)


def test_dates_as_text_are_compared_as_dates_and_copies_by_their_type() -> None:
    def as_text(tables: dict[str, pd.DataFrame]) -> None:
        tables["orders"]["day"] = tables["orders"]["day"].dt.strftime("%d.%m.%Y")

    opened("orders.day >= customers.joined", as_text)
    with pytest.raises(InputError, match="cast one of them"):
        opened("orders.n == customers.segment")


def test_times_of_other_units_are_compared_as_times_and_made_children_keep_the_rule() -> None:
    """A date is later than a time of the day before, though days are few and microseconds many."""
    rng = np.random.default_rng(0)
    first = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 500 * 86_400, 60), "s")
    mothers = pd.DataFrame({"id": np.arange(60), "from": first, "to": first + pd.Timedelta(40, "D")})
    whose = np.repeat(np.arange(60), 3)
    day = first.to_numpy()[whose] + pd.to_timedelta(rng.integers(1, 39, 180), "D")
    days = pa.array(pd.Series(day).dt.date + pd.Timedelta(1, "D"), pa.date32())
    children = pa.table({"mother": pa.array(whose), "day": days, "end": days, "size": pa.array(whose)})
    relations = ["children.mother -> mothers.id", "children.day > mothers.from", "children.end <= mothers.to"]
    model = RelationalSynthesizer(relations=relations, seed=0, verbose=False, parameters={"n_trees": 2})
    made = value_of(lambda: model.fit({"mothers": mothers, "children": children}).sample(scale=3.0, seed=1))
    both = made["children"].merge(made["mothers"], left_on="mother", right_on="id")
    assert (pd.to_datetime(both["day"]) > both["from"]).all()
    assert (pd.to_datetime(both["end"]) <= both["to"]).all()
    assert (pd.to_datetime(both["day"]) - both["from"]).mean() < pd.Timedelta(40, "D")
    with pytest.raises(SchemaError, match="cast one of them"):
        RelationalSynthesizer(relations=[relations[0], "children.size > mothers.from"], verbose=False).fit(
            {"mothers": mothers, "children": children}
        )


def stays(seed: int = 0) -> dict[str, pd.DataFrame]:
    """Patients and their stays, which end after they begin."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(150), rng.poisson(3, 150))
    came = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 9000, len(owner)), unit="h")
    left = came + pd.to_timedelta(rng.exponential(60, len(owner)).round(), unit="h")
    table = pd.DataFrame({"patient": owner, "came": came, "left": left, "ward": rng.choice(["a", "b"], len(owner))})
    return {"patients": pd.DataFrame({"id": range(150), "age": rng.integers(1, 90, 150)}), "stays": table}


def test_rules_within_a_table_are_found_and_kept_where_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    broken = []
    for asked in ({}, {"rules": "auto"}):
        model = RelationalSynthesizer(relations=["stays.patient -> patients.id"], parameters=asked, seed=1)
        made = model.fit(stays()).sample(seed=2)["stays"]
        broken.append(int((made["left"] < made["came"]).sum()))
    assert broken[0] > 20 and broken[1] == 0
    assert "rules: Inequality(low='came', high='left')" in capsys.readouterr().out
    for bad, said in (({"parameters": {"rules": "all"}}, "'auto' or 'none'"), ({"epsilon": 1.0, "parameters": {
        "rules": "auto"}, "root": "patients", "caps": {"stays": 3}}, "'rules', which is no parameter")):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            RelationalSynthesizer(relations=["stays.patient -> patients.id"], **bad).fit(stays())


def lives(seed: int) -> dict[str, pd.DataFrame]:
    """Patients who know the number of their stays, and stays that know when their patient was born."""
    tables, rng = stays(seed), np.random.default_rng(seed)
    born = pd.Timestamp("1950-01-01") + pd.to_timedelta(rng.integers(0, 20000, 150), "D")
    n = tables["stays"].groupby("patient").size().reindex(range(150), fill_value=0).to_numpy()
    late = tables["stays"].assign(born=born[tables["stays"]["patient"]])
    for column in ("came", "left"):  # as far from the birth as from a common day, so that chance breaks the order
        late[column] = late["born"] + (late[column] - pd.Timestamp("2021-01-01"))
    return {"patients": tables["patients"].assign(born=born, n=n), "stays": late}


def test_rules_across_tables_that_all_rows_keep_are_kept_where_that_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = RelationalSynthesizer(
        relations=["stays.patient -> patients.id"], parameters={"rules": "auto", "n_trees": 2}, seed=1
    )
    tables = lives(3)
    made = value_of(lambda: model.fit(tables).sample(seed=2, scale=2.0))
    kept = {"stays.born == patients.born", "patients.n = count(stays)"}
    kept |= {f"stays.{column} >= patients.born" for column in ("came", "left")}
    assert {str(r) for r in model.schema_.rules} == kept
    said = capsys.readouterr().out.splitlines()
    assert {line.removeprefix("rule kept: ") for line in said if line.startswith("rule kept: ")} == kept
    both = made["stays"].merge(made["patients"], left_on="patient", right_on="id")
    assert len(both) > 500 and (both["born_x"] == both["born_y"]).all()
    assert (both["born_x"] <= both["came"]).all() and (both["came"] <= both["left"]).all()
    assert (both.groupby("patient").size() == both.groupby("patient")["n"].first()).all()
    tables["stays"].loc[5, "born"] = pd.Timestamp("2000-01-01")  # one row keeps a rule from being adopted
    others = RelationalSynthesizer(relations=model.relations, parameters=model.parameters, verbose=False)
    value_of(lambda: others.fit(tables))
    assert {str(r) for r in others.schema_.rules} == kept - {"stays.born == patients.born"}
    assert not capsys.readouterr().out


def test_a_constraint_that_would_compare_a_difference_with_a_time_is_refused_where_it_is_declared() -> None:
    rules = ["stays.patient -> patients.id", "stays.came >= patients.born"]
    within = TableSchema(constraints=(Inequality("came", "left"),))
    model = RelationalSynthesizer(relations=rules, schemas={"stays": within}, verbose=False)
    with pytest.raises(
        SchemaError, match=r"table 'stays': .*'came'.* and stays.came >= patients.born speak of the same"
    ):
        model.fit(lives(4))
    same = [*rules, "stays.left >= patients.born"]
    found = {"parameters": {"rules": "auto", "n_trees": 2}, "seed": 0, "verbose": False}
    for model in (
        RelationalSynthesizer(relations=same, schemas={"stays": within}, **{**found, "parameters": {"n_trees": 2}}),
        RelationalSynthesizer(relations=rules, **found),
    ):
        made = value_of(lambda model=model: model.fit(lives(4)).sample(seed=1))
        both = made["stays"].merge(made["patients"], left_on="patient", right_on="id")
        assert len(both) > 200 and (both["came"] >= both["born_y"]).all()
        is_together = model.relations is same
        assert not is_together or (both["came"] <= both["left"]).all()


def test_rules_that_nearly_all_rows_keep_are_proposed_with_their_share() -> None:
    tables = shop(200)
    lines, orders = tables["lines"].groupby("order"), tables["orders"]
    tables["orders"] = orders.assign(
        total=orders.id.map(lines.paid.sum().round(2)).fillna(0.0),
        paid=orders.id.map(lines.paid.sum().round(2)).fillna(0.0),  # of the same name
        n=orders.id.map(lines.size()).fillna(0).astype(int),
        segment=orders.customer.map(tables["customers"].set_index("id").segment),
        noise=np.random.default_rng(0).integers(0, 9, len(orders)),
    )
    tables["orders"].loc[3, "segment"] = "nobody"
    schema = DatabaseSchema(tuple(map(TableKeys, tables)), tuple(map(Relation.parse, RELATIONS)))
    found = {str(rule): share for rule, share in proposed_rules(read_database(tables, schema))}
    keys = {*BROKEN, "orders.paid = sum(lines.paid)"}
    assert keys == set(found)
    assert found["orders.segment == customers.segment"] == pytest.approx(1 - 1 / len(orders))
    assert found["orders.n = count(lines)"] == found["orders.total = sum(lines.paid)"] == 1.0
    public = DatabaseSchema(tuple(TableKeys(n, (), None, n == "customers") for n in tables), schema.relations)
    assert {str(r) for r, _ in proposed_rules(read_database(tables, public))} == {k for k in keys if "lines" in k}


def test_rules_of_columns_that_a_constraint_ties_are_adopted_together_or_not_at_all() -> None:
    """A day and a later one are both after the same time: where both rules hold and both days have one unit."""
    day, shipped = (CrossTableRule.parse(f"orders.{c} >= customers.since") for c in ("day", "shipped"))
    later = Inequality("day", "shipped")
    us, s = pa.timestamp("us"), pa.timestamp("s")
    alike, others = (pa.schema([("day", us), ("shipped", t), ("paid", us)]) for t in (us, s))

    def together(rule: CrossTableRule, found: list[CrossTableRule], *given: Any) -> set[CrossTableRule]:
        return set(value_of(lambda: module._together(rule, found, *given)))

    assert together(day, [day, shipped], [later], alike) == {day, shipped}
    assert together(day, [day], [later], alike) == set() == together(day, [day, shipped], [later], others)
    assert together(day, [day], [Inequality("paid", "sent")], alike) == {day}
    copy = replace(day, kind="==")
    assert together(copy, [copy], [], alike) == {copy} and together(copy, [copy], [later], alike) == set()
