"""Additive predictions of a column: a sum of one number for each other column's code (Hastie and Tibshirani 1986).

A tree splits by one column at a time and halves its rows each time; what depends a little on each of ten columns, or
on a sum of two, it sees badly, unless its leaves are small, and small leaves copy rows. An additive prediction of the
column is one more input that it can split by: fitted to all rows at once, with a slope and a step function for each
column, shrunk (ridge regression), from cross products that all columns share; of a wide table, where each column has
few inputs, from those of its own inputs.

Shape legend: N rows, C columns, K targets, D terms of the design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.methods.trees.columns import ColumnView

MOST_GROUPS = 32  # of the codes of a column
DENSE_ROWS = 4096
MOST_TERMS = 1200  # of the design, by coarser groups where a table is wide
TERMS_OF_FEW = 150  # the same of one column's inputs, where cross products are not shared
SPARSE_COST = 40  # of a product of two sparse terms, in products of dense ones
SHRUNK_BY = 20.0  # rows' worth of no effect that a group is mixed with
SLOPES_SHRUNK_BY = 10.0  # the same for a slope


@dataclass(frozen=True)
class Design:
    """Terms of the additive predictions: for each column, groups of its codes, and slopes in value and in rank.

    Args:
        group: for each column the group of each code.
        first: the first term of each column, and D at the end.
        slopes: for each column numbers (R, S) for each code, standardised over the rows.
        products: cross products of all terms over the rows, (D, D), of terms less their means; None: each column makes
            those of its inputs.
    """

    group: tuple[np.ndarray, ...]
    first: tuple[int, ...]
    slopes: tuple[np.ndarray, ...]
    products: np.ndarray | None

    def terms(self, column: int) -> range:
        """The terms of a column: groups, then slopes."""
        return range(self.first[column], self.first[column + 1])


def design_of(codes_CN: np.ndarray, columns: Sequence[ColumnView], most_inputs: int) -> Design:
    """The design of a table from the codes of all columns, of which at most `most_inputs` predict another.

    Cross products are shared unless those of each column's own inputs cost less: F^2 products for each of C columns, in
    place of C^2.
    """
    n, n_columns = codes_CN.shape[1], len(columns)
    shared = most_inputs**2 >= n_columns
    terms = MOST_TERMS // max(n_columns, 1) if shared else TERMS_OF_FEW // max(most_inputs, 1)
    most = int(np.clip(min(terms, n // 40), 4, MOST_GROUPS))
    group = tuple(_groups(codes_CN[c], view, most) for c, view in enumerate(columns))
    slopes = tuple(_slopes(codes_CN[c], view) for c, view in enumerate(columns))
    sizes = [int(g.max()) + 1 + s.shape[1] for g, s in zip(group, slopes, strict=True)]
    first = tuple(int(x) for x in np.concatenate([[0], np.cumsum(sizes)]))
    return Design(group, first, slopes, _products(codes_CN, group, slopes) if shared else None)


@dataclass(frozen=True)
class AdditivePrediction:
    """A prediction of one target.

    Args:
        tables: for each input the addend of each of its codes.
        total_N: the sum for each row.
    """

    tables: tuple[np.ndarray, ...]
    total_N: np.ndarray


def additive_predictions(
    design: Design, codes_CN: np.ndarray, inputs: Sequence[int], targets_NK: np.ndarray
) -> list[AdditivePrediction]:
    """A prediction of each target from the inputs.

    Args:
        design: of the table.
        codes_CN: codes (C, N) of its rows.
        inputs: the columns to predict from.
        targets_NK: what to predict.
    """
    terms = np.concatenate([np.arange(*_ends(design, c)) for c in inputs])
    ridge = np.concatenate([_penalty(design, c) for c in inputs])
    centred_NK = targets_NK - targets_NK.mean(0)
    right = np.concatenate([_against(design, c, codes_CN[c], centred_NK) for c in inputs])
    if design.products is None:
        at = list(inputs)
        products = _products(codes_CN[at], [design.group[c] for c in at], [design.slopes[c] for c in at])
    else:
        products = design.products[np.ix_(terms, terms)]
    weights = np.linalg.solve(products + np.diag(ridge), right)
    ends = np.cumsum([len(design.terms(c)) for c in inputs])[:-1]
    parts = np.split(weights, ends)
    tables_FRK = [_table(design, c, part) for c, part in zip(inputs, parts, strict=True)]
    total_NK = np.sum([table[codes_CN[c]] for table, c in zip(tables_FRK, inputs, strict=True)], axis=0)
    return [
        AdditivePrediction(tuple(t[:, k].astype(np.float32) for t in tables_FRK), total_NK[:, k].astype(np.float32))
        for k in range(targets_NK.shape[1])
    ]


def _ends(design: Design, column: int) -> tuple[int, int]:
    return design.first[column], design.first[column + 1]


def _penalty(design: Design, column: int) -> np.ndarray:
    n_slopes = design.slopes[column].shape[1]
    n_groups = len(design.terms(column)) - n_slopes
    return np.concatenate([np.full(n_groups, SHRUNK_BY), np.full(n_slopes, SLOPES_SHRUNK_BY)])


def _table(design: Design, column: int, weights_DK: np.ndarray) -> np.ndarray:
    """Addend (R, K) of each code."""
    n_slopes = design.slopes[column].shape[1]
    n_groups = len(weights_DK) - n_slopes
    table: np.ndarray = weights_DK[:n_groups][design.group[column]] + design.slopes[column] @ weights_DK[n_groups:]
    return table


def _against(design: Design, column: int, codes_N: np.ndarray, centred_NK: np.ndarray) -> np.ndarray:
    """Products (terms, K) of a column's terms with the targets."""
    size = len(design.group[column])
    by_code = np.stack([np.bincount(codes_N, weights=y, minlength=size) for y in centred_NK.T], 1)
    n_groups = len(design.terms(column)) - design.slopes[column].shape[1]
    groups = np.zeros((n_groups, centred_NK.shape[1]))
    np.add.at(groups, design.group[column], by_code)
    return np.concatenate([groups, design.slopes[column].T @ by_code])


def _groups(codes_N: np.ndarray, view: ColumnView, most: int) -> np.ndarray:
    """The group (R,) of each code: neighbours of about equal numbers of rows, or the most frequent categories."""
    rows = np.bincount(codes_N, minlength=view.cardinality)
    if view.ordered:
        middle = (np.cumsum(rows) - rows / 2) / max(rows.sum(), 1)
        group = np.floor(middle * (most - 1)).astype(np.int64)
        group[-1] = most - 1  # missing
        return np.unique(group, return_inverse=True)[1]
    place = np.empty(view.cardinality, np.int64)
    place[np.argsort(-rows, kind="stable")] = np.arange(view.cardinality)
    return np.minimum(place, 2 * most - 1)


def _slopes(codes_N: np.ndarray, view: ColumnView) -> np.ndarray:
    """Value and rank of each code, standardised over the rows, (R, 2); no column for categories."""
    if not view.ordered:
        return np.zeros((view.cardinality, 0))
    numbers = np.stack([view.value, view.rank], 1)
    seen = numbers[codes_N]
    return (numbers - seen.mean(0)) / np.maximum(seen.std(0), 1e-9)


def _products(codes_CN: np.ndarray, group: Sequence[np.ndarray], slopes: Sequence[np.ndarray]) -> np.ndarray:
    """Cross products (D, D) of the terms of some columns, less their means."""
    from scipy import sparse

    n = codes_CN.shape[1]
    blocks = []
    for codes_N, g, s in zip(codes_CN, group, slopes, strict=True):
        places = g[codes_N]
        blocks.append(sparse.csr_matrix((np.ones(n), places, np.arange(n + 1)), shape=(n, int(g.max()) + 1)))
        if s.shape[1]:
            blocks.append(sparse.csr_matrix(s[codes_N]))
    terms = sparse.hstack(blocks, format="csr")
    means = np.asarray(terms.mean(0)).ravel()
    return _cross_products(terms) - n * np.outer(means, means)


def _cross_products(terms: Any) -> np.ndarray:
    """terms' terms as a dense array; by blocks of dense rows where a row has many terms, which then costs less."""
    n, d = terms.shape
    if SPARSE_COST * (terms.nnz / max(n, 1)) ** 2 < d**2:
        return np.asarray((terms.T @ terms).todense())
    total = np.zeros((d, d))
    for start in range(0, n, DENSE_ROWS):
        part = terms[start : start + DENSE_ROWS].toarray()
        total += part.T @ part
    return total
