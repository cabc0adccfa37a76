"""Faults: lost nodes, drivers and reads, a full disk, a full object store; each work ends as an undisturbed one.

    python tests/benchmarks/bench_faults.py --folder DIR [--rows 200000] [--cases node_statistics ...]

Four nodes of one CPU each on this machine (`ray.cluster_utils`), each with a scratch folder that is deleted when the
node is killed (`tests/faults.py`). One JSON line for each case, from a process of its own:

case: node_STAGE: a node is killed in the middle of the stage, while a task of it runs there; driver_STAGE: the driver
    gets kill -9 and is started again; transient_read: a third of the reads of a file system fails once; full_disk: the
    operating system refuses to write, until it is allowed again; object_store: a Dataset larger than Ray's store.
result: what happened, in words. seconds: of the whole case, undisturbed run and starts of Ray included.
equal: statistics, shards, samples, evaluation: the same numbers and checksums as an undisturbed run. node_training: as
    many steps, and a quality within 0.01. node_private_training: the steps that were begun, repeated ones too, are
    those that the ledger was charged with.

bucket_FAMILY, bucket_evaluation, bucket_sweep: the same where nodes have a bucket alone in common (`bucket_cases.py`).

The last line is the verdict. Resumable: lines are kept in DIR/cases.jsonl, and a case that is there is not run again.
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

sys.path.insert(0, str(Path(__file__).parent))
from bucket_cases import BUCKET_CASES
from fault_cases import CASES as ON_ONE_DISK
from fault_cases import Figure

CASES = ON_ONE_DISK | BUCKET_CASES
CASE_SECONDS = 560  # of a busy machine


def main() -> None:
    """Run what is missing, print every line and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for the lines of finished cases")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--one", choices=list(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    if options.one:
        with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
            print(json.dumps(CASES[options.one](Path(scratch), options.rows)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    figures = [finished(options, case) for case in options.cases]
    unequal = [f["case"] for f in figures if not f["equal"]]
    total = round(sum(f["seconds"] for f in figures), 1)
    verdict = "every case ended as it must" if not unequal else f"not as they must: {', '.join(unequal)}"
    print(json.dumps({"verdict": verdict, "cases": len(figures), "seconds": total}))
    if unequal:
        raise SystemExit(1)


def finished(options: argparse.Namespace, case: str) -> Figure:
    """The line of a case: the one that an earlier run kept, or a new one, which is kept where it is as it must be."""
    record = options.folder / "cases.jsonl"
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else []:
        kept: Figure = json.loads(line)
        if (kept["case"], kept["rows"]) == (case, options.rows):
            print(line, flush=True)
            return kept
    begun = time.perf_counter()
    found = run_alone([sys.executable, __file__, "--folder", ".", "--rows", str(options.rows), "--one", case])
    figure = {"case": case, "rows": options.rows, **found, "seconds": round(time.perf_counter() - begun, 1)}
    print(json.dumps(figure), flush=True)
    if figure["equal"]:
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figure) + "\n")
    return figure


def run_alone(command: list[str]) -> Figure:
    """The last line of a process of its own; what it started is stopped with it."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=CASE_SECONDS)
    except subprocess.TimeoutExpired:
        return {"result": f"did not end in {CASE_SECONDS} s", "equal": False}
    finally:
        stop_group(process)
    if process.returncode:
        return {"result": f"failed with exit status {process.returncode}", "equal": False}
    line: Figure = json.loads(output.splitlines()[-1])
    return line


def stop_group(process: subprocess.Popen[str]) -> None:
    """What a process has left running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


if __name__ == "__main__":
    main()
