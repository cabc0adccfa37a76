"""Where trials are kept: how well single rows are told is for nobody else on the machine, in any folder."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pyarrow as pa

from raysynth.campaigns.campaign import work_on
from raysynth.campaigns.plan import CampaignStore, Trial
from raysynth.campaigns.trial import World


def test_files_are_the_users_alone_also_in_a_folder_that_others_read(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    store = CampaignStore.at(folder)
    assert store.open({"seed": 0}, "digest") == set()
    store.write("one", pa.table({"member": [True]}))
    store.write_failure("two", "why")
    assert store.done() == {"one"} and store.failed() == {"two": "why"}
    modes = {str(p.relative_to(folder)): p.stat().st_mode & 0o777 for p in folder.rglob("*")}
    files = {"campaign.json": 0o600, "trials/one.parquet": 0o600, "failed/two.json": 0o600}
    assert modes == {"trials": 0o700, "failed": 0o700, **files}


def test_a_trial_on_a_node_that_does_not_see_the_folder_has_failed(tmp_path: Path) -> None:
    trial, world = Trial("copula", None, 0), cast(World, None)  # it is not looked at
    report = work_on(world, trial, CampaignStore.at(tmp_path / "elsewhere"), wants_scores=False)
    assert report.error is not None and "not one folder for all nodes" in report.error
    assert not (tmp_path / "elsewhere").exists()
