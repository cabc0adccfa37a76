"""A sample of several tables as a folder of Parquet for each, block by block; resumable, as that of one table.

    folder/TABLE/part-00000.parquet     the rows of a block
    folder/_raysynth/part-00000.json    one finished block: rows, bytes and SHA-256 of its files
    folder/_raysynth/manifest.json      all of them, written last

Only one block is in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from raysynth.errors import ParameterError
from raysynth.files.storage import Place
from raysynth.related.blocks import Blocks
from raysynth.running.progress import progress
from raysynth.running.stages import stage
from raysynth.sampling.parquet_files import FileRecord, write_part
from raysynth.sampling.writer import (
    COMPRESSIONS,
    RECORDS,
    Manifest,
    file_schema,
    finished_parts,
    open_folder,
    part_name,
    write_record,
)

ROW_GROUP_ROWS = 65_536


@dataclass(frozen=True)
class FolderPlan:
    """What is being written.

    Args:
        model: digest of the model's content. seed: of the sample.
        asked: scale, rows and conditions, as text.
        compression: of the pages.
    """

    model: str
    seed: int
    asked: str
    compression: str
    format_version: int = 1


def check_compression(compression: str) -> None:
    """Raise `ParameterError` for one that is not known."""
    if compression not in COMPRESSIONS:
        raise ParameterError(f"compression {compression!r} is not known; valid: {', '.join(COMPRESSIONS)}")


def opened(folder: Place, asked: FolderPlan, any_seed: bool) -> FolderPlan:
    """The folder's plan: the one on disk where it fits what is asked for, else a new one; raises `StorageError`."""
    check_compression(asked.compression)
    return open_folder(folder, asked, any_seed)


def write_folder(blocks: Blocks, folder: Place, plan: FolderPlan) -> Manifest:
    """Write the blocks that are missing, and the reference tables; raises `StorageError`."""
    records: list[FileRecord] = []
    first: Counter[str] = Counter(dict.fromkeys(blocks.model.schema.names, 0))
    with stage("sampling") as done, progress("writing blocks", blocks.number, public=True) as advance:
        common, finished = blocks.made_once(), finished_parts(folder, blocks.number)
        for index in range(blocks.number):
            files = finished.get(index)
            if files is None:
                output = blocks.output(blocks.block(index, common), common, first)
                once = set() if index == 0 else blocks.common | set(blocks.model.references)
                names = [n for n in blocks.model.schema.names if n not in once]
                files = tuple(_write(folder, n, index, output.table(n), plan, blocks) for n in names)
                write_record(folder / RECORDS / f"{part_name(index)}.json", {"files": [asdict(f) for f in files]})
            for file in files:
                first[PurePosixPath(file.name).parent.name] += file.rows
            records += files
            advance(1)
        done.rows, done.bytes = sum(f.rows for f in records), sum(f.bytes for f in records)
    manifest = Manifest(plan.model, plan.seed, done.rows, tuple(records))
    write_record(folder / RECORDS / "manifest.json", asdict(manifest))
    return manifest


def _write(folder: Place, name: str, index: int, rows: pa.Table, plan: FolderPlan, blocks: Blocks) -> FileRecord:
    (file,) = write_part(
        folder,
        f"{name}/{part_name(index)}.parquet",
        [rows],
        file_schema(blocks.model.columns(name)),
        compression=plan.compression,
        row_group_rows=ROW_GROUP_ROWS,
    )
    return file
