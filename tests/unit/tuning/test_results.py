"""The choice from trials: error bars, front, limits, words and the report, on results with known figures."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from raysynth.comparison.intervals import Estimate
from raysynth.errors import ParameterError
from raysynth.tuning.front import AGAINST, Candidate, candidates, cheaper, choose, pareto_front
from raysynth.tuning.report import draw
from raysynth.tuning.results import SweepResult
from raysynth.tuning.trials import FAILED, FINISHED, Setting, Trial, TrialResult

UTILITIES = {("copula", 1.0): 0.70, ("copula", math.inf): 0.80, ("ctgan", 1.0): 0.60, ("ctgan", math.inf): 0.90}
ATTACKS = {("copula", 1.0): 0.00, ("copula", math.inf): 0.02, ("ctgan", 1.0): 0.01, ("ctgan", math.inf): 0.20}


def results(spread: float = 0.01, own: float = 0.0) -> tuple[TrialResult, ...]:
    """Of each setting three seeds: `spread` moves all settings of a seed alike, `own` each by itself."""
    own_moves = {key: own * (1 if i % 2 else -1) for i, key in enumerate(UTILITIES)}
    found = [
        TrialResult(
            Trial(Setting(*key), seed),
            FINISHED,
            utility + (spread + own_moves[key]) * (seed - 1),
            {"similarity": utility},
            Estimate(ATTACKS[key], ATTACKS[key] - 0.05, ATTACKS[key] + 0.05),
            {"fit": 1.0},
        )
        for key, utility in UTILITIES.items()
        for seed in range(3)
    ]
    return (*found, TrialResult(Trial(Setting("gan<b>", math.inf), 0), FAILED, error="<script>out of memory"))


@pytest.fixture
def swept(tmp_path: Path) -> SweepResult:
    def winner(candidate: Candidate) -> Any:
        return candidate.setting

    return SweepResult(results(), "internal", "utility", tmp_path, winner)


def test_error_bars_stay_within_what_a_score_can_be_and_need_three_seeds() -> None:
    wide = candidates(results(spread=0.09))[0]
    assert wide.utility.value == pytest.approx(0.9) and 0 < wide.utility.low < 0.9 < wide.utility.high < 1
    two = Candidate(wide.setting, wide.results[:2])
    assert math.isnan(two.utility.low) and math.isnan(two.gain_over(wide).low)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    found = candidates(results())
    names = [(c.setting.method, c.setting.epsilon) for c in pareto_front(found)]
    assert names == [("copula", 1.0), ("ctgan", math.inf)]
    names = [(c.setting.method, c.setting.epsilon) for c in pareto_front(found, "attack")]
    assert names == [("copula", 1.0), ("copula", math.inf), ("ctgan", math.inf)]


def test_limits_decide_the_choice() -> None:
    found = candidates(results())
    assert choose(found).setting == Setting("ctgan", math.inf)  # type: ignore[union-attr]
    assert choose(found, max_epsilon=3).setting == Setting("copula", 1.0)  # type: ignore[union-attr]
    assert choose(found, max_attack=0.1).setting == Setting("copula", math.inf)  # type: ignore[union-attr]
    assert choose(found, max_epsilon=3, min_utility=0.75) is None


def test_best_is_the_winner_of_the_choice_and_says_what_comes_nearest(swept: SweepResult) -> None:
    assert swept.best(max_epsilon=1) == Setting("copula", 1.0)
    with pytest.raises(ParameterError, match=r"the highest utility is 0\.900 \(ctgan, no epsilon\)"):
        swept.best(min_utility=0.99)
    with pytest.raises(ParameterError, match="against must be one of"):
        swept.front("beauty")


def test_a_smaller_epsilon_within_the_error_bars_is_pointed_out() -> None:
    wide = candidates(results(own=0.1))
    instead = cheaper(wide, choose(wide))  # type: ignore[arg-type]
    assert instead is not None and instead.setting == Setting("copula", 1.0)
    narrow = candidates(results(own=0.001))
    assert cheaper(narrow, choose(narrow)) is None  # type: ignore[arg-type]


def test_what_moves_with_the_seed_alone_does_not_hide_a_difference() -> None:
    together = candidates(results(spread=0.09))
    assert cheaper(together, choose(together)) is None  # type: ignore[arg-type]
    gain = together[0].gain_over(together[1])
    assert gain.low == pytest.approx(gain.value) == pytest.approx(0.1)
    assert together[1].utility.high > together[0].utility.value


def test_the_words_say_what_why_and_who_may_see_it(swept: SweepResult) -> None:
    words = swept.explain(max_epsilon=2)
    assert "copula at epsilon 1 has the highest mean utility" in words and "over 3 seeds" in words
    assert "no better than guessing" in words
    assert "1 trials failed: <script>out of memory" in words
    assert "for the data's holder only" in words
    assert "nothing is guaranteed" in swept.explain()
    assert swept.explain().startswith("Of the settings with a guarantee, copula at epsilon 1 is best")
    fit = "To fit it: raysynth fit DATA --method copula --epsilon 1 --model model.raysynth"
    assert fit in swept.explain() and fit in swept.explain(max_epsilon=2)


def test_no_figures_at_all_is_said_with_the_reason(tmp_path: Path) -> None:
    failed = SweepResult(results()[-1:], "internal", "utility", tmp_path, lambda c: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ParameterError, match="out of memory"):
        failed.best()
    failed.generate_report(tmp_path / "report.html")
    assert "No trial gave figures" in (tmp_path / "report.html").read_text()


def test_table_and_record_hold_every_trial(swept: SweepResult) -> None:
    assert len(swept.table) == 13 and (swept.table["status"] == "failed").sum() == 1
    record = json.loads(json.dumps(swept.record(), allow_nan=False))
    assert record["failed"] == 1 and len(record["settings"]) == 4
    assert record["front"]["epsilon"] == ["copula, epsilon 1", "ctgan, no epsilon"]


def test_the_report_has_every_point_and_escapes_every_name(swept: SweepResult, tmp_path: Path) -> None:
    swept.generate_report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)"', page) == ["short", "plots", "settings", "trials", "meaning"]
    assert page.count('class="point') == 8 and page.count("; on the front") == 5
    assert "<script>out" not in page and "gan&lt;b&gt;" in page and "Private." in page
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)


def test_the_dashed_line_goes_through_the_marks_of_the_front_and_no_others(swept: SweepResult) -> None:
    found = candidates(swept.results)
    for against in AGAINST:
        plot = draw(found, pareto_front(found, against), against, ["copula", "ctgan"])
        marks = [f"{p.x:.1f} {p.y:.1f}" for p in plot.points if p.on_front]
        assert len(marks) > 1 and plot.front == "M" + "L".join(marks)


def test_a_noised_score_beyond_the_usual_range_is_drawn(tmp_path: Path) -> None:
    """A small table's noised number of rows can put a private score far below -1, or above 1."""
    for utility in (-3.0, 1.4):
        line = TrialResult(Trial(Setting("copula", 2.0), 0), FINISHED, utility, {"epsilon_of_one_fit": 1.0})
        SweepResult((line,), "private", "pairs", tmp_path, lambda c: None).generate_report(tmp_path / "r.html")  # type: ignore[arg-type, return-value]
        assert f"utility {utility:.3f}" in (tmp_path / "r.html").read_text(encoding="utf-8")
