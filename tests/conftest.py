"""For all tests: two at a time, a HOME of the run's own, markers by what is needed, and no process left at the end."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # before any import of numpy or torch: workers fighting for cores take longer
    os.environ.setdefault("OMP_NUM_THREADS", "1")
END_SECONDS = 20.0  # in which a process that was told to end has ended
OF_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # end with this process
MOST_WORKERS = 4  # each has a torch of its own in memory
WITHOUT_RAY = ("test_report_browser", "test_demo", "test_three_ways", "test_private_workers")  # of `integration/`


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One HOME for the whole run: Ray keeps the token of the first one it saw in the process.

    Every process that a test starts has this HOME, wherever it ended up; at the end none may be left. What Ray notes of
    its clusters has a folder of the run's own, too (short: its sockets' names have a limit): a note of a cluster that a
    test killed, or has running, is found by nobody else on this machine.
    """
    home = str(tmp_path_factory.mktemp("home"))
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="rt", dir="/tmp", ignore_cleanup_errors=True) as notes,
    ):
        patch.setenv("HOME", home)
        patch.setenv("RAY_TMPDIR", notes)
        yield
        end = time.monotonic() + END_SECONDS
        while (left := processes_of(home)) and time.monotonic() < end:
            time.sleep(0.1)
        assert left == [], "tests left processes behind"


@pytest.fixture(scope="session", autouse=True)
def one_accountant() -> Iterator[None]:
    """No fit waits for Opacus, which takes seconds; `test_second_opinion.py` asks it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raysynth.dp.accounting.second_opinion.SECONDS", 0.0)
        yield


def processes_of(home: str) -> list[str]:
    """Process id and command of every other process with this HOME (Linux; elsewhere none is seen)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it has just ended, or is another user's
            continue
        if f"HOME={home}".encode() in variables and command and not any(name in command for name in OF_PYTHON):
            found.append(f"{folder.name} {command[:200]}")
    return found


def pytest_configure(config: pytest.Config) -> None:
    """Tests marked 'slow' run only where `-m` speaks of them. No example fails since the machine does other things."""
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")
    chosen = config.option.markexpr
    if "slow" not in chosen:
        config.option.markexpr = f"({chosen}) and not slow" if chosen else "not slow"


def pytest_collection() -> None:
    """The garbage collector stands still while thousands of tests are collected, and then passes these by."""
    gc.disable()


def pytest_collection_finish() -> None:
    """See `pytest_collection`."""
    gc.freeze()
    gc.set_threshold(5_000)
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core where all tests run, none where files are named: those begin sooner without."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return 0 if named or cores < 2 else min(cores, MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Markers by what a test needs: 'ray' where it starts Ray, in `integration/`, but for WITHOUT_RAY.

    They come first, since all of them go to one worker, and the other workers take the rest meanwhile; of these the
    modules that share one Ray come last, so that it is started once.
    """
    sharing = {item.path for item in items if "two_cpus" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: 2 if "integration" not in item.path.parts else int(item.path in sharing))
    for item in items:
        name, is_integration = item.path.stem, "integration" in item.path.parts
        if name == "test_report_browser":
            item.add_marker(pytest.mark.browser)
        if is_integration and name not in WITHOUT_RAY:
            item.add_marker(pytest.mark.ray)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What workers are dealt: all that starts Ray to one of them, since one Ray takes all cores; else whole files.

    A file's fixtures are then made once. (`--dist loadgroup` of xdist 3.8 does nothing under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.split("::", 1)[0])
            return "ray" if "integration" in file.parts and file.stem not in WITHOUT_RAY else str(file)

    return WholeFiles(config, log)


@pytest.fixture(scope="module", autouse=True)
def ray_where_it_is_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A file without the marker 'ray' starts with no Ray in this process, and leaves none."""
    is_marked = "integration" in request.path.parts and request.path.stem not in WITHOUT_RAY
    if not is_marked and _ray_runs():
        sys.modules["ray"].shutdown()
    yield
    assert is_marked or not _ray_runs(), "starts Ray, and does not have its marker"


def _ray_runs() -> bool:
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())
