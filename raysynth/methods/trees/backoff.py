"""How much of a node's counts to believe: the weight of its parent, chosen by the likelihood of rows left out.

A draw from a node comes with probability rows / (rows + alpha) from its own counts, else from its parent's. Alpha is
chosen for each column: each row is evaluated in the trees whose splits were found without it, its own count taken out
of every node on its path. What makes such rows likely copies none of them.

Shape legend: N rows, M nodes, A candidates, H levels of a path.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ALPHAS = (0.1, 0.5, 2.0, 8.0, 32.0, 128.0, 1024.0, 8192.0)  # the largest: the root alone
OF_PURE = (1.0, 0.1, 0.0)  # of alpha, where all of a node's rows have one code
JUDGED_ROWS = 2000
GROUPS = 32  # of the codes of a number, by which rows are judged
NEVER = 0.02  # added to each probability: rows that no other is like shall not decide


@dataclass(frozen=True)
class Path:
    """Nodes on the way of some rows to their leaf in one tree, root last: rows of a node, and rows of the same code.

    Args:
        rows, alike: without the row itself, (H, N).
        pure: whether the others in the node have one code, (H, N).
    """

    rows: np.ndarray
    alike: np.ndarray
    pure: np.ndarray


@dataclass(frozen=True)
class Chosen:
    """What rows left out make of the trees of a column.

    Args:
        alpha, of_pure: the candidate.
        log_p_N: log-likelihood of each judged row, in the order of rows.
    """

    alpha: float
    of_pure: float
    log_p_N: np.ndarray


class BackOff:
    """Adds up what each candidate gives the judged rows, tree by tree."""

    def __init__(self, own_N: np.ndarray, cardinality: int, judged: np.ndarray) -> None:
        n = len(own_N)
        self.judged = judged
        self.group_N = grouped(own_N, cardinality)
        self.candidates = np.repeat(ALPHAS, len(OF_PURE)), np.tile(OF_PURE, len(ALPHAS))
        self.total_AN = np.zeros((len(ALPHAS) * len(OF_PURE), n))
        self.trees_N = np.zeros(n)

    def add(
        self,
        tree: dict[str, np.ndarray],
        leaf_N: np.ndarray,
        order_N: np.ndarray,
        bag: np.ndarray,
        *,
        holds_judged: bool = True,
    ) -> None:
        """Judge the rows that a tree's splits were found without.

        Args:
            tree: its arrays.
            leaf_N: each row's leaf.
            order_N: the row of each entry of `codes`.
            bag: the rows that the splits were found from.
            holds_judged: whether the leaves count the judged rows, too, which are then taken out one by one; else they
                count rows of the bag alone.
        """
        left_out = np.ones(len(leaf_N), bool)
        left_out[bag] = False
        rows = self.judged[left_out[self.judged]]
        if not len(rows):
            return
        path = path_of(tree, leaf_N[rows], self.group_N[order_N], self.group_N[rows], own=int(holds_judged))
        self.total_AN[:, rows] += likelihood(path, *self.candidates)
        self.trees_N[rows] += 1

    def best(self) -> Chosen:
        """The candidate under which the rows are most likely; without any row a middle one."""
        rows = np.flatnonzero(self.trees_N)
        if not len(rows):
            return Chosen(8.0, 1.0, np.zeros(0))
        log_p_AN = np.log(self.total_AN[:, rows] / self.trees_N[rows] + NEVER)
        best = int(log_p_AN.mean(1).argmax())
        return Chosen(float(self.candidates[0][best]), float(self.candidates[1][best]), log_p_AN[best])


def is_less_likely(one_N: np.ndarray, other_N: np.ndarray) -> bool:
    """Whether the other's mean log-likelihood of the same rows is higher by more than one standard error.

    Of models that do not differ so much the simpler one is taken (Breiman et al. 1984, section 3.4.3); the error is
    that of the paired difference.
    """
    if not len(one_N):
        return False
    gain = other_N - one_N
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


def grouped(own_N: np.ndarray, cardinality: int) -> np.ndarray:
    """Codes as they are where they are few; else groups of neighbouring codes of about equal rows, (N,)."""
    if cardinality <= 2 * GROUPS:
        return own_N.astype(np.int64)
    rows = np.bincount(own_N, minlength=cardinality)
    middle = (np.cumsum(rows) - rows / 2) / max(rows.sum(), 1)
    group = np.minimum(np.floor(middle * GROUPS), GROUPS - 1).astype(np.int64)
    group[-1] = GROUPS
    grouped_N: np.ndarray = group[own_N]
    return grouped_N


def path_of(
    tree: dict[str, np.ndarray], leaf_N: np.ndarray, group_L: np.ndarray, group_N: np.ndarray, own: int = 1
) -> Path:
    """The path of rows from their leaves up, with the counts of others; each is counted there `own` times itself."""
    stride = len(group_L) + 1
    key = np.sort(group_L * stride + np.arange(len(group_L)))
    changes = _changes(tree["codes"])
    node, levels = leaf_N.astype(np.int64), []
    while True:
        start, stop = tree["start"][node].astype(np.int64), tree["stop"][node].astype(np.int64)
        alike = np.searchsorted(key, group_N * stride + stop) - np.searchsorted(key, group_N * stride + start)
        others = changes[np.maximum(stop - 1, 0)] - changes[np.minimum(start, len(changes) - 1)]
        pure = (others == 0) | (others == 1) & (alike == 1) & (own == 1)
        levels.append((stop - start - own, alike - own, pure))
        if not node.any():
            break
        node = tree["parent"][node]
    rows, alike, pure = (np.stack(x) for x in zip(*levels, strict=True))
    return Path(rows.astype(float), alike.astype(float), pure)


def _changes(codes_L: np.ndarray) -> np.ndarray:
    """How often the code has changed up to each entry, so that a slice of one code shows."""
    return np.concatenate([[0], np.cumsum(codes_L[1:] != codes_L[:-1])])


def likelihood(path: Path, alpha_A: np.ndarray, of_pure_A: np.ndarray) -> np.ndarray:
    """Probability (A, N) of each row's group under the others, by each candidate."""
    weight_A1, of_pure_A1 = alpha_A[:, None], (alpha_A * of_pure_A)[:, None]
    p_AN = np.tile(path.alike[-1] / np.maximum(path.rows[-1], 1), (len(alpha_A), 1))
    for rows, alike, pure in zip(path.rows[-2::-1], path.alike[-2::-1], path.pure[-2::-1], strict=True):
        weight = np.where(pure, of_pure_A1, weight_A1)
        p_AN = np.where(rows + weight > 0, (alike + weight * p_AN) / np.maximum(rows + weight, 1e-300), p_AN)
    return p_AN


def keep_of(tree: dict[str, np.ndarray], alpha: float, of_pure: float) -> np.ndarray:
    """Probability (M,) that a draw stays in each node: 1 in the root."""
    start, stop, changes = tree["start"], tree["stop"], _changes(tree["codes"])
    rows = (stop - start).astype(float)
    is_pure = (rows > 0) & (changes[np.maximum(stop - 1, 0)] == changes[np.minimum(start, len(changes) - 1)])
    keep = rows / np.maximum(rows + np.where(is_pure, alpha * of_pure, alpha), 1e-300)
    alone = is_pure if of_pure < 1 else np.zeros_like(is_pure)
    keep = 1.0 - _balanced(tree, rows, 1.0 - keep, alone)
    keep[0] = 1.0
    return keep.astype(np.float32)


def _balanced(tree: dict[str, np.ndarray], rows: np.ndarray, leaves: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Probability (M,) that a draw leaves each node, such that both children of a node lose the same share of draws.

    What leaves two children is drawn from all rows of both. Did one lose a larger share than the other, the other's
    codes would be drawn more often than the rows have them, and all columns after this one would be off, too.

    Args:
        tree: its arrays.
        rows: of each node, (M,).
        leaves: the probability wanted for each node, (M,); both children together lose as many draws as by it, unless
            fewer come up to one of them.
        alone: nodes whose share stays as it is, and that of the other child with it, (M,).
    """
    depth = np.zeros(len(rows), np.int32)
    inner = np.flatnonzero(tree["feature"] >= 0)
    for level in range(len(rows)):
        at = inner[depth[inner] == level]
        if not len(at):
            break
        depth[tree["left"][at]] = depth[tree["left"][at] + 1] = level + 1
    result, arriving = leaves.copy(), np.ones(len(rows))  # share of a node's draws that come up to it
    for level in range(int(depth[inner].max(initial=-1)), -1, -1):
        at = inner[depth[inner] == level]
        pair = tree["left"][at][:, None] + np.arange(2)
        come, n = arriving[pair], rows[pair]
        lost = (n * come * leaves[pair]).sum(1) / n.sum(1)
        equal = np.minimum(lost, come.min(1))
        may = ~alone[pair].any(1) & (equal > 0)
        result[pair[may]] = equal[may, None] / come[may]
        arriving[at] = np.where(may, equal, lost)
    return result
