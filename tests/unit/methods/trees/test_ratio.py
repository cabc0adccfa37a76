"""Rows of the trees, weighted by how much more often the table has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth import load_synthetic_model
from raysynth.errors import ConditionError, ModelFileError
from raysynth.fitting.prepared import encoded_blocks
from raysynth.methods.trees.columns import RowsOfPersons, views
from raysynth.methods.trees.ratio import WeightedTrees, _joined, _raked, chosen, learn_ratio, learn_ratio_of_persons
from raysynth.methods.trees.state import ratio_from, ratio_state
from raysynth.methods.trees.synthesizer import SequentialTrees

RARE = 5


def _rows(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.gamma(2.0, 50.0, n).round(1)
    b = (60 + 0.5 * a + 30 * rng.normal(size=n)).round(1)
    return pd.DataFrame({"a": a, "b": b, "kind": np.where(a > 90, "much", "little"), "other": rng.integers(0, 6, n)})


@pytest.fixture(scope="module")
def apart() -> tuple[SequentialTrees, np.ndarray, WeightedTrees]:
    """Trees of a table whose columns were shuffled, the codes (N, C) of the table, and the ratio of both."""
    real, rng = _rows(4_000), np.random.default_rng(1)
    shuffled = real.apply(lambda c: rng.permutation(c.to_numpy()))
    model = SequentialTrees(seed=0, verbose=False, weighted=False).fit(shuffled)
    codes_NC = np.concatenate([b.codes_NC for b in encoded_blocks(model, real, min_rows=0)])
    columns = views(model.encoder_.columns)
    ratio = learn_ratio(np.ascontiguousarray(codes_NC.T), columns, model.model_, (), RARE, None, 0)
    return model, codes_NC, WeightedTrees(model.model_, ratio)


def _place(model: SequentialTrees, *names: str) -> list[int]:
    return [model.encoder_.names.index(n) for n in names]


def _related(model: SequentialTrees, codes_NC: np.ndarray) -> float:
    return float(np.corrcoef(codes_NC[:, _place(model, "a", "b")].astype(float), rowvar=False)[0, 1])


def test_weighted_rows_relate_columns_as_the_table_does(
    apart: tuple[SequentialTrees, np.ndarray, WeightedTrees],
) -> None:
    model, real_NC, weighted = apart
    made_NC = weighted.generate(4_000, np.random.default_rng(2)).codes_NC
    plain_NC = model.model_.generate(4_000, np.random.default_rng(2)).codes_NC
    assert abs(_related(model, plain_NC)) < 0.1
    assert _related(model, made_NC) > 0.8 * _related(model, real_NC) > 0.4
    assert made_NC.shape == (4_000, 4)


def test_shares_of_each_column_are_those_of_the_table(apart: tuple[SequentialTrees, np.ndarray, WeightedTrees]) -> None:
    _, real_NC, weighted = apart
    made_NC = weighted.generate(4_000, np.random.default_rng(3)).codes_NC
    for c in range(4):
        size = int(real_NC[:, c].max()) + 1
        shares = [np.cumsum(np.bincount(t[:, c], minlength=size)[:size] / 4_000) for t in (real_NC, made_NC)]
        assert np.abs(shares[0] - shares[1]).max() < 0.015


def test_margins_of_a_wide_table_do_not_fit_the_noise_of_the_drawn_rows() -> None:
    """80 columns that say the same of 500 rows: raking to each group of each of them shrinks or swells whole rows."""
    rng = np.random.default_rng(0)

    def rows(n: int) -> np.ndarray:
        return np.clip(128 + 60 * rng.normal(size=(n, 1)) + 10 * rng.normal(size=(n, 80)), 0, 254).astype(np.uint8)

    real_NF, drawn_NF, fresh_NF = rows(500), rows(2_000), rows(2_000)
    margins = _raked([255] * 80, real_NF, drawn_NF, np.zeros(2_000))
    added_N = sum(m.take(x) for m, x in zip(margins, fresh_NF.T, strict=True))
    assert added_N.std() < 0.8  # nothing is to be mended; 6 where each group is raked to
    assert max(len(np.unique(_joined(np.ones(255), most))) for most in (0, 1, 3)) == 3
    assert len(np.unique(_joined(np.ones(255), 255))) == 255


def test_conditions_are_met_and_followed(apart: tuple[SequentialTrees, np.ndarray, WeightedTrees]) -> None:
    model, real_NC, weighted = apart
    kind, a = _place(model, "kind", "a")
    code = int(np.median(real_NC[:, kind]))
    weight = np.zeros(model.encoder_.columns[kind].cardinality)
    weight[code] = 1.0
    made_NC = weighted.generate(1_000, np.random.default_rng(4), {kind: weight}).codes_NC
    assert set(made_NC[:, kind]) == {code}
    wanted = real_NC[real_NC[:, kind] == code, a].mean()
    plain = model.model_.generate(4_000, np.random.default_rng(5)).codes_NC[:, a].mean()
    assert abs(made_NC[:, a].mean() - wanted) < 0.3 * abs(plain - wanted)


def test_a_condition_that_few_rows_meet_costs_no_more_than_without_weights(
    apart: tuple[SequentialTrees, np.ndarray, WeightedTrees], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, weighted = apart
    monkeypatch.setattr("raysynth.methods.trees.sampler.TRIED_FIRST", 3_000)
    monkeypatch.setattr("raysynth.methods.trees.sampler.TRIED_PER_ROW", 0)
    column = model.model_.order[-1]
    weight = np.full(model.encoder_.columns[column].cardinality, 1 / 300)
    assert len(weighted.generate(2, np.random.default_rng(10), {column: weight}).codes_NC) == 2
    with pytest.raises(ConditionError, match="rows that the model draws satisfy"):
        weighted.generate(500, np.random.default_rng(11), {column: weight})


def test_completed_rows_follow_what_is_known(apart: tuple[SequentialTrees, np.ndarray, WeightedTrees]) -> None:
    model, real_NC, weighted = apart
    first = model.model_.order[0]
    known = [first]
    drawn_NC = weighted.generate_given(real_NC, known, np.random.default_rng(6))
    assert np.array_equal(drawn_NC[:, first], real_NC[:, first])
    plain_NC = weighted.trees.generate_given(real_NC, known, np.random.default_rng(6))
    pairs = [c for c in range(4) if c != first]
    near = [np.abs(t[:, pairs].astype(int) - real_NC[:, pairs]).mean() for t in (drawn_NC, plain_NC)]
    assert near[0] < near[1]


def test_a_ratio_of_what_persons_came_with_serves_completion_alone(
    apart: tuple[SequentialTrees, np.ndarray, WeightedTrees],
) -> None:
    model, real_NC, weighted = apart
    known = model.model_.order[:1]
    given = WeightedTrees(weighted.trees, replace(weighted.ratio, known=known))
    made = [g.generate(50, np.random.default_rng(7)).codes_NC for g in (given, weighted.trees)]
    assert np.array_equal(*made)
    completed = given.generate_given(real_NC[:50], [], np.random.default_rng(8))
    assert np.array_equal(completed, weighted.trees.generate_given(real_NC[:50], [], np.random.default_rng(8)))


def test_leaves_are_of_persons_not_of_rows(apart: tuple[SequentialTrees, np.ndarray, WeightedTrees]) -> None:
    model, real_NC, weighted = apart
    codes_CN = np.ascontiguousarray(real_NC.T)
    few = RowsOfPersons.of(np.arange(4_000) % 50, codes_CN)
    ratio = learn_ratio(codes_CN, views(model.encoder_.columns), weighted.trees, (), RARE, few, 0)
    assert not (ratio.trees.feature >= 0).any()  # 50 persons are no two leaves of 30


@pytest.mark.parametrize("n", [1, 7, 500])
def test_rows_are_chosen_once_and_by_weight(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.integers(0, 9, (4 * n + 32, 3)).astype(np.uint8)
    weight = np.exp(rng.normal(size=len(x)))
    rows = chosen(x, weight, n, rng)
    assert len(np.unique(rows)) == n
    assert n < 10 or weight[rows].mean() > 1.5 * weight.mean()


def test_few_heavy_rows_are_certain_and_the_rest_share_what_is_left() -> None:
    x, weight = np.zeros((60, 2), np.uint8), np.r_[np.full(5, 1e6), np.ones(55)]
    rows = chosen(x, weight, 20, np.random.default_rng(0))
    assert set(range(5)) <= set(rows.tolist())
    assert len(np.unique(rows)) == 20


def test_a_file_keeps_the_weights(apart: tuple[SequentialTrees, np.ndarray, WeightedTrees]) -> None:
    model, real_NC, weighted = apart
    meta, arrays = ratio_state(weighted.ratio)
    again = ratio_from(meta, arrays, views(model.encoder_.columns), model.model_.order)
    assert again is not None
    drawn = [WeightedTrees(weighted.trees, r).generate(99, np.random.default_rng(9)) for r in (again, weighted.ratio)]
    assert np.array_equal(drawn[0].codes_NC, drawn[1].codes_NC)


def test_a_model_draws_the_same_rows_from_its_file(tmp_path: Path) -> None:
    model = SequentialTrees(seed=0, verbose=False).fit(_rows(500))
    assert model.ratio_ is not None
    model.save(tmp_path / "m.model")
    again = load_synthetic_model(tmp_path / "m.model")
    pd.testing.assert_frame_equal(again.sample(300, seed=3), model.sample(300, seed=3))
    np.testing.assert_allclose(again.log_prob(_rows(50, 9)), model.log_prob(_rows(50, 9)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ratio.left", lambda a: np.zeros_like(a)),
        ("ratio.feature", lambda a: np.full_like(a, 99)),
        ("ratio.value", lambda a: np.full_like(a, np.nan)),
        ("ratio.roots", lambda a: a + 10**6),
        ("ratio.group.0", lambda a: a[:-1]),
        ("ratio.margin.1", lambda a: a[:, :2]),
        ("ratio.threshold", lambda a: a[:-1]),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    apart: tuple[SequentialTrees, np.ndarray, WeightedTrees], name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    model, _, weighted = apart
    meta, arrays = ratio_state(weighted.ratio)
    with pytest.raises(ModelFileError, match="refit"):
        ratio_from(meta, arrays | {name: change(arrays[name])}, views(model.encoder_.columns), model.model_.order)


def test_persons_are_weighed_by_what_is_one_for_each(apart: tuple[SequentialTrees, np.ndarray, WeightedTrees]) -> None:
    model, real_NC, weighted = apart
    codes_CN = np.repeat(real_NC.T, 2, axis=1)  # two rows each
    persons = RowsOfPersons.of(np.arange(codes_CN.shape[1]) // 2, codes_CN)
    assert persons is not None
    own, known = _place(model, "a", "b"), model.model_.order[:1]
    ratio = learn_ratio_of_persons(codes_CN, views(model.encoder_.columns), weighted.trees, own, RARE, persons, 0)
    assert set(np.unique(ratio.trees.feature)) <= {-1, *own}
    given = WeightedTrees(weighted.trees, replace(weighted.ratio, known=known), ratio)
    made_NC = given.generate(2_000, np.random.default_rng(3)).codes_NC
    assert _related(model, made_NC) > 0.8 * _related(model, real_NC)


def test_a_table_of_persons_has_both_ratios_in_its_file(tmp_path: Path) -> None:
    real = _rows(700).assign(patient_id=np.random.default_rng(4).permutation(700) + 10**5)
    rows = real.loc[real.index.repeat(np.random.default_rng(5).integers(1, 4, 700))].reset_index(drop=True)
    rows["visit"] = (rows.a + np.random.default_rng(6).normal(0, 9, len(rows))).round(1)
    model = SequentialTrees(seed=0, verbose=False).fit(rows)
    assert model.persons_ratio_ is not None
    assert model.ratio_ is not None
    assert {model.encoder_.names[c] for c in model.ratio_.known} == {"a", "b", "kind", "other"}
    made = model.sample(900, seed=1)
    assert (made.groupby("patient_id")[["a", "b"]].nunique() == 1).all().all()
    model.save(tmp_path / "m.model")
    pd.testing.assert_frame_equal(load_synthetic_model(tmp_path / "m.model").sample(900, seed=1), made)
    assert np.isfinite(model.log_prob(rows.head(20))).all()
