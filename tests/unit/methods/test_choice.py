"""method='auto': what it takes, that it says so with its reason, and that no row decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import generate_synthetic_data
from raysynth.api import new_synthesizer
from raysynth.cli.steps import new_model
from raysynth.methods.registry import DEFAULT_METHOD, METHODS, choose


@pytest.mark.parametrize(
    ("given", "method"),
    [
        ({}, "trees"),
        ({"seed": 1, "epsilon": None, "differential_privacy": False}, "trees"),
        ({"epsilon": 1.0}, "bayesian_network"),
        ({"differential_privacy": True}, "bayesian_network"),
        ({"epochs": 3}, "autoregressive"),
        ({"epochs": 3, "epsilon": 1.0}, "autoregressive"),
        ({"sequence_key": "patient"}, "tree_sequences"),
        ({"sequence_key": "patient", "epochs": 3}, "autoregressive_sequences"),
        ({"sequence_key": "patient", "epsilon": 1.0}, "timegan"),
    ],
)
def test_what_is_declared_decides(given: dict[str, Any], method: str, capsys: pytest.CaptureFixture[str]) -> None:
    choice = choose(given)
    assert choice.method == method and method in METHODS
    assert new_synthesizer("auto", **given).method == method
    assert f"takes '{method}'" in capsys.readouterr().out


def test_silence_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert new_synthesizer("auto", verbose=False).method == "trees"
    assert capsys.readouterr().out == ""


def test_checkpoints_ask_for_a_method_that_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new_model("auto", storage=tmp_path / "run", seed=1).method == "autoregressive"
    assert "run_config" in capsys.readouterr().out


def test_the_default_learns_and_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert DEFAULT_METHOD == "auto"
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=200).round(2), "y": rng.integers(0, 3, 200)})
    made = generate_synthetic_data(table, seed=1)
    assert len(made) == 200 and "takes 'trees'" in capsys.readouterr().out


def test_neighbours_get_the_same_choice_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Two tables that differ by one row that stands out; without a budget, too, nothing of a row is in the choice."""
    said = []
    for last in (1, 10**6):
        table = pd.DataFrame({"x": [*range(60), last]})
        generate_synthetic_data(table, seed=1, n_samples=5)
        said.append(capsys.readouterr().out.splitlines()[0])
    assert said[0] == said[1]
