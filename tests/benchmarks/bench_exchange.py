"""What two workers of a training say to each other in a step, and what a checkpoint's upload takes.

    python tests/benchmarks/bench_exchange.py --data ../shared/data/adult.csv --method tvae --batch-size 8000

Two processes of one thread train half the batch each. Printed for a step: milliseconds by the clock (from when both
have come to an average, where they wait for each other) and of the processor, and those of the averages in it, which
are all that buckets overlapping with the backward pass could hide. A checkpoint is due every ten epochs of the data;
its upload to a bucket on loopback (moto) is all that an asynchronous one could hide.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent.parent))
from bench_training import Turns, captured
from object_store import object_store

from raysynth.files.storage import place
from raysynth.training.checkpoints import FILE_NAME, write_checkpoint
from raysynth.training.distributed import average_over_workers
from raysynth.training.loop import Checkpoint


def main() -> None:
    """Run it, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--method", default="tvae")
    parser.add_argument("--batch-size", type=int, help="of both processes together; default: the method's own")
    parser.add_argument("--epochs", type=int, help="default: the method's own; without effect on the figures")
    parser.add_argument("--steps", type=int, default=6, help="of each of two turns")
    options = parser.parse_args()
    os.environ.update({"RAYSYNTH_QUIET": "1", "OMP_NUM_THREADS": "1"})
    job, rows = captured(options)
    with tempfile.TemporaryDirectory(prefix="raysynth-bench-") as scratch:
        torch.multiprocessing.spawn(one_of_two, (job, rows, options.steps, Path(scratch)), nprocs=2)
        found = json.loads((Path(scratch) / "found.json").read_text(encoding="utf-8"))
    print(json.dumps({"bench": "exchange", "method": options.method, "batch": job.settings.batch_size, **found}))


def one_of_two(rank: int, job: Any, rows: Any, steps: int, folder: Path) -> None:
    """Two turns of steps, of which the second counts; the first process uploads, and writes what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    device, averages, size = torch.device("cpu"), TimedAverages(), job.settings.batch_size // 2
    turns = Turns(job.batches(rows, batch_size=size, steps=steps, rank=rank, device=device), device, steps)
    learner = job.learner(device, averages)
    turns.seconds(learner)
    averages.took, averages.waited = np.zeros(2), np.zeros(2)
    begun = clocks()
    turns.seconds(learner)
    step, of_it = ((s / len(turns.batches)) for s in (clocks() - begun - averages.waited, averages.took))
    if rank == 0:
        n_bytes, upload = uploaded(job, learner.state_dict())
        between = 10 * job.settings.steps_of(len(rows)) * step[0]
        figures = {"step_ms": 1e3 * step[0], "averages_ms": 1e3 * of_it[0], "step_cpu_ms": 1e3 * step[1]}
        figures |= {"averages_cpu_ms": 1e3 * of_it[1], "checkpoint_mb": n_bytes / 1e6, "upload_ms": 1e3 * upload}
        figures |= {"averages_share": of_it[0] / step[0], "upload_share": upload / (upload + between)}
        text = json.dumps({name: round(value, 3) for name, value in figures.items()})
        (folder / "found.json").write_text(text, encoding="utf-8")
    dist.destroy_process_group()


class TimedAverages:
    """Averages over the workers, timed from when all have come to them; both in seconds as `clocks` has them."""

    def __init__(self) -> None:
        self.took, self.waited = np.zeros(2), np.zeros(2)

    def __call__(self, tensors: Any) -> None:
        """The average of a training over Ray."""
        begun = clocks()
        dist.barrier()
        met = clocks()
        average_over_workers(tensors)
        self.waited += met - begun
        self.took += clocks() - met


def clocks() -> np.ndarray:
    """Seconds by the clock, and of this process on processors."""
    return np.array([time.perf_counter(), time.process_time()])


def uploaded(job: Any, state: Any) -> tuple[int, float]:
    """Bytes of a checkpoint, and the median of five uploads in seconds."""
    with object_store("127.0.0.1"):
        file, took = place(f"s3://bucket/run/{FILE_NAME}"), []
        for _ in range(5):
            begun = time.perf_counter()
            write_checkpoint(file, Checkpoint(job.signature, state, []))
            took.append(time.perf_counter() - begun)
        return file.size(), float(np.median(took))


if __name__ == "__main__":
    main()
