"""From encoded sequences to a trained model: in this process, or on Ray's workers, to which the rows go as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from raysynth.errors import ParameterError
from raysynth.files.private_folder import private_folder, remove_abandoned
from raysynth.fitting.method import watching
from raysynth.methods.shared.neural import local_store, storage_folders, train_on_workers
from raysynth.running.stages import stage
from raysynth.training.checkpoints import latest_checkpoint
from raysynth.training.job import Job, train_here
from raysynth.training.loop import TrainResult
from raysynth.training.window_shards import NONE_FIRST, WindowShards, write_windows

if TYPE_CHECKING:
    from raysynth.methods.fitted import Fitted
    from raysynth.methods.sequences.data import WindowRows
    from raysynth.methods.sequences.synthesizer import SequenceSynthesizer
    from raysynth.training.scratch import Handing


def train_sequences(
    model: SequenceSynthesizer,
    job: Job,
    rows: WindowRows,
    fitted: Callable[[TrainResult], Fitted],
    *,
    first: np.ndarray = NONE_FIRST,
) -> Fitted:
    """Train a method's job as the model's parameters say (see `neural.train_model`).

    Args:
        model: in the middle of its fit.
        job: over wide rows.
        rows: all sequences, in memory.
        fitted: makes the fit's value.
        first: sequences of which each worker is to have as many as any other.
    """
    for folder in storage_folders(model.run_config):
        remove_abandoned(folder)
    start = None if model._resume is None else latest_checkpoint(model._resume)
    n, epochs = len(rows), job.settings.epochs
    if job.plan is not None:  # the number of sequences that was released: the true one is private
        n = round(job.plan.expected_batch / job.plan.sampling_rate)
    if model.scaling_config is None:
        store = local_store(model.run_config, model._resume, start)
        watch = watching(model, epochs, fitted)
        with stage("training", n * epochs):
            trained = train_here(job, rows, store=store, label=f"training {model.method}", watch=watch)
    else:

        def write(out: Handing, workers: int) -> WindowShards:
            with stage("shards", n) as done, private_folder() as folder:
                shards = write_windows(folder, rows.steps, rows.context, rows.windows, rows.length, first=first)
                out.put_folder(folder)
                done.bytes = out.n_bytes
            return replace(shards, handed=out.files)

        trained = train_on_workers(job, n, write, model.scaling_config, model.run_config, start)
    return fitted(trained)


def divided_batch(model: SequenceSynthesizer, wanted: int, n_sequences: int) -> int:
    """A batch of at most so many sequences that the workers can divide evenly.

    Raises:
        ParameterError: there are fewer sequences than workers.
    """
    workers = most_workers(model)
    if n_sequences < workers:
        raise ParameterError(f"{workers} workers but only {n_sequences} sequences; use fewer workers")
    batch_size = min(wanted, n_sequences)
    return batch_size if batch_size == wanted else batch_size - batch_size % workers


def most_workers(model: SequenceSynthesizer) -> int:
    """The most workers that may train the model."""
    if model.scaling_config is None:
        return 1
    from raysynth.training.distributed import worker_range

    return worker_range(model.scaling_config)[1]
