"""What `raysynth look` finds in real files, against what their documentation says (look_expectations.json).

    python tests/benchmarks/bench_look.py FOLDER             # of NAME.csv: misses and false findings
    python tests/benchmarks/bench_look.py FOLDER --demo OUT  # and `raysynth demo` on each: impossible values
    python tests/benchmarks/bench_look.py FOLDER --speed     # CPU seconds of a look at 100,000 rows x 20 columns

Files come from the repositories named in the expectations, by hand: this project holds no data of others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from raysynth.data.table import as_table
from raysynth.errors import RaysynthError
from raysynth.kinds.date_text import DateFormat
from raysynth.statistics.findings import Findings, find

EXPECTED = Path(__file__).parent / "look_expectations.json"


def judged(found: Findings, wanted: dict[str, Any]) -> tuple[int, list[str], list[str]]:
    """(findings looked at, misses and wrong kinds, false findings)."""
    misses, false, n = [], [], 0
    columns = {c.column.name: c for c in found.columns}
    right = {name: [kind] for kind, names in wanted["kinds"].items() for name in names} | wanted.get("either", {})
    for name, kinds in right.items():
        n += 1
        if name not in columns:
            misses.append(f"no column {name}")
        elif str(columns[name].column.kind) not in kinds:
            misses.append(f"{name}: {columns[name].column.kind} ({columns[name].column.reason}), not {'/'.join(kinds)}")
    for name, form in wanted.get("formats", {}).items():
        n += 1
        got = columns[name].column.date_format or columns[name].column.dtype
        if got != form and not (columns[name].column.date_format is None and got.startswith(("date", "timestamp"))):
            misses.append(f"{name}: format {got}, not {form}")
    for words in wanted.get("notes", []):
        n += 1
        if not any(words in note for note in found.notes):
            misses.append(f"nothing said of {words}")
    for name in wanted.get("rare", []):
        n += 1
        if not any("(rare)" in a for a in columns[name].advice):
            misses.append(f"{name}: no word of rare values")
    for rule in wanted["rules"]:
        n += 1
        if not any(_same(r.words, rule) for r in found.rules):
            misses.append(f"rule {rule}")
    known = [*wanted["rules"], *wanted.get("may", [])]
    for relation in found.rules:
        if relation.by_construction and not relation.exceptions and not any(_same(relation.words, k) for k in known):
            false.append(f"rule {relation}")
    for name, column in columns.items():
        sentinel = [a for a in column.advice if "sign for missing" in a]
        if sentinel and name not in wanted.get("sentinels", []):
            false.append(f"{name}: {sentinel[0]}")
    return n, misses, false


def _same(words: str, rule: str) -> bool:
    """Whether a rule in words is the expected one, strict or not, alone or among several columns that follow."""
    if " follow" in rule:
        one, _, of = rule.partition(" follows from ")
        return one in words and words.endswith((f"from {of}", f"from {one}")) and (of in words)
    return words.replace(" < ", " <= ") == rule.replace(" < ", " <= ")


def impossible(real: pd.DataFrame, made: pd.DataFrame, found: Findings) -> list[str]:
    """Values of a synthetic table that cannot be: dates that do not exist, numbers out of range, unknown categories."""
    wrong = []
    for c in found.columns:
        name, kind = c.column.name, str(c.column.kind)
        if name not in made or kind in ("identifier", "personal", "constant"):
            continue
        values, given = made[name].dropna(), real[name].dropna()
        if kind == "continuous":
            out = (values < given.min()) | (values > given.max())
        elif kind == "datetime" and c.column.date_format is not None:
            read = DateFormat(c.column.date_format).parse(pa.array(values.astype(str)))
            out = pd.Series(read.is_null().to_numpy(zero_copy_only=False), values.index)
        elif kind in ("categorical", "boolean"):
            out = ~values.astype(str).isin([*given.astype(str), "(rare)"])
        else:
            continue
        if out.any():
            wrong.append(f"{name}: {int(out.sum())} impossible, for example {values[out].iloc[0]!r}")
    return wrong


def demo(path: Path, out: Path, found: Findings) -> list[str]:
    """`raysynth demo` at defaults in a process of its own, and what is wrong with what it wrote."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "raysynth", "demo", str(path), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        return [f"exit {result.returncode}: {(result.stderr or result.stdout).strip()[-300:]}"]
    made = pd.read_csv(next(out.glob("*synthetic*.csv")), low_memory=False)
    real = as_table(path).to_arrow().to_pandas()
    return impossible(real, made, found)


def speed() -> None:
    """CPU seconds of a look at a file of 100,000 rows and 20 columns, half of them text."""
    rng = np.random.default_rng(0)
    n = 100_000
    data: dict[str, Any] = {f"x{i}": rng.normal(0, 10, n).round(2) for i in range(6)}
    data |= {f"n{i}": rng.integers(0, 5_000, n) for i in range(4)}
    data |= {f"c{i}": rng.choice([f"value {k}" for k in range(10 * (i + 1))], n) for i in range(6)}
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    data |= {"day": days.strftime("%d/%m/%Y"), "key": [f"K{i:07d}" for i in range(n)], "flag": rng.random(n) < 0.3}
    data["note"] = rng.choice([f"a longer text {k}" for k in range(30_000)], n)
    path = Path("look_speed.csv")
    pd.DataFrame(data).to_csv(path, index=False)
    find(as_table(path).select(["x0"]))  # imports
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        find(as_table(path))
        print(f"{time.process_time() - cpu:.2f} s CPU, {time.perf_counter() - wall:.2f} s")
    path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--only")
    arguments = parser.parse_args()
    if arguments.speed:
        speed()
        return
    total = missed = wrong = 0
    for wanted in json.loads(EXPECTED.read_text(encoding="utf-8"))["files"]:
        if arguments.only and arguments.only != wanted["name"]:
            continue
        path = next(p for p in arguments.folder.glob(f"{wanted['name']}.*"))
        try:
            found = find(as_table(path))
        except RaysynthError as error:
            print(f"{wanted['name']}: refused: {error}")
            total, missed = total + 1, missed + 1
            continue
        n, misses, false = judged(found, wanted)
        total, missed, wrong = total + n, missed + len(misses), wrong + len(false)
        print(f"{wanted['name']}: {n} expected, {len(misses)} missed or wrong, {len(false)} false")
        for line in misses:
            print(f"    missed  {line}")
        for line in false:
            print(f"    false   {line}")
        if arguments.demo is not None:
            for line in demo(path, arguments.demo / wanted["name"], found):
                print(f"    demo    {line}")
    print(f"all: {total} expected, {missed} missed or wrong, {wrong} false")


if __name__ == "__main__":
    main()
