"""Stored codes: counts by shares of the rows are the counts of all rows."""

from __future__ import annotations

import tempfile
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth import BayesianNetworkSynthesizer
from raysynth.data import fragments
from raysynth.fitting import code_store
from raysynth.fitting.code_store import CodeStore, _even_shares
from raysynth.statistics.contingency import ContingencyCounts


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 7))
def test_shares_are_all_rows_in_order_and_even(sizes: list[int], n: int) -> None:
    codes_CN = np.arange(2 * sum(sizes)).reshape(2, -1)
    shares = _even_shares(np.split(codes_CN, np.cumsum(sizes)[:-1], axis=1), n)
    rows = [sum(part.shape[1] for part in share) for share in shares]
    empty = np.empty((2, 0), int)
    np.testing.assert_array_equal(np.concatenate([empty, *(p for s in shares for p in s)], axis=1), codes_CN)
    assert len(shares) == n and max(rows) - min(rows) <= 1


@pytest.mark.parametrize("n_parts", [1, 3])
def test_counts_are_those_of_one_pass(n_parts: int) -> None:
    rng = np.random.default_rng(0)
    cardinalities, sets = (3, 4, 5), [(0, 1), (1, 2), (0, 1, 2)]
    codes_CN = np.stack([rng.integers(0, k, 5_000).astype(np.uint8) for k in cardinalities])
    whole = ContingencyCounts(cardinalities, sets)
    whole.update_codes(codes_CN.T)
    found = CodeStore(cardinalities, np.array_split(codes_CN, n_parts, axis=1)).count(sets)
    for columns in sets:
        np.testing.assert_array_equal(found[columns], whole.tables[columns])


def test_tables_and_their_memory_do_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cardinalities = [1000] * 12
    codes_CN = rng.integers(0, 1000, (12, 2_000)).astype(np.uint16)
    sets = list(combinations(range(12), 2))  # 66 tables of 8 MB
    found, peaks = [], []
    for cores in (1, 64):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        tracemalloc.start()
        found.append(CodeStore(cardinalities, [codes_CN]).count(sets))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    for columns in sets:
        np.testing.assert_array_equal(found[0][columns], found[1][columns])


def test_few_tables_are_counted_by_rows_on_many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    codes_CN = np.random.default_rng(0).integers(0, 5, (2, 1_000)).astype(np.uint8)
    [table] = CodeStore([5, 5], np.array_split(codes_CN, 3, axis=1)).count([(0, 1)]).values()
    np.testing.assert_array_equal(table, np.bincount(codes_CN[0] * 5 + codes_CN[1], minlength=25).reshape(5, 5))


def test_codes_in_files_give_the_model_of_codes_in_memory_and_go_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    a = rng.integers(0, 4, 3_000)
    rows = pd.DataFrame({"a": a, "b": (a + rng.integers(0, 2, 3_000)) % 4, "c": rng.normal(size=3_000) + a})
    in_memory = BayesianNetworkSynthesizer(seed=0, verbose=False).fit(rows).sample(200, seed=1)
    for name in ("_BLOCK_ROWS", "_FEWEST_ROWS"):
        monkeypatch.setattr(fragments, name, 700)  # five files
    monkeypatch.setattr(code_store, "IN_MEMORY_CELLS", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    saved: list[str] = []
    save = np.save
    monkeypatch.setattr(np, "save", lambda path, codes: saved.append(str(path)) or save(path, codes))
    in_files = BayesianNetworkSynthesizer(seed=0, verbose=False).fit(rows).sample(200, seed=1)
    pd.testing.assert_frame_equal(in_files, in_memory)
    assert len(saved) == 5 and all(path.startswith(str(tmp_path)) for path in saved)
    assert list(tmp_path.iterdir()) == []
