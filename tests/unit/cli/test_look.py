"""`raysynth look` and `--csv` on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from typer.testing import CliRunner

from raysynth.cli.commands import app
from raysynth.cli.look import readiness
from raysynth.data.table import as_table
from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.findings import find

RUNNER = CliRunner()


def table(folder: Path) -> Path:
    rows = [f"{i % 7},{i % 10};{i:05d};{1 + i % 28:02d}/{1 + i % 12:02d}/2019;{'ab'[i % 2]}" for i in range(300)]
    (folder / "t.csv").write_text("größe;zip;when;class\n" + "\n".join(rows), encoding="latin-1")
    return folder / "t.csv"


def test_look_writes_a_schema_that_a_fit_takes(tmp_path: Path) -> None:
    path, schema = table(tmp_path), tmp_path / "schema.json"
    result = RUNNER.invoke(
        app, ["look", str(path), "--schema", str(schema), "--out", str(tmp_path / "l.html"), "--json"]
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["target"] == "class" and record["rows"] == 300
    assert [c["kind"] for c in record["columns"]] == ["continuous", "identifier", "datetime", "categorical"]
    assert any("cp1252" in note for note in record["notes"]) and any("decimal ','" in note for note in record["notes"])
    html = (tmp_path / "l.html").read_text(encoding="utf-8")
    assert "größe" in html and "Private." in html and "%d/%m/%Y" in html
    edited = TableSchema.load(schema).with_column("zip", kind="categorical")
    edited.save(schema)
    model = str(tmp_path / "m.raysynth")
    fitted = RUNNER.invoke(app, ["fit", str(path), "--schema", str(schema), "--method", "copula", "--model", model])
    assert fitted.exit_code == 0, fitted.output
    assert "delimiter ';'" in fitted.output
    sampled = RUNNER.invoke(app, ["sample", model, "-n", "50", "--out", str(tmp_path / "s.csv"), "--seed", "1"])
    assert sampled.exit_code == 0, sampled.output
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "größe,zip,when,class" and all(
        line.split(",")[2][5:] == "/2019" or "/" in line for line in lines[1:]
    )


def test_a_look_says_whether_the_table_is_ready_and_what_comes_next(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pa.table({"x": rng.normal(size=200), "c": rng.choice(list("ab"), 200)})
    codes = pa.table({**dict(zip(rows.column_names, rows.columns, strict=True)), "t": [f"v{i}" for i in range(200)]})
    infinite = rows.set_column(0, "x", pa.array([np.inf, *rows["x"].to_pylist()[1:]]))
    answers = []
    for table_ in (rows, codes, infinite):
        purpose = readiness(find(as_table(table_)), "raysynth fit t.csv")
        answers.append(purpose.answer)
        assert purpose.answer == "no" or purpose.next_step.endswith("raysynth fit t.csv")
    assert answers == ["yes", "yes", "no"] and "'x'" in purpose.reason
    advised = replace(find(as_table(rows)).columns[0], advice=("a sign for missing?",))
    found = replace(find(as_table(rows)), columns=(advised,))
    assert readiness(found, "").answer == "with care" and "'x'" in readiness(found, "").reason


def test_csv_options_reach_the_reader(tmp_path: Path) -> None:
    path, schema = table(tmp_path), str(tmp_path / "s.json")
    result = RUNNER.invoke(
        app, ["look", str(path), "--schema", schema, "--csv", "decimal=.", "--csv", "encoding=latin-1"]
    )
    assert result.exit_code == 0, result.output
    assert TableSchema.load(schema)["größe"].kind is Kind.CATEGORICAL
    wrong = RUNNER.invoke(app, ["look", str(path), "--schema", schema, "--csv", "colour=red"])
    assert wrong.exit_code == 2 and "valid names" in wrong.output
