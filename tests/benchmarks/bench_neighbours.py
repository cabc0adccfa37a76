"""Neighbours behind the private door, as many as one likes: 20,000 pairs over all sources and methods.

    python tests/benchmarks/bench_neighbours.py --out pairs.jsonl [--pairs 20000] [--each 10] \
        [--sources arrow,parquet,csv,frame,dataset] [--methods bayesian_network,copula,...]

For each base table (a seed, a method, a source) `--each` neighbours are fitted with every release replaced by the same
constants (`tests/neighbours.py`); what differs in the model, in messages, errors or tasks is printed. A line of `--out`
is a finished base table, so that a second run goes on from there. Exits with 1 where anything differed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from neighbours import METHODS, SOURCES, Case, neighbours, shown


def differing(case: Case, pairs: int) -> list[str]:
    """What a fit shows of some neighbours and not of the first table; an error of the first one is a fault, too."""
    with tempfile.TemporaryDirectory() as folder:
        tables = neighbours(case, Path(folder))
        first = shown(case, next(tables), rows=True)
        found = [] if first["error"] is None else [f"the first table: {first['error']}"]
        for _ in range(pairs):
            other = shown(case, next(tables))
            found += [f"{k}: {other[k]} instead of {first[k]}"[:2000] for k in first if first[k] != other[k]]
    return found


def main() -> None:
    """Go through base tables until there are enough pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--sources", default=",".join(SOURCES))
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    lines = given.out.read_text(encoding="utf-8").splitlines() if given.out.exists() else []
    records = [json.loads(line) for line in lines]
    done = {(r["seed"], r["method"], r["source"]) for r in records}
    faults = sum(bool(r["differing"]) for r in records)
    n_pairs = sum(r["pairs"] for r in records)
    methods, sources = given.methods.split(","), given.sources.split(",")
    cases = ((seed, *both) for seed in itertools.count() for both in itertools.product(methods, sources))
    with given.out.open("a", encoding="utf-8") as out:
        for seed, method, source in cases:
            if n_pairs >= given.pairs:
                break
            if (seed, method, source) in done:
                continue
            found = differing(Case(seed, method, source), given.each)
            record = {"seed": seed, "method": method, "source": source, "pairs": given.each, "differing": found}
            out.write(json.dumps(record) + "\n")
            out.flush()
            n_pairs, faults = n_pairs + given.each, faults + bool(found)
            for line in found:
                print(f"{seed} {method} {source}: {line}")
    print(f"{n_pairs:,} pairs; {faults} base tables of which a neighbour differs")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
