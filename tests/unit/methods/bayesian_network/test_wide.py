"""Networks of many columns: memory bounded whatever the cores, candidates screened, few passes planned at once."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from raysynth import BayesianNetworkSynthesizer
from raysynth.methods.bayesian_network import search
from raysynth.methods.bayesian_network.counting import SetCounts, all_subsets
from raysynth.methods.bayesian_network.edge_rules import edge_rules
from raysynth.methods.bayesian_network.scores import SetScores


def chain(n_columns: int, n_rows: int, n_codes: int = 4) -> np.ndarray:
    """Codes (N, C): each column follows the one before it in seven rows of ten."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, n_codes, (n_rows, n_columns))
    for c in range(1, n_columns):
        codes[:, c] = np.where(rng.random(n_rows) < 0.7, codes[:, c - 1], codes[:, c])
    return codes


def test_a_chain_of_many_columns_is_found_among_screened_partners(count_of):  # type: ignore[no-untyped-def]
    codes = chain(40, 2_000)
    names = [f"c{c}" for c in range(40)]
    scores = SetScores(SetCounts(count_of(codes, [4] * 40), [4] * 40, len(codes)), "bdeu")
    rules = edge_rules(names, required=[("c0", "c39")])
    search.start_counts(scores, rules)
    allowed_CC = search.screened(scores, rules).allowed_CC
    assert allowed_CC.sum(axis=0).max() < 40 and allowed_CC[0, 39] and not allowed_CC[39, 0]
    found = search.hill_climb(scores, rules)
    edges = {frozenset((p, c)) for c, own in enumerate(found.parents) for p in own}
    assert {frozenset((c, c + 1)) for c in range(39)} <= edges and 0 in found.parents[39]


def test_tables_of_many_sets_come_in_batches(count_of, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    codes = chain(12, 500)
    monkeypatch.setattr("raysynth.methods.bayesian_network.counting.BATCH_CELLS", 1_000)
    monkeypatch.setattr("raysynth.methods.bayesian_network.counting.GREEDY_SETS", 0)
    counts = SetCounts(count_of(codes, [4] * 12), [4] * 12, len(codes), kept_bytes=0)
    met = set()
    for mask, table in counts.visit(all_subsets(12, 2)):
        a, b = [c for c in range(12) if mask >> c & 1]
        np.testing.assert_array_equal(table, np.bincount(codes[:, a] * 4 + codes[:, b], minlength=16).reshape(4, 4))
        met.add(mask)
    assert met == set(all_subsets(12, 2)) and counts.n_passes == 2  # 66 tables of 16 cells, 62 at a time


def test_a_fit_takes_as_much_memory_on_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(1_500)
    table = pd.DataFrame({f"n{c}": x * (c % 3) + rng.standard_normal(1_500) for c in range(9)})
    models, peaks = [], []
    for cores in (1, 64):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        tracemalloc.start()
        models.append(BayesianNetworkSynthesizer(seed=0, verbose=False, restarts=0).fit(table))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert models[0].edges_ == models[1].edges_
    assert peaks[1] < 1.3 * peaks[0] and peaks[1] < 400 << 20


def test_tables_are_bounded_by_rows_but_required_edges_are_not() -> None:
    names, cards = ["a", "b", "c"], [400, 400, 400]
    rules = edge_rules(names)
    assert rules.bounded(cards, 1_000).max_cells == 65_536
    assert rules.bounded(cards, 300_000).max_cells == 300_000
    assert rules.bounded(cards, 10**9).max_cells == 1_000_000
    assert edge_rules(names, required=[("a", "b")]).bounded(cards, 1_000).max_cells == 160_000


def test_time_of_a_fit_grows_about_as_the_pairs() -> None:
    """Processor time of 120 columns is below 8 times that of 40 (measured: 4); it was over 40 times."""
    seconds = []
    for width in (40, 120):
        table = pd.DataFrame(chain(width, 400)).astype(str).add_prefix("c")
        table.columns = [f"c{c}" for c in range(width)]
        start = time.process_time()
        BayesianNetworkSynthesizer(seed=0, verbose=False).fit(table)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 8 * seconds[0]
