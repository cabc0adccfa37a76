"""Statistical similarity of two tables: columns, pairs and triples, over all rows, from mergeable statistics.

Quality is the mean of Column Shapes and Column Pair Trends, as in SDMetrics 0.32: all columns count, but of the pairs
only those that belong together in the real table (|Pearson| above 0.5, or Cramer's V above 0.3); `all_pair_trends` is
the mean over every pair. A number that meets a category is cut into ten equal bins of its own table's range.

Accuracy is mostlyai-qa's: 1 - the total variation distance of columns, pairs and triples, each column cut into about
ten groups of the real table (`quantile_coder`, `coarse_category_coder`), beside what fresh real rows would score.

Counts of categories, of pairs and of triples, and moments, are exact at any number of rows; a column of numbers with
more than 65,536 distinct values is compared on cells (`ColumnSimilarity.error` states how far its score can be off).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysynth.comparison.coding import (
    Coder,
    Marginal,
    category_coder,
    coarse_category_coder,
    quantile_coder,
    range_coder,
)
from raysynth.comparison.intervals import Z95, Estimate
from raysynth.evaluation.counting import Joint, PassPlan, PassSummary, SparseCounts, aligned
from raysynth.evaluation.measures import (
    NAN,
    aligned_counts,
    around,
    category_coverage,
    contingency_similarity,
    correlation_half_width,
    correlation_similarity,
    expected_complement,
    ks_complement,
    ks_half_width,
    mean_around,
    mean_of_defined,
    missing_similarity,
    range_coverage,
    tv_complement,
    tv_half_width,
    wasserstein_distance,
)
from raysynth.schema.columns import Kind
from raysynth.statistics.released import CategoryCounts, NumericDistribution

N_TRIPLES = 60
MOST_PAIRS = 5_000  # compared; of more (beyond 100 columns) so many, drawn at random
STRONG_CORRELATION, STRONG_ASSOCIATION = 0.5, 0.3  # SDMetrics 0.32's defaults


@dataclass(frozen=True)
class ColumnSimilarity:
    """One column of both tables.

    Args:
        score: KS complement (numbers) or total variation complement (categories), in [0, 1].
        error: how far the score can be off by its computation, 0 where it is exact.
        half_width: half the 95 % interval of the score over draws of rows (`sampling_error`), `error` included.
        wasserstein: mean distance of equal ranks in standard deviations of the real column; NaN for categories.
        coverage: share of the real categories, or of the real range, that the synthetic column reaches.
        missing_real, missing_synthetic: shares of missing values.
        real, synthetic: the released statistics behind the figures.
        accuracy, expected: mostlyai-qa's univariate accuracy, and what as many fresh real rows would score.
    """

    name: str
    kind: Kind
    metric: str
    score: float
    error: float
    half_width: float
    wasserstein: float
    coverage: float
    missing_real: float
    missing_synthetic: float
    real: Marginal
    synthetic: Marginal
    accuracy: float = NAN
    expected: float = NAN

    @property
    def estimate(self) -> Estimate:
        """The score with its 95 % interval."""
        return around(self.score, self.half_width)

    @property
    def missing_score(self) -> float:
        """1 - the distance of the shares of missing values."""
        return missing_similarity(self.missing_real, self.missing_synthetic)


@dataclass(frozen=True)
class PairSimilarity:
    """Two columns together: score in [0, 1], and the strength of their association in each table.

    Args:
        half_width: half the 95 % interval of the score over draws of rows.
        real, synthetic: Pearson's coefficient for two columns of numbers (in [-1, 1]), else Cramer's V (in [0, 1]); NaN
            where a column is constant.
        accuracy, expected: mostlyai-qa's bivariate accuracy, and what as many fresh real rows would score.
    """

    first: str
    second: str
    metric: str
    score: float
    half_width: float
    real: float
    synthetic: float
    accuracy: float
    expected: float

    @property
    def estimate(self) -> Estimate:
        """The score with its 95 % interval."""
        return around(self.score, self.half_width)

    @property
    def is_strong(self) -> bool:
        """Whether the two columns belong together in the real table: only then the pair counts in quality."""
        return abs(self.real) > (STRONG_CORRELATION if self.metric == "CorrelationSimilarity" else STRONG_ASSOCIATION)


@dataclass(frozen=True)
class TripleSimilarity:
    """Three columns together: 1 - the total variation distance (mostlyai-qa's trivariate accuracy), and what as many
    fresh real rows would score."""

    names: tuple[str, str, str]
    score: float
    expected: float


@dataclass(frozen=True)
class Similarity:
    """Everything that is compared without a model: per column, per pair, per triple, and their means."""

    columns: tuple[ColumnSimilarity, ...]
    pairs: tuple[PairSimilarity, ...]
    triples: tuple[TripleSimilarity, ...]
    n_real: int
    n_synthetic: int
    joints: tuple[Joint, ...] = ()  # of the pairs that differ most, for drawing

    @property
    def column_shapes(self) -> float:
        """Mean score of the columns (SDMetrics' Column Shapes)."""
        return mean_of_defined([c.score for c in self.columns])

    @property
    def column_pair_trends(self) -> float:
        """Mean score of the strong pairs (SDMetrics 0.32's Column Pair Trends); NaN where no pair is strong."""
        return mean_of_defined([p.score for p in self.pairs if p.is_strong])

    @property
    def n_possible_pairs(self) -> int:
        """Pairs of the columns, compared or not."""
        return math.comb(len(self.columns), 2)

    @property
    def all_pair_trends(self) -> float:
        """Mean score of every pair, strong or not (not part of quality)."""
        return mean_of_defined([p.score for p in self.pairs])

    @property
    def triple_trends(self) -> float:
        """Mean score of the random triples (not part of quality)."""
        return mean_of_defined([t.score for t in self.triples])

    @property
    def quality(self) -> float:
        """Mean of Column Shapes and Column Pair Trends (SDMetrics' overall score)."""
        return mean_of_defined([self.column_shapes, self.column_pair_trends])

    @property
    def least_accurate(self) -> list[PairSimilarity]:
        """The pairs whose accuracy is defined, those furthest below fresh real rows first."""
        known = [p for p in self.pairs if not math.isnan(p.accuracy - p.expected)]
        return sorted(known, key=lambda p: p.accuracy - p.expected)

    @property
    def least_accurate_names(self) -> list[tuple[str, str]]:
        """The names of these pairs."""
        return [(p.first, p.second) for p in self.least_accurate]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """'quality', 'column_shapes' and 'column_pair_trends' with 95 % intervals over draws of rows."""
        shapes = mean_around([(c.score, c.half_width) for c in self.columns])
        trends = mean_around([(p.score, p.half_width + self._drawing_error) for p in self.pairs if p.is_strong])
        quality = mean_around([(e.value, (e.high - e.low) / 2) for e in (shapes, trends)])
        return {"quality": quality, "column_shapes": shapes, "column_pair_trends": trends}

    @property
    def _drawing_error(self) -> float:
        """Half the 95 % interval of the mean score of strong pairs over draws of pairs; 0 where all are compared."""
        scores = [p.score for p in self.pairs if p.is_strong and not math.isnan(p.score)]
        left = 1 - len(self.pairs) / max(self.n_possible_pairs, 1)
        return Z95 * float(np.std(scores)) * math.sqrt(left / len(scores)) if scores and left > 0 else 0.0

    @property
    def accuracies(self) -> dict[str, tuple[float, float]]:
        """'univariate', 'bivariate' and 'trivariate' accuracy, each beside what fresh real rows would score."""
        parts: dict[str, list[tuple[float, float]]] = {
            "univariate": [(c.accuracy, c.expected) for c in self.columns],
            "bivariate": [(p.accuracy, p.expected) for p in self.pairs],
            "trivariate": [(t.score, t.expected) for t in self.triples],
        }
        return {k: (mean_of_defined([a for a, _ in v]), mean_of_defined([e for _, e in v])) for k, v in parts.items()}


def compare_column(
    name: str, kind: Kind, real: Marginal, synthetic: Marginal, rows: tuple[int, int]
) -> ColumnSimilarity:
    """The figures of one column from its two released statistics; `rows`: of the real and the synthetic table."""
    missing = real.missing / rows[0] if rows[0] else NAN, synthetic.missing / rows[1] if rows[1] else NAN
    wasserstein, error = NAN, 0.0
    if isinstance(real, NumericDistribution) and isinstance(synthetic, NumericDistribution):
        metric, score, coverage = "KSComplement", ks_complement(real, synthetic), range_coverage(real, synthetic)
        wasserstein = wasserstein_distance(real, synthetic)
        error = sum(0.0 if d.exact else d.rank_error for d in (real, synthetic))
        half_width = ks_half_width(real, synthetic) + error
    elif isinstance(real, CategoryCounts) and isinstance(synthetic, CategoryCounts):
        metric, score, coverage = "TVComplement", tv_complement(real, synthetic), category_coverage(real, synthetic)
        half_width = tv_half_width(*aligned_counts(real, synthetic))
    else:
        raise TypeError(f"column '{name}': statistics of different kinds")
    figures = score, error, half_width, wasserstein, coverage
    return ColumnSimilarity(name, kind, metric, *figures, *missing, real, synthetic)


def plan_pass(marginals: Mapping[str, tuple[Marginal, Marginal]], seed: int) -> tuple[PassPlan, PassPlan]:
    """What the second pass counts in the real and in the synthetic table."""
    names = list(marginals)
    numeric = tuple(n for n in names if isinstance(marginals[n][0], NumericDistribution))
    plans = []
    for side in (0, 1):
        fine = [_fine_coder(n, marginals[n], side) for n in names]
        coarse = [_coarse_coder(n, marginals[n][0]) for n in names]
        plans.append(
            PassPlan(
                coders=(*fine, *coarse),
                sets=(*_pair_sets(names, set(numeric), seed), *_coarse_sets(len(names), seed)),
                numbers=numeric,
                centre=np.array([_finite(marginals[n][0].mean, 0.0) for n in numeric]),  # type: ignore[union-attr]
                scale=np.array([_finite(marginals[n][0].std, 1.0) or 1.0 for n in numeric]),  # type: ignore[union-attr]
            )
        )
    return plans[0], plans[1]


def compare_pass(
    columns: Sequence[ColumnSimilarity], real: PassSummary, synthetic: PassSummary
) -> tuple[tuple[ColumnSimilarity, ...], tuple[PairSimilarity, ...], tuple[TripleSimilarity, ...]]:
    """The columns with their accuracy, and the figures of pairs and triples, from the second pass over both tables."""
    n = len(columns)
    counts = {s: (r, q) for s, r, q in zip(real.plan.sets, real.counts, synthetic.counts, strict=True)}
    coarse = {s: _accuracy(*tables) for s, tables in counts.items() if s[0] >= n}
    with_accuracy = [replace(c, accuracy=coarse[i + n,][0], expected=coarse[i + n,][1]) for i, c in enumerate(columns)]
    position = {name: i for i, name in enumerate(real.plan.numbers)}
    correlations = real.correlations(), synthetic.correlations()
    pairs, names = [], [c.name for c in columns]
    for a, b in sorted((s[0] - n, s[1] - n) for s in coarse if len(s) == 2):
        ends, accuracy = (names[a], names[b]), coarse[a + n, b + n]
        if names[a] in position and names[b] in position:
            at = position[names[a]], position[names[b]]
            r, q = (float(c[at]) for c in correlations)
            half_width = correlation_half_width(r, q, float(real.n_VV[at]), float(synthetic.n_VV[at]))
            figures = correlation_similarity(r, q), half_width, r, q
            pairs.append(PairSimilarity(*ends, "CorrelationSimilarity", *figures, *accuracy))
        else:
            tables, width = aligned(*counts[a, b]), real.plan.coders[b].cardinality
            strength = [cramers_v(table, width) for table in counts[a, b]]
            figures = contingency_similarity(*tables), tv_half_width(*tables), strength[0], strength[1]
            pairs.append(PairSimilarity(*ends, "ContingencySimilarity", *figures, *accuracy))
    triples = [(tuple(names[c - n] for c in s), accuracy) for s, accuracy in coarse.items() if len(s) == 3]
    return tuple(with_accuracy), tuple(pairs), tuple(TripleSimilarity(t, *a) for t, a in triples)  # type: ignore[arg-type]


def _accuracy(real: SparseCounts | np.ndarray, synthetic: SparseCounts | np.ndarray) -> tuple[float, float]:
    """1 - the total variation distance of two tables of coarse counts, and what fresh real rows would score."""
    r, q = aligned(real, synthetic)
    return contingency_similarity(r, q), expected_complement(r, float(q.sum()))


def cramers_v(table: SparseCounts | np.ndarray, width: int) -> float:
    """Cramer's V of a flattened table of counts with `width` cells a row, in [0, 1]; NaN with fewer than two rows or
    columns occupied."""
    cells = table.cells if isinstance(table, SparseCounts) else np.flatnonzero(table)
    counts = table.counts if isinstance(table, SparseCounts) else table[cells]
    _, row = np.unique(cells // width, return_inverse=True)
    _, column = np.unique(cells % width, return_inverse=True)
    of_row, of_column = np.bincount(row, weights=counts), np.bincount(column, weights=counts)
    side = min(len(of_row), len(of_column)) - 1
    if side < 1:
        return NAN
    phi_squared = float((counts**2 / (of_row[row] * of_column[column])).sum() - 1)
    return math.sqrt(min(max(phi_squared / side, 0.0), 1.0))


def _fine_coder(name: str, marginals: tuple[Marginal, Marginal], side: int) -> Coder:
    real, synthetic = marginals
    if isinstance(real, CategoryCounts) and isinstance(synthetic, CategoryCounts):
        return category_coder(name, real, synthetic)
    own = marginals[side]
    if isinstance(own, NumericDistribution):
        return range_coder(name, own)
    raise TypeError(f"column '{name}': statistics of different kinds")


def _coarse_coder(name: str, real: Marginal) -> Coder:
    return coarse_category_coder(name, real) if isinstance(real, CategoryCounts) else quantile_coder(name, real)


def compared_pairs(n: int, seed: int) -> list[tuple[int, int]]:
    """All pairs of n columns, or `MOST_PAIRS` of them drawn at random, in order."""
    total = math.comb(n, 2)
    if total <= MOST_PAIRS:
        return list(itertools.combinations(range(n), 2))
    chosen = np.sort(np.random.default_rng([seed, n]).choice(total, MOST_PAIRS, replace=False, shuffle=False))
    first_of = np.cumsum([0, *range(n - 1, 0, -1)])  # pairs that come before those of each first column
    a = np.searchsorted(first_of, chosen, side="right") - 1
    return list(zip(a.tolist(), (chosen - first_of[a] + a + 1).tolist(), strict=True))


def _pair_sets(names: list[str], numeric: set[str], seed: int) -> list[tuple[int, ...]]:
    pairs = compared_pairs(len(names), seed)
    return [(a, b) for a, b in pairs if not (names[a] in numeric and names[b] in numeric)]


def _coarse_sets(n: int, seed: int) -> list[tuple[int, ...]]:
    """Every column, the compared pairs and some triples of the coarse coders, which follow the n fine ones."""
    singles, pairs = [(c,) for c in range(n, 2 * n)], [(a + n, b + n) for a, b in compared_pairs(n, seed)]
    return [*singles, *pairs, *_triple_sets(n, seed)]


def _triple_sets(n: int, seed: int) -> list[tuple[int, ...]]:
    if n < 3:
        return []
    drawn: set[tuple[int, ...]]
    if math.comb(n, 3) <= N_TRIPLES:
        drawn = set(itertools.combinations(range(n), 3))
    else:
        rng = np.random.default_rng(seed)
        drawn = set()
        while len(drawn) < N_TRIPLES:
            drawn.add(tuple(sorted(rng.choice(n, 3, replace=False).tolist())))
    return [(a + n, b + n, c + n) for a, b, c in sorted(drawn)]


def _finite(value: float, instead: float) -> float:
    return value if math.isfinite(value) else instead
