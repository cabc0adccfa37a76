"""Composite keys, two keys to one parent, hierarchies, dealing of parents, link tables: keys above all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of
from unit.related.measures import numbers_of_children, pointing_nowhere
from unit_databases import RELATIONS, shop

from raysynth import RelationalSynthesizer
from raysynth.errors import ParameterError, SchemaError
from raysynth.related.grouping import NO_PARENT, Family, deal, levels
from raysynth.related.siblings import PLACE, Siblings
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import Relation

ONE_TREE = {"n_trees": 1}


def test_composite_keys_and_two_keys_to_one_parent_point_to_rows() -> None:
    tables = shop(customers=120)
    model = value_of(
        lambda: RelationalSynthesizer(relations=RELATIONS, seed=1, verbose=False, parameters=ONE_TREE).fit(tables)
    )
    made = model.sample(seed=3)
    for text in RELATIONS:
        relation = Relation.parse(text)
        assert pointing_nowhere(made, relation) == 0
        assert not made[relation.parent].duplicated(list(relation.parent_key)).any()
        ours, theirs = (numbers_of_children(t, relation).mean() for t in (tables, made))
        assert theirs == pytest.approx(ours, rel=0.35)


def test_a_link_table_has_nothing_but_keys_and_repeats_none() -> None:
    rng = np.random.default_rng(0)
    students, courses = (pd.DataFrame({"id": np.arange(n), "level": rng.integers(1, 9, n)}) for n in (200, 40))
    pairs = rng.permutation(200 * 40)[:900]
    links = pd.DataFrame({"student": pairs // 40, "course": pairs % 40})
    keys = {"students": students, "courses": courses, "links": links}
    relations = ["links.student -> students.id", "links.course -> courses.id"]
    made = value_of(
        lambda: (
            RelationalSynthesizer(relations=relations, seed=1, verbose=False, parameters=ONE_TREE)
            .fit(keys)
            .sample(seed=2)
        )
    )
    assert list(made["links"].columns) == ["student", "course"]
    assert abs(len(made["links"]) / 900 - 1) < 0.2
    for text in relations:
        assert pointing_nowhere(made, Relation.parse(text)) == 0


def test_what_cannot_be_filled_or_completed_is_refused_before_any_fit() -> None:
    tables = shop(customers=60)
    with pytest.raises(SchemaError, match="column 'region' of 'deliveries' belongs to another of its keys"):
        deliveries = tables["deliveries"].assign(day=1)
        parents = {"places": pd.DataFrame({"region": ["north", "south", "west"], "day": 1, "km": 2.0})}
        relations = [
            "deliveries.(region,week) -> weather.(region,week)",
            "deliveries.(region,day) -> places.(region,day)",
        ]
        wanted = {"deliveries": deliveries, "weather": tables["weather"], **parents}
        RelationalSynthesizer(relations=relations, verbose=False).fit(wanted)
    for wrong, said in (
        ({"method": "ctgan"}, "'ctgan' cannot complete rows"),
        ({"parameters": {"leafs": 3}}, "'leafs'"),
    ):
        with pytest.raises(ParameterError, match=said):
            RelationalSynthesizer(relations=RELATIONS, verbose=False, **wrong).fit(tables)


def test_one_parent_of_most_rows_is_told_of_and_not_learned() -> None:
    rng = np.random.default_rng(0)
    parents = pd.DataFrame({"id": np.arange(100), "age": rng.integers(18, 90, 100)})
    children = pd.DataFrame({"parent": np.append(np.zeros(5_000, int), rng.integers(0, 100, 300)), "x": 1.5})
    children["x"] = rng.normal(size=len(children))
    relations = ["children.parent -> parents.id"]
    said = "children.parent -> parents.id: one row of 'parents' has 5,0.. of the 5,300 rows of 'children'"
    with pytest.warns(UserWarning, match=said):
        model = RelationalSynthesizer(relations=relations, seed=0, verbose=False).fit(
            {"parents": parents, "children": children}
        )
    assert model.sample(seed=1)["children"].groupby("parent").size().max() < 20


@pytest.mark.filterwarnings("ignore:relation")
def test_a_number_that_ascends_with_the_parents_is_made_anew() -> None:
    rng = np.random.default_rng(0)
    customers = pd.DataFrame({"id": np.arange(100), "age": rng.integers(18, 80, 100)})
    of = np.r_[np.zeros(300, int), rng.integers(0, 100, 300)]  # the first half of the numbers are one customer's
    orders = pd.DataFrame({"order_id": np.arange(600), "customer_id": of, "amount": rng.gamma(2, 10, 600).round(2)})
    model = RelationalSynthesizer(relations=["orders.customer_id -> customers.id"], seed=0, verbose=False)
    made = value_of(lambda: model.fit({"customers": customers, "orders": orders}).sample(seed=1))
    assert made["orders"].order_id.is_unique and set(made["orders"].customer_id) <= set(made["customers"].id)


def test_dealt_parents_have_their_numbers_of_children_and_the_wanted_kind() -> None:
    rng = np.random.default_rng(0)
    kind, number = rng.integers(0, 5, 300), rng.poisson(3, 300)
    wanted = rng.permutation(np.repeat(kind, number))
    found = deal(wanted, kind, number, rng)
    assert np.array_equal(np.bincount(found, minlength=300), number)
    assert np.array_equal(kind[found], wanted)
    more = np.append(wanted, [0, NO_PARENT])
    found = deal(more, kind, number, rng)
    assert kind[found[-2]] == 0 and found[-1] == NO_PARENT
    other = deal(np.full(len(wanted), 7), kind, number, rng)  # nobody is of the kind: the numbers are kept all the same
    assert np.array_equal(np.bincount(other, minlength=300), number)


def test_levels_of_a_hierarchy_and_circles() -> None:
    assert levels(np.array([-1, 0, 1, -1])).tolist() == [0, 1, 2, 0]  # type: ignore[union-attr]  # it is a hierarchy
    assert levels(np.array([1, 0])) is None
    assert levels(np.array([0])) is None


def test_a_row_sees_the_rounds_before_its_own_alone() -> None:
    """Places 0, 1, 2-3 and 4-7 are one round each; what is shown for learning is what sampling shows."""
    rng = np.random.default_rng(0)
    parent, x = np.repeat([0, 1], [7, 2]), rng.normal(size=9).round(3)
    family = Family.of(parent, 2, rng.random(9))
    columns = (ColumnSchema("x", Kind.CONTINUOUS, "double"), ColumnSchema("c", Kind.CATEGORICAL, "string"))
    rows = pa.table({"x": x, "c": rng.choice(["a", "b"], 9)})
    siblings = Siblings(columns, is_sequence=False)
    assert siblings.rounds(np.arange(9)).tolist() == [0, 1, 2, 2, 3, 3, 3, 3, 4]
    seen = siblings.of_all(rows, family)
    for row in range(9):
        before = (parent == parent[row]) & (family.place < siblings.seen(int(siblings.rounds(family.place)[row])))
        mean = seen.column("siblings' mean x")[row].as_py()
        assert (mean is None) == (not before.any()) and (mean is None or np.isclose(mean, x[before].mean()))
    for round_ in range(4):
        round_N = siblings.rounds(family.place)
        made, own = np.flatnonzero(round_N < round_), np.flatnonzero(round_N == round_)
        again = siblings.of_round(rows.take(pa.array(made)), made, family, own)
        assert again.to_pydict() == seen.take(pa.array(own)).to_pydict()
    assert seen.column(PLACE).to_pylist() == family.place.tolist()
