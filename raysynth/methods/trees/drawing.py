"""The inner loops of drawing from a forest, compiled: inputs of rows, rows to leaves, leaves to codes.

They give what NumPy gave, bit by bit. Rows lie one after the other, so that a walk finds a row's inputs side by side;
four rows walk at a time, since each waits for its next node to come from memory.

Shape legend: N rows, F inputs, M nodes, S scores, L entries of all leaves.
"""

from __future__ import annotations

import numpy as np

from raysynth.running.compiled import compiled

TILE = 256  # rows whose inputs stay in the nearest cache
BELOW, HIGHEST_INPUT = 31, 0xFFFF  # a node as one number: from bit 0 its left child, 31 its threshold, 47 its input
SPLIT_BY = BELOW + 16
MOST_STEPS = 192  # from a root to a leaf


def packed(feature: np.ndarray, threshold: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Each node as one number (M,) int64, leaves -1; an input of 0xFFFF is the largest."""
    bits = np.clip(threshold, 0, HIGHEST_INPUT).astype(np.int64) << BELOW
    return np.where(feature < 0, -1, left.astype(np.int64) | bits | feature.astype(np.int64) << SPLIT_BY)


@compiled
def put_inputs(
    codes_CN: np.ndarray, inputs: np.ndarray, places: np.ndarray, start_F: np.ndarray, x_NF: np.ndarray
) -> None:
    """Writes the codes of each input column, or their places in its order, into the first columns of `x_NF`.

    Args:
        places: of all orders, one after the other. start_F: where each input's begin; -1: codes are as they are.
    """
    for start in range(0, len(x_NF), TILE):
        end = min(start + TILE, len(x_NF))
        for f in range(len(inputs)):
            codes_N, at = codes_CN[inputs[f]], start_F[f]
            if at < 0:
                for row in range(start, end):
                    x_NF[row, f] = codes_N[row]
            else:
                for row in range(start, end):
                    x_NF[row, f] = places[at + np.int64(codes_N[row])]


@compiled
def put_scores(
    codes_CN: np.ndarray,
    inputs: np.ndarray,
    tables: np.ndarray,
    start_F: np.ndarray,
    scales: np.ndarray,
    rank: np.ndarray,
    more_N: np.ndarray,
    total: np.ndarray,
    x_NF: np.ndarray,
    column: int,
) -> None:
    """Writes the ranks of one score into a column of `x_NF`.

    Args:
        tables: float32 addends of the codes of all inputs, one input's after the other's from `start_F` on.
        scales: the lowest sum and the steps for each unit, float32 (2,). rank: of each step.
        more_N: added to each sum; empty: nothing is.
        total: working space for `TILE` sums, float32.
    """
    low, per_unit, last = scales[0], scales[1], np.float32(len(rank) - 1)
    for start in range(0, len(x_NF), TILE):
        end = min(start + TILE, len(x_NF))
        for f in range(len(inputs)):
            codes_N, at = codes_CN[inputs[f]], start_F[f]
            if f == 0:
                for row in range(start, end):
                    total[row - start] = tables[at + np.int64(codes_N[row])]
            else:
                for row in range(start, end):
                    total[row - start] += tables[at + np.int64(codes_N[row])]
        if len(more_N):
            for row in range(start, end):
                total[row - start] += np.float32(more_N[row])
        for row in range(start, end):
            step = min(max((total[row - start] - low) * per_unit, np.float32(0.0)), last)
            x_NF[row, column] = rank[np.int64(step)]


@compiled
def walked(nodes: np.ndarray, x_NF: np.ndarray, node_N: np.ndarray) -> bool:
    """Takes each row down from its node to a leaf, in place; False where a tree never ends."""
    n, mask = len(node_N), np.int64((1 << BELOW) - 1)
    for row in range(0, n - 3, 4):
        a, b = np.int64(node_N[row]), np.int64(node_N[row + 1])
        c, d = np.int64(node_N[row + 2]), np.int64(node_N[row + 3])
        at_a, at_b, at_c, at_d = nodes[a], nodes[b], nodes[c], nodes[d]
        for _ in range(MOST_STEPS):
            if at_a < 0 and at_b < 0 and at_c < 0 and at_d < 0:
                break
            if at_a >= 0:
                a = (at_a & mask) + (x_NF[row, at_a >> SPLIT_BY] > ((at_a >> BELOW) & HIGHEST_INPUT))
                at_a = nodes[a]
            if at_b >= 0:
                b = (at_b & mask) + (x_NF[row + 1, at_b >> SPLIT_BY] > ((at_b >> BELOW) & HIGHEST_INPUT))
                at_b = nodes[b]
            if at_c >= 0:
                c = (at_c & mask) + (x_NF[row + 2, at_c >> SPLIT_BY] > ((at_c >> BELOW) & HIGHEST_INPUT))
                at_c = nodes[c]
            if at_d >= 0:
                d = (at_d & mask) + (x_NF[row + 3, at_d >> SPLIT_BY] > ((at_d >> BELOW) & HIGHEST_INPUT))
                at_d = nodes[d]
        if at_a >= 0 or at_b >= 0 or at_c >= 0 or at_d >= 0:
            return False
        node_N[row], node_N[row + 1], node_N[row + 2], node_N[row + 3] = a, b, c, d
    for row in range(n - n % 4, n):
        a = np.int64(node_N[row])
        for _ in range(MOST_STEPS):
            if nodes[a] < 0:
                break
            at_a = nodes[a]
            a = (at_a & mask) + (x_NF[row, at_a >> SPLIT_BY] > ((at_a >> BELOW) & HIGHEST_INPUT))
        if nodes[a] >= 0:
            return False
        node_N[row] = a
    return True


@compiled
def left_nodes(node_N: np.ndarray, keep: np.ndarray, chance_N: np.ndarray, rows: np.ndarray) -> int:
    """Writes the rows whose chance in [0, 1) is not below that of staying in their node into `rows`; how many."""
    n_rows = 0
    for row in range(len(node_N)):
        if chance_N[row] >= keep[node_N[row]]:
            rows[n_rows] = row
            n_rows += 1
    return n_rows


@compiled
def went_up(node_N: np.ndarray, parent: np.ndarray, keep: np.ndarray, chance: np.ndarray, rows: np.ndarray) -> int:
    """Takes the first `rows`, one for each chance, to their nodes' parents; those that go on come first: how many."""
    n_rows = 0
    for i in range(len(chance)):
        row = rows[i]
        up = parent[node_N[row]]
        node_N[row] = up
        if chance[i] >= keep[up]:
            rows[n_rows] = row
            n_rows += 1
    return n_rows


@compiled
def spread(
    node_N: np.ndarray,
    place: np.ndarray,
    order: np.ndarray,
    before: np.ndarray,
    steps: tuple[float, float],
    spread_N: np.ndarray,
) -> None:
    """Writes a number in [0, 1) for each row; see `forest._spread`.

    Args:
        place: of each node. order: of the rows of one place. before: zeros, one more than there are places.
        steps: between neighbours, and where the first one stands.
    """
    factor, begin = steps
    for row in node_N:
        before[place[row] + 1] += 1
    for p in range(1, len(before)):
        before[p] += before[p - 1]
    for row in order:
        p = place[node_N[row]]
        value = before[p] * factor + begin
        spread_N[row] = value - np.floor(value)
        before[p] += 1


@compiled
def picked(
    node_N: np.ndarray,
    leaf_N: np.ndarray,
    slices: tuple[np.ndarray, np.ndarray, np.ndarray],
    run: np.ndarray,
    part_N: np.ndarray,
    codes_N: np.ndarray,
) -> None:
    """Writes the code at a part in [0, 1) of each row's slice of entries; see `Forest._between`.

    Args:
        slices: where each node's entries begin and end, and all entries.
        run: of each code; empty: none is between two entries.
    """
    first, after, entries = slices
    for row in range(len(node_N)):
        node = node_N[row]
        start, stop = np.int64(first[node]), np.int64(after[node])
        place = part_N[row] * (stop - start)
        whole = np.int64(place)
        codes_N[row] = entries[start + whole]
        if len(run) and node == leaf_N[row]:
            way = place - whole
            lower = start + whole - (way < 0.5)
            if lower >= start and lower + 1 < stop:
                low, high = np.int64(entries[lower]), np.int64(entries[lower + 1])
                if run[low] >= 0 and run[low] == run[high]:
                    way += 0.5
                    way -= np.floor(way)
                    codes_N[row] = low + np.int64(way * (high - low + 1))
