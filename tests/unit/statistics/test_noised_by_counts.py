"""What a table releases where noise is drawn as zero, beside plain counts: what noise may hide goes, or stays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.dp import InsecureSeededNoise, Mechanism, PrivacyBudget, PrivacyScope
from raysynth.dp.accounting import scope as scopes
from raysynth.dp.mechanisms import counts as mechanism
from raysynth.dp.mechanisms.counts import stability_threshold
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import noised
from raysynth.statistics.noised import NoisedColumn, release_statistics
from raysynth.statistics.public_schema import as_declared

N = 20_000


@pytest.fixture(autouse=True)
def no_noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def exact(values: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
        return np.asarray(values, float)

    monkeypatch.setattr(noised, "noised_counts", exact)
    monkeypatch.setattr(mechanism, "noised_counts", exact)
    monkeypatch.setattr(scopes, "noised_count", lambda n, *_, **__: n)
    yield


def released(
    column: ColumnSchema, values: Any, k: int = 1, epsilon: float = 1.0
) -> tuple[NoisedColumn, float, PrivacyScope]:
    """The column, the deviation that its counts are said to have, and what was charged."""
    scope = PrivacyScope(PrivacyBudget(epsilon, 1e-5), rows_per_unit=k, noise=InsecureSeededNoise(0))
    schema = TableSchema((column,))
    table = as_table(pd.DataFrame({column.name: values}), min_rows=0)
    found = value_of(lambda: release_statistics(as_declared(table, schema), schema, scope, share=0.5))
    (event, *_) = [e for e in scope.ledger if e.mechanism is Mechanism.DISCRETE_GAUSSIAN]
    assert event.noise_multiplier is not None and found.n_rows == len(values)
    return found.columns[column.name], event.noise_multiplier * k, scope


def text(n_missing: int, *values: tuple[str, int]) -> list[str | None]:
    return [None] * n_missing + [v for v, n in values for _ in range(n)]


CLASS = ColumnSchema("c", Kind.CATEGORICAL, "string", categories=("a", "b", "never"))


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("beyond", [-1, 1])
def test_few_missing_and_other_values_are_taken_for_noise(beyond: int, k: int) -> None:
    """Below three standard deviations; their rows go to the others, in equal parts. What is seen stays."""
    _, sigma, _ = released(CLASS, text(0, ("a", 10)), k)
    few = round(3 * sigma) + beyond
    values = text(few, ("a", 9000), ("b", 6000), ("other", few))
    column, again, scope = released(CLASS, values, k)
    assert again == sigma and [e.sensitivity for e in scope.ledger] == [k, k]
    counts = column.categories().value
    assert counts.values == ("a", "b", "never") and counts.n_distinct == 3
    if beyond > 0:
        assert (column.missing, counts.missing, counts.other, counts.complete) == (few, few, few, False)
        assert counts.counts.tolist() == [9000, 6000, 0]
        return
    assert (column.missing, counts.missing, counts.other, counts.complete) == (0, 0, 0, True)
    assert counts.counts.tolist() == pytest.approx([9000 + 2 * few / 3, 6000 + 2 * few / 3, 2 * few / 3])
    whole, _, _ = released(ColumnSchema("c", Kind.CATEGORICAL, "string", False, categories=("a", "b")), values, k)
    assert whole.missing == 0


def test_true_and_false_have_no_other_value() -> None:
    column, _, _ = released(
        ColumnSchema("c", Kind.BOOLEAN, "bool"), pd.array([True] * 900 + [False] * 600 + [None] * 500, dtype="boolean")
    )
    counts = column.categories().value
    assert (counts.values, counts.counts.tolist(), counts.missing, counts.other) == ((False, True), [600, 900], 500, 0)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("more", [-1, 0])
def test_values_that_nobody_declared_are_named_from_the_threshold_on(more: int, k: int) -> None:
    """Of numbers; a tenth of delta is for all of them, a k-th of it for each of a unit's values."""
    open_ = ColumnSchema("c", Kind.CATEGORICAL, "int64", False)
    _, sigma, scope = released(open_, np.arange(50), k)
    (named,) = [e for e in scope.ledger if e.mechanism is Mechanism.APPROXIMATE]
    assert named.delta == pytest.approx(1e-6) and named.epsilon == 0
    least = math.ceil(stability_threshold(sigma / k, 1e-6 / k, sensitivity=k))
    values = np.repeat([7, 9, 5, 4, 3], [3000, least + more, 8000, 9, 1])
    column, _, _ = released(open_, values, k)
    counts = column.categories().value
    expected = [(5, 8000), (7, 3000), (9, least)] if more == 0 else [(5, 8000), (7, 3000)]
    left = len(values) - sum(n for _, n in expected)
    of_left = math.hypot(sigma * math.sqrt(len(expected)), sigma, scope.row_count_sigma)
    assert counts.values == tuple(v for v, _ in expected)
    if left > 3 * of_left:
        assert counts.counts.tolist() == [n for _, n in expected] and counts.other == left and not counts.complete
    else:
        assert counts.counts.sum() == pytest.approx(len(values)) and counts.complete and counts.other == 0


def test_an_open_column_of_which_nothing_may_be_named_has_a_public_value() -> None:
    column, _, _ = released(ColumnSchema("c", Kind.CATEGORICAL, "int64", False), np.arange(400))
    counts = column.categories().value
    assert (counts.values, counts.counts.tolist(), counts.complete) == ((0,), [400.0], True)


@pytest.mark.parametrize("k", [1, 2])
def test_numbers_in_a_declared_short_range_are_counted_by_value(k: int) -> None:
    """A value of each whole number; the ends keep five rows, and all rows are there."""
    bounded = ColumnSchema("c", Kind.CONTINUOUS, "int64", bounds=(0, 9), decimals=0)
    values = np.concatenate([np.repeat(np.arange(2, 9), 2500), np.full(40, 99), np.full(60, -5)])
    column, _, scope = released(bounded, pd.array(values, dtype="Int64"), k, epsilon=8.0)
    cells = column.distribution().value
    assert (cells.low[0], cells.high[-1], column.missing) == (0, 9, 0)
    assert cells.counts.sum() == pytest.approx(len(values)) and cells.decimals == 0
    middle = {float(a): n for a, b, n in zip(cells.low, cells.high, cells.counts, strict=True) if a == b}
    assert [middle[v] for v in range(2, 9)] == pytest.approx([2500] * 7, rel=0.002)
    assert (cells.counts[0], cells.counts[-1]) == pytest.approx((60, 40), rel=0.01), "what lies beyond is at the ends"
    histogram = next(e for e in scope.ledger if e.released == "histogram of 'c'")
    assert histogram.sensitivity == k


def test_missing_numbers_are_seen_beyond_three_deviations_and_some_number_is_there() -> None:
    bounded = ColumnSchema("c", Kind.CONTINUOUS, "int64", bounds=(0, 9), decimals=0)
    _, sigma, _ = released(bounded, pd.array([1, 2], dtype="Int64"))
    for n, seen in ((math.floor(3 * sigma), 0), (math.floor(3 * sigma) + 1, math.floor(3 * sigma) + 1)):
        column, _, _ = released(bounded, pd.array([None] * n + [4] * 5000, dtype="Int64"))
        assert column.missing == column.distribution().value.missing == seen
    nothing, _, _ = released(bounded, pd.array([None] * 3000, dtype="Int64"))
    assert nothing.missing == 2999.5 and nothing.distribution().value.counts.sum() == pytest.approx(0.5)


def test_of_keys_and_personal_values_only_whether_they_are_there_is_counted() -> None:
    personal = ColumnSchema("c", Kind.PERSONAL, "string", personal="email")
    column, _, scope = released(personal, text(700, ("x@y.org", 1300)))
    assert (column.missing, column.counts, column.numbers) == (700, None, None)
    assert [e.released for e in scope.ledger] == ["counts of 'c'", "number of rows"]
    key = ColumnSchema("c", Kind.IDENTIFIER, "int64")
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(0))
    schema = TableSchema((key,))
    found = release_statistics(as_table(pd.DataFrame({"c": range(50)})), schema, scope, share=0.5)
    assert (found.n_rows, found.columns) == (50, {}) and [e.released for e in scope.ledger] == ["number of rows"]
