"""Where a campaign's trials are kept: one file each, written at once and whole, in a folder or under a URI."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from raysynth.errors import StorageError
from raysynth.files.storage import local_path, make_folder, storage_error, write_atomically
from raysynth.files.stores import open_uri

_TRIALS, _FAILED, _PLAN = "trials", "failed", "campaign.json"


@dataclass(frozen=True)
class CampaignStore:
    """The folder of a campaign.

    Layout: `campaign.json` (plan and its digest), `trials/KEY.parquet`, `failed/KEY.json`. A file has its final name
    only once it is whole: it is written under another name and moved. The name is the trial's key, so a trial that ran
    twice is there once.

    Args:
        path: folder, or URI that pyarrow.fs opens (s3://, gs://, file://).
    """

    path: str

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> CampaignStore:
        """The store of a folder, absolute from here on since trials run in other folders, or of a URI."""
        text = os.fspath(path)
        return cls(text if "://" in text else str(local_path(text, "storage_path")))

    def open(self, plan: dict[str, Any], digest: str) -> set[str]:
        """Make the folder or go on with it; the keys of the trials that are done.

        Raises:
            StorageError: it holds another campaign, or cannot be written.
        """
        fs, root = self._at()
        try:
            for folder in (_TRIALS, _FAILED):
                if "://" in self.path:
                    fs.create_dir(f"{root}/{folder}", recursive=True)
                else:
                    make_folder(Path(self.path) / folder, private=True)
            known = self._read_text(_PLAN)
        except OSError as error:
            raise self._error(error) from error
        if known is None:
            self.write_text(_PLAN, json.dumps({"digest": digest, **plan}, indent=2, default=str))
        elif json.loads(known).get("digest") != digest:
            raise StorageError(
                f"'{self.path}' holds another campaign (other data, methods, attacks, targets or seed); choose another "
                "folder, or call with the same arguments to go on with it (n_models may grow)"
            )
        return self.done()

    def done(self) -> set[str]:
        """Keys of the trials that are written."""
        return self._keys(_TRIALS, ".parquet")

    def failed(self) -> dict[str, str]:
        """Keys of the trials that failed, and why."""
        fs, root = self._at()
        found = {}
        for key in sorted(self._keys(_FAILED, ".json")):
            with fs.open_input_stream(f"{root}/{_FAILED}/{key}.json") as stream:
                found[key] = str(json.loads(stream.read())["error"])
        return found

    def write(self, key: str, records: pa.Table) -> None:
        """Write a trial, whole or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(records, sink)
        self._write(f"{_TRIALS}/{key}.parquet", sink.getvalue().to_pybytes())

    def write_failure(self, key: str, error: str) -> None:
        """Keep why a trial failed."""
        self.write_text(f"{_FAILED}/{key}.json", json.dumps({"error": error}))

    def forget_failures(self) -> None:
        """Failed trials are tried again."""
        fs, root = self._at()
        for key in self._keys(_FAILED, ".json"):
            fs.delete_file(f"{root}/{_FAILED}/{key}.json")

    def read(self, keys: list[str]) -> list[pa.Table]:
        """The records of some trials, in their order."""
        from concurrent.futures import ThreadPoolExecutor

        fs, root = self._at()
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda k: pq.read_table(f"{root}/{_TRIALS}/{k}.parquet", filesystem=fs), keys))

    def write_text(self, name: str, text: str) -> None:
        """Write a small file beside the trials, whole or not at all."""
        self._write(name, text.encode())

    def _write(self, name: str, content: bytes) -> None:
        if "://" not in self.path:  # how well single rows are told is the user's alone
            write_atomically(Path(self.path) / name, content, private=True)
            return
        fs, root = self._at()
        temporary = f"{root}/.{secrets.token_hex(6)}.tmp"
        try:
            with fs.open_output_stream(temporary) as stream:
                stream.write(content)
            fs.move(temporary, f"{root}/{name}")
        except OSError as error:
            raise self._error(error) from error

    def _read_text(self, name: str) -> str | None:
        fs, root = self._at()
        if fs.get_file_info(f"{root}/{name}").type == pafs.FileType.NotFound:
            return None
        with fs.open_input_stream(f"{root}/{name}") as stream:
            return str(stream.read().decode())

    def _keys(self, folder: str, ending: str) -> set[str]:
        fs, root = self._at()
        selector = pafs.FileSelector(f"{root}/{folder}", allow_not_found=True)
        names = (info.base_name for info in fs.get_file_info(selector))
        return {n.removesuffix(ending) for n in names if n.endswith(ending) and not n.startswith(".")}

    def _at(self) -> tuple[pafs.FileSystem, str]:
        try:
            if "://" in self.path:
                fs, root = open_uri(self.path, "storage_path")
            else:
                fs, root = pafs.LocalFileSystem(), self.path
        except OSError as error:
            raise self._error(error) from error
        return fs, root.rstrip("/")

    def _error(self, error: Exception) -> StorageError:
        if isinstance(error, OSError) and error.errno is not None:
            return storage_error(error, self.path)
        return StorageError(f"cannot use '{self.path}' for a campaign: {error}")
