"""Charts as numbers and SVG paths: computed here, drawn by a template (the report's, or one for results.plot)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from raysynth.comparison.coding import text_of
from raysynth.errors import ParameterError
from raysynth.evaluation.counting import Joint
from raysynth.evaluation.measures import cdf
from raysynth.evaluation.section import format_value, section_body
from raysynth.evaluation.similarity import ColumnSimilarity, PairSimilarity, Similarity
from raysynth.files.notebook import Drawing
from raysynth.kinds.description import Family
from raysynth.schema.columns import Kind
from raysynth.statistics.released import CategoryCounts, NumericDistribution

if TYPE_CHECKING:
    from raysynth.evaluation.figures import EvaluationFigures


WIDTH, HEIGHT = 320.0, 110.0
_BINS, _SHOWN_CATEGORIES = 32, 8
_FAR = 15.0  # times the median that the largest of 1,000 values is, from which on a scale of ratios is needed
_NAMED_ROWS = 5  # of a table that a category is named by


@dataclass(frozen=True)
class Bar:
    """One row of a chart and of the table behind it: a label, and shares in [0, 1] (None: left out)."""

    label: str
    real: float | None
    synthetic: float


@dataclass(frozen=True)
class ColumnChart:
    """The distribution of one column.

    Args:
        bars: bins of a number, or categories.
        real_path, synthetic_path: SVG paths of the bins' outlines in a box WIDTH x HEIGHT; empty for categories.
        peak: share of the highest bin.
        low, high: labels of the ends of the axis.
        is_log: the bins are as wide by ratio: most values are far below the largest.
    """

    bars: tuple[Bar, ...]
    real_path: str = ""
    synthetic_path: str = ""
    peak: float = 0.0
    low: str = ""
    high: str = ""
    is_log: bool = False


def column_chart(
    kind: Kind, real: CategoryCounts | NumericDistribution | None, synthetic: CategoryCounts | NumericDistribution
) -> ColumnChart:
    """The chart of a column; without `real` nothing in it depends on real rows."""
    if isinstance(synthetic, NumericDistribution):
        return _histogram(kind, real if isinstance(real, NumericDistribution) else None, synthetic)
    return _categories(real if isinstance(real, CategoryCounts) else None, synthetic)


def heat_matrix(names: Sequence[str], pairs: Sequence[PairSimilarity], which: str) -> list[list[float | None]]:
    """Square of 'real' or 'synthetic' associations, or of their 'difference' (synthetic - real); None: undefined."""
    position = {n: i for i, n in enumerate(names)}
    matrix: list[list[float | None]] = [[None] * len(names) for _ in names]
    for pair in pairs:
        value = pair.synthetic - pair.real if which == "difference" else getattr(pair, which)
        shown = None if math.isnan(value) else round(value, 3)
        i, j = position[pair.first], position[pair.second]
        matrix[i][j] = matrix[j][i] = shown
    if which != "difference":
        for i in range(len(names)):
            matrix[i][i] = 1.0
    return matrix


def line_path(x: Sequence[float], y: Sequence[float], size: float) -> str:
    """Path through points of the unit square, y upwards, in a box of the given size."""
    return "M" + "L".join(f"{a * size:.1f} {(1 - b) * size:.1f}" for a, b in zip(x, y, strict=True))


def dots_path(points_N2: np.ndarray, low: np.ndarray, high: np.ndarray, width: float, height: float) -> str:
    """Path of dots (zero-length strokes with round caps) in a box, axes from `low` to `high`."""
    span = np.where(high > low, high - low, 1)
    unit = np.clip((points_N2 - low) / span, 0, 1)
    return "".join(f"M{8 + x * (width - 16):.1f} {8 + (1 - y) * (height - 16):.1f}h0" for x, y in unit)


def _histogram(kind: Kind, real: NumericDistribution | None, synthetic: NumericDistribution) -> ColumnChart:
    sides = [d for d in (real, synthetic) if d is not None and d.total > 0]
    if not sides:
        return ColumnChart(())
    logarithmic = _log_edges(sides) if kind.about.family is Family.NUMBER else None
    edges = _bin_edges(sides) if logarithmic is None else logarithmic
    shares = [None if d is None or d.total == 0 else _bin_shares(d, edges) for d in (real, synthetic)]
    peak = max(float(s.max()) for s in shares if s is not None)
    whole = logarithmic is None and abs(edges[0] % 1 - 0.5) < 1e-9 and abs((edges[1] - edges[0]) % 1) < 1e-9
    inset = 0.5 if whole else 0.0
    ends = [(edges[i] + inset, edges[i + 1] - inset) for i in range(len(edges) - 1)]
    labels = [
        format_value(a, kind) if a == b else f"{format_value(a, kind)} to {format_value(b, kind)}" for a, b in ends
    ]
    bars = tuple(
        Bar(
            label,
            None if shares[0] is None else float(shares[0][i]),
            0.0 if shares[1] is None else float(shares[1][i]),
        )
        for i, label in enumerate(labels)
    )
    paths = ["" if s is None else _step_path(s / peak if peak else s) for s in shares]
    first, last = format_value(ends[0][0], kind), format_value(ends[-1][1], kind)
    return ColumnChart(bars, paths[0], paths[1], peak, first, last, logarithmic is not None)


def _bin_edges(sides: list[NumericDistribution]) -> np.ndarray:
    """Bins over the middle 99.8 % of all sides (the ends take the rest); whole numbers of a small range one by one."""
    tails = [d.quantile(np.array([0.001, 0.999])) for d in sides]
    low, high = min(float(t[0]) for t in tails), max(float(t[1]) for t in tails)
    whole = all(d.exact and bool((d.low == np.round(d.low)).all()) for d in sides)
    if whole and high - low < _BINS:
        return np.arange(math.floor(low), math.ceil(high) + 2) - 0.5
    if whole:  # as many whole numbers in each bin, lest it combs
        step = math.ceil((high - low + 1) / _BINS)
        return np.arange(math.floor(low), high + step + 1, step) - 0.5
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def _log_edges(sides: list[NumericDistribution]) -> np.ndarray | None:
    """Bins of equal ratio where no value is below 0 and the largest are far from the middle ones; zeros have a bin of
    their own. None: bins of equal width show the values."""
    inner = []
    for side in sides:
        zeros = float(cdf(side, np.array([0.0]))[0])
        if zeros >= 0.995 or float(side.quantile(np.array([0.0]))[0]) < 0:
            return None
        inner.append((zeros, side.quantile(zeros + (1 - zeros) * np.array([0.001, 0.5, 0.999]))))
    low, high = min(float(q[0]) for _, q in inner), max(float(q[2]) for _, q in inner)
    if low <= 0 or high < _FAR * max(float(q[1]) for _, q in inner):
        return None
    has_zeros = any(zeros > 0.001 for zeros, _ in inner)
    edges = np.geomspace(low, high, _BINS + (0 if has_zeros else 1))
    return np.concatenate([[0.0], edges]) if has_zeros else edges


def _bin_shares(distribution: NumericDistribution, edges: np.ndarray) -> np.ndarray:
    inner = cdf(distribution, edges[1:-1], left=True)
    return np.diff(np.concatenate([[0.0], inner, [1.0]]))


def _step_path(heights: np.ndarray) -> str:
    """Closed outline of bars with heights in [0, 1]."""
    width = WIDTH / len(heights)
    steps = "".join(f"V{HEIGHT * (1 - h):.1f}H{(i + 1) * width:.1f}" for i, h in enumerate(heights))
    return f"M0 {HEIGHT:.0f}{steps}V{HEIGHT:.0f}Z"


def _categories(real: CategoryCounts | None, synthetic: CategoryCounts) -> ColumnChart:
    mine = _share_of(synthetic)
    theirs = None if real is None else _share_of(real)
    order = sorted({**(theirs or {}), **mine}, key=lambda t: -max((theirs or {}).get(t, 0.0), mine.get(t, 0.0)))
    named = _in_enough_rows(synthetic) if real is None else _in_enough_rows(real) | _in_enough_rows(synthetic)
    order = [t for t in order if t in named] + [t for t in order if t not in named]
    n_shown = len(named) if len(order) <= _SHOWN_CATEGORIES + 1 else min(len(named), _SHOWN_CATEGORIES)
    shown, rest = order[:n_shown], order[n_shown:]
    bars = [Bar(t, None if theirs is None else theirs.get(t, 0.0), mine.get(t, 0.0)) for t in shown]
    if rest:
        others = None if theirs is None else sum(theirs.get(t, 0.0) for t in rest)
        bars.append(
            Bar(f"{len(rest):,} other{'s' if len(rest) > 1 else ''}", others, sum(mine.get(t, 0.0) for t in rest))
        )
    peak = max((max(b.real or 0.0, b.synthetic) for b in bars), default=0.0)
    return ColumnChart(tuple(bars), peak=peak)


def _in_enough_rows(counts: CategoryCounts) -> set[str]:
    """Values that a page names: those of a single person (a note, a rare diagnosis) stand among the others."""
    return {text_of(v) for v, n in zip(counts.values, counts.counts, strict=True) if n >= _NAMED_ROWS}


def _share_of(counts: CategoryCounts) -> dict[str, float]:
    total = float(counts.counts.sum()) or 1.0
    return {text_of(v): float(n) / total for v, n in zip(counts.values, counts.counts, strict=True)}


def draw(results: EvaluationFigures, *columns: str) -> Drawing:
    """One column's distribution, or the joint shares of two.

    Raises:
        ParameterError: similarity was not measured; no such column; not one or two columns; a pair that was not kept
            (only those that differ most are).
    """
    similarity = results.similarity
    if similarity is None:
        raise ParameterError("nothing to plot: evaluate with the metric 'statistical_similarity'")
    if len(columns) not in (1, 2):
        raise ParameterError(f"plot takes one column or two; found {len(columns)}")
    known = {c.name: c for c in similarity.columns}
    if unknown := [c for c in columns if c not in known]:
        raise ParameterError(f"no column '{unknown[0]}'; there are: {', '.join(known)}")
    return _column(known[columns[0]]) if len(columns) == 1 else _pair(_kept(similarity, columns[0], columns[1]))


def _kept(similarity: Similarity, first: str, second: str) -> Joint:
    for joint in similarity.joints:
        if {joint.first, joint.second} == {first, second}:
            return joint
    shown = ", ".join(f"'{j.first}' and '{j.second}'" for j in similarity.joints[:3])
    raise ParameterError(
        f"the joint shares of '{first}' and '{second}' were not kept, only those of the {len(similarity.joints)} pairs "
        f"that differ most, such as {shown or 'none'}"
    )


def _column(column: ColumnSimilarity) -> Drawing:
    chart = column_chart(column.kind, column.real, column.synthetic)
    return Drawing(
        section_body("raysynth.evaluation", "drawing_column.html.j2", c=column, chart=chart, size=(WIDTH, HEIGHT))
    )


def _pair(joint: Joint) -> Drawing:
    most = max(float(joint.real.max()), float(joint.synthetic.max()), 1e-9)
    sides = [("Real", "122,134,156", joint.real), ("Synthetic", "29,95,209", joint.synthetic)]
    return Drawing(section_body("raysynth.evaluation", "drawing_pair.html.j2", joint=joint, sides=sides, most=most))
