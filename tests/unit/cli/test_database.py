"""Several tables on the command line: fit, sample, evaluate and demo, and options that are for one table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from raysynth import cli
from raysynth.cli.database import made_up_shop
from raysynth.data.key_inference import as_database_schema, infer_relations
from raysynth.data.keys import check_database
from raysynth.data.sources.databases import open_database, write_database


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up shop of 300 customers as CSV files, without a file of its keys."""
    path = tmp_path_factory.mktemp("shop")
    tables = made_up_shop(0, 300)
    write_database(tables, infer_relations(tables, verbose=False), path, format="csv")
    (path / "relations.json").unlink()
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    path = folder.parent / "shop.raysynth"
    result = run("fit", folder, "--model", path, "--seed", "1")
    assert result.exit_code == 0, result.output
    assert "orders.customer_id -> customers.id: its name is that of the table" in result.stdout
    assert "Learned 4 tables with 3 keys" in result.stdout and "raysynth sample" in result.stdout
    return path


def test_the_made_up_shop_has_the_keys_that_are_inferred() -> None:
    tables = made_up_shop(3, 200)
    schema = infer_relations(tables, verbose=False)
    assert sorted(map(str, schema.relations)) == [
        "lines.order_id -> orders.id",
        "lines.product_id -> products.id",
        "orders.customer_id -> customers.id",
    ]
    check_database(tables, schema)
    pd.testing.assert_frame_equal(made_up_shop(3, 200)["lines"], tables["lines"])


def test_info_tells_tables_and_keys(model: Path) -> None:
    text = run("info", model).stdout
    for words in (
        "none (fitted without a privacy budget)",
        "Table:      lines",
        "lines.order_id -> orders.id",
        "Rows:       300",
    ):
        assert words in text
    record = json.loads(run("info", model, "--json").stdout)
    assert record["rows"]["customers"] == 300
    assert list(record["columns"]) == list(record["rows"]) and "order_id" in record["columns"]["lines"]
    assert len(record["relations"]) == 3
    assert run("ledger", model).exit_code == 0


@pytest.mark.parametrize("target", ["synthetic", "synthetic.db"])
def test_sample_writes_all_tables_with_their_keys(model: Path, tmp_path: Path, target: str) -> None:
    result = run("sample", model, "--scale", "0.5", "--out", tmp_path / target, "--seed", "2", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert rows["customers"] == 150
    tables, schema = open_database(tmp_path / target)
    assert schema is not None
    found, _ = check_database(tables, schema)
    assert {n: t.n_rows for n, t in found.items()} == rows


def test_evaluate_takes_two_databases(folder: Path, model: Path, tmp_path: Path) -> None:
    made, page = tmp_path / "made", tmp_path / "page.html"
    assert run("sample", model, "--out", made, "--seed", "2").exit_code == 0
    result = run("evaluate", folder, made, "--relations", made / "relations.json", "--out", page, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["integrity"] == 1
    assert "Told from real" in page.read_text()


def test_what_is_for_one_table_is_refused_by_name(folder: Path, model: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("fit", folder, "--model", tmp_path / "m", "--epsilon", "1"), "--epsilon is for one table"),
        (("fit", folder, "--model", tmp_path / "m", "--relations", "a.b -> c.d"), "no table"),
        (("fit", folder, "--model", tmp_path / "m", "--relations", tmp_path / "none.json"), "none.json"),
        (("sample", model, "--out", tmp_path / "x", "-n", "5"), "-n is for one table"),
        (("demo", folder, "--database", "--out", tmp_path / "d"), "DATA is for one table"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert message in result.output
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scale", "0", "--out", "made"), "scale must be a number above 0; found 0"),
        (("--scale", "1", "--out", "made.csv"), "is one file; several tables go into a folder"),
    ],
)
def test_what_no_sample_of_several_tables_is_is_refused(
    model: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = run("sample", model, *arguments[:-1], tmp_path / arguments[-1])
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_look_tells_keys_and_kinds_of_each_table_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    write_database({n: t.iloc[: 1 if n == "products" else None] for n, t in made_up_shop(0, 50).items()},
                   infer_relations(made_up_shop(0, 50), verbose=False), tmp_path / "shop.db")  # fmt: skip
    text = run("look", tmp_path / "shop.db").stdout
    assert "key: orders.customer_id -> customers.id" in text and f"raysynth fit {tmp_path / 'shop.db'}" in text
    assert "table 'products': 1 rows; in keys: id" in text and "region" in text
    record = json.loads(run("look", folder, "--json").stdout.splitlines()[-1])
    assert set(record["tables"]) == {"customers", "orders", "lines", "products"} and len(record["relations"]) == 3
    assert record["rules"] == {"orders.day >= customers.since": 1.0}
    refused = run("look", folder, "--rules", "auto")
    assert refused.exit_code == 2 and "--rules is for one table" in refused.output
    assert [p.name for p in tmp_path.iterdir()] == ["shop.db"]


def test_fit_leaves_out_what_the_file_of_keys_does_not_name_and_keeps_rules(folder: Path, tmp_path: Path) -> None:
    """One order that all lines point to stops a fit; what the message says can be done on a command line."""
    tables = made_up_shop(0, 60)
    shop = {"customers": tables["customers"], "orders": tables["orders"], "shop": tables["products"][:1]}
    shop["orders"] = shop["orders"].assign(shop=int(shop["shop"]["id"].iloc[0]))
    keys = ["orders.customer_id -> customers.id", "orders.shop -> shop.id"]
    write_database(shop, as_database_schema(keys, shop), tmp_path / "shop.db")
    stopped = run("fit", tmp_path / "shop.db", "--model", tmp_path / "model")
    assert stopped.exit_code == 2 and "'shop' has 1 row" in " ".join(stopped.output.split())
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"format_version": 1, "tables": ["customers", "orders"], "relations": keys[:1]}))
    result = run("fit", tmp_path / "shop.db", "--model", tmp_path / "model", "--relations", file, "--rules", "auto")
    assert result.exit_code == 0, result.output
    assert "does not name them: shop" in result.stdout and "Learned 2 tables" in result.stdout
