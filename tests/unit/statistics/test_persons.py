"""Which columns say whose the rows are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.kinds.identifier.kind import MANY
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import persons
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.persons import (
    PersonRanges,
    PersonSummary,
    found_entity,
    other_persons,
    repeating_together,
    value_cells,
    value_hashes,
)
from raysynth.statistics.table_statistics import collect


def seen(n_distinct: int, all_unique: bool = False) -> Any:
    return SimpleNamespace(n_distinct=n_distinct, summary=SimpleNamespace(all_unique=all_unique))


@pytest.mark.parametrize(
    ("doctors", "found"),
    [(seen(MANY), ("doctor_id",)), (seen(MANY - 1), ()), (seen(10 * MANY, all_unique=True), ()), (None, ())],
)
def test_other_persons_are_keys_named_so_of_enough_values_that_repeat(doctors: Any, found: tuple[str, ...]) -> None:
    columns = tuple(ColumnSchema(n, Kind.IDENTIFIER, "int64") for n in ("patient_id", "doctor_id", "lot"))
    known = {"patient_id": seen(1000), "lot": seen(1000)} | ({} if doctors is None else {"doctor_id": doctors})
    statistics: Any = SimpleNamespace(columns=known)
    assert other_persons(TableSchema(columns), statistics, "patient_id") == found


def test_a_column_is_of_few_whose_values_fewer_persons_have_than_must_share_them() -> None:
    rows = pa.record_batch({"who": [1, 2, 3, 4], "few": [1, 2, None, None], "enough": [1, 2, 3, None]})
    summary = PersonSummary("who", {}, ("who", "few", "enough"), 3, ("few", "enough"))
    summary.update(rows)
    assert summary.finish().of_few == ("few",)


def test_a_slip_is_no_reason_to_vary_within_a_person_but_a_rare_event_is() -> None:
    """Four rows of 500 persons: two dates of birth are mistyped once, three persons die, parties change in a fifth."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(500), 4)
    born, dead = rng.permutation(20_000)[:500][person], np.zeros(2000, bool)
    party = rng.integers(0, 2, 500)[person] ^ (rng.random(2000) < 0.05)
    born[[0, 400]] += 365
    dead[[3, 7, 11]] = True
    columns = [pa.array(c) for c in (person, born, dead, party)]
    shares = PersonRanges.nobody(4).with_rows(person.astype(np.uint64), columns).varying()
    assert shares.tolist() == [0.0, 2 / 500, 1.0, 1.0]


def test_columns_stand_for_each_other_but_not_a_number_in_two_units() -> None:
    rng = np.random.default_rng(0)
    of = rng.permutation(np.repeat(np.arange(500), 4))
    metres, pay = rng.permutation(500) + 1.0, rng.permutation(500)
    frame = pd.DataFrame({"who": [f"w{i}" for i in of], "pay": pay[of], "x": rng.normal(size=2000).round(3)})
    units = pd.DataFrame({"metres": metres[of], "feet": 3.28 * metres[of], "x": rng.normal(size=2000).round(3)})
    found = []
    for rows in (frame, units):
        table = as_table(rows)
        statistics = collect(table)
        found.append(repeating_together(table, infer_schema(table, statistics), statistics))
    assert found == [("who", "pay"), ()]


@pytest.mark.parametrize("cut", [0, 7, 40])
@pytest.mark.parametrize("seed", range(3))
def test_ranges_of_the_persons_with_the_smallest_hashes_are_kept(
    seed: int, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persons, "PERSONS", 5)
    rng = np.random.default_rng(seed)
    who, columns = rng.integers(0, 9, 40).astype(np.uint64), [pa.array(rng.integers(0, 3, 40)) for _ in range(2)]
    parts = [PersonRanges.nobody(2).with_rows(who[p], [c.take(pa.array(p)) for c in columns]) for p in
             (np.arange(cut), np.arange(cut, 40))]  # fmt: skip
    after = parts[0].with_rows(who[cut:], [c.slice(cut) for c in columns])
    hashes = [value_hashes(c).tolist() for c in columns]
    kept = sorted(set(who.tolist()))[:5]
    for found in (parts[0].merged(parts[1]), parts[1].merged(parts[0]), after):
        assert found.person.tolist() == kept
        for i, person in enumerate(kept):
            for j, column in enumerate(hashes):
                own = [h for h, w in zip(column, who.tolist(), strict=True) if w == person]
                assert (found.low[i, j], found.high[i, j]) == (min(own), max(own))


def test_cells_are_asked_for_of_values_that_enough_rows_share_and_of_numbers() -> None:
    frame = pd.DataFrame(
        {
            "town": ["a"] * 6 + ["b"] * 5 + ["c"] * 4 + ["d"] * 15,
            "n": np.arange(30) % 7 + 0.5,
            "on": np.arange(30) % 2 == 0,
            "known": ["x", "y"] * 15,
        }
    )
    table = as_table(frame)
    statistics = collect(table)
    schema = infer_schema(table, statistics).with_column("known", categories=("x", "y"))
    found = value_of(lambda: value_cells(schema, statistics))
    assert sorted(found) == ["n", "town"] and found["town"].values == ("d", "a", "b")  # type: ignore[union-attr]
    assert found["n"].starts.tolist() == [k + 0.5 for k in range(7)]  # type: ignore[union-attr]


def key(name: str, kind: Kind = Kind.IDENTIFIER, **given: Any) -> ColumnSchema:
    return ColumnSchema(name, kind, "string" if kind is Kind.PERSONAL else "int64", **given)


@pytest.mark.parametrize(
    ("columns", "distinct", "unique", "found"),
    [
        ([key("patient_id")], [MANY], [], "patient_id"),
        ([key("patient_id")], [MANY - 1], [], None),
        ([key("patient_id")], [1000], ["patient_id"], None),
        ([key("lot"), key("patient_id")], [900, 60], [], "patient_id"),
        ([key("account_id"), key("customer_id")], [900, 400], [], "customer_id"),
        ([key("patient_id"), key("doctor_id")], [300, 200], [], "patient_id"),
        ([key("doctor_id"), key("patient_id")], [300, 200], [], "patient_id"),
        ([key("patient_id"), key("lot")], [1000, 100], ["patient_id"], None),
        ([ColumnSchema("age", Kind.CONTINUOUS, "int64")], [80], [], None),
        ([key("name", Kind.PERSONAL, personal="name")], [950], [], "name"),
        ([key("name", Kind.PERSONAL, personal="name")], [951], [], None),
    ],
)
def test_the_column_that_says_whose_each_row_is(
    columns: list[ColumnSchema], distinct: list[int], unique: list[str], found: str | None
) -> None:
    known = {
        c.name: SimpleNamespace(
            n_rows=1000, missing=0, n_distinct=n, summary=SimpleNamespace(all_unique=c.name in unique)
        )
        for c, n in zip(columns, distinct, strict=True)
    }
    statistics: Any = SimpleNamespace(columns=known)
    assert value_of(lambda: found_entity(TableSchema(tuple(columns)), statistics)) == found


@pytest.mark.parametrize(
    ("values", "each", "odd", "found"),
    [(50, 2, 0, True), (49, 2, 0, False), (50, 50, 0, True), (50, 51, 0, False), (100, 4, 2, True), (100, 4, 3, False)],
)
def test_columns_of_many_repeated_values_repeat_together(values: int, each: int, odd: int, found: bool) -> None:
    """`odd` rows of further pairs: two of a hundred may be chance."""
    rng = np.random.default_rng(1)
    of = np.repeat(np.arange(values), each)
    other = rng.permutation(values)[of]
    other[:odd] = other[each * 20 : each * 20 + odd * each : each]
    text = pa.array([f"t{v}" for v in other]).dictionary_encode()
    table = as_table(pa.table({"pay": of * 3.0 + 1, "born": text, "x": pa.array(rng.integers(0, 2, len(of)) == 1)}))
    statistics = collect(table)
    columns = (
        ColumnSchema("pay", Kind.CONTINUOUS, "double"),
        ColumnSchema("born", Kind.CATEGORICAL, "string"),
        ColumnSchema("x", Kind.BOOLEAN, "bool"),
    )
    together = value_of(lambda: repeating_together(table, TableSchema(columns), statistics))
    assert together == (("pay", "born") if found else ())
