"""The import graph of raysynth, lazy and typing imports too: which file imports which, circles, and imports upwards.

`python tests/import_graph.py` prints every import that is not at the top of its file, all circles and all imports that
run upwards; `--all` prints every import. `tests/test_quality.py` holds both lists to nothing.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "raysynth"

# The house from the bottom up: an import goes to a layer further down, or to a file of its own layer.
LAYERS = (
    ("version", "errors", "arguments"),
    ("files",),
    ("kinds",),
    ("schema",),
    ("data",),
    ("running",),
    ("dp",),
    ("statistics",),
    ("encoding",),
    ("sampling",),
    ("training",),
    ("fitting",),
    ("methods",),
    ("related",),
    ("comparison",),
    ("attacks",),
    ("evaluation",),
    ("api",),
    ("tuning",),
    ("campaigns",),
    ("jobs",),
    ("cli",),
    ("__main__", "__init__", "constraints", "privacy"),  # the contract's names: nothing in the house imports them
)
LAYER = {name: k for k, names in enumerate(LAYERS) for name in names}


@dataclass(frozen=True, order=True)
class Import:
    """One file that imports another.

    Args:
        importer, imported: dotted names without 'raysynth.'; '__init__' is the package itself.
        kind: 'top' at the top of the file, 'lazy' inside a function, 'typing' for type checkers only.
    """

    importer: str
    imported: str
    kind: str

    @property
    def upwards(self) -> bool:
        return layer(self.imported) > layer(self.importer)

    def __str__(self) -> str:
        return f"{self.importer} -> {self.imported} ({self.kind})"


def layer(name: str) -> int:
    """The place of a file in the list; KeyError for a room that has none yet."""
    return LAYER[name.split(".")[0]]


def files() -> dict[str, Path]:
    """Every file of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, parsed once.

    A collection of garbage in the middle may parse, too, and CPython 3.11 then ends with 'AST constructor recursion
    depth mismatch' (gh-106905): there is none meanwhile.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        if collects:
            gc.enable()


@cache
def imports() -> tuple[Import, ...]:
    """All imports of the package's files from one another."""
    known = files()
    found: set[Import] = set()
    for name, path in known.items():
        tree = tree_of(path)
        at_top = set(tree.body)
        typing_only = {
            node
            for branch in at_top
            if isinstance(branch, ast.If) and isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING"
            for node in ast.walk(branch)
        }
        for node in ast.walk(tree):
            kind = "typing" if node in typing_only else "top" if node in at_top else "lazy"
            for target in _targets(node, known):
                if target != name:
                    found.add(Import(name, target, kind))
    return tuple(sorted(found))


def _targets(node: ast.AST, known: dict[str, Path]) -> list[str]:
    """The files that an import statement names; that a package's `__init__` runs first is Python's doing."""
    if isinstance(node, ast.Import):
        names = [a.name for a in node.names if a.name.split(".")[0] == "raysynth"]
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "raysynth":
        names = [f"{node.module}.{a.name}" for a in node.names]
    else:
        return []
    return [_file_of(name, known) for name in names]


def _file_of(dotted: str, known: dict[str, Path]) -> str:
    name = dotted.removeprefix("raysynth").removeprefix(".")
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or "__init__"


def circles(edges: Sequence[Import]) -> list[list[str]]:
    """Sets of files that reach one another (strongly connected components of more than one; Tarjan 1972)."""
    after: dict[str, list[str]] = {}
    for edge in edges:
        after.setdefault(edge.importer, []).append(edge.imported)
    place: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        place[name] = low[name] = len(place)
        stack.append(name)
        for other in after.get(name, ()):
            if other not in place:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], place[other])
        if low[name] == place[name]:
            cut = stack.index(name)
            if len(stack) - cut > 1:
                found.append(sorted(stack[cut:]))
            del stack[cut:]

    for name in sorted(after):
        if name not in place:
            visit(name)
    return sorted(found)


def main() -> None:
    edges = imports()
    shown = edges if "--all" in sys.argv[1:] else [e for e in edges if e.kind != "top"]
    print(f"{len(edges)} imports, {len(files())} files")
    for title, lines in (
        ("every import" if "--all" in sys.argv[1:] else "lazy and typing imports", [str(e) for e in shown]),
        ("circles", [" <-> ".join(c) for c in circles(edges)]),
        ("upwards", [str(e) for e in edges if e.upwards]),
    ):
        print(f"\n{title}: {len(lines)}", *lines, sep="\n  ")


if __name__ == "__main__":
    main()
