"""The peer's side of `bench_quality.py` and `bench_fit_time.py`: ctgan's models, run by a Python that has ctgan.

    python peer_models.py TRAIN.csv ctgan|tvae THREADS EPOCHS [EPOCHS ...] [--sample ROWS OUT.csv]

Fits once for each number of epochs and prints a line 'SECONDS epochs seconds' for each fit; the last one is sampled.
"""

import argparse
import time

import ctgan
import pandas as pd
import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("model", choices=["ctgan", "tvae"])
    parser.add_argument("threads", type=int)
    parser.add_argument("epochs", type=int, nargs="+")
    parser.add_argument("--sample", nargs=2, metavar=("ROWS", "OUT"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train = pd.read_csv(options.train)
    discrete = [c for c in train if not pd.api.types.is_numeric_dtype(train[c])]
    for epochs in options.epochs:
        begun = time.perf_counter()
        model = {"ctgan": ctgan.CTGAN, "tvae": ctgan.TVAE}[options.model](enable_gpu=False, epochs=epochs)
        model.fit(train, discrete)
        print("SECONDS", epochs, time.perf_counter() - begun, flush=True)
    if options.sample:
        rows, out = options.sample
        model.sample(int(rows)).to_csv(out, index=False)


if __name__ == "__main__":
    main()
