"""The model file: a zip of JSON and safetensors with a format version. Data only; reading one runs nothing.

Entries: `model.json` (method, parameters, schema, encoder, ledger, versions of the software that wrote it) and
`arrays.safetensors` (NumPy arrays), both stored without compression, so that a small file cannot unfold into a large
one.

Arrays of several parts are in one mapping: each part's names begin with a prefix of its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.errors import ModelFileError
from raysynth.files.storage import Place, Target, atomic_path, check_replaced, place

FORMAT_VERSION = 1
_ENTRIES = ("model.json", "arrays.safetensors")
_MAX_JSON_BYTES = 1 << 26
_MAX_JSON_VALUES = 2_000_000  # a value takes Python some 60 to 250 bytes, however little text it is
_MAX_COLUMNS = 20_000
_MAX_LISTED = 20_000  # entries of a parameter that is a list (columns, layers)
_KINDS = "biuf"  # arrays of booleans and numbers only


@dataclass(frozen=True)
class ModelContent:
    """What a model file holds.

    Args:
        meta: JSON values.
        arrays: named NumPy arrays of numbers.
    """

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def digest(self) -> str:
        """SHA-256 of the content: the same for the same model, wherever it was saved."""
        hashed = hashlib.sha256(_json_bytes(self.meta))
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            hashed.update(f"{name}{array.dtype}{array.shape}".encode())
            hashed.update(array.tobytes())
        return hashed.hexdigest()


def write_model(path: Target, content: ModelContent) -> None:
    """Write a model file, atomically; raises `StorageError`, too where a file is there that is no model."""
    from safetensors.numpy import save

    check_replaced(path, b"PK")

    arrays = {name: np.ascontiguousarray(a) for name, a in content.arrays.items()}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        about = {"format_version": FORMAT_VERSION, "written_by": software_versions()}
        archive.writestr(_entry("model.json"), _json_bytes({**about, **content.meta}))
        archive.writestr(_entry("arrays.safetensors"), save(arrays))


def software_versions() -> dict[str, str]:
    """Versions of what a model's numbers depend on: raysynth, Python, NumPy, torch."""
    packages = {name: importlib.metadata.version(name) for name in ("raysynth", "numpy", "torch")}
    return {"raysynth": packages.pop("raysynth"), "python": platform.python_version(), **packages}


def read_model(path: Target) -> ModelContent:
    """Read a model file; raises `ModelFileError` for anything that is none, `ParameterError` for a URI of no store."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    file = place(path, "model file")
    where = f"model file '{path if isinstance(path, Place) else os.fspath(path)}'"
    try:
        with file.open() as content, zipfile.ZipFile(content) as archive:
            _check_entries(archive, where)
            meta = _parsed(archive.read("model.json"), where)
            arrays = load(archive.read("arrays.safetensors"))
    except OSError as error:
        raise ModelFileError(f"cannot read {where}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{where} is damaged or was not written by raysynth ({error}); use another copy or refit"
        ) from error
    if not isinstance(meta, dict) or meta.get("format_version") != FORMAT_VERSION:
        found = meta.get("format_version") if isinstance(meta, dict) else None
        raise ModelFileError(
            f"{where} has format version {found!r}; this raysynth reads {FORMAT_VERSION}; use a matching one"
        )
    _check_lengths(meta, where)
    if bad := [n for n, a in arrays.items() if a.dtype.kind not in _KINDS]:
        raise ModelFileError(f"{where} holds arrays that are no numbers: {bad[:3]}; use another copy or refit")
    return ModelContent(meta, arrays)


def _check_entries(archive: zipfile.ZipFile, where: str) -> None:
    infos = {i.filename: i for i in archive.infolist()}
    if set(infos) != set(_ENTRIES) or len(archive.infolist()) != len(_ENTRIES):
        raise ModelFileError(
            f"{where} was not written by raysynth: it holds {sorted(infos)[:5]}; expected {list(_ENTRIES)}"
        )
    if any(i.compress_type != zipfile.ZIP_STORED for i in infos.values()):
        raise ModelFileError(
            f"{where} holds compressed entries, which raysynth never writes; use another copy or refit"
        )
    if infos["model.json"].file_size > _MAX_JSON_BYTES:
        raise ModelFileError(
            f"{where} holds a description of over {_MAX_JSON_BYTES >> 20} MiB; use another copy or refit"
        )


def _parsed(text: bytes, where: str) -> Any:
    """JSON of a bounded number of values, counted before any of them is made."""
    values = sum(text.count(sign) for sign in (b",", b"[", b"{"))
    if values > _MAX_JSON_VALUES:
        raise ModelFileError(
            f"{where} holds a description of {values:,} values; at most {_MAX_JSON_VALUES:,} are read: use another "
            "copy or refit with a smaller max_categories"
        )
    return json.loads(text)


def _check_lengths(meta: dict[str, Any], where: str) -> None:
    """What is looked through once for each column, or once for each pair of them, has a length that this can bear."""
    schema, parameters = meta.get("schema"), meta.get("parameters")
    columns = schema.get("columns") if isinstance(schema, dict) else None
    if isinstance(columns, list) and len(columns) > _MAX_COLUMNS:
        raise ModelFileError(f"{where} holds {len(columns):,} columns; at most {_MAX_COLUMNS:,} are read")
    for name, value in parameters.items() if isinstance(parameters, dict) else ():
        if isinstance(value, list) and len(value) > _MAX_LISTED:
            raise ModelFileError(
                f"{where} holds a parameter '{name}' of {len(value):,} entries; at most {_MAX_LISTED:,} are read"
            )


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry with a fixed date, so that the same model gives the same bytes."""
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))


def _json_bytes(meta: dict[str, Any]) -> bytes:
    buffer = io.StringIO()
    json.dump(meta, buffer, ensure_ascii=False, sort_keys=True, default=_plain)
    return buffer.getvalue().encode("utf-8", errors="surrogatepass")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot stand in a model file")


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with the prefix, by what follows it."""
    return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
