"""Every public name has a docstring."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import raysynth

MODULES = ["raysynth", *sorted(m.name for m in pkgutil.walk_packages(raysynth.__path__, "raysynth."))]


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


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module), f"{name} has no docstring"
    silent = [f"{name}.{member}" for member, value in public_members(module) if not inspect.getdoc(value)]
    assert silent == [], f"public names without a docstring: {', '.join(silent)}"
