"""Passes over Ray: the same results as in one process, errors of the data as they are, lost workers run again."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth.data import fragments as table_module
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.errors import ClusterError, DataError
from raysynth.running import ray as passes
from raysynth.running.runner import (
    for_each_fragment,
    in_this_process,
    iter_tasks,
    ray_is_running,
    run_tasks,
    runs_on_ray,
    summarise,
)
from raysynth.statistics import TableStatistics, TableSummary, collect

N = 5000
ROWS = 300  # of a fragment
GATHERING = ("to_pandas", "take_all", "to_arrow_refs", "to_numpy_refs", "to_pandas_refs", "count")


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


def test_a_dataset_is_executed_once_for_all_passes_of_a_fit(ray_session: Any, tmp_path: Path) -> None:
    """Statistics, dates that are text, a constraint, codes and counts: and each block of the Dataset is made once."""
    import ray

    from raysynth import BayesianNetworkSynthesizer, infer_schema
    from raysynth.constraints import Inequality

    def made(block: pa.Table) -> pa.Table:
        (tmp_path / f"block-{uuid.uuid4()}").touch()
        numbers = block.column("id").to_numpy()
        days = (np.datetime64("2024-01-01") + numbers % 300).astype(str)
        return pa.table({"day": days, "low": numbers % 7, "high": numbers % 7 + numbers % 3, "group": numbers % 5})

    dataset = ray.data.range(N, override_num_blocks=5).map_batches(made, batch_format="pyarrow", batch_size=None)
    context = deepcopy(dataset.context)
    schema = replace(infer_schema(made(pa.table({"id": np.arange(900)}))), constraints=(Inequality("low", "high"),))
    for mark in tmp_path.iterdir():
        mark.unlink()
    model = BayesianNetworkSynthesizer(seed=0, verbose=False, schema=schema).fit(dataset)
    assert model.n_rows_ == N
    assert len(list(tmp_path.iterdir())) == 5
    assert dataset.context == context


def test_the_user_s_limits_of_ray_data_are_kept_to_and_left_as_they_are(parquet: Table, tmp_path: Path) -> None:
    """One CPU for Ray Data, of two that are there: no two fragments are read at a time."""
    import ray

    def alone(index: int, blocks: Any) -> bool:
        (tmp_path / f"{index}.running").touch()
        end = time.monotonic() + 0.2
        while (n := len(list(tmp_path.glob("*.running")))) == 1 and time.monotonic() < end:
            time.sleep(0.01)
        rows = sum(block.num_rows for block in blocks)
        (tmp_path / f"{index}.running").unlink()
        return n == 1 and rows > 0

    context = ray.data.DataContext.get_current()
    before = deepcopy(context.execution_options)
    context.execution_options.resource_limits = type(before.resource_limits)(cpu=1)
    limited = deepcopy(context)
    try:
        assert all(for_each_fragment(parquet, alone, where="ray"))
        assert context == limited
    finally:
        context.execution_options = before


def test_a_task_that_fits_no_node_is_refused(parquet: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "WORKER_BYTES", 1 << 50)
    with pytest.raises(ClusterError, match="needs about 1,073,7.* MB, and the largest node of the cluster offers"):
        summarise(parquet, lambda: TableSummary(parquet.schema), where="ray")


def test_codes_come_to_the_driver_wherever_they_were_made(parquet: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of codes, beyond what stays in memory: written by the driver alone, since other nodes have other disks."""
    from raysynth import BayesianNetworkSynthesizer
    from raysynth.fitting import code_store

    writers: list[int] = []
    save = np.save
    monkeypatch.setattr(np, "save", lambda path, codes: writers.append(os.getpid()) or save(path, codes))
    with in_this_process():
        expected = BayesianNetworkSynthesizer(seed=0, verbose=False).fit(parquet).sample(100, seed=1)
    assert writers == []
    monkeypatch.setattr(code_store, "IN_MEMORY_CELLS", 0)
    found = BayesianNetworkSynthesizer(seed=0, verbose=False).fit(parquet).sample(100, seed=1)
    assert writers == [os.getpid()] * len(parquet.fragments)
    pd.testing.assert_frame_equal(found, expected)


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


def named_task(prefix: str, item: int) -> str:
    import ray

    return f"{prefix} {ray.get_runtime_context().get_task_name()} {item}"


def test_tasks_have_a_name_in_ray_s_dashboard() -> None:
    assert run_tasks(partial(named_task, "task:"), [1], where="ray") == ["task: raysynth named_task 1"]


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
    from shards import write_shards

    from raysynth import BayesianNetworkSynthesizer, GaussianCopula

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
