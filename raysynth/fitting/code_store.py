"""The codes of a table kept aside for repeated counting: in memory while small, in temporary files beyond.

A structure search counts several times. To read and encode the table each time would cost more than the counts, so the
codes are written once, a byte or two for each cell, and counted from there by threads, which share the tables: memory
that grows neither with the rows nor with the cores. Over a Ray cluster of several nodes, which share no
scratch folder, each pass streams the table instead (`Prepared.count`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import StorageError
from raysynth.files.private_folder import private_folder
from raysynth.fitting.prepared import Prepared
from raysynth.running.local import cpu_count
from raysynth.statistics.contingency import ContingencyCounts, CountingPlan

IN_MEMORY_CELLS = 1 << 23
COPIED_BYTES = 1 << 27  # of tables that threads may hold several copies of, each of some rows


class CodeStore:
    """Counts tables from stored codes.

    Args:
        cardinalities: number of codes of each column.
        parts: codes (C, rows) of parts of the table, in memory or memory-mapped.
    """

    def __init__(self, cardinalities: Sequence[int], parts: Sequence[np.ndarray]) -> None:
        self.cardinalities = tuple(cardinalities)
        self.parts = tuple(parts)

    def count(self, column_sets: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], np.ndarray]:
        """Contingency tables of sets of columns over all rows.

        Threads share the tables: each counts some of them over all rows, so that memory does not grow with the cores.
        Where there are fewer tables than threads, and room for several copies, each counts some of the rows as well.
        """
        from raysynth.running.runner import run_tasks

        plan, n_threads = CountingPlan.of(self.cardinalities, column_sets), cpu_count()
        groups = plan.split(min(n_threads, len(plan.blocks)))
        copies = min(n_threads // max(len(groups), 1), COPIED_BYTES // max(8 * plan.n_cells, 1), _n_rows(self.parts))
        shares = _even_shares(self.parts, copies) if copies > 1 else [list(self.parts)]
        tasks = [(group, share) for group in groups for share in shares]
        counted = run_tasks(self._count, tasks, where="local", label="counting")
        result: dict[tuple[int, ...], np.ndarray] = {}
        for first in range(0, len(counted), len(shares)):
            counts, *others = counted[first : first + len(shares)]
            for other in others:
                counts.merge(other)
            result |= counts.tables
        return result

    def _count(self, task: tuple[CountingPlan, list[np.ndarray]]) -> ContingencyCounts:
        plan, parts = task
        counts = ContingencyCounts(self.cardinalities, plan)
        for codes_CN in parts:
            counts.update_codes(codes_CN.T)
        return counts


def _n_rows(parts: Sequence[np.ndarray]) -> int:
    return sum(part.shape[1] for part in parts)


def _even_shares(parts: Sequence[np.ndarray], n: int) -> list[list[np.ndarray]]:
    """The rows of all parts (C, rows) in n shares of about the same number; views, no copies."""
    ends = np.cumsum([part.shape[1] for part in parts])
    cuts = np.linspace(0, ends[-1], n + 1).astype(int)
    starts = ends - [part.shape[1] for part in parts]
    return [
        [p[:, max(low - s, 0) : high - s] for p, s, e in zip(parts, starts, ends, strict=True) if s < high and low < e]
        for low, high in zip(cuts[:-1], cuts[1:], strict=True)
    ]


@contextmanager
def open_counts(prepared: Prepared) -> Iterator[CodeStore | Prepared]:
    """Something that counts tables of a prepared table (`.count(column_sets)`); temporary files go when it closes.

    Raises:
        StorageError: the temporary folder (TMPDIR) is full or cannot be written.
    """
    encoder = prepared.encoder
    if _on_many_nodes(prepared):
        yield prepared
    elif prepared.n_rows * len(encoder.columns) <= IN_MEMORY_CELLS:
        codes_CN = np.ascontiguousarray(prepared.encoded().codes_NC.T)
        yield CodeStore(encoder.cardinalities, [codes_CN.astype(_code_type(encoder))])
    else:
        with private_folder() as folder:
            yield CodeStore(encoder.cardinalities, _write_codes(prepared, folder))


def _write_codes(prepared: Prepared, folder: Path) -> list[np.ndarray]:
    """The codes of each fragment as a file that is mapped; tasks, wherever they run, hand them to this process."""
    from raysynth.running.runner import made_in_order

    columns, parts = list(prepared.encoder.names), []
    try:
        encode = partial(_codes_of, prepared.encoder)
        with closing(made_in_order(prepared.table, encode, columns=columns, label="encoding")) as made:
            for index, codes_CN in enumerate(made):
                path = folder / f"codes-{index:06d}.npy"
                np.save(path, codes_CN)
                parts.append(np.load(path, mmap_mode="r", allow_pickle=False))
        return parts
    except OSError as error:
        raise StorageError(
            f"cannot keep encoded rows in '{folder}' ({error.strerror or error}); point TMPDIR to a folder with "
            f"{prepared.n_rows * len(columns) * 2 >> 20:,} MB of room"
        ) from error


def _codes_of(encoder: TableEncoder, index: int, blocks: Iterable[pa.RecordBatch]) -> np.ndarray:
    """Codes of one fragment (C, rows)."""
    parts = [encoder.encode(block).codes_NC.T.astype(_code_type(encoder)) for block in blocks]
    empty = np.empty((len(encoder.columns), 0), dtype=_code_type(encoder))
    return np.concatenate([empty, *parts], axis=1)


def _code_type(encoder: TableEncoder) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if max(encoder.cardinalities) <= 256 else np.uint16


def _on_many_nodes(prepared: Prepared) -> bool:
    from raysynth.running.runner import ray_is_running, runs_on_ray

    if not runs_on_ray(prepared.table) or not ray_is_running():
        return False
    nodes = sys.modules["ray"].nodes()
    return sum(bool(node.get("Alive")) for node in nodes) > 1
