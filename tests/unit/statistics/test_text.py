"""Counts of text: exact below the cap however rows are split, bounded with a stated error above."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.statistics import text as module
from raysynth.statistics.table_statistics import BooleanSummary
from raysynth.statistics.text import TextSummary

VALUES = st.lists(st.none() | st.sampled_from(["a", "b", "nan", "", "None", "é", "a longer value than a word"]))


def summary_of(values: list[str | None], cuts: tuple[int, ...] = ()) -> TextSummary:
    edges = [0, *sorted(min(c, len(values)) for c in cuts), len(values)]
    whole = TextSummary()
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        part = TextSummary()
        part.update(pa.array(values[start:end], pa.string()).dictionary_encode())
        whole.merge(part)
    return whole


@pytest.fixture
def small_caps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "CAP", 40)
    monkeypatch.setattr(module, "FREQUENT", 16)
    monkeypatch.setattr(module, "_SAMPLE", 12)
    yield


@given(VALUES, st.lists(st.integers(0, 50), max_size=3))
def test_counts_are_exact_for_any_split(values: list[str | None], cuts: list[int]) -> None:
    counts = summary_of(values, tuple(cuts)).categories()
    expected = Counter(v for v in values if v is not None)
    assert dict(zip(counts.values, counts.counts, strict=True)) == expected
    assert counts.missing == values.count(None)
    assert counts.complete and counts.total == len(values)
    assert list(counts.counts) == sorted(counts.counts, reverse=True)


def test_a_category_named_nan_is_a_value_and_none_is_missing() -> None:
    counts = summary_of(["nan", None, "nan", "None"]).categories()
    assert counts.values == ("nan", "None") and counts.missing == 1


def test_a_dictionary_with_repeats_and_unused_values_is_counted_by_value() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, 2, None, 2], pa.int32()), pa.array(["a", "unused", "a"]))
    summary = TextSummary()
    summary.update(array)
    assert summary.categories().values == ("a",)
    assert summary.n_distinct == 1 and summary.missing == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.integers(0, 200), min_size=150, max_size=400), st.lists(st.integers(0, 400), max_size=3))
def test_above_the_cap_the_error_is_bounded_and_the_sample_exact(
    small_caps: None, numbers: list[int], cuts: list[int]
) -> None:
    values = [f"v{min(n, 150)}" for n in numbers]  # one value is frequent
    true = Counter(values)
    summary = summary_of(list(values), tuple(cuts))
    counts = summary.categories()
    if not summary.overflowed:
        assert dict(zip(counts.values, counts.counts, strict=True)) == true
        return
    assert not counts.complete and counts.total == len(values)
    assert counts.count_error <= len(values) / module.FREQUENT
    for value, count in zip(counts.values, counts.counts, strict=True):
        assert true[value] - counts.count_error <= count <= true[value]
    frequent = {v for v, n in true.items() if n > counts.count_error}
    assert frequent <= set(counts.values)
    whole = summary_of(list(values))
    np.testing.assert_array_equal(summary.sampled.hashes, whole.sampled.hashes)
    for value, count in zip(summary.sampled.values.to_pylist(), summary.sampled.counts, strict=True):
        assert true[value] == count


@pytest.mark.parametrize("seed", range(3))
def test_above_the_cap_the_rarest_go_and_as_much_of_all_others(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many counters stay at most: the largest count that must go is taken off each."""
    monkeypatch.setattr(module, "CAP", 2000)
    monkeypatch.setattr(module, "FREQUENT", 700)
    rows = {f"v{i}": int(n) for i, n in enumerate(np.random.default_rng(seed).integers(1, 60, 2001))}
    summary = value_of(lambda: summary_of([v for v, n in rows.items() for _ in range(n)]))
    cut = sorted(rows.values())[2001 - 700 - 1]
    counts = summary.categories()
    assert counts.count_error == cut
    assert dict(zip(counts.values, counts.counts, strict=True)) == {v: n - cut for v, n in rows.items() if n > cut}
    assert counts.other == sum(rows.values()) - sum(n - cut for n in rows.values() if n > cut)


@pytest.mark.statistical
def test_a_million_unique_texts_stay_small() -> None:
    import pickle

    summary = TextSummary()
    for start in range(0, 900_000, 300_000):
        keys = pa.array([f"K{i:09d}" for i in range(start, start + 300_000)])
        summary.update(keys.dictionary_encode())
    assert summary.all_unique
    assert summary.n_distinct == pytest.approx(900_000, rel=0.05)  # six standard errors
    assert len(pickle.dumps(summary)) < 3e6
    assert len(summary.examples(1000)) == 1000


@given(st.lists(st.none() | st.booleans()), st.integers(0, 20))
def test_booleans(values: list[bool | None], cut: int) -> None:
    whole, other = BooleanSummary(), BooleanSummary()
    whole.update(pa.array(values[:cut], pa.bool_()))
    other.update(pa.array(values[cut:], pa.bool_()))
    whole.merge(other)
    counts = whole.categories()
    assert dict(zip(counts.values, counts.counts, strict=True)) == Counter(v for v in values if v is not None)
    assert counts.missing == values.count(None)
