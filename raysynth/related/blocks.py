"""A sample in blocks: some roots with all that descends from them, each block from its own random stream.

How many blocks there are follows from the model and from what is asked for, so rows depend on nothing else: not on who
makes them, nor on whether they are written or kept in memory. Tables of few rows that others match (products, staff)
are made once, and each block gives every one of their rows its share of children.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from raysynth.related.grouping import plain
from raysynth.related.learning import DatabaseModel, TableModel
from raysynth.related.making import Made, Roots, make_tables
from raysynth.related.plan import number_of
from raysynth.related.writing import Output

BLOCK_ROWS = 1_000_000  # of all tables together, about
FEWEST_ROOTS = 500  # rows of a root table in a block; a table of fewer is made once for all blocks


@dataclass(frozen=True)
class Request:
    """What is to be made.

    Args:
        roots: of each root table.
        scale: of rows without a parent.
        seed: of all random streams.
    """

    roots: Mapping[str, Roots]
    scale: float
    seed: int


@dataclass(frozen=True)
class Blocks:
    """The blocks of a sample.

    Args:
        model: of the database.
        request: what is to be made.
        number: of blocks.
        common: names of the tables that are made once.
    """

    model: DatabaseModel
    request: Request
    number: int
    common: frozenset[str]

    @classmethod
    def of(cls, model: DatabaseModel, request: Request) -> Blocks:
        """As many as the expected rows ask for; one where a table that is made once matches one that is not."""
        above = {n: _root_of(n, model.tables) for n in model.tables}
        by_root = {r: request.roots[r].n / max(n, 1) for r, n in model.roots.items()}
        rows = sum(t.n_rows * by_root[above[n]] for n, t in model.tables.items())
        number = max(1, round(rows / BLOCK_ROWS))
        if any(r.conditions is not None or r.given is not None for r in request.roots.values()):
            number = 1
        common = frozenset(n for n, root in above.items() if request.roots[root].n < FEWEST_ROOTS * number)
        crossing: list[object] = [r for n in common for r in model.tables[n].plan.matched if r.parent not in common]
        crossing += [r for n in common for r in model.tables[n].plan.totals if r.child not in common]
        if number == 1 or crossing or len(common) == len(model.tables):
            return cls(model, request, 1, frozenset())
        return cls(model, request, number, common)

    def made_once(self) -> dict[str, Made]:
        """The tables that all blocks share."""
        models = {n: t for n, t in self.model.tables.items() if n in self.common}
        rng = np.random.default_rng([self.request.seed, 0])
        return make_tables(models, self.request.roots, self.request.scale, self._referenced, rng)

    def block(self, index: int, common: Mapping[str, Made]) -> dict[str, Made]:
        """The rows of one block.

        Args:
            index: from 0. common: what `made_once` gave.
        """
        models = {n: t for n, t in self.model.tables.items() if n not in self.common}
        roots = {n: replace(r, n=self._share(r.n, index)) for n, r in self.request.roots.items()}
        shares = {n: self._with_shares(n, made, index) for n, made in common.items()}
        rng = np.random.default_rng([self.request.seed, 1 + index])
        return make_tables(models, roots, self.request.scale / self.number, self._referenced, rng, shares)

    def output(self, made: Mapping[str, Made], common: Mapping[str, Made], first: Mapping[str, int]) -> Output:
        """The user's tables of a block.

        Args:
            made: its rows. common: what all blocks share.
            first: number of each table's first row within the whole sample.
        """
        given = {n: r.given for n, r in self.request.roots.items() if r.given is not None}
        numbers = {n: 0 if n in self.common else first[n] for n in self.model.tables}
        return Output(self.model, {**common, **made}, numbers, given)

    def tables(self) -> dict[str, pa.Table]:
        """All blocks, one below the other."""
        names = self.model.schema.names
        parts: dict[str, list[pa.Table]] = {n: [] for n in names}
        common = self.made_once()
        for index in range(self.number):
            first = {n: sum(part.num_rows for part in parts[n]) for n in names}
            output = self.output(self.block(index, common), common, first)
            once = set() if index == 0 else self.common | set(self.model.references)
            for name in names:
                parts[name] += [] if name in once else [output.table(name)]
        return {n: pa.concat_tables(parts[n]).unify_dictionaries() for n in names}

    @property
    def _referenced(self) -> dict[str, int]:
        return {n: rows.num_rows for n, (rows, _) in self.model.references.items()}

    def _share(self, n: int, index: int) -> int:
        return n * (index + 1) // self.number - n * index // self.number

    def _with_shares(self, name: str, made: Made, index: int) -> Made:
        """A common table whose rows have, of each number of children, the share of this block."""
        rows = made.rows
        rng = np.random.default_rng([self.request.seed, 0, 1])
        for relation in self.model.tables[name].plan.brings:
            if relation.child in self.common:
                continue
            total = plain(rows.column(number_of(relation))).fill_null(0).to_numpy().astype(np.float64)
            start = rng.random(len(total))  # so that not all rows of one child have it in the last block
            low, high = (np.floor(start + total * i / self.number) for i in (index, index + 1))
            place = rows.column_names.index(number_of(relation))
            rows = rows.set_column(place, number_of(relation), pa.array((high - low).astype(np.int64)))
        return replace(made, rows=rows)


def _root_of(name: str, tables: Mapping[str, TableModel]) -> str:
    plan = tables[name].plan
    return name if plan.primary is None else _root_of(plan.primary.parent, tables)
