"""Who shares a value: exact for any cells together, and the same however rows are split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.schema import TableSchema
from raysynth.statistics.distinct import Sharers, SharersOfAll
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.persons import PersonSummary, count_persons, value_cells, value_hashes
from raysynth.statistics.table_statistics import collect

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=60)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(0, 60), st.integers(1, 4))
def test_any_cells_together_are_shared_by_enough_persons_or_not(
    rows: list[tuple[int, int]], cut: int, most: int
) -> None:
    cell = np.array([c for c, _ in rows], np.int64)
    person = np.array([p for _, p in rows], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    whole = Sharers(most).with_rows(cell, person)
    parts = Sharers(most).with_rows(cell[:cut], person[:cut]).merged(Sharers(most).with_rows(cell[cut:], person[cut:]))
    np.testing.assert_array_equal(whole.cell, parts.cell)
    np.testing.assert_array_equal(whole.person, parts.person)
    for first in range(7):
        for after in range(first, 8):
            persons = {p for c, p in rows if first <= c < after}
            assert whole.are_enough(first, after) == (len(persons) >= most)
    expected = [min(most, len({p for c, p in rows if c == cell})) for cell in range(7)]
    assert whole.counts(7).tolist() == expected


def visits() -> pa.Table:
    rng = np.random.default_rng(2)
    person = rng.integers(0, 60, 900)
    return pa.table(
        {
            "patient_id": [f"P{v:07d}" for v in person * 7919],
            "born": (1930 + person % 60).astype(np.int32),
            "ward": rng.choice(["A", "B", "C"], 900),
            "pulse": rng.normal(75, 9, 900).round(),
        }
    )


def test_a_pass_tells_who_shares_values_and_what_is_constant_within_persons() -> None:
    rows = visits()
    table = as_table(rows)
    statistics = collect(table)
    schema = infer_schema(table, statistics)
    counted = count_persons(table, schema, statistics, "patient_id")
    assert counted.constant == ("born",)
    born = statistics.columns["born"].distribution().value
    frame = rows.to_pandas()
    expected = [min(5, frame.patient_id[frame.born == v].nunique()) for v in born.low]
    assert counted.sharers["born"].counts(len(born.low)).tolist() == expected


@pytest.mark.parametrize("cuts", [(300, 600), (1, 2), (899,)])
def test_the_pass_does_not_depend_on_how_rows_are_split(cuts: tuple[int, ...]) -> None:
    table = as_table(visits())
    statistics = collect(table)
    schema: TableSchema = infer_schema(table, statistics)
    batch = table.to_arrow().combine_chunks().to_batches()[0]

    def summary() -> PersonSummary:
        return PersonSummary("patient_id", value_cells(schema, statistics), table.names, 5)

    whole, parts = summary(), summary()
    whole.update(batch)
    for start, stop in zip((0, *cuts), (*cuts, 900), strict=True):
        part = summary()
        part.update(batch.slice(start, stop - start))
        parts.merge(part)
    for name, sharers in whole.sharers.items():
        np.testing.assert_array_equal(sharers.person, parts.sharers[name].person)
    assert whole.finish().constant == parts.finish().constant


def test_equal_values_have_equal_hashes_and_missing_ones_none() -> None:
    floats = value_hashes(pa.array([0.0, -0.0, None, float("nan"), 1.5]))
    assert floats[0] == floats[1] != floats[4] and floats[2] == floats[3] == 0
    texts = value_hashes(pa.array(["a", "b", None, "a"]).dictionary_encode())
    assert texts[0] == texts[3] != texts[1] and texts[2] == 0
    doubled = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["x", "x"]))
    assert len(set(value_hashes(doubled).tolist())) == 1


def test_persons_of_one_cell_are_counted_up_to_k_whatever_the_cells_number() -> None:
    cell = np.array([5, 5, 1 << 39, 5, 1 << 39], np.int64)
    found = Sharers(2).with_rows(cell, np.array([7, 8, 7, 9, 7], np.uint64))
    assert [found.of_cell(c) for c in (5, 1 << 39, 6)] == [2, 1, 0]


@pytest.mark.parametrize("most", [2, 70])
def test_persons_of_several_kinds_share_a_cell_where_enough_of_each_do(most: int) -> None:
    """Against sets: of patients, of whom the first have many rows, and of the few doctors that they share."""
    rng = np.random.default_rng(most)
    cell = np.sort(rng.integers(0, 6, 1200))
    persons = np.where(rng.random(1200) < 0.5, 3, rng.integers(0, 300, 1200)), rng.integers(0, 75, 1200)
    persons[1][cell == 2] = 1
    kinds = [Sharers(most).with_rows(cell, p.astype(np.uint64)) for p in persons]
    both = SharersOfAll(tuple(kinds))
    of_cell = [[set(p[cell == c].tolist()) for c in range(6)] for p in persons]
    expected = [min(most, *(len(kind[c]) for kind in of_cell)) for c in range(6)]
    assert value_of(lambda: both.counts(6)).tolist() == expected and both.most == most
    for first in range(6):
        for after in range(first, 7):
            enough = [len(set().union(*kind[first:after])) >= most for kind in of_cell]
            assert value_of(lambda a=first, b=after: both.are_enough(a, b)) == all(enough)
            assert [k.are_enough(first, after) for k in kinds] == enough


def test_a_further_column_of_persons_is_counted_for_numbers_and_every_value_by_its_persons() -> None:
    rows = visits()
    rng = np.random.default_rng(4)
    rows = rows.append_column("doctor", pa.array([f"D{v}" for v in rng.integers(0, 9, 900)]))
    rows = rows.append_column("nurse", pa.array([f"N{v}" for v in rng.integers(0, 3, 900)]))
    table = as_table(rows)
    statistics, frame = collect(table), rows.to_pandas()
    schema = infer_schema(table, statistics)
    counted = value_of(lambda: count_persons(table, schema, statistics, "patient_id", ["doctor", "nurse"]))
    pulse = statistics.columns["pulse"].distribution().value.low
    people = [frame.patient_id, frame.doctor, frame.nurse]
    expected = [min(5, *(p[frame.pulse == v].nunique() for p in people)) for v in pulse]
    assert counted.sharers["pulse"].counts(len(pulse)).tolist() == expected
    assert isinstance(counted.sharers["pulse"], SharersOfAll) and isinstance(counted.sharers["ward"], Sharers)
    text = replace(statistics.columns["ward"], sharers=counted.sharers["ward"])
    found = value_of(lambda: text.categories().value)
    assert found.persons is not None
    by_hand = {v: min(5, frame.patient_id[frame.ward == v].nunique()) for v in "ABC"}
    assert dict(zip(found.values, found.persons.tolist(), strict=True)) == by_hand


def test_a_value_of_fewer_rows_than_persons_are_asked_for_has_as_many_persons_at_most_as_rows() -> None:
    town = ["A"] * 12 + ["B"] * 6 + ["C"] * 3 + ["D"]
    rows = pa.table(
        {"id": [f"P{i % 11:07d}" for i in range(12)] + ["P0000001"] * 6 + ["P1", "P2", "P2", "P3"], "t": town}
    )
    table = as_table(rows)
    statistics = collect(table)
    cells = value_cells(infer_schema(table, statistics).with_column("t", kind="categorical"), statistics)
    summary = PersonSummary("id", cells, table.names, 5)
    summary.update(table.to_arrow().combine_chunks().to_batches()[0])
    column = replace(statistics.columns["t"], sharers=summary.sharers["t"])
    found = value_of(lambda: column.categories().value)
    assert found.persons is not None
    assert dict(zip(found.values, found.persons.tolist(), strict=True)) == {"A": 5, "B": 1, "C": 3, "D": 1}
