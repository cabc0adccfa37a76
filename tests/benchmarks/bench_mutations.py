"""What the unit tests catch: small wrong programs (mutations) of five rooms, each run with the tests of its room.

    python tests/benchmarks/bench_mutations.py --out DIR [--n 200] [--seed 2026] [--only KEY,KEY] [--again]
                                                 [--seconds 60]

A mutation changes one comparison, operator, number, truth value, condition or `min`/`max` of a file in `raysynth/dp`,
`sampling`, `encoding`, `statistics` or `related`. As many are drawn from each room, by the seed that is printed. Each
is written into a temporary copy of the repository, and the tests of its room run there until an assertion fails or
SECONDS are over: those that run the line (found once a room by tracing, DIR/lines_ROOM.json), the quickest first, and
then what else stands in their files; where none does - a line that runs on import, or as compiled code - all tests of
the room, those named after the file first. Caught means a failed assertion (or an error that was expected and did not
come); a test that only raises does not count, and the others go on. Programs that do the same are held equal in
`equal_mutations.json`. Resumable: a line of DIR/mutations.jsonl each; `--again` runs anew what was not caught.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("dp", "sampling", "encoding", "statistics", "related")
SECONDS = 60  # of processor time, of the tests of one mutation; four times as much on a busy machine
COPIED = ("raysynth", "tests", "examples", "docs", "cluster", "pyproject.toml", "README.md", "constraints.txt")
LOADED = ("numpy", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.ensemble", "torch", "dp_accounting")  # once

COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
}
CALLED = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}
CALLED |= {"floor": "ceil", "ceil": "floor"}

# mutations that are the same program for all that a caller can see, by (file, its line of code, what stands there)
EQUAL = {
    (m["file"], m["line"], m["after"]): m["why"]
    for m in json.loads(Path(__file__).with_name("equal_mutations.json").read_text(encoding="utf-8"))
}


@dataclass(frozen=True)
class Mutation:
    """One wrong program.

    Args:
        path: of the file, in the repository.
        line, start, end: where, the last two as bytes of the file.
        before, after: text there.
        code: the line, without its indent.
    """

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str
    code: str = ""

    @property
    def room(self) -> str:
        """Folder in `raysynth/`."""
        return self.path.split("/")[1]

    @property
    def key(self) -> str:
        """Its name in files and on the command line."""
        return f"{self.path.removeprefix('raysynth/')}:{self.line}:{self.start}"

    @property
    def is_equal(self) -> bool:
        """Whether it is held to be the same program."""
        return (self.path, self.code, self.after) in EQUAL


# ---- which there are -------------------------------------------------------------------------------------------------


def mutations_of(path: Path, root: Path = ROOT) -> Iterator[Mutation]:
    """All mutations of a file, each of an expression of one or more lines."""
    text = path.read_bytes()
    begins, lines = [0], text.splitlines(keepends=True)
    for line in lines:
        begins.append(begins[-1] + len(line))
    name = path.relative_to(root).as_posix()
    for node, changed in _changes(ast.parse(text)):
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = begins[node.lineno - 1] + node.col_offset
        end = begins[node.end_lineno - 1] + node.end_col_offset
        before = text[start:end].decode()
        code = lines[node.lineno - 1].decode().strip()
        yield Mutation(name, node.lineno, start, end, before, f"({ast.unparse(changed)})", code)


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(expression, what stands there instead), of what is computed when the program runs."""
    for node in _computed(tree):
        match node:
            case ast.Compare(left, [op, *more], operands) if type(op) in COMPARED:
                yield node, ast.Compare(left, [COMPARED[type(op)](), *more], operands)
            case ast.BinOp(left, op, right) if type(op) in COMPUTED and not _is_text(left) and not _is_text(right):
                yield node, ast.BinOp(left, COMPUTED[type(op)](), right)
            case ast.BoolOp(op, values):
                yield node, ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            case ast.UnaryOp(ast.Not() | ast.USub(), operand):
                yield node, operand
            case ast.IfExp(test, body, other):
                yield node, ast.IfExp(ast.UnaryOp(ast.Not(), test), body, other)
            case ast.Constant(bool(value)):
                yield node, ast.Constant(not value)
            case ast.Constant(int(value) | float(value)):
                yield node, ast.Constant(value + 1 if isinstance(value, int) else 2 * value or 1.0)
            case ast.Call(ast.Name(name) | ast.Attribute(_, name)) if name in CALLED:
                func = node.func
                other = CALLED[name]
                changed = ast.Name(other) if isinstance(func, ast.Name) else ast.Attribute(func.value, other)
                yield node, ast.Call(changed, node.args, node.keywords)


def _computed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but types, texts (with what is set into them), asserted types and imports for typing."""
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _computed(child)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def drawn(n: int, seed: int, root: Path = ROOT) -> list[Mutation]:
    """n mutations, as many from each room, the rooms in turn: the first ones are a smaller sample."""
    rng, of_rooms = random.Random(seed), []
    for room in ROOMS:
        files = sorted((root / "raysynth" / room).rglob("*.py"))
        found = [m for file in files for m in mutations_of(file, root)]
        of_rooms.append(rng.sample(found, -(-n // len(ROOMS))))
    return [m for together in zip(*of_rooms, strict=True) for m in together][:n]


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


def tests_of(path: str, root: Path) -> list[str]:
    """Tests of the file's room, those named after the file or its folder first."""
    room, file = path.split("/")[1], Path(path)
    words = {file.stem, *file.stem.split("_"), file.parent.name} - {room}
    tests = sorted((root / "tests" / "unit" / room).rglob("test_*.py"))
    near = [len(words & {t.stem.removeprefix("test_"), *t.stem.split("_")[1:], t.parent.name}) for t in tests]
    named = [t.stem == f"test_{file.stem}" for t in tests]
    order = sorted(range(len(tests)), key=lambda i: (not named[i], -near[i], tests[i]))
    return [str(tests[i].relative_to(root)) for i in order]


def running(mutation: Mutation, out: Path, copy: Path) -> list[str]:
    """Tests that run its lines, the quickest first; those of its room are traced where that was not done yet."""
    known = out / f"lines_{mutation.room}.json"
    if not known.exists():
        tests, folder = tests_of(mutation.path, copy), copy / "raysynth" / mutation.room
        code_of_tests(tests, copy, LinesOfTests(folder, known.resolve()), 20 * SECONDS)
    found = json.loads(known.read_text())
    name = mutation.path.split("/", 2)[2]
    lines = range(mutation.line, mutation.line + mutation.before.count("\n") + 1)
    tests = {test for line in lines for test in found["lines"].get(f"{name}:{line}", [])}
    return sorted(tests, key=lambda test: float(found["seconds"][test]))


def tried(mutation: Mutation, copy: Path, first: list[str], seconds: int) -> dict[str, str | int]:
    """'caught' and by which test, 'raised' and how many tests, 'survived', or 'unfinished' after `seconds`."""
    file, report = copy / mutation.path, copy / "report.json"
    whole = file.read_bytes()
    report.unlink(missing_ok=True)
    file.write_bytes(whole[: mutation.start] + mutation.after.encode() + whole[mutation.end :])
    try:
        files = list(dict.fromkeys(test.split("::")[0] for test in first)) or tests_of(mutation.path, copy)
        code = code_of_tests(files, copy, UntilAnAssertionFails(report, first), seconds)
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
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(copy)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        os.environ["PYTHONPATH"] = str(copy)
        sys.path.insert(0, str(copy))
        options = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--rootdir={copy}"]
        os._exit(pytest.main([*options, *tests], plugins=[plugin]))
    end = time.monotonic() + 4 * seconds
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else None
            time.sleep(0.05)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # and what its tests started
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


# ---- all of them -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Run what has no result yet, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--only", help="keys, separated by commas")
    parser.add_argument("--again", action="store_true", help="those anew that were not caught")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of processor time, of each")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the tests that run are ended, too
    given.out.mkdir(parents=True, exist_ok=True)
    lines = given.out / "mutations.jsonl"
    results = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    known = {r["key"]: r for r in results}
    print(f"seed {given.seed}")
    mutations = drawn(given.n, given.seed)
    for name in LOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copy, ignored = Path(folder), shutil.ignore_patterns("*.pyc")  # machine code of compiled loops stays
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, copy / name)
        for mutation in mutations:
            old = known.get(mutation.key)
            skipped = mutation.is_equal or (given.only and mutation.key not in given.only.split(","))
            if skipped or (old is not None and (old["outcome"] == "caught" or not given.again)):
                continue
            found = {
                "key": mutation.key,
                **asdict(mutation),
                **tried(mutation, copy, running(mutation, given.out, copy), given.seconds),
            }
            known[mutation.key] = found
            with lines.open("a") as out:
                out.write(json.dumps(found) + "\n")
            print(json.dumps({k: found[k] for k in ("key", "before", "after", "outcome")}), flush=True)
    shown([m for m in mutations if m.key in known or m.is_equal], {k: r["outcome"] for k, r in known.items()})


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
