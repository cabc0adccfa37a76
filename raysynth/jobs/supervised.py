"""A job's process ends with whoever supervises it: cancelled, the head gone, the supervisor lost, nothing goes on.

Ray ends a cancelled job's process itself, but not where its supervisor or the head dies first: an orphan was seen to
fit on, with private rows in memory. So the process looks at its parent and its parent's parent (a shell of Ray's may
stand between) every second, and ends itself and what it started.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

SUPERVISED = "RAYSYNTH_SUPERVISED"  # set by `jobs/work.py` for a job's process
_LOOK_SECONDS = 1.0
_END_SECONDS = 5.0  # given to the process to end by itself
_ENDED = 128 + signal.SIGTERM
_PROC = Path("/proc")


def end_with_parents() -> None:
    """Watch, from a thread in the background, where the environment says that this process is a job's (Linux)."""
    if os.environ.get(SUPERVISED) != "1" or not _PROC.is_dir():
        return
    watched = _ancestors()
    threading.Thread(target=_watch, args=(watched,), name="raysynth-supervised", daemon=True).start()


def _ancestors() -> dict[int, str]:
    """The parent and its parent: process id -> when it began, which tells it from a later one of the same id."""
    found: dict[int, str] = {}
    pid = os.getppid()
    while pid > 1 and len(found) < 2 and (known := _known(pid)) is not None:
        found[pid] = known[1]
        pid = known[0]
    return found


def _known(pid: int) -> tuple[int, str] | None:
    """(id of the parent, when it began) of a living process; None: it is over."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), fields[19])


def _watch(watched: dict[int, str]) -> None:
    never = threading.Event()
    while all((known := _known(pid)) is not None and known[1] == began for pid, began in watched.items()):
        never.wait(_LOOK_SECONDS)
    group = os.getpgrp()
    if group in (os.getpid(), *watched):  # the job's own group, not that of whoever started the supervisor
        os.killpg(group, signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
    never.wait(_END_SECONDS)
    os._exit(_ENDED)
