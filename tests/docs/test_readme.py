"""README and the guides keep their word: commands, command lines and the files of links exist, its Python runs.

So do those blocks of the documentation's pages that no test runs.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.main
from object_store import object_store
from pages import PAGES, blocks

from raysynth import cli
from raysynth.methods.registry import METHODS

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LEFT_OUT = [block for page in PAGES for block in blocks(page) if not block.is_run]
(README_PYTHON,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PYTHON = [README_PYTHON, *(b.code for b in LEFT_OUT if not b.is_shell)]
GUIDES = [ROOT / "cluster" / "README.md", ROOT / "examples" / "README.md"]
GUIDED = README + "".join(p.read_text(encoding="utf-8") for p in GUIDES if p.exists())
TYPED = [*re.findall(r"```bash\n(.*?)```", GUIDED, re.DOTALL), *(b.code for b in LEFT_OUT if b.is_shell)]
SHELL = [line for block in TYPED for line in block.splitlines()]


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


def test_the_python_of_readme_runs_on_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sex": rng.choice(["male", "female"], 450), "age": rng.integers(18, 90, 450)})
    table["diagnosis"] = rng.choice(["asthma", "fracture", "migraine"], 450)
    table["stay"] = (1 + table["age"] / 12 + rng.gamma(1.5, 2.0, 450)).round(1)
    small = README_PYTHON.replace("epochs=100", "epochs=1").replace("100_000_000", "2_000")
    assert small.count("epochs=1,") == 1 and small.count("2_000") == 1
    names = {"patients": table.iloc[:300], "unseen": table.iloc[300:]}
    with object_store("127.0.0.1") as store:
        pq.write_table(pa.Table.from_pandas(table.iloc[:300]), "bucket/visits/part-0.parquet", filesystem=store)
        exec(compile(small, "README.md", "exec"), names)
    assert names["men"]["sex"].eq("male").all() and names["men"]["age"].between(25, 40).all()
    assert (tmp_path / "report.html").exists() and len(pd.read_parquet("synthetic")) == 2_000


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


def test_every_command_has_its_line_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "command_line.md").read_text(encoding="utf-8")
    assert [name for name in typer.main.get_command(cli.app).commands if f"`raysynth {name} " not in page] == []  # type: ignore[attr-defined]
