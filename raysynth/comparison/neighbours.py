"""Exact nearest neighbours of rows of mixed types, block against block.

The distance of two rows is (sum over columns of weight * min(|difference|, 1) ** power) ** (1 / power): a number counts
its difference in units of the scale, a category 0 (the same) or 1, a missing value 1 against a present one and 0
against a missing one. With power 1, equal weights and the reference's range as scale this is Gower's
distance, and SDMetrics'.

All pairs are computed in float32, a query against a block of references in the processor's cache; what rounding leaves
in doubt is measured again in float64 (in compiled loops), so that neighbours, ties included, are exact. (A category
compared as a number costs less than its one-hot matrix product from about ten categories on, so there is one path for
both.)

Shape legend: Q queries, R references, D columns, K neighbours, L searches that each leave one column out; the
references lie in blocks of B, column by column within a block: (R / B, D, B). D is a multiple of four: columns of
weight 0 fill it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from raysynth.comparison.rows import Rows
from raysynth.running.compiled import compiled

_BLOCK_QUERIES, _BLOCK_REFERENCES = 128, 512  # of 100 columns: 200 kB of references, in the second-level cache
_MISSING = 1e6  # farther than 1 from every scaled value, so that the difference is cut to 1
_TASK_QUERIES = 1024  # few, so that the last tasks end together


@dataclass(frozen=True)
class Metric:
    """A distance on rows.

    Args:
        scale: of each column of numbers (V,): the difference that counts as 1.
        weights: of each column (D,), numbers first.
        power: 1 (Gower, Manhattan) or 2 (Euclid).
        origin: of each column of numbers (V,): subtracted, so that float32 keeps its digits.
    """

    scale: np.ndarray
    weights: np.ndarray
    power: int
    origin: np.ndarray

    def points(self, rows: Rows) -> np.ndarray:
        """Rows as float64 (N, D) in the units of this distance."""
        with np.errstate(invalid="ignore"):
            numbers = (rows.numbers_NV - self.origin) / self.scale
        numbers = np.where(np.isfinite(numbers), np.clip(numbers, -_MISSING / 2, _MISSING / 2), _MISSING)
        return np.hstack([numbers, rows.codes_NC.astype(float)])


@dataclass(frozen=True)
class Neighbours:
    """The K nearest references of each query: distances (Q, K) ascending, and their row numbers (Q, K)."""

    distances_QK: np.ndarray
    rows_QK: np.ndarray


def gower_metric(reference: Rows) -> Metric:
    """Gower's distance with the ranges of a reference: SDMetrics' distance to the closest record."""
    low, high = ranges(reference.numbers_NV)
    width = high - low
    n_columns = max(len(width) + reference.codes_NC.shape[1], 1)
    tiny = np.where(width > 0, width, np.finfo(float).tiny ** 0.5)  # a constant column: any difference counts as 1
    return Metric(tiny, np.full(n_columns, 1 / n_columns), 1, low)


def nearest(queries: Rows, references: Rows, metric: Metric, k: int = 1, *, same_rows: bool = False) -> Neighbours:
    """The k nearest references of every query, exactly; of equally near ones those of the lowest numbers.

    Args:
        queries, references: rows of one space.
        metric: the distance.
        k: neighbours; at most the number of references.
        same_rows: queries and references are the same rows; a row is then not its own neighbour, nor is another row of
            the same person (where rows say whose they are).
    """
    owner_R, most_rows = np.arange(len(references)), int(same_rows)
    if same_rows and queries.owners_N is not None:
        persons, rows_P = np.unique(queries.owners_N, return_inverse=True, return_counts=True)[1:]
        if len(rows_P) > 1:
            owner_R, most_rows = persons, int(rows_P.max())
    owner_Q = owner_R if same_rows else np.full(len(queries), -1)
    k = min(k, len(references) - most_rows)
    return _search((queries, owner_Q), (references, owner_R), metric, k, np.array([-1]))[0]


def nearest_without(queries: Rows, references: Rows, metric: Metric, positions: Sequence[int]) -> list[Neighbours]:
    """The nearest reference of every query for each of some columns in turn, which the distance then does without.

    The other columns keep their weights. Costs little more than one search: the sums over all columns are computed
    once.
    """
    sides = (queries, np.full(len(queries), -1)), (references, np.arange(len(references)))
    return _search(*sides, metric, min(1, len(references)), np.array(positions, dtype=np.int64))


def _search(
    asked: tuple[Rows, np.ndarray], among: tuple[Rows, np.ndarray], metric: Metric, k: int, left_out_L: np.ndarray
) -> list[Neighbours]:
    """The neighbours of each search; rows with whose each of them is, which a neighbour must not share."""
    from raysynth.running.runner import run_tasks

    used = np.flatnonzero(metric.weights > 0)
    place_D = np.full(len(metric.weights), -1)
    place_D[used] = np.arange(len(used))
    left_out_L = np.where(left_out_L >= 0, place_D[left_out_L], -1)
    weights_D = _padded(metric.weights[None, used].astype(float))[0]
    points_QD, points_RD = (_padded(metric.points(rows)[:, used]) for rows in (asked[0], among[0]))
    searched = points_RD, _in_blocks(points_RD), among[1].astype(np.int64)
    n = len(points_QD) if k > 0 else 0
    parts = [slice(s, s + _TASK_QUERIES) for s in range(0, n, _TASK_QUERIES)]
    tasks = [(points_QD[part], asked[1][part].astype(np.int64)) for part in parts]
    work = partial(_nearest_of_part, searched=searched, distance=(weights_D, metric.power), left_out_L=left_out_L, k=k)
    found = run_tasks(work, tasks, label="Nearest neighbours")
    shape = len(left_out_L), len(points_QD), k
    found = found or [(np.zeros(shape), np.zeros(shape, dtype=np.int64))]
    sums_LQK, rows_LQK = (np.concatenate(side, axis=1) for side in zip(*found, strict=True))
    return [Neighbours(s ** (1 / metric.power), r) for s, r in zip(sums_LQK, rows_LQK, strict=True)]


def _nearest_of_part(
    task: tuple[np.ndarray, np.ndarray],
    searched: tuple[np.ndarray, np.ndarray, np.ndarray],
    distance: tuple[np.ndarray, int],
    left_out_L: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums (not yet rooted) and row numbers of the neighbours of some queries, (L, Q, K) each."""

    points_QD, owner_Q = task
    # A value is off by 2 ** -24 of itself, and so is the other one where they differ by less than 1; missing ones are
    # exact. The factor of four is to spare.
    size_QD = np.where(np.abs(points_QD) == _MISSING, 0.0, np.abs(points_QD))
    slack_Q = 2.0**-21 * ((size_QD + 1) @ distance[0])
    parts = [slice(s, s + _BLOCK_QUERIES) for s in range(0, len(points_QD), _BLOCK_QUERIES)]
    found = [nearest_rows((points_QD[p], slack_Q[p], owner_Q[p]), searched, *distance, left_out_L, k) for p in parts]
    sums_LQK, rows_LQK = (np.concatenate(side, axis=1) for side in zip(*found, strict=True))
    return sums_LQK, rows_LQK


def _padded(points_ND: np.ndarray) -> np.ndarray:
    """With columns of zeros up to a multiple of four."""
    return np.pad(points_ND, ((0, 0), (0, -points_ND.shape[1] % 4)))


def _in_blocks(points_RD: np.ndarray) -> np.ndarray:
    """The rows in float32, in blocks of B, column by column: (ceil(R / B), D, B), the last block filled with zeros."""
    n_rows, n_columns = points_RD.shape
    size = min(_BLOCK_REFERENCES, max(n_rows, 1))
    blocks = np.zeros((-(-n_rows // size), size, n_columns), np.float32)
    blocks.reshape(-1, n_columns)[:n_rows] = points_RD
    return np.ascontiguousarray(blocks.transpose(0, 2, 1))


def ranges(numbers_NV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest present value of each column (V,); 0 where none is present."""
    present = np.isfinite(numbers_NV)
    low = np.where(present, numbers_NV, np.inf).min(axis=0, initial=np.inf)
    high = np.where(present, numbers_NV, -np.inf).max(axis=0, initial=-np.inf)
    return np.where(present.any(axis=0), low, 0.0), np.where(present.any(axis=0), high, 0.0)


@compiled
def nearest_rows(
    asked: tuple[np.ndarray, np.ndarray, np.ndarray],
    searched: tuple[np.ndarray, np.ndarray, np.ndarray],
    weights_D: np.ndarray,
    power: int,
    left_out_L: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The K references of smallest sums of weight * min(|difference|, 1) ** power; of equal sums the lowest number.

    All sums are computed in float32, a query against a block of references; those that rounding leaves in doubt beside
    the K-th smallest so far are computed again in float64, so that the result is exact.

    Args:
        asked: the queries (Q, D) in float64; by how much float32 may be wrong for each (Q,), but for the sums' own
            rounding; whose each is (Q,), -1: of nobody among the references.
        searched: the references (R, D) in float64; in float32 (R / B, D, B); whose each is (R,): no row is a neighbour
            of a row of the same owner.
        power: 1 or 2.
        left_out_L: the column that each search does without; -1: none.

    Returns:
        The sums and the row numbers, (L, Q, K) each; infinite and -1 where there are not so many.
    """
    q_QD, slack_Q, owner_Q = asked
    points_RD, blocks_NDB, owner_R = searched
    shape = len(left_out_L), len(q_QD), k
    sums_LQK, rows_LQK = np.full(shape, np.inf), np.full(shape, -1)
    size, rounding = blocks_NDB.shape[2], (blocks_NDB.shape[1] + 8) * 2.0**-23
    here_QD, light_D = q_QD.astype(np.float32), weights_D.astype(np.float32)
    total_B, less_B = np.empty(size, np.float32), np.empty(size, np.float32)
    for block in range(blocks_NDB.shape[0]):
        first, columns_DB = block * size, blocks_NDB[block]
        here_RD, whose_R = points_RD[first : first + size], owner_R[first : first + size]
        for q in range(len(q_QD)):
            _totals(here_QD[q], columns_DB, light_D, power, total_B)
            for search in range(len(left_out_L)):
                left_out, sums_K, rows_K = left_out_L[search], sums_LQK[search, q], rows_LQK[search, q]
                worst, doubt, seen_B = sums_K[k - 1], slack_Q[q] + rounding * sums_K[k - 1], total_B
                if left_out >= 0:
                    seen_B, doubt = less_B, doubt + rounding * weights_D[left_out]
                    _subtracted(here_QD[q], columns_DB, light_D, power, left_out, total_B, seen_B)
                if worst > 0 and _any_below(seen_B, worst + doubt, len(here_RD)):
                    for r in range(len(here_RD)):
                        if seen_B[r] <= worst + doubt and whose_R[r] != owner_Q[q]:
                            total = _exact(q_QD[q], here_RD[r], weights_D, power, left_out, worst)
                            if total < worst:
                                _insert(sums_K, rows_K, total, first + r)
                                worst = sums_K[k - 1]
                                if doubt == np.inf:
                                    doubt = slack_Q[q] + rounding * (worst + weights_D.max())
    return sums_LQK, rows_LQK


@compiled
def _any_below(values_B: np.ndarray, limit: float, n: int) -> bool:
    """Whether any of the first n is at most a limit."""
    hits, limit_32 = 0, np.float32(limit)
    for r in range(n):
        hits += values_B[r] <= limit_32
    return hits > 0


@compiled
def _totals(q_D: np.ndarray, columns_DB: np.ndarray, weights_D: np.ndarray, power: int, total_B: np.ndarray) -> None:
    """Sums of one query with a block, four columns a turn: totals are fetched and stored a quarter as often."""
    one = np.float32(1)
    total_B[:] = 0
    for d in range(0, columns_DB.shape[0], 4):
        q0, q1, q2, q3 = q_D[d], q_D[d + 1], q_D[d + 2], q_D[d + 3]
        w0, w1, w2, w3 = weights_D[d], weights_D[d + 1], weights_D[d + 2], weights_D[d + 3]
        c0, c1, c2, c3 = columns_DB[d], columns_DB[d + 1], columns_DB[d + 2], columns_DB[d + 3]
        for r in range(len(total_B)):
            p0, p1, p2, p3 = abs(q0 - c0[r]), abs(q1 - c1[r]), abs(q2 - c2[r]), abs(q3 - c3[r])
            p0 = p0 if p0 < one else one
            p1 = p1 if p1 < one else one
            p2 = p2 if p2 < one else one
            p3 = p3 if p3 < one else one
            if power == 2:
                p0, p1, p2, p3 = p0 * p0, p1 * p1, p2 * p2, p3 * p3
            total_B[r] += (w0 * p0 + w1 * p1) + (w2 * p2 + w3 * p3)


@compiled
def _subtracted(
    q_D: np.ndarray,
    columns_DB: np.ndarray,
    weights_D: np.ndarray,
    power: int,
    d: int,
    total_B: np.ndarray,
    less_B: np.ndarray,
) -> None:
    """The sums without one column."""
    one, here, weight, column_B = np.float32(1), q_D[d], weights_D[d], columns_DB[d]
    for r in range(len(total_B)):
        part = abs(here - column_B[r])
        part = part if part < one else one
        less_B[r] = total_B[r] - (weight * part if power == 1 else weight * part * part)


@compiled
def _exact(
    q_D: np.ndarray, point_D: np.ndarray, weights_D: np.ndarray, power: int, left_out: int, enough: float
) -> float:
    """The sum of two rows in float64; once it is above `enough`, a part of it."""
    total = 0.0
    for d in range(len(q_D)):
        if d != left_out:
            part = min(abs(q_D[d] - point_D[d]), 1.0)
            total += weights_D[d] * (part if power == 1 else part * part)
            if total > enough:
                break
    return total


@compiled
def _insert(sums_K: np.ndarray, rows_K: np.ndarray, total: float, row: int) -> None:
    """Put a sum in its place behind its equals; the largest goes."""
    at = len(sums_K) - 1
    while at > 0 and total < sums_K[at - 1]:
        sums_K[at], rows_K[at] = sums_K[at - 1], rows_K[at - 1]
        at -= 1
    sums_K[at], rows_K[at] = total, row
