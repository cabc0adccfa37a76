"""A report is written under one name for all results, and the shell can complete the commands."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from raysynth.campaigns.results import CampaignResults
from raysynth.cli import app
from raysynth.evaluation.report import EvaluationResults
from raysynth.tuning.results import SweepResult


@pytest.mark.parametrize("results", [EvaluationResults, SweepResult, CampaignResults])
def test_both_names_write_the_report(results: type) -> None:
    assert results.generate_report is results.write_report  # type: ignore[attr-defined]
    assert "HTML file" in (results.generate_report.__doc__ or "")  # type: ignore[attr-defined]


def test_the_shell_completes_commands() -> None:
    asked = {"_RAYSYNTH_COMPLETE": "complete_bash", "COMP_WORDS": "raysynth le", "COMP_CWORD": "1"}
    assert CliRunner().invoke(app, [], prog_name="raysynth", env=asked).stdout.split() == ["ledger"]
