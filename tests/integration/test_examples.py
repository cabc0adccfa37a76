"""The examples run as they stand, on few rows."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from pages import PAGES, run_page, starts_ray

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_healthcare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("healthcare").main(rows=600, epochs=2, out=tmp_path)
    assert "rules kept by 100% of 10,000 patients; e-mail addresses taken from real ones: 0" in capsys.readouterr().out
    synthetic = pd.read_csv(tmp_path / "synthetic_patient_data.csv", parse_dates=["admitted", "discharged"])
    assert len(synthetic) == 10_000
    assert (synthetic["admitted"] <= synthetic["discharged"]).all()
    assert synthetic["patient_id"].is_unique
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_several_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("several_tables").main(None, customers=200, out=tmp_path)
    said = capsys.readouterr().out
    assert "orders.customer_id -> customers.id: its name is that of the table" in said
    assert "Keys that point somewhere                  100.00%" in said
    assert {p.name for p in (tmp_path / "synthetic").iterdir()} >= {"customers.parquet", "relations.json"}
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_large_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("large_table").main(rows=30_000, out=tmp_path)
    said = capsys.readouterr().out
    assert "30,000 rows in 1 files" in said
    assert float(said.rpartition(": ")[2]) > 0.95


def test_private_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("private_training").main(rows=1500, epochs=1, workers=0, gpu=False, out=tmp_path)
    assert "gradients of encoder and decoder" in capsys.readouterr().out
    assert json.loads((tmp_path / "ledger.json").read_text())
    assert set(pd.read_csv(tmp_path / "synthetic.csv")["physlm"].dropna()) <= {"no", "yes"}


def test_attack_campaign(two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("attack_campaign").main(rows=400, models=4, targets=4, out=tmp_path)
    assert "bayesian_network" in capsys.readouterr().out
    assert (tmp_path / "campaign.html").stat().st_size > 1000


@pytest.mark.slow  # a Ray of its own; what it does is `test_sweep.py`'s
def test_sweep(fresh_two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("sweep").main(rows=400, seeds=1, out=tmp_path, epsilons=(math.inf,))
    assert "finished" in capsys.readouterr().out
    assert (tmp_path / "best.raysynth").exists() and (tmp_path / "sweep.html").exists()


def test_the_guide_names_every_example() -> None:
    guide = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in EXAMPLES.glob("*.py") if f"({p.name})" not in guide] == []


@pytest.mark.parametrize("page", [p for p in PAGES if starts_ray(p)], ids=lambda p: p.stem)
def test_pages_of_the_documentation_that_use_ray_run(
    page: Path, two_cpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, monkeypatch)
