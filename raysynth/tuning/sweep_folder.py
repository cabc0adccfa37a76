"""The folder of a sweep: which sweep it belongs to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raysynth.errors import StorageError
from raysynth.files.storage import make_folder, write_atomically
from raysynth.tuning.trials import Trial

_NOTE_FILE = "sweep.json"


def note_of(trials: Sequence[Trial], *rest: Any) -> str:
    """What is swept, as text: two sweeps are the same where their notes are."""
    return json.dumps({"trials": [t.key for t in trials], "rest": [str(r) for r in rest]}, indent=1)


def require_same_sweep(folder: Path, note: str) -> None:
    """Raise `StorageError` where the folder belongs to another sweep."""
    path = folder / _NOTE_FILE
    if path.exists() and path.read_text(encoding="utf-8") != note:
        raise StorageError(
            f"'{folder}' holds another sweep (other methods, epsilons, seeds or options); choose a new folder, or call "
            "it as it was called"
        )


def claim(folder: Path, note: str, parts: Sequence[str] = ("trials", "models")) -> None:
    """Make the folder and its parts, for the user alone, and say which sweep they belong to; raises `StorageError`."""
    for name in parts:
        make_folder(folder / name, private=True)
    write_atomically(folder / _NOTE_FILE, note.encode(), private=True)
