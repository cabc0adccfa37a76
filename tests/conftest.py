"""For all tests: a home folder of the run's own, markers by what a test needs, and no process left at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

END_SECONDS = 20.0  # in which a process that was told to end has ended
OF_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # end with this process


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One HOME for the whole run: Ray keeps the token of the first one it saw in the process.

    Every process that a test starts has this HOME, wherever it ended up; at the end none may be left.
    """
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", home)
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """'ray' where a test starts Ray: all of `integration/` but the browser's, and users of the `two_cpus` fixture."""
    for item in items:
        if item.path.stem == "test_report_browser":
            item.add_marker(pytest.mark.browser)
        elif "integration" in item.path.parts or "two_cpus" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
