"""A sample as a Ray Dataset: lazy, streaming; whatever Ray Data writes is a sink of a model.

Chunk numbers go in, Arrow blocks come out: a task makes some chunks one after the other and hands each on before it
makes the next, so neither the driver nor a worker ever holds the sample. The model travels once, through the object
store, not once for each task.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from raysynth.running.ray import WORKER_BYTES, of_remote_arguments, task_options
from raysynth.running.ray_session import start_ray
from raysynth.sampling.frame import one_torch_thread
from raysynth.sampling.writer import Chunks, chunks_of_a_file

if TYPE_CHECKING:
    from ray.data import Dataset

MOST_TASKS = 1_000  # Ray Data plans each of them before the first one runs


def sample_dataset(chunks: Chunks, seed: int) -> Dataset:
    """The rows of all chunks as a Dataset that makes them when it is executed, and the same ones each time.

    Its blocks come in the order of `sample`'s rows: the Dataset has a context of its own in which order is preserved;
    the user's `DataContext` is taken over otherwise, and not changed.

    Args:
        chunks: what is made, one where nothing is asked for.
        seed: of their random streams.

    Raises:
        ClusterError: Ray cannot be reached or started, or no node has the memory for a task. A chunk's `ConditionError`
            or `ConstraintError` ends the execution, inside Ray's own exception.
    """
    ray = start_ray()
    number, tasks = chunks_and_tasks(chunks.number)
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    options = task_options(ray, WORKER_BYTES)
    with ray.data.DataContext.current(context), of_remote_arguments():
        numbers = ray.data.range(number, override_num_blocks=tasks)
        rows = numbers.map_batches(_Chunks(chunks, seed), batch_size=None, batch_format="pyarrow", **options)
    rows.set_name("raysynth sample")
    return rows


def chunks_and_tasks(number: int) -> tuple[int, int]:
    """How many chunks are made, one where nothing is asked for, and by how many tasks."""
    number = max(1, number)
    return number, min(-(-number // chunks_of_a_file(number)), MOST_TASKS)


class _Chunks:
    """The rows of the chunks whose numbers a task gets; one object for all tasks."""

    def __init__(self, chunks: Chunks, seed: int) -> None:
        self.made = chunks.made(seed)
        # text as text, since few sinks and operations of Ray Data take dictionaries
        self.schema = pa.schema([pa.field(c.name, c.arrow_type) for c in chunks.schema.columns])

    def __call__(self, chunks: pa.Table) -> Iterator[pa.Table]:
        with one_torch_thread():
            for chunk in chunks.column("id").to_pylist():
                yield self.made(chunk).cast(self.schema)
