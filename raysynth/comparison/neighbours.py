"""Exact nearest neighbours of rows of mixed types, block against block.

The distance of two rows is (sum over columns of weight * min(|difference|, 1) ** power) ** (1 / power): a number counts
its difference in units of the scale, a category 0 (the same) or 1, a missing value 1 against a present one and 0
against a missing one. With power 1, equal weights and the reference's range as scale this is
Gower's distance, and SDMetrics'.

All pairs are computed in float32, a block of queries against a block of references, both in the processor's cache; the
smallest sum of each of many small groups of references is kept, and the members of the best groups are measured again
in float64. (A category compared as a number costs less than its one-hot matrix product from about ten categories on, so
there is one path for both.)

Shape legend: Q queries, R references, D columns, K neighbours, G groups, M members of the best groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from raysynth.comparison.rows import Rows

_BLOCK_QUERIES, _BLOCK_REFERENCES, _MEMBERS = 128, 4096, 64
_MISSING = 1e6  # farther than 1 from every scaled value, so that the difference is cut to 1
_TASK_QUERIES = 8192


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
    """The k nearest references of every query, exactly.

    Args:
        queries, references: rows of one space.
        metric: the distance.
        k: neighbours; at most the number of references.
        same_rows: queries and references are the same rows; a row is then not its own neighbour, nor is another row of
            the same person (where rows say whose they are).
    """
    from raysynth.running.runner import run_tasks

    points_QD, points_RD = metric.points(queries), metric.points(references)
    owner_R = queries.owners_N if same_rows else None
    if owner_R is not None and len(np.unique(owner_R)) < 2:
        owner_R = None
    own_rows = same_rows if owner_R is None else int(np.unique(owner_R, return_counts=True)[1].max())
    k = min(k, len(points_RD) - own_rows)
    starts = range(0, len(points_QD), _TASK_QUERIES)
    tasks = [(points_QD[s : s + _TASK_QUERIES], s if same_rows else None) for s in starts]
    weights, power = metric.weights, metric.power
    work = partial(_nearest_of_part, points_RD=points_RD, weights=weights, power=power, k=k, owner_R=owner_R)
    parts: Sequence[Neighbours] = run_tasks(work, tasks, label="Nearest neighbours")
    if not parts:
        return Neighbours(np.zeros((0, k)), np.zeros((0, k), dtype=np.int64))
    return Neighbours(
        np.concatenate([p.distances_QK for p in parts]) ** (1 / metric.power),
        np.concatenate([p.rows_QK for p in parts]),
    )


def _nearest_of_part(
    task: tuple[np.ndarray, int | None],
    points_RD: np.ndarray,
    weights: np.ndarray,
    power: int,
    k: int,
    owner_R: np.ndarray | None = None,
) -> Neighbours:
    """Neighbours (as sums, not yet rooted) of some queries.

    `first`: row number of the first query, itself excluded, with all rows of the same owner where these are known.
    """
    from raysynth.comparison.block_sums import nearest_members

    points_QD, first = task
    references = np.ascontiguousarray(points_RD.T, dtype=np.float32)
    distances, rows = np.empty((len(points_QD), k)), np.empty((len(points_QD), k), dtype=np.int64)
    for s in range(0, len(points_QD), _BLOCK_QUERIES):
        part = points_QD[s : s + _BLOCK_QUERIES]
        own = None if first is None else np.arange(first + s, first + s + len(part))
        candidates_QM = _candidates(part, references, weights, power, k, own, owner_R)
        inside = candidates_QM < len(points_RD)
        if own is not None and owner_R is not None:
            inside &= owner_R[np.minimum(candidates_QM, len(owner_R) - 1)] != owner_R[own][:, None]
        elif own is not None:
            inside &= candidates_QM != own[:, None]
        members_QM = np.where(inside, candidates_QM, -1)
        found = nearest_members(part, points_RD, np.asarray(weights, float), power, members_QM, k)
        distances[s : s + len(part)], rows[s : s + len(part)] = found
    return Neighbours(distances, rows)


def _candidates(
    points_QD: np.ndarray,
    references_DR: np.ndarray,
    weights: np.ndarray,
    power: int,
    k: int,
    own: np.ndarray | None,
    owner_R: np.ndarray | None,
) -> np.ndarray:
    """Row numbers (Q, M) among which the k nearest references are: the members of the best k + 1 groups.

    The best k rows lie in the best k groups; one group more covers the rounding of float32. Numbers past the last row
    belong to no row.
    """
    q_QD = points_QD.astype(np.float32)
    minima, first_members, strides = [], [], []
    for start in range(0, references_DR.shape[1], _BLOCK_REFERENCES):
        n = min(_BLOCK_REFERENCES, references_DR.shape[1] - start)
        sums_QR = _block_sums(q_QD, references_DR, start, n, weights, power)
        if own is not None and owner_R is not None:
            same_QR = owner_R[own][:, None] == owner_R[None, start : start + n]
            sums_QR[:, :n][same_QR] = np.inf
        elif own is not None:
            mine = np.flatnonzero((own >= start) & (own < start + n))
            sums_QR[mine, own[mine] - start] = np.inf
        stride = sums_QR.shape[1] // _MEMBERS  # a group is every stride-th row of the block
        minima.append(sums_QR.reshape(len(sums_QR), _MEMBERS, stride).min(axis=1))
        first_members.append(start + np.arange(stride))
        strides.append(np.full(stride, stride))
    minima_QG = np.concatenate(minima, axis=1)
    n_best = min(k + 1, minima_QG.shape[1])
    groups = np.argpartition(minima_QG, n_best - 1, axis=1)[:, :n_best]
    first_QG, stride_QG = np.concatenate(first_members)[groups], np.concatenate(strides)[groups]
    members = first_QG[:, :, None] + stride_QG[:, :, None] * np.arange(_MEMBERS)
    return members.reshape(len(points_QD), -1)


def _block_sums(
    q_QD: np.ndarray, references_DR: np.ndarray, start: int, n: int, weights: np.ndarray, power: int
) -> np.ndarray:
    """Weighted sums in float32 with n references, (Q, n) rounded up to full groups; infinite past the last one."""
    from raysynth.comparison.block_sums import add_sums

    total_QR = np.zeros((len(q_QD), -(-n // _MEMBERS) * _MEMBERS), np.float32)
    add_sums(q_QD, references_DR, start, n, weights.astype(np.float32), power, total_QR)
    total_QR[:, n:] = np.inf
    return total_QR


def ranges(numbers_NV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest present value of each column (V,); 0 where none is present."""
    present = np.isfinite(numbers_NV)
    low = np.where(present, numbers_NV, np.inf).min(axis=0, initial=np.inf)
    high = np.where(present, numbers_NV, -np.inf).max(axis=0, initial=-np.inf)
    return np.where(present.any(axis=0), low, 0.0), np.where(present.any(axis=0), high, 0.0)
