"""From a prepared table to a trained model: rows in memory or shards on disk, this process or Ray's workers.

And marginal calibration: a trained generator's one-column marginals made equal to the released ones, from no row. A GAN
learns how columns hang together better than how often each code occurs. Two corrections mend the latter after training,
from released marginals alone:

1. every code's logit gets a bias, found by fixed-point iteration b += log(released share / generated share), the
   iterative proportional fitting step for a softmax;
2. the value beside a code goes through a monotone map, generated quantile -> released quantile inside that code.

Both leave the order of a row's logits and values as the network made them, so the dependence it learned stays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.numeric import ModeEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.files.private_folder import private_folder, remove_abandoned
from raysynth.files.storage import Place, place
from raysynth.fitting.checks import run_folder
from raysynth.fitting.method import watching
from raysynth.methods.shared.row_sampler import RowSampler, ValueMap
from raysynth.methods.shared.spans import gumbel_noise
from raysynth.running.stages import stage
from raysynth.training.batches import MemoryRows, RowsOfPersons, RowSource
from raysynth.training.job import Job, train_here
from raysynth.training.kept_shards import (
    SHARDS_PER_WORKER,
    KeptRows,
    OwnedShards,
    kept_shards,
    owned_shards,
    shards_in_store,
    stream_owned_shards,
)
from raysynth.training.loop import Checkpoint, Store, TrainResult, Watch
from raysynth.training.private_batches import RowsOfUnits
from raysynth.training.shards import ROWS_PER_SHARD, ShardSet, Shares, stream_shards, write_file

if TYPE_CHECKING:
    from ray.train import RunConfig, ScalingConfig

    from raysynth.fitting.prepared import Prepared
    from raysynth.methods.base import Synthesizer
    from raysynth.methods.fitted import Fitted
    from raysynth.training.scratch import Handing

Sampler = TypeVar("Sampler", bound=RowSampler)

MIN_ROWS_PER_SHARD = 1024
RANKS_PER_COLUMN = 65_536  # points of a released distribution from which quantiles inside each mode are taken
MAX_NUMBERS, MAX_ROWS = 20_000_000, 32_768  # logits held at once in calibration, of at most so many rows
STEPS, KNOTS = 16, 65  # of the iteration; of a value map
NEVER = -40.0  # bias of a code that the released marginal says does not occur
MIN_ROWS = 50  # generated rows of a code below which its values are left as they are


def train_model(model: Synthesizer, job: Job, prepared: Prepared, fitted: Callable[[TrainResult], Fitted]) -> Fitted:
    """Train a method's job as the model's parameters say.

    Args:
        model: in the middle of its fit.
        fitted: makes the fit's value; called at the end, and on the way for whoever watches (see `fitting/method.py`).
    """
    trained = train_prepared(
        job,
        prepared,
        scaling_config=model.scaling_config,
        run_config=model.run_config,
        label=f"training {model.method}",
        watch=watching(model, job.settings.epochs, fitted),
    )
    return fitted(trained)


def train_prepared(
    job: Job,
    prepared: Prepared,
    *,
    scaling_config: ScalingConfig | None,
    run_config: RunConfig | None,
    label: str = "training",
    watch: Watch | None = None,
) -> TrainResult:
    """Train on a prepared table; the result is the same kind of value wherever it runs.

    Without `scaling_config` training runs in this process: on rows in memory, or on memory-mapped shards where they
    take more than 1 GiB or are kept for a second fit. Checkpoints are kept where `run_config` names a `storage_path`,
    and a second run of the same name resumes from them. `watch` sees a training in this process alone.
    """
    for folder in storage_folders(run_config):
        remove_abandoned(folder)
    if scaling_config is None:
        store = local_store(run_config, prepared.resume, _start(prepared))
        if prepared.fits_in_memory and prepared.keep_shards is None:
            block = prepared.encoded()
            rows = MemoryRows(EncodedBlock(np.ascontiguousarray(block.codes_NC), np.ascontiguousarray(block.values_NV)))
            with stage("training", job.settings.rows_shown(prepared.n_rows)):
                return train_here(job, _with_owners(rows, prepared), store=store, label=label, watch=watch)
        with private_folder() as folder:
            shards = _encoded(job, prepared, folder, ROWS_PER_SHARD, workers=1)
            with stage("training", job.settings.rows_shown(prepared.n_rows)):
                own = (
                    shards.share(0, 1)
                    if isinstance(shards, OwnedShards)
                    else _with_owners(shards.share(0, 1), prepared)
                )
                return train_here(job, own, store=store, label=label, watch=watch)
    return _train_on_ray(job, prepared, scaling_config, run_config)


def _with_owners(rows: RowSource, prepared: Prepared) -> RowSource:
    """Encoded rows, in the table's order, with whose they are: units that training draws, or persons held back."""
    if prepared.units is not None:
        return RowsOfUnits(rows, prepared.units)
    persons_N = prepared.persons()
    return rows if persons_N is None else RowsOfPersons(rows, persons_N)


def calibrate(sampler: Sampler, prepared: Prepared) -> Sampler:
    """The sampler with every column's own distribution made equal to the released one; no row is looked at."""
    encoder = prepared.encoder
    return calibrated(sampler, encoder.frequencies(), released_quantiles(encoder), prepared.seed)


def released_quantiles(encoder: TableEncoder) -> list[np.ndarray]:
    """For each value column the quantiles of the value inside each code, from the released distribution alone."""
    ranks = (np.arange(RANKS_PER_COLUMN) + 0.5) / RANKS_PER_COLUMN
    none_missing = np.zeros(RANKS_PER_COLUMN, bool)
    result = []
    for column in encoder.columns:
        if isinstance(column, ModeEncoder):
            codes, values = column.encode(column.to_arrow(column.distribution.quantile(ranks), none_missing))
            result.append(quantiles_by_code(codes, values, column.cardinality))
    return result


def storage_folders(run_config: RunConfig | None) -> list[Path]:
    """The folders where fits with the same storage path, whatever the name of their run, wrote encoded rows once."""
    folder = run_folder(run_config)
    if folder is None or not folder.is_local or not (above := Path(folder.parent.path)).is_dir():
        return []
    return [above, *(path for path in above.iterdir() if path.is_dir())]


def local_store(
    run_config: RunConfig | None, resume: Place | None = None, start: Checkpoint | None = None
) -> Store | None:
    """Where a training in this process keeps checkpoints; None where the user named no storage and resumes nothing.

    Args:
        run_config: names the storage.
        resume: the run that training resumes from, and `start` its checkpoint; None: from the beginning.
    """
    from raysynth.training.checkpoints import FolderStore, names_file

    folder = run_folder(run_config)
    if folder is None and resume is not None:
        folder = resume.parent if names_file(resume) else resume
    return None if folder is None else FolderStore(folder, start)


def _train_on_ray(
    job: Job, prepared: Prepared, scaling_config: ScalingConfig, run_config: RunConfig | None
) -> TrainResult:
    """The prepared table as shards, then the workers."""

    def write(out: Handing, workers: int) -> Shares:
        number_R = _owners(prepared)
        per_shard = int(np.clip(prepared.n_rows // (SHARDS_PER_WORKER * workers), MIN_ROWS_PER_SHARD, ROWS_PER_SHARD))
        if number_R is None or _are_kept_owned(prepared):
            return _encoded(job, prepared, out, per_shard, workers)
        n_shards = owned_shards(number_R, workers)
        if prepared.privacy is None:  # each has rows, as training without a budget needs
            n_shards = min(n_shards, int(number_R.max()) + 1)
        with stage("shards", prepared.n_rows) as done:
            made = stream_owned_shards(prepared.table, prepared.encoder, number_R, out.put, n_shards=n_shards)
            done.bytes = _public_size(prepared, out.n_bytes)
        return OwnedShards(ShardSet(Path(), made, out.files), prepared.units is not None)

    return train_on_workers(job, prepared.n_rows, write, scaling_config, run_config, _start(prepared))


def _owners(prepared: Prepared) -> np.ndarray | None:
    """For each row (R), in the table's order, the number of its owner; None: each row is one, or comes in no order."""
    if prepared.units is not None:
        return prepared.units.number_R
    persons_R = None if prepared.table.dataset is not None else prepared.persons()
    return None if persons_R is None else np.unique(persons_R, return_inverse=True)[1]


def train_on_workers(
    job: Job,
    n_rows: int,
    write: Callable[[Handing, int], Shares],
    scaling_config: ScalingConfig,
    run_config: RunConfig | None,
    start: Checkpoint | None,
) -> TrainResult:
    """Shards first, then the workers: Ray Data is not to compete with workers that hold all CPUs.

    Args:
        job: what to train.
        n_rows: of an epoch.
        write: `write(handing, workers)` hands the encoded rows over, for at most so many workers.
        scaling_config, run_config, start: see `train_on_ray`.
    """
    from raysynth.training.checkpoints import CurveFolder
    from raysynth.training.distributed import check_division, check_storage, train_on_ray, worker_range
    from raysynth.training.scratch import handing

    check_division(job, scaling_config)
    _, workers = worker_range(scaling_config)
    folder = run_folder(run_config)
    check_storage(is_shared=folder is not None)
    with handing() as out, _with_journal(job, folder) as counted:
        shards = write(out, workers)
        with stage("training", job.settings.rows_shown(n_rows)):
            curves = None if folder is None or not folder.is_local else CurveFolder(Path(folder.path))
            return train_on_ray(counted, shards, scaling_config, run_config, start=start, curves=curves)


def _public_size(prepared: Prepared, n_bytes: int) -> int | None:
    """The size of encoded rows, for the table of stages; under a privacy budget it would tell how many there are."""
    return n_bytes if prepared.privacy is None else None


def _start(prepared: Prepared) -> Checkpoint | None:
    """The checkpoint that training resumes from.

    A private fit that was interrupted before its first one begins again, with the charged steps that are left.
    """
    from raysynth.training.checkpoints import find_checkpoint, latest_checkpoint

    if prepared.resume is None:
        return None
    return latest_checkpoint(prepared.resume) if prepared.privacy is None else find_checkpoint(prepared.resume)


@contextmanager
def _with_journal(job: Job, folder: Place | None) -> Iterator[Job]:
    """Under a privacy budget: the started steps are counted in a file that outlives a lost worker."""
    plan = job.plan
    if plan is None or plan.journal is not None:
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="raysynth-") as scratch:
        journal = (place(scratch) if folder is None else folder) / f"started-steps-{plan.fit_id}.json"
        try:
            yield replace(job, plan=replace(plan, journal=journal))
        finally:
            if journal.exists():
                journal.delete()


def _are_kept_owned(prepared: Prepared) -> bool:
    """Whether shards are kept of rows whose units training draws: those that are found have other rows of a unit."""
    return prepared.keep_shards is not None and prepared.units is not None


def _encoded(
    job: Job, prepared: Prepared, to: Path | Handing, rows_per_shard: int, workers: int
) -> ShardSet | OwnedShards:
    """The shards of a prepared table, as a stage of their own; in a folder, handed over, or where the user keeps them.

    Under a privacy budget at least one for each worker; the job's charged plan joins those of other fits on kept ones.
    """
    at_least = 0 if prepared.privacy is None else workers
    table, encoder, kept = prepared.table, prepared.encoder, prepared.keep_shards
    scope, releases = prepared.privacy, prepared.releases
    number_R = _owners(prepared) if _are_kept_owned(prepared) else None
    rows = KeptRows(table, prepared.schema, encoder, rows_per_shard, workers, releases, number_R)
    with stage("shards", prepared.n_rows) as done:
        if isinstance(kept, Path):
            shards = kept_shards(rows, kept)
            done.bytes = _public_size(prepared, shards.n_bytes)
        else:
            put = partial(write_file, to, lasting=False) if isinstance(to, Path) else to.put
            if kept is None:
                made = stream_shards(table, encoder, put, rows_per_shard=rows_per_shard, at_least=at_least)
            else:
                made = shards_in_store(rows, kept, put)
            shards = ShardSet(to, made) if isinstance(to, Path) else ShardSet(Path(), made, to.files)
            done.bytes = _public_size(prepared, shards.n_bytes if isinstance(to, Path) else to.n_bytes)
    if scope is not None and releases is not None and job.plan is not None:
        scope.joint = releases.joint(job.plan.fit_id, scope.ledger, scope.budget.delta)
    return shards if number_R is None else OwnedShards(shards, are_units=True)


def calibrated(
    sampler: Sampler,
    shares: Sequence[np.ndarray],
    value_quantiles: Sequence[np.ndarray],
    seed: int,
) -> Sampler:
    """The sampler with code biases and value maps.

    Args:
        sampler: uncalibrated.
        shares: for each column the released share of each code, (cardinality,).
        value_quantiles: for each value column the released quantiles of the value inside each code,
            (cardinality, KNOTS) at evenly spaced ranks from 0 to 1; NaN rows where the code has no spread.
        seed: of the rows that are generated for it.
    """
    rng = torch.Generator().manual_seed(seed)
    n = int(np.clip(MAX_NUMBERS // sampler.spans.n_codes, 4096, MAX_ROWS))
    logits, values = sampler.outputs(n, rng)
    scores = logits + gumbel_noise(tuple(logits.shape), rng)
    bias_S = code_bias(sampler, scores, shares)
    drawn = sampler.index.draw(scores, torch.from_numpy(bias_S.astype(np.float32)))
    codes, chosen = drawn.numpy(), sampler.values_of(values, drawn).numpy()
    maps = tuple(
        value_map(codes[:, column], chosen[:, i], value_quantiles[i])
        for i, column in enumerate(sampler.spans.value_columns)
    )
    return replace(sampler, code_bias_S=sampler.code_bias_S + bias_S, value_maps=maps)


def code_bias(sampler: RowSampler, scores_NS: torch.Tensor, shares: Sequence[np.ndarray]) -> np.ndarray:
    """Biases (S,) after which each column's argmax of the scores has the released shares, up to one row in a few."""
    target_S = np.concatenate([s / max(s.sum(), 1e-300) for s in shares])
    n, offsets = len(scores_NS), np.array(sampler.spans.offsets)
    bias_S = np.where(target_S > 0, 0.0, NEVER)
    half_row = 0.5 / n
    for step in range(STEPS):
        codes = sampler.index.draw(scores_NS, torch.from_numpy(bias_S.astype(np.float32))).numpy()
        found_S = np.bincount((codes + offsets).ravel(), minlength=len(target_S)) / n
        change = np.log((target_S + half_row) / (found_S + half_row))
        bias_S = np.where(target_S > 0, bias_S + np.clip(change, -2, 2) * (0.9 if step < STEPS // 2 else 0.5), NEVER)
    return bias_S


def value_map(codes_N: np.ndarray, values_N: np.ndarray, wanted: np.ndarray) -> ValueMap:
    """Generated to released quantiles inside each code; the identity where either side is too thin."""
    ranks = np.linspace(0, 1, KNOTS)
    identity = np.linspace(-1, 1, KNOTS)
    generated = np.tile(identity, (len(wanted), 1))
    target = generated.copy()
    for code in range(len(wanted)):
        own = values_N[codes_N == code]
        if len(own) >= MIN_ROWS and not np.isnan(wanted[code, 0]):
            generated[code] = np.quantile(own, ranks)
            target[code] = wanted[code]
    return ValueMap(generated, target)


def quantiles_by_code(codes_N: np.ndarray, values_N: np.ndarray, cardinality: int) -> np.ndarray:
    """Quantiles (cardinality, KNOTS) of values inside each code; NaN where a code has none or no spread."""
    result = np.full((cardinality, KNOTS), np.nan)
    for code in np.unique(codes_N):
        own = values_N[codes_N == code]
        if own.min() < own.max():
            result[code] = np.quantile(own, np.linspace(0, 1, KNOTS))
    return result
