"""What a job does: one command with its arguments, where its result goes, what it needs, and when it ends.

A job's process ends with whoever supervises it: cancelled, the head gone, the supervisor lost, nothing goes on. Ray
ends a cancelled job's process itself, but not where its supervisor or the head dies first: an orphan was seen to fit
on, with private rows in memory. So the process looks at its parent and its parent's parent (a shell of Ray's may stand
between) every second, and ends itself and what it started.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from raysynth.errors import ParameterError
from raysynth.files.storage import is_uri

SUPERVISED = "RAYSYNTH_SUPERVISED"  # set for a job's process
_LOOK_SECONDS = 1.0
_END_SECONDS = 5.0  # given to the process to end by itself
_ENDED = 128 + signal.SIGTERM
_PROC = Path("/proc")
# Stages in the job's log, beside the plain lines of progress; and the process ends with its supervisor.
_ENVIRONMENT = {"RAYSYNTH_LOG": "text", SUPERVISED: "1"}


@dataclass(frozen=True)
class Resources:
    """What the job's own process reserves on one node; the tasks and workers that it starts reserve their own.

    Args:
        cpus, gpus: number, fractions allowed; 0: none.
        memory_bytes: None: none.
    """

    cpus: float = 0
    gpus: float = 0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Work:
    """One command for a cluster.

    Args:
        command: of the command line ('fit', 'sample' ...).
        arguments: of it.
        result: path that it writes to, None where it writes nothing.
        working_dir: folder or URI whose files the job finds in its own folder; uploaded to every node that needs it.
        runtime_env: further parts of Ray's runtime environment ('pip', 'env_vars', 'excludes' ...).
        resources: of the job's own process.
    """

    command: str
    arguments: tuple[str, ...]
    result: str | None = None
    working_dir: str | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = Resources()

    def validate(self) -> Work:
        """The work itself; raises `ParameterError` where its result would be lost, or its folder is missing."""
        if self.result is not None and not (is_uri(self.result) or PurePosixPath(self.result).is_absolute()):
            raise ParameterError(
                f"'{self.result}' is in the job's own folder, which is deleted with it; give an absolute path on "
                "storage that all nodes share, for example /shared/results/model.raysynth or s3://bucket/model.raysynth"
            )
        folder = self.working_dir
        if folder is not None and "://" not in folder and not Path(folder).is_dir():
            raise ParameterError(f"the working directory '{folder}' is no folder; check its path")
        return self

    @property
    def key(self) -> str:
        """The same for the same command and arguments: by it a second submission is known."""
        text = json.dumps([self.command, *self.arguments])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def entrypoint(self) -> str:
        """The shell command that the job runs on the cluster."""
        return shlex.join(["python", "-m", "raysynth", self.command, *self.arguments])

    @property
    def metadata(self) -> dict[str, str]:
        """What the cluster keeps beside the job."""
        return {"raysynth": self.command, "key": self.key, "result": self.result or ""}

    def environment(self) -> dict[str, Any]:
        """Working directory and environment variables of the job, in the form of Ray's `runtime_env`."""
        variables = {**_ENVIRONMENT, **self.runtime_env.get("env_vars", {})}
        folder = {} if self.working_dir is None else {"working_dir": self.working_dir}
        return {**self.runtime_env, **folder, "env_vars": variables}


def new_job_id(work: Work) -> str:
    """A fresh id: Ray refuses one that was used before, whatever became of that job."""
    return f"raysynth-{work.command}-{work.key}-{secrets.token_hex(3)}"


def end_with_parents() -> None:
    """Watch, from a thread in the background, where the environment says that this process is a job's (Linux).

    Raises:
        SystemExit: the job was cancelled while this process began, and nobody is left to watch.
    """
    if os.environ.get(SUPERVISED) != "1" or not _PROC.is_dir():
        return
    leader = os.getsid(0)  # Ray's shell, or this process itself
    if os.getppid() <= 1 or (leader != os.getpid() and _known(leader) is None):
        raise SystemExit(_ENDED)
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
