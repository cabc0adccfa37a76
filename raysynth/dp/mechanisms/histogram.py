"""Noisy histograms of many cells: counted at several widths, made consistent, and merged where noise hides the shape.

Cells ("leaves") stand in a tree: each level sums `FAN_OUT` nodes of the level below, up to at most `WIDEST` nodes. Each
level is a histogram of disjoint cells of its own, so one row changes one count in each level by 1: L2 sensitivity
sqrt(levels). What follows the noise sees noised values only.

Shapes: L leaves, K nodes of a level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

FAN_OUT = 16
WIDEST = 128
SIGNIFICANT = 3.0  # standard deviations of a chi-square above its mean at which a node's shape is seen in its children
STRAY, PILED = 3.0, 1.5  # standard deviations of rows that stand alone, and of those at a declared end
END_ROWS, LONG_END_ROWS = 5.0, 4.0  # of the ends of declared ranges of few and of many values, if noise shows fewer
LOOSE = 10.0  # times as wide as where rows are: declared ends that nobody need have


@dataclass(frozen=True)
class LevelCounts:
    """Noised counts of one level.

    Args:
        counts: shape (K,).
        sigma: their standard deviation.
    """

    counts: np.ndarray
    sigma: float


@dataclass(frozen=True)
class Runs:
    """A histogram whose cells are runs of leaves: run i holds leaves first[i] up to first[i + 1] (or the end).

    Args:
        first: first leaf of each run, ascending from 0.
        counts: estimated rows of each run, >= 0.
        noised: what the noised counts say of it, below zero, too, where the noise has it so.
    """

    first: np.ndarray
    counts: np.ndarray
    noised: np.ndarray


def level_sizes(n_leaves: int) -> list[int]:
    """Nodes of each level, leaves first."""
    sizes = [n_leaves]
    while sizes[-1] > WIDEST:
        sizes.append(-(-sizes[-1] // FAN_OUT))
    return sizes


def exact_levels(leaves: np.ndarray) -> list[np.ndarray]:
    """Counts of every level from those of the leaves; private."""
    levels = [np.asarray(leaves, dtype=np.float64)]
    for size in level_sizes(len(leaves))[1:]:
        levels.append(np.add.reduceat(levels[-1], np.arange(size) * FAN_OUT))
    return levels


def simplex(values: np.ndarray, total: float) -> np.ndarray:
    """The nearest non-negative values with the given sum (Duchi et al. 2008, figure 1)."""
    total = max(total, 0.0)
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - total) / np.arange(1, len(values) + 1)
    last = int(np.flatnonzero(ordered > excess)[-1]) if (ordered > excess).any() else 0
    return np.maximum(values - excess[last], 0.0)


def consistent(levels: list[LevelCounts]) -> list[np.ndarray]:
    """Least-squares counts of every level, in which each node is the sum of its children (Hay et al. 2010, section 4).

    Bottom-up each node's own count and the sum of its children's are averaged by inverse variance; top-down what is
    left of a difference is shared among the children by their variance.
    """
    means, variances = [levels[0].counts], [np.full(len(levels[0].counts), levels[0].sigma ** 2)]
    for level in levels[1:]:
        start = np.arange(len(level.counts)) * FAN_OUT
        below, spread = np.add.reduceat(means[-1], start), np.add.reduceat(variances[-1], start)
        own = level.sigma**2
        means.append((level.counts * spread + below * own) / (own + spread))
        variances.append(own * spread / (own + spread))
    result = [means[-1]]
    for mean, variance in zip(means[-2::-1], variances[-2::-1], strict=True):
        parent = np.arange(len(mean)) // FAN_OUT
        start = np.arange(len(result[-1])) * FAN_OUT
        gap = result[-1] - np.add.reduceat(mean, start)
        result.append(mean + gap[parent] * variance / np.add.reduceat(variance, start)[parent])
    return result[::-1]


def unbiased_mean(levels: list[LevelCounts], values: np.ndarray, total: float) -> tuple[float, float, float]:
    """The mean of values that the leaves hold, by noised counts as they are: no bias, whatever the noise.

    With the least-squares counts c of `consistent` and any number m, m + sum c (values - m) / total is the mean, and
    linear in the noised counts, some of which are below zero: their expectation is the table's own sum. Raised to zero,
    counts of many empty leaves far from the others would pull it there. m is chosen so that its noise is least:
    the covariance of two sums with weights v and w is sigma^2 v' (A'A)^-1 w, A being the levels' sums of leaves, and
    (A'A)^-1 w is what `consistent` makes of levels that are w at the leaves and zero above.

    Args:
        levels: noised counts, leaves first, of one standard deviation.
        values: of the leaves, shape (L,).
        total: rows of all leaves together, from elsewhere.

    Returns:
        The mean, the standard deviation of its noise, and how far it is moved by each row that `total` is off.
    """
    middle, half = values[0] / 2 + values[-1] / 2, max(values[-1] / 2 - values[0] / 2, 1e-300)
    place_L, one_L = (values - middle) / half, np.ones(len(values))

    def inverse(weight_L: np.ndarray) -> np.ndarray:
        above = [LevelCounts(np.zeros(len(own.counts)), own.sigma) for own in levels[1:]]
        return consistent([LevelCounts(weight_L, levels[0].sigma), *above])[0]

    of_place_L, of_one_L = inverse(place_L), inverse(one_L)
    at = float(place_L @ of_one_L) / float(one_L @ of_one_L)
    variance = float(place_L @ of_place_L) - at * float(place_L @ of_one_L)
    apart = float(consistent(levels)[0] @ (place_L - at)) / total
    noise = levels[0].sigma * float(np.sqrt(max(variance, 0.0))) / total
    return middle + half * (at + apart), half * noise, half * apart / total


def merged_runs(levels: list[LevelCounts], total: float) -> Runs:
    """The histogram that the noise lets one see: a node is split only where its children differ beyond the noise.

    Args:
        levels: noised counts, leaves first.
        total: rows of all leaves together, as known from noised counts.
    """
    n_leaves = len(levels[0].counts)
    estimates = consistent(levels)
    nodes: np.ndarray = np.arange(len(levels[-1].counts))
    counts = simplex(estimates[-1], total)
    done: list[Runs] = []
    for depth in range(len(levels) - 1, 0, -1):
        width = FAN_OUT**depth
        split = np.zeros(len(nodes), dtype=bool)
        next_nodes: list[np.ndarray] = []
        next_counts: list[np.ndarray] = []
        for i, (node, count) in enumerate(zip(nodes, counts, strict=True)):
            child = np.arange(node * FAN_OUT, min((node + 1) * FAN_OUT, len(levels[depth - 1].counts)))
            own = estimates[depth - 1][child]
            sigma = levels[depth - 1].sigma
            excess = (((own - own.mean()) / sigma) ** 2).sum() - (len(child) - 1)
            only = len(child) == 1  # the last node of a level may have but one: it says the same, and maybe more below
            if only or (count > sigma and excess > SIGNIFICANT * np.sqrt(2 * (len(child) - 1))):
                split[i] = True
                next_nodes.append(child)
                next_counts.append(simplex(own, count))
        done.append(Runs(nodes[~split] * width, counts[~split], estimates[depth][nodes[~split]]))
        nodes = np.concatenate(next_nodes) if next_nodes else np.empty(0, int)
        counts = np.concatenate(next_counts) if next_counts else np.empty(0)
    done.append(Runs(nodes, counts, estimates[0][nodes]))
    first, rows, noised = (np.concatenate([getattr(d, name) for d in done]) for name in ("first", "counts", "noised"))
    order = np.argsort(first)
    assert len(first) and first.min() == 0 and first.max() < n_leaves
    return Runs(first[order], rows[order], noised[order])


def without_stray(runs: Runs, levels: list[LevelCounts], shown: tuple[int, int]) -> Runs:
    """Runs outside the top nodes `shown`, the first and one beyond the last, keep rows only if significant alone.

    Counts of empty nodes, cut off at zero, keep some of their noise: in a range that its longest values stretch, rows
    far out that no table has, and no correlation survives them. At both ends, where values that are cut off pile up,
    less is enough.
    """
    node, sigma = runs.first // FAN_OUT ** (len(levels) - 1), levels[-1].sigma
    needed = np.full(len(node), STRAY * sigma)
    needed[[0, -1]] = PILED * sigma
    needed[(node >= shown[0]) & (node < shown[1])] = -np.inf
    counts = np.where(runs.noised >= needed, runs.counts, 0.0)
    return replace(runs, counts=counts * (runs.counts.sum() / counts.sum())) if counts.any() else runs


def with_ends(runs: Runs, n_leaves: int) -> Runs:
    """The ends of a declared range keep a few rows, though noise hides them: someone has the least and the most.

    A range that shrinks by one rare value moves every reader's equal bins: on Adult at epsilon 1 one fit in six lost
    the lowest of sixteen years of education (41 rows, noise of 56), and all pair trends of that column with it.
    Four rows of a long range: of as many made rows one fit in 55 draws none at an end; of two, one in seven did.
    An end that lies far beyond where rows are, for what they spread over, is a loose bound that nobody need have.
    """
    first, counts, is_short = runs.first, runs.counts, n_leaves <= WIDEST
    some = np.flatnonzero(counts)
    stretch = np.append(first[1:], n_leaves)[some[-1]] - first[some[0]] if len(some) else n_leaves
    if n_leaves > LOOSE * stretch and not is_short:
        return runs
    for end, of_end in ((n_leaves - 1, len(first)), (1, 1)):  # the other leaves of an outermost run keep its rows
        if 0 < end < n_leaves and end not in first:
            first, counts = np.insert(first, of_end, end), np.insert(counts, of_end if end > 1 else 0, 0.0)
    counts = counts.astype(float)
    least = END_ROWS if is_short else LONG_END_ROWS
    counts[[0, -1]] = np.maximum(counts[[0, -1]], least)
    counts *= runs.counts.sum() / counts.sum()
    return Runs(first, counts, counts)
