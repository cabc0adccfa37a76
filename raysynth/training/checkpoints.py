"""Checkpoints on disk, read without running any code, and curves of losses beside them.

A checkpoint is one file of tensors and plain values, written atomically.

Rank 0 of a run that has a storage path writes curves as TensorBoard files. They are computed from private rows, so
their folder is marked private: it stays with the run's checkpoints and is no part of a model file.
`tensorboard --logdir STORAGE_PATH/NAME` shows them.
"""

from __future__ import annotations

import atexit
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from raysynth.errors import ParameterError, StorageError
from raysynth.files.private_folder import make_folder
from raysynth.files.storage import Place, Target, atomic_path, place
from raysynth.training.loop import Checkpoint

FILE_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class FolderStore:
    """The latest checkpoint of a run in this process, in a folder, and its loss curves.

    Args:
        folder: of the run.
        start: where a run begins that has no checkpoint in the folder yet; None: at the beginning.
    """

    folder: Target
    start: Checkpoint | None = None

    @property
    def where(self) -> str:
        """The folder, as messages name it."""
        return f"'{place(self.folder)}'"

    def load(self) -> Checkpoint | None:
        """The latest checkpoint, or the start; raises `StorageError` where the file is damaged."""
        path = place(self.folder) / FILE_NAME
        return read_checkpoint(path) if path.exists() else self.start

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint, atomically."""
        write_checkpoint(place(self.folder) / FILE_NAME, checkpoint)

    def report(self, entry: Mapping[str, float], checkpoint: Checkpoint | None) -> None:
        """Add the epoch to the curves, and keep the checkpoint, if there is one."""
        folder = place(self.folder)
        if folder.is_local:
            CurveFolder(Path(folder.path)).write(entry)
        if checkpoint is not None:
            self.save(checkpoint)


def latest_checkpoint(path: Target) -> Checkpoint:
    """The latest checkpoint of a run: its folder, in this process or by Ray Train, or the file itself.

    Raises:
        ParameterError: there is none. StorageError: it is damaged.
    """
    found = find_checkpoint(path)
    if found is None:
        raise ParameterError(
            f"resume: there is no checkpoint in '{place(path)}'; give the folder STORAGE_PATH/NAME of a run"
        )
    return found


def find_checkpoint(path: Target) -> Checkpoint | None:
    """The same; None where there is none."""
    where = place(path, "resume")
    if names_file(where):
        return read_checkpoint(where)
    # Ray Train names its folders checkpoint_DATE_TIME.MICROSECONDS, so the last name is the latest one
    names = {name for name in where.sizes() if fnmatch(name, f"checkpoint_*/{FILE_NAME}") and name.count("/") == 1}
    own = [FILE_NAME] if (where / FILE_NAME).exists() else []
    found = own or sorted(names, reverse=True)
    return read_checkpoint(where / found[0]) if found else None


def names_file(path: Place) -> bool:
    """Whether a run was named by a file of it, not by its folder."""
    return Path(path.path).is_file() if path.is_local else path.exists()


def write_checkpoint(path: Target, checkpoint: Checkpoint) -> None:
    """Write one file, complete or not at all."""
    with atomic_path(path, private=True) as temporary:
        torch.save(
            {"signature": checkpoint.signature, "state": checkpoint.state, "history": checkpoint.history}, temporary
        )


def read_checkpoint(path: Target) -> Checkpoint:
    """Read what `write_checkpoint` wrote. Only tensors and plain values are unpickled (`weights_only`)."""
    try:
        with place(path).open() as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
        return Checkpoint(content["signature"], content["state"], content["history"])
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise StorageError(f"checkpoint '{path}' is damaged or no checkpoint; delete it to start anew") from error


FOLDER = "tensorboard"
LABEL = "PRIVATE.txt"
NOTE = "private: loss curves computed from real rows; keep them with the data, do not publish them\n"


@dataclass(frozen=True)
class CurveFolder:
    """TensorBoard events of one run.

    Args:
        folder: of the run; events go to its subfolder 'tensorboard'.
    """

    folder: Path

    def write(self, entry: Mapping[str, float]) -> None:
        """Add one epoch's losses, under its number; on disk within about a second, by a thread of the writer.

        An epoch that is repeated after a loss comes again under the same number, and TensorBoard shows the later one.
        """
        folder = self.folder / FOLDER
        make_folder(folder, private=True)
        (folder / LABEL).write_text(NOTE, encoding="utf-8")
        writer = _writer(str(folder))
        for name, value in entry.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(entry["epoch"]))


@lru_cache(maxsize=8)
def _writer(folder: str) -> Any:
    """One writer, and so one file of events, for each run of this process; closed when the process ends."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(folder, flush_secs=1)
    atexit.register(writer.close)
    return writer
