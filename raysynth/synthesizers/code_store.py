"""The codes of a table kept aside for repeated counting: in memory while small, in temporary files beyond.

A structure search counts several times. To read and encode the table each time would cost more than the counts, so the
codes are written once, a byte or two for each cell, and counted from there by threads that share the tables, not the
rows: no copies, no merging, memory that does not grow with the rows. Over a Ray cluster of several nodes, which share
no scratch folder, each pass streams the table instead (`Prepared.count`).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import StorageError
from raysynth.statistics.contingency import ContingencyCounts
from raysynth.synthesizers.prepared import Prepared

IN_MEMORY_CELLS = 1 << 23


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
        """Contingency tables of sets of columns over all rows."""
        from raysynth.execution import run_tasks

        n_groups = max(1, min(os.cpu_count() or 1, len(column_sets) // 4))
        groups = [column_sets[k::n_groups] for k in range(n_groups)]
        counted = run_tasks(self._count, groups, where="local", label="counting")
        return {columns: table for part in counted for columns, table in part.items()}

    def _count(self, column_sets: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], np.ndarray]:
        counts = ContingencyCounts(self.cardinalities, column_sets)
        for codes_CN in self.parts:
            counts.update_codes(codes_CN.T)
        return counts.tables


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
        with tempfile.TemporaryDirectory(prefix="raysynth-codes-", ignore_cleanup_errors=True) as folder:
            yield CodeStore(encoder.cardinalities, _write_codes(prepared, Path(folder)))


def _write_codes(prepared: Prepared, folder: Path) -> list[np.ndarray]:
    from raysynth.execution import for_each_fragment

    columns = list(prepared.encoder.names)
    write = partial(_write_fragment, prepared.encoder, folder)
    try:
        paths = for_each_fragment(prepared.table, write, columns=columns, label="encoding")
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    except OSError as error:
        raise StorageError(
            f"cannot keep encoded rows in '{folder}' ({error.strerror or error}); point TMPDIR to a folder with "
            f"{prepared.n_rows * len(columns) * 2 >> 20:,} MB of room"
        ) from error


def _write_fragment(encoder: TableEncoder, folder: Path, index: int, blocks: Iterable[pa.RecordBatch]) -> Path:
    """Codes of one fragment as a file (C, rows); written under its index, so that it may be written again."""
    parts = [encoder.encode(block).codes_NC.T.astype(_code_type(encoder)) for block in blocks]
    path = folder / f"codes-{index:06d}.npy"
    empty = np.empty((len(encoder.columns), 0), dtype=_code_type(encoder))
    np.save(path, np.concatenate([empty, *parts], axis=1))
    return path


def _code_type(encoder: TableEncoder) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if max(encoder.cardinalities) <= 256 else np.uint16


def _on_many_nodes(prepared: Prepared) -> bool:
    from raysynth.execution import ray_is_running, runs_on_ray

    if not runs_on_ray(prepared.table) or not ray_is_running():
        return False
    nodes = sys.modules["ray"].nodes()
    return sum(bool(node.get("Alive")) for node in nodes) > 1
