"""A job's process, and what it started, end when its supervisor is killed; a process that is no job's goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raysynth.jobs.work import SUPERVISED

SECONDS = 10.0
JOB = """
import pathlib, subprocess, sys, os
from raysynth.jobs.work import end_with_parents
end_with_parents()
child = subprocess.Popen(["sleep", "300"])
note = pathlib.Path(sys.argv[1])
note.with_suffix(".tmp").write_text(f"{os.getpid()} {child.pid}")
note.with_suffix(".tmp").rename(note)
child.wait()
"""
LATE = """
import os, pathlib, sys, time
from raysynth.jobs.work import end_with_parents
parent, note = os.getppid(), pathlib.Path(sys.argv[1])
note.write_text(str(os.getpid()))
while os.getppid() == parent:
    time.sleep(0.02)
end_with_parents()
note.with_suffix(".on").touch()
time.sleep(300)
"""
# As Ray's: a shell in a session of its own; `: ;` keeps some shells from handing their process over to the command.
SUPERVISOR = """
import subprocess, sys
subprocess.Popen(sys.argv[1], shell=True, start_new_session=True).wait()
"""


@contextmanager
def supervised(folder: Path, command: str, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A supervisor, and the ids of the job's process and of its child, once both run."""
    (folder / "job.py").write_text(JOB)
    line = command.format(python=sys.executable, job=folder / "job.py", note=folder / "pids")
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, line], env={**os.environ, **more})
    pids: list[int] = []
    try:
        end = time.monotonic() + 60
        while not (folder / "pids").exists():
            assert supervisor.poll() is None and time.monotonic() < end, "the job did not begin"
            time.sleep(0.05)
        pids += map(int, (folder / "pids").read_text().split())
        yield supervisor, pids
    finally:
        supervisor.kill()
        supervisor.wait()
        for pid in filter(lives, pids):
            os.kill(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="parents are watched on Linux")
@pytest.mark.parametrize("command", ["{python} {job} {note}", ": ; {python} {job} {note} ; :"])
def test_a_job_ends_with_its_supervisor(tmp_path: Path, command: str) -> None:
    with supervised(tmp_path, command, **{SUPERVISED: "1"}) as (supervisor, pids):
        assert all(map(lives, pids))
        supervisor.kill()
        supervisor.wait()
        end = time.monotonic() + SECONDS
        while any(map(lives, pids)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(lives, pids))


def test_another_process_outlives_who_started_it(tmp_path: Path) -> None:
    """Longer than two looks."""
    with supervised(tmp_path, "{python} {job} {note}", **{SUPERVISED: "0"}) as (supervisor, pids):
        supervisor.kill()
        supervisor.wait()
        end = time.monotonic() + 2.5
        while time.monotonic() < end and all(map(lives, pids)):
            time.sleep(0.1)
        assert all(map(lives, pids))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="parents are watched on Linux")
def test_a_job_that_is_cancelled_while_it_begins_ends_too(tmp_path: Path) -> None:
    """Its supervisor's shell is gone before it can look at it."""
    (tmp_path / "late.py").write_text(LATE)
    note = tmp_path / "pid"
    line = f"{sys.executable} {tmp_path / 'late.py'} {note} & while [ ! -s {note} ]; do sleep 0.05; done"
    subprocess.run(
        line, shell=True, start_new_session=True, env={**os.environ, SUPERVISED: "1"}, timeout=60, check=True
    )
    pid, end = int(note.read_text()), time.monotonic() + SECONDS
    try:
        while lives(pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert not lives(pid) and not note.with_suffix(".on").exists()
    finally:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)
