"""Ray itself: started or connected to, free CPUs, its errors as ours, and tasks of Ray Core for what is no table.

Passes over tables are Ray Data's (`running/ray.py`). What remains for tasks is few and large: refits, attacks, trials.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from raysynth.errors import ClusterError, RaysynthError, first_line
from raysynth.running.plain_lines import told
from raysynth.running.progress import progress

R = TypeVar("R")
I = TypeVar("I")  # noqa: E741

RETRIES = 3  # of a task whose worker died
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
    named = "local" if not os.environ.get("RAY_ADDRESS") and _notes_a_lost_cluster() else None
    try:
        with _variable(_OOM_RETRIES, str(RETRIES)), progress("starting Ray", None):
            ray.init(named, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        address = os.environ.get("RAY_ADDRESS")
        where = f"the cluster at RAY_ADDRESS={address}" if address else "Ray on this machine"
        raise ClusterError(f"cannot reach or start {where} ({first_line(error)}); check `ray status`") from error
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
    all_there: Callable[[], dict[str, float]] = ray.cluster_resources  # Ray gives both no types
    all_free: Callable[[], dict[str, float]] = ray.available_resources
    while True:
        total, free = all_there().get("CPU", 0.0), all_free().get("CPU", 0.0)
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


def _require_reachable(address: str) -> None:
    """Raise `ClusterError` at once where nobody listens at host:port (Ray itself would try for minutes)."""
    if (error := _refusal(address)) is not None:
        raise ClusterError(
            f"cannot reach the cluster at RAY_ADDRESS={address} ({error.strerror or error}); check the address and "
            "`ray status`, or unset RAY_ADDRESS to use this machine"
        ) from error


def _notes_a_lost_cluster() -> bool:
    """Whether Ray's note of the cluster last started on this machine, to which it connects where none is named, is of
    one that was killed: Ray would wait for it."""
    note = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
        address = note.read_text(encoding="utf-8").strip()
    except OSError:
        return False
    if _refusal(address) is None:
        return False
    _logger.warning("'%s' names a cluster at %s that is no more; Ray is started on this machine", note, address)
    return True


def _refusal(address: str) -> OSError | None:
    """Why nobody can be reached at host:port; None where somebody listens, or it is another kind of address."""
    import socket

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return None
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        return error
    return None


def iter_tasks_on_ray(fn: Callable[[I], R], items: Sequence[I]) -> Iterator[tuple[int, R]]:
    """`runner.iter_tasks` over Ray."""
    ray = start_ray()
    task = _task(ray, call, _name(fn))
    shared_fn = ray.put(fn)
    with user_errors(ray):
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


def _name(fn: Any) -> str:
    """What Ray's dashboard calls the tasks of a function, whatever is bound to it."""
    while isinstance(fn, partial):
        fn = fn.func
    return f"raysynth {getattr(fn, '__name__', type(fn).__name__).lstrip('_')}"


def _task(ray: Any, fn: Callable[..., Any], name: str) -> Any:
    """A function as a task on one CPU, outside of the caller's placement group, whose CPUs the caller holds."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    anywhere = PlacementGroupSchedulingStrategy(placement_group=None)  # of no group
    options = {"num_cpus": 1, "max_retries": RETRIES, "scheduling_strategy": anywhere, "name": name}
    return ray.remote(**options)(fn)


def call(fn: Callable[[I], R], item: I) -> R:
    """`fn(item)` on the one core that a task holds."""
    with one_thread():
        return fn(item)


@contextmanager
def one_thread() -> Iterator[None]:
    """Arrow keeps to the one core that a task holds (Ray sees to OpenMP); progress is the driver's to tell."""
    n_threads = pa.cpu_count()
    pa.set_cpu_count(1)
    try:
        with told(quiet=True):
            yield
    finally:
        pa.set_cpu_count(n_threads)


@contextmanager
def user_errors(ray: Any) -> Iterator[None]:
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
                f"the cluster lost a task more often than {RETRIES} retries allow ({first_line(error)}); "
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
