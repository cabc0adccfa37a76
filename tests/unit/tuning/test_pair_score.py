"""The score of a private selection: its value by hand, and its sensitivity by brute force on tiny tables."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from raysynth.data.table import as_table
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.fitting.method import OpenedTable
from raysynth.fitting.opening import open_privately
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.tuning.private_plan import SCORE_BINS, CoarseCells, pair_score, score_sensitivity

ROWS = [(a, b, c) for a in range(2) for b in range(2) for c in range(3)]  # every row that there can be
PAIRS = [(0, 1), (0, 2), (1, 2)]


def counts(rows: list[tuple[int, ...]]) -> dict[tuple[int, ...], np.ndarray]:
    tables: dict[tuple[int, ...], np.ndarray] = {pair: np.zeros((3, 3)) for pair in PAIRS}
    for row, (i, j) in itertools.product(rows, PAIRS):
        tables[i, j][row[i], row[j]] += 1
    return tables


def test_no_row_changes_the_score_by_more_than_its_sensitivity_and_one_does() -> None:
    """Every table of 0 to 3 rows of 12 kinds, every row added to it, three noised numbers of rows."""
    rng = np.random.default_rng(0)
    synthetic = counts([ROWS[i] for i in rng.integers(len(ROWS), size=7)])
    largest = dict.fromkeys((1, 3, 10), 0.0)
    for size in range(4):
        for rows in itertools.combinations_with_replacement(ROWS, size):
            first = counts(list(rows))
            for row in ROWS:
                second = counts([*rows, row])
                for n in largest:
                    change = abs(pair_score(first, n, synthetic) - pair_score(second, n, synthetic))
                    largest[n] = max(largest[n], change)
    for n, change in largest.items():
        assert change <= score_sensitivity(n) * (1 + 1e-9)
        assert change >= 0.95 * score_sensitivity(n), "and the bound is no looser than it must be"


def test_equal_rows_score_one_and_disjoint_ones_zero() -> None:
    a, b = counts([(0, 0, 0)] * 4), counts([(1, 1, 1)] * 9)
    assert pair_score(a, 4, a) == 1 and pair_score(a, 4, b) == pytest.approx(0)


@pytest.fixture(scope="module")
def opened() -> OpenedTable:
    rng = np.random.default_rng(0)
    letters = [chr(97 + i) for i in range(20)]
    data = pd.DataFrame({"x": rng.normal(size=2000), "c": rng.choice(letters, 2000), "b": rng.random(2000) < 0.3})
    declared = TableSchema((ColumnSchema("c", Kind.CATEGORICAL, "string", categories=tuple(letters)),))
    scope = PrivacyScope(PrivacyBudget(10.0, 1e-5))
    return open_privately(as_table(data), declared, {}, scope, public_types=False)


def test_columns_have_few_cells_and_every_row_stands_in_one_of_each_pair(opened: OpenedTable) -> None:
    cells = CoarseCells.of(opened)
    assert max(cells.cardinalities) <= SCORE_BINS and len(cells.column_sets) == 3
    found = cells.count(opened.table)
    assert {int(t.sum()) for t in found.values()} == {2000}
    shares = found[0, 2].sum(axis=1) / 2000
    assert (shares > 0.05).sum() >= 6, "bins by released quantiles, not one for nearly all rows"
