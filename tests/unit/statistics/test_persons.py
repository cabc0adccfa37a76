"""Which columns say whose the rows are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth.data.table import as_table
from raysynth.kinds.identifier.repeated import MANY
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.persons import PersonRanges, PersonSummary, other_persons, repeating_together
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
