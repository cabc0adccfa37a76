"""The odometer under fits that are killed: nothing that was reserved is lost, and no limit is passed.

    python tests/benchmarks/bench_odometer.py [--fits 50] [--kills 5] [--limit 20]

Fits of a small table within epsilon 0.5, two processes at a time, charge one odometer; `--kills` of them are ended by a
signal at a random moment of the half second after their reservation. Prints what became of the fits, the charges, their
sum and the limit, and exits with 1 where a finished or killed fit has no charge, a refused one has, the total is not
the sum, or the limit is passed.
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
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysynth import GaussianCopula, Odometer
from raysynth.dp.accounting.odometer import Charge
from raysynth.errors import ParameterError

EPSILON, DELTA = 0.5, 1e-6
AT_ONCE = 2
REFUSED = 3  # exit code


def fit(folder: Path, number: int, ends_after: float | None) -> None:
    """One fit, which leaves a model where it was not refused; one that is doomed ends so many seconds after it paid."""
    warnings.simplefilter("ignore")
    if ends_after is not None:
        _doom(ends_after)
    rng = np.random.default_rng(number)
    rows = pd.DataFrame({"x": rng.normal(size=300), "c": rng.choice(["a", "b"], 300)})
    model = GaussianCopula(epsilon=EPSILON, delta=DELTA, odometer=folder / "odometer", verbose=False)
    try:
        model.fit(rows).save(folder / f"{number}.raysynth")
    except ParameterError as error:
        assert "limit of its odometer" in str(error), error
        sys.exit(REFUSED)


def _doom(seconds: float) -> None:
    """No handler of Python's, as of SIGKILL: nothing of this process runs after the signal."""
    reserve = Odometer.reserve

    def reserved(*args: Any, **options: Any) -> Charge:
        charge = reserve(*args, **options)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return charge

    Odometer.reserve = reserved  # type: ignore[method-assign]


def run(folder: Path, fits: int, affordable: int, kills: int, seed: int) -> dict[str, int]:
    """All fits; how many ended in which way."""
    chance = random.Random(seed)
    running: list[Any] = []
    doomed = set(chance.sample(range(min(fits, affordable)), kills))  # of those that no limit stops
    ended = {"finished": 0, "refused": 0, "killed": 0}
    waiting = list(range(fits))[::-1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["raysynth", "raysynth.methods.copula.private", "raysynth.data.sources.frame"])
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number = waiting.pop()
            ends_after = chance.uniform(1e-3, 0.5) if number in doomed else None
            process = context.Process(target=fit, args=(folder, number, ends_after))
            process.start()
            running.append(process)
        for process in list(running):
            process.join(0.01)
            if process.exitcode is not None:
                running.remove(process)
                ended[{0: "finished", REFUSED: "refused", -signal.SIGALRM: "killed"}[process.exitcode]] += 1
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
        ended = run(folder, given.fits, int(given.limit / EPSILON) - AT_ONCE, given.kills, given.seed)
        n, total = len(odometer.charges), odometer.total
        models = len(list(folder.glob("*.raysynth")))
    wrong = [
        *(["a finished or killed fit without a charge"] * (n < ended["finished"] + ended["killed"])),
        *(["a refused fit was charged"] * (n > ended["finished"] + ended["killed"])),
        *(["the total is not the sum"] * (abs(total.epsilon - n * EPSILON) > 1e-9)),
        *(["the limit is passed"] * (total.epsilon > given.limit * (1 + 1e-9))),
        *(["a model that nobody paid for"] * (models > n)),
    ]
    print(json.dumps({**ended, "charges": n, "epsilon": total.epsilon, "limit": given.limit, "wrong": wrong}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
