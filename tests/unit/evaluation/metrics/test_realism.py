"""What telling the tables apart gives, in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation.evaluate import read_rows
from raysynth.evaluation.metrics.realism import METRIC, two_sample_test


def _told(real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[float, str]:
    rows = read_rows(pair_tables(real, synthetic), 0)
    found = two_sample_test(rows["real"], rows["synthetic"])
    (line,) = METRIC.lines(found)
    return found.auc.value, line.note


def test_tables_of_the_same_shares_lie_below_one_half_and_are_explained() -> None:
    rng = np.random.default_rng(0)
    real = pd.DataFrame({c: rng.integers(0, 12, 600) for c in "abcdefgh"})
    same = real.apply(lambda column: rng.permutation(column.to_numpy()))
    value, meaning = _told(real, same)
    assert value < 0.48 and "than chance" in meaning


def test_fresh_rows_are_not_explained_by_shares() -> None:
    rng = np.random.default_rng(1)
    fresh = [pd.DataFrame({c: rng.integers(0, 12, 1_200) for c in "abcd"}) for _ in range(2)]
    assert _told(*fresh)[1] == "0.5: cannot be told apart"
