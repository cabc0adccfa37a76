"""`raysynth sweep`: a search space as text, and combinations that are refused with a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysynth.cli import app
from raysynth.cli.sweep import read_space
from raysynth.errors import ParameterError

SPACE = {"tvae": {"latent_dim": [8, 64], "learning_rate": {"low": 0.001, "high": 0.01}}}
MEANT = {"tvae": {"latent_dim": [8, 64], "learning_rate": (0.001, 0.01)}}


def test_a_space_is_read_from_text_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    assert read_space(json.dumps(SPACE)) == MEANT == read_space(str(tmp_path / "space.json"))


@pytest.mark.parametrize("text", ["{", '{"tvae": 3}', '{"tvae": {"latent_dim": {"low": 1}}}', "nowhere.json"])
def test_a_space_that_cannot_be_read_shows_one(text: str) -> None:
    with pytest.raises(ParameterError, match="give JSON, or a file of it, for example"):
        read_space(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scheduler", "asha"], "give a search_space"),
        (["--search", "magic", "--search-space", json.dumps(SPACE)], "search must be None or one of 'optuna'"),
        (
            ["--selection", "private", "--epsilons", "1", "--scheduler", "asha", "--search-space", json.dumps(SPACE)],
            "takes no scheduler",
        ),
    ],
    ids=["no space", "unknown", "private"],
)
def test_refused_options_exit_with_2(words: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,c\n" + "\n".join(f"{i % 7},{'ab'[i % 2]}" for i in range(60)))
    given = ["sweep", str(tmp_path / "rows.csv"), "--methods", "tvae", "--out", str(tmp_path / "s"), *words]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2 and message in " ".join(done.output.split())
