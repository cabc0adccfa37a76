"""Passes over tables by Ray Data: the same results as in `running/runner.py`, from the processors of a cluster.

A table is a Dataset of the numbers of its fragments (of about a million rows), or the user's own Dataset. A task reads
one fragment and gives back one row that holds what was made of it, pickled: a summary, never rows. Summaries are merged
by further operators, eight at a time, in the tree that `local.MergeTree` fixes. What is in flight, retries,
back-pressure and autoscaling are Ray Data's, on a copy of the user's `DataContext`; progress is told here.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from raysynth.data.fragments import Fragment, Table, block_rows
from raysynth.errors import ClusterError, RaysynthError
from raysynth.running.local import FAN_IN, MergeTree, Summary, merge_all, summarise_blocks
from raysynth.running.metrics import count_done
from raysynth.running.progress import progress
from raysynth.running.ray_session import RETRIES, one_thread, require_free_cpu, start_ray, user_errors

S = TypeVar("S", bound=Summary)
R = TypeVar("R")
I = TypeVar("I")  # noqa: E741

WORKER_BYTES = 1 << 28  # of a worker beside the rows that it reads: libraries, codes, a summary
_VALUE_BYTES = 16  # of a value in a block: read, and canonical or encoded
_SPEAKER = "ray.data._internal.execution.streaming_executor"  # logger that Ray makes while the first execution runs
_DATASET_LEVELS = 2  # of merging, where the number of blocks is not known


def summarise_on_ray(table: Table, make: Callable[[], S], columns: Sequence[str] | None, label: str) -> S:
    """`runner.summarise` by Ray Data."""
    if table.dataset is None and not table.fragments:
        return make()
    ray = start_ray()
    if table.dataset is not None:
        require_free_cpu()
        results = _of_blocks(table, partial(summarise_blocks, make=make), columns)
        n_parts, levels = None, _DATASET_LEVELS
    else:
        n_parts = len(table.fragments)
        results, levels = _fragments(ray, table, _summarise_fragment, make, columns, ordered=True), _levels(n_parts)
    for level in range(levels):
        results = _merged(results, level)
    tree: MergeTree[S] = MergeTree()
    with progress(label, n_parts) as advance, user_errors(ray):
        for _, level, part in _rows(results, label):
            tree.add(part, level)
            count_done("fragments", FAN_IN**level)
            advance(FAN_IN**level)
    return tree.result() if tree else make()


def for_each_fragment_on_ray(
    table: Table,
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    columns: Sequence[str] | None,
    label: str,
) -> list[R]:
    """`runner.for_each_fragment` by Ray Data."""
    if table.dataset is None:
        return list(made_in_order_on_ray(table, fn, columns, label))
    start_ray()
    require_free_cpu()
    return _for_each_block(table, fn, columns, label)


def made_in_order_on_ray(
    table: Table,
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    columns: Sequence[str] | None,
    label: str,
) -> Iterator[R]:
    """`runner.made_in_order` by Ray Data."""
    if table.dataset is None and not table.fragments:
        return
    ray = start_ray()
    if table.dataset is not None:
        require_free_cpu()
        results, n_parts = _of_blocks(table, partial(fn, 0), columns), None
    else:
        results = _fragments(ray, table, _apply_to_fragment, fn, columns, ordered=True)
        n_parts = len(table.fragments)
    with progress(label, n_parts) as advance, user_errors(ray):
        for _, _, result in _rows(results, label):
            count_done("fragments")
            advance(1)
            yield result


def iter_items_on_ray(fn: Callable[[I], R], items: Sequence[I]) -> Iterator[tuple[int, R]]:
    """`runner.iter_tasks` by Ray Data, for items that stand for the rows of a table; as they are completed."""
    if not items:
        return
    ray = start_ray()
    with user_errors(ray):
        for index, _, result in _rows(_mapped(ray, _Work(_call, (fn,), items), WORKER_BYTES), "rows"):
            yield index, result


def keep_dataset(dataset: Any) -> Any:
    """`runner.executed_once` of a Dataset; the user's own is left as it is."""
    ray = start_ray()
    require_free_cpu()
    with progress("executing the Dataset", None), user_errors(ray):
        try:
            return dataset.materialize()
        except (ray.exceptions.OutOfDiskError, ray.exceptions.ObjectStoreFullError) as error:
            raise ClusterError(
                "Ray has no room to keep the Dataset for several passes, in its object store and on its disks; write "
                "it to files (dataset.write_parquet) and give their path, or start Ray with more room"
            ) from error


# ---- Datasets whose rows are results ---------------------------------------------------------------------------------


class _Work:
    """What a task makes of the item whose number it gets: `run(number, item, *arguments)`.

    Args:
        run: a function of this module. arguments: of it.
        items: pickled here, so that a task opens its own one only.
        memory: a reference to the rows of a table in memory, or None.
    """

    def __init__(
        self, run: Callable[..., Any], arguments: tuple[Any, ...], items: Sequence[Any], memory: Any = None
    ) -> None:
        self.run, self.arguments, self.memory = run, arguments, memory
        self.items = [_pickled(item) for item in items]

    def __call__(self, numbers: pa.Table) -> pa.Table:
        import ray
        from ray import cloudpickle

        (index,) = numbers.column("item").to_pylist()
        item = cloudpickle.loads(self.items[index])
        if self.memory is not None:
            item = item.bound(ray.get(self.memory))
        return _row(index, 0, lambda: self.run(index, item, *self.arguments))


def _of_blocks(table: Table, make: Callable[[Iterator[pa.RecordBatch]], Any], columns: Sequence[str] | None) -> Any:
    """A Dataset with a row for each block of the user's own: the pickled result of `make` on its rows."""
    run = partial(_of_block, table.schema, make, columns)
    return table.dataset.map_batches(run, batch_format="pyarrow", batch_size=None)


def _of_block(schema: pa.Schema, make: Callable[..., Any], columns: Sequence[str] | None, block: pa.Table) -> pa.Table:
    from raysynth.data.fragments import canonical_batches

    return _row(0, 0, lambda: make(canonical_batches(block, schema, columns)))


@dataclass(frozen=True)
class _MergeSummaries:
    """One summary of eight of a level, as `MergeTree` has it; what is left of a level goes on as it is."""

    level: int

    def __call__(self, rows: pa.Table) -> pa.Table:
        if rows.num_rows < FAN_IN or set(rows.column("level").to_pylist()) != {self.level}:
            return rows
        parts = [part for _, _, part in _unpickled(rows)]
        failed = next((part for part in parts if isinstance(part, RaysynthError)), None)
        return _row(0, self.level + 1, lambda: merge_all(parts) if failed is None else failed)


def _fragments(
    ray: Any, table: Table, run: Callable[..., Any], what: Any, columns: Sequence[str] | None, *, ordered: bool = False
) -> Any:
    """A Dataset with a row for each fragment of a table: `run(index, fragment, what, columns)`."""
    memory = None if table.memory is None else ray.put(table.memory)
    work = _Work(run, (what, columns), [f.bound(None) for f in table.fragments], memory)
    return _mapped(ray, work, _task_bytes(len(table.names if columns is None else columns)), ordered=ordered)


def _mapped(ray: Any, work: _Work, task_bytes: int, *, ordered: bool = False) -> Any:
    """A Dataset with a row for each item, each from a task of its own; it is executed when it is read."""
    options = task_options(ray, task_bytes)
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order |= ordered
    context.enable_progress_bars = context.print_on_execution_start = False
    n = len(work.items)
    with ray.data.DataContext.current(context), of_remote_arguments():
        numbers = ray.data.from_items(list(range(n)), override_num_blocks=n)
        return numbers.map_batches(work, batch_format="pyarrow", batch_size=None, **options)


def task_options(ray: Any, task_bytes: int) -> dict[str, Any]:
    """What a task of Ray Data that works on rows reserves, and how often it is tried again.

    Raises:
        ClusterError: no node has the memory for one task, which would wait for ever.
    """
    most = [int(n["Resources"].get("memory", 0)) for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
    if most and max(most) < task_bytes:
        raise ClusterError(
            f"a task of this pass needs about {task_bytes >> 20:,} MB, and the largest node of the cluster offers "
            f"{max(most) >> 20:,} MB; add a larger node, start Ray with more memory, or learn from fewer columns"
        )
    return {"num_cpus": 1, "memory": task_bytes, "max_retries": RETRIES}


def _merged(results: Any, level: int) -> Any:
    """Summaries of a level merged by eight.

    Without a CPU, which Ray Data would keep free for it all the time; with an amount of memory of its own, or Ray Data
    would make one operator of several.
    """
    options = {"num_cpus": 0, "memory": WORKER_BYTES + level, "max_retries": RETRIES}
    with of_remote_arguments():
        return results.map_batches(_MergeSummaries(level), batch_format="pyarrow", batch_size=FAN_IN, **options)


@contextmanager
def of_remote_arguments() -> Iterator[None]:
    """Ray 2.60 warns that `max_retries` will need another way from 2.64 on, and has none; without, they never end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        yield


def _levels(n_parts: int) -> int:
    """Levels of the tree that tasks merge; the few summaries that are left after them are merged by the driver."""
    levels = 0
    while n_parts > FAN_IN ** (levels + 1):
        levels += 1
    return levels


def _task_bytes(n_columns: int) -> int:
    """Memory of a task that reads a fragment; it follows from the number of columns alone, which is public."""
    return WORKER_BYTES + _VALUE_BYTES * n_columns * block_rows(n_columns)


def _pickled(value: Any) -> bytes:
    from ray import cloudpickle

    dumps: Callable[[Any], bytes] = cloudpickle.dumps  # has no types of its own
    return dumps(value)


def _row(index: int, level: int, make: Callable[[], Any]) -> pa.Table:
    """One row with a pickled result. An error about the data travels as a result: Ray Data would log its text."""
    with one_thread():
        try:
            result = make()
        except RaysynthError as error:
            result = error
    pickled = pa.array([_pickled(result)], pa.large_binary())
    return pa.table({"index": pa.array([index], pa.int64()), "level": pa.array([level], pa.int32()), "result": pickled})


def _unpickled(rows: pa.Table) -> Iterator[tuple[int, int, Any]]:
    """(index, level, result) of each row; the arrays of a result can be changed."""
    from ray import cloudpickle

    for index, level, result in zip(*(rows.column(c) for c in ("index", "level", "result")), strict=True):
        yield index.as_py(), level.as_py(), cloudpickle.loads(result.as_buffer())


def _rows(results: Any, label: str) -> Iterator[tuple[int, int, Any]]:
    """(index, level, result) of a Dataset of results, as they come; the execution ends with the iteration.

    Raises:
        RaysynthError: what a task raised.
    """
    results.set_name(f"raysynth {label}")
    batches = iter(results.iter_batches(batch_format="pyarrow", batch_size=None))
    with _only_in_files.here(), closing(batches):
        for rows in batches:
            for index, level, result in _unpickled(rows):
                if isinstance(result, RaysynthError):
                    raise result
                yield index, level, result


class _OnlyInFiles(logging.Filter):
    """While an execution of ours runs, what Ray Data logs goes to its files and not to the console, errors apart.

    Marked as Ray Data itself marks such records; on loggers, since it makes its handlers anew for each execution.
    """

    running = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """True for every record; one that is no error is marked to be kept off the console while we run."""
        if self.running and record.levelno < logging.ERROR:
            record.hide = True
        return True

    @contextmanager
    def here(self) -> Iterator[None]:
        """An execution of ours."""
        for name in [_SPEAKER, *(n for n in list(logging.root.manager.loggerDict) if n.startswith("ray.data"))]:
            logging.getLogger(name).addFilter(self)
        with _lock:
            self.running += 1
        try:
            yield
        finally:
            with _lock:
                self.running -= 1


_lock = threading.Lock()
_only_in_files = _OnlyInFiles()


# ---- what a task does ------------------------------------------------------------------------------------------------


def _summarise_fragment(index: int, fragment: Fragment, make: Callable[[], S], columns: Sequence[str] | None) -> S:
    return summarise_blocks(fragment.blocks(columns), make)


def _apply_to_fragment(
    index: int,
    fragment: Fragment,
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    columns: Sequence[str] | None,
) -> R:
    return fn(index, fragment.blocks(columns))


def _call(index: int, item: I, fn: Callable[[I], R]) -> R:
    return fn(item)


def _for_each_block(
    table: Table,
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    columns: Sequence[str] | None,
    label: str,
) -> list[R]:
    """`fn` on each block of a Ray Dataset as the blocks come, as a sink of Ray Data: no block is kept.

    A task of a sink knows its number, which is the same when it runs again after the loss of a worker.
    """
    import ray
    from ray.data import Datasink

    from raysynth.data.fragments import canonical_batches

    class EachBlock(Datasink[Any]):
        """Applies `fn`; an error about the rows travels as a result, as in `_row`."""

        results: list[tuple[int, R | RaysynthError]] = []

        def write(self, blocks: Any, ctx: Any) -> tuple[int, R | RaysynthError]:
            """What `fn` gives for the blocks of one task, or its error about the rows, with the task's number."""
            batches = (batch for block in blocks for batch in canonical_batches(block, table_schema, columns))
            with one_thread():
                try:
                    return ctx.task_idx, fn(ctx.task_idx, batches)
                except RaysynthError as error:
                    return ctx.task_idx, error

        def on_write_complete(self, write_result: Any) -> None:
            """All results, in the driver."""
            self.results = sorted(write_result.write_returns, key=lambda result: result[0])

    table_schema = table.schema
    sink = EachBlock()
    as_arrow = table.dataset.map_batches(_same, batch_format="pyarrow", batch_size=None)
    with progress(label, None), user_errors(ray):
        as_arrow.write_datasink(sink)
    results: list[R] = []
    for _, result in sink.results:
        if isinstance(result, RaysynthError):
            raise result
        results.append(result)
    return results


def _same(block: pa.Table) -> pa.Table:
    """A block of a Dataset, whatever it is made of, as Arrow."""
    return block
