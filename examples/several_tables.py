"""Several tables with keys between them: a shop, made up by a seeded generator, or your own database.

    python examples/several_tables.py [--data FOLDER|shop.db|sqlite:///shop.db] [--customers 3000] [--out shop]

The database is divided by its entities (customers, with their orders and lines): one half is learned, the other stands
beside every figure. Writes the model, a folder with the synthetic tables and a page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from raysynth import RelationalSynthesizer, infer_relations, open_database, split_database, write_database
from raysynth.cli.database import made_up_shop
from raysynth.evaluation import evaluate_synthetic_database


def main(data: str | None, customers: int, out: Path) -> None:
    """Infer keys, divide, fit, sample, judge."""
    tables, schema = open_database(made_up_shop(0, customers) if data is None else data)
    schema = schema or infer_relations(tables)  # each key with its reason; declare them where one is wrong
    real, unseen = split_database(tables, schema, fraction=0.5, seed=0)
    model = RelationalSynthesizer(relations=schema, seed=0).fit(real)
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "model.raysynth")
    synthetic = model.sample(scale=1.0, seed=1)
    write_database(synthetic, model.schema_, out / "synthetic")
    results = evaluate_synthetic_database(real, synthetic, model.schema_, holdout=unseen)
    print(results.summary())
    results.write_report(out / "report.html")
    print(f"written to {out}/: model.raysynth, synthetic/, report.html")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a folder with a file a table, or a database file; default: a made-up shop")
    parser.add_argument("--customers", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("shop"))
    options = parser.parse_args()
    main(options.data, options.customers, options.out)
