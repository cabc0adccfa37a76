"""Rows of the trees, weighted by how much more often the table has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth import load_synthetic_model
from raysynth.errors import ModelFileError
from raysynth.methods.trees.ratio import chosen, ratio_from, ratio_state
from raysynth.methods.trees.synthesizer import SequentialTrees


def _rows(n: int, seed: int = 0) -> pd.DataFrame:
    """A sum whose parts take turns: what leaves of ten rows blur."""
    rng = np.random.default_rng(seed)
    a, b = rng.gamma(2.0, 50.0, n).round(1), rng.gamma(1.0, 80.0, n).round(1)
    kind = np.where(a > b, "first", "second")
    return pd.DataFrame({"a": a, "b": b, "more": np.sqrt(a * b).round(1), "kind": kind})


@pytest.fixture(scope="module")
def fitted() -> SequentialTrees:
    return SequentialTrees(seed=0, verbose=False).fit(_rows(3_000))


def _broken_share(rows: pd.DataFrame) -> float:
    """Rows whose third number is off the mean of the others by more than an eighth."""
    whole = np.sqrt(rows["a"] * rows["b"]) + 5
    return float(((rows["more"] - whole + 5).abs() > whole / 8).mean())


def test_rows_are_closer_to_the_table_than_those_of_the_trees_alone(fitted: SequentialTrees) -> None:
    plain = SequentialTrees(seed=0, verbose=False, weighted=False).fit(_rows(3_000))
    assert plain.ratio_ is None
    assert _broken_share(fitted.sample(3_000, seed=1)) < 0.9 * _broken_share(plain.sample(3_000, seed=1))


def test_shares_of_every_column_are_those_of_the_table(fitted: SequentialTrees) -> None:
    real, made = _rows(3_000), fitted.sample(3_000, seed=2)
    for name in ("a", "b", "more"):
        ends = np.quantile(real[name], np.linspace(0.1, 0.9, 9))
        shares = [(t[name].to_numpy()[:, None] <= ends).mean(axis=0) for t in (real, made)]
        assert np.abs(shares[0] - shares[1]).max() < 0.01
    assert abs((real["kind"] == "first").mean() - (made["kind"] == "first").mean()) < 0.002


def test_a_file_keeps_the_weights_and_draws_the_same_rows(fitted: SequentialTrees, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.model")
    again = load_synthetic_model(tmp_path / "m.model")
    pd.testing.assert_frame_equal(again.sample(300, seed=3), fitted.sample(300, seed=3))
    one = _rows(50, seed=9)
    np.testing.assert_allclose(again.log_prob(one), fitted.log_prob(one))


def test_conditions_hold_and_follow_the_weights(fitted: SequentialTrees) -> None:
    made = fitted.sample(1_000, seed=4, conditions={"kind": "second"})
    assert set(made["kind"]) == {"second"}
    free = fitted.sample(6_000, seed=5)
    free = free[free["kind"] == "second"]
    assert abs(made["b"].mean() - free["b"].mean()) < 4 * free["b"].std() / np.sqrt(1_000)


def test_completed_rows_follow_the_weights() -> None:
    rows = _rows(3_000)
    model = SequentialTrees(seed=0, verbose=False, order=["a", "b"]).fit(rows)
    generator, encoder = model._generator(), model.encoder_
    made = model.sample(3_000, seed=6)
    known = [encoder.names.index(n) for n in ("a", "b")]
    codes_NC = np.stack([c.encode(_arrow(rows[c.name]))[0] for c in encoder.columns], axis=1)
    drawn_NC = generator.generate_given(codes_NC, known, np.random.default_rng(0))
    assert np.array_equal(drawn_NC[:, known], codes_NC[:, known])
    more = encoder.names.index("more")
    middle = encoder.columns[more].cardinality / 2
    assert abs((drawn_NC[:, more] < middle).mean() - (codes_NC[:, more] < middle).mean()) < 0.03
    assert len(made) == 3_000


def _arrow(column: pd.Series):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    return pa.array(column)


@pytest.mark.parametrize("n", [1, 7, 500])
def test_rows_are_chosen_once_and_by_weight(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.integers(0, 9, (4 * n + 32, 3)).astype(np.uint8)
    weight = np.exp(rng.normal(size=len(x)))
    rows = chosen(x, weight, n, rng)
    assert len(np.unique(rows)) == n
    assert weight[rows].mean() > weight.mean() or n < 10


def test_few_heavy_rows_are_certain_and_the_rest_share_what_is_left() -> None:
    x, weight = np.zeros((60, 2), np.uint8), np.r_[np.full(5, 1e6), np.ones(55)]
    rows = chosen(x, weight, 20, np.random.default_rng(0))
    assert set(range(5)) <= set(rows.tolist())
    assert len(np.unique(rows)) == 20


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
def test_a_file_that_does_not_fit_is_refused(fitted: SequentialTrees, name: str, change) -> None:  # type: ignore[no-untyped-def]
    from raysynth.methods.trees.columns import views

    meta, arrays = ratio_state(fitted.ratio_)
    columns = views(fitted.encoder_.columns)
    assert ratio_from(meta, arrays, columns, fitted.model_.order) is not None
    with pytest.raises(ModelFileError, match="refit"):
        ratio_from(meta, arrays | {name: change(arrays[name])}, columns, fitted.model_.order)
