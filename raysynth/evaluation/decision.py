"""What a reader decides by the report: four figures, a verdict for each purpose, and what to look at first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from raysynth.comparison.intervals import Estimate
from raysynth.evaluation import wording
from raysynth.evaluation.section import as_number, as_percent

if TYPE_CHECKING:
    from raysynth.dp.accounting.privacy_spent import PrivacySpent
    from raysynth.evaluation.figures import EvaluationFigures
    from raysynth.evaluation.privacy import Check

STRICT, WEAK = 3.0, 10.0  # epsilon up to which a guarantee is strict, and above which it promises little
_LARGEST_DELTA = 1e-3  # above it a mechanism may hand over the rows of one person in a thousand, whatever its epsilon
ANSWERS = {"good": "yes", "fair": "with care", "bad": "no", "none": "not decided"}


@dataclass(frozen=True)
class Card:
    """One deciding figure.

    Args:
        title, value: what it is, and the figure in words.
        level: 'good', 'fair', 'bad', or 'none' where it was not measured.
        words: what follows from it.
        anchor: of the section that shows more.
        meter: in [0, 1], drawn as a bar; None: no bar.
        interval: the 95 % interval in words; empty where there is none.
    """

    title: str
    value: str
    level: str
    words: str
    anchor: str
    meter: float | None = None
    interval: str = ""


@dataclass(frozen=True)
class Purpose:
    """What the table can be used for: the answer in a word or two, its level, the reason, and the next step."""

    name: str
    answer: str
    level: str
    reason: str
    next_step: str


def cards(results: EvaluationFigures) -> tuple[Card, ...]:
    """Guarantee, likeness, usefulness and leakage, always in this order."""
    return _guarantee_card(results), _likeness_card(results), _usefulness_card(results), _leakage_card(results)


def purposes(results: EvaluationFigures) -> tuple[Purpose, ...]:
    """A verdict for analysis, for learning to predict, and for sharing outside."""
    return _analysis(results), _prediction(results), _sharing(results)


def attention(results: EvaluationFigures) -> list[str]:
    """What a reader should look at first: what failed, and the worst three columns and pairs."""
    found = [f"{d.name}: {d.detail}" for d in results.diagnostics if not d.passed]
    if results.privacy is not None:
        told = [c for c in results.privacy.checks if c.passed is False or c.to_decide]
        found += [
            f"{c.title}: {c.figure}, where other people's rows give {c.baseline:.3f}{c.to_decide and '; '}{c.to_decide}"
            for c in told
        ]
    if results.similarity is not None:
        columns = sorted(results.similarity.columns, key=lambda c: c.score)
        found += [f"Column '{c.name}' has a shape score of {c.score:.2f}" for c in columns[:3] if c.score < 0.85]
        pairs = sorted((p for p in results.similarity.pairs if p.is_strong), key=lambda p: p.score)
        found += [f"Pair '{p.first}' and '{p.second}' scores {p.score:.2f}" for p in pairs[:3] if p.score < 0.85]
    return found


def guarantee_words(results: EvaluationFigures) -> str:
    """The guarantee of differential privacy in a few words; 'none', or 'not known' where no model was given."""
    if results.spent is not None:
        return spent_words(results.spent)
    told = _told(results)
    return "not known: no model was given" if told is None else told


def spent_words(spent: PrivacySpent | None) -> str:
    """The guarantee that a ledger states, in a few words; 'none' without one."""
    if spent is None:
        return "none"
    if not spent.guarantee:
        return "none: the ledger holds what voids it"
    units = sorted({event.unit for event in spent.ledger})
    return f"epsilon {spent.epsilon:.3g}, delta {spent.delta:.2g}, by {' and '.join(units) or 'row'}"


def _told(results: EvaluationFigures) -> str | None:
    """What the caller says of the guarantee, where no ledger was given."""
    told = (results.model_info or {}).get("differential privacy")
    return None if told is None else str(told)


def _level_of(spent: PrivacySpent) -> str:
    if spent.epsilon > WEAK or spent.delta > _LARGEST_DELTA:
        return "bad"
    return "good" if spent.epsilon <= STRICT else "fair"


def _guarantee_card(results: EvaluationFigures) -> Card:
    title, spent = "Guarantee (differential privacy)", results.spent
    if spent is None:
        told = _told(results)
        value = "not known" if told is None else told
        words = (
            "Nothing was told of how the table was made."
            if told is None
            else "Nothing bounds what the table tells about one person; the checks can only look for leaks."
        )
        return Card(title, value, "none", words, "making" if told is None else "ledger")
    if not spent.guarantee:
        return Card(title, "none", "bad", "Noise was seeded, or something is not covered: see the ledger.", "ledger")
    level = _level_of(spent)
    how = {"good": "A strict bound", "fair": "A bound", "bad": "A bound that promises little"}[level]
    unit = guarantee_words(results).rpartition("by ")[2]
    words = f"{how} on what the table tells about any one {unit}, whatever an attacker knows (delta {spent.delta:.2g})."
    return Card(title, f"epsilon {spent.epsilon:.3g}", level, words, "ledger")


def _likeness_card(results: EvaluationFigures) -> Card:
    if (s := results.similarity) is None:
        return Card("Likeness", "not measured", "none", "Similarity was not asked for.", "columns")
    accuracy, fresh = s.accuracies["bivariate"]
    words = f"Columns and their relations are {wording.likeness(s.quality)} the real ones."
    if not math.isnan(accuracy):
        words += f" Pairs of columns are {accuracy:.1%} accurate; as many fresh real rows would be {fresh:.1%}."
    interval = _bounds(s.estimates["quality"], percent=True)
    meter = None if math.isnan(s.quality) else s.quality
    return Card("Likeness", as_percent(s.quality), wording.level(s.quality), words, "columns", meter, interval)


def _usefulness_card(results: EvaluationFigures) -> Card:
    if not results.efficacy:
        return Card("Usefulness", "not measured", "none", "Name a column to predict: --target COLUMN.", "making")
    score = results.ml_efficacy
    words = wording.usefulness(score, results.target)
    if len(results.efficacy) == 1:
        only = results.efficacy[0]
        best = max(only.models, key=lambda m: m.real.value)
        bounds = _bounds(best.synthetic)
        interval = f" (95 % interval {bounds})" if bounds else ""
        words += f" {only.measure} {best.synthetic.value:.3f}{interval}; trained on real rows {best.real.value:.3f}."
    meter = None if math.isnan(score) else score
    title = f"Usefulness for predicting {results.target}"
    return Card(title, as_percent(score), wording.level(score), words, "efficacy", meter)


def _leakage_card(results: EvaluationFigures) -> Card:
    if (p := results.privacy) is None:
        return Card("Leakage", "not measured", "none", "No attack was asked for.", "making")
    failed = [c for c in p.checks if c.passed is False]
    measured = [c for c in p.checks if c.passed is not None]
    if failed:
        worst = max(failed, key=lambda c: (not c.minor, -1.0 if math.isnan(c.risk) else c.risk))
        words = f"{worst.title}: {worst.figure.value:.3f}, where other people's rows give {worst.baseline:.3f}."
        if worst.minor:
            return Card("Leakage", f"minor: {len(failed)} of {len(measured)} checks", "fair", words, "privacy")
        return Card("Leakage", f"found: {len(failed)} of {len(measured)} checks", "bad", words, "privacy")
    if not results.has_holdout:
        words = f"{len(measured)} checks found none, but without holdout rows copying shows in part only."
        return Card("Leakage", "none found", "fair", words, "privacy")
    if undecided := [c for c in measured if c.to_decide]:
        worst = max(undecided, key=lambda c: c.rows_to_decide)
        words = f"Too few rows to decide: {worst.title.lower()} {worst.figure}; {worst.to_decide}."
        return Card("Leakage", f"none shown, {len(undecided)} of {len(measured)} not decided", "fair", words, "privacy")
    words = f"{len(measured)} checks and attacks, corrected for their number. That is no proof of privacy."
    return Card("Leakage", "none found", "good", words, "privacy")


def _analysis(results: EvaluationFigures) -> Purpose:
    name = "Analysis: counts, shares, relations"
    if not results.is_valid:
        failed = ", ".join(d.name.lower() for d in results.diagnostics if not d.passed)
        step = "Mend what Diagnostics lists."
        if results.spent is not None:
            step = "Declare bounds and values in the schema: within a budget they are not read from the rows."
        return Purpose(name, "no", "bad", f"The table is not valid: {failed}.", step)
    if (s := results.similarity) is None or math.isnan(s.quality):
        return Purpose(name, "not decided", "none", "Similarity was not measured.", "Evaluate with all metrics.")
    accuracy, fresh = s.accuracies["bivariate"]
    gap = 0.0 if math.isnan(accuracy) else fresh - accuracy
    highest = s.estimates["quality"].high  # fresh rows of a small table lie below 0.95, too
    reached = s.quality if math.isnan(highest) else highest
    level = "good" if reached >= 0.95 and gap <= 0.03 else "fair" if reached >= 0.85 and gap <= 0.1 else "bad"
    below = f"{gap:.1%} less accurate than" if gap >= 0.0005 else "as accurate as"
    reason = f"Quality {s.quality:.3f}; pairs of columns are {below} those of as many fresh real rows."
    if results.realism is not None:
        reason += f" {wording.distinguishability(results.realism.auc.value)}"
    worst = min(s.columns, key=lambda c: 2.0 if math.isnan(c.score) else c.score)
    step = (
        f"Use it; '{worst.name}' is the least alike column ({worst.score:.3f})."
        if level == "good"
        else f"Look at '{worst.name}' ({worst.score:.3f}) first; then try another method, or more rows to learn from."
    )
    return Purpose(name, ANSWERS[level], level, reason, step)


def _prediction(results: EvaluationFigures) -> Purpose:
    name = "Learning to predict" + (f" {results.target}" if results.efficacy else "")
    if not results.efficacy:
        return Purpose(name, "not decided", "none", "No column to predict was named.", "Evaluate with --target COLUMN.")
    score = results.ml_efficacy
    if math.isnan(score):
        return Purpose(name, "not decided", "none", wording.usefulness(score, results.target), "Name another target.")
    level = "good" if score >= 0.95 else "fair" if _most_useful(results) >= 0.8 else "bad"
    seen = not all(t.held_out for t in results.efficacy)
    step = (
        "Give holdout rows: the test rows may have been seen."
        if seen
        else "Test the final model on real rows all the same."
        if level == "good"
        else "Try another method, or declare the target's kind; see Usefulness."
    )
    return Purpose(name, ANSWERS[level], level, wording.usefulness(score, results.target), step)


def _most_useful(results: EvaluationFigures) -> float:
    """The targets' mean ratio at the upper ends of the synthetic side's intervals: few test rows refuse nothing."""
    ratios = []
    for target in results.efficacy:
        best = max(target.models, key=lambda m: m.real.value)
        high = best.synthetic.value if math.isnan(best.synthetic.high) else best.synthetic.high
        ratios.append(replace(best, synthetic=Estimate(high)).ratio(target.guess))
    known = [r for r in ratios if not math.isnan(r)]
    return sum(known) / len(known) if known else 0.0


def _sharing(results: EvaluationFigures) -> Purpose:
    """'no' where a check fails, 'with care' where what fails is minor or no guarantee holds; see docs, 'figures'."""
    name, spent = "Sharing outside", results.spent
    failed = [] if results.privacy is None else [c for c in results.privacy.checks if c.passed is False]
    covered = spent is not None and spent.guarantee
    if grave := [c.title.lower() for c in failed if not c.minor]:
        step = (
            "Take a smaller epsilon, and look at the checks: within its bound the guarantee still holds."
            if covered
            else "Do not share it yet. Fit with a budget (--epsilon 1), or learn from more rows."
        )
        return Purpose(name, "no", "bad", f"Real rows may be recognised: {', '.join(grave)}.", step)
    if covered and spent is not None:
        level = _level_of(spent)
        level = "fair" if failed and level == "good" else level
        step = (
            "State epsilon, delta and the unit with the table."
            if level != "bad"
            else "Fit with a smaller epsilon or delta."
        )
        reason = f"A guarantee holds for what the given model draws: {guarantee_words(results)}."
        reason += f" Yet{_of_minor(failed)}" if failed else ""
        return Purpose(name, ANSWERS[level], level, reason, step)
    if results.privacy is None:
        return Purpose(name, "not decided", "none", "Leakage was not measured.", "Evaluate with privacy metrics.")
    if not results.has_holdout:
        step = "Keep real rows out of the fit and give them: --holdout."
        return Purpose(name, "not decided", "none", "Without holdout rows copying shows in part only.", step)
    reason = "No guarantee holds, and" + (_of_minor(failed) or " no check found a leak.")
    step = "Share under contract; to publish, fit with a budget (--epsilon 1)."
    return Purpose(name, "with care", "fair", reason, step)


def _of_minor(failed: Sequence[Check]) -> str:
    """What is found and minor, in a sentence; empty where nothing is."""
    told = ", ".join(f"{c.title.lower()} {c.figure.value:.3f}, guessing {c.baseline:.3f}" for c in failed)
    words = "attackers tell learned rows from others a little better than by guessing, or by margins alone"
    return f" {words} ({told})." if failed else ""


def _bounds(interval: Estimate, *, percent: bool = False) -> str:
    if math.isnan(interval.low):
        return ""
    low, high = ((as_percent(b) if percent else as_number(b, 3)) for b in (interval.low, interval.high))
    return f"{low} to {high}"
