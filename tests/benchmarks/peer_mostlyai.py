"""The peer's side of `bench_database.py`: MOSTLY AI's SDK in local mode, on a folder of Parquet, by its own Python.

    python peer_mostlyai.py REAL_FOLDER MADE_FOLDER [MINUTES_A_TABLE]

Composite keys, which it does not have, are left out as relations (their columns are drawn like any other), and said. Of
several keys of a table the first is the context, as its documentation has it. Tables of reference are copied, and keys
to them are categories of their child: as parents they took the place of the context, and of the time.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import pandas as pd
from mostlyai.sdk import MostlyAI


def main() -> None:
    real, made = Path(sys.argv[1]), Path(sys.argv[2])
    training = {"max_training_time": float(sys.argv[3]) if len(sys.argv) > 3 else 8.0, "enable_model_report": False}
    training["rare_category_replacement_method"] = "SAMPLE"  # a made key is one that there is
    schema = json.loads((real / "relations.json").read_text())
    reference = {t["name"] for t in schema["tables"] if t.get("reference")}
    keys: dict[str, list[dict[str, object]]] = {}
    categories: set[tuple[str, str]] = set()
    for relation in schema["relations"]:
        found = re.fullmatch(r"(\w+)\.(\w+) -> (\w+)\.(\w+)(, nullable)?", relation)
        if found is None or found[1] == found[3]:
            print(f"left out: {relation}")
            continue
        if found[3] in reference:
            categories.add((found[1], found[2]))
            continue
        own = keys.setdefault(found[1], [])
        own.append({"column": found[2], "referenced_table": found[3], "is_context": not own})
    tables: list[dict[str, object]] = []
    types = {}
    for entry in schema["tables"]:
        name, rows = entry["name"], pd.read_parquet(real / f"{entry['name']}.parquet")
        text = [c for c in rows if isinstance(rows[c].dtype, pd.CategoricalDtype)]
        rows = rows.assign(**{c: rows[c].astype(str).where(rows[c].notna()) for c in text})
        if name in reference:
            continue
        types[name] = rows.dtypes
        words = {c: rows[c].astype(str).where(rows[c].notna()) for c in rows if (name, c) in categories}
        columns = [{"name": c, **({"model_encoding_type": "TABULAR_CATEGORICAL"} if c in words else {})} for c in rows]
        table = {"name": name, "data": rows.assign(**words), "foreign_keys": keys.get(name, []), "columns": columns}
        if len(entry.get("primary_key", [])) == 1:
            table["primary_key"] = entry["primary_key"][0]
        tables.append({**table, "tabular_model_configuration": training})
    with tempfile.TemporaryDirectory() as folder:
        peer = MostlyAI(local=True, local_dir=folder, quiet=True)
        generator = peer.train(config={"name": "peer", "tables": tables}, start=True, wait=True)
        found = peer.generate(generator).data()
        made.mkdir()
        for name, rows in (found if isinstance(found, dict) else {tables[0]["name"]: found}).items():
            whole = {c: pd.to_numeric(rows[c]) for t, c in categories if t == name and types[t][c].kind in "iu"}
            rows.assign(**whole).to_parquet(made / f"{name}.parquet", index=False)
    for name in reference:
        pd.read_parquet(real / f"{name}.parquet").to_parquet(made / f"{name}.parquet", index=False)


if __name__ == "__main__":
    main()
