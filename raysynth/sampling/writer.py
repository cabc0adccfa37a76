"""A sample as a folder of Parquet: files named by index, each written atomically, with a manifest; resumable.

    folder/part-00000.parquet ...      the rows (or folder/COLUMN=VALUE/part-00000.parquet)
    folder/_raysynth/plan.json         what is being written: model digest, seed, rows, conditions
    folder/_raysynth/part-00000.json   one finished part: rows, bytes and SHA-256 of its files
    folder/_raysynth/manifest.json     all of them, written last

Files and their record all appear whole (see `files/storage.py`), the record last, so a kill at any moment leaves whole
files only, and the next run writes the missing parts.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from raysynth.arguments import check_whole
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError, StorageError
from raysynth.files.storage import Place, place, require_shared, write_atomically
from raysynth.files.stores import storage_error
from raysynth.running.metrics import count_done
from raysynth.running.stages import stage
from raysynth.sampling.chunks import SamplingModel, chunk_count, make_chunk
from raysynth.sampling.conditions import Segment
from raysynth.sampling.frame import one_torch_thread
from raysynth.sampling.parquet_files import FileRecord, check_partition, file_digest, write_part
from raysynth.schema.constraints.base import storage_type
from raysynth.schema.table import TableSchema

FORMAT_VERSION = 2
RECORDS = "_raysynth"
FILES = 32  # or more: a task writes one, and at the end few tasks leave cores idle
MOST_CHUNKS = 16  # of a file, about a million rows
P = TypeVar("P", bound=Any)  # a frozen dataclass
COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "none")


@dataclass(frozen=True)
class Manifest:
    """What a finished folder holds.

    Args:
        model: digest of the model file's content.
        seed: of the sample.
        rows: in all.
        files: part by part, in order of the rows.
    """

    model: str
    seed: int
    rows: int
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class FileForm:
    """How the files are cut and packed.

    Args:
        rows_per_file: rounded up to whole chunks; None: by their number (see `chunks_of_a_file`).
        row_group_rows: rows of each row group.
        partition_by: the column whose values are folders, or None.
        compression: of the pages; one of `COMPRESSIONS`.
    """

    rows_per_file: int | None = None
    row_group_rows: int = 65_536
    partition_by: str | None = None
    compression: str = "zstd"

    def check(self) -> None:
        """Raise `ParameterError` for a number of rows below 1 or an unknown compression."""
        if self.rows_per_file is not None:
            check_whole("rows_per_file", self.rows_per_file)
        check_whole("row_group_rows", self.row_group_rows)
        if self.compression not in COMPRESSIONS:
            raise ParameterError(f"compression {self.compression!r} is not known; valid: {', '.join(COMPRESSIONS)}")


@dataclass(frozen=True)
class Chunks:
    """Rows that are made in chunks, each by itself, whoever makes it.

    Args:
        schema: of the rows. asked: how many are asked for; of sequences, how many of these.
        text: what else is asked for. number: of chunks.
        encoder: of columns by which rows may be divided into folders.
        made: (seed of the sample) -> (number of a chunk -> its rows), the latter picklable.
    """

    schema: TableSchema
    asked: int
    text: str
    number: int
    encoder: TableEncoder
    made: Callable[[int], Callable[[int], pa.Table]]

    @classmethod
    def of(cls, model: SamplingModel, segments: tuple[Segment, ...]) -> Chunks:
        """Those of a table: the rows of all `segments` by `model`."""
        rows = sum(s.n for s in segments)
        made = partial(partial, make_chunk, model, segments)
        return cls(model.schema, rows, text_of(segments), chunk_count(rows), model.encoder, made)


@dataclass(frozen=True)
class _Plan:
    format_version: int
    model: str
    seed: int
    rows: int
    conditions: str
    chunks_per_file: int
    row_group_rows: int
    partition_by: str | None
    compression: str


def write_parquet(
    chunks: Chunks, seed: int | None, folder: Place, form: FileForm, *, digest: str, where: str = "auto"
) -> Manifest:
    """Write the rows of all chunks; parts that an earlier run of the same plan finished are kept.

    Raises:
        ParameterError: a number of rows below 1, unknown compression, a column that cannot divide rows into folders.
        StorageError: disk full, or another run's folder.
    """
    from raysynth.running.runner import run_tasks

    form.check()
    check_partition(form.partition_by, chunks.encoder)
    asked = _Plan(
        FORMAT_VERSION,
        digest,
        -1 if seed is None else seed,
        chunks.asked,
        chunks.text,
        chunks_of_a_file(chunks.number) if form.rows_per_file is None else chunk_count(form.rows_per_file),
        form.row_group_rows,
        form.partition_by,
        form.compression,
    )
    plan = open_folder(folder, asked, seed is None)
    n_parts = max(1, -(-chunks.number // plan.chunks_per_file))
    records = finished_parts(folder, n_parts)
    missing = [i for i in range(n_parts) if i not in records]
    weight = chunks.asked * len(missing) / n_parts
    with stage("sampling") as done, one_torch_thread():
        write = partial(_write_part, chunks.made(plan.seed), chunks.number, chunks.schema, plan, folder)
        written = run_tasks(write, missing, where=where, label="writing Parquet", weight=weight)
        done.rows = sum(f.rows for part in written for f in part)
        done.bytes = sum(f.bytes for part in written for f in part)
    count_done("rows_written", done.rows)
    records |= dict(zip(missing, written, strict=True))
    files = tuple(f for i in range(n_parts) for f in records[i])
    manifest = Manifest(plan.model, plan.seed, sum(f.rows for f in files), files)
    write_record(folder / RECORDS / "manifest.json", asdict(manifest))
    return manifest


def chunks_of_a_file(number: int) -> int:
    """By the number of chunks alone: some `FILES` files, of at least one chunk and at most `MOST_CHUNKS`."""
    return min(max(1, -(-number // FILES)), MOST_CHUNKS)


def verify(path: str | os.PathLike[str]) -> Manifest:
    """Check every file of a finished folder against its manifest.

    Raises:
        ParameterError: a URI that nothing here opens. StorageError: names the files that are missing, damaged or left
            over.
    """
    folder = place(path)
    content = read_record(folder / RECORDS / "manifest.json")
    try:
        if content is None:
            raise TypeError
        files = tuple(FileRecord(**f) for f in content["files"])
        manifest = Manifest(content["model"], content["seed"], content["rows"], files)
    except (KeyError, TypeError):
        raise StorageError(
            f"'{folder}' has no finished manifest; name a folder of samples, or give the same command again"
        ) from None
    bad, sizes = [], folder.sizes()
    for record in manifest.files:
        if record.name not in sizes:
            bad.append(f"{record.name} is missing")
        elif sizes[record.name] != record.bytes or file_digest(folder / record.name) != record.sha256:
            bad.append(f"{record.name} is damaged")
    known = {r.name for r in manifest.files}
    found = [name for name in sizes if name.endswith(".parquet") and not _last(name).startswith(".")]
    bad += [f"{name} is not of this run" for name in sorted(found) if name not in known]
    if bad:
        raise StorageError(
            f"'{folder}' is not what was written: {'; '.join(bad[:5])}; delete these files and sample again"
        )
    return manifest


def open_folder(folder: Place, asked: P, any_seed: bool) -> P:
    """The folder's plan: the one on disk where it fits what is asked for, else a new one.

    Args:
        folder: of the sample. asked: a frozen dataclass of JSON values, one of them `seed`.
        any_seed: a new plan draws its seed.

    Raises `StorageError` where the folder holds another run, or Parquet files of none.
    """
    found = read_record(folder / RECORDS / "plan.json")
    names = folder.sizes()
    if found is not None:
        if any_seed:
            asked = replace(asked, seed=found.get("seed", -1))
        differing = [k for k, v in asdict(asked).items() if found.get(k) != v]
        if differing:
            raise StorageError(
                f"'{folder}' holds another run (other {', '.join(differing)}); choose a new folder or delete it"
            )
        for name in names:  # of a run that was killed while writing
            if _last(name).startswith(f".{part_name(0)[:5]}") and name.endswith(".tmp.parquet"):
                (folder / name).delete()
        return asked
    if any(name.endswith(".parquet") for name in names):
        raise StorageError(f"'{folder}' already holds Parquet files that are no raysynth run; choose an empty folder")
    if any_seed:
        asked = replace(asked, seed=secrets.randbits(62))
    write_record(folder / RECORDS / "plan.json", asdict(asked))
    return asked


def finished_parts(folder: Place, n_parts: int) -> dict[int, tuple[FileRecord, ...]]:
    """The files of each part whose record and files are all there."""
    sizes, finished = folder.sizes(), {}
    for index in range(n_parts):
        record = f"{RECORDS}/{part_name(index)}.json"
        if record not in sizes:
            continue
        content = read_record(folder / record)
        try:
            files = tuple(FileRecord(**f) for f in (content or {})["files"])
        except (KeyError, TypeError):
            continue
        if all(sizes.get(f.name) == f.bytes for f in files):
            finished[index] = files
    return finished


def _write_part(
    make: Callable[[int], pa.Table], number: int, schema: TableSchema, plan: _Plan, folder: Place, index: int
) -> tuple[FileRecord, ...]:
    """One part: its chunks one after the other; the record last."""
    require_shared(folder / RECORDS / "plan.json")
    own = range(index * plan.chunks_per_file, min((index + 1) * plan.chunks_per_file, max(1, number)))
    try:
        records = write_part(
            folder,
            f"{part_name(index)}.parquet",
            map(make, own),
            file_schema(schema),
            compression=plan.compression,
            row_group_rows=plan.row_group_rows,
            partition_by=plan.partition_by,
        )
    except OSError as error:  # before a file of this part was open
        raise storage_error(error, folder) from error
    write_record(folder / RECORDS / f"{part_name(index)}.json", {"files": [asdict(r) for r in records]})
    return records


def file_schema(schema: TableSchema) -> pa.Schema:
    """Arrow schema of the written files: the user's types, text as dictionaries."""
    return pa.schema([pa.field(column.name, storage_type(column.arrow_type)) for column in schema.columns])


def part_name(index: int) -> str:
    """Of a part's files and of its record, without ending."""
    return f"part-{index:05d}"


def text_of(segments: tuple[Segment, ...]) -> str:
    """What tells these segments from others: readable where they are few, else a digest."""
    text = repr(segments)
    return text if len(text) <= 2000 else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def write_record(target: Place, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all; raises `StorageError`."""
    write_atomically(target, json.dumps(content, indent=1).encode("utf-8"))


def read_record(source: Place) -> dict[str, Any] | None:
    """A JSON file; None where it is missing or no object. Raises `StorageError`."""
    try:
        with source.open() as stream:
            content = json.loads(stream.read().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise storage_error(error, source) from error
    except ValueError:
        return None  # cannot be ours: records are written whole
    return content if isinstance(content, dict) else None
