"""Three people at the keyboard: the command lines of the tutorials, typed in an empty folder, with a terminal or not.

What a page says is what is typed, so a tutorial cannot promise what the program does not do. Asserted of every command:
it ends well; it is never silent for long; each file lies where it was asked for; what its output advises to do next
works as it stands.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pexpect
import pexpect.popen_spawn
import pytest
from pages import TUTORIALS, blocks

ADVICE = re.compile(r"^(?:.*Next: |\s*)(raysynth (?:fit|sample|evaluate|verify|info|ledger) .*)$", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SILENCE = 8.0  # seconds of computing without a word, start of the process included
PATIENCE = 300  # seconds after which a command counts as hung

FILES = {
    "data_scientist": ["schema.json", "survey.raysynth", "synthetic.csv", "report.html", "public.html"],
    "privacy_officer": ["survey.raysynth", "synthetic.csv", "report.html", "public.html"],
    "platform_engineer": ["visits.raysynth", "synthetic/_raysynth/manifest.json"],
}


def typed_and_prepared(tutorial: str) -> tuple[list[str], list[str]]:
    """The command lines of a tutorial, and its cells before the first of them, which make the tables."""
    lines: list[str] = []
    cells: list[str] = []
    for block in (b for b in blocks(TUTORIALS / f"{tutorial}.md") if b.is_run):
        if block.is_shell:
            lines += block.code.splitlines()
        elif not lines:
            cells.append(block.code)
    return lines, cells


# each once; the other of terminal and pipe, and the officer's private fit with the evaluation of the first, are `slow`
QUICK = {("data_scientist", True), ("platform_engineer", False)}
WAYS = [
    pytest.param(
        (person, terminal),
        id=f"{person}-{'terminal' if terminal else 'pipe'}",
        marks=[] if (person, terminal) in QUICK else [pytest.mark.slow],
    )
    for person in FILES
    for terminal in (True, False)
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, bool]]:
    """A person in an empty folder with the tutorial's table, and whether there is a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAYSYNTH_QUIET", raising=False)
    names: dict[str, object] = {"__name__": "__page__"}
    for code in typed_and_prepared(request.param[0])[1]:
        exec(compile(code, request.param[0], "exec"), names)
    yield request.param


def test_what_a_tutorial_says_works_as_it_is_typed(way: tuple[str, bool], tmp_path: Path) -> None:
    tutorial, terminal = way
    lines, _ = typed_and_prepared(tutorial)
    assert lines, "the tutorial has no command line"
    done: list[str] = []
    advised: dict[str, str] = {}
    for line in lines:
        shown = typed(line, terminal)
        done.append(line)
        advised |= {advice.strip(): line for advice in ADVICE.findall(shown)}
    missing = [name for name in FILES[tutorial] if not (tmp_path / name).exists()]
    assert missing == [], f"{missing} were asked for; there are {sorted(p.name for p in tmp_path.iterdir())}"
    for advice, line in advised.items():
        if not any(same_command(advice, other) for other in done):
            typed(advice, terminal, told_by=line)
            done.append(advice)


def test_a_killed_sampling_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform engineer's bad day: the line is typed, killed, typed again; the folder is as if nothing had been."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(1500, 4))).add_prefix("x").assign(ward=rng.choice(list("abc"), 1500))
    rows.to_parquet("visits.parquet")
    typed("raysynth fit visits.parquet --method trees --model visits.raysynth --seed 0", terminal=False)
    line = "raysynth sample visits.raysynth -n 800000 --out {} --seed 7"
    killed = subprocess.Popen([sys.executable, "-m", *line.format("synthetic").split()], stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE
    while len(first := sorted(Path("synthetic").glob("part-*.parquet"))) < 3:
        assert killed.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    written = first[0].stat().st_mtime_ns
    shown = typed(line.format("synthetic"), terminal=False)
    assert "800,000 rows" in shown and first[0].stat().st_mtime_ns == written, "what was whole is not made again"
    typed("raysynth verify synthetic", terminal=False)
    typed(line.format("again"), terminal=False)
    one, other = (
        {p.name: p.read_bytes() for p in sorted(Path(f).glob("part-*.parquet"))} for f in ("synthetic", "again")
    )
    assert one == other and len(one) > 3


def same_command(one: str, other: str) -> bool:
    """Whether two lines give the same command the same file: then the advice was followed already."""
    return shlex.split(one)[:3] == shlex.split(other)[:3]


def typed(line: str, terminal: bool, told_by: str = "") -> str:
    """What the program shows when a line is typed; fails where it ends badly or computes in silence."""
    program, *words = shlex.split(line)
    assert program == "raysynth", line
    command = [sys.executable, "-m", "raysynth", *words]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    if terminal:
        child = pexpect.spawn(command[0], command[1:], timeout=PATIENCE, env=environment, dimensions=(40, 120))
        pid = child.pid
    else:
        child = pexpect.popen_spawn.PopenSpawn(command, timeout=PATIENCE, env=environment)
        pid = child.proc.pid
    shown, longest = listened(child, pid)
    code = child.wait()
    if not terminal:
        child.proc.stdin.close()
        child.proc.stdout.close()
    cause = f"'{line}'" + (f", advised by '{told_by}'," if told_by else "")
    assert code == 0, f"{cause} ended with {code}:\n{shown}"
    assert longest <= SILENCE, f"{cause} computed for {longest:.0f} s without a word:\n{shown}"
    return shown


def listened(child: pexpect.spawnbase.SpawnBase, pid: int) -> tuple[str, float]:
    """All that a program shows, and the most seconds that it computed between two words (a busy machine adds none)."""
    shown, longest, spoke = "", 0.0, 0.0
    while child.expect([r"[^\s]+\s*", pexpect.EOF]) == 0:
        now = computed(pid)
        longest, spoke = max(longest, now - spoke), now
        shown += child.after.decode(errors="replace")
    return COLOURS.sub("", shown.replace("\r\n", "\n")), longest


def computed(pid: int) -> float:
    """Seconds of processor time that a process has taken; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
