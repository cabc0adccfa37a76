"""`raysynth schema`: what a codebook declares, what stays open, and that no row is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from raysynth.cli.commands import app
from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.schema.table import TableSchema
from raysynth.statistics.public_schema import schema_of

RUNNER = CliRunner()
BOOK = """Variable;Type;Min;Max;Values;Decimals;Missing
age;integer;0;110;;;no
sex;factor;;;1=male|2=female;;no
admitted;date;2015-01-01;2024-12-31;;;yes
weight;number;1;300;;1;yes
elsewhere;number;0;1;;;
"""


def data(seed: int, n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    days = pd.Timestamp("2018-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "sex": rng.integers(1, 3, n),
            "admitted": days.strftime("%Y-%m-%d"),
            "weight": rng.normal(75, 12, n).round(1),
            "ward": rng.choice(["a", "b"], n),
        }
    )


def test_a_codebook_declares_and_the_rest_stays_open(tmp_path: Path) -> None:
    data(1).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "book.csv").write_text(BOOK)
    out = tmp_path / "s.json"
    arguments = ["schema", str(tmp_path / "t.csv"), "--public", str(tmp_path / "book.csv"), "--out", str(out), "--json"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["open"] == ["ward"]
    schema = TableSchema.load(out)
    assert schema["age"].bounds == (0, 110) and schema["age"].dtype == "int64" and not schema["age"].nullable
    assert schema["sex"].categories == ("1", "2") and schema["weight"].decimals == 1 and schema["weight"].nullable
    low, high = schema["admitted"].bounds or (0, 0)
    assert (low, high) == (16436, 20088) and schema["admitted"].date_format == "%Y-%m-%d"  # days since 1970
    assert '"categories": null' in out.read_text()
    model = str(tmp_path / "m.raysynth")
    fit = [
        "fit",
        str(tmp_path / "t.csv"),
        "--schema",
        str(out),
        "--method",
        "copula",
        "--epsilon",
        "5",
        "--model",
        model,
    ]
    fitted = RUNNER.invoke(app, fit)
    assert fitted.exit_code == 0, fitted.output
    assert "NOT DECLARED: a list of values (categories) of 'ward'" in fitted.output
    sampled = RUNNER.invoke(app, ["sample", model, "-n", "60", "--out", str(tmp_path / "x.csv"), "--seed", "1"])
    assert sampled.exit_code == 0, sampled.output
    made = pd.read_csv(tmp_path / "x.csv")
    assert made.age.between(0, 110).all() and set(made.sex) <= {1, 2}
    assert made.admitted.dropna().between("2015-01-01", "2024-12-31").all()


def test_no_row_is_read_and_stored_types_are_kept(tmp_path: Path) -> None:
    """Two tables without a row in common have one schema."""
    schemas = []
    for seed in (1, 2):
        data(seed).to_parquet(tmp_path / f"{seed}.parquet")
        schemas.append(schema_of(as_table(tmp_path / f"{seed}.parquet", min_rows=0, private=True), BOOK))
    assert schemas[0] == schemas[1]
    assert schemas[0]["sex"].categories == (1, 2) and schemas[0]["sex"].dtype == "int64"


@pytest.mark.parametrize(
    ("book", "words"),
    [
        ("a,b\nx,1\n", "no heading 'column'"),
        ("column,kind\nage,colour\n", "column 'age': unknown kind 'colour'"),
        ("column,low,high\nage,young,old\n", "'young' is no end of a range"),
        ("column,decimals\nweight,many\n", "decimals must be a whole number"),
    ],
)
def test_a_codebook_at_fault(book: str, words: str, tmp_path: Path) -> None:
    data(1).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SchemaError, match=words):
        schema_of(as_table(tmp_path / "t.csv", min_rows=0, private=True), book, "book.csv")
