"""Rows from the forests: column after column; under conditions rows that fail are dropped as soon as they do.

Shape legend: N rows, C columns, R codes of a column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from raysynth.encoding.block import EncodedBlock
from raysynth.errors import ConditionError
from raysynth.methods.trees.busy import Busy
from raysynth.methods.trees.forest import Forest

BLOCK_ROWS = 32_768  # so that codes stay in the processor's cache, and trees are brought there seldom
TRIED_FIRST = 200_000  # rows that a condition may cost, whatever comes of it
TRIED_PER_ROW = 1_000  # further ones for each row that met the conditions
PARTICLES = (8, 64)  # drawn for each row that is completed: so many of many rows, of few
PARTICLE_ROWS = 131_072


@dataclass(frozen=True)
class TreesGenerator:
    """Draws codes column by column; conditions are exact, by rejection along the order.

    Args:
        forests: one for each column, by its index.
        order: columns as they are drawn; a forest's inputs come before it.
        names: of the columns, for messages.
        even: see `Forest.draw`; of whole rows alone, and not in models of earlier versions.
        busy: which persons have many rows; None: any.
    """

    forests: tuple[Forest, ...]
    order: tuple[int, ...]
    names: tuple[str, ...]
    even: bool = False
    busy: Busy | None = None
    exact_conditions: ClassVar[bool] = True
    fills: ClassVar[bool] = True  # `generate_given` takes any known columns

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows; raises `ConditionError` where too few rows satisfy the conditions."""
        fast = np.random.Generator(np.random.SFC64(rng.integers(0, 1 << 63, size=4).tolist()))
        codes_CN = self._conditioned(n, fast, weights) if weights else self._free(n, fast)
        return EncodedBlock(codes_CN.T, np.empty((n, 0), np.float32))

    def completes(self, known: Sequence[int]) -> bool:
        """Whether the known columns come first in the order, so that all others can be drawn given them."""
        return set(self.order[: len(known)]) == set(known)

    def rows_scores(self, codes_PC: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """For each person (P,) a number, the larger the more rows it has; None: that tells nothing."""
        return None if self.busy is None else self.busy.scores(codes_PC, rng)

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Codes (N, C) uint16 with all columns but the `known` ones drawn given these.

        Each row is drawn by itself, since rows of one family or person share what is known, and would be spread out.
        Exact where the known columns come first in the order; else by particles (see `drawn_given`).
        """
        fast = np.random.Generator(np.random.SFC64(rng.integers(0, 1 << 63, size=4).tolist()))
        codes_CN = np.array(codes_NC.T, dtype=np.uint16, order="C")  # a copy: it is written to
        if not self.completes(known):
            return self.drawn_given(codes_CN, known, fast).T
        for start in range(0, codes_CN.shape[1], BLOCK_ROWS):
            block_CB = np.ascontiguousarray(codes_CN[:, start : start + BLOCK_ROWS])
            for column in self.order[len(known) :]:
                block_CB[column] = self.forests[column].draw(block_CB, block_CB.shape[1], fast)
            codes_CN[:, start : start + BLOCK_ROWS] = block_CB
        return codes_CN.T

    def drawn_given(
        self,
        codes_CN: np.ndarray,
        known: Sequence[int],
        rng: np.random.Generator,
        log_weights: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Codes (C, N) with all columns but the `known` ones drawn given these, in any order.

        For each row several are drawn; after each known column those stay that it speaks for (sequential importance
        resampling; Gordon, Salmond and Smith 1993), and one in the end. Where it speaks for none, all stay, so that no
        row is refused.

        Args:
            log_weights: of whole rows, codes (C, M) -> (M,); they decide, too, which one it is.
        """
        n = codes_CN.shape[1]
        each = int(np.clip(PARTICLE_ROWS // max(n, 1), *PARTICLES))
        result_CN = np.empty_like(codes_CN)
        rows = max(1, BLOCK_ROWS // each)
        for start in range(0, n, rows):
            given_CB = codes_CN[:, start : start + rows]
            drawn_CM = self._particles(np.repeat(given_CB, each, axis=1), each, set(known), rng)
            weight_M = np.ones(drawn_CM.shape[1]) if log_weights is None else np.exp(log_weights(drawn_CM))
            place = _resampled(weight_M.reshape(-1, each), rng, 1)[:, 0]
            result_CN[:, start : start + rows] = drawn_CM[:, place]
        return result_CN

    def _particles(self, codes_CM: np.ndarray, each: int, known: set[int], rng: np.random.Generator) -> np.ndarray:
        is_drawn = False
        for column in self.order:
            if column not in known:
                codes_CM[column] = self.forests[column].draw(codes_CM, codes_CM.shape[1], rng)
                is_drawn = True
            elif is_drawn:  # before that all particles of a row are the same
                weight_M = self.forests[column].probability(codes_CM, codes_CM[column])
                codes_CM = codes_CM[:, _resampled(weight_M.reshape(-1, each), rng, each).ravel()]
        return codes_CM

    def log_prob(self, codes_NC: np.ndarray, floor: float) -> np.ndarray:
        """Natural logarithm of the probability of each row's codes, (N,); no column counts for less than `floor`."""
        codes_CN = np.ascontiguousarray(codes_NC.T)
        result = np.zeros(codes_CN.shape[1])
        for column, forest in enumerate(self.forests):
            result += np.log(np.maximum(forest.probability(codes_CN, codes_CN[column]), floor))
        return result

    def _free(self, n: int, rng: np.random.Generator) -> np.ndarray:
        codes_CN = np.empty((len(self.forests), n), np.uint16)
        for start in range(0, n, BLOCK_ROWS):
            block_CB = np.empty((len(self.forests), min(BLOCK_ROWS, n - start)), np.uint16)
            for column in self.order:
                block_CB[column] = self.forests[column].draw(block_CB, block_CB.shape[1], rng, even=self.even)
            codes_CN[:, start : start + block_CB.shape[1]] = block_CB
        return codes_CN

    # ---- conditions --------------------------------------------------------------------------------------------------

    def _conditioned(self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray]) -> np.ndarray:
        """n rows from p(row) * product of weights: each row stays with the weight of its code, column by column."""
        last = max(self.order.index(c) for c in weights)
        parts: list[np.ndarray] = [np.empty((len(self.forests), 0), np.uint16)]
        accepted = tried = 0
        while accepted < n:
            rate = max(accepted, 0.5) / tried if tried else 0.25
            size = int(np.clip((n - accepted) / rate * 1.1 + 16, 256, BLOCK_ROWS))
            codes_CN = self._attempt(size, self.order[: last + 1], rng, weights)
            codes_CN = codes_CN[:, : n - accepted]
            tried, accepted = tried + size, accepted + codes_CN.shape[1]
            parts.append(codes_CN)
            if accepted < n and tried >= TRIED_FIRST + TRIED_PER_ROW * accepted:
                self._give_up(weights, accepted, tried)
        codes_CN = np.concatenate(parts, axis=1)
        for column in self.order[last + 1 :]:
            codes_CN[column] = self.forests[column].draw(codes_CN, n, rng, even=self.even)
        return codes_CN

    def _attempt(
        self, size: int, columns: Sequence[int], rng: np.random.Generator, weights: Mapping[int, np.ndarray]
    ) -> np.ndarray:
        """The rows of `size` that meet the conditions, their further columns still open."""
        codes_CN = np.zeros((len(self.forests), size), np.uint16)
        for place, column in enumerate(columns):
            if place == 0 and column in weights:
                codes_CN[column] = self._first(size, rng, weights)
                continue
            codes_CN[column] = self.forests[column].draw(codes_CN, codes_CN.shape[1], rng, even=self.even)
            if column in weights:
                kept = rng.random(codes_CN.shape[1]) < weights[column][codes_CN[column]]
                codes_CN = codes_CN[:, kept]
        return codes_CN

    def _first(self, size: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray]) -> np.ndarray:
        """The first column needs no rejection: its codes are drawn by p * weight."""
        column = self.order[0]
        every = np.arange(len(weights[column]), dtype=np.uint16)
        nothing = np.zeros((len(self.forests), len(every)), np.uint16)
        p = self.forests[column].probability(nothing, every) * weights[column]
        if not p.sum() > 0:
            self._give_up(weights, 0, 0)
        return rng.choice(every, size, p=p / p.sum())

    def _give_up(self, weights: Mapping[int, np.ndarray], accepted: int, tried: int) -> None:
        names = ", ".join(f"'{self.names[c]}'" for c in sorted(weights))
        found = f"only {accepted} of {tried:,} rows" if tried else "no row"
        raise ConditionError(
            f"{found} that the model draws satisfy the conditions on {names} together; ask for fewer rows, widen or "
            "drop one of the conditions, or use a method that needs no rejection (bayesian_network, autoregressive)"
        )


def _resampled(weight_NP: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """Flat places (N, n) of n of each row's particles, drawn by weight (systematic); evenly where all weights are 0."""
    total_N = weight_NP.sum(axis=1)
    weight_NP = np.where(total_N[:, None] > 0, weight_NP, 1.0)
    reached_NP = np.cumsum(weight_NP, axis=1)
    reached_NP /= reached_NP[:, -1:]
    row_N = np.arange(len(weight_NP))[:, None]
    wanted_Nn = (np.arange(n) + rng.random((len(weight_NP), 1))) / n
    place = np.searchsorted((reached_NP + row_N).ravel(), (wanted_Nn + row_N).ravel(), side="right")
    low = row_N * weight_NP.shape[1]
    return np.clip(place.reshape(-1, n), low, low + weight_NP.shape[1] - 1)
