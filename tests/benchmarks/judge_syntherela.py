"""SyntheRela's figures of made databases, for `bench_database.py --keep`; run by a Python that has syntherela 0.0.4.

    python judge_syntherela.py FOLDER METHOD ...

FOLDER holds `real` with its `relations.json` and a folder of Parquet for each METHOD (and `held`, the held-back half).
A line of JSON for each: cardinality, one hop and k hops (mean similarity, 1 is best), C2ST-Agg (mean accuracy of
XGBoost over the tables with children, 0.5 is best). Composite keys, which its metadata does not have, are left out, and
tables that no other key reaches with them. A made column gets the real one's type, a missing word is 'nan'.
"""

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype
from syntherela.metadata import Metadata
from syntherela.metrics.multi_table.detection import AggregationDetection
from syntherela.metrics.multi_table.trends import multi_table_trends
from xgboost import XGBClassifier


def main() -> None:
    folder = Path(sys.argv[1])
    schema = json.loads((folder / "real" / "relations.json").read_text())
    found = [re.fullmatch(r"(\w+)\.(\w+) -> (\w+)\.(\w+)(, nullable)?", r) for r in schema["relations"]]
    keys = [match.groups()[:4] for match in found if match]
    names = [t["name"] for t in schema["tables"] if any(t["name"] in (k[0], k[2]) for k in keys)]
    real = {n: pd.read_parquet(folder / "real" / f"{n}.parquet") for n in names}
    primary = {(t["name"], c) for t in schema["tables"] for c in t.get("primary_key", [])}
    metadata = metadata_of(real, keys, primary)
    real = {n: typed(t, metadata.tables[n].columns) for n, t in real.items()}
    for method in sys.argv[2:]:
        made = {n: pd.read_parquet(folder / method / f"{n}.parquet")[[*real[n]]] for n in names}
        made = {n: typed(t, metadata.tables[n].columns) for n, t in made.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            print(json.dumps({"database": folder.name, "method": method, **figures(real, made, metadata)}), flush=True)


def figures(real: dict[str, Any], made: dict[str, Any], metadata: Metadata) -> dict[str, Any]:
    """The four figures, and the accuracy of each table."""
    try:
        trends = multi_table_trends({**real}, {**made}, metadata, verbose=False)
        hops = {k: float(np.mean(list(v.values()))) for k, v in trends["hop_relation"].items() if v}
        longer = [x for k, v in trends["hop_relation"].items() if k > 1 for x in v.values()]
        result = {"cardinality": float(trends["cardinality"]), "one hop": hops.get(1)}
        result["k hops"] = float(np.mean(longer)) if longer else None
    except Exception as error:  # its own check of the made tables: said in place of the figures
        result = {"refused": f"{type(error).__name__}: {error}"[:300]}
    told = AggregationDetection(XGBClassifier, {"random_state": 0, "n_jobs": 2}, random_state=42).run(
        real, made, metadata
    )
    result["tables"] = {n: float(t["accuracy"]) for n, t in told.items()}
    result["C2ST-Agg"] = float(np.mean(list(result["tables"].values())))
    return result


def metadata_of(real: dict[str, pd.DataFrame], keys: list[tuple[str, ...]], primary: set[tuple[str, str]]) -> Metadata:
    """Its metadata: columns of foreign and primary keys are 'id', the others by their type."""
    metadata = Metadata()
    for name, rows in real.items():
        ids = {k[1] for k in keys if k[0] == name} | {k[3] for k in keys if k[2] == name}
        metadata.add_table(name)
        for column in rows:
            kind = "id" if column in ids or (name, column) in primary else kind_of(rows[column])
            metadata.add_column(name, column, sdtype=kind)
    for parent, key in {(k[2], k[3]) for k in keys}:
        metadata.set_primary_key(parent, key)
    for child, column, parent, key in keys:
        metadata.add_relationship(parent, child, key, column)
    return metadata


def kind_of(values: pd.Series) -> str:
    """Its name for what a column holds."""
    if is_bool_dtype(values):
        return "boolean"
    if is_numeric_dtype(values):
        return "numerical"
    return "datetime" if is_datetime64_any_dtype(values) else "categorical"


def typed(rows: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """Rows in the types of the real ones."""
    result = {}
    for column, entry in columns.items():
        values = rows[column]
        if entry["sdtype"] == "numerical":
            result[column] = pd.to_numeric(values, errors="coerce").astype(float)
        elif entry["sdtype"] == "datetime":
            result[column] = pd.to_datetime(values, errors="coerce").astype("datetime64[ns]")
        elif entry["sdtype"] == "id":
            whole = values.astype("Int64") if is_numeric_dtype(values) else values
            result[column] = whole.astype(object).map(str, na_action="ignore").where(values.notna(), None)
        else:
            result[column] = values.astype(object).where(values.notna(), "nan").astype(str)
    return pd.DataFrame(result)


if __name__ == "__main__":
    main()
