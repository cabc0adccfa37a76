"""Every public name has a docstring, and `help()` of every public class and call shows each of its arguments."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from import_graph import tree_of

import raysynth


def public_members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Public functions, classes and methods that a module defines itself."""
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__
        if name.startswith("_") or not is_own or not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        yield name, value
        if inspect.isclass(value):
            yield from ((f"{name}.{n}", m) for n, m in vars(value).items() if is_public_method(n, m))


def is_public_method(name: str, value: Any) -> bool:
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))


def test_every_public_name_has_a_docstring() -> None:
    names = ["raysynth", *(m.name for m in pkgutil.walk_packages(raysynth.__path__, "raysynth."))]
    modules = {name: importlib.import_module(name) for name in names}
    assert len(modules) > 300 and [name for name, module in modules.items() if not inspect.getdoc(module)] == []
    members = ((f"{name}.{m}", value) for name, module in modules.items() for m, value in public_members(module))
    assert [name for name, value in members if not inspect.getdoc(value)] == []


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
FACES = ("raysynth", *(f"raysynth.{name}" for name in ("constraints", "evaluation", "privacy", "campaigns", "tuning")))


def public_calls() -> Iterator[tuple[str, Any]]:
    """Every class and function that users import, and every public call of these classes, with its name."""
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{face}.{name}", value
            elif inspect.isclass(value) and not issubclass(value, (Exception, raysynth.Kind)):
                yield f"{face}.{name}", value
                calls = ((n, getattr(value, n)) for n in dir(value) if not n.startswith("_"))
                yield from ((f"{face}.{name}.{n}", c) for n, c in calls if is_own_call(c))


def is_own_call(value: Any) -> bool:
    return (inspect.isfunction(value) or inspect.ismethod(value)) and value.__module__.startswith("raysynth")


def hidden_arguments(call: Any) -> list[str]:
    """Arguments that the docstring neither lists under `Args` nor names in backquotes."""
    parameters = inspect.signature(call).parameters.values()
    collected = [
        p.name for p in parameters if p.name in ("args", "kwargs") and p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    text = inspect.getdoc(call) or ""
    entries = re.findall(r"^ +\**((?:\w+, )*\w+): ", text, re.MULTILINE)
    listed = {name for entry in entries for name in entry.split(", ")}
    quoted = set(re.findall(r"`(\w+)(?:=[^`]*)?`", text))
    return [p.name for p in parameters if p.name[0] != "_" and p.name not in {"self", *collected, *listed, *quoted}]


def test_help_shows_every_argument_of_every_public_call() -> None:
    calls = dict(public_calls())
    assert len(calls) > 300
    assert {name: hidden for name, call in calls.items() if (hidden := hidden_arguments(call))} == {}


def test_an_argument_that_help_does_not_show_is_found() -> None:
    def call(given: int, named: int, forgotten: int) -> None:
        """Takes `named`.

        Args:
            given: a number.
        """

    assert hidden_arguments(call) == ["forgotten"]


def test_files_that_docstrings_name_exist() -> None:
    root = Path(raysynth.__file__).parent
    files = {path.relative_to(root).as_posix() for path in root.rglob("*.py")}
    files |= {path.relative_to(root.parent).as_posix() for path in (root.parent / "tests").rglob("*.py")}
    wrong = []
    for path in sorted(root.rglob("*.py")):
        nodes = (n for n in ast.walk(tree_of(path)) if isinstance(n, DOCUMENTED))
        named = {name for node in nodes for name in re.findall(r"`([\w/]+\.py)`", ast.get_docstring(node) or "")}
        wrong += [f"{path.relative_to(root)}: {n}" for n in named if not any(f"/{f}".endswith(f"/{n}") for f in files)]
    assert wrong == []
