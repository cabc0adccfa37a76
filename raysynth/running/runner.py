"""Running: map a function over the fragments of a table, here or over Ray, and merge the small results.

One place decides where a pass runs (`runs_on_ray`); everything above and below is the same code. Partial results are
merged in a tree whose shape depends on the table alone, so a result does not depend on how many workers made it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import pyarrow as pa

from raysynth.arguments import check_one_of
from raysynth.data.fragments import Table
from raysynth.running.local import MergeTree, Summary, cpu_count, iter_tasks_in_threads, summarise_blocks
from raysynth.running.progress import progress

RAY_ROWS = 2_000_000  # below, one process without Ray is faster (a Ray start costs 3 to 4 s)
WHERE = ("auto", "local", "ray")
_STAYS: ContextVar[bool] = ContextVar("stays in this process", default=False)


S = TypeVar("S", bound=Summary)
R = TypeVar("R")
I = TypeVar("I")  # noqa: E741


def runs_on_ray(table: Table, where: str = "auto") -> bool:
    """Whether a pass over a table runs on Ray.

    'auto': always for a Ray Dataset; otherwise for two or more fragments, if Ray runs already and has a free CPU, or
    the table has over 2 M rows and there is more than one core (Ray is then started).
    """
    check_one_of("where", where, WHERE)
    if table.dataset is not None:
        return True
    if where != "auto":
        return where == "ray"
    return len(table.fragments) > 1 and ray_pays(float("inf") if table.n_rows is None else table.n_rows)


@contextmanager
def in_this_process() -> Iterator[None]:
    """Inside, whatever is decided 'auto' runs in this process, though Ray runs: for a task that itself runs on Ray,
    and would wait for processors that it holds."""
    token = _STAYS.set(True)
    try:
        yield
    finally:
        _STAYS.reset(token)


def ray_is_running() -> bool:
    """True when this process is already connected to Ray; never imports it."""
    ray = sys.modules.get("ray")
    return bool(ray is not None and hasattr(ray, "is_initialized") and ray.is_initialized())


def summarise(
    table: Table,
    make: Callable[[], S],
    *,
    columns: Sequence[str] | None = None,
    label: str = "Reading",
    where: str = "auto",
) -> S:
    """One summary of all rows of a table.

    Args:
        table: any table.
        make: gives an empty summary; pickled for other processes.
        columns: the columns that blocks hold, in order; all where left out.
        label: what the progress bar says.
        where: 'auto' (by size), 'local' (this process) or 'ray'.

    Raises:
        RaysynthError: what the reading or the summary raised; `ClusterError` where Ray cannot be reached or lost more
            workers than its retries allow.
    """
    if runs_on_ray(table, where):
        from raysynth.running.ray import summarise_on_ray

        return summarise_on_ray(table, make, columns, label)
    tree: MergeTree[S] = MergeTree()
    for part in _made_here(table, lambda _, blocks: summarise_blocks(blocks, make), columns, label):
        tree.add(part)
    return tree.result() if tree else make()


def for_each_fragment(
    table: Table,
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    *,
    columns: Sequence[str] | None = None,
    label: str = "Reading",
    where: str = "auto",
) -> list[R]:
    """`fn(index, blocks)` for each fragment of a table; the small results in the order of the fragments.

    Over Ray a fragment may be run again after the loss of a worker, so `fn` must write under names made from its index
    and be safe to repeat.
    """
    if runs_on_ray(table, where):
        from raysynth.running.ray import for_each_fragment_on_ray

        return for_each_fragment_on_ray(table, fn, columns, label)
    return list(_made_here(table, fn, columns, label))


def made_in_order(
    table: Table,
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    *,
    columns: Sequence[str] | None = None,
    label: str = "Reading",
) -> Generator[R]:
    """`fn(index, blocks)` for each fragment, one result after the other in the table's order, of which none is kept.

    For results of the size of rows. The blocks of a Ray Dataset have no number: each is 0, and they come as they are
    completed.
    """
    if runs_on_ray(table):
        from raysynth.running.ray import made_in_order_on_ray

        yield from made_in_order_on_ray(table, fn, columns, label)
    else:
        yield from _made_here(table, fn, columns, label)


def _made_here(
    table: Table, fn: Callable[[int, Iterator[pa.RecordBatch]], R], columns: Sequence[str] | None, label: str
) -> Generator[R]:
    """`fn(index, blocks)` for each fragment, one after the other, in this process."""
    with progress(label, len(table.fragments)) as advance:
        for index, fragment in enumerate(table.fragments):
            yield fn(index, fragment.blocks(columns))
            advance(1)


def run_tasks(
    fn: Callable[[I], R], items: Iterable[I], *, where: str = "auto", label: str = "Working", weight: float = 0.0
) -> list[R]:
    """`fn(item)` for each item, several at a time; results in the order of the items.

    Args:
        fn: a picklable function; safe to repeat, since Ray runs a task again after the loss of a worker.
        items: picklable.
        where: 'local' (threads of this process), 'ray', or 'auto': Ray where it runs already, or where RAY_ADDRESS
            names a cluster and there are over 2 M rows of work; else threads, which need no start and share the model.
        label: what the progress bar says.
        weight: how many rows all items stand for; with rows, it is a pass over a table, and Ray Data carries it.
    """
    work = list(items)
    results: dict[int, R] = {}
    with progress(label, len(work)) as advance:
        for index, result in iter_tasks(fn, work, where=where, weight=weight):
            results[index] = result
            advance(1)
    return [results[i] for i in range(len(work))]


def iter_tasks(
    fn: Callable[[I], R], items: Sequence[I], *, where: str = "auto", weight: float = 0.0
) -> Iterator[tuple[int, R]]:
    """(index, result) of `fn` on each item, as they are completed; see `run_tasks`."""
    check_one_of("where", where, WHERE)
    if where == "ray" or (where == "auto" and len(items) > 1 and _cluster_waits(weight)):
        if weight:
            from raysynth.running.ray import iter_items_on_ray as spread
        else:
            from raysynth.running.ray_session import iter_tasks_on_ray as spread
        yield from spread(fn, items)
        return
    yield from iter_tasks_in_threads(fn, items)


def ray_pays(n_rows: float = float("inf")) -> bool:
    """Whether 'auto' work on so many rows goes over Ray: it runs and has room, or is worth its start."""
    return _goes_over_ray(n_rows > RAY_ROWS and cpu_count() > 1)


def executed_once(data: Any) -> Any:
    """Data for several passes: a Ray Dataset is executed, and its blocks are kept in Ray's object store as long as the
    result lives (on disk where they are too many), so that no pass executes it again; other data as it is.

    Raises:
        ClusterError: it would wait for ever, since no CPU is free; or Ray has no room for its blocks.
    """
    if not type(data).__module__.startswith("ray.data"):
        return data
    from raysynth.running.ray import keep_dataset

    return keep_dataset(data)


def _cluster_waits(weight: float) -> bool:
    return _goes_over_ray(weight > RAY_ROWS and bool(os.environ.get("RAY_ADDRESS")))


def _goes_over_ray(is_worth_a_start: bool) -> bool:
    if _STAYS.get():
        return False
    if not ray_is_running():
        return is_worth_a_start
    from raysynth.running.ray_session import has_free_cpu

    return has_free_cpu()
