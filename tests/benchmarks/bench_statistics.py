"""Speed and memory of the statistics pass over a large Parquet folder, on this machine's cores.

    python tests/benchmarks/bench_statistics.py --data ../shared/data [--rows 2000000 20000000] [--folder DIR]

The table is sampled from a copula fitted to Adult, so that rows are distinct, and written once as Parquet of a million
rows a row group. Each figure comes from a process of its own, with the memory of all processes of the run
(`process_memory.py`). Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from process_memory import watched

GROUP_ROWS = 1 << 20
FILE_GROUPS = 4
STAGES = ("counts", "statistics", "statistics+pairs")


def main() -> None:
    """Make the tables, measure each stage at each size, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder with adult.csv")
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "raysynth-bench"), help="for the tables")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--where", default="ray", choices=("local", "ray"))
    parser.add_argument("--repeat", type=int, default=2, help="passes in one process; the fastest counts")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    if options.stage:
        print(json.dumps(run_stage(options.stage, options.table, options.where, options.repeat)))
        return
    figures = []
    for rows in options.rows:
        table = make_table(Path(options.data) / "adult.csv", Path(options.folder), rows)
        for stage in options.stages:
            figures.append({"rows": rows, "stage": stage, "where": options.where, **measure(stage, table, options)})
            print_row(figures[-1])
    for stage in options.stages:
        peaks = {f["rows"]: f["peak_mb"] for f in figures if f["stage"] == stage}
        if len(peaks) > 1:
            ratio = peaks[max(peaks)] / peaks[min(peaks)]
            print(f"{stage}: peak memory at {max(peaks):,} rows is {ratio:.2f} times that at {min(peaks):,}")
    print(json.dumps({"bench": "statistics", "cores": os.cpu_count(), "figures": figures}))


def make_table(adult: Path, folder: Path, rows: int) -> str:
    """A Parquet folder of that many rows, sampled from a copula of the table; made once."""
    from raysynth import GaussianCopula

    target = folder / f"adult-{rows}"
    if not (target / "_done").exists():
        model = GaussianCopula(seed=0, verbose=False).fit(adult)
        model.sample_to(target, rows, seed=7, rows_per_file=GROUP_ROWS * FILE_GROUPS, row_group_rows=GROUP_ROWS)
        (target / "_done").touch()
    return str(target)


def measure(stage: str, table: str, options: argparse.Namespace) -> dict[str, float]:
    """One stage in a process of its own, with the peak memory of all its processes."""
    command = [sys.executable, __file__, "--stage", stage, "--table", table, "--where", options.where]
    run = watched([*command, "--repeat", str(options.repeat)])
    return {**json.loads(run.last_line), "peak_mb": run.peak_mb}


def run_stage(stage: str, path: str, where: str, repeat: int) -> dict[str, float]:
    """Seconds and rows/s of one stage, the fastest of some passes; Ray is started before the clock."""
    from raysynth.data.arrow_types import is_text
    from raysynth.data.table import as_table
    from raysynth.statistics import collect

    if where == "ray":
        from raysynth.running.ray_session import start_ray

        start_ray()
    seconds = []
    n_rows = 0
    for _ in range(repeat):
        begun = time.perf_counter()
        table = as_table(path)
        if stage == "counts":
            table = table.select([f.name for f in table.schema if is_text(f.type)])
        statistics = collect(table, where=where)
        if stage == "statistics+pairs":
            count_pairs(table, statistics, where)
        seconds.append(time.perf_counter() - begun)
        n_rows = statistics.n_rows
    return {"seconds": min(seconds), "first_seconds": seconds[0], "rows_per_second": n_rows / min(seconds)}


def count_pairs(table: object, statistics: object, where: str) -> None:
    """The second pass of a copula's fit: all pairs of columns on coarse codes."""
    from functools import partial

    from raysynth.encoding.table_encoder import build_encoder
    from raysynth.fitting.prepared import EncodedCounts
    from raysynth.methods.copula.synthesizer import GaussianCopula
    from raysynth.running.runner import summarise
    from raysynth.statistics import infer_schema

    schema = infer_schema(table, statistics)
    encoder = build_encoder(schema, statistics.columns, numeric="bins", n_bins=GaussianCopula().n_bins)
    width = len(encoder.columns)
    pairs = tuple((i, j) for i in range(width) for j in range(i + 1, width))
    summarise(table, partial(EncodedCounts, encoder, pairs), columns=list(encoder.names), where=where)


def print_row(figure: dict[str, float | str]) -> None:
    """One line of the figures table."""
    print(
        f"{figure['rows']:>12,} rows  {figure['stage']:<17} {figure['where']:<5}  {figure['seconds']:6.2f} s"
        f"  {figure['rows_per_second'] / 1e6:6.2f} M rows/s  (first pass {figure['first_seconds']:.2f} s)"
        f"  peak {figure['peak_mb']:,.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
