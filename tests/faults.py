"""Faults that tests and `benchmarks/bench_faults.py` plan: a process that is killed once it has come so far."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until it holds; an `AssertionError` after so long."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "what should have happened did not"
        pause.wait(0.02)


# ---- a lost driver ---------------------------------------------------------------------------------------------------

# a training under Ray Train whose epochs wait for Ray's looks at its workers, so that it can be caught in the middle
FIT_ON_RAY = """
import sys
import numpy as np, pandas as pd, ray
from ray.train import RunConfig, ScalingConfig
from raysynth import TabularVAE
storage, name, epochs, model = sys.argv[1:]
env = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3"}
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         object_store_memory=2 * 10**8, runtime_env={"env_vars": env})
rng = np.random.default_rng(0)
x = rng.normal(size=4000)
rows = pd.DataFrame({"x": x, "y": x + rng.normal(size=4000), "c": rng.choice(list("abc"), 4000)})
TabularVAE(
    latent_dim=4, encoder_layers=(16,), decoder_layers=(16,), prior_components=4, epochs=int(epochs), batch_size=200,
    seed=0, verbose=False, checkpoint_every=1, scaling_config=ScalingConfig(num_workers=1),
    run_config=RunConfig(name=name, storage_path=storage),
).fit(rows).save(model)
"""


def stopped_driver(command: list[str], reached: Callable[[], bool], number: signal.Signals = signal.SIGKILL) -> int:
    """Runs a driver until it has come so far, and stops it by a signal; gives its exit status.

    Raises:
        AssertionError: it ended before.
    """
    process = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for(lambda: process.poll() is not None or reached(), 120.0)
        assert process.poll() is None, "the driver ended before it could be stopped"
        process.send_signal(number)
        return process.wait(60.0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what a killed driver leaves behind
        process.wait()


def fit_on_ray(storage: Path, name: str, epochs: int, model: Path) -> list[str]:
    """The command of a fit over Ray."""
    return [sys.executable, "-c", FIT_ON_RAY, str(storage), name, str(epochs), str(model)]


def checkpoints(run: Path) -> list[Any]:
    """Those that a run under Ray Train has finished."""
    return sorted(run.glob("checkpoint_*/checkpoint.pt"))
