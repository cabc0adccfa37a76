"""The peer's side of `bench_privacy.py`: one fit of dpmm, run by a Python that has dpmm (0.1.9).

    python peer_dpmm.py TRAIN.csv DOMAINS.json METHOD EPSILON DELTA ROWS SYNTHETIC.csv [ITERATIONS]

METHOD is privbayes, mst or aim; the domains are declared. ITERATIONS: of the graphical model's estimation (5,000).
Prints one JSON line with the seconds of the fit.
"""

import json
import sys
import time

import pandas as pd
from dpmm.pipelines import AIMPipeline, MSTPipeline, PrivBayesPipeline

PIPELINES = {"privbayes": PrivBayesPipeline, "mst": MSTPipeline, "aim": AIMPipeline}


def main() -> None:
    train, domains, method, epsilon, delta, rows, out, *iterations = sys.argv[1:]
    data = pd.read_csv(train)
    with open(domains, encoding="utf-8") as file:
        domain = json.load(file)
    for column, own in domain.items():
        if "categories" in own:
            data[column] = data[column].astype("category")
    options = {"gen_kwargs": {"n_iters": int(iterations[0])}} if iterations else {}
    model = PIPELINES[method](epsilon=float(epsilon), delta=float(delta), n_jobs=1, **options)
    begun = time.perf_counter()
    model.fit(data, domain)
    seconds = time.perf_counter() - begun
    model.generate(n_records=int(rows)).to_csv(out, index=False)
    print(json.dumps({"fit_seconds": seconds}))


if __name__ == "__main__":
    main()
