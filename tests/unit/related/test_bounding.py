"""What one root row changes of what a private fit sees, over all small databases: never more than the product of caps.

Brute force over the definition itself: keys that repeat, are missing or point nowhere, in every table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related import bounding
from raysynth.related.bounding import Seen, _numbers, rows_per_unit, seen_rows
from raysynth.related.plan import plan_of
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys

Rows = list[tuple[Any, ...]]
Database = dict[str, Rows]  # rows as (key, key of the parent, value)
See = Callable[..., dict[str, Seen]]
COLUMNS = {"root": ("id", "x"), "child": ("id", "up", "x"), "leaf": ("up", "x")}
RELATIONS = tuple(map(Relation.parse, ("child.up -> root.id, nullable", "leaf.up -> child.id, nullable")))
SCHEMA = DatabaseSchema((TableKeys("root", ("id",)), TableKeys("child", ("id",)), TableKeys("leaf")), RELATIONS)
CAPS = {"child": 2, "leaf": 1}


def tables_of(database: Database) -> dict[str, pa.Table]:
    return {
        n: pa.table({c: pa.array([r[i] for r in database[n]], pa.int64()) for i, c in enumerate(COLUMNS[n])})
        for n in COLUMNS
    }


PLANS = plan_of(
    SCHEMA, {n: t.schema for n, t in tables_of({n: [] for n in COLUMNS}).items()}, dict.fromkeys(COLUMNS, 0)
)
MOST = rows_per_unit(PLANS, CAPS)


def keyed(cell: Any, number: int) -> Any:
    return None if cell is None else cell + 10 * number


def side_by_side(databases: list[Database]) -> tuple[Database, dict[str, list[int]]]:
    """All in one, each with keys of its own, so that nothing connects them; and which one each row is of."""
    n_keys = {"root": 1, "child": 2, "leaf": 1}
    both = {
        n: [
            (tuple(keyed(c, i) for c in row[: n_keys[n]]) + row[n_keys[n] :], i)
            for i, database in enumerate(databases)
            for row in database[n]
        ]
        for n in COLUMNS
    }
    return {n: [row for row, _ in rows] for n, rows in both.items()}, {n: [i for _, i in r] for n, r in both.items()}


def records(databases: list[Database], see: See = seen_rows) -> dict[str, list[Counter[Any]]]:
    """What a fit counts in each table of each: every seen row, with its ancestors and its numbers of children."""
    one, of = side_by_side(databases)
    seen = see(PLANS, tables_of(one), CAPS)
    found: dict[str, list[Any]] = {}
    result = {n: [Counter[Any]() for _ in databases] for n in COLUMNS}
    for plan in PLANS:
        own, rows = seen[plan.name], one[plan.name]
        numbers = list(zip(*(n.tolist() for n in own.numbers.values()), strict=True)) or [()] * len(own.rows)
        above = found.get(plan.primary.parent, []) if plan.primary is not None else []
        ancestors = [above[p] if p >= 0 else () for p in own.parent.tolist()]
        found[plan.name] = [(rows[r], n, a) for r, n, a in zip(own.rows.tolist(), numbers, ancestors, strict=True)]
        for row, record in zip(own.rows.tolist(), found[plan.name], strict=True):
            result[plan.name][of[plan.name][row]][record] += 1
    return result


def without(database: Database, root: int) -> Database:
    """The neighbour without one root row and all that descends from it alone, by the definition, step by step."""
    gone = {"root": {root}, "child": set[int](), "leaf": set[int]()}
    for name, above in (("child", "root"), ("leaf", "child")):
        for place, row in enumerate(database[name]):
            named = [p for p, parent in enumerate(database[above]) if parent[0] is not None and parent[0] == row[-2]]
            if named and all(p in gone[above] for p in named):
                gone[name].add(place)
    return {n: [r for i, r in enumerate(rows) if i not in gone[n]] for n, rows in database.items()}


def all_databases() -> Iterator[Database]:
    """At most 3 roots and 4 children over two keys, missing ones and one that points nowhere, with three leaves; then
    random ones of more keys and leaves."""
    ids = (1, 2)
    children_of = [(i, up, 0) for i, up in product((*ids, None), (*ids, 3, None))]
    for n_roots, n_children in product((1, 2, 3), (0, 1, 2, 3, 4)):
        for roots in combinations_with_replacement(ids, n_roots):
            for children in combinations_with_replacement(children_of, n_children):
                leaves = [(1, 5), (2, 6), (1, 7)]
                yield {"root": [(r, i) for i, r in enumerate(roots)], "child": list(children), "leaf": leaves}
    rng = np.random.default_rng(0)

    def drawn(values: tuple[Any, ...], n: int) -> list[Any]:
        return [values[i] for i in rng.integers(0, len(values), n)]

    for _ in range(1500):
        n = int(rng.integers(4, 6))
        child = list(zip(drawn((1, 2, 3, 4, None), n), drawn((1, 2, 3, None), n), drawn((0, 1), n), strict=True))
        leaf = list(zip(drawn((1, 2, 3, 4, None), 5), drawn((0, 1, 2), 5), strict=True))
        yield {"root": list(zip(drawn((1, 2, 3), 3), range(3), strict=True)), "child": child, "leaf": leaf}


DATABASES = list(all_databases())


def worst(see: See = seen_rows, every: int = 1) -> dict[str, int]:
    """The largest number of seen rows of each table that are in one of two neighbours alone."""
    result, databases = dict.fromkeys(COLUMNS, 0), DATABASES[::every]
    whole = records(databases, see)
    for root in range(3):
        less = records([without(d, root) if root < len(d["root"]) else d for d in databases], see)
        for name in COLUMNS:
            pairs = zip(whole[name], less[name], strict=True)
            result[name] = max(result[name], max((a - b).total() + (b - a).total() for a, b in pairs))
    return result


def test_one_root_changes_no_more_rows_than_the_caps_say() -> None:
    """Every table of counts changes by at most as many rows in L1; the bound is reached, so it is no larger."""
    assert MOST == {"root": 1, "child": 2, "leaf": 2}
    assert worst() == MOST


def test_a_forgotten_cap_and_a_child_counted_twice_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted violations: no truncation; each leaf seen twice; of rows with one key the first kept."""
    with monkeypatch.context() as patch:
        uncapped = bounding._first_of_each
        patch.setattr(bounding, "_first_of_each", lambda key, table, most: uncapped(key, table, 100))
        assert worst(every=5)["child"] > MOST["child"]

    def twice(*arguments: Any) -> dict[str, Seen]:
        seen = seen_rows(*arguments)
        leaf = seen["leaf"]
        return seen | {"leaf": Seen(np.tile(leaf.rows, 2), np.tile(leaf.parent, 2), {})}

    assert worst(twice, every=5)["leaf"] > MOST["leaf"]
    with monkeypatch.context() as patch:
        patch.setattr(bounding, "_alone", _first_with_its_key)
        assert worst(every=5)["child"] > MOST["child"]


def _first_with_its_key(key_N: pa.Array) -> np.ndarray:
    known = dict[Any, int]()
    return np.array([k is None or known.setdefault(k, i) == i for i, k in enumerate(key_N.to_pylist())], bool)


def test_of_more_children_than_count_the_order_of_rows_chooses_none() -> None:
    rng = np.random.default_rng(1)
    database: Database = {"root": [(1, 0)], "child": [(i, 1, i % 5) for i in range(20)], "leaf": []}
    shuffled = {**database, "child": [database["child"][i] for i in rng.permutation(20)]}
    found = records([database])
    assert found == records([shuffled])
    assert found["child"][0].total() == CAPS["child"]
    assert next(iter(found["root"][0]))[1] == (CAPS["child"],)


def test_composite_keys_are_told_apart_however_they_are_cut() -> None:
    table = pa.table({"a": ["1", "12", "1", None], "b": ["23", "3", "23", "3"]})
    first, second, third, missing = bounding.key_texts(table, ("a", "b")).to_pylist()
    assert first == third != second
    assert missing is None


def test_children_that_name_nobody_are_nobodys() -> None:
    """A missing key is no key of a parent without one."""
    tables = {"p": pa.table({"id": [7, None, 9]}), "c": pa.table({"of": [9, None, 9, 4, 7, None, 9]})}
    relation = Relation("p", "c", ("id",), ("of",))
    assert value_of(lambda: _numbers(tables, relation, np.array([0, 1, 2]), 5)).tolist() == [1, 0, 3]
    assert _numbers(tables, relation, np.array([2]), 2).tolist() == [2]
