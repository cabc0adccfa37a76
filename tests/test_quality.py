"""The code itself: lint, format, types, sizes of files, and which layer may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "raysynth"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

# Lower rooms of the house never import higher ones (design, 'One way through the house').
LAYER = {
    "errors": 0, "files": 0, "version": 0,
    "schema": 1,
    "data": 2,
    "running": 3, "dp": 3,
    "statistics": 4,
    "encoding": 5,
    "sampling": 9,
    "training": 10, "fitting": 10, "methods": 10,
    "comparison": 10,
    "attacks": 11, "privacy": 11, "constraints": 11,
    "evaluation": 12,
    "jobs": 12, "campaigns": 13, "api": 13, "tuning": 14,
    "cli": 16, "__main__": 17,
}  # fmt: skip
NO_RAY = ("dp", "statistics", "encoding")


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--no-error-summary"]], ids=" ".join
)
def test_tool_is_content(command: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_file_has_one_subject_and_a_readable_size(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "the first docstring line says what the file is about"
    assert len(text.splitlines()) <= MOST_LINES


def imports(path: Path) -> list[tuple[str, bool]]:
    """Names of imported modules, and whether the import is for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in typing_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, node in typing_only))
    return found


def layer_of(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize(
    "path", [f for f in FILES if f != PACKAGE / "__init__.py"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_lower_layer_imports_no_higher_one(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LAYER, f"give '{own}' its place in LAYER"
    for module, typing_only in imports(path):
        if module.startswith("raysynth.") and not typing_only:
            other = layer_of(module)
            assert LAYER[other] <= LAYER[own], f"{own} (layer {LAYER[own]}) imports {module} (layer {LAYER[other]})"
        if own in NO_RAY:
            assert module.split(".")[0] != "ray", f"{own}/ must work without Ray"
