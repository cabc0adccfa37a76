"""The dossier finds what was planted, recipient by recipient, and its releasable edition tells of no record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from raysynth import (
    AutoregressiveSequences,
    BayesianNetworkSynthesizer,
    GaussianCopula,
    RelationalSynthesizer,
    TableSchema,
)
from raysynth.attacks.direct import Comparison, People, compare_file
from raysynth.attacks.run import sample_records
from raysynth.cli.commands import app
from raysynth.comparison.pairing import pair_tables
from raysynth.dp.accounting.odometer import Odometer
from raysynth.errors import DataError, ParameterError
from raysynth.evaluation import Dossier, privacy_dossier
from raysynth.files.model_file import ModelContent
from raysynth.privacy import run_privacy_attacks
from raysynth.schema.columns import ColumnSchema, Kind
from tests.unit.attacks.conftest import memorised, population

QUICK = {"n_targets": 120, "n_experiments": 2}


def patients(n: int, seed: int) -> pd.DataFrame:
    """The population, each person with a pseudonym, and a few with a rare diagnosis of their own."""
    rows, rng = population(n, seed), np.random.default_rng(seed)
    rows["pseudonym"] = [f"P-{seed}{k:06d}" for k in rng.permutation(10**6)[:n]]
    rows["diagnosis"] = rng.choice(["flu", "cold", "none"], n)
    rows.loc[:3, "diagnosis"] = [f"syndrome {seed}-{k}" for k in range(4)]
    return rows


@pytest.fixture(scope="module")
def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    return patients(300, 1), patients(400, 2)


@pytest.fixture(scope="module")
def model(halves: tuple[pd.DataFrame, pd.DataFrame]) -> GaussianCopula:
    return GaussianCopula(verbose=False, seed=0).fit(halves[0])


@pytest.fixture(scope="module")
def planted(halves: tuple[pd.DataFrame, pd.DataFrame], model: GaussianCopula) -> pd.DataFrame:
    """What the model makes, with one copied row, one real pseudonym and one rare diagnosis."""
    made, real = model.sample(300, seed=1), halves[0]
    compared = [c for c in made.columns if c not in ("pseudonym", "diagnosis")]
    made.loc[10, compared] = real.loc[123, compared]
    made.loc[20, "pseudonym"] = real.loc[77, "pseudonym"]
    made.loc[30, "diagnosis"] = real.loc[2, "diagnosis"]
    made.loc[10, "diagnosis"] = real.loc[123, "diagnosis"]
    return made


@pytest.fixture(scope="module")
def found(halves: tuple[pd.DataFrame, pd.DataFrame], model: GaussianCopula, planted: pd.DataFrame) -> Dossier:
    return privacy_dossier(model, halves[0], planted, halves[1], **QUICK)


def comparisons(dossier: Dossier, recipient: str) -> dict[str, Comparison]:
    of = next(r for r in dossier.risks if r.recipient.key == recipient)
    return {c.key: c for c in of.comparisons}


def test_a_copied_row_a_real_pseudonym_and_a_rare_value_are_each_found(found: Dossier) -> None:
    table = comparisons(found, "table")
    assert [f.rows for f in table["rows"].to_look_at] == [(123,)]
    assert [(f.column, f.rows) for f in table["names"].to_look_at] == [("pseudonym", (77,))]
    assert [(f.column, f.rows) for f in table["values"].to_look_at] == [("diagnosis", (2,))]
    cells = found.cells(found.risks[0])
    assert cells["direct"].level == "fair" and cells["direct"].words == "to look at"


def test_what_the_model_makes_itself_holds_none_of_them(found: Dossier) -> None:
    """The planted values were no work of the model: its own rows and its file hold none."""
    for recipient in ("api", "file"):
        of = comparisons(found, recipient)
        assert not of["names"].to_look_at and not of["values"].to_look_at and not of["rows"].to_look_at
    assert not comparisons(found, "file")["file"].surely


def test_a_table_of_real_rows_is_accused_in_every_way(halves: tuple[pd.DataFrame, pd.DataFrame], model: Any) -> None:
    real, holdout = halves
    copies = memorised(real, 3).assign(pseudonym=list(real["pseudonym"]))
    dossier = privacy_dossier(model, real, copies, holdout, **QUICK)
    table = dossier.risks[0]
    cells = dossier.cells(table)
    assert {cells[k].level for k in ("linkability", "inference", "direct")} == {"bad"}
    assert comparisons(dossier, "table")["names"].surely
    assert "Do not hand it over" in dossier.residual(table)
    others = [c for r in dossier.risks[1:] for c in dossier.cells(r).values()]
    assert not any(c.level == "bad" for c in others), "the model itself is no copy"


def test_a_file_that_keeps_real_values_is_found(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    real, holdout = halves
    tables = pair_tables(real, real.sample(50, random_state=0), holdout)
    records = sample_records(tables, np.random.default_rng(0))
    people = People(records["real"], records["holdout"], tables.kinds, frozenset(), 5)
    kept = ModelContent({"names": {real.loc[5, "pseudonym"]: 1}}, {"values": real["income"].to_numpy()[:40]})
    comparison = compare_file(people, kept)
    assert comparison is not None
    by_column = {f.column: f for f in comparison.found}
    assert by_column["pseudonym"].rows == (5,) and by_column["pseudonym"].to_look_at
    assert by_column["income"].members == 40 and by_column["income"].p_value < 1e-9
    assert by_column["weight"].members == 0


def test_the_releasable_edition_tells_of_no_record(found: Dossier, tmp_path: Path) -> None:
    found.write(tmp_path / "d.html", "releasable")
    page = (tmp_path / "d.html").read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert "names no record" in text and "Rows of the real table" not in text and "Private edition" not in text
    for exact in ("123", "300", "syndrome", "P-1"):
        assert exact not in text, exact
    shares = re.findall(r"about (\d\.\d+)", text)
    assert shares and all(float(s) * 20 == pytest.approx(round(float(s) * 20)) for s in shares)
    content = json.dumps(found.to_dict("releasable"))
    assert '"rows"' not in content and '"attacks"' not in content


def test_an_edition_that_does_not_exist(found: Dossier, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="'private' or 'releasable'"):
        found.write(tmp_path / "d.html", "public")  # type: ignore[arg-type]


def test_under_a_budget_the_dossier_says_what_epsilon_means_and_charges_the_odometer(tmp_path: Path) -> None:
    real, holdout = population(300, 5), population(400, 6)
    bounds = {"age": (0, 150), "income": (0, 1e6), "weight": (0, 200), "height": (100, 250)}
    levels = {"group": list("abcd"), "status": ["high", "low", "other"], "city": [f"city {i}" for i in range(12)]}
    columns = [ColumnSchema(n, Kind.CONTINUOUS, "double", bounds=b) for n, b in bounds.items()]
    columns += [ColumnSchema(n, Kind.CATEGORICAL, "string", categories=tuple(v)) for n, v in levels.items()]
    model = BayesianNetworkSynthesizer(schema=TableSchema(tuple(columns)), epsilon=1.0, verbose=False, seed=0).fit(real)
    odometer = tmp_path / "odometer"
    dossier = privacy_dossier(model, real, model.sample(300, seed=1), holdout, **QUICK, odometer=odometer)
    assert dossier.guarantee and "73.1%" in dossier.residual(dossier.risks[0])
    assert [c.guarantee for c in Odometer(odometer).charges] == [False]
    page = dossier.render("releasable")
    assert "No guarantee covers these figures" in page and "Unit: one row more or less" in page
    assert not any(c.to_look_at for r in dossier.risks for c in r.comparisons), "declared values are public"
    assert not any(c.level == "bad" for r in dossier.risks for c in dossier.cells(r).values())


def test_what_a_dossier_cannot_be_made_of(halves: tuple[pd.DataFrame, pd.DataFrame], model: Any) -> None:
    real, holdout = halves
    with pytest.raises(ParameterError, match="holdout"):
        privacy_dossier(model, real, real, None)
    with pytest.raises(ParameterError, match="fitted model of one table"):
        privacy_dossier(GaussianCopula(), real, real, holdout)
    more = [t.assign(shoes=np.arange(len(t)) % 7) for t in (real, real, holdout)]
    with pytest.raises(DataError, match="'shoes'"):
        privacy_dossier(model, *more, **QUICK)


def test_the_command(halves: tuple[pd.DataFrame, pd.DataFrame], model: Any, tmp_path: Path) -> None:
    for name, rows in zip(("real", "holdout"), halves, strict=True):
        rows.head(120).to_csv(tmp_path / f"{name}.csv", index=False)
    model.sample(100, seed=2).to_csv(tmp_path / "made.csv", index=False)
    model.save(tmp_path / "model")
    files = [str(tmp_path / name) for name in ("model", "real.csv", "made.csv", "holdout.csv", "d.html")]
    arguments = ["dossier", *files[:3], "--holdout", files[3], "--out", files[4], "--targets", "40", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert set(record["recipients"]) == {"table", "api", "file"} and Path(record["dossier"]).exists()


def test_a_model_of_several_tables_is_refused_wherever_one_table_is_compared(tmp_path: Path) -> None:
    """Each ended in an AttributeError: a model's file does not say from outside what it makes."""
    rng = np.random.default_rng(0)
    tables = {"p": pd.DataFrame({"pid": range(60), "x": rng.normal(size=60)})}
    tables["v"] = pd.DataFrame({"pid": np.repeat(range(60), 2), "y": rng.normal(size=120)})
    made, file, rows = (
        RelationalSynthesizer(relations=["v.pid -> p.pid"], seed=0, verbose=False),
        tmp_path / "m",
        "x.csv",
    )
    made.fit(tables).save(file)
    tables["p"].to_csv(tmp_path / rows, index=False)
    asked = [str(tmp_path / rows), str(tmp_path / rows), "--holdout", str(tmp_path / rows)]
    by_table = "raysynth attack REAL/TABLE SYNTHETIC/TABLE --holdout HOLDOUT/TABLE --entity KEY"
    for command, cure in (
        (["dossier", str(file), *asked, "--out", str(tmp_path / "d.html")], by_table),
        (["evaluate", *asked, "--model", str(file), "--out", str(tmp_path / "e.html")], "leave the model out"),
        (["attack", *asked, "--model", str(file)], "leave the model out"),
    ):
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code != 0 and isinstance(answer.exception, SystemExit), command
        told = " ".join(answer.output.split())
        assert "this model makes several tables" in told and cure in told


@pytest.fixture(scope="module")
def wards() -> tuple[pd.DataFrame, pd.DataFrame, AutoregressiveSequences]:
    """Real and held out sequences of three steps, and a model that hardly learned."""

    def table(seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        who = np.repeat([f"P{k:08d}" for k in rng.choice(10**8, 60, replace=False)], 3)
        level = np.repeat(rng.normal(size=60), 3)
        return pd.DataFrame({"who": who, "x": level + rng.normal(size=180), "y": rng.normal(size=180)})

    real = table(0)
    model = AutoregressiveSequences(sequence_key="who", epochs=1, seed=0, verbose=False)
    return real, table(1), model.fit(real)


def test_rows_of_sequences_are_not_asked_of_their_model(wards: Any) -> None:
    real, holdout, model = wards
    made = model.sample(60, seed=1)
    results = run_privacy_attacks(real, made, ["model_inversion"], 1, holdout, model, entity="who")
    assert list(results.details) == ["inversion_table"]


def test_a_person_of_a_dossier_of_sequences_is_a_sequence(wards: Any) -> None:
    """Copied steps under new keys are found in the table, in the model nothing; an array names nobody."""
    real, holdout, model = wards
    copies = real.assign(who=[f"Q{w[1:]}" for w in real["who"]])
    dossier = privacy_dossier(model, real, copies, holdout, n_targets=60, n_experiments=2)
    assert "rows were divided by persons, the values of 'who'" in dossier.notes
    table, api, file = dossier.risks
    assert dossier.cells(table)["direct"].level == dossier.cells(table)["inference"].level == "bad"
    assert all(c.n_members == 60 for c in table.comparisons), "persons, not steps"
    assert not any(c.level == "bad" for r in (api, file) for c in dossier.cells(r).values())
    array = np.random.default_rng(0).normal(size=(30, 3, 2))
    with pytest.raises(ParameterError, match="fit a table with a sequence_key"):
        of_array = AutoregressiveSequences(epochs=1, seed=0, verbose=False).fit(array)
        privacy_dossier(of_array, real, copies, holdout)
