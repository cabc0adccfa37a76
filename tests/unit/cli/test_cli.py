"""The command line: options to values, exit codes, JSON output, interruption, and the real entry point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from raysynth import cli, load_synthetic_model
from raysynth.cli import sample as cli_sample
from raysynth.cli import steps as cli_steps
from raysynth.cli.compare import better_of, verdict
from raysynth.cli.demo import split as demo_split
from raysynth.errors import ClusterError, ConditionError, ParameterError, TrainingError
from raysynth.evaluation import evaluate_synthetic_data
from raysynth.fitting.persons import entity_of
from raysynth.methods.registry import METHODS

METHOD = "copula"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1,500 rows of statsmodels' 'fair' survey, as CSV, with a column of text."""
    from statsmodels.datasets import fair

    frame = fair.load_pandas().data.head(1500)[["rate_marriage", "age", "children", "affairs"]]
    frame["region"] = frame["children"].map(lambda c: "north" if c > 1 else "south")
    path = tmp_path_factory.mktemp("data") / "fair.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(table: Path) -> Path:
    path = table.parent / "fair.raysynth"
    result = run("fit", table, "--method", METHOD, "--model", path, "--seed", "1")
    assert result.exit_code == 0, result.output
    return path


# ------------------------------------------------------------------------------------------------------- the commands


def test_fit_says_what_it_took_each_column_for_and_where_the_model_is(table: Path, tmp_path: Path) -> None:
    result = run("fit", table, "--method", METHOD, "--model", tmp_path / "m.raysynth", "--seed", "1")
    assert result.exit_code == 0, result.output
    for word in ("region", "categorical", "1,500 rows", "m.raysynth", "raysynth sample"):
        assert word in result.stdout
    assert os.listdir(tmp_path) == ["m.raysynth"]


def test_fit_json_is_one_object_and_nothing_else(table: Path, tmp_path: Path) -> None:
    result = run("fit", table, "--method", METHOD, "--model", tmp_path / "m.raysynth", "--seed", "1", "--json")
    record = json.loads(result.stdout)
    assert record["rows"] == 1500 and record["method"] == METHOD
    assert record["columns"]["region"] == "categorical"
    assert "categorical" in result.stderr, "the kinds are still printed, on standard error"
    assert [s["stage"] for s in record["stages"]] == ["statistics", "fit"]
    assert all(s["rows"] == 1500 and s["rows_per_second"] > 0 for s in record["stages"])


def test_a_long_job_ends_with_its_stage_table(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysynth.cli.steps.LONG_SECONDS", 0.0)
    result = run("fit", table, "--method", METHOD, "--model", tmp_path / "m.raysynth")
    assert [line.split()[0] for line in result.stdout.splitlines()[-4:]] == ["stage", "statistics", "fit", "all"]


def test_fit_takes_a_schema_and_settings(table: Path, tmp_path: Path) -> None:
    from raysynth import load_synthetic_model

    first = tmp_path / "first.raysynth"
    assert run("fit", table, "--method", METHOD, "--model", first, "--seed", "1").exit_code == 0
    schema = load_synthetic_model(first).schema_.with_column("children", kind="categorical")
    schema.save(tmp_path / "schema.json")
    second = tmp_path / "second.raysynth"
    result = run(
        *("fit", table, "--method", "bayesian_network", "--model", second, "--seed", "1", "--json"),
        *("--schema", tmp_path / "schema.json", "--set", "max_parents=1"),
    )
    assert json.loads(result.stdout)["columns"]["children"] == "categorical"
    assert load_synthetic_model(second).get_params()["max_parents"] == 1


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_sample_to_a_file_is_repeatable(model: Path, tmp_path: Path, name: str) -> None:
    for folder in ("a", "b"):
        result = run("sample", model, "-n", "300", "--out", tmp_path / folder / name, "--seed", "7", "--json")
        assert json.loads(result.stdout)["rows"] == 300, result.output
    first, second = ((tmp_path / f / name).read_bytes() for f in ("a", "b"))
    assert first == second
    assert os.listdir(tmp_path / "a") == [name]


def test_sample_defaults_to_as_many_rows_as_were_learned_from(model: Path, tmp_path: Path) -> None:
    assert run("sample", model, "--out", tmp_path / "rows.csv").exit_code == 0
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 1500


def test_sample_with_conditions_and_quotas(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    asked = '{"region": "north", "age": {"min": 25, "max": 35}}'
    assert run("sample", model, "-n", "50", "--out", out, "--conditions", asked).exit_code == 0
    rows = pd.read_csv(out)
    assert set(rows["region"]) == {"north"} and rows["age"].between(25, 35).all() and len(rows) == 50

    (tmp_path / "rules.json").write_text('{"constraints": [{"kind": "range", "column": "age", "high": 40}]}')
    assert run("sample", model, "-n", "50", "--out", out, "--rules", tmp_path / "rules.json").exit_code == 0
    assert pd.read_csv(out)["age"].max() <= 40 and len(pd.read_csv(out)) == 50

    (tmp_path / "quotas.json").write_text('[[{"region": "north"}, 30], [{"region": "south"}, 10]]')
    assert run("sample", model, "--out", out, "--conditions", f"@{tmp_path / 'quotas.json'}").exit_code == 0
    assert pd.read_csv(out)["region"].value_counts().to_dict() == {"north": 30, "south": 10}


def test_sample_to_a_folder_and_verify(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    result = run("sample", model, "-n", "200", "--out", folder, "--seed", "3", "--json")
    assert json.loads(result.stdout)["rows"] == 200, result.output
    assert json.loads(run("sample", "--verify", folder, "--json").stdout)["rows"] == 200
    damaged = next(folder.glob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    result = run("sample", "--verify", folder)
    assert result.exit_code == 1 and "is damaged" in result.stderr


def test_sample_divided_by_a_column(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    assert run("sample", model, "-n", "200", "--out", folder, "--partition-by", "region").exit_code == 0
    assert {p.parent.name.partition("=")[0] for p in folder.rglob("*.parquet")} == {"region"}
    assert json.loads(run("sample", "--verify", folder, "--json").stdout)["rows"] == 200
    result = run("sample", model, "-n", "9", "--out", tmp_path / "a.csv", "--partition-by", "region")
    assert result.exit_code == 2 and "give --out a folder" in result.stderr


def test_evaluate_gives_figures_and_a_report(table: Path, model: Path, tmp_path: Path) -> None:
    synthetic, report = tmp_path / "synthetic.csv", tmp_path / "report.html"
    assert run("sample", model, "--out", synthetic, "--seed", "5").exit_code == 0
    shared = tmp_path / "shared.html"
    targets = ("--target", "affairs", "--target", "age")
    result = run("evaluate", table, synthetic, "--out", report, "--shareable", shared, *targets, "--json")
    record = json.loads(result.stdout)
    assert record["report"] == str(report), result.output
    assert [t["target"] for t in record["ml_efficacy"]["targets"]] == ["affairs", "age"]
    assert "<b>Private.</b>" in report.read_text(encoding="utf-8")
    assert "<b>Shareable.</b>" in shared.read_text(encoding="utf-8")
    assert sorted(os.listdir(tmp_path)) == ["report.html", "shared.html", "synthetic.csv"]


# ------------------------------------------------------------------------------------------------- options to values


def test_evaluate_with_the_model_shows_how_the_table_was_made(table: Path, tmp_path: Path) -> None:
    model, synthetic, report, shared = (tmp_path / name for name in ("m.raysynth", "s.csv", "r.html", "shared.html"))
    budget = ("--epsilon", "2", "--seed", "1")
    for command in (
        ("fit", table, "--method", METHOD, "--model", model, *budget),
        ("sample", model, "--out", synthetic),
    ):
        assert (done := run(*command)).exit_code == 0, done.output
    result = run("evaluate", table, synthetic, "--model", model, "--out", report, "--shareable", shared, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])["model_info"]
    assert told["method"] == METHOD and told["parameters"]["epsilon"] == 2 and "raysynth" in told["versions"]
    for page in (report, shared):
        text = page.read_text(encoding="utf-8")
        assert 'id="ledger"' in text and "differential privacy</strong>" in text and "versions" in text
    assert 'id="attacks"' in report.read_text(encoding="utf-8")
    assert 'id="attacks"' not in shared.read_text(encoding="utf-8")


def test_conditions_as_json() -> None:
    read = cli_sample.read_conditions
    assert read(None) is None
    assert read('{"sex": ["m", "f"], "age": {"min": 25, "max": 40}}') == {"sex": ["m", "f"], "age": (25, 40)}
    assert read('{"age": {"min": 25}}') == {"age": (25, None)}
    assert read('[[{"age": {"max": 40}}, 3]]') == [({"age": (None, 40)}, 3)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{sex: m}", "not valid JSON"),
        ('"m"', "must be a JSON object"),
        ("[]", "list of quotas"),
        ('[[{"a": 1}, "3"]]', "list of quotas"),
        ('{"age": {"from": 1}}', "column 'age': a range is"),
        ("@nowhere.json", "cannot read the file"),
    ],
)
def test_malformed_conditions_say_how_to_write_them(text: str, said: str) -> None:
    with pytest.raises(ConditionError, match=said):
        cli_sample.read_conditions(text)


def test_settings_are_json_where_they_can_be() -> None:
    assert cli_steps.read_settings(["a=2", "b=[64, 64]", "c=adam", "d=x=y"]) == {
        "a": 2,
        "b": [64, 64],
        "c": "adam",
        "d": "x=y",
    }
    with pytest.raises(ParameterError, match="NAME=VALUE"):
        cli_steps.read_settings(["max parents"])


# -------------------------------------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("fit", "{table}", "--model", "{out}/m", "--method", "magic"),
            "unknown method 'magic'; this version has: copula",
        ),
        (("fit", "{table}", "--model", "{out}/m", "--method", "copula", "--epochs", "3"), "has no parameter epochs"),
        (("fit", "{out}/none.csv", "--model", "{out}/m"), "none.csv"),
        (("fit", "{table}", "--model", "{out}/m", "--schema", "{out}/none.json"), "cannot read schema file"),
        (("sample", "{out}/none.raysynth", "-n", "5", "--out", "{out}/x.csv"), "none.raysynth"),
        (("sample", "{table}", "-n", "5", "--out", "{out}/x.csv"), "damaged or was not written by raysynth"),
        (("sample", "{model}", "-n", "5", "--out", "{out}/x.csv", "--conditions", '{"regoin": "north"}'), "regoin"),
        (("sample", "{model}", "-n", "5", "--out", "{out}/x.csv", "--conditions", '{"region": "nroth"}'), "'region'"),
        (("sample", "{model}", "-n", "-5", "--out", "{out}/x.csv"), "found -5"),
        (("sample", "{model}", "-n", "5", "--out", "{out}/x.xlsx"), ".xlsx is not written"),
        (("sample", "{model}", "-n", "5", "--out", "-"), "written to files only"),
        (("sample",), "say which model"),
        (("evaluate", "{table}", "{out}/none.csv"), "none.csv"),
        (("demo", "{out}/none.csv", "--out", "{out}/demo"), "none.csv"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_input_at_fault_ends_with_2_a_message_and_no_file(
    table: Path, model: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    filled = [
        a.replace("{table}", str(table)).replace("{model}", str(model)).replace("{out}", str(tmp_path))
        for a in arguments
    ]
    result = run(*filled)
    assert result.exit_code == 2, result.output
    assert said in result.stderr and "Traceback" not in result.output
    assert os.listdir(tmp_path) == []
    as_json = run(*filled, "--json")
    assert as_json.exit_code == 2
    error = json.loads(as_json.stdout)["error"]
    assert said in error["message"] and error["exit_code"] == 2


@pytest.mark.parametrize("error", [TrainingError("the loss is not finite"), ClusterError("no cluster")])
def test_other_errors_end_with_1(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("raysynth.cli.fit.new_model", fail)
    result = run("fit", table, "--model", tmp_path / "m.raysynth")
    assert result.exit_code == 1 and str(error) in result.stderr
    assert os.listdir(tmp_path) == []


def test_ctrl_c_ends_with_130_and_says_what_is_kept(
    table: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("raysynth.cli.fit.new_model", interrupt)
    monkeypatch.setattr("raysynth.cli.sample.write_sample", interrupt)
    result = run("fit", table, "--model", tmp_path / "m.raysynth")
    assert result.exit_code == 130 and "No model was written to" in result.stderr
    result = run("sample", model, "--out", tmp_path / "folder")
    assert result.exit_code == 130 and "the same command resumes there" in result.stderr
    result = run("sample", model, "--out", tmp_path / "rows.csv")
    assert result.exit_code == 130 and "Nothing was written to" in result.stderr


def test_sigterm_ends_a_command_as_ctrl_c_does(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container or queue ends commands so; the default would leave private scratch files behind."""
    left = []

    def work(*_: Any, **__: Any) -> None:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, "or it would end the tests"
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            left.append("cleaned")

    monkeypatch.setattr("raysynth.cli.fit.new_model", work)
    earlier = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray's, where an earlier test started it
    result = run("fit", table, "--model", tmp_path / "m.raysynth")
    after = signal.signal(signal.SIGTERM, earlier)
    assert (result.exit_code, left) == (143, ["cleaned"]) and "No model was written to" in result.stderr
    assert after is signal.SIG_DFL


def test_no_result_replaces_what_a_command_reads(table: Path, model: Path, tmp_path: Path) -> None:
    mine, own = tmp_path / "mine.csv", tmp_path / "m.raysynth"
    mine.write_bytes(table.read_bytes())
    own.write_bytes(model.read_bytes())
    for arguments in (
        ["fit", mine, "--method", METHOD, "--model", mine],
        ["evaluate", mine, table, "--out", mine],
        ["look", mine, "--schema", mine],
        ["look", mine, "--schema", tmp_path / "schema.json", "--out", mine],
        ["schema", mine, "--out", mine],
        ["dossier", own, mine, table, "--holdout", table, "--out", own],
    ):
        result = run(*arguments)
        assert (result.exit_code, "is read by this command" in result.output) == (2, True), result.output
    assert run("fit", table, "--method", METHOD, "--model", mine).exit_code == 1  # another's table, and no model
    assert mine.read_bytes() == table.read_bytes() and own.read_bytes() == model.read_bytes()
    made = tmp_path / "made.csv"
    told = [run("sample", own, "-n", "20", "--out", made).stderr for _ in range(2)]
    assert ["it is replaced when this command ends well" in t for t in told] == [False, True]


def test_what_may_be_the_learned_table_is_replaced_only_on_request(table: Path, model: Path, tmp_path: Path) -> None:
    """A file that is older than the model may be the rows that it learned from; one that is younger is not."""
    mine = tmp_path / "mine.csv"
    mine.write_bytes(table.read_bytes())
    os.utime(mine, (0, 0))
    refused = run("sample", model, "-n", "20", "--out", mine)
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (2, True), refused.output
    assert mine.read_bytes() == table.read_bytes()
    replaced = run("sample", model, "-n", "20", "--out", mine, "--overwrite")
    assert (replaced.exit_code, len(mine.read_text().splitlines())) == (0, 21), replaced.output


@pytest.mark.parametrize("private", [True, False])
def test_what_holds_figures_of_real_rows_is_its_owners_alone(private: bool, table: Path, tmp_path: Path) -> None:
    made = {True: ("schema.json", "look.html", "report.html", "figures.json"), False: ("shared.html",)}[private]
    if private:
        run("look", table, "--schema", tmp_path / "schema.json", "--out", tmp_path / "look.html")
    results = evaluate_synthetic_data(str(table), str(table), metrics=["statistical_similarity"])
    for name in made:
        if name == "figures.json":
            cli_steps.write_evaluation(results, tmp_path / name)
        elif name not in ("schema.json", "look.html"):
            results.generate_report(tmp_path / name, shareable=not private)
        assert ((tmp_path / name).stat().st_mode & 0o077 == 0) == private, name


def test_paths_are_checked_before_the_work(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysynth.cli.fit.new_model", lambda *_, **__: pytest.fail("the fit began"))
    result = run("fit", table, "--model", tmp_path)
    assert result.exit_code == 1 and "it is a folder" in result.stderr


# ----------------------------------------------------------------------------------------------- the real entry point


def test_a_methods_parameters_are_printed_with_ranges_and_defaults() -> None:
    text = " ".join(run("fit", "--help-method", "ctgan").stdout.split())
    assert (
        "pac: rows that the discriminator judges together (PacGAN). A whole number of at least 1; default 10." in text
    )
    assert "privacy_unit:" in text and "under a privacy budget 60" in text
    unknown = run("fit", "--help-method", "magic")
    assert unknown.exit_code == 2 and "unknown method 'magic'" in unknown.stderr


def test_help_teaches_with_examples() -> None:
    for command in ("fit", "sample", "evaluate", "demo", "info", "ledger"):
        text = run(command, "--help").stdout
        assert "Examples" in text and f"raysynth {command}" in text
    assert all(method in run("fit", "--help").stdout for method in METHODS)


def test_entry_point_prints_json_only_and_sets_the_exit_code(model: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("raysynth")
    command = [str(script)] if script.exists() else [sys.executable, "-c", "from raysynth.cli import main; main()"]
    arguments = ["sample", str(model), "-n", "20", "--out", str(tmp_path / "rows.csv"), "--json"]
    good = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert good.returncode == 0 and json.loads(good.stdout)["rows"] == 20, good.stderr
    bad = subprocess.run([*command, "sample", str(tmp_path / "none"), "--out", "x.csv"], capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stdout == "" and "Error:" in bad.stderr and "Traceback" not in bad.stderr


# --------------------------------------------------------------------------------------------- checkpoints on storage


def test_fit_with_storage_goes_on_from_its_checkpoint(table: Path, tmp_path: Path) -> None:
    """The second run trains for the epochs that are missing only, and gives the model of one undisturbed run."""
    words = ("fit", table, "--method", "gan", "--seed", "1", "--set", "checkpoint_every=1", "--set", "batch_size=500")
    storage = tmp_path / "runs" / "fair"
    for epochs in ("1", "2"):
        result = run(*words, "--epochs", epochs, "--storage", storage, "--model", tmp_path / "parts")
        assert result.exit_code == 0, result.output
    assert {p.name for p in storage.glob("checkpoint*")} == {"checkpoint.pt"}
    assert run(*words, "--epochs", "2", "--model", tmp_path / "whole").exit_code == 0
    digests = [load_synthetic_model(tmp_path / name).sample(50, seed=3) for name in ("parts", "whole")]
    pd.testing.assert_frame_equal(*digests)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "copula", "--seed", "1"), "'copula' learns in a few passes and keeps no checkpoints"),
        (("--method", "ctgan"), "--storage needs --seed"),
    ],
)
def test_storage_that_would_not_help_is_refused(
    table: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = run("fit", table, *words, "--storage", tmp_path / "run", "--model", tmp_path / "m")
    assert result.exit_code == 2 and message in result.stderr
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------- where results are written


@pytest.mark.parametrize(
    "command",
    [
        "fit {table} --method copula --model memory://bucket/m",
        "fit {table} --method tvae --seed 1 --storage memory://runs/a --model m",
        "fit {table} --method tvae --set keep_shards=memory://bucket/shards --model m",
        "sample {model} -n 3 --out memory://bucket/t.csv",
        "sample {model} -n 3 --out memory://bucket/t",
        "sample --verify memory://bucket/t",
        "evaluate {table} {table} --out memory://bucket/r.html",
        "evaluate {table} {table} --shareable memory://bucket/r.html",
        "attack {table} {table} --out memory://bucket/r.html",
        "sweep {table} --methods copula --out memory://bucket/choice",
        "demo {table} --out s3://bucket/first",
    ],
)
def test_results_for_a_store_that_cannot_hold_them_are_refused_before_any_work(
    command: str, table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would lie in a folder named 's3:' while the command reports success."""
    monkeypatch.chdir(tmp_path)
    result = run(*command.format(table=table, model=model).split())
    assert result.exit_code == 2
    assert ("memory of one process" if "memory" in command else "is a URI") in result.output
    assert os.listdir(tmp_path) == []


def test_relative_paths_mean_the_folder_that_the_command_runs_in(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_bytes(table.read_bytes())
    for command in (
        "fit t.csv --method copula --model out/m --seed 1",
        "sample out/m -n 30 --out out/s.csv",
        "sample out/m -n 30 --out out/s",
        "evaluate t.csv out/s.csv --out out/r.html --shareable out/q.html",
        "attack t.csv out/s.csv --out out/a.html --experiments 1 --targets 20",
    ):
        assert run(*command.split()).exit_code == 0, command
    assert sorted(os.listdir("out")) == ["a.html", "m", "q.html", "r.html", "s", "s.csv"]
    assert run("sample", "--verify", "out/s").exit_code == 0


def test_entity_divides_rows_by_persons_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(60), 4)
    rows = pd.DataFrame({"whose": whose, "x": rng.normal(size=240), "c": rng.choice(["a", "b"], 240)})
    rows.to_csv(tmp_path / "real.csv", index=False)
    rows.assign(x=rng.normal(size=240)).to_csv(tmp_path / "made.csv", index=False)
    tables = (tmp_path / "real.csv", tmp_path / "made.csv")
    result = run("evaluate", *tables, "--entity", "whose", "--json", "--seed", "1")
    assert result.exit_code == 0, result.output
    notes = json.loads(result.stdout)["notes"]
    assert any("divided by persons, the values of 'whose'" in note for note in notes)
    for command in ("evaluate", "attack"):
        refused = run(command, *tables, "--entity", "who")
        assert refused.exit_code == 2 and "entity 'who' is no column" in refused.output
    refused = run("fit", tables[0], "--model", tmp_path / "model", "--method", "copula", "--entity", "who")
    assert refused.exit_code == 2 and "entity 'who' is no column" in refused.output


def test_the_demonstration_keeps_persons_apart_as_wholes() -> None:
    rows = pa.table({"patient_id": [f"P{v:07d}" for v in np.repeat(np.arange(50) * 7919, 3)], "x": np.arange(150.0)})
    entity = entity_of(rows, None)
    assert entity == "patient_id" and entity_of(rows.select(["x"]), None) is None
    train, held = demo_split(rows, 3, entity)
    assert train.num_rows + held.num_rows == 150 and held.num_rows > 0
    assert not set(train["patient_id"].to_pylist()) & set(held["patient_id"].to_pylist())


def test_two_evaluations_are_set_side_by_side(table: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(table)
    worse = frame.assign(age=frame["age"].sample(frac=1, random_state=0).to_numpy() + 3)
    for name, synthetic in (("a.json", frame), ("b.json", worse)):
        told = {"method": f"maker of {name[0]}", "differential privacy": "none"}
        results = evaluate_synthetic_data(frame, synthetic, metrics="statistical_similarity", model_info=told)
        cli_steps.write_evaluation(results, tmp_path / name)
    found = json.loads(run("compare", tmp_path / "a.json", tmp_path / "b.json", "--json").stdout)
    assert found["figures"]["Quality"]["first"] == 1.0 and found["figures"]["Quality"]["change"] < 0
    assert next(iter(found["columns"])) == "age"
    shown = run("compare", tmp_path / "a.json", tmp_path / "b.json").stdout
    assert "Quality" in shown and "Columns whose shape moved most" in shown
    assert shown.startswith("The first is better: in quality") and found["better"]["Quality"] == "first"
    page = tmp_path / "compared.html"
    assert run("compare", tmp_path / "a.json", tmp_path / "b.json", "--out", page).exit_code == 0
    html = page.read_text(encoding="utf-8")
    for said in (
        "Take the first.",
        "maker of a (first), maker of b (second)",
        f"<dd>{len(frame):,} real, ",
        "<dd>none</dd>",
    ):
        assert said in html
    for wrong in (table, tmp_path / "none.json"):
        result = run("compare", wrong, tmp_path / "a.json")
        assert result.exit_code == 2 and "raysynth evaluate REAL SYNTHETIC --out NAME.json" in result.stderr


@pytest.mark.parametrize(
    ("second", "answer"),
    [
        (
            {"Quality": 0.905, "Told from real (AUC)": 0.42, "Privacy risk": 0.1},
            "The first is better: in told",
        ),
        ({"Quality": 0.95, "Told from real (AUC)": 0.5, "Privacy risk": 0.3}, "Each is better in something"),
        ({"Quality": 0.905, "Told from real (AUC)": 0.495, "Privacy risk": 0.1}, "Alike in all"),
        ({}, "no deciding figure in common"),
    ],
)
def test_which_evaluation_is_better_is_said(second: dict[str, float], answer: str) -> None:
    """An AUC is better the nearer it is to one half, on either side; what another seed changes is alike."""
    first = {"Quality": 0.9, "Told from real (AUC)": 0.5, "Privacy risk": 0.1}
    figures = {name: {"first": value, "second": second.get(name)} for name, value in first.items()}
    assert answer in verdict(better_of(figures))


def test_a_folder_is_verified_and_a_changed_file_is_named(model: Path, tmp_path: Path) -> None:
    assert run("sample", model, "-n", "200", "--out", tmp_path / "rows", "--seed", "1").exit_code == 0
    result = run("verify", tmp_path / "rows")
    assert result.exit_code == 0 and "is whole: 200 rows" in result.stdout
    part = next((tmp_path / "rows").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    result = run("verify", tmp_path / "rows")
    assert result.exit_code == 1 and f"{part.name} is damaged" in result.stderr
    result = run("verify", part)
    assert result.exit_code == 1 and "has no finished manifest" in result.stderr


def test_a_claim_is_audited(tmp_path: Path) -> None:
    pd.DataFrame({"c": ["a", "b"] * 25}).to_csv(tmp_path / "t.csv", index=False)
    result = run("audit", tmp_path / "t.csv", "--epsilon", "1", "--fits", "32", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["epsilon"] == 1 and found["lower_bound"] <= 1
