"""The peer's side of `bench_quality.py --argn`: TabularARGN at its defaults, run by a Python that has mostlyai-engine.

    python peer_argn.py TRAIN.csv THREADS SEED ROWS OUT.csv

Fits, prints a line 'SECONDS seconds', and samples. Rare categories are sampled as they are, which is the peer's way to
its best figures: by default it replaces them by a token that the judge would count against it.
"""

import argparse
import time

import pandas as pd
import torch
from mostlyai.engine import TabularARGN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("threads", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("rows", type=int)
    parser.add_argument("out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train = pd.read_csv(options.train)
    model = TabularARGN(random_state=options.seed, device="cpu", value_protection=False)
    begun = time.perf_counter()
    model.fit(train)
    print("SECONDS", time.perf_counter() - begun, flush=True)
    model.sample(n_samples=options.rows).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
