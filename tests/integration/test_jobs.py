"""Jobs over loopback: a cluster started with `ray start --head` and a token; fit, sample and evaluate run as jobs."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth.errors import ClusterError
from raysynth.jobs import JobCluster
from raysynth.sampling.writer import verify

N = 200  # the attacks of an evaluation take no longer than its process then


@dataclass(frozen=True)
class Head:
    """A running head node."""

    address: str
    token_file: Path
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """`ray start --head` on ports of its own; its processes are ended by their session folder's own stop command."""
    folder = tmp_path_factory.mktemp("cluster")
    scratch = Path(tempfile.mkdtemp(prefix="rj"))  # short: Ray's socket names have a limit
    (folder / "token").write_text("0123456789abcdef0123456789abcdef")
    port, dashboard = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_TMPDIR": str(scratch),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    options = ["--head", "--block", "--num-cpus=2", f"--port={port}", f"--temp-dir={scratch}"]
    options += ["--include-dashboard=true", f"--dashboard-port={dashboard}", "--object-store-memory=200000000"]
    options += [
        f"--ray-client-server-port={free_port()}",
        f"--dashboard-agent-listen-port={free_port()}",
        "--disable-usage-stats",
    ]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{dashboard}", folder / "token", folder / "log")
        yield Head(f"http://127.0.0.1:{dashboard}", folder / "token", environment)
    finally:
        process.terminate()  # --block ends the node's other processes with it
        process.wait(30)
        left = still_there(f"RAY_TMPDIR={scratch}")
        shutil.rmtree(scratch, ignore_errors=True)
        assert left == [], "the head is gone, and so is every process of its jobs"


def still_there(words: str, seconds: float = 10.0) -> list[str]:
    """Command lines of the processes whose environment or command holds the words, unless they end in that time."""
    end = time.monotonic() + seconds
    while True:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
            except OSError:  # it ended, or is another user's
                continue
            if command and words.encode() in command + environment and int(process.name) != os.getpid():
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
        if not found or time.monotonic() > end:
            return found
        threading.Event().wait(0.2)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, token: Path, log: Path) -> None:
    for _ in range(120):
        assert process.poll() is None, log.read_text()
        try:
            JobCluster.connect(address, token)
        except ClusterError:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, N)
    frame = pd.DataFrame(
        {"age": age, "town": rng.choice(["Aachen", "Bonn"], N), "income": age * 500 + rng.normal(0, 900, N)}
    )
    path = tmp_path_factory.mktemp("shared") / "people.csv"
    frame.to_csv(path, index=False)
    return path


def submit(head: Head, *words: str, token: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysynth", "submit", "--json", "--address", head.address]
    environment = {k: v for k, v in head.environment.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [*command, "--token-file", str(token or head.token_file), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_fit_sample_and_evaluate_run_as_jobs(head: Head, table: Path) -> None:
    shared = table.parent
    model, rows, report = shared / "people.raysynth", shared / "rows", shared / "report.html"
    fitted = submit(head, "fit", str(table), "--method", "copula", "--model", str(model), "--seed", "1")
    assert fitted.returncode == 0, fitted.stderr
    record = json.loads(fitted.stdout)
    assert (record["state"], record["result"]) == ("SUCCEEDED", str(model)) and model.exists()
    assert f"stage=statistics rows={N}" in fitted.stderr, "the job's log is followed"
    sample = ("sample", str(model), "-n", "300", "--out", str(rows), "--seed", "2")
    first = submit(head, *sample)
    before = {p: p.stat().st_mtime_ns for p in rows.glob("*.parquet")}
    again = submit(head, *sample)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert json.loads(first.stdout)["job"] != json.loads(again.stdout)["job"]
    assert "again, after raysynth-sample-" in again.stderr
    assert verify(rows).rows == 300 and {p: p.stat().st_mtime_ns for p in rows.glob("*.parquet")} == before
    evaluated = submit(head, "evaluate", str(table), str(rows), "--out", str(report))
    assert evaluated.returncode == 0, evaluated.stderr
    assert report.stat().st_size > 1000
    cluster = JobCluster.connect(head.address, head.token_file)
    assert [job.state for job in cluster.jobs()] == ["SUCCEEDED"] * 4


def test_a_wrong_token_is_refused_with_a_clear_message(head: Head, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("f" * 32)
    answer = submit(head, "--list", token=tmp_path / "token")
    assert answer.returncode == 1
    assert "refused the token; check --token-file" in json.loads(answer.stdout)["error"]["message"]


def test_input_at_fault_and_unknown_jobs_are_named(head: Head, table: Path) -> None:
    missing = submit(head, "fit", str(table.parent / "none.csv"), "--model", str(table.parent / "none.raysynth"))
    assert missing.returncode == 2, missing.stderr
    assert "there is no file or folder" in missing.stderr
    assert "input is at fault" in json.loads(missing.stdout)["error"]["message"]
    cluster = JobCluster.connect(head.address, head.token_file)
    with pytest.raises(ClusterError, match="knows no job raysynth-nothing"):
        cluster.status("raysynth-nothing")


def test_a_job_is_cancelled(head: Head, table: Path) -> None:
    model = table.parent / "long.raysynth"
    words = ("fit", str(table), "--method", "ctgan", "--epochs", "100000", "--model", str(model))
    answer = submit(head, "--no-wait", *words)
    assert answer.returncode == 0, answer.stderr
    job = json.loads(answer.stdout)["job"]
    cluster = JobCluster.connect(head.address, head.token_file)
    assert not cluster.status(job).is_over
    assert cluster.cancel(job).state == "STOPPED"
    assert still_there(str(model)) == [] and not model.exists()


def test_the_guides_cluster_on_one_machine_works_as_it_is_typed(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "cluster" / "README.md").read_text(encoding="utf-8")
    typed = re.search(r"## 0\. Try it on this machine.*?```bash\n(.*?)```", guide, re.DOTALL)
    assert typed is not None
    scratch = Path(tempfile.mkdtemp(prefix="rj"))
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, module in (("raysynth", "raysynth"), ("ray", "ray.scripts.scripts")):
        (bin_ / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (bin_ / name).chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "HOME": str(tmp_path),
        "PORT": str(free_port()),
        "RAY_TMPDIR": str(scratch),
        "PATH": f"{bin_}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    try:
        done = subprocess.run(
            ["bash", "-e", "-m", "-c", typed[1]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "head.log").read_text()
        assert (tmp_path / "survey.raysynth").exists() and not (tmp_path / "long.raysynth").exists()
        assert "succeeded" in done.stdout and "stopped" in done.stdout
        assert still_there(f"RAY_TMPDIR={scratch}") == []
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
