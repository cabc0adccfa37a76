"""What theory says of games against private fits: no point of theirs lies outside the (epsilon, delta) region.

The game is that of `bench_attacks.py region`: whole fits of raysynth's own within a budget, attacked through the model
file, in `AttackCampaign`. False alarms: each of the four games accuses a correct build with probability below 0.0001
(Bonferroni over thresholds), all together below 0.0004. Power: without noise an add/remove game separates its sides
entirely, and a replace-one game in at least 81 % of the trials with the target (unless a row of its category makes way
for it); 60 trials on either side are judged, and 44 of them are enough.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from raysynth.campaigns import CampaignResults
from tests.benchmarks.region_game import EPSILONS, noise_times, region_campaign

pytestmark = [
    pytest.mark.statistical,
    pytest.mark.filterwarnings("ignore:delta = 0.01 exceeds one over"),  # large on purpose, see region_game.py
]
GAMES = ["add_remove", pytest.param("replace_one", marks=pytest.mark.slow)]
MODELS = 240  # of each game; half of them with the target, and half of the trials choose thresholds


@pytest.mark.parametrize("game", GAMES)
def test_private_fits_stay_in_their_region(game: str, tmp_path: Path) -> None:
    results = region_campaign(tmp_path, game, MODELS).run()
    assert not results.failures
    assert [g.epsilon for g in results.games] == list(EPSILONS)
    assert outside(results, 0.9999) == [0, 0], results.summary()
    assert results.to_frame()["respects_epsilon"].tolist() == [n == 0 for n in outside(results)]


@pytest.mark.parametrize("game", GAMES)
def test_the_same_code_without_noise_leaves_the_region(game: str, tmp_path: Path) -> None:
    with noise_times(0.0):
        results = region_campaign(tmp_path, game, MODELS).run()
    assert all(n > 0 for n in outside(results)), results.summary()
    assert not results.to_frame()["respects_epsilon"].any()


def outside(results: CampaignResults, level: float = 0.999) -> list[int]:
    """Points outside the region, of each budget."""
    return [len(g.outside(*results.plan.guarantee(g.epsilon or 0.0), level)) for g in results.games]
