"""Verdicts for each purpose: they follow the figures, name the cause, and never say yes where nothing was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.comparison.intervals import Estimate
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.ledger import Ledger
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.errors import ParameterError
from raysynth.evaluation import EvaluationResults, evaluate_synthetic_data
from raysynth.evaluation.decision import attention, cards, purposes
from raysynth.evaluation.diagnostics import Diagnostic
from raysynth.evaluation.privacy import Check
from raysynth.evaluation.profiles import committee_page
from raysynth.evaluation.report import render_report


@pytest.fixture(scope="module")
def results() -> EvaluationResults:
    """Three independent samples of one table: nothing leaks, everything is alike."""
    rng = np.random.default_rng(3)

    def sample() -> pd.DataFrame:
        x = rng.integers(0, 12, 400)  # few values: a fresh sample lies within the range of another
        return pd.DataFrame({"x": x, "y": 2 * x + rng.integers(0, 9, 400), "c": np.where(x > 7, "high", "low")})

    return evaluate_synthetic_data(
        sample(),
        sample(),
        holdout_data=sample(),
        target_columns="y",
        metrics=["statistical_similarity", "ml_efficacy", "privacy_metrics"],
        attack_types=[],
    )


def spent(epsilon: float, guarantee: bool = True, delta: float = 1e-5) -> PrivacySpent:
    total: Any = SimpleNamespace(epsilon=epsilon, delta=delta, guarantee=guarantee, not_covered=())
    return PrivacySpent(Ledger(()), total, PrivacyBudget(epsilon, delta))


def with_checks(results: EvaluationResults, *passed: bool | None) -> EvaluationResults:
    """The same with other privacy checks."""
    assert results.privacy is not None
    checks = tuple(
        Check(f"check{i}", f"Check {i}", Estimate(0.8, 0.7, 0.9), 0.5, 0.6, p, "") for i, p in enumerate(passed)
    )
    return replace(results, privacy=replace(results.privacy, checks=checks))


def test_four_cards_stand_in_one_order_whatever_was_measured(results: EvaluationResults) -> None:
    bare = EvaluationResults(kinds=results.kinds)
    for found in (results, bare):
        assert [c.title.split(" ")[0] for c in cards(found)] == ["Guarantee", "Likeness", "Usefulness", "Leakage"]
    assert {c.level for c in cards(bare)} == {"none"}
    assert [p.answer for p in purposes(bare)] == ["not decided"] * 3


def test_good_figures_say_yes_and_name_the_least_alike_column(results: EvaluationResults) -> None:
    analysis, prediction, _ = purposes(with_checks(results, True))
    assert (analysis.answer, prediction.answer) == ("yes", "yes")
    assert results.similarity is not None
    worst = min(results.similarity.columns, key=lambda c: c.score)
    assert f"'{worst.name}'" in analysis.next_step and "'y'" in prediction.name


def test_an_invalid_table_is_of_no_use_for_analysis(results: EvaluationResults) -> None:
    broken = replace(results, diagnostics=(Diagnostic("Categories known", False, "column 'c' has 'middle'"),))
    assert purposes(broken)[0].answer == "no" and "categories known" in purposes(broken)[0].reason
    assert any("middle" in line for line in attention(broken))


@pytest.mark.parametrize(
    ("epsilon", "checks", "answer", "level"),
    [
        (None, (True, True), "with care", "fair"),
        (None, (True, False), "no", "bad"),
        (1.0, (True, None), "yes", "good"),
        (8.0, (True,), "with care", "fair"),
        (40.0, (True,), "no", "bad"),
        (1.0, (False,), "no", "bad"),
    ],
)
def test_sharing_follows_guarantee_and_leaks(
    results: EvaluationResults, epsilon: float | None, checks: tuple[bool | None, ...], answer: str, level: str
) -> None:
    found = replace(with_checks(results, *checks), spent=None if epsilon is None else spent(epsilon))
    sharing = purposes(found)[2]
    assert (sharing.answer, sharing.level) == (answer, level)
    if False in checks:
        assert "check" in sharing.reason and cards(found)[3].level == "bad"


@pytest.mark.parametrize(
    ("epsilon", "grave", "answer", "card"),
    [(None, False, "with care", "fair"), (1.0, False, "with care", "fair"), (None, True, "no", "bad")],
)
def test_a_minor_gain_is_told_and_is_no_refusal(
    results: EvaluationResults, epsilon: float | None, grave: bool, answer: str, card: str
) -> None:
    found = with_checks(results, True, False, *([False] if grave else []))
    assert found.privacy is not None
    checks = tuple(replace(c, minor=c.key == "check1") for c in found.privacy.checks)
    found = replace(found, privacy=replace(found.privacy, checks=checks))
    found = replace(found, spent=None if epsilon is None else spent(epsilon))
    sharing, leakage = purposes(found)[2], cards(found)[3]
    assert (sharing.answer, leakage.level) == (answer, card)
    assert grave or ("check 1 0.800, guessing 0.500" in sharing.reason and leakage.value == "minor: 1 of 2 checks")


def test_a_figure_whose_interval_holds_what_is_allowed_accuses_nobody_and_says_how_many_rows_would_decide(
    results: EvaluationResults,
) -> None:
    found = with_checks(results, True, True)
    assert found.privacy is not None
    first, second = found.privacy.checks
    wide = replace(first, title="Wide", figure=Estimate(0.587, 0.485, 0.69), rows_to_decide=3.21)
    found = replace(found, privacy=replace(found.privacy, checks=(wide, second)))
    sharing, leakage = purposes(found)[2], cards(found)[3]
    assert sharing.answer == "with care" and leakage.level == "fair" and "1 of 2 not decided" in leakage.value
    told, page = next(line for line in attention(found) if line.startswith("Wide")), committee_page(found)
    for text in (leakage.words, told, found.summary(), page):
        assert "0.587 [0.485, 0.690]" in text
        assert "about 3.2 times as many rows, held-out ones too, would decide" in text
    assert page.count('<span class="badge">not decided</span>') == 1


@pytest.mark.parametrize(("half_width", "answer"), [(0.02, "no"), (0.2, "with care")])
def test_few_test_rows_refuse_no_table_to_learn_from(
    results: EvaluationResults, half_width: float, answer: str
) -> None:
    """Of what real rows teach 57 % is kept by the figure, all of it by the upper end of a wide interval."""
    (target,) = results.efficacy
    kept = Estimate(0.7, 0.7 - half_width, 0.7 + half_width)
    model = replace(target.models[0], real=Estimate(0.85, 0.8, 0.9), synthetic=kept)
    found = replace(results, efficacy=(replace(target, guess=0.5, models=(model,)),))
    assert purposes(found)[1].answer == answer


def test_no_epsilon_makes_up_for_a_large_delta(results: EvaluationResults) -> None:
    """A mechanism that publishes the whole table with probability one half has any epsilon, and delta .5."""
    found = replace(with_checks(results, True), spent=spent(0.1, delta=0.5))
    assert purposes(found)[2].answer == "no" and cards(found)[0].level == "bad"


def test_a_voided_ledger_is_no_guarantee(results: EvaluationResults) -> None:
    found = replace(with_checks(results, True), spent=spent(1.0, guarantee=False))
    assert cards(found)[0].value == "none" and purposes(found)[2].answer == "with care"


def test_without_holdout_rows_sharing_is_not_decided(results: EvaluationResults) -> None:
    found = replace(with_checks(results, True), has_holdout=False)
    assert purposes(found)[2].answer == "not decided" and "--holdout" in purposes(found)[2].next_step
    assert cards(found)[3].level == "fair"


def test_the_header_names_table_guarantee_and_command_and_a_shareable_one_neither_table_nor_command(
    results: EvaluationResults,
) -> None:
    told = replace(results, source="visits-of-2024.csv", command="raysynth evaluate visits-of-2024.csv s.csv")
    told = replace(told, spent=spent(2.5))
    private, shared = (render_report(told, shareable=s) for s in (False, True))
    assert "visits-of-2024.csv" in private and "raysynth evaluate visits-of-2024.csv s.csv" in private
    assert "visits-of-2024" not in shared
    assert all("epsilon 2.5, delta 1e-05" in page for page in (private, shared))


def test_pairs_are_drawn_with_the_shares_of_both_tables(results: EvaluationResults) -> None:
    similarity = results.similarity
    assert similarity is not None and len(similarity.joints) == len(similarity.pairs) == 3
    for joint in similarity.joints:
        shape = (len(joint.rows), len(joint.columns))
        assert joint.real.shape == joint.synthetic.shape == shape
        assert math.isclose(joint.real.sum(), 1.0) and math.isclose(joint.synthetic.sum(), 1.0)
    least = similarity.least_accurate[0]
    assert {similarity.joints[0].first, similarity.joints[0].second} == {least.first, least.second}
    both = next(j for j in similarity.joints if {j.first, j.second} == {"x", "y"})
    assert np.abs(both.real - both.synthetic).sum() / 2 == pytest.approx(
        1 - next(p.accuracy for p in similarity.pairs if {p.first, p.second} == {"x", "y"})
    )


def test_a_notebook_draws_columns_and_pairs_and_a_wrong_name_is_said(
    results: EvaluationResults, tmp_path: Path
) -> None:
    assert "<svg" in results.plot("x").html and "high" in results.plot("c").html
    pair = results.plot("y", "x")
    assert pair.html.count("<table") == 2 and pair._repr_html_() == pair.html
    pair.save(tmp_path / "pair.html")
    assert (tmp_path / "pair.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(ParameterError, match="no column 'z'; there are: x, y, c"):
        results.plot("z")
    with pytest.raises(ParameterError, match="one column or two"):
        results.plot()
    assert results.similarity is not None
    without = replace(results, similarity=replace(results.similarity, joints=()))
    with pytest.raises(ParameterError, match="were not kept"):
        without.plot("x", "y")
