"""Running over Ray: the same passes as in `running/runner.py`, as tasks on the cluster.

A task holds one fragment (about a million rows) and gives back its summary; summaries are merged by tasks too, in the
tree that `execution.MergeTree` fixes, so that the driver receives one result whatever the number of rows. Tasks in
flight are bounded, and Ray runs a lost one again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from raysynth.data.fragments import Fragment, Table
from raysynth.errors import ClusterError, RaysynthError
from raysynth.running.local import MergeTree, Summary, merge_all, summarise_blocks
from raysynth.running.metrics import count_done
from raysynth.running.plain_lines import told
from raysynth.running.progress import progress

S = TypeVar("S", bound=Summary)
R = TypeVar("R")
I = TypeVar("I")  # noqa: E741

_RETRIES = 3  # of a task whose worker died
_CONNECT_SECONDS = 10.0
_IN_FLIGHT = 2  # tasks submitted for each core
_LOOK_SECONDS = 2.0  # between two looks at how many cores the cluster has
_FREE_SECONDS = 2.0  # in which a CPU that a task has just given back is seen as free
_OOM_RETRIES = "RAY_task_oom_retries"  # Ray's own setting, unlimited otherwise; read when this process connects

_logger = logging.getLogger("raysynth")
_found_none: list[float] = []  # when no CPU was free: further looks of this process do not wait for one


def start_ray() -> Any:
    """Ray, started on this machine or connected to the cluster of RAY_ADDRESS; raises `ClusterError`."""
    import ray

    if ray.is_initialized():
        return ray
    _require_reachable(os.environ.get("RAY_ADDRESS", ""))
    try:
        with _variable(_OOM_RETRIES, str(_RETRIES)):
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        address = os.environ.get("RAY_ADDRESS")
        where = f"the cluster at RAY_ADDRESS={address}" if address else "Ray on this machine"
        raise ClusterError(f"cannot reach or start {where} ({_first_line(error)}); check `ray status`") from error
    return ray


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, where the user has set none, for the duration of the block."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def has_free_cpu() -> bool:
    """Whether a task of ours would start: a CPU of the running cluster is free, or it has none yet (nodes will come).

    Who holds all CPUs (an actor, a trial, a placement group) and waits for a task on one of them waits for ever. So the
    work then stays in this process, and the log says so once.
    """
    import ray

    end = time.monotonic() + (0.0 if _found_none else _FREE_SECONDS)
    while True:
        total = ray.cluster_resources().get("CPU", 0.0)
        free = ray.available_resources().get("CPU", 0.0)
        if free >= 1 or not total:
            _found_none.clear()
            return True
        if (now := time.monotonic()) >= end:
            break
        time.sleep(min(0.1, end - now))
    if not _found_none:
        _logger.warning(
            "none of Ray's %g CPUs is free, so this work stays in this process; to spread it, start Ray with more, "
            "or give the actor or trial that calls raysynth fewer (num_cpus=0)",
            total,
        )
        _found_none.append(now)
    return False


def require_free_cpu() -> None:
    """Raise `ClusterError` where a Ray Dataset could not be executed, since no CPU is free and none will be."""
    if not has_free_cpu():
        raise ClusterError(
            "a Ray Dataset cannot be executed here: none of Ray's CPUs is free, and an actor, trial or placement group "
            "that holds them would wait for itself. Give it fewer (num_cpus=0), start Ray with more, or give the path "
            "of the files, which are read in this process"
        )


def _task(ray: Any, fn: Callable[..., Any]) -> Any:
    """A function as a task on one CPU, outside of the caller's placement group, whose CPUs the caller holds."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    anywhere = PlacementGroupSchedulingStrategy(placement_group=None)  # type: ignore[arg-type]  # None: of no group
    return ray.remote(num_cpus=1, max_retries=_RETRIES, scheduling_strategy=anywhere)(fn)


def _require_reachable(address: str) -> None:
    """Raise `ClusterError` at once where nobody listens at host:port (Ray itself would try for minutes)."""
    import socket

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"cannot reach the cluster at RAY_ADDRESS={address} ({error.strerror or error}); check the address and "
            "`ray status`, or unset RAY_ADDRESS to use this machine"
        ) from error


def summarise_on_ray(table: Table, make: Callable[[], S], columns: Sequence[str] | None, label: str) -> S:
    """`execution.summarise` over Ray."""
    ray = start_ray()
    if table.dataset is not None:
        require_free_cpu()
        return _summarise_dataset(table, make, columns, label)
    leaf = _task(ray, _summarise_fragment)
    node = _task(ray, _merge_parts)
    tree: MergeTree[Any] = MergeTree(lambda parts: node.remote(*parts))
    memory = _shared(ray, table)
    calls = [partial(leaf.remote, f.bound(None), memory, columns, make) for f in table.fragments]
    with progress(label, len(calls)) as advance, _user_errors(ray):
        waiting: dict[int, Any] = {}  # done, but not yet in turn: the tree takes them in order
        for index, ref in _completed(ray, calls):
            waiting[index] = ref
            while (turn := tree.added) in waiting:
                tree.add(waiting.pop(turn))
            count_done("fragments")
            advance(1)
        result: S = ray.get(tree.result()) if tree else make()
    return result


def for_each_fragment_on_ray(
    table: Table,
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    columns: Sequence[str] | None,
    label: str,
) -> list[R]:
    """`execution.for_each_fragment` over Ray."""
    ray = start_ray()
    if table.dataset is not None:
        require_free_cpu()
        return _for_each_block(table, fn, columns, label)
    task = _task(ray, _apply_to_fragment)
    results: dict[int, R] = {}
    memory = _shared(ray, table)
    calls = [partial(task.remote, fn, i, f.bound(None), memory, columns) for i, f in enumerate(table.fragments)]
    with progress(label, len(calls)) as advance, _user_errors(ray):
        for index, ref in _completed(ray, calls):
            results[index] = ray.get(ref)
            count_done("fragments")
            advance(1)
    return [results[i] for i in range(len(calls))]


def iter_tasks_on_ray(fn: Callable[[I], R], items: Sequence[I]) -> Iterator[tuple[int, R]]:
    """`execution.iter_tasks` over Ray."""
    ray = start_ray()
    task = _task(ray, _call)
    shared_fn = ray.put(fn)
    with _user_errors(ray):
        for index, ref in _completed(ray, [partial(task.remote, shared_fn, item) for item in items]):
            yield index, ray.get(ref)


def _completed(ray: Any, calls: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Any]]:
    """(index, reference) of each call as it is completed; a bounded number is in flight. An error is raised at once.

    The bound follows the cluster: an autoscaler adds nodes for the tasks that wait, which lets more of them wait.
    """
    bound, looked = 0, -_LOOK_SECONDS
    waiting = iter(enumerate(calls))
    running: dict[Any, int] = {}
    try:
        while True:
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                bound = _IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while len(running) < bound and (entry := next(waiting, None)) is not None:
                running[entry[1]()] = entry[0]
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_SECONDS, fetch_local=False)
            for ref in done:
                yield running.pop(ref), ref
    finally:
        for ref in running:
            ray.cancel(ref)


def _shared(ray: Any, table: Table) -> Any:
    """A reference to the rows of an in-memory table, put once; None for files."""
    return None if table.memory is None else ray.put(table.memory)


def _summarise_dataset(table: Table, make: Callable[[], S], columns: Sequence[str] | None, label: str) -> S:
    """One summary of a Ray Dataset: each block becomes one row that holds its pickled summary.

    An error about the rows travels as such a row too, since Ray Data does not hand exceptions of a map on.
    """
    import ray
    from ray import cloudpickle

    def partial_summary(block: pa.Table) -> pa.Table:
        from raysynth.data.dataset_blocks import canonical_batches

        part: S | RaysynthError
        with _one_thread():
            try:
                part = summarise_blocks(canonical_batches(block, table_schema, columns), make)
            except RaysynthError as error:
                part = error
        return pa.table({"summary": pa.array([cloudpickle.dumps(part)], pa.large_binary())})

    table_schema = table.schema
    parts = table.dataset.map_batches(partial_summary, batch_format="pyarrow", batch_size=None)
    tree: MergeTree[S] = MergeTree()
    with progress(label, None) as advance, _user_errors(ray):
        for row in parts.iter_rows():
            part = cloudpickle.loads(row["summary"])
            if isinstance(part, RaysynthError):
                raise part
            tree.add(part)
            advance(1)
    return tree.result() if tree else make()


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

    from raysynth.data.dataset_blocks import canonical_batches

    class EachBlock(Datasink):
        """Applies `fn`; an error about the rows travels as a result, as in `_summarise_dataset`."""

        results: list[tuple[int, R | RaysynthError]] = []

        def write(self, blocks: Any, ctx: Any) -> tuple[int, R | RaysynthError]:
            """One task."""
            batches = (batch for block in blocks for batch in canonical_batches(block, table_schema, columns))
            with _one_thread():
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
    with progress(label, None), _user_errors(ray):
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


def _summarise_fragment(
    fragment: Fragment, memory: pa.Table | None, columns: Sequence[str] | None, make: Callable[[], S]
) -> S:
    with _one_thread():
        return summarise_blocks(fragment.bound(memory).blocks(columns), make)


def _merge_parts(*parts: S) -> S:
    return merge_all([_writable(parts[0]), *parts[1:]])


def _apply_to_fragment(
    fn: Callable[[int, Iterator[pa.RecordBatch]], R],
    index: int,
    fragment: Fragment,
    memory: pa.Table | None,
    columns: Sequence[str] | None,
) -> R:
    with _one_thread():
        return fn(index, fragment.bound(memory).blocks(columns))


def _call(fn: Callable[[I], R], item: I) -> R:
    with _one_thread():
        return fn(item)


def _writable(part: S) -> S:
    """A copy whose arrays can be changed: those of Ray's object store are read-only."""
    return deepcopy(part)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Arrow keeps to the one core that a task holds (Ray sees to OpenMP); progress is the driver's to tell."""
    n_threads = pa.cpu_count()
    pa.set_cpu_count(1)
    try:
        with told(quiet=True):
            yield
    finally:
        pa.set_cpu_count(n_threads)


@contextmanager
def _user_errors(ray: Any) -> Iterator[None]:
    """Errors of the user's data come out as they were raised; lost workers as `ClusterError`."""
    try:
        yield
    except Exception as error:
        if (cause := _cause(error)) is not None:
            raise cause from None
        lost = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.ObjectLostError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.RaySystemError,
        )
        if isinstance(error, lost):
            raise ClusterError(
                f"the cluster lost a task more often than {_RETRIES} retries allow ({_first_line(error)}); "
                "check its memory and nodes"
            ) from error
        raise


def _cause(error: BaseException) -> RaysynthError | None:
    """The raysynth error inside the layers that Ray wraps around it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        inner = getattr(current, "cause", None)
        if isinstance(inner, BaseException) and inner is not current:
            current = inner
        elif isinstance(current, RaysynthError) and not hasattr(current, "cause"):
            return current
        else:
            current = current.__cause__ or current.__context__
    return None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
