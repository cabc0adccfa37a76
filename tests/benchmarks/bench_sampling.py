"""Sampling: rows a second to a DataFrame and to Parquet, and a run of many rows that is killed half-way.

    python tests/benchmarks/bench_sampling.py --data ../shared/data/adult.csv --method copula [--rows 20000000]

The kill is a real SIGKILL of the whole process group once half of the files are finished; the second run must write the
missing files only, and every file must equal, byte for byte, that of an undisturbed run. Prints one JSON line.

parquet_rows_per_second: of `sample_to` in a process of its own, without its imports, the start of Ray included.
peak_mb: the most memory of all its processes (`process_memory.py`). bytes: of the files.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from process_memory import watched

from raysynth import load_synthetic_model
from raysynth.methods.registry import synthesizer_class
from raysynth.sampling.writer import RECORDS, verify

WRITE = """
import sys, time
from raysynth import load_synthetic_model
model, begun = load_synthetic_model(sys.argv[1]), time.perf_counter()
model.sample_to(sys.argv[2], int(sys.argv[3]), seed=1, where=sys.argv[4])
print(time.perf_counter() - begun)
"""


def main() -> None:
    """Fit, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--method", default="copula")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--where", default="auto", choices=("auto", "local", "ray"))
    parser.add_argument("--skip-kill", action="store_true")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = synthesizer_class(options.method)(seed=0, verbose=False)
        model.fit(options.data).save(folder / "model")
        figures: dict[str, Any] = {"bench": "sampling", "method": options.method, **rates(folder, options)}
        if not options.skip_kill:
            figures |= killed(folder, options)
    print(json.dumps(figures))


def rates(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second to a DataFrame, to an Arrow table, and to Parquet."""
    model = load_synthetic_model(folder / "model")
    model.sample(65_536, seed=0)
    figures: dict[str, Any] = {"rows": options.rows}
    for name, make in (("frame", model.sample), ("arrow", model.sample_arrow)):
        begun = time.perf_counter()
        make(1_000_000, seed=0)
        figures[f"{name}_rows_per_second"] = round(1e6 / (time.perf_counter() - begun))
    run = watched(writing(folder, "whole", options))
    n_bytes = sum(file.bytes for file in verify(folder / "whole").files)
    rate = round(options.rows / float(run.last_line))
    return {**figures, "parquet_rows_per_second": rate, "peak_mb": round(run.peak_mb), "bytes": n_bytes}


def writing(folder: Path, out: str, options: argparse.Namespace) -> list[str]:
    """The command that writes all rows into a folder."""
    return [sys.executable, "-c", WRITE, str(folder / "model"), str(folder / out), str(options.rows), options.where]


def killed(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A run killed half-way and started again, beside the undisturbed one."""
    out = folder / "killed"
    command = writing(folder, "killed", options)
    n_files = len(verify(folder / "whole").files)
    process = subprocess.Popen(command, start_new_session=True)
    while len(list((out / RECORDS).glob("part-*.json"))) < n_files // 2:
        if process.poll() is not None:
            raise SystemExit("the run ended before it could be killed; ask for more rows")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in out.glob("part-*.parquet")}
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    rewritten = [n for n, t in kept.items() if (out / n).stat().st_mtime_ns != t]
    same = verify(out).files == verify(folder / "whole").files
    return {
        "files": n_files,
        "kept_after_kill": len(kept),
        "rewritten": len(rewritten),
        "second_run_seconds": round(seconds, 1),
        "equal_to_undisturbed": same,
    }


if __name__ == "__main__":
    main()
