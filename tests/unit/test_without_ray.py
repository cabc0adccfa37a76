"""A small fit stays in its process: 10,000 rows never bring Ray, and take less than two seconds after the import."""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 2.0  # of the processor, which a loaded machine leaves as they are
SLACK = 3.0  # by the clock: other processes may take two thirds of a loaded machine's time

PROBE = """
import json, sys, time
import numpy as np, pandas as pd
import raysynth

rng, n = np.random.default_rng(0), 10_000
frame = pd.DataFrame({
    "text": rng.choice(list("abcdef"), n), "whole": rng.integers(0, 90, n), "real": rng.exponential(size=n),
    "other": rng.normal(size=n), "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
})
begun, worked = time.perf_counter(), time.process_time()
model = raysynth.GaussianCopula(seed=0, verbose=False).fit(frame)
seconds = {"clock": time.perf_counter() - begun, "processor": time.process_time() - worked}
rows = len(model.sample(10_000, seed=1))
heavy = sorted(sys.modules.keys() & {"ray", "torch", "sklearn", "scipy.stats"})
print(json.dumps({**seconds, "rows": rows, "heavy": heavy}))
"""


def test_a_small_copula_is_fitted_and_sampled_without_ray_in_under_two_seconds() -> None:
    for tries_left in (2, 1, 0):  # a busy processor works slower, too: the best of three counts
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["rows"] == 10_000
        assert found["heavy"] == [], "packages that a small copula does not need take seconds to import"
        if found["processor"] < SECONDS and found["clock"] < SECONDS * SLACK:
            break
        assert tries_left, f"the best of three fits took {found['processor']} s, {found['clock']} s by the clock"
