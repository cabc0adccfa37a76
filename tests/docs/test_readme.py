"""README and the guides keep their word: commands, Python names, command lines and the files of links exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from raysynth import cli
from raysynth.methods.registry import METHODS

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
GUIDES = [ROOT / "cluster" / "README.md", ROOT / "examples" / "README.md"]
PAGES = README + "".join(p.read_text(encoding="utf-8") for p in GUIDES if p.exists())
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", PAGES, re.DOTALL) for line in block.splitlines()]


def command_after(marker: str) -> str:
    found = re.findall(rf"<!-- command: {marker} -->\n```bash\n(.*)\n```\n", README)
    assert len(found) == 1, f"README needs one command under the marker '{marker}'"
    return found[0]


@pytest.mark.parametrize(("marker", "ends"), [("demo", "raysynth demo"), ("test", "python -m pytest")])
def test_command_works_from_nothing_but_python_and_pip(marker: str, ends: str) -> None:
    steps = [shlex.split(step) for step in command_after(marker).split("&&")]
    assert steps[0] == ["python3.11", "-m", "venv", ".venv"]
    assert steps[1][:5] == [".venv/bin/pip", "install", "-c", "constraints.txt", *steps[1][4:5]]
    assert " ".join(steps[2]) == f".venv/bin/{ends}"
    assert len(steps) == 3


@pytest.mark.parametrize("snippet", PYTHON, ids=range(len(PYTHON)))
def test_python_names_exist(snippet: str) -> None:
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raysynth"):
            module = importlib.import_module(node.module or "")
            assert [a.name for a in node.names if not hasattr(module, a.name)] == []


def options_of(command: str) -> set[str]:
    group = typer.main.get_command(cli.app)
    return {o for p in group.commands[command].params for o in (*p.opts, *p.secondary_opts)}  # type: ignore[attr-defined]


COMMANDS = ("fit", "sample", "evaluate", "attack", "sweep", "demo")


def shell_lines() -> list[str]:
    """Lines that call raysynth: in README and in the examples of `--help`."""
    group = typer.main.get_command(cli.app)
    helped = [line for c in group.commands.values() for line in (c.epilog or "").splitlines()]  # type: ignore[attr-defined]
    return [line.strip() for line in [*SHELL, *helped] if line.strip().startswith("raysynth ")]


@pytest.mark.parametrize("line", shell_lines())
def test_command_line_exists(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert options_in(words) <= options_of(words[1]), line


def options_in(words: list[str]) -> set[str]:
    """The options of a command line; those of the command behind `submit` are checked as that command's own."""
    inner = next((i for i, w in enumerate(words[2:], 2) if w in COMMANDS), None) if words[1] == "submit" else None
    if inner is not None:
        assert options_in(["raysynth", *words[inner:]]) <= options_of(words[inner]), words
        words = words[:inner]
    return {w for w in words if w.startswith("-") and not w.lstrip("-").isdigit()}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *[p for p in GUIDES if p.exists()]], ids=lambda p: str(p.relative_to(ROOT))
)
def test_files_of_links_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_method_has_its_line_in_the_table() -> None:
    assert [m for m in METHODS if f"| `{m}`" not in README] == []
