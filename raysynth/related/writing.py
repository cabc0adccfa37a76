"""Made rows as the user's tables: keys are made, foreign keys taken from parents, copies and totals computed.

A sample is made in blocks: some roots with all that descends from them, each block from its own random stream. How many
blocks there are follows from the model and from what is asked for, so rows depend on nothing else: not on who makes
them, nor on whether they are written or kept in memory. Tables of few rows that others match (products, staff) are made
once, and each block gives every one of their rows its share of children.

It is kept in memory, or written as a folder of Parquet for each table, block by block; resumable, as that of one table.

    folder/TABLE/part-00000.parquet     the rows of a block
    folder/_raysynth/part-00000.json    one finished block: rows, bytes and SHA-256 of its files
    folder/_raysynth/manifest.json      all of them, written last

Only one block is in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from raysynth.data.keys import check_unique
from raysynth.data.table import as_table
from raysynth.errors import ModelFileError, ParameterError, SchemaError
from raysynth.files.storage import Place
from raysynth.related.distinct import told_over_all
from raysynth.related.grouping import numbers, plain, take_or_null
from raysynth.related.learning import DatabaseModel, TableModel
from raysynth.related.making import Made, Roots, make_tables
from raysynth.related.plan import number_of
from raysynth.running.progress import progress
from raysynth.running.stages import stage
from raysynth.sampling.parquet_files import FileRecord, write_part
from raysynth.sampling.writer import (
    COMPRESSIONS,
    RECORDS,
    Manifest,
    file_schema,
    finished_parts,
    open_folder,
    part_name,
    write_record,
)
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.base import one_array
from raysynth.schema.relations import CrossTableRule, Relation


@dataclass
class Output:
    """The tables of one block of made rows, column by column: a column may follow from those of other tables.

    Args:
        model: of the database. made: rows of its tables.
        first: number of the first row of each table within the whole output.
        given: tables whose columns are taken as they are, instead of being made.
    """

    model: DatabaseModel
    made: Mapping[str, Made]
    first: Mapping[str, int]
    given: Mapping[str, pa.Table] = field(default_factory=dict)
    _known: dict[tuple[str, str], pa.Array] = field(default_factory=dict)

    def table(self, name: str) -> pa.Table:
        """One table, its columns in the user's order and types."""
        columns = self.model.columns(name).columns
        return pa.table({c.name: self._typed(self.column(name, c.name), c) for c in columns})

    def column(self, name: str, column: str) -> pa.Array:
        """One column of a table."""
        if name in self.model.references:
            return one_array(self.model.references[name][0].column(column))
        if name in self.given:
            return one_array(self.given[name].column(column))
        if (name, column) not in self._known:
            self._known[name, column] = one_array(self._made(self.model.tables[name], column))
        return self._known[name, column]

    def _typed(self, values: pa.Array, column: ColumnSchema) -> pa.Array:
        type_ = column.arrow_type
        is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
        if is_text:
            text = values if pa.types.is_dictionary(values.type) else values.cast(type_).dictionary_encode()
            return text.cast(pa.dictionary(pa.int32(), pa.string()))
        return plain(values).cast(type_)

    def _made(self, model: TableModel, column: str) -> pa.Array | pa.ChunkedArray:
        plan, made = model.plan, self.made[model.plan.name]
        if column in model.keys:
            return model.keys[column].values(self.first[plan.name], made.n, self.model.key)
        for relation, parent_N in made.parents.items():
            if column in relation.child_key:
                theirs = relation.parent_key[relation.child_key.index(column)]
                return take_or_null(self.column(relation.parent, theirs), parent_N)
        if column in plan.copies:
            assert plan.primary is not None
            copied = self.column(plan.primary.parent, plan.copies[column])
            return take_or_null(copied, made.parents[plan.primary])
        for rule in plan.totals:
            if column == rule.parent_column:
                return self._total(rule, model.schema[column], made.n)
        if model.line is not None and column == model.line[0]:
            return pa.array(made.place + model.line[1])
        if model.model is None:
            raise ModelFileError(f"the model file has nothing to make column '{column}' of '{plan.name}'; refit it")
        return model.model.finished(made.rows, model.schema[column], self.first[plan.name])

    def _total(self, rule: CrossTableRule, column: ColumnSchema, n: int) -> pa.Array:
        """Number of the children of each row, or the sum of one of their columns."""
        relation = next(r for r in self.made[rule.child].parents if r.parent == rule.parent and _is_meant(rule, r))
        parent_N = self.made[rule.child].parents[relation]
        there = np.flatnonzero(parent_N >= 0)
        if rule.kind == "count":
            return pa.array(np.bincount(parent_N[there], minlength=n)).cast(column.arrow_type)
        x = np.nan_to_num(numbers(self.column(rule.child, rule.child_column)))[there]
        total = np.bincount(parent_N[there], weights=x, minlength=n)
        decimals = self.model.tables[rule.child].schema[rule.child_column].decimals
        if pa.types.is_integer(column.arrow_type) or decimals is not None:
            total = np.round(total, decimals or 0)
        return pa.array(total).cast(column.arrow_type, safe=False)


def _is_meant(rule: CrossTableRule, relation: Relation) -> bool:
    return not rule.child_key or rule.child_key == relation.child_key


def fitting(rows: pa.Table, name: str, model: DatabaseModel) -> pa.Table:
    """Given rows of a table with its columns and types; raises `SchemaError`, and `DataError` where keys repeat."""
    arrays = {}
    for column in model.columns(name).columns:
        if column.name not in rows.column_names:
            raise SchemaError(f"table '{name}': the given rows lack column '{column.name}'")
        wanted = column.as_modelled()
        if column.date_format is not None:
            raise SchemaError(f"table '{name}': column '{column.name}' holds dates as text; give them as dates")
        try:
            arrays[column.name] = plain(rows.column(column.name)).cast(wanted.arrow_type)
        except pa.ArrowException as error:
            raise SchemaError(f"table '{name}': column '{column.name}' is no {column.dtype} ({error})") from error
    table, schema = as_table(pa.table(arrays), min_rows=0), model.declared
    for key in {r.parent_key for r in schema.children_of(name)} | ({schema[name].primary_key} - {()}):
        check_unique(schema[name], key, table)
    return pa.table(arrays)


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
        """As many as the expected rows ask for; one where a table that is made once matches one that is not.

        Tables with keys that tell the rows of all blocks apart are made once.
        """
        above = {n: _root_of(n, model.tables) for n in model.tables}
        by_root = {r: request.roots[r].n / max(n, 1) for r, n in model.roots.items()}
        rows = sum(t.n_rows * by_root[above[n]] for n, t in model.tables.items())
        number = max(1, round(rows / BLOCK_ROWS))
        if any(r.conditions is not None or r.given is not None for r in request.roots.values()):
            number = 1
        whole = {above[n] for n, t in model.tables.items() if told_over_all(t)}
        few = {root for root, asked in request.roots.items() if asked.n < FEWEST_ROOTS * number}
        common = frozenset(n for n, root in above.items() if root in whole | few)
        found = [r for n in common for r in (*model.tables[n].plan.matched, *model.tables[n].plan.located)]
        crossing: list[object] = [r for r in found if r.parent not in common]
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


ROW_GROUP_ROWS = 65_536


@dataclass(frozen=True)
class FolderPlan:
    """What is being written.

    Args:
        model: digest of the model's content. seed: of the sample.
        asked: scale, rows and conditions, as text.
        compression: of the pages.
    """

    model: str
    seed: int
    asked: str
    compression: str
    format_version: int = 1


def check_compression(compression: str) -> None:
    """Raise `ParameterError` for one that is not known."""
    if compression not in COMPRESSIONS:
        raise ParameterError(f"compression {compression!r} is not known; valid: {', '.join(COMPRESSIONS)}")


def opened(folder: Place, asked: FolderPlan, any_seed: bool) -> FolderPlan:
    """The folder's plan: the one on disk where it fits what is asked for, else a new one; raises `StorageError`."""
    check_compression(asked.compression)
    return open_folder(folder, asked, any_seed)


def write_folder(blocks: Blocks, folder: Place, plan: FolderPlan) -> Manifest:
    """Write the blocks that are missing, and the reference tables; raises `StorageError`."""
    records: list[FileRecord] = []
    first: Counter[str] = Counter(dict.fromkeys(blocks.model.schema.names, 0))
    with stage("sampling") as done, progress("writing blocks", blocks.number, public=True) as advance:
        common, finished = blocks.made_once(), finished_parts(folder, blocks.number)
        for index in range(blocks.number):
            files = finished.get(index)
            if files is None:
                output = blocks.output(blocks.block(index, common), common, first)
                once = set() if index == 0 else blocks.common | set(blocks.model.references)
                names = [n for n in blocks.model.schema.names if n not in once]
                files = tuple(_write(folder, n, index, output.table(n), plan, blocks) for n in names)
                write_record(folder / RECORDS / f"{part_name(index)}.json", {"files": [asdict(f) for f in files]})
            for file in files:
                first[PurePosixPath(file.name).parent.name] += file.rows
            records += files
            advance(1)
        done.rows, done.bytes = sum(f.rows for f in records), sum(f.bytes for f in records)
    manifest = Manifest(plan.model, plan.seed, done.rows, tuple(records))
    write_record(folder / RECORDS / "manifest.json", asdict(manifest))
    return manifest


def _write(folder: Place, name: str, index: int, rows: pa.Table, plan: FolderPlan, blocks: Blocks) -> FileRecord:
    (file,) = write_part(
        folder,
        f"{name}/{part_name(index)}.parquet",
        [rows],
        file_schema(blocks.model.columns(name)),
        compression=plan.compression,
        row_group_rows=ROW_GROUP_ROWS,
    )
    return file
