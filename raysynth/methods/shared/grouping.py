"""Values of a column of many categories, grouped for learning by what they predict; the value within its group.

A table of 10,000 keys by 20 bins has more cells than rows, so a method that counts or learns it sees noise and drops
the dependence. Here such a column's values are put into some 32 groups (`trees`: more) whose rows are distributed alike
in all other columns; the method learns the group in the value's place, and p(value | group) are the group's own counts:
p(row) = p(group, others) p(value | group), what the groups keep of the dependence, with the value's margin exact.

How: each value is a vector, the mean over its rows of the other columns' codes, each weighted by one over the root of
its share: correspondence analysis (Greenacre 1984, chapter 4). Its first axes are found by random projections with
power iterations (Halko, Martinsson and Tropp 2011); coordinates are drawn towards 0 by what is noise in a mean of so
many rows, and values are clustered by them (Lloyd 1982), weighted by their rows.

Legend: N rows, C columns, K codes, G groups, Q axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.categorical import MOST_VALUES, CategoricalEncoder, build_categorical
from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ModelFileError
from raysynth.fitting.prepared import Prepared, learned_codes
from raysynth.fitting.remarks import ROWS_A_VALUE
from raysynth.sampling.chunks import Generator
from raysynth.sampling.persons import completes, rows_scores

MANY_VALUES = 64  # codes of a column that is never grouped
GROUPS = 32
LEARNED_CELLS = 1 << 23  # of the rows times columns that groups come from
GROUPED_AT_FULL = 20  # columns that are grouped from so many; for more of them from fewer rows
COARSE = 32  # codes of another column that are told apart, numbers by neighbouring bins; categories hash into more
HASHED = 1024
AXES = 12
POWERS = 3
LLOYD_ROUNDS = 25


@dataclass(frozen=True)
class Grouping:
    """For each column the group (K,) of each code, or None where it is not grouped; 'missing' is a group, the last one.

    Args:
        group_of: whole numbers (K,), ascending from 0.
        shares: released share of rows of each code (K,), of grouped columns.
    """

    group_of: tuple[np.ndarray | None, ...]
    shares: tuple[np.ndarray | None, ...]

    def cardinalities(self, encoder: TableEncoder) -> tuple[int, ...]:
        """Number of groups, or of codes, of each column of the values' encoder."""
        pairs = zip(self.group_of, encoder.cardinalities, strict=True)
        return tuple(k if g is None else int(g.max()) + 1 for g, k in pairs)

    def encoder(self, encoder: TableEncoder) -> TableEncoder:
        """Rows to groups, from the values' encoder."""
        pairs = zip(self.group_of, encoder.columns, strict=True)
        return TableEncoder(tuple(column if g is None else _grouped_column(column, g) for g, column in pairs))

    def codes(self, codes_NC: np.ndarray) -> np.ndarray:
        """Codes (N, C) with groups in place of values."""
        result = codes_NC.copy()
        for c, group in enumerate(self.group_of):
            if group is not None:
                result[:, c] = group[codes_NC[:, c]]
        return result

    def log_prob_within(self, codes_NC: np.ndarray) -> np.ndarray:
        """Log-probability (N,) of values given their groups."""
        result = np.zeros(len(codes_NC))
        for c, within_K in self._within.items():
            result += np.log(np.maximum(within_K[codes_NC[:, c]], 1e-300))
        return result

    def weights(self, weights: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Evidence on values as evidence on groups: P(condition | group)."""
        result = dict(weights)
        for c in weights.keys() & self._within.keys():
            result[c] = np.bincount(self._group(c), weights=self._within[c] * weights[c])
        return result

    def spread(self, column: int, p_NG: np.ndarray) -> np.ndarray:
        """Probabilities (N, K) of a column's values from those of its groups (N, G); as they are where it has none."""
        return p_NG if column not in self._within else p_NG[:, self._group(column)] * self._within[column]

    def values(
        self, codes_NC: np.ndarray, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> np.ndarray:
        """Codes (N, C) with values drawn in the place of groups, by their shares and the evidence on them."""
        result = codes_NC.copy()
        for c, within_K in self._within.items():
            p_K = within_K * weights[c] if weights and c in weights else within_K
            by_group = np.argsort(self._group(c), kind="stable")
            ends = np.cumsum(np.bincount(self._group(c)))
            total = np.concatenate([[0.0], np.cumsum(p_K[by_group])])
            low, high = total[np.concatenate([[0], ends[:-1]])], total[ends]
            group_N = codes_NC[:, c].astype(np.int64)
            at = low[group_N] + rng.random(len(group_N)) * (high - low)[group_N]
            place = np.searchsorted(total[1:], at, side="right")
            last = ends[group_N] - 1
            result[:, c] = by_group[np.clip(place, ends[group_N] - np.bincount(self._group(c))[group_N], last)]
        return result

    @cached_property
    def _within(self) -> dict[int, np.ndarray]:
        """p(value | group) (K,) of each grouped column; even within a group without rows."""
        result = {}
        for c, shares in enumerate(self.shares):
            if shares is not None:
                group = self._group(c)
                share, size = np.bincount(group, weights=shares)[group], np.bincount(group)[group]
                result[c] = np.where(share > 0, shares / np.maximum(share, 1e-300), 1.0 / size)
        return result

    def _group(self, column: int) -> np.ndarray:
        group = self.group_of[column]
        assert group is not None
        return group

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays that `from_arrays` reads."""
        return {f"group.{c}": g.astype(np.int32) for c, g in enumerate(self.group_of) if g is not None}

    @classmethod
    def from_arrays(cls, encoder: TableEncoder, arrays: Mapping[str, np.ndarray]) -> Grouping | None:
        """The grouping in a model file, None where there is none; raises `ModelFileError`."""
        groups = [arrays.get(f"group.{c}") for c in range(len(encoder.columns))]
        if all(g is None for g in groups):
            return None
        for group, column in zip(groups, encoder.columns, strict=True):
            if group is not None and not (
                group.dtype.kind in "iu"
                and group.shape == (column.cardinality,)
                and np.array_equal(np.unique(group), np.arange(int(group.max()) + 1))
                and np.count_nonzero(group == group[-1]) == 1
                and group[-1] == group.max()
            ):
                raise ModelFileError(
                    f"the groups of column '{column.name}' in the model file do not fit; refit the model"
                )
        return cls(tuple(groups), _shares(groups, encoder))


@dataclass(frozen=True)
class GroupedColumn(CategoricalEncoder):
    """A column's values to groups; its own values are the groups' names."""

    own: CategoricalEncoder | None = None
    group_of: np.ndarray | None = None

    def encode(self, array: pa.Array) -> tuple[np.ndarray, None]:
        """Groups (N,) uint16."""
        assert self.own is not None and self.group_of is not None
        return self.group_of.astype(np.uint16)[self.own.encode(array)[0]], None

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What tells this encoder from others (of encoded rows that are kept); no model file holds it."""
        meta, arrays = super().to_state()
        return meta, {**arrays, "group_of": np.asarray(self.group_of)}


@dataclass(frozen=True)
class GroupedGenerator:
    """Draws groups by a method's own generator, then values within them; conditions stay as exact as they are there."""

    generator: Generator
    grouping: Grouping

    @property
    def exact_conditions(self) -> bool:
        """Whether conditions are met by construction."""
        return bool(getattr(self.generator, "exact_conditions", False))

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows."""
        block = self.generator.generate(n, rng, self.grouping.weights(weights) if weights else weights)
        return replace(block, codes_NC=self.grouping.values(block.codes_NC, rng, weights))

    def completes(self, known: Sequence[int]) -> bool:
        """Whether the method draws all other columns given these."""
        return completes(self.generator, known)

    def rows_scores(self, codes_PC: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """The method's score (P,) of how many rows persons have; None: it has none."""
        return rows_scores(self.generator, self.grouping.codes(codes_PC), rng)

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Codes (N, C) with all columns but the `known` ones drawn given these, by a method that completes rows."""
        completer: Any = self.generator
        drawn_NC = self.grouping.values(completer.generate_given(self.grouping.codes(codes_NC), known, rng), rng)
        drawn_NC[:, list(known)] = codes_NC[:, list(known)]
        return drawn_NC


def group_values(
    prepared: Prepared, verbose: bool | int, rows_a_value: int = ROWS_A_VALUE, n_groups: int = GROUPS
) -> tuple[Prepared, TableEncoder, Grouping | None]:
    """What a method learns from, the encoder of the rows that it then draws, and the groups between them if any.

    Columns of over 64 values with fewer than `rows_a_value` rows each on average are grouped, into `n_groups` at most;
    400 rows where there are more values than the schema's `max_categories`: those beyond it, which share a code
    elsewhere, have one of their own here. Under a budget groups would be chosen by rows: there are none. Which columns
    were grouped is printed.
    """
    ungrouped = prepared, prepared.encoder, None
    if prepared.privacy is not None or len(prepared.encoder.columns) < 2:
        return ungrouped
    encoder = _with_all_values(prepared)
    pairs = enumerate(zip(encoder.columns, prepared.encoder.columns, strict=True))
    each = {c: rows_a_value if own is column else ROWS_A_VALUE for c, (own, column) in pairs}
    many = [c for c, column in enumerate(encoder.columns) if _is_many(column, prepared.n_rows / each[c])]
    if not many:
        return ungrouped
    fine = replace(prepared, encoder=encoder)
    most_rows = LEARNED_CELLS // len(encoder.columns) // max(1, len(many) // GROUPED_AT_FULL)
    codes_CN = learned_codes(fine, most_rows)
    features = _features(codes_CN, encoder)
    groups = [
        _groups(codes_CN, encoder, c, features, n_groups) if c in many else None for c in range(len(encoder.columns))
    ]
    grouping = Grouping(tuple(groups), _shares(groups, encoder))
    if verbose:
        print(described(encoder, grouping))
    return replace(prepared, encoder=grouping.encoder(encoder), shared=None), encoder, grouping


def _with_all_values(prepared: Prepared) -> TableEncoder:
    """The encoder with a code for each value that may leave, as far as codes go."""
    columns = list(prepared.encoder.columns)
    schema, most = prepared.schema, prepared.schema.max_categories
    for c, column in enumerate(columns):
        if isinstance(column, CategoricalEncoder) and len(column.values) == most and len(column.tail_values) > 1:
            counts = prepared.statistics.columns[column.name].categories().value
            columns[c] = build_categorical(
                schema[column.name], counts, rare_threshold=schema.rare_threshold, max_categories=MOST_VALUES
            )
    return TableEncoder(tuple(columns))


def described(encoder: TableEncoder, grouping: Grouping) -> str:
    """What a fit says of the grouping."""
    named = [
        f"'{name}' ({len(g) - 1:,} values in {int(g.max())} groups)"
        for name, g in zip(encoder.names, grouping.group_of, strict=True)
        if g is not None
    ]
    return (
        f"grouped by what they predict, since there are few rows of each value: {', '.join(named)}; how values of one "
        "group differ is not learned, but for their shares"
    )


def _is_many(column: Any, most: float) -> bool:
    """Whether it has more categories than `most`, and many."""
    return isinstance(column, CategoricalEncoder) and column.cardinality > max(MANY_VALUES, most)


def _shares(groups: Sequence[np.ndarray | None], encoder: TableEncoder) -> tuple[np.ndarray | None, ...]:
    return tuple(None if g is None else s for g, s in zip(groups, encoder.frequencies(), strict=True))


def _grouped_column(column: Any, group_of: np.ndarray) -> GroupedColumn:
    names = tuple(f"group {g + 1}" for g in range(int(group_of.max())))
    shares = np.bincount(group_of, weights=column.shares)
    return GroupedColumn(column.name, column.kind, pa.string(), names, shares, own=column, group_of=group_of)


def _features(codes_CN: np.ndarray, encoder: TableEncoder) -> Any:
    """The rows' codes as a sparse matrix (N, features): one over the root of the code's share, a block a column."""
    from scipy import sparse

    n = codes_CN.shape[1]
    places, values, first = np.empty(codes_CN.shape, np.int64), np.empty(codes_CN.shape, np.float32), 0
    for c, column in enumerate(encoder.columns):
        k = column.cardinality
        if isinstance(column, BinEncoder):
            of_code = np.append(np.arange(k - 1) * (COARSE - 1) // max(k - 1, 1), COARSE - 1)
        else:
            of_code = np.arange(k) % HASHED
        own = of_code[codes_CN[c]]
        rows = np.bincount(own)
        places[c], values[c] = own + first, 1 / np.sqrt(np.maximum(rows[own] / n, 1e-12))
        first += int(of_code.max()) + 1
    width = len(codes_CN)
    return sparse.csr_matrix((values.T.ravel(), places.T.ravel(), np.arange(n + 1) * width), shape=(n, first))


def _groups(codes_CN: np.ndarray, encoder: TableEncoder, column: int, features: Any, most: int) -> np.ndarray:
    """The group (K,) of each code of one column, at most `most` beside 'missing'."""
    from scipy import sparse

    k, n = encoder.cardinalities[column], codes_CN.shape[1]
    codes_N = codes_CN[column].astype(np.int64)
    rows_K = np.bincount(codes_N, minlength=k)
    root_K = np.sqrt(np.maximum(rows_K, 1) / n)
    values = sparse.csr_matrix(((1 / root_K[codes_N]).astype(np.float32), codes_N, np.arange(n + 1)), shape=(n, k))
    others = _without(features, column, len(codes_CN), n)
    rng = np.random.default_rng([0x6A0, column])
    mean_F = np.asarray(others.mean(0), dtype=np.float32)
    root = root_K[:, None].astype(np.float32)
    x_FQ = rng.standard_normal((others.shape[1], AXES + 8)).astype(np.float32)
    for _ in range(POWERS):
        y_KQ = values.T @ (others @ x_FQ) / n - root * (mean_F @ x_FQ)
        basis = np.linalg.qr(y_KQ)[0]
        x_FQ = others.T @ (values @ basis) / n - mean_F.T @ (root.T @ basis)
    left, size, _ = np.linalg.svd(x_FQ.T, full_matrices=False)
    axes_KQ = (basis @ left)[:, :AXES] * size[:AXES]
    noise = np.sqrt(k / n) + np.sqrt(others.shape[1] / n)  # the largest singular value of as many independent codes
    kept = max(1, int((size[:AXES] > noise).sum()))
    place_KQ = axes_KQ[:, :kept] / root
    rows = rows_K[:, None].astype(float)
    place_KQ = place_KQ * (rows / (rows + 1 / np.maximum(size[:kept] ** 2, 1e-12)))
    return _clustered(place_KQ[:-1], rows_K[:-1], most, rng)


def _without(features: Any, column: int, width: int, n: int) -> Any:
    """The features of all columns but one."""
    from scipy import sparse

    keep = np.arange(width) != column
    places, values = (a.reshape(n, width)[:, keep].ravel() for a in (features.indices, features.data))
    return sparse.csr_matrix((values, places, np.arange(n + 1) * (width - 1)), shape=features.shape)


def _clustered(place_KQ: np.ndarray, rows_K: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """The cluster of each value, numbered from 0 without gaps, and one more for 'missing': shape (K + 1,)."""
    weight = rows_K.astype(float)
    centre_GQ = _spread_out(place_KQ, weight, most, rng)
    for _ in range(LLOYD_ROUNDS):
        group = _nearest(place_KQ, centre_GQ)
        mass = np.bincount(group, weights=weight, minlength=len(centre_GQ))
        sums = [np.bincount(group, weights=weight * x, minlength=len(centre_GQ)) for x in place_KQ.T]
        moved = np.where(mass[:, None] > 0, np.stack(sums, 1) / np.maximum(mass, 1e-12)[:, None], centre_GQ)
        if np.allclose(moved, centre_GQ, atol=1e-9):
            break
        centre_GQ = moved
    group = np.unique(_nearest(place_KQ, centre_GQ), return_inverse=True)[1]
    return np.append(group, group.max() + 1).astype(np.int64)


def _spread_out(place_KQ: np.ndarray, weight_K: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """First centres, each drawn by the rows times the squared distance to those before (Arthur, Vassilvitskii 2007)."""
    chosen = [int(rng.choice(len(weight_K), p=weight_K / weight_K.sum()))] if weight_K.sum() else [0]
    distance = ((place_KQ - place_KQ[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(most, len(place_KQ)):
        p = distance * weight_K
        if not p.sum() > 0:
            break
        chosen.append(int(rng.choice(len(p), p=p / p.sum())))
        distance = np.minimum(distance, ((place_KQ - place_KQ[chosen[-1]]) ** 2).sum(1))
    return place_KQ[chosen]


def _nearest(place_KQ: np.ndarray, centre_GQ: np.ndarray) -> np.ndarray:
    product = place_KQ @ centre_GQ.T
    result: np.ndarray = ((centre_GQ**2).sum(1) - 2 * product).argmin(1)
    return result
