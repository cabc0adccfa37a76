"""Trees of rows of which several belong to one person: no leaf that is drawn from tells of few persons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from raysynth import load_synthetic_model
from raysynth.encoding.numeric import BinEncoder
from raysynth.errors import ModelFileError
from raysynth.fitting.prepared import learned_rows
from raysynth.methods.trees import recipe
from raysynth.methods.trees.busy import Busy, busy_from
from raysynth.methods.trees.columns import ColumnView, RowsOfPersons
from raysynth.methods.trees.grow import ColumnData, GrowthRule, grow
from raysynth.methods.trees.recipe import learn_table
from raysynth.methods.trees.synthesizer import SequentialTrees
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from tests.unit.fitting.test_persons import persons, visits

CODES = 41


def view() -> ColumnView:
    rank = np.append(np.linspace(0, 1, CODES - 1), 0.5)
    return ColumnView(CODES, True, rank, 4 * rank - 2, 0.0, None)


def rows_of_persons(n_persons: int, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (3, N): two columns of the person, one of the row that follows them; and persons (N,)."""
    rng = np.random.default_rng(seed)
    person_N = rng.permutation(np.repeat(np.arange(n_persons), rng.integers(1, most + 1, n_persons)))
    own = rng.integers(0, CODES - 1, (2, n_persons))[:, person_N]
    varying = np.clip(own.sum(0) // 2 + rng.integers(-2, 3, len(person_N)), 0, CODES - 2)
    return np.vstack([own, varying]).astype(np.uint16), person_N


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([5, 10, 25]))
def test_no_node_that_is_drawn_from_tells_of_few_persons(seed: int, most: int, least: int) -> None:
    codes_CN, person_N = rows_of_persons(300, most, seed)
    found = RowsOfPersons.of(person_N, codes_CN)
    if found is None:  # each has one row
        assert len(set(person_N.tolist())) == len(person_N)
        return
    assert found.constant >= {0, 1}
    grown_on: dict[bytes, np.ndarray] = {}  # inputs by the column grown

    def recorded(data: ColumnData, *arguments: Any) -> Any:
        grown_on[data.own_N.tobytes()] = data.x_FN
        return grow(data, *arguments)

    with patch.object(recipe, "grow", recorded):
        forests = learn_table(codes_CN, [view()] * 3, (0, 1, 2), GrowthRule(2, least, 0.6), 5, 1, persons=found)
    for column, forest in enumerate(forests):
        ends = [*forest.roots[1:].tolist(), len(forest.feature)]
        for tree, (first, end) in enumerate(zip(forest.roots.tolist(), ends, strict=True)):
            x_FN = grown_on[codes_CN[column].tobytes()]  # scores as rows of other folds predict them
            node_N = forest.leaves(x_FN.astype(np.uint16), np.full(len(person_N), tree))
            met: dict[int, set[int]] = {}
            for row, leaf in enumerate(node_N.tolist()):
                met.setdefault(leaf, set()).add(int(person_N[row]))
            for leaf in range(first + 1, end):
                if forest.feature[leaf] < 0 and forest.keep[leaf] > 0:
                    assert len(met[leaf]) >= least, (column, tree, leaf)


def test_the_same_person_many_times_is_one_person() -> None:
    """Rows repeated by their persons give splits no finer than those persons once: twice the leaves at most."""
    once, _ = rows_of_persons(400, 1, 3)
    again = np.repeat(once[:2], 10, axis=1)
    person_N = np.repeat(np.arange(400), 10)
    grown = []
    for codes_CN, who in ((once[:2], np.arange(400)), (again, person_N)):
        found = RowsOfPersons.of(who, codes_CN)
        forest = learn_table(codes_CN, [view()] * 2, (0, 1), GrowthRule(3, 10, 0.6), 5, 1, persons=found)[1]
        grown.append(int((forest.feature < 0).sum()))
    assert grown[1] <= 2 * grown[0]


@pytest.mark.statistical
def test_persons_are_not_put_together_again() -> None:
    """Date of birth, salary and sex of made rows lie no nearer to those of persons learned from than to others'.

    These columns are independent, so the share is .5 but for chance and the little that leaves of ten persons tell:
    .574 at 1,000 persons of 6.6 rows (.814 before persons were counted). 600 persons: standard error about .02; the
    bound .68 is passed by chance less than once in 10,000 runs.
    """
    learned, unseen = (visits(persons(600, seed), np.full(600, 8), seed) for seed in (1, 2))
    made = SequentialTrees(seed=0, verbose=False).fit(learned).sample(2_000, seed=1)
    own, other = (t.drop_duplicates("record_number") for t in (learned, unseen))
    salaries = np.sort(np.concatenate([own["salary"], other["salary"]]))

    def place(table: pd.DataFrame) -> np.ndarray:
        days = table["birth_date"].to_numpy().astype("datetime64[D]").astype(float) / 30_000
        return np.stack([days, np.searchsorted(salaries, table["salary"]) / len(salaries)], axis=1)

    near, far = (cKDTree(place(t)).query(place(made))[0] for t in (own, other))
    assert (near < far).mean() < 0.68


@pytest.mark.statistical
def test_a_sample_of_a_larger_table_knows_its_persons() -> None:
    """Of more rows than are learned from, those taken come with their persons, whole or not."""
    from raysynth.fitting.opening import open_for_fit, prepare

    table = visits(persons(300, 5), np.full(300, 8), 6)
    model = SequentialTrees(seed=0, verbose=False)
    model._resume = None
    prepared = prepare(model, *open_for_fit(model, table))
    assert isinstance(prepared.encoder.columns[0], BinEncoder)
    codes_CN, persons_N = learned_rows(prepared, 1_000)
    assert persons_N is not None and codes_CN.shape[1] == len(persons_N)
    assert 800 < len(persons_N) < 1_200  # 1,000 of 2,400: six standard errors
    assert 250 < len(np.unique(persons_N)) <= 300
    found = RowsOfPersons.of(persons_N, codes_CN)
    assert found is not None and 0 in found.constant


def test_a_tree_behind_whose_root_too_few_persons_stand_has_no_node_left_but_the_root() -> None:
    """Asked for the root's parent, the walk up would never end."""
    whose = RowsOfPersons(np.array([0, 0, 1, 1]), 2, frozenset())
    tree = {"feature": [0, -1, -1], "parent": [0, 0, 0], "start": [0, 0, 2], "stop": [4, 2, 4]}
    arrays = {name: np.array(values, np.int32) for name, values in tree.items()}
    assert whose.too_few(arrays, np.arange(4), 5).tolist() == [False, True, True]
    assert whose.too_few(arrays, np.arange(4), 2).tolist() == [False, True, True]
    assert whose.too_few(arrays, np.arange(4), 1).tolist() == [False, False, False]


def clinic(seed: int, n_persons: int = 1_500) -> pd.DataFrame:
    """Visits, more of them the older a patient is, and of women."""
    rng = np.random.default_rng(seed)
    age, sex = rng.normal(50, 15, n_persons).round().clip(18, 90), rng.choice(["f", "m"], n_persons)
    person = np.repeat(np.arange(n_persons), 1 + rng.poisson(np.exp((age - 50) / 20 + (sex == "f") / 2)))
    cost = (rng.gamma(2, 30, len(person)) + age[person]).round(2)
    return pd.DataFrame({"patient_id": person + 10_000, "age": age[person], "sex": sex[person], "cost": cost})


def test_those_who_should_have_many_rows_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is one for each person is as frequent in rows as in real ones, and among persons too."""
    real = clinic(3)
    model = SequentialTrees(seed=0, verbose=False).fit(real)
    made = model.sample(8_000, seed=1)
    once = [t.groupby("patient_id").agg(rows=("age", "size"), age=("age", "first")) for t in (real, made)]
    assert (made.groupby("patient_id")[["age", "sex"]].nunique() == 1).all(axis=None)
    assert abs(made.age.mean() - real.age.mean()) < 1.0 < real.age.mean() - once[0].age.mean()
    assert abs(once[1].age.mean() - once[0].age.mean()) < 1.0
    assert abs((made.sex == "f").mean() - (real.sex == "f").mean()) < 0.04
    model.save(tmp_path / "m.raysynth")
    pd.testing.assert_frame_equal(load_synthetic_model(tmp_path / "m.raysynth").sample(8_000, seed=1), made)
    monkeypatch.setattr("raysynth.sampling.chunks.CHUNK_ROWS", 512)  # persons who begin in one chunk and end in another
    parts = model.sample(4_000, seed=1)
    assert (parts.groupby("patient_id")[["age", "sex"]].nunique() == 1).all(axis=None)
    assert abs(parts.age.mean() - real.age.mean()) < 1.5


def test_where_persons_tell_nothing_of_their_rows_nothing_is_learned() -> None:
    real = clinic(4)
    real["age"] = real.patient_id.map(dict(zip(real.patient_id.unique(), np.arange(10_000) % 60, strict=False))) + 20.0
    real["sex"] = np.where(real.patient_id % 2 == 0, "f", "m")
    assert SequentialTrees(seed=0, verbose=False).fit(real).model_.busy is None


@pytest.mark.parametrize("damage", [{"noise": 2.0}, {"noise": float("nan")}, {"tables": {}}])
def test_a_damaged_score_of_persons_is_refused(damage: dict[str, object]) -> None:
    views = [view(), view()]
    busy = replace(Busy({1: np.zeros(CODES, np.float32)}, 0.5), **damage)
    with pytest.raises(ModelFileError, match="score of persons"):
        busy_from(*busy.to_state(), views)


def test_a_key_of_persons_that_is_learned_in_order_is_read_once_from_a_sample_of_rows() -> None:
    """Of a table with more rows than are learned from the key is read as a column and as whose each row is."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(400), 4)
    table = pd.DataFrame(
        {"who": who * 3, "day": who // 4 + rng.integers(0, 3, len(who)), "x": rng.normal(size=len(who))}
    )
    key = ColumnSchema("who", Kind.IDENTIFIER, "int64", in_order=True)
    model = SequentialTrees(schema=TableSchema((key,), entity="who"), max_rows=500, n_trees=2, seed=0, verbose=False)
    made = model.fit(table).sample(800, seed=1)
    assert "who" in model._fitted().encoder.names
    assert made.groupby("who").size().max() > 1
    assert np.corrcoef(made["who"], made["day"])[0, 1] > 0.9


def test_the_usual_code_of_a_person_stands_in_all_rows_of_it() -> None:
    persons = RowsOfPersons(np.array([0, 1, 0, 1, 0, 2]), 3, frozenset())
    usual = persons.usual(np.array([4, 9, 7, 2, 7, 1], np.uint16))
    assert usual.tolist() == [7, 2, 7, 2, 7, 1] and usual.dtype == np.uint16


@pytest.mark.statistical
@pytest.mark.parametrize("rows_each", [1, 6])
def test_dates_of_birth_meet_those_learned_from_as_often_as_others(rows_each: int) -> None:
    """Of 4,000 persons in two tables: without leaks the mean difference has a standard error of .6 points; a bound of
    2.4 fails a correct build once in 16,000 runs, and finds the 3.5 points of values that are dense as the rows are."""
    excess = []
    for seed in (0, 1):
        both = persons(8_000, seed)[["record_number", "birth_date", "sex"]]
        real, others = both.iloc[:4_000], both.iloc[4_000:]
        rows = real.loc[real.index.repeat(rows_each)].reset_index(drop=True).assign(visit=lambda t: t.index % 7)
        made = SequentialTrees(seed=seed, n_trees=2, verbose=False).fit(rows).sample(len(rows))["birth_date"].unique()
        excess.append(np.isin(made, real.birth_date).mean() - np.isin(made, others.birth_date).mean())
    assert np.mean(excess) < 0.024


def test_columns_of_persons_are_learned_from_one_row_of_each() -> None:
    """Busy persons of one group do not make it frequent among made persons."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 4, 1_000)
    table = pd.DataFrame({"patient_id": [f"P{i:05d}" for i in range(1_000)], "group": group.astype(str)})
    rows = table.loc[table.index.repeat(np.where(group == 0, 12, 2))].assign(x=lambda t: rng.normal(size=len(t)))
    model = SequentialTrees(seed=0, verbose=False).fit(rows)
    forest = model.model_.forests[model.encoder_.names.index("group")]
    assert (forest.stop - forest.start)[forest.roots].tolist() == [1_000] * len(forest.roots)
    made = model.sample(len(rows)).drop_duplicates("patient_id")
    shares = made.group.value_counts(normalize=True)
    assert shares["0"] == pytest.approx((group == 0).mean(), abs=0.06)
