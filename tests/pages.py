"""The documentation's pages as tests see them: their blocks in order, and running them as a reader does."""

from __future__ import annotations

import re
import shlex
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TUTORIALS = DOCS / "tutorials"
_BLOCK = re.compile(r"(<!-- not run: [^>]*-->\n)?```(python|bash|\{code-cell\} ipython3)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Args:
        is_shell: command lines; else Python.
        code: its text.
        is_run: False where the page says why it is not.
    """

    is_shell: bool
    code: str
    is_run: bool


def blocks(page: Path) -> list[Block]:
    """All blocks of Python and command lines of a page, in order."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(kind == "bash", code, not left_out) for left_out, kind, code in found]


def starts_ray(page: Path) -> bool:
    """Whether a page's blocks need Ray: they are run where tests may start it."""
    return any(b.is_run and "import ray\n" in b.code for b in blocks(page))


def run_page(page: Path, patch: pytest.MonkeyPatch, *, shell: bool = True) -> None:
    """Every block that is to run, in order, in the working directory and in this process."""
    from raysynth.cli import app

    module = types.ModuleType("__page__")  # classes in it find the names of their annotations
    patch.setitem(sys.modules, "__page__", module)
    for block in (b for b in blocks(page) if b.is_run):
        if not block.is_shell:
            exec(compile(block.code, page.name, "exec"), vars(module))
            continue
        for line in block.code.splitlines() if shell else []:
            program, *words = shlex.split(line, comments=True)
            assert program == "raysynth", f"'{line}' is run by no test; mark its block <!-- not run: why -->"
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, f"{line}\n{done.output}"
