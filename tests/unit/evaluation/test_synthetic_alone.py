"""A shareable report follows from the synthetic table and the model's schema: no real row changes it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from raysynth.evaluation import evaluate_synthetic_data
from raysynth.evaluation.report import render_report


def table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "two": rng.choice([0, 1], 80),
            "code": rng.choice(["x", "y", "z"], 80),
            "size": rng.normal(size=80).round(1),
            "level": rng.integers(0, 9, 80),
        }
    )


def shared(real: pd.DataFrame, synthetic: pd.DataFrame) -> str:
    results = evaluate_synthetic_data(real, synthetic, metrics=["statistical_similarity"], seed=0)
    return re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", "", render_report(results, shareable=True))


def test_no_row_changes_a_kind_or_a_chart_that_is_shared() -> None:
    """A third number makes no category of 'two', a text that occurs once no identifier less; far values no axis."""
    real, synthetic = table(0), table(1)
    changed = real.copy()
    changed.loc[0, ["two", "size", "level"]] = [7, 1e6, 500]
    changed["code"] = [f"c{i}" for i in range(80)]
    page = shared(real, synthetic)
    assert shared(changed, synthetic) == page
    assert "<small>categorical</small>" in page and "<small>continuous</small>" in page
