"""`raysynth submit`: a command of this command line as a job on a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from raysynth.cli.application import command
from raysynth.cli.steps import Outcome
from raysynth.errors import ClusterError, InputError, ParameterError
from raysynth.jobs import JobCluster, JobStatus, Resources, Work

NOT_JOBS = ("submit",)
_RESULTS = ("model", "out")  # options that name what a command writes, unless they are its input
_INPUT_AT_FAULT = 2
_WRONG_USAGE: type[Any] = typer.BadParameter.__mro__[1]  # click's UsageError; typer brings it under a private name


@command(
    kept="A job that was submitted goes on: raysynth submit --list.",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""
[bold]Examples[/bold]

raysynth submit --address http://head:8265 --token-file token fit s3://bucket/visits/ --model /shared/visits.raysynth

[dim]# the same words as without submit, behind submit's own options; results on storage that all nodes see[/dim]

raysynth submit --no-wait sample /shared/visits.raysynth -n 1000000000 --out /shared/synthetic

raysynth submit --list

raysynth submit --status raysynth-sample-1f3a5c7e-90ab12

raysynth submit --cancel raysynth-sample-1f3a5c7e-90ab12
""",
)
def submit(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(metavar="URL", help="Dashboard of the cluster; default: RAY_API_SERVER_ADDRESS.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the cluster's token; default: RAY_AUTH_TOKEN_PATH.")
    ] = None,
    working_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder that is uploaded for the job. It leaves this machine.")
    ] = None,
    runtime_env: Annotated[Path | None, typer.Option(metavar="JSON", help="Ray runtime environment.")] = None,
    pip: Annotated[list[str] | None, typer.Option(metavar="PACKAGE", help="Installed for the job.")] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Environment variable.")] = None,
    cpus: Annotated[float, typer.Option(help="Reserved for the job's own process.", min=0)] = 0,
    gpus: Annotated[float, typer.Option(help="Reserved for the job's own process.", min=0)] = 0,
    memory: Annotated[float | None, typer.Option(metavar="GB", help="Reserved for it.", min=0)] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the log until the job is over.")] = True,
    status: Annotated[str | None, typer.Option(metavar="JOB", help="Say how a job stands.")] = None,
    follow: Annotated[
        str | None, typer.Option("--follow", "--logs", metavar="JOB", help="Its log, to the end.")
    ] = None,
    cancel: Annotated[str | None, typer.Option(metavar="JOB", help="Stop a job.")] = None,
    list_jobs: Annotated[bool, typer.Option("--list", help="All jobs of raysynth on the cluster.")] = False,
    allow_open_cluster: Annotated[
        bool, typer.Option("--allow-open-cluster", help="Accept a cluster that asks for no token.")
    ] = False,
) -> Outcome:
    """Run any command of raysynth as a job on a Ray cluster.

    The job's log is followed here; Ctrl-C leaves the job running. Submitted again, the same work takes a new id and \
resumes from what is on storage.
    """
    asks = status or follow or cancel or list_jobs
    group = context.parent.command if context.parent else None
    wanted = None if asks else work_of(context.args, getattr(group, "commands", {}))
    if wanted is not None:
        wanted = replace(
            wanted,
            working_dir=working_dir,
            runtime_env=runtime_environment(runtime_env, pip or [], env or []),
            resources=resources(cpus, gpus, memory),
        ).validate()
    cluster = JobCluster.connect(address, token_file, allow_open=allow_open_cluster)
    write = partial(typer.echo, nl=False, err=True)
    if wanted is not None:
        return submit_work(cluster, wanted, write, wait=wait)
    if cancel:
        return outcome_of(cluster.cancel(cancel))
    if follow:
        return ended(cluster.follow(follow, write))
    return outcome_of(cluster.status(status)) if status else list_of(cluster.jobs())


def work_of(words: Sequence[str], commands: Mapping[str, Any], **more: Any) -> Work:
    """The work that the words behind `raysynth submit` describe; they are parsed here, before anything is uploaded.

    Args:
        words: command and its arguments.
        commands: of the command line.
        more: further arguments of `Work`.

    Raises:
        ParameterError: unknown command, or arguments that it does not take.
    """
    names = [name for name in commands if name not in NOT_JOBS]
    if not words or words[0] not in names:
        found = f"; found {words[0]!r}" if words else ""
        raise ParameterError(f"say which command should run on the cluster: {', '.join(names)}{found}")
    command, arguments = words[0], list(words[1:])
    try:
        given = commands[command].make_context(command, list(arguments)).params
    except _WRONG_USAGE as error:
        raise ParameterError(f"raysynth {command}: {error.format_message()}") from None
    options = {p.name for p in commands[command].params if p.param_type_name == "option"}
    results = [given[name] for name in _RESULTS if name in options and given.get(name) is not None]
    return Work(command, tuple(arguments), str(results[0]) if results else None, **more).validate()


def runtime_environment(file: Path | None, packages: Sequence[str], variables: Sequence[str]) -> dict[str, Any]:
    """Ray's runtime environment from a JSON file and options; raises `ParameterError`."""
    environment: dict[str, Any] = {}
    if file is not None:
        try:
            environment = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ParameterError(f"--runtime-env {file} is no readable JSON file ({error})") from None
        if not isinstance(environment, dict):
            raise ParameterError(f"--runtime-env {file} must hold a JSON object, as Ray's runtime_env")
    if packages:
        environment["pip"] = [*environment.get("pip", []), *packages]
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not (equals and name):
            raise ParameterError(f"--env {variable}: write it as NAME=VALUE")
        environment.setdefault("env_vars", {})[name] = value
    return environment


def resources(cpus: float, gpus: float, memory_gb: float | None) -> Resources:
    """What the job's own process reserves."""
    return Resources(cpus, gpus, None if memory_gb is None else int(memory_gb * 1e9))


def submit_work(cluster: JobCluster, work: Work, write: Any, *, wait: bool) -> Outcome:
    """Submit, tell the id at once, and follow the log to the end where `wait`."""
    earlier = [job.job_id for job in cluster.jobs() if f"-{work.key}-" in job.job_id]
    job_id = cluster.submit(work)
    again = f" (again, after {earlier[-1]}; what is on storage is not done twice)" if earlier else ""
    write(f"{job_id} submitted to {cluster.address}{again}\n")
    if not wait:
        return outcome_of(cluster.status(job_id))
    return ended(cluster.follow(job_id, write))


def ended(status: JobStatus) -> Outcome:
    """The outcome of a job that is over; raises `InputError` or `ClusterError` where it failed."""
    if status.state == "FAILED":
        text = f"job {status.job_id} failed: {status.message}"
        if status.exit_code == _INPUT_AT_FAULT:
            raise InputError(f"{text}; its input is at fault, see its log")
        raise ClusterError(f"{text}; see its log, and submit the same work again to resume from what is on storage")
    return outcome_of(status)


def outcome_of(status: JobStatus) -> Outcome:
    """How a job stands."""
    record = {
        "command": "submit",
        "job": status.job_id,
        "state": status.state,
        "message": status.message,
        "result": status.result,
    }
    result = f"\nResult: {status.result}" if status.result else ""
    return Outcome(record, f"{status.job_id}: {status.state.lower()}. {status.message}{result}")


def list_of(jobs: Sequence[JobStatus]) -> Outcome:
    """All jobs, a line each."""
    rows = [outcome_of(job).record for job in jobs]
    lines = [f"{job.job_id:<40} {job.state.lower():<10} {job.result or ''}".rstrip() for job in jobs]
    return Outcome({"command": "submit", "jobs": rows}, "\n".join(lines) or "no jobs of raysynth on this cluster")
