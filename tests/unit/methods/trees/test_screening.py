"""Trees of wide tables: each column is learned from the few before it that it depends on, and files say which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth import SequentialTrees, load_synthetic_model
from raysynth.errors import ModelFileError
from raysynth.methods.trees import recipe
from raysynth.methods.trees.additive import additive_predictions, design_of
from raysynth.methods.trees.columns import ColumnView, views
from raysynth.methods.trees.state import from_state, to_state


def chain(n_columns: int, n_rows: int) -> pd.DataFrame:
    """Each column follows the third before it; numbers and categories by turns."""
    rng = np.random.default_rng(0)
    columns = [rng.standard_normal(n_rows) for _ in range(3)]
    while len(columns) < n_columns:
        columns.append(0.9 * columns[-3] + 0.45 * rng.standard_normal(n_rows))
    labels = np.array(["d", "a", "c", "b"])
    return pd.DataFrame(
        {f"c{c}": x if c % 2 else labels[np.digitize(x, [-0.7, 0, 0.7])] for c, x in enumerate(columns)}
    )


@pytest.fixture
def few_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "INPUTS_OF_ALL", 40)
    monkeypatch.setattr(recipe, "FEWEST_INPUTS", 3)


def test_what_a_column_follows_is_among_its_inputs(few_inputs: None) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 5, (20, 3_000))
    for c in range(4, 20):
        codes[c] = np.where(rng.random(3_000) < 0.6, codes[c - 4], codes[c])
    view = ColumnView(5, False, np.zeros(5), np.zeros(5), 0.0, None)
    inputs = recipe.screened_inputs(codes, [view] * 20, range(20))
    assert all(len(inputs[c]) == min(c, 3) and inputs[c] == tuple(sorted(inputs[c])) for c in range(20))
    assert all(c - 4 in inputs[c] for c in range(4, 20))


def test_of_a_wide_table_each_column_makes_the_products_of_its_own_inputs() -> None:
    """The same predictions as from products that all columns share."""
    rng = np.random.default_rng(1)
    codes_CN = rng.integers(0, 5, (30, 500))
    codes_CN[7] = np.where(rng.random(500) < 0.6, codes_CN[3], codes_CN[7])
    columns = [ColumnView(5, False, np.zeros(5), np.zeros(5), 0.0, None)] * 30
    shared, own = design_of(codes_CN, columns, 6), design_of(codes_CN, columns, 5)
    assert shared.products is not None and own.products is None
    wanted = (codes_CN[7][:, None] == np.arange(5)).astype(float)
    found = [additive_predictions(replace(d, group=shared.group), codes_CN, (1, 3, 8), wanted) for d in (shared, own)]
    assert np.corrcoef(found[0][0].total_N, wanted[:, 0])[0, 1] > 0.4
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.total_N, other.total_N, atol=1e-5)


def test_a_model_of_few_inputs_keeps_dependence_and_comes_back_from_its_file(few_inputs: None, tmp_path: Path) -> None:
    table = chain(16, 1_000)
    model = SequentialTrees(seed=0, verbose=False, n_trees=2).fit(table)
    assert max(len(f.inputs) for f in model.model_.forests) == 3
    rows = model.sample(1_500, seed=1)
    assert abs(rows["c12"].map({"d": 0, "a": 1, "c": 2, "b": 3}).corr(rows["c15"])) > 0.7
    model.save(tmp_path / "model.zip")
    again = load_synthetic_model(tmp_path / "model.zip")
    pd.testing.assert_frame_equal(again.sample(200, seed=2), model.sample(200, seed=2))
    meta, arrays = to_state(model.model_.forests, model.model_.order)
    with pytest.raises(ModelFileError, match="not drawn before it"):
        from_state(meta, {**arrays, "8.inputs": np.array([7, 9, 1], np.int32)}, views(model.encoder_.columns))


def test_of_a_narrow_table_all_columns_before_are_inputs_and_a_file_names_none() -> None:
    model = SequentialTrees(seed=0, verbose=False, n_trees=1).fit(chain(6, 300))
    assert [len(model.model_.forests[c].inputs) for c in model.model_.order] == list(range(6))
    assert not any(name.endswith("inputs") for name in to_state(model.model_.forests, model.model_.order)[1])
