"""Columns that are missing in the same rows, kept so for methods that draw each column's gaps by themselves.

Answers to one question of a questionnaire are missing together, all or none. A network that learns each column's
'missing' as one code among many learns that slowly, and then draws rows that have some of them. Where the gaps of
columns are the same in all rows of the table, drawn rows follow the first of these columns: the others are missing
where it is, and where it is not, a gap gives way to the value of another drawn row, one with the first column's code
where there is one.

Not under a budget: which gaps are the same is read from the rows.

Legend: N rows, C columns; the code of 'missing' is each column's last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.fitting.method import Method
from raysynth.fitting.prepared import Prepared
from raysynth.running.runner import summarise
from raysynth.sampling.chunks import Generator
from raysynth.sampling.persons import completes

Groups = tuple[tuple[int, ...], ...]  # columns by their place in the encoder


def gaps_of(model: Method, prepared: Prepared) -> Groups:
    """Groups of columns whose gaps are the same in all rows, for methods that need it; none under a budget."""
    encoder = prepared.encoder
    if prepared.privacy is not None or not getattr(model, "mends_gaps", False):
        return ()
    rows_without: dict[int, list[str]] = {}
    for name in encoder.names:
        if name in prepared.statistics.columns and name in prepared.table.names:
            rows_without.setdefault(round(prepared.statistics.columns[name].missing), []).append(name)
    alike = [names for n, names in rows_without.items() if 0 < n < prepared.n_rows and len(names) > 1]
    if not alike:
        return ()
    names = [name for group in alike for name in group]
    both = summarise(prepared.table, partial(_Gaps, len(names)), columns=names, label="looking for gaps together").both
    place, groups = {n: i for i, n in enumerate(encoder.names)}, []
    left = list(range(len(names)))
    while left:
        same = [b for b in left if both[left[0], b] == both[left[0], left[0]] == both[b, b]]
        left = [b for b in left if b not in same]
        if len(same) > 1:
            groups.append(tuple(sorted(place[names[b]] for b in same)))
    return tuple(groups)


@dataclass
class _Gaps:
    """Rows in which both columns of each pair are missing: a summary."""

    n_columns: int
    both: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.both = np.zeros((self.n_columns, self.n_columns), np.int64)

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block."""
        gone = np.stack([c.is_null().to_numpy(zero_copy_only=False) for c in batch.columns]).astype(np.float64)
        self.both += np.rint(gone @ gone.T).astype(np.int64)

    def merge(self, other: _Gaps) -> None:
        """Add the rows of another part."""
        self.both += other.both


def with_gaps(generator: Generator, encoder: TableEncoder, groups: Groups) -> Generator:
    """A generator whose rows have the gaps of each group together."""
    return GapsGenerator(generator, encoder, groups) if groups else generator


@dataclass(frozen=True)
class GapsGenerator:
    """Draws rows by a method's own generator and makes the gaps of some columns the same; else it is that generator.

    Args:
        generator: the method's own.
        encoder: of the rows.
        groups: columns whose gaps are the same.
    """

    generator: Generator
    encoder: TableEncoder
    groups: Groups

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "generator":
            raise AttributeError(name)
        return getattr(self.generator, name)

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows."""
        return self._mended(self.generator.generate(n, rng, weights), (), rng)

    def completes(self, known: Sequence[int]) -> bool:
        """Whether the method draws all other columns given these."""
        return completes(self.generator, known)

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Codes (N, C) with all columns but the `known` ones drawn given these, by a method that completes rows."""
        completer: Any = self.generator
        drawn_NC = completer.generate_given(codes_NC, known, rng)
        return self._mended(EncodedBlock(drawn_NC, np.empty((len(drawn_NC), 0), np.float32)), known, rng).codes_NC

    def _mended(self, block: EncodedBlock, known: Sequence[int], rng: np.random.Generator) -> EncodedBlock:
        codes_NC, values_NV = block.codes_NC.copy(), block.values_NV.copy()
        places = (
            [place.value_index for place in self.encoder.layout] if values_NV.shape[1] else [None] * len(codes_NC.T)
        )
        for group in self.groups:
            first = next((c for c in group if c in known), group[0])
            gone = codes_NC[:, first] == self.encoder.cardinalities[first] - 1
            for c in (c for c in group if c != first and c not in known):
                missing = self.encoder.cardinalities[c] - 1
                there = codes_NC[:, c] != missing
                codes_NC[gone, c] = missing
                rows, donors = np.flatnonzero(~gone & ~there), np.flatnonzero(~gone & there)
                if len(rows) and len(donors):
                    taken = _like(codes_NC[:, first], rows, donors, rng)
                    codes_NC[rows, c] = codes_NC[taken, c]
                    if (at := places[c]) is not None:
                        values_NV[rows, at] = values_NV[taken, at]
                elif len(rows):
                    p = self.encoder.frequencies()[c][:-1]
                    codes_NC[rows, c] = rng.choice(missing, len(rows), p=p / p.sum())
        return replace(block, codes_NC=codes_NC, values_NV=values_NV)


def _like(code_N: np.ndarray, rows: np.ndarray, donors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of some rows a donor with the same code, or any where there is none."""
    ordered = donors[np.argsort(code_N[donors], kind="stable")]
    low = np.searchsorted(code_N[ordered], code_N[rows], side="left")
    high = np.searchsorted(code_N[ordered], code_N[rows], side="right")
    low, high = np.where(high > low, low, 0), np.where(high > low, high, len(ordered))
    return np.asarray(ordered[low + (rng.random(len(rows)) * (high - low)).astype(np.int64)])
