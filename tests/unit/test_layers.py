"""The lower layers at run time: importing all of them brings neither Ray nor any layer above.

`tests/test_quality.py` reads the import statements; this test runs them, each layer in a process of its own, so that
imports by name, through `__init__` or inside a decorator count too. Function bodies are read there for Ray as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import LAYERS, tree_of

PACKAGE = Path(__file__).parent.parent.parent / "raysynth"
ORDER = tuple(name for names in LAYERS for name in names)  # a layer may use those before it
NO_RAY = ("dp", "statistics", "encoding", "sampling")
LIGHT = ("statistics", "encoding", "sampling")  # torch belongs to models, training and the DP-SGD step

PROBE = """
import importlib, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
print(" ".join(sorted(sys.modules)))
"""


def modules_of(layer: str) -> list[str]:
    files = sorted((PACKAGE / layer).rglob("*.py"))
    return [".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for f in files]


def loaded_by(layer: str) -> set[str]:
    command = [sys.executable, "-c", PROBE, ",".join(modules_of(layer))]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("layer", [name for name in NO_RAY if (PACKAGE / name).exists()])
def test_importing_a_layer_brings_no_ray_and_no_layer_above(layer: str) -> None:
    loaded = loaded_by(layer)
    assert "ray" not in loaded
    above = ORDER[ORDER.index(layer) + 1 :] if layer in ORDER else ORDER
    assert [m for m in loaded if m.startswith(tuple(f"raysynth.{name}" for name in above))] == []
    if layer in LIGHT:
        assert not loaded & {"torch", "sklearn", "pgmpy", "faker"}


@pytest.mark.parametrize("layer", [name for name in NO_RAY if (PACKAGE / name).exists()])
def test_no_function_of_a_layer_imports_ray(layer: str) -> None:
    """Ray stays at the edge: `running/runner.py` decides, `running/ray.py` carries; a lazy sample is a Dataset."""
    for path in sorted(set((PACKAGE / layer).rglob("*.py")) - {PACKAGE / "sampling" / "dataset.py"}):
        for node in ast.walk(tree_of(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] == "ray" or n.startswith("raysynth.running.ray")], path
