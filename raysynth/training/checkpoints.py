"""Checkpoints on disk: tensors and plain values in one file, written atomically, read without running any code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from raysynth.errors import StorageError
from raysynth.storage import atomic_path
from raysynth.training.loop import Checkpoint

FILE_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class FolderStore:
    """The latest checkpoint of a run in this process, in a folder."""

    folder: Path

    @property
    def where(self) -> str:
        """For messages."""
        return f"'{self.folder}'"

    def load(self) -> Checkpoint | None:
        """The latest checkpoint, or None; raises `StorageError` where the file is damaged."""
        path = self.folder / FILE_NAME
        return read_checkpoint(path) if path.exists() else None

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint, atomically."""
        write_checkpoint(self.folder / FILE_NAME, checkpoint)

    def report(self, entry: Mapping[str, float], checkpoint: Checkpoint | None) -> None:
        """Keep the checkpoint, if there is one."""
        if checkpoint is not None:
            self.save(checkpoint)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write one file, complete or not at all."""
    with atomic_path(path) as temporary:
        torch.save(
            {"signature": checkpoint.signature, "state": checkpoint.state, "history": checkpoint.history}, temporary
        )


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote. Only tensors and plain values are unpickled (`weights_only`)."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(content["signature"], content["state"], content["history"])
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise StorageError(f"checkpoint '{path}' is damaged or no checkpoint; delete it to start anew") from error
