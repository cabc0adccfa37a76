"""Privacy figures from distances: is the synthetic table nearer to the rows it was made from than chance would have it?

None of these proves privacy; each can only find a leak. Only a privacy budget (differential privacy) gives a guarantee.
Every figure comes with a baseline: what other real rows (holdout rows where there are any) would score in its place.

The risk score is one number in [0, 1] of them, with every part that it was made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from raysynth.attacks.verdicts import NEGLIGIBLE, SLIGHT, rows_to_decide
from raysynth.comparison import rates
from raysynth.comparison.intervals import UNDEFINED, Z95, Estimate, share
from raysynth.comparison.neighbours import Metric, Neighbours, gower_metric, nearest, ranges
from raysynth.comparison.rates import auc
from raysynth.comparison.rows import Rows, chance_equals
from raysynth.evaluation.disclosure import Disclosure, attribute_disclosure

_JUDGED = 5  # figures whose intervals decide: a table that leaks nothing fails any of them in 2.5 % of cases at most
VERDICT_LEVEL = 1 - (1 - rates.LEVEL) / _JUDGED  # of these intervals (Bonferroni); those that are shown are at 95 %
RARE = 0.1  # real rows that equal one by chance
TIE = 1e-6  # distances nearer than this are equal (the search runs in float32)


@dataclass(frozen=True)
class Check:
    """One privacy figure beside its baseline, and whether it passes.

    Args:
        key, title: for machines and for people.
        figure: with its interval.
        baseline: what rows of other people score; NaN where it cannot be known.
        risk: the figure's excess over the baseline, scaled to [0, 1]; NaN where the figure is no part of the score.
        passed: None where it cannot be judged.
        rule: when it passes, in words.
        minor: what does not pass is spread over all rows, and under a tenth of what could be gained
            (`raysynth.attacks.verdicts.SLIGHT`) or what any table with the same margins gives. A copied row is never
            minor.
        rows_to_decide: how many times as many rows, held-out ones too, would decide by their interval, where the figure
            is beyond what is allowed and the interval that judges it is not; NaN where it is decided.
    """

    key: str
    title: str
    figure: Estimate
    baseline: float
    risk: float
    passed: bool | None
    rule: str
    minor: bool = False
    rows_to_decide: float = math.nan

    @property
    def in_words(self) -> str:
        """'not measured', 'pass', 'not decided', 'minor' or 'fail'."""
        if self.passed is None:
            return "not measured"
        if self.passed:
            return "pass" if math.isnan(self.rows_to_decide) else "not decided"
        return "minor" if self.minor else "fail"

    @property
    def to_decide(self) -> str:
        """What would decide it, in words; empty where it is decided."""
        times = self.rows_to_decide
        if math.isnan(times):
            return ""
        rounded = float(f"{max(times, 1.1):.2g}")
        return f"about {rounded:,g} times as many rows, held-out ones too, would decide"


@dataclass(frozen=True)
class Judged:
    """A figure with the interval that is shown, and with the wider one that decides, all figures considered."""

    shown: Estimate
    decides: Estimate


NOT_JUDGED = Judged(UNDEFINED, UNDEFINED)


@dataclass(frozen=True)
class PrivacyFigures:
    """All privacy figures of one evaluation.

    Args:
        checks: the figures that are judged.
        disclosure: attribute disclosure, in all and by column.
        distances: quantiles (5 %, 25 %, 50 %, 75 %, 95 %) of the distance to the closest record, by name of the rows.
        dcr_overfitting_protection: SDMetrics' score in [0, 1] (1: no overfitting); NaN without holdout.
        roc: (false positive rates, true positive rates) of the membership attack, or None.
        n_real, n_synthetic, n_holdout: rows that took part.
    """

    checks: tuple[Check, ...]
    disclosure: Disclosure
    distances: dict[str, tuple[float, ...]]
    dcr_overfitting_protection: float
    roc: tuple[tuple[float, ...], tuple[float, ...]] | None
    n_real: int
    n_synthetic: int
    n_holdout: int

    @property
    def risk(self) -> float:
        """Risk score in [0, 1]: the largest risk among the checks (a table is as exposed as its weakest side)."""
        return largest_risk(self.checks)

    def check(self, key: str) -> Check:
        """The figure of a key."""
        return next(c for c in self.checks if c.key == key)


def privacy_figures(
    real: Rows, synthetic: Rows, holdout: Rows | None, seed: int = 0, more: Sequence[Check] = ()
) -> PrivacyFigures:
    """All figures; `real`: rows that the synthesizer was fitted to, `holdout`: rows it has not seen (or None).

    `more`: further checks, such as those of attacks.
    """
    rng = np.random.default_rng(seed)
    metric = gower_metric(real)
    to_real = nearest(synthetic, real, metric, 2)
    # What other people's rows score: the holdout's, or each real row against all the others.
    if holdout is not None:
        other_rows, others = holdout, nearest(holdout, real, metric, 2)
    else:
        other_rows = real.sample(20_000, rng)
        others = nearest(other_rows, other_rows, metric, 2, same_rows=True)
    member, roc = membership(real, synthetic, holdout, metric, rng)
    disclosed = attribute_disclosure(real, synthetic, holdout, seed)
    closer, protection = closer_to_training(synthetic, real, holdout, to_real, rng)
    identified = identifiability(real, synthetic, rng)
    return PrivacyFigures(
        checks=(
            share_check("closer_to_training", "Nearer to training than to holdout rows", closer),
            _ratio_check(to_real, others),
            copies_check(real, (synthetic, to_real), (other_rows, others)),
            share_check("identifiability", "Identifiability", identified),
            membership_check(member, more),
            _disclosure_check(disclosed),
            *more,
        ),
        disclosure=disclosed,
        distances={
            "synthetic": _quantiles(to_real.distances_QK[:, 0]),
            "holdout" if holdout is not None else "real": _quantiles(others.distances_QK[:, 0]),
        },
        dcr_overfitting_protection=protection,
        roc=roc,
        n_real=len(real),
        n_synthetic=len(synthetic),
        n_holdout=0 if holdout is None else len(holdout),
    )


def closer_to_training(
    synthetic: Rows, real: Rows, holdout: Rows | None, to_real: Neighbours, rng: np.random.Generator
) -> tuple[Judged, float]:
    """Share of synthetic rows nearer to a training row than to a holdout row, and SDMetrics' overfitting protection.

    The share compares equal numbers of training and holdout rows (the larger side is sampled), one distance for both,
    and counts ties half: 0.5 is what rows of people in neither table give. Synthetic rows with the same nearest row
    are not independent (a row in a crowd is nearest to many), which the interval allows for.
    SDMetrics' DCROverfittingProtection takes all rows, each side's own ranges, and counts ties for the holdout:
    min(2 * (1 - share), 1).
    """
    if holdout is None:
        return NOT_JUDGED, float("nan")
    n = min(len(real), len(holdout))
    metric = gower_metric(real)
    to_training = to_real if n == len(real) else nearest(synthetic, real.sample(n, rng), metric)
    to_holdout = nearest(synthetic, holdout.sample(n, rng), metric)
    closer = _nearer(to_training, to_holdout)
    own_ranges = nearest(synthetic, holdout, gower_metric(holdout))
    strict = (to_real.distances_QK[:, 0] - own_ranges.distances_QK[:, 0] < -TIE).mean()
    return closer, min(2 * (1 - float(strict)), 1.0)


def identifiability(real: Rows, synthetic: Rows, rng: np.random.Generator) -> Judged:
    """Share of real rows that have a synthetic row nearer than their nearest other real row (Yoon et al. 2020, ADS-GAN,
    definition 1), on equal numbers of both; columns weighted by the inverse of their entropy. Fresh rows give 0.5."""
    n = min(len(real), len(synthetic))
    real, synthetic = real.sample(n, rng), synthetic.sample(n, rng)
    if n < 2:
        return NOT_JUDGED
    metric = _entropy_metric(real)
    return _nearer(nearest(real, synthetic, metric), nearest(real, real, metric, same_rows=True))


def _nearer(first: Neighbours, second: Neighbours) -> Judged:
    """Share of the queries that are nearer to the first rows than to the second, ties half; its interval is over the
    rows that are nearest, of which one may decide for many queries."""
    gap = first.distances_QK[:, 0] - second.distances_QK[:, 0]
    won = np.where(gap < -TIE, 1.0, np.where(gap > TIE, 0.0, 0.5))
    clusters = np.where(won > 0, first.rows_QK[:, 0], -1 - second.rows_QK[:, 0])
    return Judged(*(rates.share(won, clusters, level) for level in (rates.LEVEL, VERDICT_LEVEL)))


def membership(
    real: Rows, synthetic: Rows, holdout: Rows | None, metric: Metric, rng: np.random.Generator
) -> tuple[Judged, tuple[tuple[float, ...], tuple[float, ...]] | None]:
    """AUC of the attack that calls a row a member when a synthetic row is near (GAN-Leaks, Chen et al. 2020), on equal
    numbers of training and holdout rows; and its ROC curve. 0.5: membership cannot be told."""
    if holdout is None:
        return NOT_JUDGED, None
    n = min(len(real), len(holdout), 20_000)
    members, others = (
        -np.round(nearest(rows.sample(n, rng), synthetic, metric).distances_QK[:, 0], 6)
        for rows in (real.independent(rng), holdout.independent(rng))
    )
    found = Judged(*(auc(members, others, level=level) for level in (rates.LEVEL, VERDICT_LEVEL)))
    return found, roc_curve(members, others)


def roc_curve(
    positive: np.ndarray, negative: np.ndarray, points: int = 101
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """False and true positive rates, each from 0 to 1, at up to `points` thresholds."""
    thresholds = np.unique(np.quantile(np.concatenate([positive, negative]), np.linspace(0, 1, points)))[::-1]
    rates = [[float((s >= t).mean()) for t in thresholds] for s in (negative, positive)]
    return (0.0, *rates[0]), (0.0, *rates[1])


def _entropy_metric(real: Rows) -> Metric:
    """Euclid on ranges, each column divided by its entropy (numbers: of ten equal bins)."""
    low, high = ranges(real.numbers_NV)
    width = np.where(high > low, high - low, 1.0)
    entropies = []
    for column, start, size in zip(real.numbers_NV.T, low, width, strict=True):
        inside = np.isfinite(column)
        entropies.append(_entropy(np.bincount((9.999 * (column[inside] - start) / size).astype(int))))
    entropies += [_entropy(np.bincount(column)) for column in real.codes_NC.T]
    inverse = np.array([1 / e if e > 1e-9 else 0.0 for e in entropies])
    weights = inverse / inverse.sum() if inverse.sum() > 0 else np.ones(len(inverse))
    return Metric(width, weights**2, 2, low)


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log(p)).sum())


def _quantiles(distances: np.ndarray) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(distances, [0.05, 0.25, 0.5, 0.75, 0.95]))


def share_check(key: str, title: str, found: Judged) -> Check:
    """A figure that is 0.5 for rows of people in neither table; `key` and `title` are those of the check."""
    value, most = found.shown.value, 0.5 + NEGLIGIBLE
    passed = None if math.isnan(value) else not found.decides.low > most
    rule = f"fails where its {100 * VERDICT_LEVEL:.0f} % interval lies above {most}"
    more = rows_to_decide(value, found.decides.low, most) if passed else math.nan
    return Check(key, title, found.shown, 0.5, _above(value, 0.5), passed, rule, rows_to_decide=more)


def membership_check(found: Judged, more: Sequence[Check] = ()) -> Check:
    """An AUC (`membership`), so that it is judged by the scale of attacks; few exposed rows do not show in it, so that
    it is minor only where attacks looked for those, as `more` says."""
    check = share_check("membership_inference", "Membership inference by distance", found)
    looked = any(c.key == "attack_membership_inference" for c in more)
    return replace(check, minor=looked and check.passed is False and check.risk < SLIGHT)


def _ratio_check(to_real: Neighbours, others: Neighbours) -> Check:
    own, other = (_median(_ratio(n)) for n in (to_real, others))
    rule = "fails where its interval lies below 0.8 times that of other people's rows"
    passed, nothing = not own.high < 0.8 * other.low, float("nan")
    return Check("nndr", "Nearest-neighbour distance ratio", own, other.value, nothing, passed, rule)


def _median(values: np.ndarray) -> Estimate:
    """Median with its exact interval between order statistics (Conover 1999, section 3.2); none for fewer than six."""
    from scipy.stats import binom

    value, n = float(np.median(values)), len(values)
    rank = int(binom.ppf((1 - rates.LEVEL) / 2, n, 0.5))  # the lowest ranks that hold it with too small a chance
    if rank < 1:
        return Estimate(value)
    ordered = np.sort(values)
    return Estimate(value, float(ordered[rank - 1]), float(ordered[n - rank]))


def _ratio(neighbours: Neighbours) -> np.ndarray:
    """Distance of the nearest over that of the second nearest; 1 where both are 0 (a crowd hides the row)."""
    if neighbours.distances_QK.shape[1] < 2:
        return np.ones(len(neighbours.distances_QK))
    first, second = neighbours.distances_QK.T
    return np.where(second > TIE, first / np.maximum(second, TIE), 1.0)


def copies_check(real: Rows, made: tuple[Rows, Neighbours], others: tuple[Rows, Neighbours]) -> Check:
    """Share of rows that equal a real one, beside that of other people's rows; both with their nearest real rows.

    Among rows that many have, copies do not show: so those of rare rows are judged by themselves, too.
    """
    from scipy.stats import binomtest

    own, other = (share(float(is_copy(near).sum()), len(rows)) for rows, near in (made, others))
    risk = max(own.value - other.value, 0.0) / max(1 - other.value, 1e-9)
    rare, more = (
        len(np.unique(near.rows_QK[is_copy(near) & (chance_equals(rows, real) < RARE), 0]))
        for rows, near in (made, others)
    )
    by_chance = len(made[0]) / (len(made[0]) + len(others[0]))
    surely = rare > 0 and binomtest(rare, rare + more, by_chance, "greater").pvalue < 1 - VERDICT_LEVEL
    rule = (
        "fails where its interval lies above that of copies among other people's rows, or where surely more rows are "
        f"copied that fewer than {RARE} real ones would equal by chance"
    )
    passed = own.low <= other.high and not surely
    return Check("exact_copies", "Exact copies of real rows", own, other.value, risk, passed, rule)


def is_copy(near: Neighbours) -> np.ndarray:
    """Which rows equal their nearest one (Q,)."""
    return near.distances_QK[:, 0] <= TIE


def _disclosure_check(found: Disclosure) -> Check:
    from scipy.stats import norm

    gain, most = found.gain, 0.02
    success = Estimate(found.success, found.baseline + gain.low, found.baseline + gain.high)
    surely = gain.value - (gain.value - gain.low) * float(norm.ppf((1 + VERDICT_LEVEL) / 2)) / Z95
    passed = None if math.isnan(gain.value) else not surely > most
    risk = found.advantage if math.isnan(found.advantage) else min(max(found.advantage, 0.0), 1.0)
    rule = f"fails where the {100 * VERDICT_LEVEL:.0f} % interval of its gain over the baseline lies above {most}"
    more = rows_to_decide(gain.value, surely, most) if passed else math.nan
    title = "Attribute disclosure"
    return Check("attribute_disclosure", title, success, found.baseline, risk, passed, rule, rows_to_decide=more)


def largest_risk(checks: Iterable[Check]) -> float:
    """The largest risk among checks that have one; NaN where none has."""
    return max((c.risk for c in checks if not math.isnan(c.risk)), default=float("nan"))


def _above(value: float, baseline: float) -> float:
    return value if math.isnan(value) else min(max((value - baseline) / (1 - baseline), 0.0), 1.0)


# what each metric of `privacy_risk_score` is made of, by keys of checks
PARTS: dict[str, tuple[str, ...]] = {
    "identifiability": ("identifiability",),
    "membership_inference": ("membership_inference", "attack_membership_inference", "proximity"),
    "attribute_disclosure": ("attribute_disclosure",),
    "attribute_inference": ("attack_attribute_inference",),
    "model_inversion": ("attack_model_inversion",),
    "closer_to_training": ("closer_to_training",),
    "exact_copies": ("exact_copies",),
}


class PrivacyRisk(float):
    """A risk in [0, 1] that is a float, with the parts behind it.

    The rule: each part is a published figure beside what rows of other people score in its place, and its risk is the
    excess, (figure - baseline) / (1 - baseline), cut to [0, 1]; an attack counts only where its gain is surely above 0.
    The score is the largest of these risks: a table is as exposed as its weakest side. NaN: no part is defined.
    """

    parts: Mapping[str, Check]

    def __new__(cls, checks: Iterable[Check]) -> PrivacyRisk:
        """The score of some checks; those without a risk are kept as parts, and do not count."""
        parts = {c.key: c for c in checks}
        score = super().__new__(cls, largest_risk(parts.values()))
        score.parts = MappingProxyType(parts)
        return score

    def __reduce__(self) -> tuple[type[PrivacyRisk], tuple[tuple[Check, ...]]]:
        return PrivacyRisk, (tuple(self.parts.values()),)

    def of_metric(self, metric: str) -> float:
        """The largest risk among a metric's parts; NaN where none is defined."""
        return largest_risk(c for key, c in self.parts.items() if key in PARTS[metric])

    def summary(self) -> str:
        """The score and its parts as text, one a line."""
        lines = [f"Privacy risk {float(self):.4f}  (0: no part found a leak, which proves nothing; 1: all given away)"]
        for c in self.parts.values():
            risk = "not measured" if math.isnan(c.risk) else f"{c.risk:.4f}"
            lines.append(f"  {c.title:<42} {risk}  ({c.figure}, baseline {c.baseline:.3f})")
        return "\n".join(lines)
