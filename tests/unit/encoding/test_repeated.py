"""Rows of made persons: the same from any worker, in the real numbers of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.encoding.repeated import CYCLE, RepeatedEncoder, RowsEach, rows_each_of
from raysynth.errors import SchemaError
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.schema import ColumnSchema, Kind, TableSchema

SHARES = ((1, 0.5), (3, 0.25), (8, 0.25))


def test_persons_do_not_depend_on_how_rows_are_cut() -> None:
    layout = RowsEach(SHARES)
    whole = layout.persons(0, 40_000, 7, "id")
    parts = [layout.persons(start, 2_500, 7, "id") for start in range(0, 40_000, 2_500)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert whole[0] == 0 and set(np.diff(whole).tolist()) == {0, 1}
    assert not np.array_equal(whole, layout.persons(0, 40_000, 8, "id"))


def test_numbers_of_rows_have_the_given_shares_in_each_cycle() -> None:
    layout = RowsEach(SHARES)
    in_cycle = int(layout.lengths.sum())
    assert in_cycle == pytest.approx(CYCLE * sum(n * s for n, s in SHARES), rel=1e-3)
    for cycle in (0, 1, 5):
        _, rows = np.unique(layout.persons(cycle * in_cycle, in_cycle, 3, "id"), return_counts=True)
        for n, share in SHARES:
            assert (rows == n).mean() == pytest.approx(share, abs=1e-3)


def test_columns_of_one_person_change_together() -> None:
    layout = RowsEach(SHARES)
    keys = [RepeatedEncoder(IdentifierEncoder(n, "A-[0-9]{8}", "string"), layout, "id") for n in ("id", "account")]
    first, second = (k.values(100, 5_000, 11).to_pylist() for k in keys)
    assert len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second)) < 5_000
    assert len(keys[0].values(0, 0, 1)) == 0


def test_rare_numbers_of_rows_are_those_of_no_single_person() -> None:
    rng = np.random.default_rng(4)
    rows = np.concatenate([rng.integers(1, 5, 400), [97, 113, 4211]])
    pairs = rows_each_of(rows, 5)
    assert max(n for n, _ in pairs) <= 97 and sum(s for _, s in pairs) == pytest.approx(1)
    for n in range(1, 5):
        assert dict(pairs)[n] == pytest.approx((rows == n).mean(), abs=0.01)
    assert dict(rows_each_of(np.full(30, 8), 5)) == {8: 1.0}


def test_numbers_of_rows_are_spread_evenly_over_a_cell() -> None:
    shares = dict(rows_each_of(np.arange(1, 1001), 5))
    assert sum(shares.values()) == pytest.approx(1) and len(shares) > 100
    assert sum(n * share for n, share in shares.items()) == pytest.approx(500.5, abs=5)


def test_a_schema_keeps_rows_each_and_refuses_what_cannot_be_drawn_from() -> None:
    key = ColumnSchema("id", Kind.IDENTIFIER, "string", rows_each=SHARES)
    name = ColumnSchema("name", Kind.PERSONAL, "string", personal="name", within="id")
    schema = TableSchema((key, name), entity="id")
    assert TableSchema.from_dict(schema.to_dict()) == schema
    for wrong in ((), ((0, 1.0),), ((2, -1.0),), ((2.5, 1.0),), (3,)):
        with pytest.raises(SchemaError, match="rows_each"):
            TableSchema((ColumnSchema("id", Kind.IDENTIFIER, "string", rows_each=wrong),)).validate()  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="within 'id'"):
        TableSchema((name,)).validate()


@pytest.mark.parametrize("seed", range(4))
def test_first_rows_are_where_persons_begin(seed: int) -> None:
    layout = RowsEach(((1, 0.2), (2, 0.5), (7, 0.3)))
    in_cycle = int(layout.lengths.sum())
    persons = layout.persons(0, 2 * in_cycle, seed, "id")
    for person in (0, 1, 17, CYCLE - 1, CYCLE, CYCLE + 5):
        assert layout.first_row(person, seed, "id") == np.flatnonzero(persons == person)[0]
    begin = in_cycle - 3
    assert layout.persons(begin, 9, seed, "id").tolist() == persons[begin : begin + 9].tolist()
    assert layout.persons(7, 1, seed, "id").tolist() == [persons[7]] and len(layout.persons(7, 0, seed, "id")) == 0


class Numbered(IdentifierEncoder):
    """Keys that are the row numbers which they are made for."""

    def near(self, places: np.ndarray, row_start: int, reserved: int, key: int) -> pa.Array:
        """One for each place, from the first number on."""
        assert reserved == 0 or len(places) <= reserved, "no more than there are numbers for"
        return pa.array(row_start + np.arange(len(places)))


@pytest.mark.parametrize("shares", [((2, 1.0),), ((1, 0.5), (3, 0.5)), ((12, 1.0),), ((5, 1.0),)])
def test_keys_near_a_place_are_one_for_each_person_in_whichever_chunk(shares: tuple[tuple[int, float], ...]) -> None:
    """Chunks of five rows: who begins in one and ends in the next, or the one after, has one key, nobody else's."""
    made = RepeatedEncoder(Numbered("id", "integer", "int64"), RowsEach(shares), "id")
    keys: dict[int, set[int]] = {}
    for chunk in range(30):
        persons = made.rows_each.persons(5 * chunk, 5, 3, "id")
        own = value_of(lambda chunk=chunk, persons=persons: made.near(persons.astype(float), 5 * chunk, 5, 3))
        for person, key in zip(persons.tolist(), own.to_pylist(), strict=True):
            keys.setdefault(person, set()).add(key)
    assert all(len(k) == 1 for k in keys.values())
    assert len(set.union(*keys.values())) == len(keys)


def test_rows_made_singly_have_the_keys_of_their_persons() -> None:
    inner = IdentifierEncoder("id", "integer", "int64")
    made = RepeatedEncoder(inner, RowsEach(((2, 1.0),)), "id")
    persons = made.rows_each.persons(3, 6, 9, "id")
    expected = inner.values(int(persons[0]), 4, 9).take(pa.array(persons - persons[0]))
    assert value_of(lambda: made.values(3, 6, 9)).equals(expected)
    assert value_of(lambda: made.near(np.zeros(6), 3, 0, 9)).equals(expected)
