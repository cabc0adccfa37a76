"""Rows from a network, with or without conditions: columns in order, each by the alias method on its table row.

One random number of 32 bits picks an entry of the alias table (Walker 1977) and decides between its code and the
entry's alias: two look-ups for each cell, whatever the number of codes. Work goes in blocks that stay in the
processor's cache.

Shape legend: N rows, C columns, Q configurations of a column's parents, R codes.

Under conditions the network is turned into another one that draws from the posterior: variable elimination (Koller and
Friedman 2009, chapter 9) over the weighted columns and their ancestors; the other columns follow from these as before.
Eliminating a column multiplies the factors that hold it into one table over (neighbours, column); that table,
normalised, is the column's distribution given neighbours which are all eliminated later. So the columns, drawn in the
reverse order, are exact draws from the posterior, each by one table look-up. Codes of weight zero are cut out of the
tables first, which makes a condition on a value as cheap as it can be.

Where a table would be too large (many evidence columns that share far ancestors), rows are drawn with each weighted
column tilted locally, and resampled by their importance weights, which is exact in the limit of many candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysynth.methods.bayesian_network.network import Network
from raysynth.running.compiled import compiled


@compiled
def pick(
    random_B: np.ndarray,
    index_B: np.ndarray,
    threshold: np.ndarray,
    alias: np.ndarray,
    n_codes: int,
    code_B: np.ndarray,
) -> None:
    """A code for each row, into `code_B`.

    Args:
        random_B: uint32; the high digits of its product with the number of codes pick an entry, the low ones decide.
        index_B: the distribution of each row.
        threshold, alias, n_codes: see `AliasTable`.
    """
    for i in range(len(random_B)):
        product = np.uint64(random_B[i]) * np.uint64(n_codes)
        entry = np.int64(product >> np.uint64(32))
        place = index_B[i] * n_codes + entry
        code_B[i] = entry if np.uint32(product & np.uint64(0xFFFFFFFF)) < threshold[place] else alias[place]


BLOCK_ROWS = 4096


@dataclass(frozen=True)
class AliasTable:
    """Walker's tables of many distributions: entry e of configuration q gives e if u < threshold, else its alias.

    Args:
        threshold: of 2^32, uint32, shape (Q * R,).
        alias: codes, int64, shape (Q * R,).
        n_codes: R.
    """

    threshold: np.ndarray
    alias: np.ndarray
    n_codes: int


@dataclass(frozen=True)
class Step:
    """How one column is drawn.

    Args:
        column: which.
        parents: columns whose codes pick the configuration, the last one fastest.
        digits: for each parent the number of digits in the configuration's index.
        local: for each parent, None or an array from code to digit (where only some codes can occur).
        table: alias table.
        codes: None, or the code of each entry (where only some codes can occur).
    """

    column: int
    parents: tuple[int, ...]
    digits: tuple[int, ...]
    local: tuple[np.ndarray | None, ...]
    table: AliasTable
    codes: np.ndarray | None = None


def network_steps(network: Network) -> tuple[Step, ...]:
    """The steps that draw rows of a network."""
    return tuple(network_step(network, column) for column in network.order)


def network_step(network: Network, column: int) -> Step:
    """The step that draws one column of a network given its parents."""
    parents = network.parents[column]
    digits = tuple(network.cardinalities[p] for p in parents)
    return Step(column, parents, digits, (None,) * len(parents), alias_table(network.tables[column]))


def draw(
    steps: Sequence[Step], n: int, n_columns: int, rng: np.random.Generator, known_NC: np.ndarray | None = None
) -> np.ndarray:
    """n rows of codes, uint16, shape (n, C), stored by columns.

    Args:
        steps: one for each column that is drawn, parents first.
        n: rows.
        n_columns: C.
        rng: the only source of randomness.
        known_NC: codes of the other columns, in their places; None: all are drawn.
    """
    codes_CN = np.empty((n_columns, n), dtype=np.uint16)
    # The caller's stream may be a slow counter-based one; a fast one seeded from it gives the bulk.
    bits = np.random.SFC64(rng.integers(0, 1 << 63, size=4).tolist())
    block_CB = np.empty((n_columns, BLOCK_ROWS), dtype=np.int64)

    for start in range(0, n, BLOCK_ROWS):
        size = min(BLOCK_ROWS, n - start)
        raw = bits.random_raw(len(steps) * BLOCK_ROWS // 2).view(np.uint32).reshape(len(steps), BLOCK_ROWS)
        if known_NC is not None:
            block_CB[:, :size] = known_NC[start : start + size].T
        for step, random_B in zip(steps, raw, strict=True):
            table, code_B = step.table, block_CB[step.column, :size]
            index = _configuration(step, block_CB[:, :size])
            pick(random_B[:size], index, table.threshold, table.alias, table.n_codes, code_B)
            if step.codes is not None:
                code_B[:] = step.codes[code_B]
        codes_CN[:, start : start + size] = block_CB[:, :size]
    return codes_CN.T


def _configuration(step: Step, block_CB: np.ndarray) -> np.ndarray:
    """Which distribution each row (B,) is drawn from."""
    index = np.zeros(block_CB.shape[1], np.int64)
    for parent, digits, local in zip(step.parents, step.digits, step.local, strict=True):
        index *= digits
        index += block_CB[parent] if local is None else local[block_CB[parent]]
    return index


def alias_table(p_QR: np.ndarray) -> AliasTable:
    """Alias tables of many distributions at once (rows sum to 1; a code of probability zero is never drawn).

    The sweep of Hubschle-Schneider and Sanders (2019, section 4.1) over light (p < 1/R) and heavy codes, all rows
    together: each step fixes one entry of each row.
    """
    n_rows, n_codes = p_QR.shape
    weight_QR = p_QR * n_codes
    share_QR = np.where(p_QR > 0, 1.0, 0.0)
    alias_QR = np.repeat(p_QR.argmax(axis=1)[:, None], n_codes, axis=1).astype(np.int64)
    # Codes by lightness: light ones first, the heavy ones after them.
    heavy_QR = weight_QR > 1.0
    sorted_QR = np.argsort(heavy_QR, axis=1, kind="stable")
    n_light_Q = n_codes - heavy_QR.sum(axis=1)
    rows = np.arange(n_rows)
    light_Q, heavy_Q = np.zeros(n_rows, dtype=np.int64), n_light_Q.copy()
    active = heavy_Q < n_codes
    rows, light_Q, heavy_Q = rows[active], light_Q[active], heavy_Q[active]
    left_Q = weight_QR[rows, sorted_QR[rows, heavy_Q]]
    while len(rows):
        heavy = sorted_QR[rows, heavy_Q]
        light = sorted_QR[rows, np.minimum(light_Q, n_codes - 1)]
        give = (left_Q > 1.0) & (light_Q < n_light_Q[rows])
        at = rows[give]
        share_QR[at, light[give]] = weight_QR[at, light[give]]
        alias_QR[at, light[give]] = heavy[give]
        following = np.minimum(heavy_Q + 1, n_codes - 1)
        ends = ~give & (heavy_Q + 1 >= n_codes)
        passes = ~give & ~ends
        at = rows[passes]
        share_QR[at, heavy[passes]] = np.minimum(left_Q[passes], 1.0)
        alias_QR[at, heavy[passes]] = sorted_QR[at, following[passes]]
        left_Q = np.where(
            give, left_Q - 1.0 + weight_QR[rows, light], left_Q - 1.0 + weight_QR[rows, sorted_QR[rows, following]]
        )
        light_Q, heavy_Q = light_Q + give, heavy_Q + passes
        rows, light_Q, heavy_Q, left_Q = (a[~ends] for a in (rows, light_Q, heavy_Q, left_Q))
    threshold = np.minimum(np.rint(share_QR * 2.0**32), 2.0**32 - 1).astype(np.uint32)
    return AliasTable(threshold.reshape(-1), alias_QR.reshape(-1), n_codes)


MAX_CELLS = 1 << 23
CANDIDATES_PER_ROW = 20
MIN_CANDIDATES = 20_000


class TooLargeError(Exception):
    """An elimination table would exceed the limit."""


class ImpossibleError(Exception):
    """No row has a positive weight: the conditions never meet under the model."""


@dataclass(frozen=True)
class Factor:
    """A non-negative function of some columns: axes in the order of `columns`."""

    columns: tuple[int, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Elimination:
    """p(column | neighbours) * prod weights, in the order of elimination.

    Args:
        factors: for each eliminated column, the normalised table with axes (neighbours, column).
        supports: the codes that can occur, for each column; tables are over these only.
        log_probability: log of the expected product of weights, in nats.
    """

    factors: tuple[Factor, ...]
    supports: tuple[np.ndarray, ...]
    log_probability: float


def conditioned_steps(network: Network, weights: Mapping[int, np.ndarray], base: Sequence[Step]) -> tuple[Step, ...]:
    """Steps that draw rows from p(row) * prod weights[c][code_c], normalised.

    Args:
        network: p.
        weights: for some columns a weight in [0, 1] of each code.
        base: the steps of the network without evidence, used for the columns that evidence does not reach.

    Raises:
        ImpossibleError: no row has a positive weight. TooLargeError: see `MAX_CELLS`.
    """
    elimination = eliminate(network, weights)
    steps = [_posterior_step(f, network, elimination.supports) for f in reversed(elimination.factors)]
    reached = {step.column for step in steps}
    return (*steps, *(step for step in base if step.column not in reached))


def eliminate(network: Network, weights: Mapping[int, np.ndarray], max_cells: int = MAX_CELLS) -> Elimination:
    """Eliminate the weighted columns and their ancestors; see the module. Raises as `conditioned_steps`."""
    supports = _supports(network, weights)
    waiting = network.ancestors(list(weights))
    factors = [_restricted(network, c, supports, weights) for c in sorted(waiting)]
    sizes = np.array([len(s) for s in supports])
    result, log_probability = [], 0.0
    while waiting:
        column = min(sorted(waiting), key=lambda c: _cells(_scope(factors, c), sizes))
        scope = (*sorted(_scope(factors, column) - {column}), column)
        if _cells(set(scope), sizes) > max_cells:
            raise TooLargeError(f"a table over {len(scope)} columns exceeds {max_cells:,} cells")
        table = _product([f for f in factors if column in f.columns], scope, sizes)
        factors = [f for f in factors if column not in f.columns]
        message = table.sum(axis=-1)
        scale = message.max(initial=0.0)
        if not scale > 0:
            raise ImpossibleError(f"no row has a positive weight on columns {sorted(weights)}")
        log_probability += float(np.log(scale))
        posterior = np.divide(table, message[..., None], out=np.full_like(table, 1 / table.shape[-1]),
            where=message[..., None] > 0)  # fmt: skip
        result.append(Factor(scope, posterior))
        factors.append(Factor(scope[:-1], message / scale))
        waiting.remove(column)
    log_probability += sum(float(np.log(f.values)) for f in factors if not f.columns)
    return Elimination(tuple(result), supports, log_probability)


def importance_rows(
    network: Network, weights: Mapping[int, np.ndarray], base: Sequence[Step], n: int, rng: np.random.Generator
) -> np.ndarray:
    """n rows of codes drawn approximately from p(row) * prod weights, by likelihood weighting and resampling.

    Each weighted column is drawn from p(code | parents) * weight, normalised by Z(parents); a candidate's importance is
    the product of its Z (Shachter and Peot 1990). n of at least 20 n candidates are taken by their importance.

    Raises:
        ImpossibleError: no candidate has positive importance.
    """
    tilted, normalisers = [], {}
    for step in base:
        if (weight := weights.get(step.column)) is not None:
            joint = network.tables[step.column] * weight
            z = joint.sum(axis=1)
            normalisers[step.column] = z
            flat = np.full_like(joint, 1 / joint.shape[1])
            table = np.divide(joint, z[:, None], out=flat, where=z[:, None] > 0)
            step = replace(step, table=alias_table(table))
        tilted.append(step)
    candidates = draw(tilted, max(CANDIDATES_PER_ROW * n, MIN_CANDIDATES), len(network), rng)
    importance = np.ones(len(candidates))
    for column, z in normalisers.items():
        importance *= z[network.configuration(column, candidates)]
    total = importance.sum()
    if not total > 0:
        raise ImpossibleError(f"no row has a positive weight on columns {sorted(weights)}")
    cumulative = np.cumsum(importance) / total
    chosen = np.searchsorted(cumulative, (np.arange(n) + rng.random()) / n, side="right")
    return candidates[rng.permutation(np.minimum(chosen, len(candidates) - 1))]


def _supports(network: Network, weights: Mapping[int, np.ndarray]) -> tuple[np.ndarray, ...]:
    supports = []
    for column, card in enumerate(network.cardinalities):
        weight = weights.get(column)
        support = np.arange(card) if weight is None else np.flatnonzero(np.asarray(weight) > 0)
        if not len(support):
            raise ImpossibleError(f"no row has a positive weight on columns {sorted(weights)}")
        supports.append(support)
    return tuple(supports)


def _restricted(
    network: Network, column: int, supports: tuple[np.ndarray, ...], weights: Mapping[int, np.ndarray]
) -> Factor:
    """A column's table on the codes that can occur, times its weight."""
    columns = (*network.parents[column], column)
    values = network.factor(column)[np.ix_(*(supports[c] for c in columns))]
    if column in weights:
        values = values * np.asarray(weights[column], dtype=float)[supports[column]]
    return Factor(columns, values)


def _scope(factors: Sequence[Factor], column: int) -> set[int]:
    return {column}.union(*(f.columns for f in factors if column in f.columns))


def _cells(columns: set[int], sizes: np.ndarray) -> float:
    return float(np.prod(sizes[sorted(columns)], dtype=float))


def _product(factors: Sequence[Factor], scope: tuple[int, ...], sizes: np.ndarray) -> np.ndarray:
    """Product of factors with axes in the order of `scope`."""
    result = np.ones(sizes[list(scope)])
    for factor in factors:
        axes = sorted(range(len(factor.columns)), key=lambda axis: scope.index(factor.columns[axis]))
        shape = [sizes[c] if c in factor.columns else 1 for c in scope]
        result *= factor.values.transpose(axes).reshape(shape)
    return result


def _posterior_step(factor: Factor, network: Network, supports: tuple[np.ndarray, ...]) -> Step:
    *parents, column = factor.columns
    local = []
    for parent in parents:
        digits = np.zeros(network.cardinalities[parent], dtype=np.int64)
        digits[supports[parent]] = np.arange(len(supports[parent]))
        local.append(None if len(supports[parent]) == network.cardinalities[parent] else digits)
    sizes = tuple(len(supports[p]) for p in parents)
    codes = None if len(supports[column]) == network.cardinalities[column] else supports[column]
    table = alias_table(factor.values.reshape(-1, factor.values.shape[-1]))
    return Step(column, tuple(parents), sizes, tuple(local), table, codes)
