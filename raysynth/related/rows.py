"""The rows of one table given what is known of them: a model of the table behind columns that are given.

Any table method whose generator completes encoded rows serves (`generate_given`: trees, autoregressive). The given
columns are columns of the learned table like the others; their values leave nothing but codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.errors import ConstraintError, ModelFileError
from raysynth.files.model_file import ModelContent, under
from raysynth.methods.base import Synthesizer
from raysynth.methods.registry import model_from_content
from raysynth.related.grouping import codes, is_shared
from raysynth.sampling.chunks import SamplingModel, assemble
from raysynth.sampling.frame import one_torch_thread, worker_threads
from raysynth.sampling.persons import TRIES, until_kept
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints import ConstraintSet
from raysynth.schema.constraints.base import one_array
from raysynth.schema.table import TableSchema

PERSONS = "number of the person"  # the column that says whose each row is
CHUNK_ROWS = 32_768  # rows that one thread makes at once


@dataclass(frozen=True)
class RowModel:
    """A fitted model of some columns of a table given others.

    Args:
        synthesizer: fitted to all of them.
        given: names of the columns that rows are completed from.
    """

    synthesizer: Synthesizer
    given: tuple[str, ...]

    @classmethod
    def learn(
        cls,
        make: Callable[[], Synthesizer],
        columns: Mapping[str, pa.Array | pa.ChunkedArray],
        schema: TableSchema,
        given: tuple[str, ...],
        persons: np.ndarray | None,
    ) -> RowModel:
        """Fit a new synthesizer to a table.

        Args:
            make: an unfitted one, of a method whose `completes_rows` is True.
            columns: of the table, given ones and others.
            schema: what is known of them.
            given: names; categories of which too few persons share any are left out.
            persons: whose each row is; None: each row is a person's only one.

        Raises:
            DataError, SchemaError: as `Synthesizer.fit`.
        """
        synthesizer = make()
        person_N = np.arange(len(next(iter(columns.values())))) if persons is None else persons
        discrete = [c.name for c in schema.columns if c.name in given and c.kind.is_discrete]
        lost = {n for n in discrete if not is_shared(codes(columns[n])[0], person_N, schema.rare_threshold)}
        given = tuple(n for n in given if n not in lost)
        schema = replace(schema, columns=tuple(c for c in schema.columns if c.name not in lost))
        if persons is not None:  # a number that follows the order of rows, of which nothing is to be learned
            whose = ColumnSchema(PERSONS, Kind.IDENTIFIER, "int64", in_order=False)
            schema = replace(schema, columns=(*schema.columns, whose))
        synthesizer.set_params(schema=schema)
        if hasattr(synthesizer, "_given"):
            synthesizer._given = given
        rows = {n: values for n, values in columns.items() if n not in lost}
        if persons is not None:
            rows[PERSONS] = pa.array(persons)
            synthesizer.set_params(entity=PERSONS)
        synthesizer.fit(pa.table(rows))
        return cls(synthesizer, given)

    def draw(self, given: pa.Table, n: int, rng: np.random.Generator) -> pa.Table:
        """n rows of the other modelled columns.

        Args:
            given: n rows with the columns `self.given`. rng: the only source of randomness.

        Raises:
            ConstraintError: too few rows satisfy the constraints of the table's schema.
        """
        if n == 0:
            return self.nothing()
        starts = range(0, n, CHUNK_ROWS)
        sizes = [min(CHUNK_ROWS, n - start) for start in starts]
        work = [
            (given.slice(a, size), size, s) for a, size, s in zip(starts, sizes, rng.spawn(len(sizes)), strict=True)
        ]
        with one_torch_thread(), ThreadPoolExecutor(min(worker_threads(), len(work))) as pool:
            parts = list(pool.map(lambda w: self._chunk(*w), work))
        return pa.concat_tables(parts).unify_dictionaries().combine_chunks()

    def conditioned(self, n: int, conditions: Any, seed: int) -> pa.Table:
        """n rows that satisfy conditions (see `Synthesizer.sample`), in the form of `draw`; for models without context.

        Raises `ConditionError`.
        """
        rows = self.synthesizer.sample_arrow(n, conditions, seed)
        columns = {"": pa.nulls(rows.num_rows)}
        for column in self.synthesizer._fitted().encoder.columns:
            values = one_array(rows.column(column.name))
            columns[column.name] = values if column.kind.is_modelled else values.is_valid()
        return pa.table(columns)

    def completed(self, rows: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Some rows with the columns that they lack drawn, in the form of `draw`; for models without context.

        The columns that are there must be the first ones of the model.
        """
        model, known = self.synthesizer._fitted(), []
        codes_NC = np.zeros((rows.num_rows, len(model.encoder.columns)), np.uint16)
        for i, column in enumerate(model.encoder.columns):
            if column.name in rows.column_names and column.kind.is_modelled:
                codes_NC[:, i] = column.encode(one_array(rows.column(column.name)))[0]
                known.append(i)
        generator: Any = model.generator
        made = self._decoded(model, generator.generate_given(codes_NC, known, rng), rng)
        for name in (model.encoder.columns[i].name for i in known):
            made = made.set_column(made.column_names.index(name), name, one_array(rows.column(name)))
        return made

    def nothing(self) -> pa.Table:
        """No rows of the columns that `draw` makes."""
        model, rng = self.synthesizer._fitted(), np.random.default_rng(0)
        codes_NC = np.zeros((0, len(model.encoder.columns)), np.uint16)
        return self._decoded(model, codes_NC, rng)

    def _chunk(self, given: pa.Table, n: int, rng: np.random.Generator) -> pa.Table:
        model = self.synthesizer._fitted()
        rows = self._tried(model, given, n, rng)
        if not isinstance(model.rules, ConstraintSet):
            return rows
        rules = model.rules.without_weights(self.given)  # rows of one parent are weighed against each other alone
        rows, held, _ = until_kept(
            rows, lambda at: self._tried(model, given.take(pa.array(at)), len(at), rng), rules, rng
        )
        if held.all():
            return rows
        raise ConstraintError(
            f"{int((~held).sum()):,} of {n:,} rows broke the constraints of their table {TRIES} times; relax them, or "
            "declare a constraint that is met by construction"
        )

    def _tried(self, model: SamplingModel, given: pa.Table, n: int, rng: np.random.Generator) -> pa.Table:
        encoder, known = model.encoder, []
        codes_NC = np.zeros((n, len(encoder.columns)), np.uint16)
        for i, column in enumerate(encoder.columns):
            if column.name in self.given:
                codes_NC[:, i] = column.encode(one_array(given.column(column.name)))[0]
                known.append(i)
        generator: Any = model.generator
        if n:  # whole rows are spread evenly, and keep the table's shares
            codes_NC = generator.generate_given(codes_NC, known, rng) if known else generator.generate(n, rng).codes_NC
        return self._decoded(model, codes_NC, rng)

    def _decoded(self, model: SamplingModel, codes_NC: np.ndarray, rng: np.random.Generator) -> pa.Table:
        """The columns that are not given; the column without a name keeps the number of rows where there are none."""
        drawn: list[tuple[int, Any]] = [(i, c) for i, c in enumerate(model.encoder.columns) if c.name not in self.given]
        columns = {c.name: c.decode(codes_NC[:, i], None, rng, None) for i, c in drawn}
        rows = pa.table({"": pa.nulls(len(codes_NC)), **columns})
        return rows if model.rules is None else model.rules.inverse(rows, rng)

    def finished(self, rows: pa.Table, column: ColumnSchema, first_row: int) -> pa.Array | pa.ChunkedArray:
        """A column as the user's table has it, from drawn ones: personal data is made for the row numbers."""
        model = self.synthesizer._fitted()
        return assemble(rows, TableSchema((column,)), model.regenerators, model.key, first_row).column(column.name)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and named arrays that `from_state` reads."""
        content = self.synthesizer._content()
        return {"given": list(self.given), "content": content.meta}, {
            f"content.{k}": a for k, a in content.arrays.items()
        }

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> RowModel:
        """The inverse of `to_state`; raises `ModelFileError`, or what a damaged file raises."""
        model = model_from_content(ModelContent(meta["content"], under("content.", arrays)))
        if not hasattr(model._generator(), "generate_given"):
            raise ModelFileError(f"the model file makes rows by '{model.method}', which cannot complete any; refit it")
        return cls(model, tuple(meta["given"]))
