"""A running cluster that takes jobs: submit, follow the log, status, cancel; always with a token.

Whoever reaches the port of a Ray dashboard without authentication runs code there (the ShadowRay attacks), so a cluster
that answers without a token is refused. A job is never started again by Ray: submit the same work again, under a new
id; what finished parts and checkpoints there are on storage is not done twice.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysynth.errors import ClusterError, ParameterError
from raysynth.jobs.work import Work, new_job_id

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.5
_LOST_CONNECTIONS = 30  # in a row, before following a log is given up


@dataclass(frozen=True)
class JobStatus:
    """How a job stands.

    Args:
        job_id: of the job.
        state: 'PENDING', 'RUNNING', 'STOPPED', 'SUCCEEDED' or 'FAILED'.
        message: what Ray says about it, in a line.
        result: path that the job writes to, None where it writes nothing.
        exit_code: of the command; None while it runs, or where it could not be started.
    """

    job_id: str
    state: str
    message: str
    result: str | None = None
    exit_code: int | None = None

    @property
    def is_over(self) -> bool:
        """True when nothing more will happen."""
        return self.state in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class JobCluster:
    """A connection to the job server of a cluster; made by `connect`.

    Args:
        address: of the dashboard.
        client: Ray's own.
    """

    address: str
    client: JobSubmissionClient

    @classmethod
    def connect(
        cls, address: str | None = None, token_file: str | Path | None = None, *, allow_open: bool = False
    ) -> JobCluster:
        """Connect and authenticate.

        Args:
            address: http(s)://HOST:PORT of the dashboard; None: RAY_API_SERVER_ADDRESS, else this machine's port 8265.
            token_file: holds the cluster's token; None: as Ray looks for it (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, or
                ~/.ray/auth_token).
            allow_open: accept a cluster that asks for no token, for example behind a gateway that authenticates.

        Raises:
            ClusterError: unreachable, no token, a wrong one, or an open cluster; the message says what to do.
        """
        where = _address(address)
        headers = {"Authorization": f"Bearer {token}"} if (token := read_token(token_file)) else {}
        if not headers and not allow_open:
            raise ClusterError(
                "no token for the cluster was found; ask its admin for the file and name it with --token-file, or "
                "export RAY_AUTH_TOKEN_PATH=FILE"
            )
        with _explained(where):
            if not allow_open:
                _require_closed(where)
            with _server(where):
                from ray.job_submission import JobSubmissionClient

                client = JobSubmissionClient(where, headers=headers)
            client.list_jobs()  # the version is given to anybody, the jobs are not
        return cls(where, client)

    def submit(self, work: Work) -> str:
        """Start a job; returns its id, a new one each time.

        Raises:
            ParameterError: the work's result would be lost. ClusterError: the cluster refused it.
        """
        work.validate()
        job_id = new_job_id(work)
        with _explained(self.address):
            return self.client.submit_job(
                entrypoint=work.entrypoint,
                submission_id=job_id,
                runtime_env=work.environment(),
                metadata=work.metadata,
                entrypoint_num_cpus=work.resources.cpus or None,
                entrypoint_num_gpus=work.resources.gpus or None,
                entrypoint_memory=work.resources.memory_bytes,
            )

    def status(self, job_id: str) -> JobStatus:
        """How a job stands; raises `ClusterError` for an unknown id."""
        with _explained(self.address, job_id):
            return _status(self.client.get_job_info(job_id))

    def jobs(self) -> list[JobStatus]:
        """All jobs that raysynth started on this cluster, the latest last."""
        with _explained(self.address):
            found = [job for job in self.client.list_jobs() if (job.metadata or {}).get("raysynth")]
        return [_status(job) for job in sorted(found, key=lambda j: j.start_time or 0)]

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job and wait until it is over; what it finished stays on storage."""
        with _explained(self.address, job_id):
            self.client.stop_job(job_id)
        return self.wait(job_id)

    def wait(self, job_id: str) -> JobStatus:
        """How a job ended."""
        while not (status := self.status(job_id)).is_over:
            time.sleep(_POLL_SECONDS)
        return status

    def follow(self, job_id: str, write: Callable[[str], None]) -> JobStatus:
        """Hand on the job's log as it grows, until the job is over; a lost connection is taken up where it broke."""
        seen = failures = 0
        while True:
            before = seen
            try:
                for text in _tail(self.client, job_id, skip=before):
                    write(text)
                    seen += len(text)
                failures = 0
            except (RuntimeError, OSError) as error:
                failures = failures + 1 if seen == before else 0
                if failures > _LOST_CONNECTIONS:
                    raise ClusterError(
                        f"the log of {job_id} cannot be followed ({error}); the job goes on: raysynth submit --status "
                        f"{job_id}"
                    ) from error
            if (status := self.status(job_id)).is_over:
                return status
            time.sleep(_POLL_SECONDS)


def read_token(token_file: str | Path | None = None) -> str | None:
    """The token of the file, else from where Ray looks for it; None where there is none.

    Raises:
        ClusterError: a file that was named cannot be read, or is empty.
    """
    named = token_file or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named is None and (token := os.environ.get("RAY_AUTH_TOKEN")):
        return token
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        if named is None:
            return None
        raise ClusterError(f"cannot read the token file '{path}' ({error.strerror}); check its path") from error
    if not token:
        raise ClusterError(f"the token file '{path}' is empty; ask the cluster's admin for the token")
    return token


def _address(address: str | None) -> str:
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    if not found.startswith(("http://", "https://")):
        raise ParameterError(f"the cluster's address must be http(s)://HOST:PORT of its dashboard; found {found!r}")
    return found.rstrip("/")


def _require_closed(address: str) -> None:
    """Raise `ClusterError` where the job server answers somebody without a token."""
    import requests

    answer = requests.get(f"{address}/api/jobs/", timeout=_TIMEOUT_SECONDS)
    if answer.status_code == 200:
        raise ClusterError(
            f"the cluster at {address} takes jobs from anybody who reaches it; start it with RAY_AUTH_MODE=token, "
            "or pass --allow-open-cluster where a gateway in front of it authenticates"
        )


@contextmanager
def _server(address: str) -> Iterator[None]:
    """Ray's client prefers RAY_ADDRESS, which may name another cluster, to the address that it is given."""
    name = "RAY_API_SERVER_ADDRESS"
    before = os.environ.get(name)
    os.environ[name] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _explained(address: str, job_id: str | None = None) -> Iterator[None]:
    """What goes wrong between here and the job server, in the user's words."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"the cluster at {address} refused the token; check --token-file or RAY_AUTH_TOKEN_PATH against the file "
            "that the cluster was started with"
        ) from error
    except (ConnectionError, requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise ClusterError(
            f"no job server answers at {address}; check the address, and that its port is forwarded (ray dashboard, "
            "kubectl port-forward)"
        ) from error
    except RuntimeError as error:
        if job_id is not None and "404" in str(error):
            raise ClusterError(f"the cluster at {address} knows no job {job_id}; see raysynth submit --list") from error
        line = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ClusterError(f"the cluster at {address} could not do this: {line}") from error


def _status(job: Any) -> JobStatus:
    lines = (job.message or "").strip().splitlines()
    return JobStatus(
        str(job.submission_id),
        str(getattr(job.status, "value", job.status)),
        lines[0] if lines else "",
        (job.metadata or {}).get("result") or None,
        getattr(job, "driver_exit_code", None),
    )


def _tail(client: JobSubmissionClient, job_id: str, skip: int) -> Iterator[str]:
    """New text of a log as it comes, without the first `skip` characters.

    Read by a thread of its own: Ray's client is asynchronous, and a notebook's thread has a loop that runs already.
    """
    texts: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

    async def read() -> None:
        async for text in client.tail_job_logs(job_id):
            texts.put(text)

    def run() -> None:
        ended = None
        try:
            asyncio.run(read())
        except Exception as error:
            ended = error
        texts.put(ended)

    threading.Thread(target=run, name="raysynth-log", daemon=True).start()
    at = 0
    while (text := texts.get()) is not None:
        if isinstance(text, BaseException):
            raise text
        new = min(len(text), max(0, at + len(text) - skip))
        at += len(text)
        if new:
            yield text[-new:]
