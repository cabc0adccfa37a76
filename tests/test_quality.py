"""The code itself: lint, format, types, sizes of files and functions, and which layer may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from import_graph import LAYER, PACKAGE, circles, files, imports, tree_of

ROOT = PACKAGE.parent
FILES = files()
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 400, 50, 8
# What may take more: calls that users make, whose arguments are each a choice of theirs; and one in trees.
CALLS = {"evaluate_synthetic_data", "machine_learning_efficacy", "run_privacy_attacks", "sample_to", "infer_schema"}
CALLS |= {"audit_epsilon", "privacy_dossier", "learn_table"}
# Where Ray may be imported; everywhere else the code works, and is tested, without it.
RAY_ROOMS = ("running/ray.py", "running/ray_session.py", "running/metrics.py", "sampling/dataset.py")
RAY_ROOMS += ("training/distributed.py", "training/scratch.py", "tuning/", "jobs/cluster.py")
# Its config classes: as types, or made from options of the command line.
RAY_FACES = ("methods/base.py", "methods/sequences/sampling.py", "methods/shared/neural.py")
RAY_FACES += ("fitting/method.py", "fitting/checks.py", "cli/steps.py")


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--no-error-summary"]], ids=" ".join
)
def test_tool_is_content(command: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def trees() -> Iterator[tuple[str, str, ast.Module]]:
    """(path in the package, text, syntax tree) of every file."""
    for path in FILES.values():
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"), tree_of(path)


def test_every_file_has_one_subject_and_a_readable_size() -> None:
    without = [name for name, _, tree in trees() if not ast.get_docstring(tree)]
    assert without == [], "the first docstring line says what the file is about"
    long = [name for name, text, _ in trees() if len(text.splitlines()) > MOST_LINES]
    assert long == [], f"more than {MOST_LINES} lines"


def test_every_function_has_a_readable_size() -> None:
    """Lines from the first statement to the last; signature and docstring are not counted."""
    long = []
    for name, _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    long.append(f"{name}: {node.name} ({lines})")
    assert long == [], f"more than {MOST_FUNCTION_LINES} lines"


def test_no_function_takes_more_than_a_reader_can_hold() -> None:
    """But constructors, commands of the command line (an option each), compiled loops, and the calls above."""
    many, seen = [], set()
    for name, _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name != "__init__":
                given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                if len([a for a in given if a not in ("self", "cls")]) > MOST_PARAMETERS:
                    seen.add(node.name)
                    of_arrays = [ast.unparse(d) for d in node.decorator_list] == ["compiled"]
                    if not (of_arrays or name == f"cli/{node.name}.py" or node.name in CALLS):
                        many.append(f"{name}: {node.name}")
    assert many == [], f"more than {MOST_PARAMETERS} parameters: make a value of those that go together"
    assert sorted(CALLS - seen) == [], "no exceptions any more"


def test_every_room_has_its_place_in_the_list_of_layers() -> None:
    assert sorted({name.split(".")[0] for name in FILES} - LAYER.keys()) == [], "give it its place in LAYERS"


def test_an_import_goes_down_only() -> None:
    """Lazy and typing imports too (`python tests/import_graph.py` prints the graph)."""
    assert [str(edge) for edge in imports() if edge.upwards] == []


def test_no_file_imports_itself_over_others() -> None:
    assert [" <-> ".join(circle) for circle in circles(imports())] == []


def test_ray_stands_at_the_edge() -> None:
    allowed = (*RAY_ROOMS, *RAY_FACES)
    assert [name for name in ray_users() if not name.startswith(allowed)] == []


def test_ray_data_carries_every_table() -> None:
    """No task or actor of Ray Core where passes over tables and samples run: it has no back-pressure of its own."""
    for name in ("running/ray.py", "sampling/dataset.py"):
        calls = [n for n in ast.walk(tree_of(PACKAGE / name)) if isinstance(n, ast.Attribute) and n.attr == "remote"]
        assert calls == [], name


@cache
def ray_users() -> list[str]:
    """Files that import Ray, wherever in the file."""
    found = []
    for name, _, tree in trees():
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        if any(m.split(".")[0] == "ray" for m in modules):
            found.append(name)
    return found


def test_networks_and_recipes_know_nothing_of_how_they_are_spread() -> None:
    assert [name for name in ray_users() if Path(name).stem in ("network", "recipe")] == []
