"""Single values of a number under a budget: named where many rows share them, at their cost, and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.dp import InsecureSeededNoise, Mechanism, PrivacyBudget, PrivacyScope
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.cell_counts import OpenCells
from raysynth.statistics.noised import NoisedStatistics, release_statistics
from raysynth.statistics.noised_atoms import dense_cells, joined
from raysynth.statistics.public_schema import as_declared, public_schema
from raysynth.statistics.released import NumericDistribution

ROWS = 6000
LIMIT, STEP = 10.0, 2.718281828
SCHEMA = TableSchema(
    (
        ColumnSchema("sight", Kind.CONTINUOUS, "double", bounds=(0.25, LIMIT), nullable=False),
        ColumnSchema("smooth", Kind.CONTINUOUS, "double", bounds=(-8.0, 8.0), nullable=False),
    )
)


def weather() -> pd.DataFrame:
    """Most rows at the upper limit, a fifth at a number of many digits, the others anywhere; and a smooth column."""
    rng = np.random.default_rng(0)
    sight = np.where(rng.random(ROWS) < 0.7, LIMIT, np.where(rng.random(ROWS) < 0.7, STEP, rng.uniform(0.25, 10, ROWS)))
    return pd.DataFrame({"sight": sight, "smooth": rng.normal(size=ROWS)})


def released(data: pd.DataFrame, schema: TableSchema | None, seed: int = 0) -> tuple[NoisedStatistics, PrivacyScope]:
    table = as_table(data)
    public = public_schema(table, schema, {})
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(seed))
    return value_of(lambda: release_statistics(as_declared(table, public), public, scope, share=0.2)), scope


def rows_at(numbers: NumericDistribution, value: float) -> float:
    return float(numbers.counts[(numbers.low == value) & (numbers.high == value)].sum())


@pytest.mark.parametrize("schema", [SCHEMA, None], ids=["declared", "undeclared"])
@pytest.mark.parametrize("seed", range(2))
def test_values_of_many_rows_are_named_and_their_rows_are_near_the_exact_ones(
    schema: TableSchema | None, seed: int
) -> None:
    """Noise of about 60 rows; with intervals alone no row was at either value."""
    data = weather()
    columns = released(data, schema, seed)[0].columns
    sight, smooth = (columns[n].distribution().value for n in data)
    for value in (LIMIT, STEP):
        assert rows_at(sight, value) == pytest.approx((data["sight"] == value).sum(), abs=300)
    assert sight.total == pytest.approx(ROWS, rel=0.05)
    assert (sight.low <= sight.high).all() and (sight.high[:-1] <= sight.low[1:]).all()
    named = smooth.low[(smooth.low == smooth.high) & (smooth.counts > 0)]
    assert set(named) <= {0.0, -8.0, 8.0}


def test_it_is_charged_whether_or_not_a_value_stands_out() -> None:
    smooth = weather().assign(sight=lambda d: np.linspace(0.25, LIMIT, len(d)))
    first, second = (released(data, SCHEMA)[1].ledger for data in (weather(), smooth))
    described = [[(e.mechanism, e.released, e.noise_multiplier, e.delta) for e in own] for own in (first, second)]
    assert described[0] == described[1]
    assert "rows of single values of 'sight'" in {e.released for e in first}
    naming = [e for e in first if e.mechanism is Mechanism.APPROXIMATE]
    assert len(naming) == 2 and sum(e.delta for e in naming) == pytest.approx(1e-6)


def test_a_value_of_few_rows_is_not_named_though_its_interval_is_dense() -> None:
    """Chance of a false alarm below 1e-6: 40 rows lie more than three standard deviations below the threshold."""
    data = weather()
    data.loc[:39, "sight"] = 7.7777777
    assert rows_at(released(data, SCHEMA)[0].columns["sight"].distribution().value, 7.7777777) == 0


def histogram(counts: list[float]) -> NumericDistribution:
    edges = np.arange(len(counts) + 1.0)
    return NumericDistribution(edges[:-1], edges[1:], np.array(counts), 0.0, 0.0, 1.0, None, False, 0.1)


def test_intervals_denser_than_their_neighbours_are_looked_into() -> None:
    assert dense_cells(histogram([10, 90, 10, 20, 25, 20]), 15.0).tolist() == [1]
    assert dense_cells(histogram([10, 90, 10, 20, 25, 20]), 100.0).tolist() == []


def test_both_releases_agree_by_inverse_variance_and_the_rest_stays_around_the_value() -> None:
    """1,000 rows by noise of 30 and 940 by noise of 60: a fifth of the difference is the second one's."""
    pure = joined(histogram([5, 1000, 5]), np.array([1.25]), np.array([940.0]), 30.0, 60.0)
    assert pure.low.tolist() == [0, 1.25, 2] and pure.counts.tolist() == pytest.approx([5, 1000, 5])
    mixed = joined(histogram([5, 1000, 5]), np.array([1.25]), np.array([600.0]), 30.0, 60.0)
    assert mixed.counts.tolist() == pytest.approx([5, 100, 600, 300, 5])
    assert mixed.low[2] == mixed.high[2] == 1.25 and mixed.high[1] < 1.25 < mixed.low[3]


def cells_of(edges: list[float], counts: list[float]) -> NumericDistribution:
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    return NumericDistribution(low, high, np.array(counts), 0.0, 0.0, 1.0, None, False, 0.0)


def test_dense_intervals_are_those_three_times_as_dense_as_both_neighbours_together() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        n = int(rng.integers(1, 9))
        edges = np.cumsum(rng.choice([0.0, 0.5, 1.0, 2.0], n + 1, p=[0.1, 0.3, 0.3, 0.3])).tolist()
        counts = rng.choice([10.0, 20.0, 60.0, 90.0], n).tolist()
        expected = []
        for i in range(n):
            beside = [j for j in (i - 1, i + 1) if 0 <= j < n]
            rows, width = sum(counts[j] for j in beside), sum(edges[j + 1] - edges[j] for j in beside)
            own = edges[i + 1] - edges[i]
            if own > 0 and counts[i] >= 20 and counts[i] * width >= 3 * rows * own:
                expected.append(i)
        assert dense_cells(cells_of(edges, counts), 20.0).tolist() == expected


@pytest.mark.parametrize(
    ("own", "sigmas", "parts"),
    [
        # 100 rows from 1 to 3: 60 have the value 2, and 40 are beside it, more than three standard deviations
        ([60.0], (3.0, 4.0), [(1, 2, 20), (2, 2, 60), (2, 3, 20)]),
        # 10 are not: of them the value takes the share of its variance, 16 of 25, and with the others it has all rows
        ([90.0], (3.0, 4.0), [(2, 2, 100)]),
        ([110.0], (3.0, 4.0), [(2, 2, 100)]),
    ],
)
def test_values_are_cut_out_of_their_interval(
    own: list[float], sigmas: tuple[float, float], parts: list[tuple[float, float, float]]
) -> None:
    numbers = cells_of([0.0, 1.0, 3.0, 4.0], [7.0, 100.0, 9.0])
    found = value_of(lambda: joined(numbers, np.array([2.0]), np.array(own), *sigmas))
    expected = [(0.0, 1.0, 7.0), *parts, (3.0, 4.0, 9.0)]
    np.testing.assert_allclose(np.stack([found.low, found.high, found.counts], 1), expected)
    beside = max(c for a, b, c in expected if a < b) / sum(c for *_, c in expected)
    assert found.rank_error == pytest.approx(beside) and not found.exact


def test_two_values_of_one_interval_share_its_rows_by_what_each_was_counted() -> None:
    numbers = cells_of([1.0, 3.0], [100.0])
    found = value_of(lambda: joined(numbers, np.array([1.0, 2.0]), np.array([40.0, 50.0]), 3.0, 4.0))
    more = 10 * 16 / (9 + 2 * 16)
    rows = np.array([40 + more, 50 + more])
    np.testing.assert_allclose(found.counts, rows * 100 / rows.sum())
    assert found.low.tolist() == found.high.tolist() == [1.0, 2.0] and found.exact and found.rank_error == 0
    wide = value_of(lambda: joined(numbers, np.array([1.0, 2.0]), np.array([20.0, 30.0]), 3.0, 4.0))
    np.testing.assert_allclose(wide.counts, [20.0, 25.0, 30.0, 25.0])
    assert wide.low.tolist() == [1.0, np.nextafter(1.0, 2), 2.0, np.nextafter(2.0, 3)]


def test_values_that_count_are_those_in_the_intervals_asked_for() -> None:
    """Their first end belongs to each, the other does not; all count where none is asked for."""
    x = pa.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 2.5, None, float("nan"), float("inf")])
    some = OpenCells(np.array([-1.0, 1.0]), np.array([0.5, 2.5]))
    assert value_of(lambda: some.counted(x)).to_pylist() == [-1.0, 0.0, 1.0, 2.0]
    assert value_of(lambda: OpenCells().counted(x)) is x
