"""The splits of one tree, by exact search (CART; Breiman et al. 1984), over codes.

Of two thresholds the better one lowers the summed variance of the targets more, which for classes is the Gini index. An
input of few codes is counted in each node; of one of many every node keeps its rows in order, sorted once for each
column, so that a split is one walk along them and children inherit their order (SLIQ; Mehta et al. 1996). The loops are
compiled.

Shape legend: N rows, F inputs, S of them sorted, K targets, B rows of the bag, M nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.running.compiled import compiled

DEEPEST = 48
LEAST_GAIN = 1e-9  # of variance (or of the Gini index), times the node's share of the rows
COUNTED = 32  # codes that an input may have to be counted


@dataclass(frozen=True)
class Inputs:
    """What splits look at.

    Args:
        x_FN: codes of each row, as 16 bits.
        sorted_SN: of inputs of many codes the rows in their order.
        place_F: where in `sorted_SN` an input stands, -1 for one that is counted.
    """

    x_FN: np.ndarray
    sorted_SN: np.ndarray
    place_F: np.ndarray

    @classmethod
    def of(cls, x_FN: np.ndarray) -> Inputs:
        """From codes below 65,536."""
        codes_FN = x_FN.astype(np.uint16)
        many = codes_FN.max(axis=1) >= COUNTED
        sorted_SN = np.argsort(codes_FN[many], axis=1, kind="stable").astype(np.int32)
        return cls(np.ascontiguousarray(codes_FN), sorted_SN, np.where(many, np.cumsum(many) - 1, -1))

    def first(self, n: int) -> Inputs:
        """The first `n` inputs alone."""
        place_F = self.place_F[:n]
        return Inputs(self.x_FN[:n], self.sorted_SN[: int((place_F >= 0).sum())], place_F)

    def splits(
        self, bag: np.ndarray, targets_NK: np.ndarray, leaf_rows: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Input, threshold, left and right child of each node, numbered by a walk down the left side first.

        Rows up to the threshold go left; children of a leaf are -1.

        Args:
            bag: the rows to learn from.
            targets_NK: numbers whose variance splits shall lower; of classes a column of 0 and 1 for each (cheaper).
            leaf_rows: least rows of the bag in a leaf.
            seed: decides between inputs that split equally well.
        """
        tries = np.random.default_rng(seed).permutation(len(self.place_F))
        targets = np.ascontiguousarray(targets_NK, np.float32)
        are_classes = bool(((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all())
        class_N = (targets.argmax(axis=1) if are_classes else np.zeros(0, np.int64)).astype(np.uint8)
        rows_SB = _bagged(self.sorted_SN, np.sort(bag), self.x_FN.shape[1])
        return _grown(self.x_FN, rows_SB, self.place_F[tries], targets, class_N, max(leaf_rows, 1), tries)


@compiled
def _bagged(sorted_SN: np.ndarray, bag: np.ndarray, n_rows: int) -> np.ndarray:
    """The rows of the bag in each order, after them as they are, (S + 1, B)."""
    in_bag = np.zeros(n_rows, np.bool_)
    rows_SB = np.empty((sorted_SN.shape[0] + 1, len(bag)), np.int32)
    for i in range(len(bag)):
        in_bag[bag[i]] = True
        rows_SB[-1, i] = bag[i]
    for s in range(sorted_SN.shape[0]):
        at = 0
        for i in range(n_rows):
            if in_bag[sorted_SN[s, i]]:
                rows_SB[s, at] = sorted_SN[s, i]
                at += 1
    return rows_SB


@compiled
def _grown(
    x_FN: np.ndarray,
    rows_SB: np.ndarray,
    places: np.ndarray,
    targets_NK: np.ndarray,
    class_N: np.ndarray,
    leaf_rows: int,
    tries: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = rows_SB.shape[1]
    most = 2 * (n // leaf_rows) + 3
    feature, threshold = np.full(most, -2, np.int64), np.full(most, -2, np.int64)
    left, right = np.full(most, -1, np.int64), np.full(most, -1, np.int64)
    waits = np.zeros((DEEPEST + 4, 4), np.int64)  # first row, end, depth, and whose right child (-1: a left one)
    waits[0, 1], waits[0, 3] = n, -1
    waiting, made = 1, 0
    goes_left, spare = np.zeros(x_FN.shape[1], np.bool_), np.empty(n, np.int32)
    per_row = 1.0 / np.maximum(np.arange(n + 1), 1)
    while waiting:
        waiting -= 1
        start, end, depth, parent = waits[waiting, 0], waits[waiting, 1], waits[waiting, 2], waits[waiting, 3]
        node = made
        made += 1
        if parent >= 0:
            right[parent] = node
        if end - start < 2 * leaf_rows or depth == DEEPEST:
            continue
        rows = rows_SB[:, start:end]
        best, at, n_left = _best(x_FN, rows, places, targets_NK, class_N, leaf_rows, tries, per_row)
        if best < 0:
            continue
        feature[node], threshold[node], left[node] = best, at, node + 1
        cut = start + n_left
        if max(n_left, end - cut) >= 2 * leaf_rows:  # else both are leaves, whose rows nobody asks for
            x_N = x_FN[best]
            for row in rows[-1]:
                goes_left[row] = x_N[row] <= at
            _divide(x_FN, rows, places, tries, goes_left, spare)
        for first, last, of in ((cut, end, node), (start, cut, np.int64(-1))):
            waits[waiting, 0], waits[waiting, 1], waits[waiting, 2], waits[waiting, 3] = first, last, depth + 1, of
            waiting += 1
    return feature[:made], threshold[:made], left[:made], right[:made]


@compiled
def _best(
    x_FN: np.ndarray,
    rows_SB: np.ndarray,
    places: np.ndarray,
    targets_NK: np.ndarray,
    class_N: np.ndarray,
    leaf_rows: int,
    tries: np.ndarray,
    per_row: np.ndarray,
) -> tuple[int, int, int]:
    """Input, threshold and rows that go left, by which squared sums over rows grow most; input -1: none."""
    n, k = rows_SB.shape[1], targets_NK.shape[1]
    total = np.zeros(k)
    for row in rows_SB[-1]:
        for j in range(k):
            total[j] += targets_NK[row, j]
    most = LEAST_GAIN * (len(per_row) - 1)
    for j in range(k):
        most += total[j] * total[j] * per_row[n]
    best, best_at, best_left = -1, 0, 0
    for i in range(len(tries)):
        x_N, rows_B = x_FN[tries[i]], rows_SB[places[i]]  # place -1: rows in any order
        if places[i] < 0:
            found, at, n_left = _of_few(x_N, rows_B, targets_NK, class_N, leaf_rows, total, per_row)
        elif x_N[rows_B[0]] == x_N[rows_B[-1]]:
            continue
        elif len(class_N) > 0:
            found, at, n_left = _of_many_classes(x_N, rows_B, class_N, leaf_rows, total, per_row, most)
        elif k == 1:
            found, at, n_left = _of_many_one(x_N, rows_B, targets_NK[:, 0], leaf_rows, total[0], per_row, most)
        elif k == 2:
            found, at, n_left = _of_many_two(x_N, rows_B, targets_NK, leaf_rows, total, per_row, most)
        else:
            found, at, n_left = _of_many(x_N, rows_B, targets_NK, leaf_rows, total, per_row, most)
        if found > most:
            most, best, best_at, best_left = found, tries[i], at, n_left
    return best, best_at, best_left


@compiled
def _squares(so_far: np.ndarray, total: np.ndarray, per_row: np.ndarray, n_left: int, n: int) -> float:
    """Squared sums over rows of two children: what a split leaves explained, (K,) sums of the left one and of all."""
    of_left, of_right = 0.0, 0.0
    for j in range(len(total)):
        of_left += so_far[j] * so_far[j]
        of_right += (total[j] - so_far[j]) ** 2
    return of_left * per_row[n_left] + of_right * per_row[n - n_left]


@compiled
def _of_many(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    targets_NK: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
    most: float,
) -> tuple[float, int, int]:
    """Squared sums over rows at the best threshold of an input, from rows in its order; threshold, rows to the left.

    Thresholds that explain no more than `most` are passed over, and codes are looked up where one would explain more:
    reading them takes as long as the sums.
    """
    n, k, so_far = len(rows_B), len(total), np.zeros(len(total))
    at, n_left = np.int64(0), 0
    for i in range(n - leaf_rows):
        for j in range(k):
            so_far[j] += targets_NK[rows_B[i], j]
        if i + 1 >= leaf_rows:
            found = _squares(so_far, total, per_row, i + 1, n)
            if found > most and x_N[rows_B[i]] != x_N[rows_B[i + 1]]:
                most, at, n_left = found, _between(x_N, rows_B, i), i + 1
    return most, int(at), n_left


@compiled
def _between(x_N: np.ndarray, rows_B: np.ndarray, i: int) -> Any:
    """The threshold between a row and the next one."""
    return (np.int64(x_N[rows_B[i]]) + np.int64(x_N[rows_B[i + 1]])) // 2


@compiled
def _of_many_one(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    target_N: np.ndarray,
    leaf_rows: int,
    total: float,
    per_row: np.ndarray,
    most: float,
) -> tuple[float, int, int]:
    """As `_of_many` of one target, whose sum stays in a register."""
    n, at, n_left, so_far = len(rows_B), np.int64(0), 0, 0.0
    for i in range(leaf_rows - 1):
        so_far += target_N[rows_B[i]]
    for i in range(leaf_rows - 1, n - leaf_rows):
        so_far += target_N[rows_B[i]]
        found = so_far * so_far * per_row[i + 1] + (total - so_far) ** 2 * per_row[n - i - 1]
        if found > most and x_N[rows_B[i]] != x_N[rows_B[i + 1]]:
            most, at, n_left = found, _between(x_N, rows_B, i), i + 1
    return most, int(at), n_left


@compiled
def _of_many_two(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    targets_NK: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
    most: float,
) -> tuple[float, int, int]:
    """As `_of_many` of two targets."""
    n, at, n_left, of_one, of_two = len(rows_B), np.int64(0), 0, total[0], total[1]
    one, two = 0.0, 0.0
    for i in range(n - leaf_rows):
        row = rows_B[i]
        one += targets_NK[row, 0]
        two += targets_NK[row, 1]
        of_right = (of_one - one) ** 2 + (of_two - two) ** 2
        found = (one * one + two * two) * per_row[i + 1] + of_right * per_row[n - i - 1]
        if found > most and i + 1 >= leaf_rows and x_N[row] != x_N[rows_B[i + 1]]:
            most, at, n_left = found, _between(x_N, rows_B, i), i + 1
    return most, int(at), n_left


@compiled
def _of_many_classes(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    class_N: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
    most: float,
) -> tuple[float, int, int]:
    """As `_of_many` of classes: a row changes the squared rows of its own class alone."""
    n, at, n_left, so_far = len(rows_B), np.int64(0), 0, np.zeros(len(total))
    of_left, of_right = 0.0, 0.0
    for k in range(len(total)):
        of_right += total[k] * total[k]
    for i in range(n - leaf_rows):
        k = class_N[rows_B[i]]
        of_left += 2 * so_far[k] + 1
        of_right -= 2 * (total[k] - so_far[k]) - 1
        so_far[k] += 1
        found = of_left * per_row[i + 1] + of_right * per_row[n - i - 1]
        if found > most and i + 1 >= leaf_rows and x_N[rows_B[i]] != x_N[rows_B[i + 1]]:
            most, at, n_left = found, _between(x_N, rows_B, i), i + 1
    return most, int(at), n_left


@compiled
def _of_few(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    targets_NK: np.ndarray,
    class_N: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
) -> tuple[float, int, int]:
    """The same from rows in any order, of an input of few codes."""
    n, k = len(rows_B), len(total)
    counts, sums, so_far = np.zeros(COUNTED, np.int64), np.zeros((COUNTED, k)), np.zeros(k)
    if len(class_N) > 0:
        for row in rows_B:
            counts[x_N[row]] += 1
            sums[x_N[row], class_N[row]] += 1
    else:
        for row in rows_B:
            counts[x_N[row]] += 1
            for j in range(k):
                sums[x_N[row], j] += targets_NK[row, j]
    most, at, n_left, done, here = -1.0, 0, 0, 0, -1
    for code in range(COUNTED):
        if counts[code] == 0:
            continue
        if done >= leaf_rows and n - done >= leaf_rows:
            found = _squares(so_far, total, per_row, done, n)
            if found > most:
                most, at, n_left = found, (here + code) // 2, done
        here = code
        done += counts[code]
        for j in range(k):
            so_far[j] += sums[code, j]
    return most, at, n_left


@compiled
def _divide(
    x_FN: np.ndarray,
    rows_SB: np.ndarray,
    places: np.ndarray,
    tries: np.ndarray,
    goes_left: np.ndarray,
    spare: np.ndarray,
) -> None:
    """Rows of the left child first, each child's in the order that they had.

    An order of an input that is the same in all rows stays as it is: it shows no more to the children.
    """
    _parted(rows_SB[-1], goes_left, spare)
    for i in range(len(tries)):
        if places[i] >= 0:
            rows_B, x_N = rows_SB[places[i]], x_FN[tries[i]]
            if x_N[rows_B[0]] != x_N[rows_B[-1]]:
                _parted(rows_B, goes_left, spare)


@compiled
def _parted(rows_B: np.ndarray, goes_left: np.ndarray, spare: np.ndarray) -> int:
    """Puts the rows that go left first, in their order, the others after them; how many go left."""
    to_left = 0
    for i in range(len(rows_B)):  # written to both sides: no processor guesses a branch that is as good as random
        row = rows_B[i]
        rows_B[to_left] = row
        spare[i - to_left] = row
        to_left += goes_left[row]
    for i in range(len(rows_B) - to_left):
        rows_B[to_left + i] = spare[i]
    return to_left


@compiled
def leaves_of(
    x_FN: np.ndarray, feature: np.ndarray, threshold: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """The leaf (N,) of each row, by dividing the rows of a node after the other.

    Args:
        x_FN: codes of the rows.
        feature, threshold, left, right: of each node, (M,); children come after their parent.
    """
    n = x_FN.shape[1]
    at, goes_left = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    rows, spare = np.arange(n).astype(np.int32), np.empty(n, np.int32)
    first, end = np.zeros(len(left), np.int64), np.zeros(len(left), np.int64)
    end[0] = n
    for node in range(len(left)):
        if first[node] == end[node]:  # nobody is here; of a node out of use the children may be another's
            continue
        own = rows[first[node] : end[node]]
        if left[node] < 0:
            for row in own:
                at[row] = node
            continue
        x_N = x_FN[feature[node]]
        for row in own:
            goes_left[row] = x_N[row] <= threshold[node]
        cut = first[node] + _parted(own, goes_left, spare)
        first[left[node]], end[left[node]] = first[node], cut
        first[right[node]], end[right[node]] = cut, end[node]
    return at
