"""Rows of one table given what is known of them: rules, and the weights of those that are met by rejection."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from outcome import value_of

from raysynth import infer_schema
from raysynth.api import new_synthesizer
from raysynth.errors import ConstraintError
from raysynth.related.rows import RowModel
from raysynth.schema.constraints import ConstraintSet
from raysynth.schema.constraints.thinning import MOST, Factors, Thinning


@pytest.fixture(scope="module")
def rows() -> RowModel:
    rng = np.random.default_rng(0)
    ward = rng.choice(["a", "b"], 600)
    frame = pd.DataFrame({"ward": ward, "paid": rng.integers(0, 50, 600) + 10 * (ward == "b")})
    columns = {n: pa.array(frame[n]) for n in frame}
    return RowModel.learn(
        lambda: new_synthesizer("trees", seed=0, verbose=False), columns, infer_schema(frame), ("ward",), None
    )


@pytest.mark.statistical
def test_whole_rows_have_the_shares_of_the_table() -> None:
    """A share is off by a ten-thousandth or two; by .016 on average where each row is drawn by itself, of which the
    mean of ten draws is below .004 in less than 1 of 1,000. No false alarm: the seeds are fixed.
    """
    rng = np.random.default_rng(0)
    ward = rng.choice(["a", "b"], 600)
    frame = pd.DataFrame({"ward": ward, "paid": rng.integers(0, 50, 600) + 10 * (ward == "b")})
    columns = {n: pa.array(frame[n]) for n in frame}
    make = partial(new_synthesizer, "trees", seed=0, verbose=False)
    model = RowModel.learn(make, columns, infer_schema(frame), (), None)
    draws = [model.draw(pa.table({}), 600, np.random.default_rng(k)) for k in range(10)]
    off = [
        abs(pc.mean(pc.equal(d["ward"].cast("string"), "a").cast("int8")).as_py() - (ward == "a").mean()) for d in draws
    ]
    assert np.mean(off) < 0.004


def given_rules(rows: RowModel, *factors: Factors) -> ConstraintSet:
    return ConstraintSet((), rows.synthesizer.schema_.as_modelled(), Thinning(factors, MOST))


def drawn(rows: RowModel, rules: ConstraintSet) -> pa.Table:
    """400 rows of each ward by a model with these rules."""
    fitted = rows.synthesizer._require_fitted()
    model = RowModel(rows.synthesizer, rows.given)
    model.synthesizer._state = replace(fitted, rules=rules)
    try:
        return model.draw(pa.table({"ward": ["a"] * 400 + ["b"] * 400}), 800, np.random.default_rng(1))
    finally:
        model.synthesizer._state = fitted


def test_rejection_is_weighted(rows: RowModel) -> None:
    """Weights that use no row of 38 or more; what they say of the given column decides nothing between its rows."""
    given = Factors("ward", None, ("a",), (1e-9, 1.0, 1.0))
    made = drawn(rows, given_rules(rows, given, Factors("paid", (38.0,), (), (1.0, 0.0, 1.0))))
    assert made.num_rows == 800 and pc.max(made.column("paid")).as_py() < 38


def test_a_row_that_keeps_the_rules_is_taken_where_none_is_used(rows: RowModel) -> None:
    made = drawn(rows, given_rules(rows, Factors("paid", (1e6, 2e6), (), (1e-12, 1.0, 1.0, 1.0))))
    assert made.num_rows == 800


def test_rows_that_break_a_rule_are_refused(rows: RowModel) -> None:
    from raysynth.constraints import Expression

    rules = replace(given_rules(rows), constraints=(Expression("paid > 1000"),))
    with pytest.raises(ConstraintError, match="800 of 800 rows"):
        drawn(rows, rules)


def test_whose_rows_are_is_not_learned_though_its_number_follows_their_order() -> None:
    rng, who = np.random.default_rng(0), np.repeat(np.arange(400), 4)
    frame = pd.DataFrame({"day": who // 4 + rng.integers(0, 3, len(who)), "x": rng.normal(size=len(who))})
    columns = {n: pa.array(frame[n]) for n in frame}
    for most in (500, 5000):
        make = partial(new_synthesizer, "trees", seed=0, verbose=False, max_rows=most, n_trees=2)
        model = RowModel.learn(make, columns, infer_schema(frame), (), who)
        assert set(model.synthesizer._fitted().encoder.names) == {"day", "x"}
        assert set(model.draw(pa.table({}), 50, rng).column_names) - {""} == {"day", "x"}


def test_no_more_rows_are_drawn_than_are_asked_for(rows: RowModel) -> None:
    made = value_of(lambda: rows.draw(pa.table({"ward": ["a", "b", "b"]}), 3, np.random.default_rng(0)))
    assert made.num_rows == 3


def test_rows_are_completed_with_what_they_lack() -> None:
    rng = np.random.default_rng(0)
    ward = rng.choice(["a", "b"], 600)
    frame = pd.DataFrame({"ward": ward, "paid": rng.integers(0, 50, 600) + 10 * (ward == "b")})
    make = partial(new_synthesizer, "trees", seed=0, verbose=False)
    model = RowModel.learn(make, {n: pa.array(frame[n]) for n in frame}, infer_schema(frame), (), None)
    known = pa.table({"ward": ["a"] * 300 + ["b"] * 300})
    made = value_of(lambda: model.completed(known, np.random.default_rng(0)))
    assert made["ward"].to_pylist() == known["ward"].to_pylist()
    paid = made["paid"].to_numpy()
    assert 5 < paid[300:].mean() - paid[:300].mean() < 15
