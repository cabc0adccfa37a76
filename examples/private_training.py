"""DP-SGD on the workers of a cluster: a variational auto-encoder within epsilon 3, trained on several GPUs.

    python examples/private_training.py [--rows 20000] [--workers 4] [--gpu] [--storage /shared/runs/p] [--out private]

Runs on the cluster that RAY_ADDRESS names. Every worker clips the gradients of its own rows and adds its share of the
noise; steps are charged to the budget before they run, so those repeated after a crash cannot exceed it. Over several
nodes, --storage must be a folder that all of them see. --workers 0 trains in this process.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from raysynth import DPTabularVAE, TableSchema
from raysynth.schema import ColumnSchema, Kind

# Public knowledge about the columns, not read from the rows: what is declared costs no budget.
SCHEMA = TableSchema(
    columns=(
        ColumnSchema("physlm", Kind.CATEGORICAL, "string", categories=("no", "yes")),
        ColumnSchema("visits", Kind.CONTINUOUS, "int64", bounds=(0, 80)),
        ColumnSchema("disea", Kind.CONTINUOUS, "double", bounds=(0, 60)),
    )
)


def main(rows: int, epochs: int, workers: int, gpu: bool, out: Path, storage: Path | None = None) -> None:
    """Fit within a budget, say what was spent, sample."""
    from statsmodels.datasets import randhie

    out.mkdir(parents=True, exist_ok=True)
    real = randhie.load_pandas().data.sample(rows, replace=rows > 20_190, random_state=0)
    table = real.assign(physlm=(real["physlm"] > 0).map({True: "yes", False: "no"}), visits=real["mdvis"].astype(int))

    model = DPTabularVAE(epsilon=3.0, delta=1e-6, schema=SCHEMA, epochs=epochs, **spread(workers, gpu, storage))
    model.fit(table[["physlm", "visits", "disea"]])
    print(f"spent: {model.privacy_spent_}")
    for event in model.privacy_spent_.ledger.events:
        print(f"  {event.mechanism.value}, {event.steps} steps: {event.released}")
    model.save(out / "private.raysynth")
    (out / "ledger.json").write_text(model.privacy_spent_.ledger.to_json())  # for an auditor's own accountant
    synthetic = model.sample(n_samples=10_000, seed=1)
    synthetic.to_csv(out / "synthetic.csv", index=False)
    print(synthetic.describe(include="all").to_string())


def spread(workers: int, gpu: bool, storage: Path | None) -> dict[str, object]:
    """How the fit is spread over Ray; nothing for this process."""
    if not workers:
        return {}
    from ray.train import RunConfig, ScalingConfig

    chosen: dict[str, object] = {"scaling_config": ScalingConfig(num_workers=workers, use_gpu=gpu)}
    if storage is not None:
        chosen["run_config"] = RunConfig(name=storage.name, storage_path=str(storage.parent))
    return chosen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the private table")
    parser.add_argument("--epochs", type=int, default=20, help="passes; the noise of each step grows with them")
    parser.add_argument("--workers", type=int, default=4, help="training processes, over Ray; 0: this process")
    parser.add_argument("--gpu", action="store_true", help="each worker on a GPU")
    parser.add_argument("--storage", type=Path, help="folder that all workers see")
    parser.add_argument("--out", type=Path, default=Path("private"), help="folder of the results")
    given = parser.parse_args()
    main(given.rows, given.epochs, given.workers, given.gpu, given.out, given.storage)
