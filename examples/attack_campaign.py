"""An attack campaign: can somebody tell from synthetic rows whether a person was in the table? Many models, over Ray.

    python examples/attack_campaign.py [--rows 5000] [--models 100] [--out campaign]

For each of two methods and each epsilon, models are fitted to tables with and without chosen records, and attackers who
see only synthetic rows guess which. Trials are kept as they come: killed and started again, the campaign goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from raysynth.campaigns import AttackCampaign


def main(rows: int, models: int, targets: int, out: Path) -> None:
    """Run the campaign, print its table, write its report."""
    from statsmodels.datasets import fair  # a survey, one person a row

    data = fair.load_pandas().data.sample(min(rows, 6_366), random_state=0)
    campaign = AttackCampaign(
        data[["age", "yrs_married", "children", "affairs"]],
        methods=["copula", "bayesian_network"],
        storage_path=out / "trials",  # on a cluster: a folder or URI that all nodes see
        attacks=["distance", "density_ratio"],
        epsilons=[None, 1.0],
        n_models=models,
        n_targets=targets,  # the records that are easiest to recognise
        n_training=len(data) // 4,
        seed=1,
    )
    results = campaign.run()
    print(results.summary())
    results.write_report(out / "campaign.html")
    print(f"written to {out}/: trials, campaign.html")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000, help="rows that targets and training tables come from")
    parser.add_argument("--models", type=int, default=100, help="of each method and epsilon; more narrow the intervals")
    parser.add_argument("--targets", type=int, default=20, help="records whose presence is guessed")
    parser.add_argument("--out", type=Path, default=Path("campaign"), help="folder of the results")
    given = parser.parse_args()
    main(given.rows, given.models, given.targets, given.out)
