"""The peer's side of `bench_database.py`: MOSTLY AI's SDK in local mode, on a folder of Parquet, by its own Python.

    python peer_mostlyai.py REAL_FOLDER MADE_FOLDER [MINUTES_A_TABLE]

Composite keys, which it does not have, are left out as relations (their columns are drawn like any other), and said. Of
several keys of a table the first is the context, as its documentation has it.
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
    schema = json.loads((real / "relations.json").read_text())
    keys: dict[str, list[dict[str, object]]] = {}
    for relation in schema["relations"]:
        found = re.fullmatch(r"(\w+)\.(\w+) -> (\w+)\.(\w+)(, nullable)?", relation)
        if found is None or found[1] == found[3]:
            print(f"left out: {relation}")
            continue
        own = keys.setdefault(found[1], [])
        own.append({"column": found[2], "referenced_table": found[3], "is_context": not own})
    tables = []
    for entry in schema["tables"]:
        name, rows = entry["name"], pd.read_parquet(real / f"{entry['name']}.parquet")
        text = [c for c in rows if isinstance(rows[c].dtype, pd.CategoricalDtype)]
        rows = rows.assign(**{c: rows[c].astype(str).where(rows[c].notna()) for c in text})
        table = {"name": name, "data": rows, "foreign_keys": keys.get(name, [])}
        if len(entry.get("primary_key", [])) == 1:
            table["primary_key"] = entry["primary_key"][0]
        tables.append({**table, "tabular_model_configuration": training})
    with tempfile.TemporaryDirectory() as folder:
        peer = MostlyAI(local=True, local_dir=folder, quiet=True)
        generator = peer.train(config={"name": "peer", "tables": tables}, start=True, wait=True)
        found = peer.generate(generator).data()
        made.mkdir()
        for name, rows in (found if isinstance(found, dict) else {tables[0]["name"]: found}).items():
            rows.to_parquet(made / f"{name}.parquet", index=False)


if __name__ == "__main__":
    main()
