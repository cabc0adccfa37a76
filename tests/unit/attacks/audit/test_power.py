"""Power: each attack by itself finds a memorising synthesizer, and finds nothing in independent rows."""

from __future__ import annotations

import pandas as pd
import pytest

from raysynth.privacy import AttackResults, run_privacy_attacks

MEMBERSHIP = ("distance", "density_ratio")
SUCCESS = ("attribute_nearest", "attribute_model", "linkability", "inversion_table")
TYPES = [*MEMBERSHIP, *SUCCESS, "singling_out"]


@pytest.fixture(scope="module")
def on_copies(real: pd.DataFrame, copies: pd.DataFrame, holdout: pd.DataFrame) -> AttackResults:
    return run_privacy_attacks(real, copies, TYPES, n_experiments=5, holdout_data=holdout)


@pytest.fixture(scope="module")
def on_fresh(real: pd.DataFrame, fresh: pd.DataFrame, holdout: pd.DataFrame) -> AttackResults:
    return run_privacy_attacks(real, fresh, TYPES, n_experiments=5, holdout_data=holdout)


@pytest.mark.parametrize("name", MEMBERSHIP)
def test_membership_is_told_from_copies(on_copies: AttackResults, name: str) -> None:
    found = on_copies.details[name]
    assert found.success.value > 0.9
    assert found.measures["advantage"].low > 0.5
    assert found.measures["epsilon"].low > 0.5


@pytest.mark.parametrize("name", SUCCESS)
def test_copies_give_attributes_links_and_rows_away(on_copies: AttackResults, name: str) -> None:
    assert on_copies.details[name].gain.low > 0.1


def test_exact_copies_are_singled_out(real: pd.DataFrame, holdout: pd.DataFrame) -> None:
    results = run_privacy_attacks(real, real, ["singling_out"], holdout_data=holdout)
    assert all(r.gain.low > 0.3 for r in results.details.values())


def test_independent_rows_give_nothing_away(on_fresh: AttackResults) -> None:
    """Each interval misses its baseline in at most 5 % of tables; the seed is fixed."""
    assert [r.name for r in on_fresh.details.values() if r.gain.low > 0] == []
    assert on_fresh.risk == 0


def test_without_a_holdout_the_baseline_is_other_real_rows(real: pd.DataFrame, copies: pd.DataFrame) -> None:
    results = run_privacy_attacks(real, copies, n_experiments=4)
    assert set(results) == {"membership_inference", "attribute_inference", "model_inversion"}
    assert results.details["attribute_nearest"].gain.low > 0.1
    assert "in place of the synthetic ones" in results.details["attribute_nearest"].baseline_is
