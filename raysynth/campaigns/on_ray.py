"""Trials as Ray tasks: a bounded number in flight, lost workers retried, each task writes its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raysynth.campaigns.plan import Trial
from raysynth.campaigns.trial import Report, World
from raysynth.errors import ClusterError
from raysynth.running.metrics import count_done
from raysynth.running.ray_session import start_ray


def reports_from_ray(
    work: Callable[[World, Trial], Any],
    world: World,
    trials: Iterator[Trial],
    options: Mapping[str, Any],
    max_in_flight: int | None,
) -> Iterator[Any]:
    """A report for each trial, as they are done.

    Trials are taken from the iterator only when there is room for them, so that it may look at what is known by then.
    A task is safe to run again: its file has the trial's name, and replaces itself.

    Args:
        work: (world, trial) -> report.
        options: num_cpus, num_gpus, max_retries.
        max_in_flight: None: twice as many as the cluster's resources hold at once, read anew as nodes come and go.
    """
    ray = start_ray()
    task = ray.remote(**options)(_one)
    shared_work, shared_world = ray.put(work), ray.put(world)
    running: dict[Any, Trial] = {}
    more = True
    try:
        while more or running:
            bound = max_in_flight if max_in_flight is not None else 2 * _slots(ray.cluster_resources(), options)
            while more and len(running) < bound:
                trial = next(trials, None)
                if trial is None:
                    more = False
                    break
                running[task.remote(shared_work, shared_world, trial)] = trial
            if not running:
                break
            ready, _ = ray.wait(list(running), num_returns=1, timeout=10.0)
            for ref in ready:
                count_done("trials")
                yield _report(ray, ref, running.pop(ref))
    finally:
        for ref in running:
            ray.cancel(ref)


def _one(work: Callable[[World, Trial], Any], world: World, trial: Trial) -> Any:
    import torch

    torch.set_num_threads(1)
    return work(world, trial)


def _report(ray: Any, ref: Any, trial: Trial) -> Any:
    """The task's report; a failure where its worker died more often than the retries allow."""
    try:
        return ray.get(ref)
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.LocalRayletDiedError,
    ) as error:
        return Report(trial.key, f"{type(error).__name__}: its worker died more often than the retries allow")
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from error
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the cluster was lost ({error}); call run() again to go on") from error


def _slots(resources: Mapping[str, float], options: Mapping[str, Any]) -> int:
    """Tasks that the cluster holds at once."""
    room = [resources.get("CPU", 1) / options["num_cpus"]] if options["num_cpus"] else []
    if options["num_gpus"]:
        room.append(resources.get("GPU", 0) / options["num_gpus"])
    return max(int(min(room, default=1)), 1)
