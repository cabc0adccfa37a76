"""The examples run as they stand, on few rows."""

import importlib.util
from pathlib import Path

import pandas as pd

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_healthcare(tmp_path, capsys):
    load("healthcare").main(rows=600, epochs=2, out=tmp_path)
    assert "rules kept by 100% of 10,000 patients; e-mail addresses taken from real ones: 0" in capsys.readouterr().out
    synthetic = pd.read_csv(tmp_path / "synthetic_patient_data.csv", parse_dates=["admitted", "discharged"])
    assert len(synthetic) == 10_000
    assert (synthetic["admitted"] <= synthetic["discharged"]).all()
    assert synthetic["patient_id"].is_unique
    assert (tmp_path / "report.html").stat().st_size > 1000
