"""The API pages: pdoc builds one for each module, and every public name has a docstring."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
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


def test_pages_are_built(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning:pdoc", "-m", "pdoc", "-o", str(tmp_path), "raysynth"]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAYSYNTH_QUIET": "1"})
    assert result.returncode == 0, result.stderr
    assert "Error importing" not in result.stderr and "Warn:" not in result.stderr, result.stderr
    assert "generate_synthetic_data" in (tmp_path / "raysynth.html").read_text(encoding="utf-8")
    text = "".join(p.read_text(encoding="utf-8") for p in tmp_path.rglob("*.html"))
    assert [n for n in raysynth.__all__ if f'"{n}"' not in text and f"{n}</" not in text] == []
    for module in ("campaigns", "constraints", "errors", "evaluation", "privacy", "schema"):
        assert (tmp_path / "raysynth" / f"{module}.html").exists()
