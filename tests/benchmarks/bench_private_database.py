"""Several tables within a privacy budget, beside the same tables one by one with as much noise for a unit.

    python tests/benchmarks/bench_private_database.py --epsilon 1 3 [--customers 8000] [--data DATA/berka] \
        [--peer-python PYTHON]

Half of a made-up shop (unit: a customer; columns, caps and products public), or of a prepared database of
`bench_database.py` (`--data`: berka; unit: an account; the types of its Parquet files, caps and districts public), is
learned within each budget, the other half stands beside it. Printed are the ledger's total, the mean total variation of
columns, numbers of children and pairs (numbers in ten parts), and the evaluation. 'Independent' learns each table by
itself from the same rows, with an equal share of the same rho and the same bound of rows of a unit, and deals children
out at random. `--peer-python`: google/dpsynth's relational mode (`peer_dpsynth.py`) on the shop, with the same columns,
caps, epsilon and delta, in a Python that has it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from bench_database import independent, keys_of

from raysynth import BayesianNetworkSynthesizer, RelationalSynthesizer
from raysynth.cli.database import made_up_shop
from raysynth.data.database import Database, lineage, read_database, split_database
from raysynth.data.sources.databases import open_database
from raysynth.data.table import as_table
from raysynth.errors import DataError
from raysynth.evaluation.database import evaluate_synthetic_database
from raysynth.evaluation.database_joins import chains
from raysynth.related.private import epsilon_of
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import DatabaseSchema
from raysynth.schema.table import TableSchema

CAPS = {"shop": {"orders": 5, "lines": 4}, "berka": {"client": 2, "card": 1, "loan": 1, "order": 5}}
ROOTS = {"shop": "customers", "berka": "account"}
YEARS = tuple(float(pd.Timestamp(day).timestamp() * 1e6) for day in ("2019-01-01", "2028-01-01"))
SHOP_COLUMNS = {
    "customers": [
        ColumnSchema("age", Kind.CONTINUOUS, "int64", bounds=(18, 90), decimals=0),
        ColumnSchema("member", Kind.BOOLEAN, "bool"),
        ColumnSchema("region", Kind.CATEGORICAL, "string", categories=("north", "south", "east", "west")),
        ColumnSchema("since", Kind.DATETIME, "timestamp[us]", bounds=YEARS),
    ],
    "orders": [
        ColumnSchema("day", Kind.DATETIME, "timestamp[us]", bounds=YEARS),
        ColumnSchema("channel", Kind.CATEGORICAL, "string", categories=("app", "shop", "web")),
    ],
    "lines": [ColumnSchema("quantity", Kind.CONTINUOUS, "int64", bounds=(1, 15), decimals=0)],
}


def main() -> None:
    """Each budget: learn, make, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epsilon", nargs="+", type=float, required=True)
    parser.add_argument("--customers", type=int, default=8000, help="of the made-up shop")
    parser.add_argument("--data", help="a prepared database in place of the shop")
    parser.add_argument("--peer-python", help="a Python with dpsynth, for the shop")
    options = parser.parse_args()
    name, tables, schema, schemas = "shop", *shop(options.customers)
    if options.data:
        name, schemas = Path(options.data).name, {}
        tables, declared = open_database(options.data)
        assert declared is not None, f"{options.data} has no relations.json"
        tables, schema = {n: as_table(t).to_arrow() for n, t in tables.items()}, declared
    real, held = split_database(tables, schema, seed=0)
    for epsilon in options.epsilon:
        model = RelationalSynthesizer(
            relations=schema,
            schemas=schemas or None,
            public_types=not schemas,
            epsilon=epsilon,
            root=ROOTS[name],
            caps=CAPS[name],
            seed=0,
            verbose=False,
        ).fit(real)
        print(f"\n{name}, epsilon {epsilon:g}: {model.privacy_spent_}")
        print(f"held-back half, total variation: {margins(real, held, schema):.3f}")
        runs = {"ours": model.sample(seed=1), "independent": one_by_one(model, real, schema, name, schemas)}
        if options.peer_python and name == "shop":
            assert model.privacy_spent_ is not None
            for strategy in ("size_sliced", "empty_token"):
                task = {"epsilon": epsilon, "delta": model.privacy_spent_.budget.delta, "strategy": strategy}
                runs[f"dpsynth, {strategy}"] = dpsynth(real, schema, task, options.peer_python)
        for label, made in runs.items():
            print(f"{label}, total variation: {margins(real, made, schema):.3f}", flush=True)
            try:
                print(evaluate_synthetic_database(real, made, schema, held).summary(), flush=True)
            except DataError as error:  # a peer's empty table, say
                print(f"not judged: {error}", flush=True)


def shop(customers: int) -> tuple[dict[str, Any], DatabaseSchema, dict[str, TableSchema]]:
    """The made-up shop with its keys and declared columns."""
    tables = made_up_shop(0, customers)
    keys = ["orders.customer_id -> customers.id", "lines.order_id -> orders.id", "lines.product_id -> products.id"]
    return tables, keys_of(tables, keys, ("products",)), {n: TableSchema(tuple(c)) for n, c in SHOP_COLUMNS.items()}


def dpsynth(real: Mapping[str, Any], schema: DatabaseSchema, task: dict[str, Any], python: str) -> dict[str, Any]:
    """The shop by google/dpsynth's relational mode; which product a line is of is a category of the line."""
    products = real["products"]
    ids = tuple(products["id"].astype(str))
    columns = {n: TableSchema(tuple(c)).to_dict()["columns"] for n, c in SHOP_COLUMNS.items()}
    columns["lines"].append({"name": "product_id", "kind": "categorical", "categories": ids})
    keys = [
        {
            "parent_table": r.parent,
            "parent_primary_key": r.parent_key[0],
            "child_table": r.child,
            "child_foreign_key": r.child_key[0],
            "max_children_per_parent": CAPS["shop"][r.child],
        }
        for r in schema.relations
        if r.parent != "products"
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in columns:
            real[name].to_parquet(Path(folder) / f"{name}.parquet", index=False)
        (Path(folder) / "task.json").write_text(json.dumps({**task, "columns": columns, "keys": keys}))
        begun = time.perf_counter()
        script = Path(__file__).with_name("peer_dpsynth.py")
        subprocess.run([python, str(script), folder, f"{folder}/made"], check=True)
        print(f"dpsynth, {task['strategy']}: {time.perf_counter() - begun:.0f} s")
        made = {n: pd.read_parquet(f"{folder}/made/{n}.parquet") for n in columns}
    made["customers"]["member"] = made["customers"]["member"] == "True"
    made["lines"]["product_id"] = made["lines"]["product_id"].astype(products["id"].dtype)
    return {**{n: t[list(real[n].columns)] for n, t in made.items()}, "products": products}


def one_by_one(
    model: RelationalSynthesizer,
    real: Mapping[str, Any],
    schema: DatabaseSchema,
    name: str,
    schemas: Mapping[str, TableSchema],
) -> dict[str, Any]:
    """Each table by itself within an equal share of the rho of the same budget."""
    spent, database = model.privacy_spent_, read_database(real, schema)
    assert spent is not None
    above, n_made = lineage(schema, ROOTS[name]), sum(not schema[t].reference for t in schema.names)

    def owner(table: str) -> np.ndarray:
        if table == ROOTS[name]:
            return np.arange(database.tables[table].num_rows)
        pointer = database.pointers[above[table]]
        return np.where(pointer >= 0, owner(above[table].parent)[pointer], -1)

    def most(table: str) -> int:
        return 1 if table == ROOTS[name] else CAPS[name][table] * most(above[table].parent)

    def learned(table: str, own: list[str]) -> pd.DataFrame:
        rows = database.tables[table].select(own).append_column("owner", pa.array(owner(table)))
        columns = schemas[table].columns if table in schemas else ()
        alone = BayesianNetworkSynthesizer(
            schema=TableSchema((*columns, ColumnSchema("owner", Kind.IDENTIFIER, "int64"))),
            public_types=not columns,
            epsilon=epsilon_of(spent.budget, 1 / n_made),
            delta=spent.budget.delta,
            privacy_unit="owner",
            max_rows_per_unit=most(table),
            seed=0,
            verbose=False,
        ).fit(rows)
        return alone.sample(alone.n_rows_, seed=1)[own]

    return independent(real, schema, learned)


def margins(real: Mapping[str, Any], made: Mapping[str, Any], schema: DatabaseSchema) -> float:
    """Mean total variation of each column and number of children, of pairs of them, and of pairs along keys."""
    found = []
    for one, other in zip(
        *(_coded(read_database(t, schema), read_database(real, schema)) for t in (real, made)), strict=True
    ):
        for columns in itertools.chain(((c,) for c in one), itertools.combinations(one, 2)):
            shares = [t.groupby(list(columns), dropna=False).size() / len(t) for t in (one, other)]
            found.append(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)
    return float(np.mean(found))


def _coded(database: Database, real: Database) -> Iterator[pd.DataFrame]:
    """Of each table, and of each way along keys, the columns in parts: numbers in ten of the real ones."""
    tables: dict[str, pd.DataFrame] = {}
    for name in (n for n in database.schema.names if not database.schema[n].reference):
        columns: dict[str, Any] = {}
        for column in database.own_columns(name):
            columns[column] = _parts(*(d.tables[name][column].to_pandas() for d in (database, real)))
        for relation in database.schema.children_of(name):
            columns[f"number of {relation.child}"] = database.children_each(relation)
        tables[name] = pd.DataFrame(columns)
        yield tables[name]
    for chain in chains(database):
        if chain.ancestor in tables:
            pointer = np.arange(len(tables[chain.child]))
            for relation in chain.relations:
                pointer = np.where(pointer >= 0, database.pointers[relation][pointer], -1)
            there = np.flatnonzero(pointer >= 0)
            sides = tables[chain.child].iloc[there], tables[chain.ancestor].iloc[pointer[there]].add_prefix("of ")
            yield pd.concat([s.reset_index(drop=True) for s in sides], axis=1)


def _parts(values: pd.Series, real: pd.Series) -> np.ndarray:
    """Numbers and times by ten parts of the real values, -1 where missing; others as text."""
    if isinstance(real.dtype, pd.CategoricalDtype) or real.dtype.kind not in "iufM" or real.nunique() <= 10:
        return values.astype("object").where(values.notna(), "").astype(str).to_numpy()
    if real.dtype.kind == "M":
        values, real = (v.astype("datetime64[us]").astype("int64").where(v.notna()) for v in (values, real))
    edges = np.unique(np.quantile(real.dropna(), np.linspace(0, 1, 11)[1:-1]))
    return np.where(values.isna(), -1, np.searchsorted(edges, values.astype(float)))


if __name__ == "__main__":
    main()
