"""Several tables on the command line: what `fit`, `sample`, `evaluate` and `demo` do with a database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysynth.cli.steps import Outcome, check_output
from raysynth.errors import ParameterError
from raysynth.files.storage import local_path

if TYPE_CHECKING:
    import pandas as pd

    from raysynth.related.synthesizer import RelationalSynthesizer
    from raysynth.schema.relations import DatabaseSchema

Relations = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|TEXT",
        help="Several tables: the JSON of their keys, or 'child.key -> parent.key', which may be repeated; default: "
        "those of the database's catalogue or of relations.json, else inferred and printed.",
    ),
]
Dangling = Annotated[
    str, typer.Option(help="Several tables: keys that point nowhere are an 'error', or become 'missing'.")
]
SHOP_CUSTOMERS = 3_000


def means_database(data: str, relations: list[str] | None) -> bool:
    """Whether a command is about several tables: keys are given, or the source holds several."""
    from raysynth.data.sources.databases import is_database

    return bool(relations) or is_database(data)


def refuse(options: Mapping[str, Any]) -> None:
    """Raise `ParameterError` for the first option that is set and has no meaning for several tables."""
    if given := [name for name, value in options.items() if value]:
        raise ParameterError(f"{given[0]} is for one table; several tables at once do not take it")


def open_with_keys(data: str, relations: list[str] | None) -> tuple[dict[str, Any], DatabaseSchema]:
    """The tables at a path or URL, and their keys: given, declared there, or inferred and printed."""
    from raysynth.data.key_inference import as_database_schema
    from raysynth.data.sources.databases import open_database

    tables, declared = open_database(data)
    given: Any = relations
    if relations is not None and len(relations) == 1 and "->" not in relations[0]:
        given = relations[0]
    schema = as_database_schema(given if relations else declared, tables)
    if left_out := [n for n in tables if n not in schema.names]:
        print(f"left out, since {given} does not name them: {', '.join(left_out)}")
    return {n: t for n, t in tables.items() if n not in left_out}, schema


def look_database(data: str) -> Outcome:
    """Keys, what a fit would take the other columns of each table for, and rules across tables that nearly hold."""
    from raysynth.data.database import read_database
    from raysynth.data.keys import count_rows
    from raysynth.data.table import as_table
    from raysynth.related.rules import proposed_rules
    from raysynth.statistics.dated_table import declared_forms, with_forms
    from raysynth.statistics.findings import find

    tables, schema = open_with_keys(data, None)
    relations, record, read = [str(r) for r in schema.relations], {}, {}
    texts = [f"key: {r}" for r in relations]
    for name in schema.names:
        keys = [*schema[name].primary_key, *(c for r in schema.parents_of(name) for c in r.child_key)]
        keys = list(dict.fromkeys([*keys, *(c for r in schema.children_of(name) for c in r.parent_key)]))
        table = as_table(tables[name], min_rows=0)
        texts.append(f"\ntable '{name}': {count_rows(table):,} rows; in keys: {', '.join(keys) or 'no column'}")
        own = [c for c in table.names if c not in keys]
        if own and count_rows(table) > 1:
            found = find(table.select(own))
            read[name] = with_forms(table.select(own), declared_forms(found.schema)).to_arrow()
            record[name], texts = found.record(), [*texts, found.text()]
    database = read_database(tables, schema)
    rules = {str(r): share for r, share in proposed_rules(replace(database, tables={**database.tables, **read}))}
    if rules:
        texts.append("\nrules across tables that relations.json could declare, and the share of rows that keep them:")
        texts += [f"  {rule}: {share:.2%}" for rule, share in rules.items()]
    following = f"raysynth fit {data} --model model.raysynth"
    content = {"command": "look", "relations": relations, "rules": rules, "tables": record, "next": following}
    return Outcome(content, "\n".join([*texts, f"\nNext: {following}"]))


def fit_database(
    data: str,
    file: Path,
    *,
    relations: list[str] | None,
    method: str,
    parameters: Mapping[str, Any],
    dangling: str,
    odometer: Path | None,
    seed: int | None,
) -> Outcome:
    """Learn all tables of a database and save the model; `parameters`: of the method for each table."""
    from raysynth.related.synthesizer import RelationalSynthesizer

    begun = time.perf_counter()
    tables, schema = open_with_keys(data, relations)
    given: dict[str, Any] = {"parameters": parameters, "dangling": dangling, "odometer": odometer, "seed": seed}
    model = RelationalSynthesizer(relations=schema, method=method, **given)
    model.fit(tables).save(file)
    seconds, size = time.perf_counter() - begun, file.stat().st_size
    keys = [str(r) for r in model.schema_.relations]
    record = {
        "command": "fit",
        "data": data,
        "method": model.method,
        "model": str(file),
        "tables": list(model.schema_.names),
        "relations": keys,
        "bytes": size,
        "seconds": round(seconds, 3),
    }
    text = (
        f"Learned {len(model.schema_.names)} tables with {len(keys)} keys in {seconds:.1f} s\n"
        f"Model: {file} ({size / 1e6:.1f} MB). Next: raysynth sample {file} --scale 1 --out synthetic"
    )
    return Outcome(record, text)


def sample_database(
    model: RelationalSynthesizer, file: Path, out: str, *, scale: float, conditions: Any, seed: int | None
) -> Outcome:
    """Draw all tables into a folder (a folder of Parquet each, with `relations.json`) or a new SQLite file."""
    from raysynth.data.sources.databases import RELATIONS_FILE, is_database_file, write_database
    from raysynth.data.sources.formats import ENDINGS

    begun = time.perf_counter()
    if is_database_file(out):
        tables = model.sample_arrow(scale, seed, conditions)
        write_database(tables, model.schema_, out)
        rows = {n: t.num_rows for n, t in tables.items()}
    elif Path(out).name.lower().endswith(ENDINGS):
        raise ParameterError(f"'{out}' is one file; several tables go into a folder, or a database ('shop.db')")
    else:
        files = model.sample_to(out, scale, seed, conditions).files
        rows = {n: sum(f.rows for f in files if f.name.startswith(f"{n}/")) for n in model.schema_.names}
        model.schema_.save(local_path(out) / RELATIONS_FILE)
    seconds = time.perf_counter() - begun
    record = {"command": "sample", "model": str(file), "out": out, "rows": rows, "seconds": round(seconds, 3)}
    each = ", ".join(f"{n} {count:,}" for n, count in rows.items())
    return Outcome(record, f"{sum(rows.values()):,} rows in {seconds:.1f} s -> {out} ({each})")


def evaluate_databases(
    real: str,
    synthetic: str,
    *,
    relations: list[str] | None,
    entity: str | None,
    holdout: str | None,
    out: Path | None,
    seed: int | None,
) -> Outcome:
    """Compare two databases and write the page where `out` says so; `entity`: the table of persons."""
    from raysynth.data.sources.databases import open_database

    if out is not None:
        check_output(out, real, synthetic, holdout)
    tables, schema = open_with_keys(real, relations)
    others = open_database(synthetic)[0], None if holdout is None else open_database(holdout)[0]
    return _judged(tables, *others, schema, out, seed, entity, source=real)


def _judged(
    real: Mapping[str, Any],
    synthetic: Mapping[str, Any],
    holdout: Mapping[str, Any] | None,
    schema: DatabaseSchema,
    out: Path | None,
    seed: int | None,
    entity: str | None = None,
    **about: str,
) -> Outcome:
    """Figures, and the page; `about`: what its header says of the tables and of how they were made."""
    from raysynth.evaluation.database import evaluate_synthetic_database

    found = evaluate_synthetic_database(real, synthetic, schema, holdout, entity=entity, seed=seed or 0)
    guarantee = about.get("guarantee", found.guarantee)
    found = replace(found, source=about.get("source", ""), method=about.get("method", ""), guarantee=guarantee)
    outcome = Outcome({"command": "evaluate", **found.to_dict()}, found.summary())
    if out is None:
        return outcome
    found.write_report(out)
    return outcome.with_file(out)


def demo_database(out: Path, method: str, seed: int) -> Outcome:
    """Fit, sample and judge a made-up shop: one half of its customers is learned from, the other is kept apart."""
    from raysynth.data.database import split_database
    from raysynth.data.key_inference import infer_relations
    from raysynth.data.sources.databases import write_database
    from raysynth.methods.registry import AUTO
    from raysynth.related.synthesizer import DEFAULT_METHOD, RelationalSynthesizer

    files = {"report": out / "report.html", "synthetic tables": out / "synthetic", "model": out / "model.raysynth"}
    check_output(files["model"])
    begun = time.perf_counter()
    tables = made_up_shop(seed)
    print(f"1/4  A shop made up by a seeded generator: {', '.join(f'{n} {len(t):,}' for n, t in tables.items())} rows")
    schema = infer_relations(tables)
    real, held = split_database(tables, schema, seed=seed)
    print(f"2/4  Learning from {len(real['customers']):,} customers and their orders (the others are kept apart)")
    model = RelationalSynthesizer(relations=schema, method=method, seed=seed).fit(real)
    model.save(files["model"])
    print("3/4  Drawing as many")
    synthetic = model.sample(seed=seed)
    write_database(synthetic, model.schema_, files["synthetic tables"])
    print("4/4  Comparing them with the real ones")
    chosen = DEFAULT_METHOD if model.method == AUTO else model.method
    about = {"source": "a shop made up by a seeded generator", "method": chosen, "guarantee": "none"}
    judged = _judged(real, synthetic, held, schema, files["report"], seed, **about)
    seconds = time.perf_counter() - begun
    lines = "\n".join(f"  {name:<16}  {path}" for name, path in files.items())
    record = {"command": "demo", "seconds": round(seconds, 3), "files": {n: str(p) for n, p in files.items()}}
    text = (
        f"\n{judged.text}\n\nTime: {seconds:.1f} s\nFiles:\n{lines}\n\nOpen the report in a browser, then try:\n"
        f"  raysynth sample {files['model']} --scale 2 --out more\n"
        "  raysynth fit YOUR_FOLDER --model yours.raysynth"
    )
    return Outcome({**record, "evaluation": judged.record}, text)


def made_up_shop(seed: int, customers: int = SHOP_CUSTOMERS) -> dict[str, pd.DataFrame]:
    """Customers, their orders, the orders' lines and the products: no real shop's, drawn from a seeded generator.

    What depends on what: members order more often and more at once; the young order by app and buy games; an order is
    later than its customer's first day; a customer keeps to a channel.
    """
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    kinds = np.array(["books", "food", "games", "garden", "tools"])
    products = pd.DataFrame({"id": np.arange(1, 61), "kind": np.repeat(kinds, 12)})
    products["price"] = np.round(rng.lognormal(2.5 + 0.3 * (np.arange(60) // 12), 0.5), 2)
    age = np.clip(rng.normal(45, 16, customers), 18, 90).round().astype(int)
    member = rng.random(customers) < 0.25 + 0.004 * (age - 18)
    since = pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 1500, customers), unit="D")
    app = rng.random(customers) < 1 / (1 + np.exp((age - 40) / 8))
    region = rng.choice(["north", "south", "east", "west"], customers, p=[0.4, 0.3, 0.2, 0.1])
    table = pd.DataFrame({"id": np.arange(1, customers + 1), "age": age, "member": member, "region": region})
    of = np.repeat(np.arange(customers), rng.poisson(np.where(member, 4.0, 1.5)))
    by_app = np.where(rng.random(len(of)) < 0.9, app[of], ~app[of])
    orders = pd.DataFrame({"id": np.arange(10_001, 10_001 + len(of)), "customer_id": of + 1})
    orders["day"] = since[of] + pd.to_timedelta(rng.exponential(200, len(of)).astype(int), unit="D")
    orders["channel"] = np.where(by_app, "app", rng.choice(["shop", "web"], len(of)))
    order = np.repeat(np.arange(len(of)), 1 + rng.poisson(np.where(member[of], 2.0, 0.7)))
    young = age[of[order]] < 35
    taste = np.where(young[:, None], [0.15, 0.2, 0.5, 0.05, 0.1], [0.3, 0.25, 0.05, 0.2, 0.2]).cumsum(axis=1)
    kind = (rng.random(len(order))[:, None] > taste).sum(axis=1).clip(max=4)
    lines = pd.DataFrame({"order_id": orders["id"].to_numpy()[order], "product_id": 12 * kind + 1})
    lines["product_id"] += rng.integers(0, 12, len(order))
    lines["quantity"] = 1 + rng.poisson(np.where(kind == 1, 2.0, 0.3))
    return {"customers": table.assign(since=since), "orders": orders, "lines": lines, "products": products}
