"""Passes over Ray: the same results as in one process, errors of the data as they are, lost workers run again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth.data import fragments as table_module
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.errors import DataError
from raysynth.running.runner import for_each_fragment, iter_tasks, ray_is_running, run_tasks, runs_on_ray, summarise
from raysynth.statistics import TableStatistics, TableSummary, collect

N = 5000
ROWS = 300  # of a fragment
GATHERING = ("to_pandas", "take_all", "materialize", "to_arrow_refs", "to_numpy_refs", "to_pandas_refs", "count")


@pytest.fixture(scope="module", autouse=True)
def ray_session(two_cpus: Any) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(table_module, "_BLOCK_ROWS", ROWS)
        patch.setattr(table_module, "_FEWEST_ROWS", ROWS)
        yield two_cpus


def frame() -> pd.DataFrame:
    """Sampled with a fixed seed."""
    rng = np.random.default_rng(8)
    result = pd.DataFrame(
        {
            "text": rng.choice(["a", "b", "c"], N, p=[0.7, 0.2, 0.1]),
            "key": [f"K{i:06d}" for i in rng.permutation(N)],
            "number": rng.normal(size=N) * 10.0 ** rng.integers(-3, 9, N),
            "whole": rng.integers(0, 50, N),
        }
    )
    result.loc[rng.random(N) < 0.2, ["text", "number"]] = None
    return result


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory, ray_session: Any) -> Table:
    folder = tmp_path_factory.mktemp("parquet")
    frame()[:2000].to_parquet(folder / "a.parquet", row_group_size=150)
    frame()[2000:].to_parquet(folder / "b.parquet", row_group_size=1000)
    return as_table(folder)


def assert_same(a: TableStatistics, b: TableStatistics) -> None:
    assert a.n_rows == b.n_rows
    assert [c.missing for c in a.columns.values()] == [c.missing for c in b.columns.values()]
    for x, y in zip(a.columns.values(), b.columns.values(), strict=True):
        left, right = x.categories().value, y.categories().value
        assert left.values == right.values
        np.testing.assert_array_equal(left.counts, right.counts)
        if x.extremes is not None:
            p, q = x.distribution().value, y.distribution().value
            assert (p.mean, p.std, p.missing) == (q.mean, q.std, q.missing)


def test_ray_is_used_where_it_runs_and_there_is_something_to_share(parquet: Table) -> None:
    assert ray_is_running() and len(parquet.fragments) >= 10
    assert runs_on_ray(parquet)
    assert not runs_on_ray(parquet, "local")
    assert not runs_on_ray(as_table(frame()[:200]))


def test_statistics_are_identical_here_and_over_ray(parquet: Table) -> None:
    assert_same(collect(parquet, where="local"), collect(parquet, where="ray"))


def test_a_table_in_memory_travels_once_and_gives_the_same(parquet: Table) -> None:
    table = as_table(frame())
    assert len(table.fragments) == -(-N // ROWS)
    assert_same(collect(parquet, where="local"), collect(table, where="ray"))
    mapped = table.mapped(lambda block: block.select(["whole", "number"]))
    assert_same(collect(mapped, where="local"), collect(mapped, where="ray"))


@pytest.mark.parametrize("blocks", ["arrow", "pandas"])
def test_a_ray_dataset_gives_the_same(parquet: Table, blocks: str) -> None:
    import ray

    parts = [frame()[i : i + 1000] for i in range(0, N, 1000)]
    if blocks == "arrow":
        dataset = ray.data.from_arrow([pa.Table.from_pandas(p, preserve_index=False) for p in parts])
    else:
        dataset = ray.data.from_pandas(parts)
    table = as_table(dataset)
    assert table.n_rows is None and table.names == parquet.names
    assert_same(collect(parquet, where="local"), collect(table))
    rows = for_each_fragment(table, lambda i, parts: (i, sum(b.num_rows for b in parts)))
    assert [i for i, _ in rows] == list(range(len(rows))) and sum(n for _, n in rows) == N
    counted = collect(table.select(["whole"]).mapped(lambda block: block))
    assert counted.columns["whole"].n_distinct == 50


def test_an_error_of_the_data_comes_out_as_it_is(parquet: Table) -> None:
    class Refuses:
        def update(self, batch: pa.RecordBatch) -> None:
            raise DataError("column 'text' is refused")

        def merge(self, other: Any) -> None:
            raise AssertionError("not reached")

    import ray

    for table in (parquet, as_table(ray.data.from_arrow(pa.table({"a": [1, 2]})))):
        with pytest.raises(DataError, match="^column 'text' is refused$") as error:
            summarise(table, Refuses, where="ray")
        assert type(error.value) is DataError


def test_fragments_and_tasks_keep_their_order(parquet: Table) -> None:
    local = for_each_fragment(parquet, lambda i, blocks: (i, sum(b.num_rows for b in blocks)), where="local")
    assert for_each_fragment(parquet, lambda i, blocks: (i, sum(b.num_rows for b in blocks)), where="ray") == local
    assert run_tasks(lambda x: x * x, range(30), where="ray") == [x * x for x in range(30)]
    assert sorted(iter_tasks(lambda x: -x, [5, 6], where="ray")) == [(0, -5), (1, -6)]


def test_a_worker_that_dies_is_replaced(parquet: Table, tmp_path: Path) -> None:
    died = tmp_path / "died"

    class DiesOnce(TableSummary):
        def update(self, batch: pa.RecordBatch) -> None:
            try:
                died.touch(exist_ok=False)
            except FileExistsError:
                super().update(batch)
            else:
                os._exit(1)

    schema = parquet.schema
    summary = summarise(parquet, lambda: DiesOnce(schema), where="ray")
    assert died.exists()
    assert_same(summary.finish(), collect(parquet, where="local"))


def test_no_stage_gathers_the_whole_table(parquet: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics, pairs, shards and samples of a Ray Dataset: nothing of ours asks Ray Data for all rows at once."""
    import ray

    from raysynth import BayesianNetworkSynthesizer, GaussianCopula
    from raysynth.training.shards import write_shards

    def guarded(name: str) -> Any:
        whole = getattr(ray.data.Dataset, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals["__name__"]  # Ray's own sink materialises what its tasks returned
            if caller.startswith(("raysynth", __name__)):
                raise AssertionError(f"{caller} calls Dataset.{name}")
            return whole(*args, **kwargs)

        return call

    for name in GATHERING:
        monkeypatch.setattr(ray.data.Dataset, name, guarded(name))
    dataset = ray.data.from_arrow([pa.Table.from_pandas(frame()[i : i + 1000]) for i in range(0, N, 1000)])
    with pytest.raises(AssertionError, match="calls Dataset.take_all"):
        dataset.take_all()  # the guard guards
    table = as_table(dataset)
    model: Any
    for model in (GaussianCopula(seed=0, verbose=False), BayesianNetworkSynthesizer(seed=0, verbose=False)):
        model.fit(dataset)
        assert model.n_rows_ == N
    model.sample_to(tmp_path / "rows", 1000, seed=1, where="ray")
    shards = write_shards(table, model.encoder_, tmp_path / "shards", rows_per_shard=700)
    assert shards.n_rows == N
    assert len({s.name for s in shards.shards}) == len(shards.shards)
