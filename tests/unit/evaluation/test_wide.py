"""Evaluation of wide tables: pairs, rows and targets within stated budgets, figures near the full ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth.evaluation import evaluate_synthetic_data, similarity
from raysynth.evaluation.similarity import compared_pairs


def table(n_columns: int, n_rows: int, seed: int) -> pd.DataFrame:
    """Numbers and categories of three factors, with loadings that do not depend on the seed."""
    loadings = np.random.default_rng(99).standard_normal((3, n_columns))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, 3)) @ loadings + 0.5 * rng.standard_normal((n_rows, n_columns))
    binned = np.digitize(x, [-1, 0, 1]).astype(str)
    return pd.DataFrame({f"c{c}": binned[:, c] if c % 3 == 0 else x[:, c] for c in range(n_columns)})


def test_pairs_are_all_or_a_random_choice_of_stated_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compared_pairs(100, 0) == [(a, b) for a in range(100) for b in range(a + 1, 100)]
    drawn = compared_pairs(300, 0)
    assert len(set(drawn)) == similarity.MOST_PAIRS and drawn == sorted(drawn)
    assert all(0 <= a < b < 300 for a, b in drawn)
    assert drawn == compared_pairs(300, 0) != compared_pairs(300, 1)
    monkeypatch.setattr(similarity, "MOST_PAIRS", math.comb(7, 2) - 1)
    assert len(set(compared_pairs(7, 3))) == 20


def test_figures_of_some_pairs_lie_near_those_of_all_and_the_report_says_how_many(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """180 of 435 pairs; by this seed their means are within .04, and the interval holds the mean of all pairs."""
    real, made = table(30, 800, 0), table(30, 800, 1)
    for name in ("c4", "c9"):
        made[name] = made[name].sample(frac=1, random_state=0).to_numpy()
    metrics = ["statistical_similarity"]
    full = evaluate_synthetic_data(real, made, metrics=metrics).similarity
    for module in ("similarity", "evaluate"):
        monkeypatch.setattr(f"raysynth.evaluation.{module}.MOST_PAIRS", 180)
    found = evaluate_synthetic_data(real, made, metrics=metrics)
    some = found.similarity
    assert full is not None and some is not None and (len(full.pairs), len(some.pairs)) == (435, 180)
    assert abs(full.column_pair_trends - some.column_pair_trends) < 0.04
    assert abs(full.all_pair_trends - some.all_pair_trends) < 0.04
    wide, narrow = (s.estimates["column_pair_trends"] for s in (some, full))
    assert wide.low <= full.column_pair_trends <= wide.high and wide.high - wide.low > narrow.high - narrow.low
    assert any("pairs: 180 of 435" in note for note in found.notes)
    found.generate_report(tmp_path / "report.html")
    assert "a random choice, of 435, 180" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_copy_of_a_wide_table_is_still_found() -> None:
    everything = table(60, 800, 0)
    real, holdout = everything.iloc[:400], everything.iloc[400:].reset_index(drop=True)
    made = table(60, 400, 5)
    made.iloc[:200] = real.iloc[:200]
    found = evaluate_synthetic_data(
        real,
        made,
        holdout_data=holdout,
        metrics=["privacy_metrics"],
        attack_types=["membership_inference"],
        seed=0,
    )
    assert any("on 1,666 targets, not 2,000, since the table has 60 columns" in note for note in found.notes)
    assert found.attacks is not None and any(result.found for result in found.attacks.details.values())
