"""Vulnerable records are the outliers."""

from __future__ import annotations

import pandas as pd

from raysynth.privacy import vulnerable_records


def test_a_planted_outlier_comes_first(real: pd.DataFrame) -> None:
    table = real.copy()
    table.loc[17, ["age", "income", "city"]] = [400.0, 1.0, "nowhere"]
    assert vulnerable_records(table, 3)[0] == 17
    assert len(vulnerable_records(table, 5)) == 5
