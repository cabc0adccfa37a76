"""What attribute attacks take for known: keys whose order tells of other columns, too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth.attacks.results import AttackResults
from raysynth.errors import ParameterError
from raysynth.privacy import run_privacy_attacks
from tests.unit.attacks.conftest import population


def _numbered(n: int, seed: int) -> pd.DataFrame:
    """n people in order of the days on which they came, each with a number of its own."""
    rng = np.random.default_rng(seed)
    rows = population(n, seed)
    number = np.sort(rng.choice(40 * n, n, replace=False))
    return rows.assign(case_id=number, day=(number * 365 // (40 * n)) + rng.integers(0, 9, n))


def _beside_keys(real: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rows with the city of the real row with the nearest number, and nothing else of it."""
    made = _numbered(len(real), seed)
    keys = real["case_id"].to_numpy()
    nearest = np.abs(keys[None, :] - made["case_id"].to_numpy()[:, None]).argmin(axis=1)
    return made.assign(city=real["city"].to_numpy()[nearest])


@pytest.mark.statistical
def test_values_copied_from_the_row_with_the_nearest_key_are_found() -> None:
    """False alarm of the second assertion at most 5 %; the seeds are fixed."""
    everyone = _numbered(1_800, 1)
    inside = np.random.default_rng(2).permutation(len(everyone))
    real, holdout = everyone.iloc[inside[:600]], everyone.iloc[inside[600:]]

    def attacked(synthetic: pd.DataFrame) -> AttackResults:
        return run_privacy_attacks(real, synthetic, ["attribute_nearest", "attribute_key"], 10, holdout, seed=0)

    found = attacked(_beside_keys(real, 3))
    assert found.details["attribute_key"].found
    assert any("attackers know 'case_id'" in note for note in found.notes)
    assert not attacked(_numbered(600, 4)).details["attribute_key"].found
    without = population(600, 5), population(600, 6), population(60, 7)
    results = run_privacy_attacks(without[0], without[1], ["attribute_inference"], 1, without[2])
    assert "attribute_key" not in results.details
    with pytest.raises(ParameterError, match="needs a key of whole numbers"):
        run_privacy_attacks(without[0], without[1], ["attribute_key"], 1, without[2])
