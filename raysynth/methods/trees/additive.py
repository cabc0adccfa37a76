"""Additive predictions of a column: a sum of one number for each other column's code (Hastie and Tibshirani 1986).

A tree splits by one column at a time and halves its rows each time; what depends a little on each of ten columns, or
on a sum of two, it sees badly, unless its leaves are small, and small leaves copy rows. An additive prediction of the
column is one more input that it can split by: fitted to all rows at once, with a slope and a step function for each
column, shrunk (ridge regression), from cross products that all columns share.

Shape legend: N rows, C columns, K targets, D terms of the design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysynth.methods.trees.columns import ColumnView

MOST_GROUPS = 32  # of the codes of a column
MOST_TERMS = 1200  # of the design, by coarser groups where a table is wide
FOLDS = 5
LEFT_OUT_BELOW = 20  # rows a term: in a larger table a row's own part in its prediction is small
SHRUNK_BY = 20.0  # rows' worth of no effect that a group is mixed with
SLOPES_SHRUNK_BY = 10.0  # the same for a slope


@dataclass(frozen=True)
class Products:
    """Cross products (D, D) of terms over some rows, the sums (D,) of the terms, and how many rows."""

    crossed: np.ndarray
    sums: np.ndarray
    rows: int

    def without(self, others: Products) -> Products:
        """Those of the rows that are not among others."""
        return Products(self.crossed - others.crossed, self.sums - others.sums, self.rows - others.rows)

    def centred(self, terms: np.ndarray) -> np.ndarray:
        """Cross products of some terms less their means."""
        sums = self.sums[terms]
        centred: np.ndarray = self.crossed[np.ix_(terms, terms)] - np.outer(sums, sums) / max(self.rows, 1)
        return centred


@dataclass(frozen=True)
class Design:
    """Terms of the additive predictions: for each column, groups of its codes, and slopes in value and in rank.

    Args:
        group: for each column the group of each code.
        first: the first term of each column, and D at the end.
        slopes: for each column numbers (R, S) for each code, standardised over the rows.
        products: of all terms over all rows.
        fold_N: in a small table the fold of each row, else of length 0.
        left_out: the products over the rows of each fold.
    """

    group: tuple[np.ndarray, ...]
    first: tuple[int, ...]
    slopes: tuple[np.ndarray, ...]
    products: Products
    fold_N: np.ndarray
    left_out: tuple[Products, ...]

    def terms(self, column: int) -> range:
        """The terms of a column: groups, then slopes."""
        return range(self.first[column], self.first[column + 1])


def design_of(codes_CN: np.ndarray, columns: Sequence[ColumnView]) -> Design:
    """The design of a table and its cross products, from the codes of all columns."""
    n = codes_CN.shape[1]
    most = int(np.clip(min(MOST_TERMS // max(len(columns), 1), n // 40), 4, MOST_GROUPS))
    group = tuple(_groups(codes_CN[c], view, most) for c, view in enumerate(columns))
    slopes = tuple(_slopes(codes_CN[c], view) for c, view in enumerate(columns))
    sizes = [int(g.max()) + 1 + s.shape[1] for g, s in zip(group, slopes, strict=True)]
    first = tuple(int(x) for x in np.concatenate([[0], np.cumsum(sizes)]))
    fold_N = np.empty(0, np.int64)
    if n < LEFT_OUT_BELOW * first[-1]:
        fold_N = np.random.default_rng(n).permutation(n) % FOLDS
    left_out = tuple(_products(codes_CN[:, fold_N == k], group, slopes) for k in range(FOLDS if len(fold_N) else 0))
    return Design(group, first, slopes, _products(codes_CN, group, slopes), fold_N, left_out)


@dataclass(frozen=True)
class AdditivePrediction:
    """A prediction of one target.

    Args:
        tables: for each input the addend of each of its codes.
        total_N: the sum for each row; in a small table by the rows of other folds.
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
    tables_FRK = _tables(design, design.products, codes_CN, inputs, targets_NK)
    total_NK = _total(tables_FRK, codes_CN, inputs)
    if len(design.fold_N):
        shift_K = total_NK.mean(0) - targets_NK.mean(0)
        total_NK = shift_K + _by_other_folds(design, codes_CN, inputs, targets_NK)
    return [
        AdditivePrediction(tuple(t[:, k].astype(np.float32) for t in tables_FRK), total_NK[:, k].astype(np.float32))
        for k in range(targets_NK.shape[1])
    ]


def _by_other_folds(design: Design, codes_CN: np.ndarray, inputs: Sequence[int], targets_NK: np.ndarray) -> np.ndarray:
    """Predictions (N, K) of the rows of each fold from those of the others, else noise would look like knowledge."""
    result = np.empty(targets_NK.shape)
    for k, left_out in enumerate(design.left_out):
        own, rest = design.fold_N == k, design.fold_N != k
        products = design.products.without(left_out)
        tables_FRK = _tables(design, products, codes_CN[:, rest], inputs, targets_NK[rest])
        totals = [_total(tables_FRK, codes_CN[:, rows], inputs) for rows in (own, rest)]
        result[own] = totals[0] - totals[1].mean(0) + targets_NK[rest].mean(0)
    return result


def _tables(
    design: Design, products: Products, codes_CN: np.ndarray, inputs: Sequence[int], targets_NK: np.ndarray
) -> list[np.ndarray]:
    """Addends (R, K) of each input's codes, by ridge regression on the rows of the products."""
    terms = np.concatenate([np.array(design.terms(c)) for c in inputs])
    ridge = np.concatenate([_penalty(design, c) for c in inputs])
    centred_NK = targets_NK - targets_NK.mean(0)
    right = np.concatenate([_against(design, c, codes_CN[c], centred_NK) for c in inputs])
    weights = np.linalg.solve(products.centred(terms) + np.diag(ridge), right)
    parts = np.split(weights, np.cumsum([len(design.terms(c)) for c in inputs])[:-1])
    return [_table(design, c, part) for c, part in zip(inputs, parts, strict=True)]


def _total(tables_FRK: Sequence[np.ndarray], codes_CN: np.ndarray, inputs: Sequence[int]) -> np.ndarray:
    total: np.ndarray = np.sum([table[codes_CN[c]] for table, c in zip(tables_FRK, inputs, strict=True)], axis=0)
    return total


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


def _products(codes_CN: np.ndarray, group: Sequence[np.ndarray], slopes: Sequence[np.ndarray]) -> Products:
    from scipy import sparse

    n = codes_CN.shape[1]
    blocks = []
    for codes_N, g, s in zip(codes_CN, group, slopes, strict=True):
        places = g[codes_N]
        blocks.append(sparse.csr_matrix((np.ones(n), places, np.arange(n + 1)), shape=(n, int(g.max()) + 1)))
        if s.shape[1]:
            blocks.append(sparse.csr_matrix(s[codes_N]))
    terms = sparse.hstack(blocks, format="csr")
    return Products(np.asarray((terms.T @ terms).todense()), np.asarray(terms.sum(0)).ravel(), n)
