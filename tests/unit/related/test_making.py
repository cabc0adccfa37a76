"""Parents that are found among made rows, and what is asked for of the tables that others hang from."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related import making
from raysynth.related.grouping import NO_PARENT
from raysynth.related.making import Made, Roots, make_roots, make_tables, match_all
from raysynth.related.plan import code_of, level_of, number_of, place_of, wanted_of
from raysynth.schema.relations import Relation

WANTS = Relation("film", "rating", ("id",), ("film",))
MAY = Relation("film", "rating", ("id",), ("film",), nullable=True)


def made(**columns: list[Any]) -> Made:
    rows = pa.table({n: pa.array(v, pa.int64()) for n, v in columns.items()})
    return Made(rows, pa.table({}), {}, np.zeros(rows.num_rows, np.int64))


def planned(**given: Any) -> Any:
    return SimpleNamespace(
        plan=SimpleNamespace(**{"matched": (), "located": (), "references": (), "keys": (), "primary": None} | given)
    )


def matched(relation: Relation, rows: Made, films: Made, seed: int = 0) -> np.ndarray:
    tables = {"rating": rows, "film": films}
    value_of(lambda: match_all({"rating": planned(matched=(relation,))}, tables, {}, np.random.default_rng(seed)))
    return rows.parents[relation]


@pytest.mark.parametrize("relation", [WANTS, MAY])
@pytest.mark.parametrize("seed", range(3))
def test_rows_have_parents_of_the_kind_they_want_which_have_the_children_they_are_to_have(
    relation: Relation, seed: int
) -> None:
    """A number that is missing or below zero is none; a kind that is missing is the first, as drawn for the table."""
    films = made(**{number_of(relation): [3, 0, 2, None, 4, -5], code_of(relation): [1, 1, 0, 0, None, 1]})
    wanted = np.random.default_rng(seed).permutation([1] * 3 + [0] * 6)
    found = matched(relation, made(**{wanted_of(relation): wanted.tolist()}), films, seed)
    assert Counter(found.tolist()) == {0: 3, 2: 2, 4: 4}
    assert (np.array([1, 1, 0, 0, 0, 1])[found] == wanted).all()


def test_a_kind_that_is_missing_is_no_parent_where_there_may_be_none_and_any_where_there_must_be_one() -> None:
    films = {number_of(MAY): [60, 60, 60], code_of(MAY): [0, 1, 1]}
    rows = {wanted_of(MAY): [0, None] * 60}
    found = matched(MAY, made(**rows), made(**films))
    assert (found[1::2] == NO_PARENT).all() and (found[::2] == 0).all()
    anyone = matched(WANTS, made(**rows), made(**films))
    assert (anyone[::2] == 0).all() and set(anyone[1::2].tolist()) == {0, 1, 2}
    nobody = matched(WANTS, made(**rows), made(**{number_of(WANTS): [], code_of(WANTS): []}))
    assert (nobody == NO_PARENT).all()


def test_without_kinds_every_row_wants_a_parent_unless_it_may_have_none() -> None:
    films = {number_of(WANTS): [1, 5]}
    assert Counter(matched(WANTS, made(x=[0] * 6), made(**films)).tolist()) == {0: 1, 1: 5}
    assert (matched(MAY, made(x=[0] * 6), made(**films)) == NO_PARENT).all()


def test_a_parent_in_the_same_table_is_of_the_level_above() -> None:
    """Level 0 has no parent, as what is missing has none; within a level rows want kinds as without levels."""
    boss = Relation("staff", "staff", ("id",), ("boss",), nullable=True)
    level, kind = [0, 0, 1, 1, 1, None, 2, 2], [0, 2, 0, 2, 2, 0, 1, 1]
    number, wanted = [2, 1, 0, 1, 1, 0, 0, 0], [None, None, 0, 0, 2, 1, 2, None]
    columns = {number_of(boss): number, code_of(boss): kind, wanted_of(boss): wanted, level_of(boss): level}
    for seed in range(5):
        staff = made(**columns)
        model = planned(matched=(boss,))
        value_of(lambda t={"staff": staff}, m=model, s=seed: match_all({"staff": m}, t, {}, np.random.default_rng(s)))
        found = staff.parents[boss].tolist()
        assert found[:5] == [NO_PARENT, NO_PARENT, 0, 0, 1] and found[5] == NO_PARENT
        assert sorted(found[6:]) == [3, 4], "one of each of the two of level 1 that are to have one"


def test_keys_by_place_and_into_reference_tables_are_filled_too() -> None:
    located, reference = Relation("film", "rating", ("id",), ("x",)), Relation("land", "rating", ("id",), ("land",))
    rows, films = made(x=[7, 5, 9], **{place_of(reference): [1, 0, 1]}), made(id=[5, 7, 9])
    model = planned(located=(located,), references=(reference,))
    value_of(
        lambda: match_all({"rating": model}, {"rating": rows, "film": films}, {"land": 2}, np.random.default_rng())
    )
    assert rows.parents[located].tolist() == [1, 0, 2] and rows.parents[reference].tolist() == [1, 0, 1]
    empty = made(x=[7], **{place_of(reference): [1]})
    match_all({"rating": planned(references=(reference,))}, {"rating": empty}, {"land": 0}, np.random.default_rng())
    assert empty.parents[reference].tolist() == [NO_PARENT]


@pytest.mark.parametrize(("n_alone", "scale", "expected"), [(10, 0.25, 2), (10, 1.0, 10), (0, 3.0, 0), (7, 2.0, 14)])
def test_tables_are_made_after_their_parents_with_their_share_of_rows_that_have_none(
    n_alone: int, scale: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are there already are seen and not made again."""
    calls: list[tuple[Any, ...]] = []
    own = Relation("film", "rating", ("id",), ("film",))
    root, child, there = planned(), planned(primary=own), made(x=[1])
    child.n_alone = n_alone
    monkeypatch.setattr(making, "make_roots", lambda model, asked, rng: calls.append((model, asked)) or made(x=[1, 2]))
    monkeypatch.setattr(
        making, "make_children", lambda model, parents, n, rng: calls.append((model, parents.n, n)) or made(x=[3])
    )
    models = {"film": root, "rating": child}
    found = value_of(lambda: make_tables(models, {"film": Roots(5)}, scale, {}, np.random.default_rng(0), {"a": there}))
    assert calls == [(root, Roots(5)), (child, 2, expected)] and list(found) == ["film", "rating"]
    calls.clear()
    found = make_tables({"rating": child}, {}, scale, {}, np.random.default_rng(0), {"film": made(x=[1, 2, 3])})
    assert calls == [(child, 3, expected)] and list(found) == ["rating"]


@pytest.mark.parametrize(
    ("asked", "called"),
    [
        (Roots(4), "drawn"),
        (Roots(4, conditions={"a": 1}), "conditioned"),
        (Roots(4, given=pa.table({"a": [9, 8]})), "completed"),
        (Roots(4, conditions={"a": 1}, given=pa.table({"a": [9, 8]})), "completed"),
    ],
)
def test_rows_of_a_root_are_drawn_asked_for_or_given(asked: Roots, called: str) -> None:
    """What was given, or asked for, is left as it is by the forms; of nothing learned there are rows all the same."""
    told: list[Any] = []
    forms = SimpleNamespace(
        forward=lambda rows, above, family: {"b": pa.array([0] * rows.num_rows)},
        inverse=lambda rows, above, parent, kept=frozenset(): told.append(set(kept)) or rows,
    )
    rows = SimpleNamespace(
        completed=lambda known, rng: told.append(("completed", known.column_names)) or known,
        conditioned=lambda n, conditions, seed: told.append(("conditioned", n)) or pa.table({"a": [1] * n}),
        draw=lambda context, n, rng: told.append(("drawn", n)) or pa.table({"a": list(range(n))}),
    )
    model: Any = SimpleNamespace(plan=SimpleNamespace(keys=(), primary=None), forms=forms, model=rows)
    found = value_of(lambda: make_roots(model, asked, np.random.default_rng(0)))
    n = 2 if called == "completed" else 4
    assert told[0] == (called, ["a", "b"] if called == "completed" else 4)
    assert told[1] == (set() if called == "drawn" else {"a"})
    assert found.n == n == found.rows.num_rows == found.context.num_rows and not found.place.any()
    nothing = value_of(lambda: make_roots(SimpleNamespace(model=None), asked, np.random.default_rng(0)))  # type: ignore[arg-type]
    assert nothing.n == 4 and not nothing.parents
