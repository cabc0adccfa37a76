"""What the figures mean, in plain words: their levels and the glossary of the report."""

from __future__ import annotations

import math

GLOSSARY: tuple[tuple[str, str, str], ...] = (
    (
        "Quality",
        "Mean of column shapes and column pair trends, from 0 to 1. The same figure as SDMetrics 0.32.",
        "It does not look at three columns at once, at rare rows, or at privacy. A copy of the real table scores 1.",
    ),
    (
        "Column shape",
        "How alike one column's distribution is: 1 - the largest gap of the two cumulative curves (numbers, dates), or "
        "1 - half the summed gaps of the shares (categories). Missing values are left out.",
        "A high value says nothing about how columns go together: shuffling every column by itself keeps it at 1.",
    ),
    (
        "Column pair trend",
        "How alike two columns' relation is: by their correlation (two numbers) or by the shares of each combination. "
        "Only pairs related in the real table (|correlation| above 0.5, Cramer's V above 0.3) count in quality.",
        "Not every kind of relation shows in a correlation; curves and steps may not.",
    ),
    (
        "Accuracy",
        "1 - half the summed gaps of the shares of every combination of one, two or three columns, each cut into about "
        "ten groups. The same figure as mostlyai-qa.",
        "It never reaches 1, even for fresh real rows: with many combinations chance alone makes a gap. So it stands "
        "beside what as many fresh rows would score.",
    ),
    (
        "95 % interval",
        "How far the figure would move had other rows been drawn: 95 of 100 such intervals hold the true figure.",
        "It does not cover a wrong choice of figure, or rows that depend on each other (several rows of one person).",
    ),
    (
        "Precision, recall, density, coverage",
        "Whether synthetic rows lie where real rows lie (precision, density), and whether every kind of real row is "
        "reached (recall, coverage), by distances to the five nearest rows.",
        "A copy of the real table scores 1 in all of them. Look at the gap to fresh rows, not at the value itself.",
    ),
    (
        "Told from real (AUC)",
        "How well a classifier tells synthetic rows from real ones: 0.5 is guessing, 1 is always right.",
        "A value near 1 does not mean that the rows are useless: one wrong decimal is enough to be told.",
    ),
    (
        "Machine-learning efficacy",
        "How much of what models learn from real rows they also learn from synthetic ones, tested on real rows: "
        "1 is as useful, 0 no better than guessing.",
        "It speaks of the targets and models that were tried, not of every use.",
    ),
    (
        "Nearer to training than to holdout rows",
        "Share of synthetic rows that are nearer to a row the synthesizer saw than to one it did not see. "
        "0.5 is what fresh rows give; more is a sign of copying.",
        "0.5 is no proof of privacy: a few copied people do not move a share over all rows.",
    ),
    (
        "Nearest-neighbour distance ratio",
        "Distance to the nearest real row over that to the second nearest. Near 0: the row points at one person.",
        "A row in a crowd has a ratio near 1 whether it was copied or not.",
    ),
    (
        "Exact copies",
        "Share of synthetic rows that equal a real row in every compared column, beside the share among other people's "
        "rows.",
        "In a table of few columns equal rows come about by chance; the baseline shows how many.",
    ),
    (
        "Identifiability",
        "Share of real rows with a synthetic row nearer to them than any other real row is (Yoon et al. 2020). "
        "Fresh rows give about 0.5.",
        "It weighs columns by how much they tell; an attacker may weigh them otherwise.",
    ),
    (
        "Membership inference",
        "How well an attacker tells who was in the training table by the distance to the nearest synthetic row: 0.5 is "
        "guessing.",
        "A simple attack. One that knows the model or trains its own may do better.",
    ),
    (
        "Attribute disclosure",
        "How often an attacker who knows all other columns of a person guesses one column right from the nearest "
        "synthetic row, beside the same guess from other real rows.",
        "What other people's rows disclose as well is knowledge of the population, not of the person.",
    ),
    (
        "Attack: success, baseline, gain",
        "An attacker with stated knowledge is played on rows that the synthesizer learned from (success), and in the "
        "same way where nothing can have leaked: on rows it never saw, or by guessing (baseline). The gain is a leak.",
        "No gain means that this attack failed on these rows. Another attack, or luck on a single person, may not.",
    ),
    (
        "ROC curve, false alarms",
        "An attacker who calls few people members is surer of each. The curve shows how many members are found at each "
        "share of others wrongly called members; 'epsilon shown' is the smallest epsilon that could explain it.",
        "The left end matters most and rests on few people: mind the intervals.",
    ),
    (
        "Attribute attack, model inversion",
        "Attribute: an unknown column of a person is guessed from the known ones. Inversion: training rows "
        "are rebuilt from where synthetic rows crowd.",
        "What succeeds as well on rows that were never seen comes from the population, not from one person's row.",
    ),
    (
        "Proximity",
        "Without holdout rows, in the place of membership: share of real rows nearer to the synthetic table than to as "
        "many other real rows. Where no person is in either table it is 0.5.",
        "It is not membership: keep real rows out of the fit, and give them as holdout rows, to measure that.",
    ),
    (
        "Differential privacy (epsilon, delta)",
        "A guarantee against every attacker: the smaller epsilon, the less any one row can change the result.",
        "The only privacy figure here that is a guarantee; all others can find leaks, never exclude them.",
    ),
)


REACH: tuple[tuple[str, str, str], ...] = (
    ("precision", "Precision", "share of synthetic rows that lie among real rows"),
    ("recall", "Recall", "share of real rows that lie among synthetic rows"),
    ("density", "Density", "how crowded with real rows the places of synthetic rows are; about 1"),
    ("coverage", "Coverage", "share of real rows that have a synthetic row as near as real neighbours"),
)


def likeness(score: float) -> str:
    """How columns of a similarity score are beside the real ones, as words before 'the real ones'."""
    if math.isnan(score):
        return "not comparable with"
    for limit, words in ((0.95, "very close to"), (0.9, "close to"), (0.8, "fairly close to"), (0.6, "roughly like")):
        if score >= limit:
            return words
    return "unlike"


def level(score: float) -> str:
    """'good', 'fair' or 'bad': which colour a similarity score has."""
    if math.isnan(score):
        return "none"
    return "good" if score >= 0.9 else "fair" if score >= 0.75 else "bad"


def distinguishability(auc: float) -> str:
    """How well a classifier tells synthetic rows from real ones, as a sentence; `auc`: of the two-sample test."""
    if math.isnan(auc) or auc < 0.55:
        return "A classifier can hardly tell synthetic rows from real ones."
    right = f"of 100 pairs of a real and a synthetic row it picks the real one in {100 * auc:.0f}"
    if auc < 0.7:
        return f"A classifier tells some synthetic rows from real ones: {right}, where guessing gives 50."
    return f"A classifier tells most synthetic rows from real ones: {right}, where guessing gives 50."


def usefulness(score: float, target: str) -> str:
    """A sentence for machine-learning efficacy; `target`: what is predicted."""
    if math.isnan(score):
        return f"The real rows themselves teach nothing about {target}, so no ratio is defined."
    return f"Models trained on synthetic rows keep {score:.0%} of what real rows teach about {target}."
