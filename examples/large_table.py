"""100 million rows by a Bayesian network on a cluster: a large table in, a folder of Parquet out, both checked.

    python examples/large_table.py [--rows 100000000] [--data s3://bucket/visits/] [--out large]

Runs on the cluster that RAY_ADDRESS names, else on this machine's cores. Without --data the large table is made here:
sampled from a network of health figures (statsmodels' `randhie`, real and public). With your own table, --data is a
folder of Parquet that all nodes can read, and --out a folder that all nodes can write, such as /shared/large. Killed
and started again, sampling goes on with the files that are missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from raysynth import BayesianNetworkSynthesizer, load_synthetic_model
from raysynth.evaluation import statistical_similarity_score
from raysynth.running.stages import stage_table
from raysynth.sampling.writer import verify


def main(rows: int, out: Path, data: str | None = None) -> None:
    """Fit, sample, verify, compare."""
    out.mkdir(parents=True, exist_ok=True)
    source = data or str(made_table(rows, out / "real"))

    # Counts are all that the network learns from: a few passes over the table, each task a few row groups, and only
    # small tables of counts come back. Memory does not depend on the number of rows.
    model = BayesianNetworkSynthesizer(max_parents=3, seed=1)
    model.fit(source)
    model.save(out / "large.raysynth")
    print(stage_table(model.stages_))

    # Each file is written by the task that makes its rows, under a temporary name, then renamed.
    loaded = load_synthetic_model(out / "large.raysynth")
    loaded.sample_to(out / "synthetic", n_samples=rows, seed=2)
    manifest = verify(out / "synthetic")  # every file against its checksum; also: raysynth sample --verify
    size = sum(f.bytes for f in manifest.files)
    print(f"{manifest.rows:,} rows in {len(manifest.files)} files, {size / 1e6:,.1f} MB, all as their manifest says")

    score = statistical_similarity_score(real_data=source, synthetic_data=str(out / "synthetic"))
    print(f"statistical similarity over all rows: {score:.4f}")


def made_table(rows: int, folder: Path) -> Path:
    """A folder of Parquet with that many rows like those of `randhie`."""
    from statsmodels.datasets import randhie

    small = BayesianNetworkSynthesizer(seed=0, verbose=False).fit(randhie.load_pandas().data)
    small.sample_to(folder, n_samples=rows, seed=0)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000_000, help="rows to learn from (if made here) and to sample")
    parser.add_argument("--data", help="folder of Parquet or URI; default: a table made here")
    parser.add_argument("--out", type=Path, default=Path("large"), help="folder of the results")
    arguments = parser.parse_args()
    main(arguments.rows, arguments.out, arguments.data)
