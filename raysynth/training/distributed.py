"""The training loop under Ray Train: a share of the shards for each worker, averaged gradients, retries.

Ray Train (V2) starts the workers and the process group, keeps checkpoints on `run_config.storage_path`, and after the
loss of a worker starts all of them again, as often as `run_config.failure_config` allows. Each start reads the latest
checkpoint, which holds the history, so that no epoch is lost or counted twice. A driver that was lost goes on when it
is run again with the same `name` and `storage_path`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from raysynth.errors import ClusterError, ParameterError, RaysynthError, TrainingError
from raysynth.files.private_folder import private_folder
from raysynth.files.storage import is_uri, place
from raysynth.running.plain_lines import told
from raysynth.running.ray_session import RETRIES, start_ray
from raysynth.training.checkpoints import FILE_NAME, CurveFolder, read_checkpoint, write_checkpoint
from raysynth.training.job import Job, Place, train_worker
from raysynth.training.loop import Checkpoint, TrainResult
from raysynth.training.shards import Shares

if TYPE_CHECKING:
    from ray.train import RunConfig, ScalingConfig

_logger = logging.getLogger("raysynth")


def train_on_ray(
    job: Job,
    shards: Shares,
    scaling_config: ScalingConfig,
    run_config: RunConfig | None = None,
    *,
    start: Checkpoint | None = None,
    curves: CurveFolder | None = None,
) -> TrainResult:
    """Train on the workers that `scaling_config` describes.

    Args:
        job: what to train; pickled for the workers.
        shards: the encoded table, handed to the workers (`scratch.py`) or in a folder that all of them see.
        scaling_config: number and kind of workers.
        run_config: name, storage and retries (3 where nothing is said of failures); None: a temporary folder here.
        start: where a run begins that has no checkpoint of its own yet; None: at the beginning.
        curves: where rank 0 writes loss curves; None: nowhere.

    Raises:
        TrainingError: as in this process. ClusterError: more workers were lost than the retries allow.
        ParameterError: the batch cannot be divided over so many workers.
    """
    from ray.train import TrainingFailedError
    from ray.train.torch import TorchTrainer

    check_division(job, scaling_config)
    check_storage(is_shared=run_config is not None and run_config.storage_path is not None)
    with private_folder() as scratch:
        config = completed(run_config, str(scratch))
        described = {"job": job, "shards": shards, "start": start, "curves": curves}
        say_what_it_waits_for(scaling_config, start_ray().cluster_resources())
        trainer = TorchTrainer(_worker, train_loop_config=described, scaling_config=scaling_config, run_config=config)
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            raise _explained(error) from error
        if result.checkpoint is None:
            raise ClusterError("the training ended without a checkpoint; see the logs of the workers")
        with result.checkpoint.as_directory() as folder:
            checkpoint = read_checkpoint(Path(folder) / FILE_NAME)
    return TrainResult(checkpoint.state, checkpoint.history)


def check_division(job: Job, scaling_config: ScalingConfig) -> None:
    """Raise `ParameterError` where a worker's share of the batch is no multiple of what the model needs.

    Where the number of workers is a range, a share is rounded down to a multiple for the number that runs.
    """
    fewest, most = worker_range(scaling_config)
    workers = most if fewest == most else 1
    if job.settings.batch_size % (workers * job.batch_multiple):
        raise ParameterError(
            f"batch_size {job.settings.batch_size} cannot be divided over {workers} workers in packs of "
            f"{job.batch_multiple}; choose a multiple of {workers * job.batch_multiple}"
        )


def worker_range(scaling_config: ScalingConfig) -> tuple[int, int]:
    """The fewest and the most workers: `num_workers` is one number, or a range within which Ray follows the cluster."""
    n: Any = scaling_config.num_workers
    return (n, n) if isinstance(n, int) else (int(n[0]), int(n[1]))


def check_storage(*, is_shared: bool) -> None:
    """Raise `ParameterError` where workers on other nodes would keep checkpoints on this machine's own disk.

    Args:
        is_shared: whether the user named a place that all nodes see.
    """
    if is_shared:
        return
    nodes = [node for node in start_ray().nodes() if node["Alive"]]
    if len(nodes) > 1 or not all(node["Resources"].get("CPU") for node in nodes):  # an autoscaler will add nodes
        raise ParameterError(
            f"the cluster has {len(nodes)} nodes or will have more, and checkpoints must be in a place that all of "
            "them see: give run_config=RunConfig(storage_path='s3://bucket/runs' or '/shared/runs', name=...) "
            "(raysynth fit: --storage s3://bucket/runs/NAME)"
        )


def say_what_it_waits_for(scaling_config: ScalingConfig, found: Mapping[str, float]) -> None:
    """A word in the log where the cluster, as it is, has no room for the fewest workers: Ray waits, and says nothing.

    Args:
        scaling_config: number and kind of workers.
        found: the cluster's resources.
    """
    fewest, most = worker_range(scaling_config)
    asked = {name: fewest * amount / max(1, most) for name, amount in scaling_config.total_resources.items()}
    lacking = [f"{amount:g} {name}" for name, amount in asked.items() if amount > found.get(name, 0.0) + 1e-9]
    if lacking:
        there = ", ".join(f"{found.get(name, 0.0):g} {name}" for name in asked)
        _logger.warning(
            "the training waits: its %d workers need %s, and the cluster has %s; it begins when nodes have joined "
            "(fewer: ScalingConfig(num_workers=(1, %d)), or smaller resources_per_worker)",
            fewest,
            " and ".join(lacking),
            there,
            most,
        )


class _OverWorkers:
    """Averages and sums over the workers of the process group (an `Average`)."""

    @property
    def n_workers(self) -> int:
        """W, as it is now."""
        import torch.distributed as dist

        return dist.get_world_size()

    def __call__(self, tensors: Iterable[Tensor]) -> None:
        """One explicit all-reduce of all tensors together; each becomes the mean over the workers, in place."""
        self._reduce(tensors, 1 / self.n_workers)

    def total(self, tensors: Iterable[Tensor]) -> None:
        """The same for the sum."""
        self._reduce(tensors, 1.0)

    def _reduce(self, tensors: Iterable[Tensor], factor: float) -> None:
        import torch.distributed as dist

        targets = list(tensors)
        if not targets or dist.get_world_size() == 1:
            return
        flat = torch.cat([t.reshape(-1) for t in targets])
        dist.all_reduce(flat, op=dist.ReduceOp.SUM)
        flat *= factor
        for target, part in zip(targets, flat.split([t.numel() for t in targets]), strict=True):
            target.copy_(part.reshape(target.shape))


average_over_workers = _OverWorkers()


@dataclass(frozen=True)
class RayStore:
    """Checkpoints through Ray Train: rank 0 writes, all report.

    Args:
        rank: of this worker.
        start: see `train_on_ray`. curves: see `train_on_ray`.
        where: for messages.
    """

    rank: int
    start: Checkpoint | None = None
    curves: CurveFolder | None = None
    where: str = "the run's storage path"

    def load(self) -> Checkpoint | None:
        """The latest checkpoint of the run, or the start."""
        from ray import train

        latest = train.get_checkpoint()
        if latest is None:
            return self.start
        with latest.as_directory() as folder:
            return read_checkpoint(Path(folder) / FILE_NAME)

    def save(self, checkpoint: Checkpoint) -> None:
        """Report a checkpoint to Ray Train, which copies it to storage."""
        self.report(checkpoint.history[-1], checkpoint)

    def report(self, entry: Mapping[str, float], checkpoint: Checkpoint | None) -> None:
        """A checkpoint with the metrics of its epoch for Ray's records; every worker calls it.

        Nothing is reported for the epochs between: a report waits for Ray's next look at the workers (every 2 s).
        """
        from ray import train

        if self.rank == 0 and self.curves is not None:
            self.curves.write(entry)
        if checkpoint is None:
            return
        if self.rank != 0:
            train.report(dict(entry))
            return
        with private_folder() as folder:
            write_checkpoint(folder / FILE_NAME, checkpoint)
            train.report(dict(entry), checkpoint=train.Checkpoint.from_directory(folder))


def _worker(config: dict[str, Any]) -> None:
    """What every worker runs."""
    from ray import train
    from ray.train.torch import get_device

    job, shards = config["job"], config["shards"]
    context = train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    with told(quiet=True):  # progress is the driver's to tell
        train_worker(
            job,
            shards.share(rank, world_size),
            Place(rank, world_size, get_device(), average_over_workers),
            n_rows=shards.n_rows,
            store=RayStore(rank, config["start"], config["curves"]),
            label="training",
        )


def completed(run_config: RunConfig | None, scratch: str) -> RunConfig:
    """What a user says of a run, with the retries of ours where nothing is said of failures, and the file system of
    its URI, opened as everywhere here (`files/stores.py`).

    Ray fills in `FailureConfig()` where none is given, so that it means the same; whoever wants no retries gives
    `FailureConfig(max_failures=0, max_preemption_failures=0)`.

    Args:
        run_config: of the user; None: nothing was said.
        scratch: a folder of this machine, for that case.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig

    if run_config is None:
        run_config = RunConfig("raysynth", storage_path=scratch, checkpoint_config=CheckpointConfig(num_to_keep=2))
    if run_config.failure_config == FailureConfig():
        run_config = replace(run_config, failure_config=FailureConfig(max_failures=RETRIES))
    path = run_config.storage_path
    if path is None or run_config.storage_filesystem is not None or not is_uri(path):
        return run_config
    where = place(path, "storage_path")
    return replace(run_config, storage_path=where.path, storage_filesystem=where.filesystem)


def _explained(error: Exception) -> RaysynthError:
    """The worker's own error where it was raised on purpose, else what was lost."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause = getattr(failure, "cause", failure)
        if isinstance(cause, RaysynthError):
            return cause
        if isinstance(cause, RuntimeError) and "out of memory" in str(cause):
            return TrainingError(f"a worker ran out of memory ({cause}); lower batch_size or use more workers")
    return ClusterError(
        f"the training failed on {len(failures) or 'some'} of the workers more often than run_config.failure_config "
        f"allows; raise max_failures, or see the first error: {error}"
    )
