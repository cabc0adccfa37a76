"""All chunks of a sample as one Arrow table, made by threads of this process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa

from raysynth.running.local import cpu_count
from raysynth.running.plain_lines import is_quiet
from raysynth.running.progress import progress
from raysynth.sampling.chunks import SamplingModel, chunk_count, make_chunk
from raysynth.sampling.conditions import Segment
from raysynth.sampling.effects import rule_effects


def sample_table(model: SamplingModel, segments: tuple[Segment, ...], seed: int) -> pa.Table:
    """The rows of all segments, in order.

    Args:
        model: what to sample from.
        segments: conditions and row counts.
        seed: of the chunks' random streams.

    Raises:
        ConditionError, ConstraintError: see `make_chunk`.
    """
    if not is_quiet():
        for line in rule_effects(model):
            print(line)
    chunks = range(max(1, chunk_count(sum(s.n for s in segments))))
    with one_torch_thread(), progress("sampling", len(chunks)) as advance:
        if len(chunks) == 1:
            return make_chunk(model, segments, seed, 0)
        with ThreadPoolExecutor(max_workers=worker_threads()) as pool:
            futures = [pool.submit(make_chunk, model, segments, seed, c) for c in chunks]
            try:
                tables = []
                for future in futures:
                    tables.append(future.result())
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return pa.concat_tables(tables).unify_dictionaries()


def worker_threads() -> int:
    """Threads that make chunks side by side: one for each core that this process may use."""
    return cpu_count()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Chunks run side by side and must not depend on the number of cores, so each gets one torch thread."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
