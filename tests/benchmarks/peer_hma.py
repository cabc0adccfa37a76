"""The peer's side of `bench_database.py`: SDV's HMASynthesizer on a folder of Parquet, run by a Python that has sdv.

    python peer_hma.py REAL_FOLDER MADE_FOLDER

What HMA cannot take is changed and said: composite keys and cycles are left out as relations (their columns are drawn
like any other), and rows whose key is missing are left out of the fit. Tables of reference are copied, and keys to them
are categories of their child: as parents they get columns for all that descends from them. SDV 2 refuses more than five
tables and a depth above two before it looks at rows; that check is switched off, so that its method is tried. Where its
encoding of text fails on missing values ('Range exceeds valid bounds'), it learns a word in their place, which is
missing in the result. Times are handed over in nanoseconds: it takes microseconds for these, and made all of 1970.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype
from sdv.metadata import Metadata
from sdv.multi_table import HMASynthesizer

WORD = "(missing)"


def main() -> None:
    real, made = Path(sys.argv[1]), Path(sys.argv[2])
    schema = json.loads((real / "relations.json").read_text())
    tables = {t["name"]: pd.read_parquet(real / f"{t['name']}.parquet") for t in schema["tables"]}
    for name, table in tables.items():
        text = [c for c in table if isinstance(table[c].dtype, pd.CategoricalDtype)]
        times = {c: table[c].astype("datetime64[ns]") for c in table if table[c].dtype.kind == "M"}
        words = {c: table[c].astype(object).where(table[c].notna(), None) for c in text}
        tables[name] = table.assign(**words, **times)
    HMASynthesizer._validate_schema_complexity = lambda self: None
    try:
        model = learned(dict(tables), schema)
    except OverflowError as error:
        print(f"missing text as a word, since: {error}")
        gaps = {n: [c for c in t if t[c].isna().any() and not is_numeric_dtype(t[c])] for n, t in tables.items()}
        words = {n: t.assign(**{c: t[c].astype(object).fillna(WORD) for c in gaps[n]}) for n, t in tables.items()}
        model = learned(words, schema)
    made.mkdir()
    sample = getattr(model, "sample_scale", model.sample)  # SDV 2 calls it so
    for name, table in sample(scale=1.0).items():
        table.replace(WORD, None).to_parquet(made / f"{name}.parquet", index=False)
    for name in (t["name"] for t in schema["tables"] if t.get("reference")):
        tables[name].to_parquet(made / f"{name}.parquet", index=False)


def learned(tables: dict[str, pd.DataFrame], schema: dict[str, Any]) -> HMASynthesizer:
    """HMA, fitted with the keys that it can take."""
    reference = {t["name"] for t in schema["tables"] if t.get("reference")}
    tables = {n: t for n, t in tables.items() if n not in reference}
    metadata = Metadata.detect_from_dataframes(tables, infer_keys=None)
    keys = {t["name"]: t.get("primary_key", []) for t in schema["tables"] if t["name"] not in reference}
    for name, key in keys.items():
        if len(key) == 1:
            metadata.update_column(column_name=key[0], sdtype="id", table_name=name)
            metadata.set_primary_key(column_name=key[0], table_name=name)
    for relation in schema["relations"]:
        found = re.fullmatch(r"(\w+)\.(\w+) -> (\w+)\.(\w+)(, nullable)?", relation)
        if found is None or found[1] == found[3]:
            print(f"left out: {relation}")
            continue
        child, column, parent, key, nullable = found.groups()
        if parent in reference:
            metadata.update_column(column_name=column, sdtype="categorical", table_name=child)
            continue
        if nullable:
            print(f"{tables[child][column].isna().sum()} rows of {child} without {column} are left out")
            tables[child] = tables[child][tables[child][column].notna()].reset_index(drop=True)
        metadata.update_column(column_name=column, sdtype="id", table_name=child)
        metadata.add_relationship(parent, child, key, column)
    model = HMASynthesizer(metadata, verbose=False)
    model.fit(tables)
    return model


if __name__ == "__main__":
    main()
