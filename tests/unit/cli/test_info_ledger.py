"""`raysynth info` and `raysynth ledger`: what a model file says of itself, with a budget and without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from raysynth import GaussianCopula, TableSchema, __version__
from raysynth.cli import app
from raysynth.dp.accounting.ledger import Ledger
from raysynth.methods.base import Synthesizer
from raysynth.schema.columns import ColumnSchema, Kind

DECLARED = TableSchema(
    (
        ColumnSchema("x", Kind.CONTINUOUS, "double", bounds=(0, 1)),
        ColumnSchema("c", Kind.CATEGORICAL, "string", categories=("a", "b")),
    )
)


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.random(400), "c": rng.choice(["a", "b"], 400)})


@pytest.fixture(scope="module")
def plain(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(GaussianCopula(seed=1, verbose=False).fit(rows), tmp_path_factory)


@pytest.fixture(scope="module")
def private(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = GaussianCopula(epsilon=2.0, delta=1e-4, schema=DECLARED, seed=1, verbose=False)
    return saved(model.fit(rows), tmp_path_factory)


def saved(model: Synthesizer, folders: pytest.TempPathFactory) -> Path:
    path = folders.mktemp("model") / "m.raysynth"
    model.save(path)
    return path


def test_info_of_a_model_without_a_budget_says_that_nothing_is_guaranteed(plain: Path) -> None:
    text = run("info", plain).stdout
    for words in ("copula", "400", "none (fitted without a privacy budget)", f"raysynth {__version__}", "continuous"):
        assert words in text
    record = json.loads(run("info", plain, "--json").stdout)
    assert record["columns"] == {"x": "continuous", "c": "categorical"}
    assert record["privacy"] is None and record["rows"] == 400 and record["bytes"] == plain.stat().st_size
    assert record["versions"]["raysynth"] == __version__


def test_info_of_a_private_model_says_the_guarantee(private: Path) -> None:
    text = run("info", private).stdout
    assert "(with noise)" in text and "none" not in text
    spent = json.loads(run("info", private, "--json").stdout)["privacy"]
    assert 0 < spent["epsilon"] <= 2.0 and spent["delta"] == 1e-4


def test_ledger_lists_every_event_and_the_total(private: Path) -> None:
    spent = json.loads(run("ledger", private, "--json").stdout)["privacy"]
    events = Ledger.from_dict(spent["ledger"]).events
    *lines, total = run("ledger", private).stdout.splitlines()
    assert len(lines) == len(events) > 0
    for line, event in zip(lines, events, strict=True):
        assert event.released in line and event.mechanism.value in line
    assert total.startswith("Total: ") and f"{spent['epsilon']:.3g}"[:4] in total


def test_ledger_of_a_model_without_a_budget(plain: Path) -> None:
    assert "nothing is guaranteed" in run("ledger", plain).stdout
    assert json.loads(run("ledger", plain, "--json").stdout)["privacy"] is None


@pytest.mark.parametrize("verb", ["info", "ledger"])
def test_a_file_that_is_no_model_is_refused(verb: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("x,c")
    result = CliRunner().invoke(app, [verb, str(tmp_path / "m"), "--json"])
    assert result.exit_code > 0 and json.loads(result.stdout)["error"]["type"] == "ModelFileError"


def test_a_table_s_odometer_counts_what_each_command_uses(rows: pd.DataFrame, tmp_path: Path) -> None:
    folder, data, schema = tmp_path / "odometer", tmp_path / "t.csv", tmp_path / "schema.json"
    rows.to_csv(data, index=False)
    DECLARED.save(schema)
    run("ledger", folder, "--limit-epsilon", "1.5", "--limit-delta", "1e-3")
    fit = ["fit", data, "--method", "copula", "--schema", schema, "--epsilon", "1", "--odometer", folder]
    run(*fit, "--model", tmp_path / "m")
    refused = CliRunner().invoke(app, [str(a) for a in (*fit, "--model", tmp_path / "n")])
    assert refused.exit_code == 2 and "limit of its odometer" in refused.output and not (tmp_path / "n").exists()
    run("sample", tmp_path / "m", "-n", "100", "--out", tmp_path / "s.csv")
    run("attack", data, tmp_path / "s.csv", "--attack", "proximity", "--targets", "20", "--odometer", folder)
    text = run("ledger", folder).stdout
    for words in (
        "a fit of GaussianCopula",
        "epsilon 1",
        "attacks on exact rows (no guarantee",
        "limit: epsilon = 1.5",
    ):
        assert words in text
    record = json.loads(run("ledger", folder, "--json").stdout)
    assert record["total"]["epsilon"] == 1.0 and record["total"]["guarantee"] is False
    assert len(record["charges"]) == 2
