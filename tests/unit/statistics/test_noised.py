"""The statistics door under a budget: only noised values, each row in one cell, no error from a row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.dp import InsecureSeededNoise, Mechanism, PrivacyBudget, PrivacyScope
from raysynth.dp.accounting.ledger import laplace
from raysynth.encoding.numeric import build_bins
from raysynth.errors import SchemaError
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.cell_counts import CellCounts, DomainCells, NumberCells, OpenCells, PresenceCells
from raysynth.statistics.noised import NoisedColumn, NoisedStatistics, public_cells, release_statistics
from raysynth.statistics.public_schema import as_declared, public_schema
from raysynth.statistics.released import CategoryCounts, Noised, NumericDistribution

ROWS = 4000


def frame(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, ROWS),
            "gain": np.where(rng.random(ROWS) < 0.9, 0, rng.integers(1, 50_000, ROWS)),
            "job": rng.choice(["nurse", "baker", "clerk"], ROWS, p=[0.6, 0.3, 0.1]),
            "score": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(100, 15, ROWS)),
            "smokes": rng.random(ROWS) < 0.3,
        }
    )


SCHEMA = TableSchema(
    (
        ColumnSchema("age", Kind.CONTINUOUS, "int64", bounds=(0, 120), nullable=False),
        ColumnSchema("gain", Kind.CONTINUOUS, "int64", bounds=(0, 99_999), nullable=False),
        ColumnSchema("job", Kind.CATEGORICAL, "string", categories=("nurse", "baker", "clerk", "king")),
    )
)


def released(
    data: pd.DataFrame, schema: TableSchema | None = None, epsilon: float = 20.0, public_types: bool = False
) -> tuple[NoisedStatistics, PrivacyScope]:
    table = as_table(data)
    public = public_schema(table, schema, {}, public_types=public_types)
    scope = PrivacyScope(PrivacyBudget(epsilon, 1e-5), noise=InsecureSeededNoise(0))
    return value_of(lambda: release_statistics(as_declared(table, public), public, scope, share=0.5)), scope


def test_every_column_comes_noised_with_its_event_in_the_ledger() -> None:
    statistics, scope = released(frame(), SCHEMA)
    for name, column in statistics.columns.items():
        value = column.distribution() if name in ("age", "gain", "score") else column.categories()
        assert isinstance(value, Noised)
        assert any(e.released == value.event.released for e in scope.ledger)
    assert [e.composition for e in scope.ledger].count("basic") == 1


def test_figures_are_near_the_exact_ones_at_a_large_epsilon() -> None:
    data = frame()
    statistics, _ = released(data, SCHEMA)
    age = statistics.columns["age"].distribution().value
    assert age.mean == pytest.approx(data["age"].mean(), abs=1.0)
    gain = statistics.columns["gain"].distribution().value
    assert gain.counts[(gain.low == 0) & (gain.high == 0)] == pytest.approx((data["gain"] == 0).sum(), abs=100)
    jobs = statistics.columns["job"].categories().value
    assert dict(zip(jobs.values, jobs.counts, strict=True))["baker"] == pytest.approx(1200, abs=120)
    assert statistics.columns["score"].missing == pytest.approx(400, abs=120)
    score = statistics.columns["score"].distribution().value
    assert score.quantile(np.array([0.5]))[0] == pytest.approx(100, abs=4)
    assert 32 <= score.low[0] <= 80 and 120 <= score.high[-1] <= 192
    assert age.decimals == 0 and score.decimals is None


def test_a_declared_domain_and_range_come_back_whatever_the_rows_hold() -> None:
    for data in (frame(), frame().assign(job="nurse", age=10**9), frame().assign(job="emperor", gain=-5)):
        statistics, _ = released(data, SCHEMA)
        assert statistics.columns["job"].categories().value.values == ("nurse", "baker", "clerk", "king")
        age = statistics.columns["age"].distribution().value
        assert (age.low[0], age.high[-1]) == (0, 120)


@pytest.mark.parametrize("seed", range(5))
def test_the_ends_of_a_declared_short_range_stay_when_noise_hides_their_rows(seed: int) -> None:
    """Nobody is at either end, and noise alone would take one of them away in three seeds of four."""
    data = pd.DataFrame({"years": np.full(ROWS, 8), "job": "nurse"})
    schema = TableSchema(
        (
            ColumnSchema("years", Kind.CONTINUOUS, "int64", bounds=(1, 16), nullable=False),
            ColumnSchema("job", Kind.CATEGORICAL, "string", categories=("nurse", "baker")),
        )
    )
    table = as_table(data)
    public = public_schema(table, schema, {})
    scope = PrivacyScope(PrivacyBudget(0.1, 1e-5), noise=InsecureSeededNoise(seed))
    statistics = release_statistics(as_declared(table, public), public, scope, share=0.5)
    years = statistics.columns["years"].distribution().value
    assert (years.low[0], years.high[-1]) == (1, 16)
    assert years.counts[0] > 0 and years.counts[-1] > 0
    assert years.total == pytest.approx(statistics.n_rows)
    encoder = build_bins(public["years"], years, rare_threshold=1, n_bins=40)
    assert (encoder.distribution.low[0], encoder.distribution.high[-1]) == (1, 16)


@pytest.mark.statistical
def test_a_value_of_one_row_is_not_named() -> None:
    """Chance of a false alarm: the delta of the selection, 1e-6; numbers have as much for single values of theirs."""
    data = frame()
    data.loc[0, "job"] = "spy"
    statistics, scope = released(data)
    assert "spy" not in statistics.columns["job"].categories().value.values
    stable = [e for e in scope.ledger if e.mechanism is Mechanism.APPROXIMATE]
    assert not any(e.epsilon for e in stable) and sum(e.delta or 0 for e in stable) == pytest.approx(2e-6)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([np.inf] * ROWS),
        pd.Series([np.nan] * ROWS),
        pd.Series([1e308, -1e308] * (ROWS // 2)),
        pd.Series([0.0] * ROWS),
    ],
)
def test_no_number_raises(column: pd.Series) -> None:
    statistics, _ = released(frame().assign(score=column))
    assert np.isfinite(statistics.columns["score"].distribution().value.low).all()


@pytest.mark.statistical
@pytest.mark.parametrize("declared", [False, True])
def test_complete_columns_get_neither_missing_nor_nameless_values_from_noise(declared: bool) -> None:
    """Ten runs of three columns: by chance one noised zero in 44 lies beyond two standard deviations."""
    missing, nameless = [], []
    for seed in range(10):
        table = as_table(frame(seed)[["age", "gain", "job"]])
        public = public_schema(table, SCHEMA if declared else None, {}, public_types=True)
        scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(seed))
        columns = release_statistics(as_declared(table, public), public, scope, share=0.5).columns
        missing += [column.missing for column in columns.values()]
        nameless.append(columns["job"].categories().value.other)
    assert np.count_nonzero(missing) <= 3 and np.count_nonzero(nameless) <= 1


def test_infinite_numbers_count_as_missing() -> None:
    data = frame()
    data.loc[data.index[:1000], "score"] = np.inf
    assert released(data)[0].columns["score"].missing == pytest.approx(
        data["score"].isin([np.inf]).sum() + 300, abs=150
    )


def test_every_row_falls_into_one_cell_of_each_column() -> None:
    """Sensitivity 1, whatever the row holds: the counts of each column add up to the rows."""
    table = as_table(
        pa.table({"t": ["a", None, "z", "b"], "x": [1.0, None, float("inf"), 9e9], "p": ["q", None, "q", "q"]})
    )
    cells = {
        "t": DomainCells(("a", "b"), pa.string()),
        "x": NumberCells(np.array([0.0, 5.0])),
        "p": PresenceCells(),
    }
    counts = CellCounts(cells)
    for block in table.blocks(list(cells)):
        counts.update(block)
    assert counts.fixed["t"].tolist() == [1, 1, 1, 1]
    assert counts.fixed["x"].tolist() == [1, 1, 2]
    assert counts.fixed["p"].tolist() == [3, 1]


def test_parts_merge_to_the_whole() -> None:
    table = as_table(frame())
    [block] = list(table.blocks(["age", "job"]))
    cells = {"age": NumberCells(np.arange(120.0)), "job": OpenCells()}
    whole, parts = CellCounts(cells), [CellCounts(cells), CellCounts(cells)]
    whole.update(block)
    parts[0].update(block.slice(0, 1234))
    parts[1].update(block.slice(1234))
    parts[0].merge(parts[1])
    assert np.array_equal(parts[0].fixed["age"], whole.fixed["age"])
    assert parts[0].open == whole.open and parts[0].n_rows == whole.n_rows == ROWS


def test_the_statistics_cost_their_share_of_the_budget() -> None:
    """Half of rho: epsilon about sqrt(1/2) of the whole, which is 0.65 to 0.75 here."""
    _, scope = released(frame(), SCHEMA, epsilon=1.0)
    assert 0.6 < scope.spent.epsilon < 0.78


def test_each_column_pays_by_its_public_cells_for_all_that_it_releases() -> None:
    """In rho; a column without declared bounds pays for its range, too."""
    schema = public_schema(as_table(frame()), SCHEMA, {})
    _, scope = released(frame(), SCHEMA, epsilon=1.0)
    rho: Counter[str] = Counter()
    for event in scope.ledger:
        if event.noise_multiplier is not None:
            rho[event.released.split("'")[1]] += 0.5 / event.noise_multiplier**2  # type: ignore[assignment]
    assert set(rho) == set(frame())
    each = [rho[c.name] / public_cells(c) ** (2 / 3) for c in schema.columns]
    assert each == pytest.approx([each[0]] * 5, rel=0.03)


def test_whether_a_few_rows_widen_the_range_is_up_to_noise() -> None:
    """As many as the noise is strong where it decides: a third of draws do."""
    sigma = next(e.noise_multiplier for e in released(frame())[1].ledger if e.released == "range of 'score'")
    assert sigma is not None
    data = frame().assign(score=np.where(np.arange(ROWS) < round(3.3 * sigma), 1500.0, 100.0))
    schema = public_schema(as_table(data), None, {})
    widest = set()
    for seed in range(20):
        scope = PrivacyScope(PrivacyBudget(20.0, 1e-5), noise=InsecureSeededNoise(seed))
        statistics = release_statistics(as_declared(as_table(data), schema), schema, scope, share=0.5)
        widest.add(bool(statistics.columns["score"].distribution().value.high[-1] > 1000))
    assert widest == {False, True}


def test_the_public_schema_does_not_depend_on_rows() -> None:
    """Whole or not, missing or not, one value or many: the same schema."""
    data = frame()
    with_missing = data.assign(age=data["age"].where(data.index != 5), job="nurse")
    first, second = (public_schema(as_table(d), None, {}) for d in (data, with_missing))
    assert first.to_dict() == second.to_dict()
    assert all(c.nullable for c in first.columns)
    assert first["age"].dtype == "double"


def test_types_can_be_declared_public() -> None:
    schema = public_schema(as_table(frame()), None, {}, public_types=True)
    assert (schema["age"].dtype, schema["age"].decimals) == ("int64", 0)
    assert schema["score"].decimals is None


def test_cells_of_a_column_are_counted_by_what_is_declared_of_it() -> None:
    """What is open - a range, a list - takes thirty counts; a declared list one for each value and for any other."""
    open_number = ColumnSchema("x", Kind.CONTINUOUS, "double")
    listed = ColumnSchema("c", Kind.CATEGORICAL, "string", categories=("a", "b", "c"))
    short = ColumnSchema("n", Kind.CONTINUOUS, "int64", bounds=(0, 9))
    assert public_cells(open_number) == public_cells(ColumnSchema("c", Kind.CATEGORICAL, "string")) == 30
    assert public_cells(listed) == 4 and public_cells(ColumnSchema("k", Kind.IDENTIFIER, "string")) == 1
    assert public_cells(short) == 10


def test_what_a_column_did_not_release_is_refused_by_name() -> None:
    shares = Noised(CategoryCounts(("a",), np.array([3]), 0.0, 1), laplace("x", 1.0))
    cells = Noised(NumericDistribution(*np.zeros((2, 1)), np.ones(1), 0.0, 0.0, 1.0, 0, True, 0.0), laplace("x", 1.0))
    categories, number = NoisedColumn("c", 9, 0.0, counts=shares), NoisedColumn("n", 9, 0.0, numbers=cells)
    assert value_of(categories.categories) is shares and value_of(number.distribution) is cells
    with pytest.raises(SchemaError, match="'n' released no counts"):
        number.categories()
    with pytest.raises(SchemaError, match="'c' released no distribution"):
        categories.distribution()


@pytest.mark.parametrize("nullable", [False, True])
def test_the_rows_of_a_number_are_known_as_well_as_all_rows_and_missing_ones_are(
    nullable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without missing values by the noise of the table's rows alone."""
    known: list[tuple[float, float]] = []

    def shown(noised: np.ndarray, sigma: float, total: float, total_sigma: float, **_: float) -> tuple[int, int]:
        known.append((sigma, total_sigma))
        return 0, len(noised)

    monkeypatch.setattr("raysynth.statistics.noised.interval_shown", shown)
    schema = TableSchema((ColumnSchema("age", Kind.CONTINUOUS, "int64", nullable=nullable),))
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(0))
    release_statistics(as_declared(as_table(frame()[["age"]]), schema), schema, scope, share=0.5)
    (sigma, total_sigma) = known[-1]
    assert total_sigma == pytest.approx(np.hypot(scope.row_count_sigma, sigma if nullable else 0.0))
