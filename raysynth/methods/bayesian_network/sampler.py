"""Rows from a network: columns in order, each by the alias method on the table row of its parents' codes.

One random number of 32 bits picks an entry of the alias table (Walker 1977) and decides between its code and the
entry's alias: two look-ups for each cell, whatever the number of codes. Work goes in blocks that stay in the
processor's cache.

Shape legend: N rows, C columns, Q configurations of a column's parents, R codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
