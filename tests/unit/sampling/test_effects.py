"""What rules met by rejection do to shares and means is said when a sample is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

import raysynth as rs
from raysynth.constraints import Expression, FixedCombinations, Range
from raysynth.sampling import effects
from raysynth.sampling.chunks import make_chunk
from raysynth.sampling.conditions import Segment
from raysynth.sampling.effects import with_rules, with_thinning
from raysynth.schema.constraints.thinning import Factors, Thinning, learned


def sampled(rule: str, capsys: pytest.CaptureFixture[str], *, verbose: bool = True) -> tuple[pd.DataFrame, str]:
    """Rows made under a rule that the real ones keep, and what was printed meanwhile."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"a": rng.normal(0, 1, 800).round(2), "b": rng.normal(0, 1, 800).round(2)})
    data = data[data.a + data.b > 0].reset_index(drop=True)
    schema = replace(rs.infer_schema(data), constraints=(Expression(rule),))
    model = value_of(lambda: rs.GaussianCopula(seed=1, schema=schema, verbose=verbose).fit(data))
    capsys.readouterr()
    made = value_of(lambda: model.sample(300, seed=1))
    return made, capsys.readouterr().out


def test_a_rejecting_rule_is_told_with_what_it_moves(capsys: pytest.CaptureFixture[str]) -> None:
    made, printed = sampled("a + b > 0", capsys)
    assert (made.a + made.b > 0).all()
    assert "rule Expression(text='a + b > 0'): " in printed and "of made rows are rejected (" in printed
    assert "missing" not in printed, "no value is"
    silent, nothing = sampled("a + b > 0", capsys, verbose=False)
    assert nothing == "" and silent.equals(made)  # the pilot draws from a stream of its own


def test_figures_of_a_number_are_of_all_rows_and_of_those_that_are_used() -> None:
    """(share missing, mean) of both, and the deviation; no mean where nothing that is used has a value."""
    model: Any = SimpleNamespace(schema=rs.infer_schema(pd.DataFrame({"a": np.arange(99) / 7})))
    column = pa.array([1.0, 3.0, None, None])
    of_all, of_used, spread, has_no_mean = effects._figures(column, np.array([1.0, 0.0, 1.0, 0.0]), model, "a")
    assert (of_all, of_used, spread, has_no_mean) == ((0.5, 2.0), (0.5, 1.0), 1.0, False)
    assert effects._figures(column, np.array([0.0, 0.0, 1.0, 0.0]), model, "a") == ((0.5, 0.0), (1.0, 0.0), 0.0, True)


def test_a_rule_that_rejects_nothing_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "rejected" not in sampled("a > -100", capsys)[1]


@pytest.mark.parametrize(("rule", "rejects"), [("a > -100", False), ("a > 0", True)])
def test_weights_are_learned_where_a_rule_rejects_rows_alone(
    rule: str, rejects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after one look, where the first made rows all keep the rule."""
    rows = pd.DataFrame({"a": np.random.default_rng(0).normal(0, 1, 300).round(2), "b": np.arange(300) % 7})
    model = value_of(lambda: rs.GaussianCopula(seed=1, verbose=False).fit(rows)._fitted())
    ruled = with_rules(model, (Expression(rule),))
    looked, pilots = [], effects._pilots

    def counted(model: Any) -> Iterator[pa.Table]:
        for rows in pilots(model):
            looked.append(rows.num_rows)
            yield rows

    monkeypatch.setattr(effects, "_pilots", counted)
    assert (with_thinning(ruled) is not ruled.rules) == rejects
    assert (len(looked) == 1) != rejects


@pytest.fixture(scope="module")
def orders() -> tuple[pd.DataFrame, rs.GaussianCopula]:
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"unit": rng.integers(1, 40, 800), "n": rng.integers(1, 9, 800), "id": np.arange(800) + 1})
    data["total"] = (data.unit * data.n * rng.choice([1.0, 0.9], 800)).round(1)
    data.loc[rng.random(800) < 0.1, "total"] = np.nan
    data["g"] = rng.choice(["x", "y"], 800)
    return data, value_of(lambda: rs.GaussianCopula(seed=1, verbose=False).fit(data))


def test_rules_given_with_the_sample_hold_and_the_model_is_as_before(
    orders: tuple[pd.DataFrame, rs.GaussianCopula], tmp_path: Path
) -> None:
    model, before = orders[1], orders[1].sample(300, seed=1)
    rules = [Expression("total == unit * n"), Expression("g != 'x' or unit <= 20"), Range("n", 2, 7)]
    made = value_of(lambda: model.sample(300, seed=1, constraints=rules))
    known = made.dropna()
    assert (known.total == known.unit * known.n).all() and 0.02 < made.total.isna().mean() < 0.25
    assert (made.unit[made.g == "x"] <= 20).all() and made.n.between(2, 7).all() and made.id.is_unique
    assert (model.sample(100, {"g": "y"}, seed=1, constraints=rules[:2]).g == "y").all()
    model.sample_to(tmp_path / "rows", 300, seed=1, constraints=rules)
    assert pd.read_parquet(tmp_path / "rows").total.to_numpy() == pytest.approx(made.total.to_numpy(), nan_ok=True)
    assert model.sample(300, seed=1).equals(before)
    with pytest.raises(rs.errors.StorageError):  # another run than the folder's
        model.sample_to(tmp_path / "rows", 300, seed=1)


def test_rules_of_a_sample_that_cannot_be_met_say_why(orders: tuple[pd.DataFrame, rs.GaussianCopula]) -> None:
    for rule, said in (
        (FixedCombinations(("g", "n")), "list them"),
        (Expression("id < 5"), "'id' is identifier"),
        (Expression("nothing < 5"), "no column 'nothing'"),
    ):
        with pytest.raises(rs.ConstraintError, match=said):
            orders[1].sample(10, seed=1, constraints=[rule])
    with pytest.raises(rs.ConditionError, match="made anew.*set the column of the sample afterwards"):
        orders[1].sample(10, {"id": 3}, seed=1)


def ruled(seed: int, n: int = 3000) -> pd.DataFrame:
    """Rows of which some lack a value, that keep a rule which a copula breaks often."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"a": rng.normal(0, 1, n).round(2), "b": rng.normal(0, 1, n).round(2)})
    data["group"] = rng.choice(["x", "y", "z"], n)
    data.loc[rng.random(n) < 0.15, "b"] = np.nan
    return data[~((data.group == "x") & (data.a > 0.2)) & ~(data.a**2 + data.b**2 < 1)].reset_index(drop=True)


RULE = Expression("(group != 'x' or a <= 0.2) and a * a + b * b >= 1")


@pytest.mark.statistical
def test_rejection_moves_no_share_and_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five standard errors of the real rows; rejection alone moves the figures further."""
    data = ruled(1)
    n = len(data)
    model = value_of(lambda: rs.GaussianCopula(seed=1, schema=rs.TableSchema(constraints=[RULE])).fit(data))
    made = model.sample(6 * n, seed=1)
    assert "DISTORTED" not in capsys.readouterr().out
    assert RULE.holds(pa.Table.from_pandas(made)).all()
    alone = replace(model._fitted(), rules=replace(model.rules_, thinning=None))  # type: ignore[type-var]
    rejected = make_chunk(alone, (Segment((), 6 * n),), 1, 0).to_pandas()
    shares = [
        np.array([*t.group.value_counts(normalize=True)[list("xyz")], t.b.isna().mean(), t.a.mean(), t.b.std()])
        for t in (data, made, rejected)
    ]
    shifts = [np.abs(s - shares[0]) for s in shares[1:]]
    assert (shifts[0] < 5 * np.array([0.5, 0.5, 0.5, 0.5, 1.2, 0.9]) / np.sqrt(n)).all()
    assert shifts[0].max() < 0.4 * shifts[1].max()
    model.save(tmp_path / "model")
    assert rs.load_synthetic_model(tmp_path / "model").sample(500, seed=2).equals(model.sample(500, seed=2))


def test_weights_of_a_damaged_file_are_refused() -> None:
    rows = pa.table({"a": [1.0, 2.0, 3.0, None] * 50, "g": pa.array(["x", "y"] * 100).dictionary_encode()})
    kept = np.arange(200) % 4 != 0
    found = learned(rows, kept, ["a", "g"])
    assert found is not None and Thinning.from_dict(found.to_dict()) == found
    weight = found.probabilities(rows)[kept]
    assert np.average(np.array(rows["g"].to_pylist())[kept] == "x", weights=weight) == pytest.approx(0.5, abs=0.01)
    for change in ({"ends": [3, 2]}, {"factors": [1.0]}, {"factors": [float("nan")] * 20}):
        content = found.to_dict()
        content["columns"][0] |= change
        with pytest.raises(rs.errors.ModelFileError, match="damaged"):
            Thinning.from_dict(content)


def test_no_weights_are_learned_where_a_rule_rejects_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "_LEAST_REJECTED", 0.9)
    rows = pd.DataFrame({"a": np.random.default_rng(0).normal(0, 1, 300).round(2), "b": np.arange(300) % 7})
    ruled = with_rules(rs.GaussianCopula(seed=1, verbose=False).fit(rows)._fitted(), (Expression("a > 0"),))
    assert with_thinning(ruled) is ruled.rules


def test_nothing_is_said_of_a_rule_where_no_row_is_left() -> None:
    rows = pa.table({"a": [1.0, -1.0]})
    assert effects._effect(Expression("a > 0"), rows, np.zeros(2), cast(Any, None)) == []


@dataclass(frozen=True)
class Rule:
    """A rule that some rows keep."""

    kept: np.ndarray
    involves: tuple[str, ...]

    def holds(self, rows: pa.Table) -> np.ndarray:
        """For each row."""
        return self.kept

    def __str__(self) -> str:
        return "R"


def told(rows: pa.Table, rule: Rule, weight_N: np.ndarray) -> list[str]:
    """What is said of one rule."""
    numbers = {
        f.name: SimpleNamespace(kind=SimpleNamespace(is_number=pa.types.is_floating(f.type))) for f in rows.schema
    }
    return effects._effect(cast(Any, rule), rows, weight_N, cast(Any, SimpleNamespace(schema=numbers)))


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.119, ""), (0.121, "missing of 'x' 10.0% to 12.1%"), (0.199, "19.9%"), (0.201, "20.1%"), (0.05, "5.0%")],
)
def test_missing_values_that_rejection_moves_are_told_by_their_share(share: float, said: str) -> None:
    """A fiftieth is told, a tenth is a distortion; of a text no mean is."""
    rows = pa.table({"x": [None] * 10 + ["a"] * 60 + ["b"] * 30})
    weight_N = np.where(np.arange(100) < 10, 9 * share / (1 - share), 1.0)
    (line,) = told(rows, Rule(np.arange(100) < 75, ("x",)), weight_N)
    assert line.startswith("rule R: 25.0% of made rows are rejected (")
    assert (said or "(no share or mean moves by more than a fiftieth)") in line and "mean of" not in line
    assert ("DISTORTED; declare it as" in line) == (share > 0.2)
    assert line.endswith(")") or share > 0.2


@pytest.mark.parametrize(
    ("mean", "is_told", "is_moved"), [(0.038, 0, 0), (0.042, 1, 0), (-0.198, 1, 0), (-0.202, 1, 1)]
)
def test_means_that_rejection_moves_are_told_in_standard_deviations(mean: float, is_told: int, is_moved: int) -> None:
    """Of numbers five with a deviation of two; the other column is not moved."""
    rows = pa.table({"x": [7.0, 3.0] * 50, "y": [1.0] * 50 + [2.0] * 50})
    share = (mean / 2 + 1) / 2
    weight_N = np.where(np.arange(100) % 2 == 0, share, 1 - share)
    (line,) = told(rows, Rule(np.arange(100) >= 40, ("y", "x")), weight_N)
    assert "rule R: 40.0% of made rows" in line and "missing" not in line and "'y'" not in line
    assert (f"mean of 'x' 5 to {5 + mean:.4g}" in line) == bool(is_told) == ("no share or mean" not in line)
    assert ("DISTORTED" in line) == bool(is_moved)


def test_of_several_columns_all_that_moves_is_told_and_a_constant_one_is_not() -> None:
    rows = pa.table({"x": [1.0, None, 3.0, 3.0], "y": [5.0, 5.0, 5.0, 5.0], "z": [0.0, 0.0, 0.0, 1.0]})
    (line,) = told(rows, Rule(np.array([1, 0, 0, 1], bool), ("x", "y", "z")), np.array([1.0, 0.0, 0.0, 1.0]))
    parts = "missing of 'x' 25.0% to 0.0%; mean of 'x' 2.333 to 2; mean of 'z' 0.25 to 0.5"
    assert line.startswith(f"rule R: 50.0% of made rows are rejected ({parts}): DISTORTED")


def test_a_rule_that_rejects_less_than_half_a_percent_is_not_told() -> None:
    rows = pa.table({"x": np.arange(1000.0)})
    for n_rejected, n_lines in ((4, 0), (6, 1)):
        kept = np.arange(1000) >= n_rejected
        assert len(told(rows, Rule(kept, ("x",)), kept.astype(float))) == n_lines


def pilots_of(kept: float, monkeypatch: pytest.MonkeyPatch) -> tuple[list[pa.Table], list[tuple[Any, ...]]]:
    """Made rows of which a share has at most 20 units; what the weights are learned from."""
    made: list[pa.Table] = []
    asked: list[tuple[Any, ...]] = []

    def pilots(model: Any) -> Iterator[pa.Table]:
        while True:
            rng = np.random.default_rng(len(made))
            unit = np.where(np.arange(2048) < round(kept * 2048), 20, 21)
            made.append(pa.table({"total": rng.random(2048), "g": ["x"] * 2048, "unit": rng.permutation(unit)}))
            yield made[-1]

    monkeypatch.setattr(effects, "_pilots", pilots)
    monkeypatch.setattr(effects, "learned", lambda *args: asked.append(args))
    return made, asked


@pytest.mark.parametrize(("kept", "looks"), [(0.5, 16), (0.75, 11), (0.1, 32), (2037 / 2048, 9)])
def test_weights_are_learned_from_as_many_rows_as_keep_the_rules(
    kept: float, looks: int, orders: tuple[pd.DataFrame, rs.GaussianCopula], monkeypatch: pytest.MonkeyPatch
) -> None:
    """16,384 kept rows or 32 looks of 2,048; a rule on a column that was not made says nothing."""
    made, asked = pilots_of(kept, monkeypatch)
    ruled = with_rules(orders[1]._fitted(), (Expression("unit <= 20"), Expression("n <= 3")))
    with_thinning(ruled)
    assert len(made) == looks and len(asked) == 1
    rows, mask, columns, shares = asked[0]
    assert rows.num_rows == 2048 * looks and (np.array(rows["unit"]) <= 20).tolist() == mask.tolist()
    assert columns == ["unit", "total", "g"] and not shares


def test_of_many_columns_those_of_the_rules_are_weighed_first(
    orders: tuple[pd.DataFrame, rs.GaussianCopula], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, asked = pilots_of(0.5, monkeypatch)
    monkeypatch.setattr(effects, "_MOST_COLUMNS", 2)
    with_thinning(with_rules(orders[1]._fitted(), (Expression("unit <= 20"),)))
    with_thinning(with_rules(orders[1]._fitted(), (Expression("unit <= 20 and total < 2 and g != 'y'"),)))
    assert [a[2] for a in asked] == [["unit", "total"], ["total", "g", "unit"]]


def test_too_few_rejected_rows_need_no_weights(
    orders: tuple[pd.DataFrame, rs.GaussianCopula], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = pilots_of(2038 / 2048, monkeypatch)
    ruled = with_rules(orders[1]._fitted(), (Expression("unit <= 20"),))
    assert with_thinning(ruled) is ruled.rules and len(made) == 1 and not asked
    assert with_rules(ruled, ()) is ruled
    assert effects.rule_effects(ruled) == []


def test_each_rule_that_rejects_is_told_with_the_weights_of_all(
    orders: tuple[pd.DataFrame, rs.GaussianCopula], monkeypatch: pytest.MonkeyPatch
) -> None:
    pilots_of(0.9, monkeypatch)
    ruled = with_rules(orders[1]._fitted(), (Expression("unit <= 20"), Expression("n > 3"), Expression("total < 0.8")))
    first, second = effects.rule_effects(ruled)
    assert "text='unit <= 20'): 10.0% of made rows" in first and "mean of 'unit' 20.1 to 20" in first
    assert "text='total < 0.8')" in second and "mean of 'total' 0.4977 to 0.3915" in second
    weights = Thinning((Factors("total", (0.5,), (), (1.0, 0.0, 1.0)),), 1.0)
    weighed = effects.rule_effects(replace(ruled, rules=replace(cast(Any, ruled.rules), thinning=weights)))
    assert "to 0.2" in weighed[1], "rows of half or more are not used"
    assert effects.rule_effects(orders[1]._fitted()) == []
