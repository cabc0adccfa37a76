"""A sample as a folder of Parquet: files named by index, each written atomically, with a manifest; resumable.

    folder/part-00000.parquet ...      the rows
    folder/_raysynth/plan.json         what is being written: model digest, seed, rows, conditions
    folder/_raysynth/part-00000.json   one finished file: rows, bytes, SHA-256
    folder/_raysynth/manifest.json     all of them, written last

A file and its record are both renamed into place, so a kill at any moment leaves whole files only, and the next run
writes the missing ones.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysynth.errors import ParameterError, StorageError
from raysynth.sampling.chunks import SamplingModel, chunk_count, make_chunk
from raysynth.sampling.conditions import Segment
from raysynth.sampling.local import one_torch_thread
from raysynth.schema import TableSchema
from raysynth.stages import stage
from raysynth.storage import atomic_path, storage_error

FORMAT_VERSION = 1
RECORDS = "_raysynth"
COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "none")


@dataclass(frozen=True)
class FileRecord:
    """One finished file.

    Args:
        name: inside the folder.
        rows, bytes: its size.
        sha256: of its bytes.
    """

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a finished folder holds.

    Args:
        model: digest of the model file's content.
        seed: of the sample.
        rows: in all.
        files: in order of the rows.
    """

    model: str
    seed: int
    rows: int
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class _Plan:
    format_version: int
    model: str
    seed: int
    rows: int
    conditions: str
    chunks_per_file: int
    compression: str


def write_parquet(
    model: SamplingModel,
    segments: tuple[Segment, ...],
    seed: int | None,
    folder: Path,
    *,
    digest: str,
    rows_per_file: int,
    compression: str,
    where: str = "auto",
) -> Manifest:
    """Write the rows of all segments; files that an earlier run of the same plan finished are kept.

    Raises:
        ParameterError: rows_per_file below 1, unknown compression. StorageError: disk full, or another run's folder.
    """
    from raysynth.execution import run_tasks

    if isinstance(rows_per_file, bool) or not isinstance(rows_per_file, int) or rows_per_file < 1:
        raise ParameterError(f"rows_per_file must be a whole number, at least 1; found {rows_per_file!r}")
    if compression not in COMPRESSIONS:
        raise ParameterError(f"compression {compression!r} is not known; valid: {', '.join(COMPRESSIONS)}")
    rows = sum(s.n for s in segments)
    asked = _Plan(
        FORMAT_VERSION,
        digest,
        -1 if seed is None else seed,
        rows,
        _text(segments),
        chunk_count(rows_per_file),
        compression,
    )
    plan = _open(folder, asked, seed is None)
    n_files = max(1, -(-chunk_count(rows) // plan.chunks_per_file))
    missing = [i for i in range(n_files) if _finished(folder, i) is None]
    write = partial(_write_file, model, segments, plan, str(folder))
    with stage("sampling") as done, one_torch_thread():
        written = run_tasks(write, missing, where=where, label="writing Parquet", weight=rows * len(missing) / n_files)
        done.rows, done.bytes = sum(r.rows for r in written), sum(r.bytes for r in written)
    records = [_finished(folder, i) for i in range(n_files)]
    manifest = Manifest(plan.model, plan.seed, rows, tuple(r for r in records if r is not None))
    _write_json(folder / RECORDS / "manifest.json", asdict(manifest))
    return manifest


def verify(folder: str | Path) -> Manifest:
    """Check every file of a finished folder against its manifest.

    Raises:
        StorageError: names the files that are missing, damaged or left over.
    """
    folder = Path(folder)
    content = _read_json(folder / RECORDS / "manifest.json")
    try:
        if content is None:
            raise TypeError
        files = tuple(FileRecord(**f) for f in content["files"])
        manifest = Manifest(content["model"], content["seed"], content["rows"], files)
    except (KeyError, TypeError):
        raise StorageError(f"'{folder}' has no finished manifest; run the same sampling again to complete it") from None
    bad = []
    for record in manifest.files:
        path = folder / record.name
        if not path.exists():
            bad.append(f"{record.name} is missing")
        elif path.stat().st_size != record.bytes or _sha256(path) != record.sha256:
            bad.append(f"{record.name} is damaged")
    bad += [
        f"{p.name} is not of this run"
        for p in folder.glob("*.parquet")
        if p.name not in {r.name for r in manifest.files}
    ]
    if bad:
        raise StorageError(
            f"'{folder}' is not what was written: {'; '.join(bad[:5])}; delete these files and sample again"
        )
    return manifest


def _open(folder: Path, asked: _Plan, any_seed: bool) -> _Plan:
    """The folder's plan: the one on disk where it fits what is asked for, else a new one."""
    found = _read_json(folder / RECORDS / "plan.json")
    if found is not None:
        if any_seed:
            asked = _Plan(**{**asdict(asked), "seed": found.get("seed", -1)})
        differing = [k for k, v in asdict(asked).items() if found.get(k) != v]
        if differing:
            raise StorageError(
                f"'{folder}' holds another run (other {', '.join(differing)}); choose a new folder or delete it"
            )
        for leftover in folder.glob(f".{_name(0)[:5]}*.tmp.parquet"):  # of a run that was killed while writing
            leftover.unlink(missing_ok=True)
        return asked
    if folder.exists() and any(folder.glob("*.parquet")):
        raise StorageError(f"'{folder}' already holds Parquet files that are no raysynth run; choose an empty folder")
    if any_seed:
        asked = _Plan(**{**asdict(asked), "seed": secrets.randbits(62)})
    _write_json(folder / RECORDS / "plan.json", asdict(asked))
    return asked


def _finished(folder: Path, index: int) -> FileRecord | None:
    content = _read_json(folder / RECORDS / f"{_name(index)}.json")
    if content is None or set(content) != {f.name for f in fields(FileRecord)}:
        return None
    record = FileRecord(**content)
    path = folder / f"{_name(index)}.parquet"
    return record if path.exists() and path.stat().st_size == record.bytes else None


def _write_file(
    model: SamplingModel, segments: tuple[Segment, ...], plan: _Plan, folder: str, index: int
) -> FileRecord:
    """One file: its chunks one after the other, a row group each; the record last."""
    n_chunks = max(1, chunk_count(plan.rows))
    chunks = range(index * plan.chunks_per_file, min((index + 1) * plan.chunks_per_file, n_chunks))
    path = Path(folder) / f"{_name(index)}.parquet"
    schema = file_schema(model.schema)
    rows = 0
    with atomic_path(path) as temporary:
        compression = "NONE" if plan.compression == "none" else plan.compression
        with pq.ParquetWriter(temporary, schema, compression=compression, write_statistics=True) as writer:
            for chunk in chunks:
                table = make_chunk(model, segments, plan.seed, chunk)
                writer.write_table(table.cast(schema))
                rows += table.num_rows
        digest, size = _sha256(temporary), temporary.stat().st_size
    record = FileRecord(path.name, rows, size, digest)
    _write_json(Path(folder) / RECORDS / f"{_name(index)}.json", asdict(record))
    return record


def file_schema(schema: TableSchema) -> pa.Schema:
    """Arrow schema of the written files: the user's types, text as dictionaries."""
    fields = []
    for column in schema.columns:
        dtype = column.arrow_type
        is_text = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
        fields.append(pa.field(column.name, pa.dictionary(pa.int32(), pa.string()) if is_text else dtype))
    return pa.schema(fields)


def _name(index: int) -> str:
    return f"part-{index:05d}"


def _text(segments: tuple[Segment, ...]) -> str:
    """What tells these segments from others: readable where they are few, else a digest."""
    text = repr(segments)
    return text if len(text) <= 2000 else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, path) from error
    except ValueError:
        return None  # cannot be ours: records are renamed into place whole
    return content if isinstance(content, dict) else None
