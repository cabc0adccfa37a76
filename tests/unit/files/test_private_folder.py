"""Folders of encoded rows: gone when their fit ends, however it ends; never taken from one that runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from raysynth import TabularVAE
from raysynth.errors import StorageError
from raysynth.files.private_folder import PREFIX, SILENT_SECONDS, private_folder, remove_abandoned

# a fit that stands still in the middle of its encoded rows, which have been written, until it is killed
FIT = """
import sys
from pathlib import Path
from types import SimpleNamespace
import pandas as pd
from raysynth import TabularVAE
from raysynth.training import kept_shards
storage = sys.argv[1]

def stand_still(*args, **kwargs):
    print("ready", flush=True)
    sys.stdin.read()

kept_shards.write_manifest = stand_still
TabularVAE(
    latent_dim=4, encoder_layers=(16,), decoder_layers=(16,), prior_components=4, epochs=1, seed=0, verbose=False,
    keep_shards=storage + "/kept", run_config=SimpleNamespace(storage_path=storage, name="first"),
).fit(pd.DataFrame({"c": list("ab") * 300}))
"""
HOLD = """
import sys
from pathlib import Path
from raysynth.files.private_folder import private_folder
with private_folder(Path(sys.argv[1])) as folder:
    (folder / "rows").write_text("secret")
    print("ready", flush=True)
    sys.stdin.read()
"""


def left_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(f"{PREFIX}*"))


def started(script: str, *arguments: Any) -> subprocess.Popen[str]:
    """A process that has come to where it waits."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, preexec_fn=_heeds_ctrl_c, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def _heeds_ctrl_c() -> None:
    """A suite that was started in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended_by(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    process.wait(30)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def small_fit(storage: Path, name: str, **parameters: Any) -> TabularVAE:
    sizes: dict[str, Any] = {"latent_dim": 4, "encoder_layers": (16,), "decoder_layers": (16,), "prior_components": 4}
    run = SimpleNamespace(storage_path=str(storage), name=name)
    model = TabularVAE(**sizes, epochs=1, seed=0, verbose=False, run_config=run, **parameters)
    return model.fit(pd.DataFrame({"c": list("ab") * 300}))


def test_a_killed_fits_rows_are_deleted_by_the_next_one_with_the_same_storage_path(tmp_path: Path) -> None:
    process = started(FIT, tmp_path)
    ended_by(process, signal.SIGKILL)
    found = list((tmp_path / "kept").rglob("*.npy"))
    assert found and all(p.parent.name.startswith(PREFIX) for p in found)
    small_fit(tmp_path, "second")  # another name, and no kept shards of its own
    assert left_in(tmp_path) == []
    kept = small_fit(tmp_path, "third", keep_shards=tmp_path / "kept")
    assert left_in(tmp_path) == [] and len(kept.history_) == 1


def test_ctrl_c_deletes_them_at_once(tmp_path: Path) -> None:
    process = started(FIT, tmp_path)
    assert left_in(tmp_path)
    ended_by(process, signal.SIGINT)
    assert process.returncode != 0 and left_in(tmp_path) == []


def test_rows_of_a_fit_that_runs_are_never_taken(tmp_path: Path) -> None:
    process = started(HOLD, tmp_path / "run")
    (name,) = {p.name.removesuffix(".lock") for p in (tmp_path / "run").iterdir()}
    small_fit(tmp_path, "second")
    with private_folder(tmp_path / "run") as other:
        assert (tmp_path / "run" / name / "rows").read_text() == "secret"
        remove_abandoned(tmp_path / "run")
        assert other.is_dir()
    ended_by(process, signal.SIGKILL)
    remove_abandoned(tmp_path / "run")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(("silent", "deleted"), [(0.0, False), (SILENT_SECONDS + 60, True)], ids=["fresh", "silent"])
def test_what_another_machine_made_must_have_been_silent(tmp_path: Path, silent: float, deleted: bool) -> None:
    """A file system may keep another machine's locks to itself."""
    folder, lock = tmp_path / f"{PREFIX}0", tmp_path / f"{PREFIX}0.lock"
    folder.mkdir()
    lock.write_text("another kernel")
    os.utime(lock, (time.time() - silent,) * 2)
    remove_abandoned(tmp_path)
    assert folder.exists() is not deleted and lock.exists() is not deleted


def test_without_locks_the_owner_is_told_from_a_dead_one_by_its_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr("raysynth.files.private_folder._BEAT_SECONDS", 0.01)
    with private_folder(tmp_path) as folder:
        lock = folder.with_name(f"{folder.name}.lock")
        os.utime(lock, (0, 0))
        wait_for(lambda: lock.stat().st_mtime > 0)
        remove_abandoned(tmp_path)
        assert folder.is_dir()
    assert left_in(tmp_path) == []


def test_a_folder_without_a_lock_belongs_to_nobody(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}1").mkdir()
    (tmp_path / f"{PREFIX}2.lock").write_text("another kernel")  # killed before it wrote who it is, or made the folder
    os.utime(tmp_path / f"{PREFIX}2.lock", (0, 0))
    remove_abandoned(tmp_path)
    assert left_in(tmp_path) == []


def test_a_complete_folder_stays_under_its_new_name(tmp_path: Path) -> None:
    with private_folder(tmp_path) as folder:
        (folder / "rows").touch()
        folder.rename(tmp_path / "kept")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept"] and (tmp_path / "kept" / "rows").exists()


def test_a_task_that_was_cancelled_cannot_keep_it(tmp_path: Path) -> None:
    """Deleting goes on until nothing is written any more."""
    stop = threading.Event()

    def write(folder: Path) -> None:
        for i in range(20):
            if stop.wait(0.002):
                return
            folder.mkdir(exist_ok=True)
            (folder / f"{i}").touch()

    with private_folder(tmp_path) as folder:
        writer = threading.Thread(target=write, args=(folder,))
        writer.start()
    writer.join()
    remove_abandoned(tmp_path)
    assert left_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose another path"), private_folder(tmp_path / "file"):
        pass


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.01)
