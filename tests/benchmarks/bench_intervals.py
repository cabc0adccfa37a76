"""Coverage of the intervals of released figures over many releases of one table.

    python tests/benchmarks/bench_intervals.py --data ../shared/data/adult.csv --out releases.jsonl [--releases 300]

Each release is what a fit knows of the columns before it learns how they hang together: noised statistics of a tenth of
the budget (epsilon 1, delta 1e-5), domains declared, and the encoder that is built from them. Counts, shares and means
are compared with those of the table. A line of `--out` is a finished release, and a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import pandas as pd
from bench_privacy import declared, domains

from raysynth.data.table import as_table
from raysynth.dp import PrivacyBudget, PrivacyScope
from raysynth.encoding.table_encoder import build_encoder
from raysynth.fitting.released_intervals import ReleasedInterval, intervals_of
from raysynth.schema.table import TableSchema
from raysynth.statistics.noised import release_statistics
from raysynth.statistics.public_schema import as_declared

LEVEL = 0.95


def released(data: pd.DataFrame, schema: TableSchema) -> list[ReleasedInterval]:
    """The intervals of one release of the table's statistics."""
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5))
    found = release_statistics(as_declared(as_table(data), schema), schema, scope, share=scope.preprocessing_share)
    encoder = build_encoder(schema, found.columns, numeric="bins")
    return intervals_of(encoder, scope.ledger, found.n_rows, LEVEL)


def hits(data: pd.DataFrame, intervals: list[ReleasedInterval]) -> dict[str, list[bool]]:
    """Whether each interval holds the table's figure, by kind of figure."""
    result: dict[str, list[bool]] = defaultdict(list)
    for one in intervals:
        if one.column == "":
            result["number of rows"].append(one.low <= len(data) <= one.high)
            continue
        values = data[one.column]
        if one.figure == "mean":
            held = one.low <= values.mean() <= one.high
            result["mean"].append(held)
            result[f"  of '{one.column}'"].append(held)
            result["mean of the model inside"].append(one.low <= one.estimate <= one.high)
            continue
        count = values.isna().sum() if one.value is None else (values == one.value).sum()
        truth = float(count) / (len(data) if one.figure == "share" else 1)
        result[f"{one.figure} of a value"].append(one.low <= truth <= one.high)
        if count > 500:
            result[f"{one.figure} of a value of over 500 rows"].append(one.low <= truth <= one.high)
    return dict(result)


def main() -> None:
    """Release until there are enough, then the coverage of each kind of figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--releases", type=int, default=300)
    given = parser.parse_args()
    data = pd.read_csv(given.data)
    schema = declared(data, domains(data))
    records = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    with given.out.open("a", encoding="utf-8") as out:
        while len(records) < given.releases:
            found = hits(data, released(data, schema))
            records.append({kind: [int(sum(own)), len(own)] for kind, own in found.items()})
            out.write(json.dumps(records[-1]) + "\n")
            out.flush()
    for kind in records[0]:
        inside, of = (sum(r[kind][i] for r in records) for i in (0, 1))
        print(f"{kind:38} {inside / of:.4f} of {of:,} in {len(records)} releases")


if __name__ == "__main__":
    main()
