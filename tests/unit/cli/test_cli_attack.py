"""`raysynth attack`: tables and campaigns, JSON, exit codes, errors in the YAML file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from raysynth.cli import app

CAMPAIGN = """
data: {data}
storage_path: {folder}
methods: {{small: {{method: copula}}}}
attacks: [distance]
n_models: 2
n_targets: 4
n_training: 60
where: local
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("tables")
    paths = {}
    for name in ("real", "holdout", "synthetic"):
        frame = pd.DataFrame({"x": rng.normal(0, 1, 300), "y": rng.normal(0, 1, 300), "c": rng.choice(["a", "b"], 300)})
        paths[name] = str(folder / f"{name}.csv")
        frame.to_csv(paths[name], index=False)
    return paths


def attack(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["attack", *arguments])


def test_figures_as_json_and_a_report(tables: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "attacks.html"
    result = attack(
        tables["real"], tables["synthetic"], "--holdout", tables["holdout"], "--out", str(out), "--json", "--seed", "1"
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert set(record["success"]) == {"membership_inference", "attribute_inference", "model_inversion"}
    assert 0 <= record["success"]["membership_inference"] <= 1
    page = out.read_text(encoding="utf-8")
    assert "Nearest record, calibrated" in page and 'class="roc"' in page


def test_text_names_every_attack_asked_for(tables: dict[str, str]) -> None:
    result = attack(tables["real"], tables["synthetic"], "--attack", "linkability", "--attack", "singling_out")
    assert result.exit_code == 0, result.output
    assert "Linkability" in result.stdout and "Singling out by one column" in result.stdout


def test_a_campaign_from_a_file(tables: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(CAMPAIGN.format(data=tables["real"], folder=tmp_path / "trials"))
    result = attack("--campaign", str(file), "--json", "--out", str(tmp_path / "campaign.html"))
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["games"][0]["models"] == 2
    assert len(list((tmp_path / "trials" / "trials").iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("atacks: [distance]", "unknown key 'atacks'; valid: data"),
        ("methods: {m: {method: copulas}}", "unknown method 'copulas'"),
        ("methods: {m: {method: copula, depth: 3}}", "has no parameter depth"),
        ("epsilons: 1", "'epsilons' must be a list"),
        ("attacks: [", "is not valid YAML"),
        ("n_models: three", "n_models must be an even number"),
        ("storage_path: 7", "'storage_path' must be a path or URI"),
    ],
)
def test_errors_in_the_file_name_the_key(tables: dict[str, str], tmp_path: Path, change: str, message: str) -> None:
    file = tmp_path / "campaign.yaml"
    lines = CAMPAIGN.format(data=tables["real"], folder=tmp_path / "trials").splitlines()
    kept = [line for line in lines if line.split(":")[0] != change.split(":")[0]]
    file.write_text("\n".join([*kept, change]))
    result = attack("--campaign", str(file))
    assert result.exit_code == 2 and message in " ".join(result.stderr.split()), result.output


def test_what_is_missing_is_said(tables: dict[str, str], tmp_path: Path) -> None:
    assert "raysynth attack REAL SYNTHETIC" in attack().stderr
    lacking = tmp_path / "campaign.yaml"
    lacking.write_text("data: x.csv")
    assert "lacks 'storage_path'" in attack("--campaign", str(lacking)).stderr
    assert attack("--campaign", str(tmp_path / "none.yaml")).exit_code == 2
