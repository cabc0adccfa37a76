"""A peer's side of `bench_privacy.py`: one fit by a package for private tables, run by a Python that has it.

    python peer_private.py TRAIN.csv DOMAINS.json "PACKAGE METHOD" EPSILON DELTA SEED SYNTHETIC.csv

`dpmm privbayes`, `dpmm mst`, `dpmm aim` (dpmm 0.1.9, which takes no seed); `private-pgm mst` (ryan112358/mbi, whose
folder `mechanisms` is on the path); `dpsynth swift`, `dpsynth mst`, `dpsynth aim` (google/dpsynth; `dpsynth
swift:1000` estimates with so many iterations in place of 10,000). The domains are declared, and everything else is the
package's default. private-pgm takes tables of codes alone: numbers are cut into 32 equal parts of the declared range,
whole numbers of fewer values are themselves, and made ones are drawn evenly within their part. Missing cells are one
more category (dpmm has none). Prints one JSON line with the seconds of the fit, sampling included where the package
does both at once.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

BINS = 32  # dpsynth's default
MISSING = "<missing>"


def main() -> None:
    """Fit, write the table, print the seconds."""
    train, domains, peer, epsilon, delta, seed, out = sys.argv[1:]
    package, method = peer.split()
    with open(domains, encoding="utf-8") as file:
        domain = json.load(file)
    begun = time.perf_counter()
    made = PACKAGES[package](pd.read_csv(train), domain, method, float(epsilon), float(delta), int(seed))
    seconds = made.attrs.pop("fit_seconds", time.perf_counter() - begun)
    made.to_csv(out, index=False)
    print(json.dumps({"fit_seconds": seconds}))


def dpmm(data: pd.DataFrame, domain: Any, method: str, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """The table that dpmm makes, numbers cut by its own private tree."""
    from dpmm.pipelines import AIMPipeline, MSTPipeline, PrivBayesPipeline

    for column, own in domain.items():
        if "categories" in own:
            data[column] = data[column].astype("category")
    pipelines = {"privbayes": PrivBayesPipeline, "mst": MSTPipeline, "aim": AIMPipeline}
    model = pipelines[method](epsilon=epsilon, delta=delta, n_jobs=1)
    begun = time.perf_counter()
    model.fit(data, domain)
    seconds = time.perf_counter() - begun
    made = model.generate(n_records=len(data))
    made.attrs["fit_seconds"] = seconds
    return made


def private_pgm(data: pd.DataFrame, domain: Any, method: str, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """The table that private-pgm's MST makes of codes, decoded."""
    from mbi import Dataset, Domain
    from mst import MST

    assert method == "mst", method
    np.random.seed(seed)
    random = np.random.default_rng(seed)
    codes, decoders, sizes = {}, {}, {}
    for column in data:
        codes[column], sizes[column], decoders[column] = coded(data[column], domain[column], random)
    made = MST(Dataset(codes, Domain.fromdict(sizes)), epsilon, delta).to_dict()
    return pd.DataFrame({c: decoders[c](np.asarray(made[c])) for c in data})


def coded(column: pd.Series, own: Any, random: np.random.Generator) -> tuple[np.ndarray, int, Any]:
    """Codes of a column, how many there are (one more where cells are missing), and what makes values of codes."""
    gaps = column.isna().to_numpy()
    if "categories" in own:
        names = np.array([*own["categories"], np.nan], dtype=object)
        found, size = pd.Categorical(column, categories=own["categories"]).codes.astype(int), len(own["categories"])
        decode: Any = lambda codes: names[codes]  # noqa: E731
    else:
        whole = pd.api.types.is_integer_dtype(column)
        low, high = own["lower"], own["upper"] + whole
        size = min(BINS, int(high - low)) if whole else BINS
        edges = np.linspace(low, high, size + 1)
        edges = np.ceil(edges) if whole else edges
        found = np.clip(np.searchsorted(edges, column.fillna(low), side="right") - 1, 0, size - 1)

        def decode(codes: np.ndarray) -> np.ndarray:
            at = np.minimum(codes, size - 1)
            values = random.uniform(edges[at], edges[at + 1])
            return np.where(codes < size, np.floor(values) if whole else values, np.nan)

    return np.where(gaps, size, found), size + bool(gaps.any()), decode


def dpsynth(data: pd.DataFrame, domain: Any, method: str, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """The table that dpsynth makes, numbers cut at its own noised quantiles."""
    import dpsynth as package
    from dpsynth import discrete_mechanisms

    attributes, gaps = {}, data.isna().any()
    for column, own in domain.items():
        if "categories" in own:
            names = own["categories"] + [MISSING] * bool(gaps[column])
            attributes[column] = package.CategoricalAttribute(names)
            data[column] = data[column].fillna(MISSING) if gaps[column] else data[column]
        else:
            dtype = "int" if pd.api.types.is_integer_dtype(data[column]) else "float"
            drawn = "midpoint" if gaps[column] else "sample"  # drawing within bins ends in its error beside gaps
            attributes[column] = package.NumericalAttribute(
                own["lower"], own["upper"], clip_to_range=not gaps[column], dtype=dtype, interval_handling=drawn
            )
    method, _, iterations = method.partition(":")
    options = {"pgm_iters": int(iterations)} if iterations else {}
    config = getattr(discrete_mechanisms, f"{method.upper()}Config")(**options)
    synthesizer = package.TabularConfig(domains=attributes, discrete_mechanism=config)
    made = synthesizer.calibrate(epsilon=epsilon, delta=delta)(np.random.default_rng(seed), data).synthetic_data
    return made.replace(MISSING, np.nan)


PACKAGES = {"dpmm": dpmm, "private-pgm": private_pgm, "dpsynth": dpsynth}

if __name__ == "__main__":
    main()
