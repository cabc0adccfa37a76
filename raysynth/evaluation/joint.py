"""Two columns together, for drawing: the shares of every combination of their groups in both tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysynth.comparison.coding import CategoryCoder, Coder
from raysynth.evaluation.counting import PassSummary, SparseCounts
from raysynth.evaluation.section import format_value
from raysynth.schema.columns import Kind

N_DRAWN = 40  # pairs of a page; more would make it slow


@dataclass(frozen=True)
class Joint:
    """The shares of a pair of columns, each in about ten groups of the real table.

    Args:
        first, second: names of the columns.
        rows, columns: labels of the groups of the first and of the second, those without a row left out.
        real, synthetic: shares in [0, 1], shape (rows, columns).
    """

    first: str
    second: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    real: np.ndarray
    synthetic: np.ndarray


def joints(
    pairs: Sequence[tuple[str, str]], kinds: Mapping[str, Kind], real: PassSummary, synthetic: PassSummary
) -> tuple[Joint, ...]:
    """The first of the named pairs of columns, from the counts of the second pass over both tables."""
    n = len(real.plan.coders) // 2  # the coarse coders follow as many fine ones
    coarse = {coder.name: i + n for i, coder in enumerate(real.plan.coders[n:])}
    where = {s: i for i, s in enumerate(real.plan.sets)}
    found = []
    for pair in pairs[:N_DRAWN]:
        ends = sorted(coarse[name] for name in pair)
        coders = [real.plan.coders[e] for e in ends]
        sizes = [c.cardinality for c in coders]
        tables = [_shares(summary.counts[where[tuple(ends)]], sizes) for summary in (real, synthetic)]
        kept = [np.flatnonzero((tables[0] + tables[1]).sum(axis=1 - axis)) for axis in (0, 1)]
        labels = [tuple(_labels(c, kinds[c.name])[k] for k in at) for c, at in zip(coders, kept, strict=True)]
        shares = [t[np.ix_(*kept)] for t in tables]
        found.append(Joint(coders[0].name, coders[1].name, labels[0], labels[1], shares[0], shares[1]))
    return tuple(found)


def _shares(counts: SparseCounts | np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if isinstance(counts, SparseCounts):
        table = np.zeros(math.prod(shape))
        table[counts.cells] = counts.counts
    else:
        table = counts
    total = float(table.sum()) or 1.0
    return (table / total).reshape(shape)


def _labels(coder: Coder, kind: Kind) -> list[str]:
    """One label for each code: the category, or the interval of numbers."""
    if isinstance(coder, CategoryCoder):
        return [*coder.texts, "missing", "other"]
    edges = [format_value(float(c), kind) for c in getattr(coder, "cuts", getattr(coder, "edges", ()))]
    if not edges:
        return ["any", "missing"]
    between = [f"{a} to {b}" for a, b in zip(edges, edges[1:], strict=False)]
    return [f"below {edges[0]}", *between, f"from {edges[-1]}", "missing"]
