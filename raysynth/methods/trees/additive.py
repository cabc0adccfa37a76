"""Additive predictions of a column: a sum of one number for each other column's code (Hastie and Tibshirani 1986).

A tree splits by one column at a time and halves its rows each time; what depends a little on each of ten columns, or
on a sum of two, it sees badly, unless its leaves are small, and small leaves copy rows. An additive prediction of the
column is one more input that it can split by: fitted to all rows at once, with a slope and a step function for each
column, shrunk (ridge regression), from cross products that all columns share; of a wide table, where each column has
few inputs, from those of its own inputs.

A prediction knows the rows that it was fitted to, so trees that are grown on these would believe it too much (stacked
generalization; Wolpert 1992). They see each row as it is predicted from the rows outside its fold.

Shape legend: N rows, C columns, K targets, D terms of the design, G folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.methods.trees.columns import ColumnView, RowsOfPersons

MOST_GROUPS = 32  # of the codes of a column
DENSE_ROWS = 4096
MOST_TERMS = 1200  # of the design, by coarser groups where a table is wide
ROWS_OF_A_TERM = 4  # at least, where groups are not as few as they can be
TERMS_OF_FEW = 150  # the same of one column's inputs, where cross products are not shared
SPARSE_COST = 40  # of a product of two sparse terms, in products of dense ones
SHRUNK_BY = 20.0  # rows' worth of no effect that a group is mixed with
SLOPES_SHRUNK_BY = 10.0  # the same for a slope
FOLDS = 10
FIRMER = (1.0, 8.0, 64.0)  # times as much shrinkage of groups, of which the rows of other folds choose
DECIDING = 3  # folds by which
SURE_ROWS = 20  # of a term, from which on the least does


@dataclass(frozen=True)
class Design:
    """Terms of the additive predictions: for each column, groups of its codes, and slopes in value and in rank.

    Args:
        group: for each column the group of each code.
        first: the first term of each column, and D at the end.
        slopes: for each column numbers (R, S) for each code, standardised over the rows.
        fold_N: of each row; those of one have one prediction. All zeros: there is none but that of all rows.
        products: cross products (D, D) of all terms, less their means, over all rows and over those outside each fold;
            None: each column makes those of its inputs.
    """

    group: tuple[np.ndarray, ...]
    first: tuple[int, ...]
    slopes: tuple[np.ndarray, ...]
    fold_N: np.ndarray
    products: tuple[np.ndarray, ...] | None

    def terms(self, column: int) -> range:
        """The terms of a column: groups, then slopes."""
        return range(self.first[column], self.first[column + 1])


def folds(n_rows: int, seed: int, persons: RowsOfPersons | None = None) -> np.ndarray:
    """A fold (N,) of each row, of equal sizes; all rows of a person are in one."""
    n = n_rows if persons is None else persons.n_persons
    fold = (np.random.default_rng(seed).permutation(n) % FOLDS).astype(np.uint8)
    return fold if persons is None else fold[persons.person_N]


def design_of(
    codes_CN: np.ndarray, columns: Sequence[ColumnView], most_inputs: int, fold_N: np.ndarray | None = None
) -> Design:
    """The design of a table from the codes of all columns, of which at most `most_inputs` predict another.

    Cross products are shared unless those of each column's own inputs cost less: F^2 products for each of C columns, in
    place of C^2. `fold_N`: see `folds`; None: predictions know their own rows.
    """
    n, n_columns = codes_CN.shape[1], len(columns)
    shared = most_inputs**2 >= n_columns
    terms = min(MOST_TERMS, n // ROWS_OF_A_TERM) // max(n_columns, 1) if shared else TERMS_OF_FEW // max(most_inputs, 1)
    most = int(np.clip(min(terms, n // 40), 4, MOST_GROUPS))
    group = tuple(_groups(codes_CN[c], view, most) for c, view in enumerate(columns))
    slopes = tuple(_slopes(codes_CN[c], view) for c, view in enumerate(columns))
    sizes = [int(g.max()) + 1 + s.shape[1] for g, s in zip(group, slopes, strict=True)]
    first = tuple(int(x) for x in np.concatenate([[0], np.cumsum(sizes)]))
    fold_N = np.zeros(n, np.uint8) if fold_N is None else fold_N
    return Design(group, first, slopes, fold_N, _products(codes_CN, group, slopes, fold_N) if shared else None)


@dataclass(frozen=True)
class AdditivePrediction:
    """A prediction of one target.

    Args:
        tables: for each input the addend of each of its codes.
        total_N: the sum for each row, where there are folds as the rows outside its own predict it.
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
    terms = _Terms(design, codes_CN, tuple(inputs))
    every, *outside = terms.moments(targets_NK)
    firmer = FIRMER[0]
    if outside and every.n < SURE_ROWS * len(every.products):
        judged_N = np.flatnonzero(design.fold_N < DECIDING)
        errors = []
        for f in FIRMER:
            found_NK = np.zeros(targets_NK.shape)
            for fold, moments in enumerate(outside[:DECIDING]):
                terms.foresee(fold, terms.fitted(moments, f), found_NK)
            errors.append(_error(found_NK[judged_N], targets_NK[judged_N]))
        firmer = FIRMER[int(np.argmin(errors))]
    tables_FRK, mean_K = terms.fitted(every, firmer)
    total_NK = terms.sums(tables_FRK)
    for fold, moments in enumerate(outside):
        terms.foresee(fold, terms.fitted(moments, firmer), total_NK, mean_K)
    return [
        AdditivePrediction(tuple(t[:, k].astype(np.float32) for t in tables_FRK), total_NK[:, k].astype(np.float32))
        for k in range(targets_NK.shape[1])
    ]


@dataclass(frozen=True)
class _Moments:
    """What a fit to some rows needs.

    Args:
        products: of the inputs' terms, less their means, (D, D).
        against: of the terms with 1 and with each target less its mean over the table, (D, 1 + K).
        n: rows. sums_K: of these targets.
    """

    products: np.ndarray
    against: np.ndarray
    n: float
    sums_K: np.ndarray


@dataclass(frozen=True)
class _Terms:
    """The terms of one column's inputs, of all rows.

    Args:
        design: of the table. codes_CN: of its rows. inputs: the columns to predict from.
    """

    design: Design
    codes_CN: np.ndarray
    inputs: tuple[int, ...]

    def moments(self, targets_NK: np.ndarray) -> list[_Moments]:
        """Those of all rows, and of the rows outside each fold."""
        design, at = self.design, list(self.inputs)
        if design.products is None:
            groups, slopes = [design.group[c] for c in at], [design.slopes[c] for c in at]
            products = _products(self.codes_CN[at], groups, slopes, design.fold_N)
        else:
            terms = np.concatenate([design.terms(c) for c in at])
            products = tuple(p[np.ix_(terms, terms)] for p in design.products)
        weighed_NK = np.column_stack([np.ones(len(targets_NK)), targets_NK - targets_NK.mean(0)])
        against_GDK = np.concatenate([_against(design, c, self.codes_CN[c], weighed_NK) for c in at], axis=1)
        rows_G = np.bincount(design.fold_N).astype(float)
        sums_GK = np.stack([np.bincount(design.fold_N, weights=y) for y in weighed_NK.T[1:]], 1)
        every = _Moments(products[0], against_GDK.sum(0), float(rows_G.sum()), sums_GK.sum(0))
        folds = zip(products[1:], against_GDK, rows_G, sums_GK, strict=False)  # without folds there is one of all rows
        return [every, *(_Moments(p, every.against - a, every.n - n, every.sums_K - s) for p, a, n, s in folds)]

    def fitted(self, moments: _Moments, firmer: float) -> tuple[list[np.ndarray], np.ndarray]:
        """The addends (R, K) of each input's codes, and the mean sum (K,) over the rows that they were fitted to."""
        from scipy.linalg import solve

        ridge = np.diag(np.concatenate([_penalty(self.design, c, firmer) for c in self.inputs]))
        right = moments.against[:, 1:] - moments.against[:, :1] * (moments.sums_K / moments.n)
        weights = solve(moments.products + ridge, right, assume_a="pos")
        parts = np.split(weights, np.cumsum([len(self.design.terms(c)) for c in self.inputs])[:-1])
        tables = [_table(self.design, c, part) for c, part in zip(self.inputs, parts, strict=True)]
        return tables, moments.against[:, 0] @ weights / moments.n

    def foresee(
        self,
        fold: int,
        fitted: tuple[list[np.ndarray], np.ndarray],
        total_NK: np.ndarray,
        mean_K: float | np.ndarray = 0.0,
    ) -> None:
        """Put the sums of a fold's rows by a fit to the others into `total_NK`, whose mean becomes `mean_K`."""
        at_N = np.flatnonzero(self.design.fold_N == fold)
        tables, own_K = fitted
        total_NK[at_N] = self.sums(tables, at_N) - own_K + mean_K

    def sums(self, tables_FRK: Sequence[np.ndarray], at_N: Any = slice(None)) -> np.ndarray:
        """The sum (N, K) of the addends of rows."""
        pairs = zip(tables_FRK, self.inputs, strict=True)
        total: np.ndarray = np.sum([table[self.codes_CN[c][at_N]] for table, c in pairs], axis=0)
        return total


def _error(total_NK: np.ndarray, targets_NK: np.ndarray) -> float:
    """Variance of the errors of sums, relative to that of each target, in the mean."""
    apart = total_NK - targets_NK
    return float((apart.var(0) / np.maximum(targets_NK.var(0), 1e-12)).mean())


def _penalty(design: Design, column: int, firmer: float) -> np.ndarray:
    n_slopes = design.slopes[column].shape[1]
    n_groups = len(design.terms(column)) - n_slopes
    return np.concatenate([np.full(n_groups, firmer * SHRUNK_BY), np.full(n_slopes, SLOPES_SHRUNK_BY)])


def _table(design: Design, column: int, weights_DK: np.ndarray) -> np.ndarray:
    """Addend (R, K) of each code."""
    n_slopes = design.slopes[column].shape[1]
    n_groups = len(weights_DK) - n_slopes
    table: np.ndarray = weights_DK[:n_groups][design.group[column]] + design.slopes[column] @ weights_DK[n_groups:]
    return table


def _against(design: Design, column: int, codes_N: np.ndarray, weights_NK: np.ndarray) -> np.ndarray:
    """Products (G, terms, K) of a column's terms with some numbers, over the rows of each fold."""
    size, n_folds = len(design.group[column]), int(design.fold_N.max()) + 1
    place_N = codes_N.astype(np.int64) * n_folds + design.fold_N
    by_code = np.stack([np.bincount(place_N, weights=w, minlength=size * n_folds) for w in weights_NK.T], 1)
    by_code = by_code.reshape(size, n_folds, -1)
    n_groups = len(design.terms(column)) - design.slopes[column].shape[1]
    groups = np.zeros((n_groups, *by_code.shape[1:]))
    np.add.at(groups, design.group[column], by_code)
    slopes = np.tensordot(design.slopes[column].T, by_code, axes=1)
    return np.concatenate([groups, slopes]).transpose(1, 0, 2)


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


def _products(
    codes_CN: np.ndarray, group: Sequence[np.ndarray], slopes: Sequence[np.ndarray], fold_N: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Cross products (D, D) of the terms of some columns, less their means: of all rows, and of those outside each fold
    where there are several."""
    n_folds = int(fold_N.max()) + 1
    parts = [codes_CN[:, fold_N == fold] for fold in range(n_folds)] if n_folds > 1 else [codes_CN]
    sums, products = zip(*(_sums_and_products(part, group, slopes) for part in parts), strict=True)
    every_sum, every_product, n = np.sum(sums, axis=0), np.sum(products, axis=0), codes_CN.shape[1]

    def centred(sums: np.ndarray, products: np.ndarray, n: int) -> np.ndarray:
        result: np.ndarray = products - np.outer(sums, sums) / n
        return result

    outside = zip(parts, sums, products, strict=True) if n_folds > 1 else ()
    return (
        centred(every_sum, every_product, n),
        *(centred(every_sum - s, every_product - p, n - part.shape[1]) for part, s, p in outside),
    )


def _sums_and_products(
    codes_CN: np.ndarray, group: Sequence[np.ndarray], slopes: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Sums (D,) of the terms of some rows, and their cross products (D, D); by blocks of dense rows where a row has so
    many terms that this costs less."""
    from scipy import sparse

    n, n_groups = codes_CN.shape[1], [int(g.max()) + 1 for g in group]
    sizes = [k + s.shape[1] for k, s in zip(n_groups, slopes, strict=True)]
    if SPARSE_COST * sum(1 + s.shape[1] for s in slopes) ** 2 < sum(sizes) ** 2:
        blocks = []
        for codes_N, g, s, k in zip(codes_CN, group, slopes, n_groups, strict=True):
            blocks.append(sparse.csr_matrix((np.ones(n), g[codes_N], np.arange(n + 1)), shape=(n, k)))
            if s.shape[1]:
                blocks.append(sparse.csr_matrix(s[codes_N]))
        terms = sparse.hstack(blocks, format="csr")
        return np.asarray(terms.sum(0)).ravel(), np.asarray((terms.T @ terms).todense())
    sums, products, firsts = np.zeros(sum(sizes)), np.zeros((sum(sizes), sum(sizes))), np.cumsum([0, *sizes])
    for start in range(0, n, DENSE_ROWS):
        part_CN = codes_CN[:, start : start + DENSE_ROWS]
        terms, rows = np.zeros((part_CN.shape[1], len(sums))), np.arange(part_CN.shape[1])
        for codes_N, g, s, k, first in zip(part_CN, group, slopes, n_groups, firsts, strict=False):
            terms[rows, first + g[codes_N]] = 1.0
            terms[:, first + k : first + k + s.shape[1]] = s[codes_N]
        sums += terms.sum(0)
        products += terms.T @ terms
    return sums, products
