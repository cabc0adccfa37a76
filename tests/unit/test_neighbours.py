"""One door to the private data, by fuzzing: a hostile row more changes nothing that anybody sees of a private fit.

208 pairs of neighbours over sources and methods (see `neighbours.py`); `benchmarks/bench_neighbours.py` takes as many
as one likes, Ray Datasets among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from neighbours import METHODS, NEURAL, OF_SEQUENCES, Case, neighbours, shown

from raysynth.data.table import as_table
from raysynth.methods.registry import METHODS as REGISTERED
from raysynth.methods.registry import synthesizer_class

COUNTING = [Case(seed, m, s) for seed in range(3) for m in ("bayesian_network", "copula") for s in ("arrow", "parquet")]
COUNTING += [Case(seed, m, s) for seed in range(3) for m in ("bayesian_network", "copula") for s in ("csv", "frame")]
BY_STEPS = [Case(10 + i, m, ("csv", "frame", "arrow", "parquet")[i % 4]) for i, m in enumerate(NEURAL)]


def differing(case: Case, folder: Path, pairs: int) -> list[str]:
    """What a fit shows of some neighbours and not of the first table, in words."""
    tables = neighbours(case, folder)
    first = shown(case, next(tables), rows=True)
    assert first["error"] is None, first["error"]
    found = []
    for _ in range(pairs):
        other = shown(case, next(tables))
        found += [f"{k}: {other[k]} instead of {first[k]}"[:2000] for k in first if first[k] != other[k]]
    return found


def test_no_private_method_is_left_out() -> None:
    assert {m for m in REGISTERED if synthesizer_class(m).has_differential_privacy} == set(METHODS)


@pytest.mark.parametrize("case", COUNTING, ids=str)
def test_a_row_more_shows_nowhere(case: Case, tmp_path: Path) -> None:
    assert differing(case, tmp_path, 8) == []


@pytest.mark.parametrize("case", BY_STEPS, ids=str)
def test_nor_does_it_where_networks_are_trained(case: Case, tmp_path: Path) -> None:
    assert differing(case, tmp_path, 2 + (case.method in OF_SEQUENCES) * 4) == []


def test_a_door_that_is_left_open_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the reader of fits without a budget: rows decide what columns hold, and some end in an error."""

    def open_door(data: Any, **_: Any) -> Any:
        return as_table(data, min_rows=0)

    monkeypatch.setattr("raysynth.fitting.opening.as_table", open_door)
    assert differing(Case(1, "copula", "csv"), tmp_path, 8) != []
