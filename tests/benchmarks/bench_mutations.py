"""What the unit tests catch: small wrong programs (mutations) of five rooms, each run with the tests of its room.

    python tests/benchmarks/bench_mutations.py --out DIR [--n 200] [--seed 2026] [--module PATH,PATH]
                                                 [--only KEY,KEY] [--again] [--seconds 60]

A mutation changes one comparison, operator, number, truth value, condition or `min`/`max` of a file in `raysynth/dp`,
`sampling`, `encoding`, `statistics` or `related`. As many are drawn from each room, by the seed that is printed; with
`--module`, at most N of these files alone. Each is written into a temporary copy of the repository, and the tests of
its room run there until an assertion fails or SECONDS are over: those that run the line (found once a room by tracing,
DIR/lines_ROOM.json), the quick ones and those that run little beside its file first, and then what else stands in their
files. One within a function takes the place of its code in a fork of a process that has all tests collected;
others - a line that runs on import, or as machine code - are loaded anew. Where no test runs the line, all tests of the
room do, those named after the file first. Caught means a failed assertion, or an error that was expected and did not
come (none did, or another one); a test that only raises does not count, and the others go on. Programs that do the same
are held equal in `equal_mutations.json`. Resumable: a line of DIR/mutations.jsonl each; `--again` runs anew what was
not caught.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import importlib
import inspect
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import hypothesis
import pytest
from mutation import ROOMS, ROOT, Mutation, drawn, tests_of

SECONDS = 60  # of processor time, of the tests of one mutation
SETUP = 0.02  # seconds of any test
BUSY = 15  # times as long by the clock at most, on a machine that does other things too
COPIED = ("raysynth", "tests", "examples", "docs", "cluster", "pyproject.toml", "README.md", "constraints.txt")
LOADED = ("numpy", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.ensemble", "torch", "dp_accounting")  # once

# ---- what the tests say ----------------------------------------------------------------------------------------------


class LinesOfTests:
    """Plugin of pytest: writes down the seconds of each test and which lines of `folder` it runs, fixtures too."""

    def __init__(self, folder: Path, report: Path) -> None:
        self.folder, self.report = f"{folder}/", report
        self.lines: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = {}
        self.of_test: set[tuple[str, int]] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """One test."""
        self.of_test, begun = set(), time.process_time()
        sys.settrace(self._trace)
        threading.settrace(self._trace)  # of threads that begin from here on
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self.seconds[item.nodeid] = time.process_time() - begun
            for path, line in self.of_test:
                self.lines.setdefault(f"{path.removeprefix(self.folder)}:{line}", []).append(item.nodeid)

    def pytest_sessionfinish(self) -> None:
        """All are known."""
        self.report.write_text(json.dumps({"lines": self.lines, "seconds": self.seconds}))

    def _trace(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(self.folder):
            return None
        self.of_test.add((frame.f_code.co_filename, frame.f_lineno))
        return self._trace


Run = Callable[[list[str], "UntilAnAssertionFails"], int | None]


class UntilAnAssertionFails:
    """Plugin of pytest: ends the tests of a mutation with the first that asserts, and writes down which.

    Args:
        report: where to.
        first: tests that come before all others, in this order.
    """

    def __init__(self, report: Path, first: list[str]) -> None:
        self.report, self.raised = report, 0
        self.place = {test: i for i, test in enumerate(first)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Those that run the line come first."""
        items.sort(key=lambda item: self.place.get(item.nodeid, len(self.place)))

    def pytest_exception_interact(self, node: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """A test that failed."""
        error = call.excinfo
        if error is not None and isinstance(error.value, AssertionError | pytest.fail.Exception):
            self.report.write_text(json.dumps({"caught": node.nodeid}))
            if isinstance(node, pytest.Item):
                node.session.shouldstop = "caught"
        else:
            self.raised += 1
            self.report.write_text(json.dumps({"raised": self.raised}))


def other_errors_fail() -> None:
    """From here on an error in the place of the one that `pytest.raises` expects fails a test, as none at all does."""
    raises: Any = type(pytest.raises(Exception))

    def left(block: Any, kind: Any, error: Any, at: Any, leave: Callable[..., bool] = raises.__exit__) -> bool:
        if not (expected := leave(block, kind, error, at)) and isinstance(error, Exception):
            pytest.fail(f"another error than was expected: {error!r}")
        return expected

    raises.__exit__ = left


def running(mutation: Mutation, out: Path, copy: Path) -> list[str]:
    """Tests that run its lines, the quick ones that run little beside its file first; a room is traced where needed."""
    known = out / f"lines_{mutation.room}.json"
    if not known.exists():
        tests, folder = tests_of(mutation.path, copy), copy / "raysynth" / mutation.room
        code_of_tests(tests, copy, LinesOfTests(folder, known.resolve()), 20 * SECONDS)
    found = _traced(known)
    name = mutation.path.split("/", 2)[2]
    lines = range(mutation.line, mutation.line + mutation.before.count("\n") + 1)
    tests = {test for line in lines for test in found["lines"].get(f"{name}:{line}", [])}
    return sorted(tests, key=lambda test: (found["seconds"][test] + SETUP) / _share(known)[name][test])


@cache
def _share(report: Path) -> dict[str, dict[str, float]]:
    """By file and test: which share of the lines that the test runs in its room is of this file."""
    own: dict[str, Counter[str]] = defaultdict(Counter)
    for line, tests in _traced(report)["lines"].items():
        own[line.rsplit(":", 1)[0]].update(tests)
    of_all = sum(own.values(), Counter())
    return {file: {test: n / of_all[test] for test, n in tests.items()} for file, tests in own.items()}


@cache
def _traced(report: Path) -> dict[str, Any]:
    return dict(json.loads(report.read_text()))


def tried(mutation: Mutation, copy: Path, first: list[str], run: Run) -> dict[str, str | int]:
    """'caught' and by which test, 'raised' and how many tests, 'survived', or 'unfinished' in the time of `run`.

    `run`: of test files and a plugin, with the mutation in place: exit status of pytest, None where time was over.
    """
    file, report = copy / mutation.path, copy / "report.json"
    whole = file.read_bytes()
    report.unlink(missing_ok=True)
    file.write_bytes(mutation.within(whole))
    try:
        files = list(dict.fromkeys(test.split("::")[0] for test in first)) or tests_of(mutation.path, copy)
        code = run(files, UntilAnAssertionFails(report, first))
    finally:
        file.write_bytes(whole)
    found: dict[str, str | int] = json.loads(report.read_text()) if report.exists() else {}
    if "caught" in found:
        return {"outcome": "caught", "by": found["caught"]}
    if "raised" in found or code not in (0, 1, None):
        return {"outcome": "raised", "tests": found.get("raised", 0)}
    return {"outcome": "survived" if code is not None else "unfinished"}


def code_of_tests(tests: list[str], copy: Path, plugin: object, seconds: int) -> int | None:
    """Exit status of pytest in a fork of this process, which has loaded what all tests need; None after `seconds`."""

    def all_of_it() -> int:
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)
        sys.path.insert(0, str(copy))
        hypothesis.settings.register_profile("first failure", phases=(hypothesis.Phase.generate,), database=None)
        hypothesis.settings.load_profile("first failure")  # which is enough: the smallest one is not looked for
        other_errors_fail()
        options = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--rootdir={copy}"]
        return int(pytest.main([*options, *tests], plugins=[plugin]))

    return forked(all_of_it, seconds)


def forked(work: Callable[[], int], seconds: int) -> int | None:
    """Exit status of a fork of this process that does some work; None after `seconds` of its processor time."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            code = work()
        finally:
            os._exit(code)
    end, done = time.monotonic() + BUSY * seconds, 0
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else None
            time.sleep(0.02)
        return None
    finally:  # and what its tests started; a fork that has forks of its own ends these
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
            for _ in range(0 if done else 100):
                with contextlib.suppress(ChildProcessError):
                    done = os.waitpid(pid, os.WNOHANG)[0]
                if done:
                    break
                time.sleep(0.02)


# ---- code in the place of code ---------------------------------------------------------------------------------------

Pairs = list[tuple[CodeType, CodeType]]


def codes_that_differ(mutation: Mutation, root: Path) -> Pairs | None:
    """Functions' code as it is, and as it is to be; None where something else differs, or it becomes machine code."""
    whole, path = (root / mutation.path).read_bytes(), str(root / mutation.path)
    found: Pairs = []

    def in_functions_alone(now: CodeType, wanted: CodeType) -> bool:
        """Of a module or class: whether it does the same, but for functions' code, which is added."""
        bodies = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (now, wanted)]
        others = [repr([c for c in code.co_consts if not isinstance(c, CodeType)]) for code in (now, wanted)]
        if now.co_code != wanted.co_code or others[0] != others[1] or len(bodies[0]) != len(bodies[1]):
            return False
        for one, other in zip(*bodies, strict=True):
            if one != other and one.co_flags & inspect.CO_OPTIMIZED:
                found.append((one, other))
            elif one != other and not in_functions_alone(one, other):
                return False
        return True

    functions = [node for node in ast.walk(ast.parse(whole)) if isinstance(node, ast.FunctionDef)]
    around = [f for f in functions if f.lineno <= mutation.line <= (f.end_lineno or 0)]
    if any("compiled" in ast.unparse(decorator) for f in around for decorator in f.decorator_list):
        return None
    now, wanted = (compile(text, path, "exec", dont_inherit=True) for text in (whole, mutation.within(whole)))
    return found if in_functions_alone(now, wanted) else None


class InForks:
    """Plugin of pytest: in the place of a run of all tests, those of each mutation in a fork that has it in place.

    Those of which a function is not to be found are passed by.
    """

    def __init__(self, mutations: list[Mutation], copy: Path, out: Path, seconds: int) -> None:
        self.mutations, self.copy, self.out, self.seconds = mutations, copy, out, seconds

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All of them, one after the other."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the fork that runs is ended, too
        for path in sorted((self.copy / "raysynth").rglob("*.py")):  # once, and not in each fork
            if not path.stem.startswith("__"):
                importlib.import_module(".".join(path.relative_to(self.copy).with_suffix("").parts))
        gc.unfreeze()
        functions: dict[tuple[str, int, str], list[FunctionType]] = {}
        for function in gc.get_objects():
            if isinstance(function, FunctionType):
                functions.setdefault(_place(function.__code__), []).append(function)
        for mutation in self.mutations:
            pairs = codes_that_differ(mutation, self.copy)
            if pairs and all(_place(now) in functions for now, _ in pairs):
                changed = [(f, wanted) for now, wanted in pairs for f in functions[_place(now)]]

                def run(files: list[str], plugin: UntilAnAssertionFails, changed: Any = changed) -> int | None:
                    return forked(lambda: _run(session, files, plugin, changed), self.seconds)

                first = running(mutation, self.out, self.copy)
                write(mutation, tried(mutation, self.copy, first, run), self.out)
        return True


def _place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_qualname


def _run(
    session: pytest.Session,
    files: list[str],
    plugin: UntilAnAssertionFails,
    changed: list[tuple[FunctionType, CodeType]],
) -> int:
    for function, wanted in changed:
        function.__code__ = wanted
    session.config.pluginmanager.register(plugin)
    place = {file: i for i, file in enumerate(files)}
    items = [item for item in session.items if item.nodeid.split("::")[0] in place]
    items.sort(key=lambda item: place[item.nodeid.split("::")[0]])
    plugin.pytest_collection_modifyitems(items)
    for item, after in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.shouldstop:
            return 1
    return 0


# ---- all of them -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Run what has no result yet, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--module", help="draw from these files alone; separated by commas")
    parser.add_argument("--only", help="keys, separated by commas")
    parser.add_argument("--again", action="store_true", help="those anew that were not caught")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of processor time, of each")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the tests that run are ended, too
    given.out.mkdir(parents=True, exist_ok=True)
    known = known_of(given.out)
    print(f"seed {given.seed}")
    mutations = drawn(given.n, given.seed, [given.module.split(",")] if given.module else None)
    chosen = [m for m in mutations if not m.is_equal and (not given.only or m.key in given.only.split(","))]
    todo = [m for m in chosen if m.key not in known or (given.again and known[m.key] != "caught")]
    for name in LOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copy, ignored = Path(folder), shutil.ignore_patterns("*.pyc")  # machine code of compiled loops stays
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, copy / name)
        for mutation in todo:
            running(mutation, given.out, copy)  # once a room
        plugin, before = InForks(todo, copy, given.out, given.seconds), len(lines_of(given.out))
        tests = [f"tests/unit/{room}" for room in ROOMS if any(m.room == room for m in todo)]
        code_of_tests(tests, copy, plugin, 10 * given.seconds * (len(todo) + 10))
        done = {line["key"] for line in lines_of(given.out)[before:]}
        for mutation in (m for m in todo if m.key not in done):
            first = running(mutation, given.out, copy)
            found = tried(mutation, copy, first, lambda files, p: code_of_tests(files, copy, p, given.seconds))
            write(mutation, found, given.out)
    known = known_of(given.out)
    shown([m for m in mutations if m.key in known or m.is_equal], known)


def lines_of(out: Path) -> list[dict[str, Any]]:
    """Results so far."""
    lines = out / "mutations.jsonl"
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def known_of(out: Path) -> dict[str, str]:
    """Outcomes so far, by key; the last one where there are several."""
    return {line["key"]: line["outcome"] for line in lines_of(out)}


def write(mutation: Mutation, found: dict[str, str | int], out: Path) -> None:
    """Add a result."""
    with (out / "mutations.jsonl").open("a") as lines:
        lines.write(json.dumps({"key": mutation.key, **asdict(mutation), **found}) + "\n")
    print(json.dumps({"key": mutation.key, "before": mutation.before, "after": mutation.after, **found}), flush=True)


def shown(mutations: list[Mutation], outcomes: dict[str, str]) -> None:
    """The figures of each room and of all."""
    for room in (*ROOMS, "all"):
        of_room = [m for m in mutations if room in (m.room, "all")]
        counts = Counter("equal" if m.is_equal else outcomes[m.key] for m in of_room)
        unequal = len(of_room) - counts["equal"]
        share = counts["caught"] / unequal if unequal else float("nan")
        print(f"{room:10}  {len(of_room):4} run  {share:6.1%} caught  {dict(counts)}")


if __name__ == "__main__":
    main()
