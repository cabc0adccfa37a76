"""Patterns of missing cells that are rules of the table, kept for methods that draw each column's gaps by themselves.

Answers to one question of a questionnaire are missing together, all or none; of two ways to say a thing one is used;
a date of leaving needs a date of coming. A model that learns each column's 'missing' as one code among many learns that
slowly, and then draws rows that are as none in the table.

Where the gaps of columns are the same in all rows of the table, drawn rows follow the first of these columns: the
others are missing where it is, and where it is not, a gap gives way to the value of another drawn row, one with the
first column's code where there is one. Other columns of which some are never missing, or never there, together, though
chance alone would have it in ten rows, have the patterns that `rare_threshold` rows share: a drawn row with another one
takes the nearest of these.

Not under a budget: the patterns are read from the rows.

Legend: N rows, C columns, K columns of a group, P patterns; the code of 'missing' is each column's last one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import each_once
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ModelFileError
from raysynth.fitting.method import Method
from raysynth.fitting.prepared import Prepared
from raysynth.running.runner import summarise
from raysynth.sampling.chunks import Generator
from raysynth.sampling.persons import completes
from raysynth.statistics.distinct import Sharers
from raysynth.statistics.persons import value_hashes

CHANCE = 10.0  # rows that chance alone would give: fewer than none of them in 20,000 tables
MOST_COLUMNS, MOST_PATTERNS = 40, 256  # of one group; with more, only the columns whose gaps are the same are kept so


@dataclass(frozen=True)
class GapGroup:
    """Columns whose gaps belong together.

    Args:
        columns: their places in the encoder, ascending.
        patterns: whether each is missing, (P, K) bool; None: all or none.
        shares: of rows with each pattern, (P,); None without patterns.
    """

    columns: tuple[int, ...]
    patterns: tuple[tuple[bool, ...], ...] | None = None
    shares: tuple[float, ...] | None = None

    def to_json(self) -> Any:
        """As plain JSON values."""
        if self.patterns is None:
            return list(self.columns)
        patterns = ["".join("01"[gone] for gone in p) for p in self.patterns]
        return {"columns": list(self.columns), "patterns": patterns, "shares": list(self.shares or ())}

    @classmethod
    def from_json(cls, content: Any) -> GapGroup:
        """The inverse; raises `ModelFileError`."""
        if not isinstance(content, dict):
            return cls(tuple(int(c) for c in content))
        columns = tuple(int(c) for c in content["columns"])
        patterns = tuple(tuple(c == "1" for c in str(p)) for p in content["patterns"])
        shares = tuple(float(x) for x in content["shares"])
        fits = len(patterns) == len(shares) > 0 and all(len(p) == len(columns) for p in patterns)
        if not fits or not np.isfinite(shares).all() or min(shares) <= 0:
            raise ModelFileError("the patterns of missing cells in the model file are damaged; refit the model")
        return cls(columns, patterns, shares)


Groups = tuple[GapGroup, ...]


def gaps_of(model: Method, prepared: Prepared) -> Groups:
    """Groups of columns whose gaps belong together; none under a budget."""
    encoder = prepared.encoder
    if prepared.privacy is not None:
        return ()
    names = [
        name
        for name in encoder.names
        if name in prepared.statistics.columns
        and name in prepared.table.names
        and 0 < round(prepared.statistics.columns[name].missing) < prepared.n_rows
    ]
    if len(names) < 2:
        return ()
    both = summarise(prepared.table, partial(_Gaps, len(names)), columns=names, label="looking for gaps together").both
    place, same = {n: i for i, n in enumerate(encoder.names)}, _same(both)
    firsts = [group[0] for group in same]
    rules = _rules(both[np.ix_(firsts, firsts)], prepared.n_rows)
    wanted = [sorted(b for i in rule for b in same[i]) for rule in rules]
    wanted = [group for group in wanted if len(group) <= MOST_COLUMNS]
    counted = _counted(prepared, [[names[b] for b in group] for group in wanted])
    groups, done = list[GapGroup](), set[int]()
    for group, kept in zip(wanted, counted, strict=True):
        if 0 < len(kept) <= MOST_PATTERNS:
            at = tuple(place[names[b]] for b in group)
            groups.append(GapGroup(at, tuple(kept), tuple(n / sum(kept.values()) for n in kept.values())))
            done |= set(group)
    if getattr(model, "mends_gaps", False):
        groups += [GapGroup(tuple(place[names[b]] for b in g)) for g in same if len(g) > 1 and not done & set(g)]
    return tuple(groups)


def _same(both: np.ndarray) -> list[list[int]]:
    """Columns by the rows in which they are missing, each list in order."""
    groups, left = list[list[int]](), list(range(len(both)))
    while left:
        own = [b for b in left if both[left[0], b] == both[left[0], left[0]] == both[b, b]]
        left = [b for b in left if b not in own]
        groups.append(own)
    return groups


def _rules(both: np.ndarray, n_rows: int) -> list[list[int]]:
    """Columns, in connected groups of two or more, of which two never have what chance would give them often.

    Args:
        both: rows in which both columns of each pair are missing.
    """
    gone = np.diag(both).astype(float)
    there = n_rows - gone
    cells = [
        (both, gone[:, None] * gone),
        (gone[:, None] - both, gone[:, None] * there),
        (n_rows - gone[:, None] - gone + both, there[:, None] * there),
    ]
    linked = np.zeros(both.shape, bool)
    for found, by_chance in cells:
        linked |= (found == 0) & (by_chance / n_rows >= CHANCE)
    linked |= linked.T
    groups, left = list[list[int]](), set(range(len(both)))
    while left:
        group, new = set[int](), {min(left)}
        while new:
            group |= new
            new = {int(b) for a in new for b in np.flatnonzero(linked[a])} - group
        left -= group
        if len(group) > 1:
            groups.append(sorted(group))
    return groups


def _counted(prepared: Prepared, groups: list[list[str]]) -> list[dict[tuple[bool, ...], int]]:
    """Rows with each pattern of each group of columns, of those that `rare_threshold` persons share."""
    names = sorted({name for group in groups for name in group})
    if not names:
        return []
    entity = prepared.entity if prepared.entity in prepared.table.names else None
    at = tuple(tuple(names.index(name) for name in group) for group in groups)
    empty = partial(_Patterns, at, entity, prepared.schema.rare_threshold)
    columns = each_once(*names, entity)
    return summarise(prepared.table, empty, columns=columns, label="counting patterns of gaps").shared()


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


@dataclass
class _Patterns:
    """Rows of each pattern of missing cells in some groups of columns, and persons who share it: a summary.

    Args:
        groups: of columns, by their place in a block; a pattern is a number, of whose bits one is each column's.
        entity: the column that says whose each row is; None: each row is a person's.
        most: persons kept of each pattern.
    """

    groups: tuple[tuple[int, ...], ...]
    entity: str | None
    most: int
    rows: list[Counter[int]] = field(init=False)
    sharers: list[Sharers] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = [Counter() for _ in self.groups]
        self.sharers = [Sharers(self.most) for _ in self.groups]

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block."""
        gone_NC = np.stack([c.is_null().to_numpy(zero_copy_only=False) for c in batch.columns], axis=1)
        person_N = None if self.entity is None else value_hashes(batch.column(self.entity))
        for i, group in enumerate(self.groups):
            pattern_N = gone_NC[:, group] @ (1 << np.arange(len(group)))
            self.rows[i].update(dict(zip(*(x.tolist() for x in np.unique(pattern_N, return_counts=True)), strict=True)))
            if person_N is not None:
                self.sharers[i] = self.sharers[i].with_rows(pattern_N, person_N)

    def merge(self, other: _Patterns) -> None:
        """Add the rows of another part."""
        for own, more in zip(self.rows, other.rows, strict=True):
            own.update(more)
        self.sharers = [own.merged(more) for own, more in zip(self.sharers, other.sharers, strict=True)]

    def shared(self) -> list[dict[tuple[bool, ...], int]]:
        """Rows of the patterns of each group that enough persons share, in the order of these."""
        result = []
        for group, rows, sharers in zip(self.groups, self.rows, self.sharers, strict=True):
            enough = {b: n for b, n in rows.items() if (n if self.entity is None else sharers.of_cell(b)) >= self.most}
            of = {tuple(bool(bits >> k & 1) for k in range(len(group))): n for bits, n in enough.items()}
            result.append(dict(sorted(of.items())))
        return result


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
        return self._mended(self.generator.generate(n, rng, weights), (), rng, tuple(weights or ()))

    def completes(self, known: Sequence[int]) -> bool:
        """Whether the method draws all other columns given these."""
        return completes(self.generator, known)

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Codes (N, C) with all columns but the `known` ones drawn given these, by a method that completes rows."""
        completer: Any = self.generator
        drawn_NC = completer.generate_given(codes_NC, known, rng)
        return self._mended(EncodedBlock(drawn_NC, np.empty((len(drawn_NC), 0), np.float32)), known, rng).codes_NC

    def _mended(
        self, block: EncodedBlock, known: Sequence[int], rng: np.random.Generator, asked: Sequence[int] = ()
    ) -> EncodedBlock:
        """The block with the gaps of its groups; `known` columns stay, those asked for where a pattern lets them."""
        codes_NC, values_NV = block.codes_NC.copy(), block.values_NV.copy()
        places = (
            [place.value_index for place in self.encoder.layout] if values_NV.shape[1] else [None] * len(codes_NC.T)
        )
        for group in self.groups:
            columns = group.columns
            gone_NK = codes_NC[:, columns] == np.array(self.encoder.cardinalities)[list(columns)] - 1
            first = next((c for c in columns if c in known), columns[0])
            if group.patterns is None:
                wanted_NK = np.repeat(gone_NK[:, [columns.index(first)]], len(columns), axis=1)
            else:
                fixed = np.array([100.0 if c in known else 10.0 if c in asked else 1.0 for c in columns])
                wanted_NK = _nearest(gone_NK, group, fixed, rng)
            for k, c in ((k, c) for k, c in enumerate(columns) if c not in known):
                missing = self.encoder.cardinalities[c] - 1
                rows = np.flatnonzero(gone_NK[:, k] & ~wanted_NK[:, k])
                donors = np.flatnonzero(~gone_NK[:, k] & ~wanted_NK[:, k])
                codes_NC[wanted_NK[:, k], c] = missing
                if len(rows) and len(donors):
                    by = first if c != first else columns[-1]
                    taken = _like(codes_NC[:, by], rows, donors, rng)
                    codes_NC[rows, c] = codes_NC[taken, c]
                    if (at := places[c]) is not None:
                        values_NV[rows, at] = values_NV[taken, at]
                elif len(rows):
                    p = self.encoder.frequencies()[c][:-1]
                    codes_NC[rows, c] = rng.choice(missing, len(rows), p=p / p.sum())
        return replace(block, codes_NC=codes_NC, values_NV=values_NV)


def _nearest(gone_NK: np.ndarray, group: GapGroup, cost_K: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patterns (N, K) of the group: each row's own where it is one, else one of those that differ least, by share."""
    allowed_PK = np.array(group.patterns, bool)
    weight_K = 1 << np.arange(len(group.columns))
    rows = np.flatnonzero(~np.isin(gone_NK @ weight_K, allowed_PK @ weight_K))
    wanted_NK = gone_NK.copy()
    if len(rows):
        distance_NP = (gone_NK[rows, None] != allowed_PK) @ cost_K
        likely_NP = np.log(np.array(group.shares)) + rng.gumbel(size=distance_NP.shape)
        nearest = distance_NP <= distance_NP.min(axis=1, keepdims=True)
        wanted_NK[rows] = allowed_PK[np.where(nearest, likely_NP, -np.inf).argmax(axis=1)]
    return wanted_NK


def _like(code_N: np.ndarray, rows: np.ndarray, donors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of some rows a donor with the same code, or any where there is none."""
    ordered = donors[np.argsort(code_N[donors], kind="stable")]
    low = np.searchsorted(code_N[ordered], code_N[rows], side="left")
    high = np.searchsorted(code_N[ordered], code_N[rows], side="right")
    low, high = np.where(high > low, low, 0), np.where(high > low, high, len(ordered))
    return np.asarray(ordered[low + (rng.random(len(rows)) * (high - low)).astype(np.int64)])
