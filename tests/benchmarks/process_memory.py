"""Memory of a run from outside: a command in a process of its own, and the most that all its processes held.

Memory is `Pss_Anon` + `Pss_Shmem`: what processes hold of their own or share with one another. Mapped files do not
count, Ray's own processes do. The processes of a run are those whose environment carries its tag.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

TAG = "RAYSYNTH_BENCH_RUN"
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Watched:
    """What a command printed last, and peaks in MB: of all its processes, and of Ray Train's largest worker."""

    last_line: str
    peak_mb: float
    worker_mb: float


def watched(command: list[str]) -> Watched:
    """Run a command to its end, looking at its memory five times a second; `SystemExit` where it fails."""
    tag = uuid.uuid4().hex
    child = subprocess.Popen(command, env={**os.environ, TAG: tag}, stdout=subprocess.PIPE, text=True)
    peak = worker = 0
    over = threading.Event()

    def look() -> None:
        nonlocal peak, worker
        while not over.wait(LOOK_SECONDS):
            peak = max(peak, bytes_of_run(tag))
            worker = max([worker, *map(own_bytes, train_workers())])

    watcher = threading.Thread(target=look)
    watcher.start()
    output, _ = child.communicate()
    over.set()
    watcher.join()
    if child.returncode:
        raise SystemExit(f"{' '.join(command[-3:])} failed with {child.returncode}")
    return Watched(output.splitlines()[-1], peak / 1e6, worker / 1e6)


def bytes_of_run(tag: str) -> int:
    """Memory of all processes whose environment carries the tag."""
    return sum(own_bytes(pid) for pid in processes_of_run(tag))


def cpu_of_run() -> float:
    """Seconds of processors that the living processes of this run have had so far; 0 outside of `watched`.

    A difference of two tells what work took whatever else the machine does, where no process ends between them.
    """
    ticks = 0
    for pid in processes_of_run(os.environ[TAG]) if TAG in os.environ else ():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def processes_of_run(tag: str) -> list[int]:
    """Ids of the processes whose environment carries the tag."""
    mark, found = f"{TAG}={tag}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return found


def own_bytes(pid: int) -> int:
    """Memory of a process; 0 where it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0
    return sum(1024 * int(kb) for kb in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", text, re.MULTILINE))


def train_workers() -> list[int]:
    """Processes of Ray Train's workers on this machine, by the title that Ray gives them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if re.match(r"ray::.*TrainWorker", title):
            found.append(int(path.parent.name))
    return found
