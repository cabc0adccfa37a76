"""Who shares a value: exact for any cells together, and the same however rows are split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.data.table import as_table
from raysynth.schema import TableSchema
from raysynth.statistics.distinct import Sharers
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
