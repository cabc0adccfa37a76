"""Equalities by construction: computed columns, their missing cells, and what the rest of the table keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raysynth as rs
from raysynth.constraints import ConstraintSet, Expression
from raysynth.data.table import as_table
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.schema.constraints.derived import Derived
from raysynth.statistics.inference import infer_schema as inferred
from raysynth.statistics.table_statistics import collect


def number(name: str, dtype: str = "int64", nullable: bool = True) -> ColumnSchema:
    return ColumnSchema(name, Kind.CONTINUOUS, dtype, nullable=nullable)


def rules(text: str, *columns: ColumnSchema) -> ConstraintSet:
    return ConstraintSet((Expression(text),), TableSchema(columns))


@pytest.mark.parametrize(
    ("text", "computed"),
    [
        ("a == b * c", "a"),
        ("b * c == a", "a"),
        ("a + b == c + 2", "a"),
        ("c - a == b", "b"),
        ("3 == b - a", "b"),
        ("a == b", "a"),
        ("a == 3", None),
        ("a == a + b", "b"),
        ("a * b == c * 2", None),
        ("a == b or a == c", None),
        ("a == b == c", None),
    ],
)
def test_which_column_is_computed(text: str, computed: str | None) -> None:
    found = rules(text, number("a"), number("b"), number("c")).replacements
    assert [r.column.name for r in found if isinstance(r, Derived)] == ([] if computed is None else [computed])


def test_sums_of_floats_are_not_undone() -> None:
    """c - b + b need not be c: such a rule is met by rejection, a plain total by construction."""
    columns = [number(n, "double") for n in "abc"]
    assert not rules("a + b == c + 0.1", *columns).replacements
    assert rules("a + b == c", *columns).replacements


cells = st.none() | st.integers(0, 30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=40))
def test_any_pattern_of_missing_cells_comes_back(rows: list[tuple[int | None, int | None, int | None]]) -> None:
    table = [(None if a is None else (b or 0) * (c or 0) if None not in (b, c) else a, b, c) for a, b, c in rows]
    arrow = pa.table({n: pa.array([r[i] for r in table], pa.int64()) for i, n in enumerate("abc")})
    constraint = rules("a == b * c", number("a"), number("b"), number("c"))
    modelled = constraint.forward(arrow)
    assert modelled.column_names == list(constraint.forward_schema().names)
    again = constraint.inverse(modelled, np.random.default_rng(0))
    assert again.equals(arrow)


def test_a_column_that_always_follows_is_not_modelled() -> None:
    columns = [number(n, nullable=False) for n in "abc"]
    assert rules("a == b + c", *columns).forward_schema().names == ("b", "c")
    assert rules("a == b / c", *columns).forward_schema().names == ("a", "a follows", "b", "c")


def test_rows_keep_the_rule_whatever_the_model_makes() -> None:
    constraint = rules("a == b * c", number("a"), number("b"), number("c"))
    rng = np.random.default_rng(1)
    made = pa.table(
        {
            "a": pa.array(rng.integers(0, 9, 500), mask=rng.random(500) < 0.5),
            "a follows": pa.array(rng.choice(["follows", "differs"], 500)).dictionary_encode(),
            "b": pa.array(rng.integers(0, 9, 500), mask=rng.random(500) < 0.3),
            "c": pa.array(rng.integers(0, 9, 500)),
        }
    )
    assert constraint.holds(constraint.inverse(made, rng)).all()


def orders(seed: int, n: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"price": rng.gamma(3, 10, n).round(2), "n": rng.integers(1, 9, n)})
    frame.loc[rng.random(n) < 0.12, "price"] = np.nan
    frame["paid"] = frame.price * frame.n
    frame.loc[rng.random(n) < 0.05, "paid"] = np.nan
    return frame


@pytest.mark.statistical
@pytest.mark.parametrize("method", [rs.GaussianCopula, rs.BayesianNetworkSynthesizer])
def test_missing_shares_and_means_hold(method: type[rs.GaussianCopula], capsys: pytest.CaptureFixture[str]) -> None:
    """Four standard errors of 3,000 rows on each side: a false alarm in 10,000 for each of six figures."""
    frame = orders(3)
    schema = inferred(as_table(frame), collect(as_table(frame), label=""), None, {})
    schema = TableSchema(schema.columns, constraints=(Expression("paid == price * n"),))
    made = method(seed=0, schema=schema).fit(frame).sample(3000, seed=1)
    assert "'paid' is computed from 'price', 'n' (paid == price * n)" in capsys.readouterr().out
    known = made.dropna()
    assert np.allclose(known.paid, known.price * known.n, rtol=1e-12, atol=0)  # paid is written with two decimals
    for name in ("price", "paid"):
        share = frame[name].isna().mean()
        assert made[name].isna().mean() == pytest.approx(share, abs=4 * np.sqrt(2 * share * (1 - share) / 3000))
    assert made.price.mean() == pytest.approx(frame.price.mean(), abs=4 * frame.price.std() * np.sqrt(2 / 2600))
