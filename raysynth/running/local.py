"""Running in this process: how many CPUs it may use, summaries of blocks, the tree that merges them, threads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

FAN_IN = 8


def cpu_count() -> int:
    """CPUs that this process may use, at least 1: those of its affinity, fewer where a container's quota is smaller."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def cgroup_quota(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The smallest CPU quota of this process's control group (Linux, version 1 or 2) and those above it; None: none."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        own = base / path.strip("/")
        for folder in (own, *(p for p in own.parents if p == base or base in p.parents)):
            quotas += _quota_of(folder)
    return min(quotas, default=None)


def _quota_of(folder: Path) -> list[float]:
    """CPUs by `cpu.max` (version 2: 'QUOTA PERIOD', in microseconds) or the two files of version 1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return [int(quota) / int(period)] if quota not in ("max", "-1") else []
    except (OSError, ValueError, ZeroDivisionError):
        return []  # no such controller here


class Summary(Protocol):
    """A mergeable result of a pass."""

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block."""
        ...

    def merge(self, other: Any) -> None:
        """Add the rows of another summary, in place."""
        ...


S = TypeVar("S", bound=Summary)
R = TypeVar("R")
I = TypeVar("I")  # noqa: E741


def summarise_blocks(blocks: Iterable[pa.RecordBatch], make: Callable[[], S]) -> S:
    """One summary of some blocks."""
    summary = make()
    for block in blocks:
        summary.update(block)
    return summary


def merge_all(parts: Sequence[S]) -> S:
    """The first part with all others merged into it, in order."""
    for part in parts[1:]:
        parts[0].merge(part)
    return parts[0]


class MergeTree(Generic[S]):
    """Merges results as they come, in order, eight at a time, and those results eight at a time again.

    The shape depends on the number of results alone. At most 7 results wait on each level.
    """

    def __init__(self) -> None:
        self._levels: list[list[S]] = []

    def __bool__(self) -> bool:
        return any(self._levels)

    def add(self, part: S, level: int = 0) -> None:
        """Add the next result: one part, or 8 ** level of them that were merged elsewhere in the same tree."""
        while True:
            self._levels += [[] for _ in range(level + 1 - len(self._levels))]
            self._levels[level].append(part)
            if len(self._levels[level]) < FAN_IN:
                return
            part = merge_all(self._levels[level])
            self._levels[level] = []
            level += 1

    def result(self) -> S:
        """All results merged; those of the higher levels came first."""
        return merge_all([part for level in reversed(self._levels) for part in level])


def iter_tasks_in_threads(fn: Callable[[I], R], items: Sequence[I]) -> Iterator[tuple[int, R]]:
    """(index, result) of `fn` on each item, several at a time, as they are completed."""
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    n_threads = min(len(items), cpu_count())
    if n_threads <= 1:
        yield from ((index, fn(item)) for index, item in enumerate(items))
        return
    waiting = iter(enumerate(items))
    running: dict[Future[R], int] = {}
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            while True:
                while len(running) < n_threads and (entry := next(waiting, None)) is not None:
                    running[pool.submit(fn, entry[1])] = entry[0]
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()
