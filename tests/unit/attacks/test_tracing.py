"""Tracing by margins: what theory says that exact margins give, planted ones are found, and unrelated ones are not."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from raysynth.attacks.results import AttackResult
from raysynth.attacks.tracing import TracingAttack, auc_of_exact_margins
from raysynth.privacy import run_privacy_attacks
from tests.unit.attacks.kinds_of_tables import three_samples

TABLES = 24
MOST = int(binom.ppf(1 - 1e-4, TABLES, 0.05))


def traced(
    real: pd.DataFrame, synthetic: pd.DataFrame, holdout: pd.DataFrame, attack: TracingAttack | None = None
) -> AttackResult:
    """Every row as a target, half of the holdout as reference."""
    asked = [attack or TracingAttack()]
    return run_privacy_attacks(real, synthetic, asked, 1, holdout, n_targets=10**6).details["tracing"]


def test_theory_is_the_closed_form_for_independent_columns() -> None:
    """Ten columns of 20 equal cells, as many reference rows as training rows: Phi(sqrt(190 / 4 n)), within 0.01."""
    columns = list(np.random.default_rng(0).integers(0, 20, (10, 4000)))
    assert auc_of_exact_margins(columns, 4000) == pytest.approx(norm.cdf(math.sqrt(190 / 16_000)), abs=0.01)
    again = auc_of_exact_margins([columns[0]] * 10, 4000)  # one column ten times says as much as once
    assert again == pytest.approx(norm.cdf(math.sqrt(19 / 16_000)), abs=0.01)


def test_a_table_of_the_training_rows_is_traced_as_theory_says(
    real: pd.DataFrame, holdout: pd.DataFrame, fresh: pd.DataFrame
) -> None:
    """Four standard errors of an AUC of 800 and 800 targets are 0.057: exceeded once in 15,000 runs."""
    result = traced(real, real, holdout)
    margins = result.measures["auc_of_exact_margins"].value
    assert 0.57 < margins < 0.65 and result.success.value == pytest.approx(margins, abs=0.057)
    assert result.found and "exact margins alone give" in result.beside_margins
    itself = traced(real, fresh, holdout)
    assert itself.measures["auc_of_exact_margins"].value == pytest.approx(margins, abs=1e-9)


def test_resampled_rows_are_found_and_an_independent_sample_is_not(
    real: pd.DataFrame, holdout: pd.DataFrame, fresh: pd.DataFrame
) -> None:
    drawn = real.sample(frac=1, replace=True, random_state=0).reset_index(drop=True)
    assert traced(real, drawn, holdout).found
    unrelated = traced(real, fresh, holdout)
    assert not unrelated.found and unrelated.success.low < 0.5 < unrelated.success.high


def test_a_gain_that_margins_explain_is_minor_and_hides_no_other(real: pd.DataFrame, holdout: pd.DataFrame) -> None:
    """Each column of the training rows shuffled by itself keeps the margins and nothing else; then rows are copied."""
    rng = np.random.default_rng(0)
    shuffled = pd.DataFrame({name: rng.permutation(column.to_numpy()) for name, column in real.items()})
    margins = traced(real, shuffled, holdout)
    assert margins.in_words == "gain of margins" and margins.is_minor
    copied = pd.concat([shuffled[60:], real[:60]], ignore_index=True)
    results = run_privacy_attacks(real, copied, ["membership_inference"], 1, holdout)
    best = results.strongest("membership_inference")
    assert not best.is_minor and best.name != "tracing"
    assert results.details["tracing"].gain.value > best.gain.value or best.gain.value > 0.1


def test_shares_of_pairs_tell_more_of_resampled_rows(real: pd.DataFrame, holdout: pd.DataFrame) -> None:
    drawn = real.sample(frac=1, replace=True, random_state=0).reset_index(drop=True)
    alone = traced(real, drawn, holdout).success.value
    assert traced(real, drawn, holdout, TracingAttack(pairs=True)).success.value > alone + 0.05


def test_a_missing_cell_and_a_category_that_only_the_synthetic_table_has_tell_too() -> None:
    rng = np.random.default_rng(0)
    real = pd.DataFrame({"x": rng.normal(size=200), "c": rng.choice(["a", "b"], 200)})
    holdout = pd.DataFrame({"x": rng.normal(size=400), "c": rng.choice(["a", "b"], 400)})
    for name, value in (("x", np.nan), ("c", "odd")):
        leaked = real.assign(**{name: [value if i < 60 else v for i, v in enumerate(real[name])]})
        assert traced(leaked, leaked, holdout).success.low > 0.6


def test_of_persons_with_several_rows_each_is_one_target() -> None:
    def panel(first: int) -> pd.DataFrame:
        rng = np.random.default_rng(first)
        person = np.repeat(np.arange(first, first + 60), 4)
        return pd.DataFrame({"person": person, "x": rng.normal(size=240), "c": rng.choice(list("abc"), 240)})

    result = run_privacy_attacks(panel(0), panel(100), [TracingAttack()], 1, panel(200), entity="person")
    assert result.details["tracing"].n_trials == 30  # half of the other persons are the reference


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["text_of_many_values", "mixed"])
def test_unrelated_tables_are_not_accused(kind: str) -> None:
    """Of 24 tables, each accused with probability 0.05 at most, more than six once in 10,000 runs."""
    found = [traced(*three_samples(kind, (80, 80, 160), seed)).found for seed in range(TABLES)]
    assert sum(found) <= MOST
