"""Bayesian network: recovery of known networks, fit and sampling beside pgmpy, time and memory in the number of rows.

    python tests/benchmarks/bench_bayesian_network.py recovery
    python tests/benchmarks/bench_bayesian_network.py speed --data ../shared/data/adult.csv [--rows 2000000]
    python tests/benchmarks/bench_bayesian_network.py scale --data ../shared/data/adult.csv [--rows 2000000 20000000]

`recovery`: Asia, Sachs and Alarm as pgmpy ships them, 200,000 rows sampled by pgmpy; both searches maximise one BIC.
`speed`: rows sampled from a copula of the table, so that they are distinct; ours reads Parquet, pgmpy gets
the same codes (10 bins) as a frame in memory. `scale`: over a Ray that runs already, at both sizes (the smaller one
would otherwise run without it, and the ratio would compare two ways of running); peak memory is the sum of `Pss_Anon` +
`Pss_Shmem` over all processes of a run. Prints a JSON line for each figure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysynth import BayesianNetworkSynthesizer, GaussianCopula
from raysynth.methods.bayesian_network.counting import SetCounts
from raysynth.methods.bayesian_network.edge_rules import edge_rules
from raysynth.methods.bayesian_network.network import estimate
from raysynth.methods.bayesian_network.scores import SetScores
from raysynth.methods.bayesian_network.search import RESTARTS, find_structure
from raysynth.statistics.contingency import ContingencyCounts

NETWORKS = ("asia", "sachs", "alarm")
FIT = """
import sys, time, json
from raysynth import BayesianNetworkSynthesizer
from raysynth.running.ray_session import start_ray
start_ray()
begun = time.perf_counter()
model = BayesianNetworkSynthesizer(n_bins=10, score="bic", max_parents=3, seed=0, verbose=False).fit(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - begun, "bic": model.score_, "passes": model.n_passes_}))
"""


def main() -> None:
    """Run the chosen part."""
    warnings.filterwarnings("ignore")
    os.environ["RAYSYNTH_QUIET"] = "1"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("recovery", "speed", "scale"))
    parser.add_argument("--data", help="a CSV")
    parser.add_argument("--rows", type=int, nargs="+")
    options = parser.parse_args()
    if options.part == "recovery":
        for name in NETWORKS:
            print(json.dumps(recovery(name)), flush=True)
    elif options.part == "speed":
        with distinct_rows(options.data, (options.rows or [2_000_000])[0]) as folder:
            print(json.dumps(speed(folder)))
    else:
        results = []
        for rows in options.rows or [2_000_000, 20_000_000]:
            with distinct_rows(options.data, rows) as folder:
                results.append({"rows": rows, **measured(folder)})
                print(json.dumps(results[-1]), flush=True)
        first, last = results[0], results[-1]
        ratios = {f"{k}_ratio": round(last[k] / first[k], 2) for k in ("seconds", "peak_mb")}
        print(json.dumps({"rows_ratio": last["rows"] / first["rows"], **ratios}))


def recovery(name: str, n: int = 200_000) -> dict[str, Any]:
    """Structural Hamming distance to the true network and log-likelihood of rows held out, ours and pgmpy's."""
    from pgmpy.estimators import HillClimbSearch
    from pgmpy.utils import get_example_model

    truth = get_example_model(name)
    rows = truth.simulate(n + 50_000, seed=0, show_progress=False)
    names = list(rows)
    codes = np.stack([pd.Categorical(rows[c], categories=truth.states[c]).codes for c in names], 1).astype(np.uint16)
    cardinalities = [len(truth.states[c]) for c in names]
    train, test = codes[:n], codes[n:]

    def count(sets: Any) -> Any:
        counted = ContingencyCounts(cardinalities, sets)
        counted.update_codes(train)
        return counted.tables

    begun = time.perf_counter()
    counts = SetCounts(count, cardinalities, n)
    found = find_structure(
        "hill_climbing", SetScores(counts, "bic"), edge_rules(names, max_parents=4, max_cells=10**6), RESTARTS
    )
    ours = estimate(counts, found.parents, None)
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    dag = HillClimbSearch(rows[:n]).estimate(scoring_method="bic-d", max_indegree=4, show_progress=False)
    peer_seconds = time.perf_counter() - begun
    peer_parents = [sum(1 << names.index(p) for p in dag.get_parents(c)) if c in dag else 0 for c in names]
    peer = estimate(counts, peer_parents_as_lists(peer_parents, len(names)), None)
    true_edges = {(names.index(a), names.index(b)) for a, b in truth.edges()}
    return {
        "network": name,
        "shd": shd(set(ours.edges), true_edges),
        "peer_shd": shd({(names.index(a), names.index(b)) for a, b in dag.edges()}, true_edges),
        "held_out": round(float(ours.log_prob(test).mean()), 4),
        "peer_held_out": round(float(peer.log_prob(test).mean()), 4),
        "seconds": round(seconds, 2),
        "peer_seconds": round(peer_seconds, 2),
    }


def peer_parents_as_lists(masks: list[int], n: int) -> list[tuple[int, ...]]:
    """Parents as column numbers."""
    return [tuple(c for c in range(n) if mask >> c & 1) for mask in masks]


def shd(found: set[tuple[int, int]], true: set[tuple[int, int]]) -> int:
    """Structural Hamming distance of the equivalence classes: edges to add, remove or turn in the CPDAGs.

    Networks of one Markov equivalence class have the same score, so only the class can be recovered.
    """
    a, b = cpdag(found), cpdag(true)
    pairs = {frozenset(e) for e in a | b}
    return sum({e for e in a if frozenset(e) == p} != {e for e in b if frozenset(e) == p} for p in pairs)


def cpdag(edges: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Directed edges that every equivalent network has, and both directions of the others (pgmpy's `to_pdag`)."""
    from pgmpy.base import DAG

    pdag = DAG(edges).to_pdag()
    both = {(b, a) for a, b in pdag.undirected_edges} | set(pdag.undirected_edges)
    return set(pdag.directed_edges) | both


@contextmanager
def distinct_rows(data: str, rows: int) -> Iterator[Path]:
    """A Parquet folder of rows sampled from a copula of the table."""
    with tempfile.TemporaryDirectory() as name:
        model = GaussianCopula(seed=0, verbose=False).fit(data)
        model.sample_to(Path(name) / "rows", rows, seed=0)
        yield Path(name) / "rows"


def speed(folder: Path) -> dict[str, Any]:
    """Fit and BIC, ours from Parquet and pgmpy's on the same codes; sampling of both."""
    from pgmpy.estimators import HillClimbSearch
    from pgmpy.models import DiscreteBayesianNetwork

    begun = time.perf_counter()
    model = BayesianNetworkSynthesizer(n_bins=10, score="bic", max_parents=3, seed=0, verbose=False).fit(str(folder))
    seconds = time.perf_counter() - begun
    from raysynth.data.table import as_table

    codes = np.concatenate([model.encoder_.encode(b).codes_NC for f in as_table(folder).fragments for b in f.blocks()])
    frame = pd.DataFrame(codes, columns=list(model.encoder_.names)).astype("category")
    begun = time.perf_counter()
    dag = HillClimbSearch(frame).estimate(scoring_method="bic-d", max_indegree=3, show_progress=False)
    peer = DiscreteBayesianNetwork(dag.edges())
    peer.add_nodes_from(frame.columns)
    peer.fit(frame)
    peer_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    peer.simulate(100_000, show_progress=False)
    peer_rate = 1e5 / (time.perf_counter() - begun)
    names = list(model.encoder_.names)
    counts = counts_of(codes, model.encoder_.cardinalities)
    scores = SetScores(counts, "bic")
    masks = [sum(1 << names.index(p) for p in dag.get_parents(c)) if c in dag else 0 for c in names]
    scores.start([masks[i] | 1 << i for i in range(len(names))])
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        model.sample_to(Path(out) / "rows", 10_000_000, seed=0)
        rate = 1e7 / (time.perf_counter() - begun)
    return {
        "rows": len(codes),
        "fit_seconds": round(seconds, 2),
        "peer_fit_seconds": round(peer_seconds, 2),
        "times_faster": round(peer_seconds / seconds, 1),
        "bic": round(model.score_),
        "peer_bic": round(scores.total(masks)),
        "parquet_rows_per_second": round(rate),
        "peer_rows_per_second": round(peer_rate),
    }


def counts_of(codes: np.ndarray, cardinalities: tuple[int, ...]) -> SetCounts:
    """Counts of codes in memory."""

    def count(sets: Any) -> Any:
        counted = ContingencyCounts(cardinalities, sets)
        counted.update_codes(codes)
        return counted.tables

    return SetCounts(count, cardinalities, len(codes))


def measured(folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of a fit in a process of its own."""
    sys.path.insert(0, str(Path(__file__).parent))
    from process_memory import watched

    run = watched([sys.executable, "-c", FIT, str(folder)])
    figures = json.loads(run.last_line)
    return {**figures, "seconds": round(figures["seconds"], 2), "peak_mb": round(run.peak_mb)}


if __name__ == "__main__":
    main()
