"""What two workers of a training say to each other in a step, what they could gain, and what an upload takes.

    python tests/benchmarks/bench_exchange.py --data ../shared/data/adult.csv --method tvae --batch-size 8000

Milliseconds of a step by the clock, of processes of one thread: `one_ms` of one with the whole batch; `apart_ms` of two
at once with half of it each that say nothing to each other, so that `ceiling` is what this machine gives; `step_ms` of
two that average, waits for each other included, and `gain`. `averages_ms` are the averages in it from when both have
come to them, which are all that buckets overlapping with the backward pass could hide. A checkpoint is due every ten
epochs of the data; its upload to a bucket on loopback (moto) is all that an asynchronous one could hide.
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
from raysynth.training.job import average_alone
from raysynth.training.loop import Checkpoint

TURNS = 3


def main() -> None:
    """Run it, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--method", default="tvae")
    parser.add_argument("--batch-size", type=int, help="of both processes together; default: the method's own")
    parser.add_argument("--epochs", type=int, help="default: the method's own; without effect on the figures")
    parser.add_argument("--steps", type=int, default=6, help="of a turn")
    options = parser.parse_args()
    os.environ.update({"RAYSYNTH_QUIET": "1", "OMP_NUM_THREADS": "1"})
    job, rows = captured(options)
    with tempfile.TemporaryDirectory(prefix="raysynth-bench-") as scratch:
        torch.multiprocessing.spawn(one_of_two, (job, rows, options.steps, Path(scratch)), nprocs=2)
        found = json.loads((Path(scratch) / "found.json").read_text(encoding="utf-8"))
    print(json.dumps({"bench": "exchange", "method": options.method, "batch": job.settings.batch_size, **found}))


def one_of_two(rank: int, job: Any, rows: Any, steps: int, folder: Path) -> None:
    """A process: its steps apart and together with the other; the first one alone, too, and it writes what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    device, size = torch.device("cpu"), job.settings.batch_size
    whole, half = (
        Turns(job.batches(rows, batch_size=n, steps=steps, rank=rank, device=device), device, steps)
        for n in (size, size // 2)
    )
    averages = TimedAverages()
    apart = seconds_of_step(half, job.learner(device, average_alone))
    learner = job.learner(device, averages)
    together = seconds_of_step(half, learner)
    if rank == 0:
        one = seconds_of_step(whole, job.learner(device, average_alone), meet=False)
        of_it = averages.took / averages.steps(half)
        n_bytes, upload = uploaded(job, learner.state_dict())
        between = 10 * job.settings.steps_of(len(rows)) * together
        figures = {"one_ms": 1e3 * one, "apart_ms": 1e3 * apart, "step_ms": 1e3 * together, "averages_ms": 1e3 * of_it}
        figures |= {"ceiling": one / apart, "gain": one / together, "averages_share": of_it / together}
        figures |= {"checkpoint_mb": n_bytes / 1e6, "upload_ms": 1e3 * upload, "upload_share": upload / between}
        text = json.dumps({name: round(value, 3) for name, value in figures.items()})
        (folder / "found.json").write_text(text, encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def seconds_of_step(turns: Turns, learner: Any, *, meet: bool = True) -> float:
    """The median of `TURNS` turns, after one that does not count; each begins in both processes at once."""
    took = []
    for _ in range(TURNS + 1):
        if meet:
            dist.barrier()
        begun = time.perf_counter()
        turns.seconds(learner)
        took.append((time.perf_counter() - begun) / len(turns.batches))
    return float(np.median(took[1:]))


class TimedAverages:
    """Averages over the workers, timed from when all have come to them."""

    n_workers = 2

    def __init__(self) -> None:
        self.took = 0.0

    def __call__(self, tensors: Any) -> None:
        """The average of a training over Ray."""
        dist.barrier()
        begun = time.perf_counter()
        average_over_workers(tensors)
        self.took += time.perf_counter() - begun

    def steps(self, turns: Turns) -> int:
        """Steps that they were for."""
        return (TURNS + 1) * len(turns.batches)


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
