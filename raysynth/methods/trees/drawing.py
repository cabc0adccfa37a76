"""The inner loops of drawing from a forest, compiled: inputs of rows, rows to leaves, leaves to codes; and of choosing.

Random numbers are made where they are used, each from a key and its own number (a counter-based generator, SplitMix64's
output function; Steele, Lea and Flood, OOPSLA 2014), so that rows depend on the key alone. Rows of one tree are drawn
one after the other, so that its nodes stay in the nearest cache; eight walk at a time, since each waits for its next
node to come from memory.

Shape legend: N rows, P the same rows in the order in which they are drawn, F inputs, M nodes, L entries of all leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raysynth.running.compiled import compiled

TILE = 256  # rows whose inputs stay in the nearest cache; input f of a tile's row r is at f * TILE + r
U = np.uint64  # numbers that are never below 0: places by others cost a comparison each
HIGHEST_INPUT, LEAF = 0xFFFF, 1 << 31  # a node as one number: from bit 0 its threshold, 16 its input, 31 whether it is
CHILD, HALF, LOWER = U(32), U(32), U(0xFFFFFFFF)  # a leaf, 32 its left child
TO_PLACE, PLACES = U(8), U(0x7FFF * TILE)  # of an input in a tile
IS_LEAF, THRESHOLD = U(LEAF), U(HIGHEST_INPUT)
MOST_STEPS = 192  # from a root to a leaf
GOLDEN = (5**0.5 - 1) / 2
COUNTED_BY, FIRST, SECOND = U(0x9E3779B97F4A7C15), U(0xBF58476D1CE4E5B9), U(0x94D049BB133111EB)
UNIT = 2.0**-53
START, STOP, PLACE, PARENT = range(4)  # of the numbers of each node
Index = Any  # an np.int64 or np.uint64


def packed(feature: np.ndarray, threshold: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Each node as one number (M,) uint64. No input is larger than a leaf's threshold, and its left child is itself, so
    that a row that has come to it stays."""
    bits = np.clip(threshold, 0, HIGHEST_INPUT) | np.maximum(feature, 0).astype(np.int64) << 16
    inner, leaf = left.astype(np.int64) << 32 | bits, np.arange(len(feature)) << 32 | HIGHEST_INPUT | LEAF
    return np.where(feature < 0, leaf, inner).astype(np.uint64)


@compiled
def random_bits(key: Index, i: Index) -> Index:
    """The i-th of a key's random numbers, uint64."""
    z = key + U(i) * COUNTED_BY
    z = (z ^ (z >> U(30))) * FIRST
    z = (z ^ (z >> U(27))) * SECOND
    return z ^ (z >> U(31))


@compiled
def unit(key: Index, i: Index) -> float:
    """The i-th of a key's random numbers in [0, 1)."""
    return np.int64(random_bits(key, i) >> U(11)) * UNIT


@compiled
def shuffled(key: Index, order: np.ndarray) -> None:
    """Writes 0, 1, ... into `order`, uint32, in random order (Fisher and Yates, by Durstenfeld 1964)."""
    for i in range(len(order)):
        order[i] = i
    for i in range(len(order) - 1, 0, -2):  # two places by each number
        bits = random_bits(key, i)
        j = ((bits & LOWER) * U(i + 1)) >> HALF
        order[i], order[j] = order[j], order[i]
        j = ((bits >> HALF) * U(i)) >> HALF
        order[i - 1], order[j] = order[j], order[i - 1]


@compiled
def put_inputs(
    codes_CN: np.ndarray,
    more_SN: np.ndarray,
    sources: tuple[np.ndarray, np.ndarray, np.ndarray],
    rows: np.ndarray,
    x: np.ndarray,
) -> None:
    """Writes the inputs of a tile's rows: codes of columns, or their places in an order, and what was made of them.

    Args:
        more_SN: the further inputs.
        sources: input columns, the places of all orders, one after the other, and where each input's begin (-1: codes
            are as they are).
        rows: at most `TILE`, uint32.
    """
    inputs, places, start_F = sources
    n, n_columns = len(rows), len(inputs)
    for f in range(n_columns):
        codes_N, own = codes_CN[inputs[f]], x[f * TILE : f * TILE + n]
        if start_F[f] < 0:
            for i in range(n):
                own[i] = codes_N[rows[i]]
        else:
            place = places[start_F[f] :]
            for i in range(n):
                own[i] = place[codes_N[rows[i]]]
    for s in range(len(more_SN)):
        more_N, own = more_SN[s], x[(n_columns + s) * TILE : (n_columns + s) * TILE + n]
        for i in range(n):
            own[i] = more_N[rows[i]]


@compiled
def put_ranks(
    codes_CN: np.ndarray,
    inputs: np.ndarray,
    tables: np.ndarray,
    start_F: np.ndarray,
    scales: np.ndarray,
    rank: np.ndarray,
    more_N: np.ndarray,
    total: np.ndarray,
    rank_N: np.ndarray,
) -> None:
    """Writes the rank of each row's score.

    Args:
        tables: float32 addends of the codes of all inputs, one input's after the other's from `start_F` on.
        scales: the lowest sum and the steps for each unit, float32 (2,). rank: of each step.
        more_N: added to each sum; empty: nothing is.
        total: working space for `TILE` sums, float32.
    """
    low, per_unit, last = scales[0], scales[1], np.float32(len(rank) - 1)
    for start in range(0, len(rank_N), TILE):
        end = min(start + TILE, len(rank_N))
        for f in range(len(inputs)):
            codes_N, own = codes_CN[inputs[f]], tables[start_F[f] :]
            if f == 0:
                for row in range(start, end):
                    total[row - start] = own[codes_N[row]]
            else:
                for row in range(start, end):
                    total[row - start] += own[codes_N[row]]
        if len(more_N):
            for row in range(start, end):
                total[row - start] += np.float32(more_N[row])
        for row in range(start, end):
            step = min(max((total[row - start] - low) * per_unit, np.float32(0.0)), last)
            rank_N[row] = rank[np.int64(step)]


@compiled
def step(nodes: np.ndarray, at: Index, x: np.ndarray, row: Index) -> Index:
    """The node, as one number, that a tile's row goes to from another; a leaf's is its own."""
    return nodes[(at >> CHILD) + U(x[((at >> TO_PLACE) & PLACES) + row] > (at & THRESHOLD))]


@compiled
def walked(nodes: np.ndarray, x: np.ndarray, node_T: np.ndarray) -> bool:
    """Takes each of a tile's rows down from its node to a leaf, in place; False where a tree never ends."""
    n = len(node_T)
    for row in range(0, n - 7, 8):
        r = U(row)
        a, b, c, d = nodes[node_T[r]], nodes[node_T[r + U(1)]], nodes[node_T[r + U(2)]], nodes[node_T[r + U(3)]]
        e, f, g, h = nodes[node_T[r + U(4)]], nodes[node_T[r + U(5)]], nodes[node_T[r + U(6)]], nodes[node_T[r + U(7)]]
        for _ in range(MOST_STEPS):
            if a & b & c & d & e & f & g & h & IS_LEAF:
                break
            a, b = step(nodes, a, x, r), step(nodes, b, x, r + U(1))
            c, d = step(nodes, c, x, r + U(2)), step(nodes, d, x, r + U(3))
            e, f = step(nodes, e, x, r + U(4)), step(nodes, f, x, r + U(5))
            g, h = step(nodes, g, x, r + U(6)), step(nodes, h, x, r + U(7))
        if not a & b & c & d & e & f & g & h & IS_LEAF:
            return False
        node_T[row], node_T[row + 1], node_T[row + 2], node_T[row + 3] = a >> CHILD, b >> CHILD, c >> CHILD, d >> CHILD
        node_T[row + 4], node_T[row + 5], node_T[row + 6], node_T[row + 7] = (
            e >> CHILD,
            f >> CHILD,
            g >> CHILD,
            h >> CHILD,
        )
    for row in range(n - n % 8, n):
        a = nodes[node_T[row]]
        for _ in range(MOST_STEPS):
            a = step(nodes, a, x, U(row))
        if not a & IS_LEAF:
            return False
        node_T[row] = a >> CHILD
    return True


@compiled
def all_walked(nodes: np.ndarray, x_FN: np.ndarray, x: np.ndarray, node_N: np.ndarray) -> bool:
    """As `walked`, of any number of rows; x: working space for the inputs of a tile."""
    for start in range(0, len(node_N), TILE):
        end = min(start + TILE, len(node_N))
        for f in range(len(x_FN)):
            x[f * TILE : f * TILE + end - start] = x_FN[f, start:end]
        if not walked(nodes, x, node_N[start:end]):
            return False
    return True


@compiled
def backed_off(
    node_T: np.ndarray,
    leaves: np.ndarray,
    numbers: np.ndarray,
    key: Index,
    first: int,
    rows: np.ndarray,
    chance: np.ndarray,
) -> None:
    """Takes each of a tile's rows from its leaf up to the node that its code is drawn from, in place.

    Args:
        leaves: the probability that a draw goes from each node to its parent, float32; of a root 0.
        numbers: of each node.
        first: place of the tile's first row among all.
        rows, chance: working space for each row, uint32 and float64.
    """
    going = U(0)
    for row in range(len(node_T)):  # without a branch: which rows go is not foreseen
        goes, u = leaves[node_T[row]], unit(key, first + row)
        rows[going], chance[going] = row, u / goes  # of those that go it is uniform in [0, 1) again
        going += U(u < goes)
    while going:
        tried, going = np.int64(going), U(0)
        for i in range(tried):
            row, u = rows[i], chance[i]
            up = numbers[node_T[row], PARENT]
            node_T[row], goes = up, leaves[up]
            rows[going], chance[going] = row, u / goes
            going += U(u < goes)


@compiled
def count_places(node_P: np.ndarray, numbers: np.ndarray, before: np.ndarray) -> None:
    """Writes how many rows' nodes have entries that begin before each place, into zeros, one more than places."""
    for node in node_P:
        before[numbers[node, PLACE] + U(1)] += 1
    for place in range(1, len(before)):
        before[place] += before[place - 1]


@compiled
def pick(
    node_P: np.ndarray,
    tree: tuple[np.ndarray, np.ndarray],
    entries: tuple[np.ndarray, np.ndarray],
    key: Index,
    before: np.ndarray,
    order: np.ndarray,
    codes_N: np.ndarray,
) -> None:
    """Writes the code of each row: that at a part in [0, 1) of its node's slice of entries; see `Forest.draw`.

    Parts are drawn each by itself or, where rows have been counted, spread evenly over rows of one node or of near
    ones: multiples of the golden ratio are so over any run (Niederreiter 1992, section 3.1). Runs follow the order of
    nodes' entries, rows of a node that in which they are drawn.

    Args:
        tree: nodes, and the numbers of each. entries: of all leaves, and the run of each code (empty: no code is
            between two entries).
        before: see `count_places`; empty: rows have not been counted.
        order: the row of each place.
    """
    nodes, numbers = tree
    codes, run = entries
    begin, is_even, has_runs = unit(key, 0), len(before) > 0, len(run) > 0
    for p in range(len(node_P)):
        node = node_P[p]
        start, n = U(numbers[node, START]), numbers[node, STOP] - numbers[node, START]
        if is_even:
            place = numbers[node, PLACE]
            part = before[place] * GOLDEN + begin
            part -= np.floor(part)
            before[place] += 1
        else:
            part = unit(key, p)
        if not has_runs:
            codes_N[order[p]] = codes[start + U(part * n)]
            continue
        middle = part * n - 0.5  # between the middles of two entries; at either end there is one alone
        below = np.floor(middle)
        way = middle - below
        low, high = codes[start + U(max(below, 0.0))], codes[start + U(min(below + 1.0, n - 1.0))]
        width = np.float64(high) - np.float64(low)
        is_between = (nodes[node] & IS_LEAF > 0) & (run[low] >= 0) & (run[low] == run[high])
        beyond = way * (width + 1.0) if is_between else (width if way >= 0.5 else 0.0)
        codes_N[order[p]] = low + np.int64(beyond)


@compiled
def drawn(
    codes_CN: np.ndarray,
    more_SN: np.ndarray,
    sources: tuple[np.ndarray, np.ndarray, np.ndarray],
    trees: tuple[np.ndarray, np.ndarray, np.ndarray],
    entries: tuple[np.ndarray, np.ndarray],
    keys: np.ndarray,
    before: np.ndarray,
    space: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    order: np.ndarray,
    codes_N: np.ndarray,
) -> bool:
    """Writes the code of each row, from the inputs down to a leaf, up to its node, and out of its entries; False where
    a tree never ends.

    Args:
        codes_CN, more_SN, sources: see `put_inputs`.
        trees: nodes, the probability that a draw goes from each to its parent (empty: none does), and the numbers of
            each.
        entries, before: see `pick`; before: zeros, or empty.
        keys: two, uint64.
        space: the root at each place, uint32, and working space for a tile: inputs, rows and chances.
        order: the row that stands at each place, uint32.
    """
    nodes, leaves, numbers = trees
    node_P, x, rows, chance = space
    for start in range(0, len(order), TILE):
        end = min(start + TILE, len(order))
        put_inputs(codes_CN, more_SN, sources, order[start:end], x)
        if not walked(nodes, x, node_P[start:end]):
            return False
        if len(leaves):
            backed_off(node_P[start:end], leaves, numbers, keys[0], start, rows, chance)
    if len(before):
        count_places(node_P, numbers, before)
    pick(node_P, (nodes, numbers), entries, keys[1], before, order, codes_N)
    return True


@compiled
def exchanged(
    cells_NF: np.ndarray,
    ins: np.ndarray,
    outs: np.ndarray,
    weight_N: np.ndarray,
    excess_FB: np.ndarray,
    price_FB: np.ndarray,
    changes: tuple[np.ndarray, np.ndarray],
    tries: int,
    key: Index,
) -> None:
    """Exchanges rows in place where this lowers the sum of price * excess ** 2 over all cells.

    Args:
        cells_NF: the cell of each row in each column, uint8. ins, outs: rows that are chosen, and the others.
        weight_N: a row gives way to a lighter one with the probability that it has of the own weight.
        excess_FB: minus the rows wanted of each cell; then what is chosen beyond them.
        changes: working space for each cell: of the sum where a chosen row of a cell goes, and where one comes.
    """
    goes_FB, comes_FB = changes
    for row in ins:
        for f in range(cells_NF.shape[1]):
            excess_FB[f, cells_NF[row, f]] += 1.0
    for f in range(price_FB.shape[0]):
        for cell in range(price_FB.shape[1]):
            goes_FB[f, cell] = price_FB[f, cell] * (1.0 - 2.0 * excess_FB[f, cell])
            comes_FB[f, cell] = price_FB[f, cell] * (1.0 + 2.0 * excess_FB[f, cell])
    n_ins, n_outs = U(len(ins)), U(len(outs))
    for t in range(tries if len(outs) else 0):
        bits = random_bits(key, 2 * t)
        i, o = ((bits & LOWER) * n_ins) >> HALF, ((bits >> HALF) * n_outs) >> HALF
        old, new = ins[i], outs[o]
        if unit(key, 2 * t + 1) * weight_N[old] >= weight_N[new]:
            continue
        change = 0.0
        for f in range(cells_NF.shape[1]):
            a, b = cells_NF[old, f], cells_NF[new, f]
            both = goes_FB[f, a] + comes_FB[f, b]
            change += both if a != b else 0.0
        if change < 0.0:
            for f in range(cells_NF.shape[1]):
                for cell, by in ((cells_NF[old, f], -1.0), (cells_NF[new, f], 1.0)):
                    excess_FB[f, cell] += by
                    goes_FB[f, cell] = price_FB[f, cell] * (1.0 - 2.0 * excess_FB[f, cell])
                    comes_FB[f, cell] = price_FB[f, cell] * (1.0 + 2.0 * excess_FB[f, cell])
            ins[i], outs[o] = new, old
