"""The peer's side of `bench_private_database.py`: google/dpsynth's relational mode, run by a Python that has it.

    python peer_dpsynth.py FOLDER MADE_FOLDER

FOLDER holds a table of Parquet each and `task.json`: columns (as `TableSchema` writes them), keys with their caps,
epsilon and delta. It takes one parent for each table: keys to tables of reference are categories of their child. Dates
are whole seconds between the declared ends; MST, and how families are explored, as in its own example ('size_sliced',
3 slots), or by its defaults ('empty_token', 2).
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dpsynth import discrete_mechanisms, domain
from dpsynth.relational import ForeignKeyRelation, MultiTableConfig

SECOND = 1_000_000  # of microseconds, in which the declared ends of dates are


def main() -> None:
    folder, made = Path(sys.argv[1]), Path(sys.argv[2])
    task = json.loads((folder / "task.json").read_text())
    tables = {n: pd.read_parquet(folder / f"{n}.parquet") for n in task["columns"]}
    for name, columns in task["columns"].items():
        for c in (c for c in columns if c["kind"] == "datetime"):
            tables[name][c["name"]] = tables[name][c["name"]].astype("datetime64[us]").astype("int64") // SECOND
        for c in (c for c in columns if c["kind"] in ("categorical", "boolean")):
            tables[name][c["name"]] = tables[name][c["name"]].astype(str)
    config = MultiTableConfig(
        domains={n: {c["name"]: attribute(c) for c in columns} for n, columns in task["columns"].items()},
        foreign_keys=[ForeignKeyRelation(**key) for key in task["keys"]],
        discrete_mechanism=discrete_mechanisms.MSTConfig(),
        exploration_strategy=task["strategy"],
        num_permutation_slots=3 if task["strategy"] == "size_sliced" else 2,
    )
    found = config.calibrate(epsilon=task["epsilon"], delta=task["delta"])(np.random.default_rng(0), tables)
    made.mkdir()
    for name, columns in task["columns"].items():
        rows = found.synthetic_tables[name]
        for c in (c for c in columns if c["kind"] == "datetime"):
            rows[c["name"]] = pd.to_datetime(rows[c["name"]].astype("int64") * SECOND, unit="us")
        rows.to_parquet(made / f"{name}.parquet", index=False)


def attribute(column: dict[str, Any]) -> domain.AttributeType:
    """Its description of one column."""
    if column["kind"] in ("categorical", "boolean"):
        return domain.CategoricalAttribute(column.get("categories") or ["False", "True"])
    low, high = (b / SECOND if column["kind"] == "datetime" else b for b in column["bounds"])
    return domain.NumericalAttribute(low, high, dtype="int", interval_handling="sample")


if __name__ == "__main__":
    main()
