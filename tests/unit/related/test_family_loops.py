"""Summaries of families, and what siblings see of each other, against loops over parents and rows."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related import grouping
from raysynth.related.grouping import NO_PARENT, Family, deal
from raysynth.related.kinds import _weighted, frequent_levels, share_of_parents, squeezed
from raysynth.related.siblings import PLACE, Siblings, Walk
from raysynth.related.summaries import Summaries
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import Relation

X = ColumnSchema("x", Kind.CONTINUOUS, "double", nullable=True)
G = ColumnSchema("g", Kind.CATEGORICAL, "string")
PARENTS = 40


def rows_of(seed: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Children in any order, some without a parent; numbers and texts that are missing at times; their order."""
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 7, PARENTS)
    parent_N = rng.permutation(np.append(np.repeat(np.arange(PARENTS), number), np.full(5, NO_PARENT)))
    n = len(parent_N)
    x = np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 9, n) / 2)
    g = np.where(rng.random(n) < 0.2, None, rng.choice(["a", "b", "c"], n))  # type: ignore[call-overload]
    return pa.table({"x": pa.array(x, mask=np.isnan(x)), "g": pa.array(g, pa.string())}), parent_N, rng.random(n)


def family_of(parent_N: np.ndarray, order_N: np.ndarray) -> Family:
    return value_of(lambda: Family.of(parent_N, PARENTS, order_N))


def typical(values: list[Any]) -> tuple[Any, float]:
    """The most frequent value, of several the first met, and its share."""
    counts = Counter(values)
    return next((v, n / len(values)) for v, n in counts.items() if n == max(counts.values()))


def test_places_are_the_ranks_of_siblings_and_made_rows_stand_family_by_family() -> None:
    _, parent_N, order_N = rows_of(0)
    family = family_of(parent_N, order_N)
    for i, p in enumerate(parent_N):
        before = [j for j in range(len(parent_N)) if parent_N[j] == p and order_N[j] < order_N[i]]
        assert family.place[i] == (len(before) if p != NO_PARENT else 0)
    assert family.number.tolist() == [int((parent_N == p).sum()) for p in range(PARENTS)]
    made = value_of(lambda: Family.made(family.number))
    expected = [(p, i) for p in range(PARENTS) for i in range(family.number[p])]
    assert list(zip(made.parent.tolist(), made.place.tolist(), strict=True)) == expected


@pytest.mark.parametrize("seed", [1, 2])
def test_moments_modes_and_means_of_groups_are_those_of_their_values(seed: int) -> None:
    rows, parent_N, _ = rows_of(seed)
    there = parent_N >= 0
    x, group = grouping.numbers(rows["x"])[there], parent_N[there]
    code, distinct = grouping.codes(rows["g"])
    moments = value_of(lambda: grouping.group_moments(group, x, PARENTS))
    mean, number = value_of(lambda: grouping.group_means(group, x, PARENTS))
    mode, share = value_of(lambda: grouping.group_modes(group, code[there], PARENTS))
    taken = grouping.values_of(distinct, mode).to_pylist()
    texts = np.array(rows["g"].to_pylist(), object)[there]
    for p in range(PARENTS):
        own = x[(group == p) & ~np.isnan(x)]
        expected = [own.min(), own.max(), own.mean(), own.std()] if len(own) else [math.nan] * 4
        np.testing.assert_allclose([m[p] for m in moments], expected)
        assert number[p] == len(own) and (math.isnan(mean[p]) if not len(own) else mean[p] == own.mean())
        every = texts[group == p].tolist()
        assert (taken[p], share[p]) == typical(every) if every else math.isnan(share[p]) and taken[p] is None


def test_small_tools_of_groups() -> None:
    assert grouping.unit_in(np.array([6.0, -9.0, np.nan])) == 3 and grouping.unit_in(np.array([2.0**62, 0])) == 2**62
    assert [grouping.unit_in(np.array(x)) for x in ([1.5], [np.nan], [2.0**63], [])] == [0, 0, 0, 0]
    assert grouping.on_grid(np.array([4.4, 4.6]), 3).tolist() == [3.0, 6.0]
    assert grouping.on_grid(np.array([4.4]), 0).tolist() == [4.4]
    units = [grouping.unit_of(t) for t in (pa.date32(), pa.timestamp("s"), pa.duration("ms"), pa.timestamp("ns"))]
    assert (
        units == [86_400e6, 1e6, 1e3, 1e-3] and grouping.unit_of(pa.timestamp("us")) == grouping.unit_of(pa.int8()) == 1
    )
    assert grouping.levels(np.array([NO_PARENT, 0, 1, 1, NO_PARENT])).tolist() == [0, 1, 2, 2, 0]  # type: ignore[union-attr]
    assert grouping.levels(np.array([1, 0])) is None
    sorted_, x = np.array([1.0, 4.0, 4.5, 9.0]), np.linspace(-1, 11, 61)
    near = value_of(lambda: grouping.nearest_of(x, sorted_))
    assert (np.abs(near - x) == np.abs(sorted_[:, None] - x).min(0)).all()
    assert grouping.nearest_of(np.array([2.5]), sorted_).tolist() == [1.0], "the lower one of two"
    assert grouping.nearest_of(np.array([2.5]), sorted_[:1]).tolist() == [1.0]
    codes, persons = np.array([0, 0, 0, 1, 1, NO_PARENT, NO_PARENT]), np.array([3, 3, 4, 5, 6, 7, 8])
    assert grouping.is_shared(codes, persons, 2) and not grouping.is_shared(codes, persons, 3)
    assert grouping.numbers_or_null(np.array([2, NO_PARENT])).to_pylist() == [2, None]
    assert grouping.take_or_null(pa.array([5, 6]), np.array([1, NO_PARENT, 0])).to_pylist() == [6, None, 5]
    assert grouping.take_or_null(pa.array([], pa.int8()), np.array([NO_PARENT])).to_pylist() == [None]


@pytest.mark.parametrize("level", [None, 2])
def test_parents_are_dealt_by_kind_then_by_level_and_their_numbers_kept(level: int | None) -> None:
    """Kinds 0 and 1 are one level, 2 and 3 another, which is never left."""
    rng = np.random.default_rng(3)
    kind_P, number_P = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    wanted_N = rng.permutation(np.append(np.repeat(kind_P, number_P), [NO_PARENT] * 4))
    wanted_N[:8] = np.where(wanted_N[:8] >= 0, wanted_N[:8] ^ 1, NO_PARENT)  # of the other kind of their level
    dealt = value_of(lambda: deal(wanted_N, kind_P, number_P, np.random.default_rng(0), level))
    assert ((dealt == NO_PARENT) == (wanted_N == NO_PARENT)).all()
    held = dealt != NO_PARENT
    if level is not None:
        assert (kind_P[dealt[held]] // 2 == wanted_N[held] // 2).all()
    assert np.bincount(dealt[held], minlength=30).tolist() == number_P.tolist(), "as many places as rows"
    same = [int(min((wanted_N == k).sum(), number_P[kind_P == k].sum())) for k in range(4)]
    assert (kind_P[dealt[held]] == wanted_N[held]).sum() >= sum(same)
    more = value_of(lambda: deal(np.repeat(wanted_N, 3), kind_P, number_P, np.random.default_rng(0), level))
    assert (np.bincount(more[more >= 0], minlength=30) >= number_P).all()
    there = more >= 0
    assert (kind_P[more[there]] == np.repeat(wanted_N, 3)[there]).mean() > 0.9
    nobody = deal(np.array([9, 9]), np.array([0]), np.array([5]), np.random.default_rng(0), 2)
    assert nobody.tolist() == [NO_PARENT] * 2, "no parent of this level"


def seen_by_loops(
    siblings: Siblings, rows: pa.Table, family: Family, row: int
) -> tuple[float | None, float | None, str | None, float | None]:
    """(mean x, last x, typical or last g, its share or run) of the siblings that a row sees."""
    place = int(family.place[row])
    n_seen = place if siblings.is_sequence or place == 0 else 1 << (place.bit_length() - 1)
    own = [j for j in range(len(family.parent)) if family.parent[j] == family.parent[row] != NO_PARENT]
    own = sorted((j for j in own if family.place[j] < n_seen), key=lambda j: family.place[j])
    if not siblings.is_sequence:
        own.sort()  # of several typical ones the first of the table
    x = [v for v in (rows["x"][j].as_py() for j in own) if v is not None]
    mean = sum(x) / len(x) if x else None
    if not own:
        return mean, None, None, None
    g = [rows["g"][j].as_py() for j in own]
    if siblings.is_sequence:
        run = next((i for i, v in enumerate(reversed(g)) if v != g[-1]), len(g))
        return mean, rows["x"][own[-1]].as_py(), g[-1], float(run)
    return mean, None, *typical(g)


@pytest.mark.parametrize("is_sequence", [True, False])
def test_a_row_sees_what_is_known_of_its_siblings_before(is_sequence: bool) -> None:
    """Those before it in a sequence; else those of the rounds before, which hold 1, 1, 2, 4 and so on."""
    rows, parent_N, order_N = rows_of(4)
    siblings, family = Siblings((X, G), is_sequence), family_of(parent_N, order_N)
    held = np.flatnonzero(parent_N >= 0)
    seen = value_of(lambda: siblings.of_all(rows, family))
    assert sorted(seen.column_names) == sorted(c.name for c in siblings.schema)
    table = seen.to_pylist()
    for row in held.tolist():
        mean, last, text, share = seen_by_loops(siblings, rows, family, row)
        found = table[row]
        assert found[PLACE] == family.place[row]
        assert found["siblings' mean x"] == (None if mean is None else pytest.approx(mean))
        assert found["siblings' g"] == text
        assert found["siblings' share of g"] == (None if share is None else pytest.approx(share))
        assert not is_sequence or found["siblings' x"] == last
    if not is_sequence:
        rounds = siblings.rounds(family.place)
        assert [siblings.seen(r) for r in range(4)] == [0, 1, 2, 4]
        assert rounds.tolist() == [int(p).bit_length() for p in family.place]
        for r in range(1, int(rounds.max()) + 1):
            own, made = held[rounds[held] == r], held[rounds[held] < r]
            one = value_of(lambda own=own, made=made: siblings.of_round(rows.take(pa.array(made)), made, family, own))
            assert one.to_pylist() == [table[i] for i in own.tolist()]


def test_a_walk_sees_what_whole_sequences_show() -> None:
    """Families of which ever fewer go on, row by row."""
    rows, parent_N, order_N = rows_of(5)
    siblings, family = Siblings((X, G), is_sequence=True), family_of(parent_N, order_N)
    table = siblings.of_all(rows, family).to_pylist()
    walk, of_walk = Walk(siblings, None, {}), np.flatnonzero(family.number > 0)
    coded = rows.set_column(1, "g", rows["g"].dictionary_encode())
    for place in range(int(family.number.max())):
        kept = np.flatnonzero(family.number[of_walk] > place)
        of_walk = of_walk[kept]
        own = [int(np.flatnonzero((parent_N == p) & (family.place == place))[0]) for p in of_walk]
        seen = value_of(lambda walk=walk, kept=kept, place=place: walk.seen(place, kept))
        for found, row in zip(seen.to_pylist(), own, strict=True):
            assert {k: None if v != v else v for k, v in found.items()} == table[row]
        walk = value_of(lambda walk=walk, own=own, kept=kept: walk.add(coded.take(pa.array(own)), kept))


SUMMARIES = Summaries(Relation.parse("c.p -> p.id"), (X,), {}, (G,), None, ended=frozenset({"x"}))


@pytest.mark.parametrize("ended", [True, False])
def test_parents_say_the_ends_the_middle_and_the_spread_of_their_children(ended: bool) -> None:
    rows, parent_N, _ = rows_of(6)
    summaries = SUMMARIES if ended else Summaries(SUMMARIES.relation, (X,), {"x": 0}, (G,), None)
    found = value_of(lambda: summaries.of(rows, parent_N, PARENTS))
    named = [" ".join(n.split(" ")[:2]) if n.startswith("typical share") else n.split(" ")[0] for n in found]
    by_word = {w: v.to_pylist() for w, v in zip(named, found.values(), strict=True)}
    for p in range(PARENTS):
        own = [v for v in rows["x"].filter(pa.array(parent_N == p)).to_pylist() if v is not None]
        several, width = int((parent_N == p).sum()) > 1 and len(own) > 0, max(own, default=0) - min(own, default=0)
        assert by_word["least"][p] == (min(own) if own else None)
        end = by_word["largest" if ended else "range"][p]
        assert end == ((max(own) if ended else width) if several else None)
        inside = several and width > 0
        assert by_word["middle"][p] == (pytest.approx((np.mean(own) - min(own)) / width) if inside else None)
        assert by_word["spread"][p] == (pytest.approx(np.std(own) / width) if inside else None)
        texts = rows["g"].filter(pa.array(parent_N == p)).to_pylist()
        mode, share = typical(texts) if texts else (None, None)
        assert by_word["typical"][p] == mode and by_word["different"][p] == (len(set(texts)) or None)
        assert by_word["typical share"][p] == (None if share is None else pytest.approx(share))


def test_children_see_means_and_deviations_and_how_far_they_are_from_them() -> None:
    """What they see of a number is its mean and deviation; what differs counts in deviations, at most nine of each."""
    rows, parent_N, _ = rows_of(7)
    parents = SUMMARIES.of(rows, parent_N, PARENTS)
    seen = value_of(lambda: SUMMARIES.seen(parents))
    assert list(seen) == [c.name for c in SUMMARIES.seen_schema]
    mean, deviation = (grouping.numbers(v) for n, v in seen.items() if " x " in n)
    for p in range(PARENTS):
        own = [v for v in rows["x"].filter(pa.array(parent_N == p)).to_pylist() if v is not None]
        np.testing.assert_allclose(mean[p], np.mean(own) if own else np.nan)
        assert not own or deviation[p] == pytest.approx(np.std(own))
    other = np.roll(np.arange(PARENTS), 1)
    asked = {n: v.take(pa.array(other)) for n, v in seen.items()}
    apart = value_of(lambda: SUMMARIES.apart(rows, asked, parent_N))
    for p in range(PARENTS):
        total = 0.0
        for column in SUMMARIES.seen_schema:
            one, two = (v[column.name].to_pylist() for v in (seen, asked))
            if column.kind.is_numeric:
                unit = np.std([v for v in two if v is not None])
                total += min(((one[p] - two[p]) / unit) ** 2, 9.0) if None not in (one[p], two[p]) else 0.0
            else:
                total += one[p] != two[p] and None not in (one[p], two[p])
        assert apart[p] == pytest.approx(total)


def test_the_share_of_parents_is_one_of_variances() -> None:
    rng = np.random.default_rng(8)
    for spread in (0.0, 0.5, 3.0):
        parent_N = rng.integers(0, 12, 60)
        x = spread * rng.normal(size=12)[parent_N] + np.where(rng.random(60) < 0.1, np.nan, rng.normal(size=60))
        own = [x[(parent_N == p) & ~np.isnan(x)] for p in range(13)]
        own = [v for v in own if len(v)]
        between = np.var([v.mean() for v in own])
        within = sum(((v - v.mean()) ** 2).sum() for v in own) / max(sum(len(v) - 1 for v in own), 1)
        part = max(between - within * np.mean([1 / len(v) for v in own]), 0.0)
        number = np.bincount(parent_N, minlength=13)
        found = value_of(lambda x=x, of=parent_N, n=number: share_of_parents(of, x, n))
        assert found == pytest.approx((part / between, part / (part + within)))
        by_parent = [x[(parent_N == p) & ~np.isnan(x)] for p in range(13)]
        middle = np.mean([v.mean() for v in own])
        standard = np.array([(v.mean() - middle) / np.sqrt(between) if len(v) else 0.0 for v in by_parent])
        for by_child, weight in ((False, max(found[0], 0.1)), (True, found[1] / max(1 - found[1], 1 / 625))):
            weighed = _weighted(parent_N, x, number, by_child)
            np.testing.assert_allclose(weighed, standard * np.sqrt(weight))
    alone = np.arange(40.0)
    one_each = _weighted(np.arange(40), alone, np.ones(40, int), by_child=False)
    np.testing.assert_allclose(one_each, (alone - alone.mean()) / alone.std())


def test_numbers_are_squeezed_about_their_median_and_few_levels_are_looked_at() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0, 1e9, np.nan])
    np.testing.assert_allclose(squeezed(x), np.arcsinh((x - 3.0) / (2.0 / 1.35)))
    same = np.array([5.0] * 9 + [7.0])
    np.testing.assert_allclose(squeezed(same), np.arcsinh((same - 5) / same.std()))
    assert squeezed(np.full(4, 2.0)).tolist() == [0.0] * 4 and np.isnan(squeezed(np.full(2, np.nan))).all()
    code = np.repeat([0, 1, 2, 3, 4, 5, 6, 7, -1], [1, 9, 3, 8, 4, 7, 5, 6, 50])
    assert frequent_levels(code).tolist() == [1, 3, 5, 7, 6, 4]
