"""What is submitted: parsed before anything leaves this machine, with results that outlive the job."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer.main
from typer.testing import CliRunner

from raysynth import cli
from raysynth.cli.submit import NOT_JOBS, runtime_environment, work_of
from raysynth.errors import ClusterError, ParameterError
from raysynth.jobs import JobCluster, JobStatus, Work, new_job_id
from raysynth.jobs.cluster import read_token

COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
FIT = ["fit", "s3://bucket/visits/", "--model", "/shared/visits model.raysynth", "--seed", "1"]


def test_every_command_but_submit_can_be_a_job() -> None:
    assert set(COMMANDS) - set(NOT_JOBS) >= {"fit", "sample", "evaluate"}
    for name in set(COMMANDS) - set(NOT_JOBS):
        with pytest.raises(ParameterError, match=f"raysynth {name}: .*--nonsense"):
            work_of([name, "--nonsense"], COMMANDS)


def test_the_words_reach_the_cluster_as_they_are() -> None:
    work = work_of(FIT, COMMANDS)
    assert shlex.split(work.entrypoint) == ["python", "-m", "raysynth", *FIT]
    assert work.result == "/shared/visits model.raysynth"
    assert work.environment()["env_vars"]["RAYSYNTH_LOG"] == "text"
    assert work_of(["sample", "--verify", "/shared/rows"], COMMANDS).result is None


def test_the_same_work_has_the_same_key_and_a_new_id() -> None:
    first, again, other = (Work("fit", arguments) for arguments in (("a",), ("a",), ("b",)))
    assert first.key == again.key != other.key
    assert len({new_job_id(first) for _ in range(50)}) == 50
    assert new_job_id(first).startswith(f"raysynth-fit-{first.key}-")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say which command .*fit"),
        (["submit", "fit"], "say which command .*found 'submit'"),
        (["fit", "data.csv"], "raysynth fit: .*--model"),
        (["fit", "data.csv", "--model", "model.raysynth"], "'model.raysynth' is in the job's own folder"),
        (["sample", "/m", "-n", "many", "--out", "/x"], "raysynth sample: .*--rows"),
    ],
)
def test_work_that_cannot_run_is_refused_here(words: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        work_of(words, COMMANDS)


def test_a_bucket_is_a_place_for_a_result() -> None:
    assert work_of(["sample", "/m", "-n", "5", "--out", "s3://bucket/x"], COMMANDS).result == "s3://bucket/x"


def test_runtime_environment(tmp_path: Path) -> None:
    file = tmp_path / "environment.json"
    file.write_text('{"pip": ["a"], "env_vars": {"X": "1"}}')
    assert runtime_environment(file, ["b"], ["Y=2=3"]) == {"pip": ["a", "b"], "env_vars": {"X": "1", "Y": "2=3"}}
    with pytest.raises(ParameterError, match="NAME=VALUE"):
        runtime_environment(None, [], ["Y"])
    file.write_text("[]")
    with pytest.raises(ParameterError, match="must hold a JSON object"):
        runtime_environment(file, [], [])
    with pytest.raises(ParameterError, match="no readable JSON"):
        runtime_environment(tmp_path / "none", [], [])
    with pytest.raises(ParameterError, match="is no folder"):
        Work("fit", (), working_dir=str(tmp_path / "none")).validate()


def test_where_the_token_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("home\n")
    assert read_token() == "home"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "variable")
    assert read_token() == "variable"
    (tmp_path / "token").write_text("file\n")
    assert read_token(tmp_path / "token") == "file"
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ClusterError, match="is empty"):
        read_token(tmp_path / "token")
    with pytest.raises(ClusterError, match="cannot read the token file"):
        read_token(tmp_path / "none")


def test_clusters_that_cannot_be_meant(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    with pytest.raises(ParameterError, match="http"):
        JobCluster.connect("head:6379", tmp_path / "token")
    with pytest.raises(ClusterError, match="no job server answers at http://127.0.0.1:1"):
        JobCluster.connect("http://127.0.0.1:1", tmp_path / "token")


def test_a_mistake_costs_no_connection() -> None:
    result = CliRunner().invoke(cli.app, ["submit", "--address", "http://127.0.0.1:1", "fit", "x.csv"])
    assert result.exit_code == 2 and "--model" in result.stderr


class Server:
    """Of a job whose log breaks off once, and which is over when it has been read."""

    def __init__(self) -> None:
        self.asked = 0

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        self.asked += 1
        yield "one "
        if self.asked == 1:
            raise RuntimeError("connection lost")
        yield "two "
        yield "three"

    def get_job_info(self, job_id: str) -> SimpleNamespace:
        state = "SUCCEEDED" if self.asked > 1 else "RUNNING"
        return SimpleNamespace(submission_id=job_id, status=state, message="", metadata={})


@pytest.mark.parametrize("in_a_notebook", [False, True])
def test_a_log_is_followed_over_a_lost_connection_in_a_notebook_too(in_a_notebook: bool) -> None:
    written: list[str] = []
    cluster = JobCluster("http://head:8265", cast(Any, Server()))

    async def cell() -> JobStatus:
        return cluster.follow("job", written.append)

    status = asyncio.run(cell()) if in_a_notebook else cluster.follow("job", written.append)
    assert "".join(written) == "one two three" and status.state == "SUCCEEDED"
