"""The odometer under fits that are killed: nothing that was reserved is lost, and no limit is passed.

    python tests/benchmarks/bench_odometer.py [--fits 50] [--kills 5] [--limit 20]

Fits of a small table within epsilon 0.5, two processes at a time, charge one odometer; `--kills` of them end by SIGKILL
at a random moment after they began. Prints what became of the fits, the charges, their sum and the limit, and exits
with 1 where a finished fit has no charge, a refused one has, the total is not the sum, or the limit is passed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from raysynth import GaussianCopula, Odometer
from raysynth.errors import ParameterError

EPSILON, DELTA = 0.5, 1e-6
AT_ONCE = 2
REFUSED = 3  # exit code


def fit(folder: Path, number: int) -> None:
    """One fit, which leaves a model where it was not refused."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(number)
    rows = pd.DataFrame({"x": rng.normal(size=300), "c": rng.choice(["a", "b"], 300)})
    model = GaussianCopula(epsilon=EPSILON, delta=DELTA, odometer=folder / "odometer", verbose=False)
    try:
        model.fit(rows).save(folder / f"{number}.raysynth")
    except ParameterError as error:
        assert "limit of its odometer" in str(error), error
        sys.exit(REFUSED)


def run(folder: Path, fits: int, kills: int, seed: int) -> dict[str, int]:
    """All fits; how many ended in which way."""
    chance, running = random.Random(seed), {}
    doomed = set(chance.sample(range(fits), kills))
    ended = {"finished": 0, "refused": 0, "killed": 0}
    waiting = list(range(fits))[::-1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["raysynth", "raysynth.methods.copula.private", "raysynth.data.sources.frame"])
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number = waiting.pop()
            process = context.Process(target=fit, args=(folder, number))
            process.start()
            running[process] = time.monotonic() + chance.uniform(0, 0.5) if number in doomed else float("inf")
        for process, at in list(running.items()):
            if time.monotonic() > at and process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join(0.01)
            if process.exitcode is not None:
                del running[process]
                ended[{0: "finished", REFUSED: "refused", -signal.SIGKILL: "killed"}[process.exitcode]] += 1
    return ended


def main() -> None:
    """Fit, count, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=50)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--limit", type=float, default=20.0, help="epsilon of all fits together")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        odometer = Odometer(folder / "odometer")
        odometer.set_limit(given.limit, 1e-3)
        ended = run(folder, given.fits, given.kills, given.seed)
        n, total = len(odometer.charges), odometer.total
        models = len(list(folder.glob("*.raysynth")))
    wrong = [
        *(["a finished fit without a charge"] * (n < ended["finished"])),
        *(["a refused fit was charged"] * (n > ended["finished"] + ended["killed"])),
        *(["the total is not the sum"] * (abs(total.epsilon - n * EPSILON) > 1e-9)),
        *(["the limit is passed"] * (total.epsilon > given.limit * (1 + 1e-9))),
        *(["a model that nobody paid for"] * (models > n)),
    ]
    print(json.dumps({**ended, "charges": n, "epsilon": total.epsilon, "limit": given.limit, "wrong": wrong}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
