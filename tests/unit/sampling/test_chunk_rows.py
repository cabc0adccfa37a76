"""Rows of a chunk: how many are drawn at a time, when it is given up, and whose the rows are."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth import GaussianCopula
from raysynth.constraints import Expression
from raysynth.sampling import chunks, frame
from raysynth.sampling.chunks import DistinctRows, Piece, SamplingModel, chunk_count, make_chunk
from raysynth.sampling.conditions import ColumnCondition, Segment, parse_conditions
from raysynth.sampling.effects import with_rules
from raysynth.schema.columns import ColumnSchema, Kind


def test_rows_are_drawn_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch a tenth and 16 more than what is left needs at the rate so far; at least 64, at most a chunk."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 3_000)
    asked = batches(100, [0, 0, 10, 90], exact=False)
    assert asked == [2216, 3000, 3000, 3000]
    assert batches(100, [100], exact=True) == [126]
    assert batches(40, [40], exact=True) == [64]
    assert batches(100, [60, 40], exact=True) == [126, int(40 / (60 / 126) * 1.1 + 16)]
    assert batches(100, [60, 40], exact=True, conditions=False) == [126, 108]


def batches(n: int, kept: list[int], *, exact: bool, conditions: bool = True) -> list[int]:
    """Rows that are drawn at a time, of which so many keep the conditions."""
    asked: list[int] = []

    class Wanted:
        def draw(self, model: Any, batch: int, rng: Any) -> pa.Table:
            asked.append(batch)
            return pa.table({"x": np.arange(kept[len(asked) - 1])})

    wanted = Wanted()
    wanted.exact = exact  # type: ignore[attr-defined]
    given = (ColumnCondition("x"),) if conditions else ()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks._Wanted, "of", classmethod(lambda *_: wanted))
        rules = None if conditions else SimpleNamespace(hashes=lambda rows: [])
        model: Any = SimpleNamespace(rules=rules)
        rows = value_of(lambda: chunks._modelled_rows(model, Piece(given, 0, n), np.random.default_rng(0), DISTINCT))
    assert rows.num_rows == n
    return asked


DISTINCT = DistinctRows(0, 1)


@pytest.mark.parametrize(
    ("kept", "seen"),
    [([0] * 40, 10_000), ([1] + [0] * 40, 11_000), ([1] * 100, 10_000 + 30 * 11), ([40] * 100, None)],
)
def test_the_effort_is_so_many_rows_and_more_for_each_that_is_accepted(
    kept: list[int], seen: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In vain 10,000 rows in a row; in all 10,000, and 30 for each accepted one."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 1_000)
    monkeypatch.setattr(chunks, "MIN_EFFORT", 10_000)
    monkeypatch.setattr(chunks, "EFFORT_PER_ROW", 30)
    if seen is None:
        assert len(batches(1_000, kept, exact=False)) == 25
        return
    with pytest.raises(pytest.fail.Exception, match=r"ConditionError: only \d+ of ([\d,]+) generated rows") as error:
        batches(1_000, kept, exact=False)
    found = int(re.search(r"of ([\d,]+) generated", str(error.value))[1].replace(",", ""))  # type: ignore[index]
    assert seen <= found < seen + 1_000
    assert f"({sum(kept[: found // 1000]) / found:.2%}) satisfy the conditions on 'x'" in str(error.value)


def test_pieces_are_the_parts_of_segments_that_lie_in_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row: each belongs to the segment that it stands in."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    segments = tuple(Segment((ColumnCondition(str(i)),), n) for i, n in enumerate((3, 0, 7, 10, 25, 1)))
    whose = np.repeat(np.arange(len(segments)), [s.n for s in segments])
    for chunk in range(6):
        pieces = chunks._pieces(segments, chunk)
        rows = np.concatenate([np.empty(0, int), *(p.first_row + np.arange(p.n) for p in pieces)])
        assert rows.tolist() == list(range(10 * chunk, min(10 * chunk + 10, 46)))
        of = [int(p.conditions[0].column) for p in pieces for _ in range(p.n)]
        assert of == whose[10 * chunk : 10 * chunk + 10].tolist() and len(pieces) == len(set(of))
    assert [chunk_count(n) for n in (0, 1, 10, 11)] == [0, 1, 1, 2]


def test_persons_come_with_their_rows_where_no_row_is_asked_for_and_none_must_differ() -> None:
    persons, unique = SimpleNamespace(), SimpleNamespace(has_unique=True)
    plain, asked = Piece((), 0, 3), Piece((ColumnCondition("x"),), 0, 3)

    def by_person(piece: Piece, rules: Any = None, known: Any = persons) -> bool:
        model: Any = SimpleNamespace(persons=known, rules=rules)
        return value_of(lambda: chunks._person_by_person(model, piece))

    assert by_person(plain) and by_person(plain, SimpleNamespace(has_unique=False))
    assert not by_person(plain, unique) and not by_person(asked) and not by_person(Piece((), 0, 0))
    assert not by_person(plain, None, None)


def test_a_chunk_of_one_segment_alone_has_keys_of_persons(
    copula: GaussianCopula, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one of several has not, though its first piece came person by person."""
    seen, assemble = [], chunks.assemble

    def noted(*args: Any, by_person: bool, **named: Any) -> pa.Table:
        seen.append(by_person)
        return assemble(*args, by_person=by_person, **named)

    monkeypatch.setattr(chunks, "assemble", noted)
    monkeypatch.setattr(chunks, "_person_by_person", lambda model, piece: not piece.conditions)
    monkeypatch.setattr(chunks, "_of", lambda model, piece, seed: chunks._modelled_rows(model, piece, rng, DISTINCT))
    model, rng = copula._fitted(), np.random.default_rng(0)
    one = parse_conditions({"town": "Bonn"}, 5, model.schema, model.encoder)
    for segments in ((Segment((), 5),), (Segment((), 5), *one), one):
        value_of(lambda segments=segments: make_chunk(model, segments, 1, 0))
    assert seen == [True, False, False, False]


def test_what_is_whole_is_written_as_whole_numbers() -> None:
    whole = ColumnSchema("n", Kind.CONTINUOUS, "int32")
    made = value_of(lambda: chunks.written(pa.chunked_array([pa.array([1.0, None])]), whole))
    assert made.type == pa.int32() and made.to_pylist() == [1, None]
    real = ColumnSchema("n", Kind.CONTINUOUS, "double")
    assert value_of(lambda: chunks.written(pa.array([1.5]), real)).to_pylist() == [1.5]
    assert value_of(lambda: chunks.written(pa.chunked_array([], pa.float64()), real)).to_pylist() == []
    years = ColumnSchema("y", Kind.DATETIME, "int32", date_format="%Y")
    days = pa.array([datetime.date(2024, 1, 1)])
    assert value_of(lambda: chunks.written(days, years)).to_pylist() == [2024]


class Sizes:
    """Writes down how many rows a generator is asked for at a time."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.asked = inner, list[int]()

    def generate(self, n: int, rng: np.random.Generator, weights: Any = None) -> Any:
        self.asked.append(n)
        return self.inner.generate(n, rng, weights)


@pytest.mark.parametrize("n", [0, 7])
def test_rows_that_keep_no_rule_and_no_condition_are_drawn_at_once(copula: GaussianCopula, n: int) -> None:
    """And of none with rules an empty table."""
    model = copula._fitted()
    sizes = Sizes(model.generator)
    rng = np.random.default_rng(0)
    rows = value_of(lambda: chunks._modelled_rows(replace(model, generator=sizes), Piece((), 0, n), rng, DISTINCT))
    assert rows.num_rows == n and sizes.asked == [n]
    ruled = with_rules(replace(model, generator=sizes), (Expression("age < 50"),))
    some = value_of(lambda: chunks._modelled_rows(ruled, Piece((), 0, n), rng, DISTINCT))
    assert some.num_rows == n and (n == 0 or max(some["age"].to_pylist()) < 50)


@pytest.mark.parametrize("kind", ["exact", "blind"])
def test_a_generator_that_heeds_conditions_has_nothing_to_reject(
    sampling_model: Callable[[str], SamplingModel], kind: str
) -> None:
    model = sampling_model(kind)
    asked = {"town": ["Bonn"], "age": (20, 40), "income": 25_000.125, "weight": None}
    (segment,) = parse_conditions(asked, 5, model.schema, model.encoder)
    wanted = value_of(lambda: chunks._Wanted.of(model, segment.conditions))
    places = {c.name: i for i, c in enumerate(model.encoder.columns)}
    assert wanted.conditions == segment.conditions and set(wanted.weights) == {places[n] for n in asked}
    assert wanted.exact == (kind == "exact")
    if kind == "exact":
        assert wanted.within == {"town": {"Bonn"}, "age": (20, 40)} and wanted.widened == ()
    else:
        assert wanted.within == {} and [c.column for c in wanted.widened] == list(asked)
        assert wanted.widened[2].spans and not wanted.widened[2].points
    for condition in wanted.widened or segment.conditions:
        encoder = model.encoder.columns[places[condition.column]]
        np.testing.assert_array_equal(wanted.weights[places[condition.column]], condition.weights(encoder))
    rows = value_of(lambda: wanted.draw(model, 3_000, np.random.default_rng(0)))
    assert all(c.holds(rows[c.column]).all() for c in segment.conditions)
    assert rows.num_rows == 3_000 if kind == "exact" else rows.num_rows < 3_000


def test_conditions_on_what_a_rule_computes_are_met_by_rejection(
    sampling_model: Callable[[str], SamplingModel],
) -> None:
    """Though the generator is exact."""
    model = with_rules(sampling_model("exact"), (Expression("price == age / 4"),))
    (segment,) = parse_conditions({"price": (6, 9), "town": "Bonn"}, 5, model.schema, model.encoder)
    wanted = value_of(lambda: chunks._Wanted.of(model, segment.conditions))
    rows = value_of(lambda: wanted.draw(model, 2_000, np.random.default_rng(0)))
    assert 0 < rows.num_rows < 2_000 and set(rows["town"].to_pylist()) == {"Bonn"}
    age, price = rows["age"].to_numpy(), rows["price"].to_numpy()
    assert (price == age / 4).all() and price.min() >= 6 and price.max() <= 9


def test_each_chunk_moves_the_progress_by_one(copula: GaussianCopula, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []

    @contextmanager
    def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
        assert (what, total) == ("sampling", 4)
        yield moved.append

    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    monkeypatch.setattr(frame, "progress", counted)
    rows = value_of(lambda: frame.sample_table(copula._fitted(), (Segment((), 35),), 1))
    assert rows.num_rows == 35 and moved == [1] * 4
