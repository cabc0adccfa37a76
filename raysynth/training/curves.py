"""Loss curves as TensorBoard files, written by rank 0 of a run that has a storage path.

Curves are computed from private rows, so their folder is marked private: it stays with
the run's checkpoints and is no part of a model file. `tensorboard --logdir STORAGE_PATH/NAME` shows them.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from raysynth.files.storage import make_folder

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
