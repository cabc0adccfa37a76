"""The peer's side of `bench_ctgan.py`: ctgan's transformer, epochs and sampling, run by a Python that has ctgan.

    python peer_ctgan.py TRAIN.csv EPOCHS ROWS THREADS [SYNTHETIC.csv]

Prints one JSON line: seconds of the transformer's fit and transform, seconds per epoch, sampled rows per second.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN
from ctgan.data_transformer import DataTransformer


def main() -> None:
    table, epochs, rows, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    np.random.seed(0)
    torch.manual_seed(0)
    data = pd.read_csv(table)
    discrete = [c for c in data if not pd.api.types.is_numeric_dtype(data[c])]
    figures = {}
    clock = time.perf_counter()
    transformer = DataTransformer()
    transformer.fit(data, discrete)
    figures["encoder_fit_seconds"] = time.perf_counter() - clock
    clock = time.perf_counter()
    transformer.transform(data)
    figures["encoder_transform_seconds"] = time.perf_counter() - clock

    model = CTGAN(epochs=epochs)
    fitted, timed = DataTransformer.transform, []
    DataTransformer.transform = lambda self, x: (fitted(self, x), timed.append(time.perf_counter()))[0]
    begun = time.perf_counter()
    model.fit(data, discrete)
    ended = time.perf_counter()
    figures["fit_seconds"] = ended - begun
    figures["epoch_seconds"] = (ended - timed[-1]) / epochs
    model.sample(1000)
    clock = time.perf_counter()
    synthetic = model.sample(rows)
    figures["rows_per_second"] = rows / (time.perf_counter() - clock)
    if len(sys.argv) > 5:
        synthetic[: len(data)].to_csv(sys.argv[5], index=False)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
