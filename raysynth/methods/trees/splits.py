"""The splits of one tree, by exact search (CART; Breiman et al. 1984), over codes.

Of two thresholds the better one lowers the summed variance of the targets more, which for classes is the Gini index. An
input of few codes is counted in each node; of one of many every node keeps its rows in order, sorted once for each
column, so that a split is one walk along them and children inherit their order (SLIQ; Mehta et al. 1996). The loops are
compiled.

Shape legend: N rows, F inputs, S of them sorted, K targets, B rows of the bag.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysynth.running.compiled import compiled

DEEPEST = 48
LEAST_GAIN = 1e-9  # of variance (or of the Gini index), times the node's share of the rows
COUNTED = 32  # codes that an input may have to be counted


@dataclass(frozen=True)
class Inputs:
    """What splits look at.

    Args:
        x_NF: codes of each row, as 16 bits.
        sorted_SN: of inputs of many codes the rows in their order.
        place_F: where in `sorted_SN` an input stands, -1 for one that is counted.
    """

    x_NF: np.ndarray
    sorted_SN: np.ndarray
    place_F: np.ndarray

    @classmethod
    def of(cls, x_FN: np.ndarray) -> Inputs:
        """From codes below 65,536."""
        codes_FN = x_FN.astype(np.uint16)
        many = codes_FN.max(axis=1) >= COUNTED
        sorted_SN = np.argsort(codes_FN[many], axis=1, kind="stable").astype(np.int32)
        return cls(np.ascontiguousarray(codes_FN.T), sorted_SN, np.where(many, np.cumsum(many) - 1, -1))

    def first(self, n: int) -> Inputs:
        """The first `n` inputs alone."""
        place_F = self.place_F[:n]
        return Inputs(np.ascontiguousarray(self.x_NF[:, :n]), self.sorted_SN[: int((place_F >= 0).sum())], place_F)

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
        rows_SB = _bagged(self.sorted_SN, np.sort(bag), len(self.x_NF))
        return _grown(self.x_NF, rows_SB, self.place_F[tries], targets, class_N, max(leaf_rows, 1), tries)


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
    x_NF: np.ndarray,
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
    goes_left, spare = np.zeros(x_NF.shape[0], np.bool_), np.empty(n, np.int32)
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
        best, at, n_left = _best(x_NF, rows, places, targets_NK, class_N, leaf_rows, tries, per_row)
        if best < 0:
            continue
        feature[node], threshold[node], left[node] = best, at, node + 1
        for row in rows[-1]:
            goes_left[row] = x_NF[row, best] <= at
        _divide(rows, n_left, goes_left, spare)
        cut = start + n_left
        for first, last, of in ((cut, end, node), (start, cut, np.int64(-1))):
            waits[waiting, 0], waits[waiting, 1], waits[waiting, 2], waits[waiting, 3] = first, last, depth + 1, of
            waiting += 1
    return feature[:made], threshold[:made], left[:made], right[:made]


@compiled
def _best(
    x_NF: np.ndarray,
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
        x_N, rows_B = x_NF[:, tries[i]], rows_SB[places[i]]  # place -1: rows in any order
        if len(class_N) > 0 and places[i] < 0:
            found, at, n_left = _of_few_classes(x_N, rows_B, class_N, leaf_rows, total, per_row)
        elif len(class_N) > 0:
            found, at, n_left = _of_many_classes(x_N, rows_B, class_N, leaf_rows, total, per_row)
        elif places[i] < 0:
            found, at, n_left = _of_few(x_N, rows_B, targets_NK, leaf_rows, total, per_row)
        else:
            found, at, n_left = _of_many(x_N, rows_B, targets_NK, leaf_rows, total, per_row)
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
) -> tuple[float, int, int]:
    """Squared sums over rows at the best threshold of an input, from rows in its order; threshold, rows to the left."""
    n, k = len(rows_B), len(total)
    here, last = x_N[rows_B[0]], x_N[rows_B[n - 1]]
    most, at, n_left = -1.0, np.int64(0), 0
    if here == last:
        return most, int(at), n_left
    if k == 1:
        return _of_many_one(x_N, rows_B, targets_NK[:, 0], leaf_rows, total[0], per_row)
    if k == 2:
        return _of_many_two(x_N, rows_B, targets_NK, leaf_rows, total, per_row)
    so_far = np.zeros(k)
    for i in range(n - leaf_rows):
        for j in range(k):
            so_far[j] += targets_NK[rows_B[i], j]
        following = x_N[rows_B[i + 1]]
        if following != here and i + 1 >= leaf_rows:
            found = _squares(so_far, total, per_row, i + 1, n)
            if found > most:
                most, at, n_left = found, (np.int64(here) + np.int64(following)) // 2, i + 1
        here = following
    return most, int(at), n_left


@compiled
def _of_many_one(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    target_N: np.ndarray,
    leaf_rows: int,
    total: float,
    per_row: np.ndarray,
) -> tuple[float, int, int]:
    """As `_of_many` of one target, whose sum stays in a register."""
    n, here = len(rows_B), x_N[rows_B[0]]
    most, at, n_left, so_far = -1.0, np.int64(0), 0, 0.0
    for i in range(n - leaf_rows):
        so_far += target_N[rows_B[i]]
        following = x_N[rows_B[i + 1]]
        if following != here and i + 1 >= leaf_rows:
            found = so_far * so_far * per_row[i + 1] + (total - so_far) ** 2 * per_row[n - i - 1]
            if found > most:
                most, at, n_left = found, (np.int64(here) + np.int64(following)) // 2, i + 1
        here = following
    return most, int(at), n_left


@compiled
def _of_many_two(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    targets_NK: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
) -> tuple[float, int, int]:
    """As `_of_many` of two targets."""
    n, here, of_one, of_two = len(rows_B), x_N[rows_B[0]], total[0], total[1]
    most, at, n_left, one, two = -1.0, np.int64(0), 0, 0.0, 0.0
    for i in range(n - leaf_rows):
        row = rows_B[i]
        one += targets_NK[row, 0]
        two += targets_NK[row, 1]
        following = x_N[rows_B[i + 1]]
        if following != here and i + 1 >= leaf_rows:
            of_right = (of_one - one) ** 2 + (of_two - two) ** 2
            found = (one * one + two * two) * per_row[i + 1] + of_right * per_row[n - i - 1]
            if found > most:
                most, at, n_left = found, (np.int64(here) + np.int64(following)) // 2, i + 1
        here = following
    return most, int(at), n_left


@compiled
def _of_few(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    targets_NK: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
) -> tuple[float, int, int]:
    """The same from rows in any order, of an input of few codes."""
    n, k = len(rows_B), len(total)
    counts, sums, so_far = np.zeros(COUNTED, np.int64), np.zeros((COUNTED, k)), np.zeros(k)
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
def _of_many_classes(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    class_N: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
) -> tuple[float, int, int]:
    """As `_of_many` of classes: a row changes the squared rows of its own class alone."""
    n = len(rows_B)
    here, last = x_N[rows_B[0]], x_N[rows_B[n - 1]]
    most, at, n_left = -1.0, np.int64(0), 0
    if here == last:
        return most, int(at), n_left
    so_far = np.zeros(len(total))
    of_left, of_right = 0.0, 0.0
    for k in range(len(total)):
        of_right += total[k] * total[k]
    for i in range(n - leaf_rows):
        k = class_N[rows_B[i]]
        of_left += 2 * so_far[k] + 1
        of_right -= 2 * (total[k] - so_far[k]) - 1
        so_far[k] += 1
        following = x_N[rows_B[i + 1]]
        if following != here and i + 1 >= leaf_rows:
            found = of_left * per_row[i + 1] + of_right * per_row[n - i - 1]
            if found > most:
                most, at, n_left = found, (np.int64(here) + np.int64(following)) // 2, i + 1
        here = following
    return most, int(at), n_left


@compiled
def _of_few_classes(
    x_N: np.ndarray,
    rows_B: np.ndarray,
    class_N: np.ndarray,
    leaf_rows: int,
    total: np.ndarray,
    per_row: np.ndarray,
) -> tuple[float, int, int]:
    """As `_of_few` of classes."""
    n, counts, so_far = len(rows_B), np.zeros((COUNTED, len(total))), np.zeros(len(total))
    for row in rows_B:
        counts[x_N[row], class_N[row]] += 1
    most, at, n_left, done, here = -1.0, 0, 0, 0, -1
    for code in range(COUNTED):
        of_code = 0.0
        for k in range(len(total)):
            of_code += counts[code, k]
        if of_code == 0:
            continue
        if done >= leaf_rows and n - done >= leaf_rows:
            found = _squares(so_far, total, per_row, done, n)
            if found > most:
                most, at, n_left = found, (here + code) // 2, done
        here = code
        done += int(of_code)
        for k in range(len(total)):
            so_far[k] += counts[code, k]
    return most, at, n_left


@compiled
def _divide(rows_SB: np.ndarray, n_left: int, goes_left: np.ndarray, spare: np.ndarray) -> None:
    """Rows of the left child first, each child's in the order that they had."""
    for s in range(rows_SB.shape[0]):
        to_left, rows_B = 0, rows_SB[s]
        for i in range(len(rows_B)):  # written to both sides: no processor guesses a branch that is as good as random
            row = rows_B[i]
            rows_B[to_left] = row
            spare[i - to_left] = row
            to_left += goes_left[row]
        for i in range(len(rows_B) - n_left):
            rows_B[n_left + i] = spare[i]


@compiled
def leaves_of(
    x_NF: np.ndarray, feature: np.ndarray, threshold: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """The leaf (N,) of each row."""
    at = np.zeros(len(x_NF), np.int64)
    for row in range(len(x_NF)):
        node = 0
        while left[node] >= 0:
            node = left[node] if x_NF[row, feature[node]] <= threshold[node] else right[node]
        at[row] = node
    return at
