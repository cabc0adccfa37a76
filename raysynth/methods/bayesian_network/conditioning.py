"""Exact draws under evidence: the network turned into another one that draws from p(row) * prod weights.

Variable elimination (Koller and Friedman 2009, chapter 9) over the weighted columns and their ancestors; the other
columns follow from these as before. Eliminating a column multiplies the factors that hold it into one table over
(neighbours, column); that table, normalised, is the column's distribution given neighbours which are all eliminated
later. So the columns, drawn in the reverse order, are exact draws from the posterior, each by one table look-up. Codes
of weight zero are cut out of the tables first, which makes a condition on a value as cheap as it can be.

Where a table would be too large (many evidence columns that share far ancestors), rows are drawn with each weighted
column tilted locally, and resampled by their importance weights, which is exact in the limit of many candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.sampler import Step, alias_table, draw

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
