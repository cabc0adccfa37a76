"""The inner loops of `boosting.py`, compiled.

They make no arrays: each call of NumPy in them costs seconds to compile.

Shape legend: N rows, F inputs, B groups of an input, M nodes, T trees.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raysynth.running.compiled import compiled

LEAST_GAIN = 1e-3
Index = Any  # an np.int64: what is called with a plain number, too, is compiled once more


@compiled
def grown(
    table: tuple[np.ndarray, ...],
    train: np.ndarray,
    held: np.ndarray,
    sizes_F: np.ndarray,
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray],
    value: np.ndarray,
    starts: np.ndarray,
    hist: np.ndarray,
    space: tuple[np.ndarray, ...],
    settings: tuple[tuple[float, float], float, int, bool],
) -> tuple[Index, float]:
    """Trees to keep and the fall of the loss; writes the trees into `nodes` and `value`, where each begins and the last
    one ends into `starts`.

    Args:
        table: groups, targets, what a leaf must hold of two kinds (N, 2), weights, space for slopes, and sums.
        settings: (least of each kind, ridge), rate, patience, and whether the loss is the squared one, else the
            logistic one of targets 0 and 1.
    """
    x_NF, target_N, held_N2, weight_N, slope_N2, score_N = table
    leaf_of, splits, rows, spare = space
    penalties, rate, patience, is_squared = settings
    ridge = penalties[1]
    begun = best = _loss(score_N, target_N, weight_N, held, is_squared)
    kept = used = np.int64(0)
    for tree in range(len(starts) - 1):
        for i in range(len(train)):
            row = rows[i] = train[i]
            if is_squared:
                slope_N2[row, 0] = weight_N[row] * (score_N[row] - target_N[row])
                slope_N2[row, 1] = weight_N[row]
            else:
                p = 1.0 / (1.0 + np.exp(-score_N[row]))
                slope_N2[row, 0] = weight_N[row] * (p - target_N[row])
                slope_N2[row, 1] = weight_N[row] * p * (1.0 - p)
        of_tree = (x_NF, held_N2, slope_N2)
        used, leaves = _tree(of_tree, rows, spare, sizes_F, nodes, used, hist, leaf_of, splits, penalties)
        starts[tree + 1] = used
        for leaf in range(leaves):
            first = second = 0.0
            for i in range(leaf_of[leaf, 1], leaf_of[leaf, 2]):
                first += slope_N2[rows[i], 0]
                second += slope_N2[rows[i], 1]
            step = -rate * first / (second + ridge)
            value[leaf_of[leaf, 0]] = step
            for i in range(leaf_of[leaf, 1], leaf_of[leaf, 2]):
                score_N[rows[i]] += step
        for row in held:
            node = int(starts[tree])
            while nodes[0][node] >= 0:
                node = int(nodes[2][node]) + (x_NF[row, nodes[0][node]] > nodes[1][node])
            score_N[row] += value[node]
        loss = _loss(score_N, target_N, weight_N, held, is_squared)
        if loss < best:
            best, kept = loss, np.int64(tree + 1)
        if tree + 1 - kept >= patience or leaves == 1:
            break
    return kept, begun - best


@compiled
def _tree(
    table: tuple[np.ndarray, np.ndarray, np.ndarray],
    rows: np.ndarray,
    spare: np.ndarray,
    sizes_F: np.ndarray,
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray],
    used: Index,
    hist: np.ndarray,
    leaf_of: np.ndarray,
    splits: np.ndarray,
    penalties: tuple[float, float],
) -> tuple[Index, Index]:
    """One tree from node `used` on: nodes in use after it, and its leaves.

    Args:
        leaf_of: of each leaf its node, its first place in `rows` and its end. splits: gain, input and group of each.
    """
    feature, threshold, left = nodes
    leaf_of[0, 0], leaf_of[0, 1], leaf_of[0, 2] = used, 0, len(rows)
    used, leaves = used + 1, np.int64(1)
    _clear(hist, np.int64(0))
    _count(table, rows, leaf_of, hist, np.int64(0))
    _split(hist, np.int64(0), sizes_F, penalties, splits)
    while leaves < len(leaf_of):
        old = np.int64(0)
        for leaf in range(1, leaves):
            if splits[leaf, 0] > splits[old, 0]:
                old = np.int64(leaf)
        if splits[old, 0] <= LEAST_GAIN:
            break
        node, start, end = leaf_of[old, 0], leaf_of[old, 1], leaf_of[old, 2]
        feature[node], threshold[node], left[node] = int(splits[old, 1]), int(splits[old, 2]), used
        cut = _divided(table[0], rows, spare, start, end, int(splits[old, 1]), int(splits[old, 2]))
        leaf_of[old, 0], leaf_of[old, 2] = used, cut
        leaf_of[leaves, 0], leaf_of[leaves, 1], leaf_of[leaves, 2] = used + 1, cut, end
        small, large = old, leaves
        if cut - start > end - cut:
            small, large = leaves, old
        else:
            _copy(hist, old, leaves)  # the counts of both
        _clear(hist, small)
        _count(table, rows, leaf_of, hist, small)
        _subtract(hist, large, small)
        _split(hist, old, sizes_F, penalties, splits)
        _split(hist, leaves, sizes_F, penalties, splits)
        used, leaves = used + 2, leaves + 1
    return used, leaves


@compiled
def _clear(hist: np.ndarray, leaf: Index) -> None:
    for f in range(hist.shape[1]):
        for b in range(hist.shape[2]):
            for k in range(4):
                hist[leaf, f, b, k] = 0.0


@compiled
def _copy(hist: np.ndarray, old: Index, new: Index) -> None:
    for f in range(hist.shape[1]):
        for b in range(hist.shape[2]):
            for k in range(4):
                hist[new, f, b, k] = hist[old, f, b, k]


@compiled
def _subtract(hist: np.ndarray, large: Index, small: Index) -> None:
    for f in range(hist.shape[1]):
        for b in range(hist.shape[2]):
            for k in range(4):
                hist[large, f, b, k] -= hist[small, f, b, k]


@compiled
def _loss(score_N: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray, rows: np.ndarray, is_squared: bool) -> float:
    """The weighted mean loss of some rows."""
    total = weight = 0.0
    for row in rows:
        if is_squared:
            total += weight_N[row] * (score_N[row] - target_N[row]) ** 2
        else:
            z = score_N[row] if target_N[row] > 0.5 else -score_N[row]
            total += weight_N[row] * (np.log1p(np.exp(-abs(z))) - (z if z < 0.0 else 0.0))
        weight += weight_N[row]
    return total / (weight + 1e-300)


@compiled
def _count(
    table: tuple[np.ndarray, np.ndarray, np.ndarray],
    rows: np.ndarray,
    leaf_of: np.ndarray,
    hist: np.ndarray,
    leaf: Index,
) -> None:
    """Adds a leaf's rows to each input's groups: both derivatives, and what a leaf must hold of both kinds."""
    x_NF, held_N2, slope_N2 = table
    for i in range(leaf_of[leaf, 1], leaf_of[leaf, 2]):
        row = rows[i]
        first, second = slope_N2[row, 0], slope_N2[row, 1]
        person, other = held_N2[row, 0], held_N2[row, 1]
        for f in range(x_NF.shape[1]):
            b = x_NF[row, f]
            hist[leaf, f, b, 0] += first
            hist[leaf, f, b, 1] += second
            hist[leaf, f, b, 2] += person
            hist[leaf, f, b, 3] += other


@compiled
def _split(
    hist: np.ndarray, leaf: Index, sizes_F: np.ndarray, penalties: tuple[float, float], splits: np.ndarray
) -> None:
    """Writes the best gain of a leaf, and the input and the group after which it is divided, into `splits`."""
    least, ridge = penalties
    first = second = persons = others = 0.0
    for b in range(sizes_F[0]):
        first += hist[leaf, 0, b, 0]
        second += hist[leaf, 0, b, 1]
        persons += hist[leaf, 0, b, 2]
        others += hist[leaf, 0, b, 3]
    whole = first * first / (second + ridge)
    splits[leaf, 0] = 0.0
    for f in range(len(sizes_F)):
        g = h = person = other = 0.0
        for b in range(sizes_F[f] - 1):
            g += hist[leaf, f, b, 0]
            h += hist[leaf, f, b, 1]
            person += hist[leaf, f, b, 2]
            other += hist[leaf, f, b, 3]
            if person < least or other < least:
                continue
            if persons - person < least or others - other < least:
                break
            rest = first - g
            gain = g * g / (h + ridge) + rest * rest / (second - h + ridge) - whole
            if gain > splits[leaf, 0]:
                splits[leaf, 0], splits[leaf, 1], splits[leaf, 2] = gain, f, b


@compiled
def _divided(
    x_NF: np.ndarray, rows: np.ndarray, spare: np.ndarray, start: int, end: int, feature: int, threshold: int
) -> int:
    """Brings the rows of a slice that go left to its front, in their order; where the others begin."""
    at, n_right = start, 0
    for i in range(start, end):
        row = rows[i]
        if x_NF[row, feature] <= threshold:
            rows[at] = row
            at += 1
        else:
            spare[n_right] = row
            n_right += 1
    for i in range(n_right):
        rows[at + i] = spare[i]
    return at


@compiled
def sums(
    x_FN: np.ndarray,
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray],
    value: np.ndarray,
    starts: np.ndarray,
    at: np.ndarray,
    result: np.ndarray,
) -> None:
    """Adds each tree's value. No row walks: each node, in turn, sends on those of some rows that stand in it, bytes by
    which a processor does 32 rows at once.

    Args:
        nodes, value: as `grown` writes them; of a tree there are at most 256, and children come after their parent.
        starts: where each tree begins, and the last one ends.
        at: working space for the node, counted from its tree's root, of some rows, uint8.
    """
    feature, threshold, left = nodes
    for start in range(0, x_FN.shape[1], len(at)):
        end = min(start + len(at), x_FN.shape[1])
        at_N, result_N = at[: end - start], result[start:end]
        for tree in range(len(starts) - 1):
            root = starts[tree]
            for i in range(len(at_N)):
                at_N[i] = 0
            for node in range(root, starts[tree + 1]):
                if feature[node] < 0:
                    continue
                x_N, last, own = x_FN[feature[node], start:end], threshold[node], np.uint8(node - root)
                low, high = np.uint8(left[node] - root), np.uint8(left[node] - root + 1)
                for i in range(len(at_N)):
                    child = low if x_N[i] <= last else high
                    at_N[i] = child if at_N[i] == own else at_N[i]
            value_M = value[root : starts[tree + 1]]
            for i in range(len(at_N)):
                result_N[i] += value_M[at_N[i]]
