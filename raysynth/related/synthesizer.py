"""RelationalSynthesizer: several tables with keys between them, learned and made together."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Self

import pyarrow as pa

from raysynth.errors import NotFittedError, ParameterError, SchemaError
from raysynth.files.model_file import ModelContent, write_model
from raysynth.fitting.checks import check_whole
from raysynth.methods.fitted import written_by
from raysynth.methods.parameters import Parameter, Parameterised, declared
from raysynth.methods.registry import AUTO
from raysynth.related.grouping import plain
from raysynth.running.plain_lines import told
from raysynth.running.stages import collect_stages, stage
from raysynth.schema.relations import DatabaseSchema
from raysynth.schema.table import TableSchema

if TYPE_CHECKING:
    import pandas as pd

    from raysynth.methods.base import Synthesizer
    from raysynth.related.learning import DatabaseModel
    from raysynth.related.making import Roots
    from raysynth.sampling.writer import Manifest

DEFAULT_METHOD = "trees"


class RelationalSynthesizer(Parameterised):
    """Several tables with keys between them (parents and children, several parents, composite and nullable keys).

    Tables are made parents first. A parent's row is made together with a summary of its children: how many it has of
    each kind of row, where their numbers lie and which categories are typical, and a code of what these are like,
    learned by clustering. Children are made given their parent's row, the summary, what the parent sees of its own
    ancestors, and a summary of the siblings made before them, or, in a table with an `order` or with a number that
    hardly differs within a family, the row before. Further parents are found by matching on codes. Keys are made anew,
    and foreign keys filled from them, so that every key points to a row. What is protected is the person: a row of a
    root table with all that descends from it counts once for `rare_threshold`.

    After `fit`: `schema_`, the `DatabaseSchema`; `database_`, what was learned of each table; `stages_`.
    """

    relations: Annotated[
        DatabaseSchema | Sequence[str] | str | os.PathLike[str] | None,
        Parameter(
            "a `DatabaseSchema`, the path of its JSON, or a list of 'child.key -> parent.key'; None: inferred from "
            "names and values, and printed"
        ),
    ] = None
    method: Annotated[str, Parameter("of rows: 'auto', 'trees' or 'autoregressive', or one that completes rows")] = AUTO
    child_method: Annotated[str | None, Parameter("of rows of tables with a parent; None: as `method`")] = None
    parameters: Annotated[
        Mapping[str, Any] | None, Parameter("for the methods of rows that have them, for example {'leaf_rows': 20}")
    ] = None
    schemas: Annotated[
        Mapping[str, TableSchema | str | os.PathLike[str]] | None,
        Parameter("a `TableSchema`, or the path of its JSON, for some of the tables"),
    ] = None
    dangling: Annotated[
        str,
        Parameter(
            "keys that point to no row: 'error', or 'missing' to take them for missing", one_of=("error", "missing")
        ),
    ] = "error"
    epsilon: Annotated[float | None, Parameter("not in this version: several tables have no privacy budget")] = None
    seed: Annotated[
        int | None, Parameter("of the fit and of sampling; None draws one", at_least=0, at_most=2**62 - 1)
    ] = None
    verbose: Annotated[bool | int, Parameter("print how each table is made")] = True

    database_: DatabaseModel = field(init=False)
    versions_: dict[str, str] | None = field(default=None, init=False)  # of the software that wrote the model's file

    # ---- fit ---------------------------------------------------------------------------------------------------------

    def fit(self, tables: Mapping[str, Any] | str | os.PathLike[str]) -> Self:
        """Learn the tables of a database.

        Args:
            tables: by name, each in any form that `Synthesizer.fit` takes; or what `open_database` takes: a folder of
                files, an SQLite or DuckDB file.

        Raises:
            DataError, SchemaError, ParameterError: name the table and the column, and say what to do.
        """
        from raysynth.data.key_inference import as_database_schema
        from raysynth.data.sources.databases import open_database as open_source
        from raysynth.related.learning import learn
        from raysynth.related.opened import open_tables

        self._check_parameters()
        self.__dict__.pop("stages_", None)
        with collect_stages() as stages, told(quiet=not self.verbose):
            with stage("keys"):
                given, known = open_source(tables)
                relations = known if self.relations is None else self.relations
                schema = as_database_schema(relations, given, verbose=bool(self.verbose))
                database = open_tables(given, schema, self.schemas or {}, self.dangling)
            seed = secrets.randbits(62) if self.seed is None else int(self.seed)
            self.database_ = learn(database, self._maker(database.schema, seed), seed, bool(self.verbose))
        self.stages_ = tuple(stages)
        return self

    def _check_together(self) -> None:
        if self.epsilon is not None:
            raise ParameterError(
                "RelationalSynthesizer has no privacy budget in this version: the noise of a person with many rows in "
                "several tables is not accounted for; leave out epsilon, or fit each table alone with a privacy_unit"
            )
        from raysynth.methods.base import Synthesizer

        known = {name for cls in self._classes() for name in declared(cls)}
        if taken := sorted(set(self.parameters or {}) & set(declared(Synthesizer))):
            raise ParameterError(
                f"parameters names '{taken[0]}', which is no parameter of rows alone; leave it out there"
            )
        if unknown := sorted(set(self.parameters or {}) - known):
            raise ParameterError(f"parameters names '{unknown[0]}', which none of the methods of rows has")

    def _classes(self) -> tuple[type[Synthesizer], type[Synthesizer]]:
        """The methods of root tables and of the others; raises `ParameterError` for one that cannot complete rows."""
        from raysynth.methods.registry import synthesizer_class

        names = (self.method, self.method if self.child_method is None else self.child_method)
        root, child = (synthesizer_class(DEFAULT_METHOD if name == AUTO else name) for name in names)
        for cls in (root, child):
            if not getattr(cls, "completes_rows", False):
                raise ParameterError(
                    f"method '{cls.method}' cannot complete rows of which some columns are given, as several tables "
                    "need; take 'trees' or 'autoregressive'"
                )
        return root, child

    def _maker(self, schema: DatabaseSchema, seed: int) -> Callable[[str], Synthesizer]:
        root, child = self._classes()

        def make(name: str) -> Synthesizer:
            cls = child if schema.parents_of(name) else root
            own = {k: v for k, v in (self.parameters or {}).items() if k in declared(cls)}
            return cls(**own, seed=(seed + schema.names.index(name)) % 2**62, verbose=False)

        return make

    # ---- sample ------------------------------------------------------------------------------------------------------

    def sample(
        self,
        scale: float = 1.0,
        seed: int | None = None,
        conditions: Mapping[str, Any] | None = None,
        rows: Mapping[str, int] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Synthetic tables; the same (model, seed, scale, conditions, rows) gives the same rows.

        Args:
            scale: rows of the root tables by those that were learned from; tables below follow.
            seed: 0 .. 2^62; None takes the constructor's, else a fresh one.
            conditions: for some root tables, {table: {column: value, [values] or (low, high)}}; what descends from
                their rows follows.
            rows: of some root tables, instead of `scale`.

        Raises:
            ParameterError: scale is no positive number, or a name in `rows` or `conditions` is no root table.
            ConditionError: outside the domain, or too rare.
        """
        return self._frames(self.sample_arrow(scale, seed, conditions, rows))

    def sample_arrow(
        self,
        scale: float = 1.0,
        seed: int | None = None,
        conditions: Mapping[str, Any] | None = None,
        rows: Mapping[str, int] | None = None,
    ) -> dict[str, pa.Table]:
        """As `sample`, as Arrow tables (text as dictionary codes)."""
        return self._made(self._roots(scale, conditions, rows), scale, seed)

    def sample_children(
        self, parents: Mapping[str, pd.DataFrame | pa.Table], seed: int | None = None, scale: float = 1.0
    ) -> dict[str, pd.DataFrame]:
        """All tables, where the rows of some root tables are given and stay as they are: their children are new.

        Args:
            parents: rows of root tables, with all of their columns.
            seed: as in `sample`.
            scale: of the other root tables.

        Raises:
            ParameterError: a name is no root table. SchemaError: a column is missing, or of another type.
        """
        from raysynth.data.table import as_table
        from raysynth.related.making import Roots

        roots = self._roots(scale, None, dict.fromkeys(parents, 0))
        for name, rows in parents.items():
            given = self._fitting(name, as_table(rows, min_rows=0).to_arrow())
            roots[name] = Roots(given.num_rows, given=given)
        return self._frames(self._made(roots, scale, seed))

    def sample_to(
        self,
        path: str | os.PathLike[str],
        scale: float = 1.0,
        seed: int | None = None,
        conditions: Mapping[str, Any] | None = None,
        rows: Mapping[str, int] | None = None,
        *,
        compression: str = "zstd",
    ) -> Manifest:
        """Write a folder of Parquet for each table, block by block; started again it writes what is missing.

        The rows are those of `sample`.

        Args:
            path: folder; made where missing. A folder that holds another run is refused.
            scale, seed, conditions, rows: as in `sample`.
            compression: of the Parquet pages ('zstd', 'snappy', 'none' ...).

        Raises `StorageError` where the disk is full or the folder holds another run; finished files stay.
        """
        from raysynth.files.storage import place
        from raysynth.related.blocks import Blocks, Request
        from raysynth.related.folder import FolderPlan, opened, write_folder

        roots = self._roots(scale, conditions, rows)
        asked = repr((float(scale), sorted((rows or {}).items()), conditions))
        chosen = seed if seed is not None else self.seed
        folder = place(path)
        plan = FolderPlan(self._content().digest(), -1 if chosen is None else chosen, asked, compression)
        plan = opened(folder, plan, any_seed=chosen is None)
        with told(quiet=not self.verbose):
            return write_folder(Blocks.of(self.database_, Request(roots, scale, plan.seed)), folder, plan)

    def sample_database(
        self,
        target: str | os.PathLike[str],
        scale: float = 1.0,
        seed: int | None = None,
        conditions: Mapping[str, Any] | None = None,
        rows: Mapping[str, int] | None = None,
    ) -> None:
        """Write the tables of `sample` with types, primary and foreign keys into a database.

        Args:
            target: an SQLite or DuckDB file that is new or empty ('shop.db', 'sqlite:///shop.db', 'shop.duckdb').
            scale, seed, conditions, rows: as in `sample`.

        Raises:
            ParameterError: the target is no such file, or holds tables. StorageError: it cannot be written.
        """
        from raysynth.data.sources.databases import check_empty, write_database

        check_empty(target)
        write_database(self.sample_arrow(scale, seed, conditions, rows), self.schema_, target)

    def _made(self, roots: Mapping[str, Roots], scale: float, seed: int | None) -> dict[str, pa.Table]:
        """All blocks, one below the other."""
        from raysynth.related.blocks import Blocks, Request

        blocks = Blocks.of(self.database_, Request(roots, scale, self._sampling_seed(seed)))
        names = self.schema_.names
        parts: dict[str, list[pa.Table]] = {n: [] for n in names}
        with told(quiet=not self.verbose):
            common = blocks.made_once()
            for index in range(blocks.number):
                first = {n: sum(part.num_rows for part in parts[n]) for n in names}
                output = blocks.output(blocks.block(index, common), common, first)
                once = set() if index == 0 else blocks.common | set(self.database_.references)
                for name in names:
                    parts[name] += [] if name in once else [output.table(name)]
        return {n: pa.concat_tables(parts[n]).unify_dictionaries() for n in names}

    def _frames(self, tables: Mapping[str, pa.Table]) -> dict[str, pd.DataFrame]:
        from raysynth.sampling.frame import to_frame

        return {n: to_frame(tables[n], self.table_schema(n)) for n in tables}

    def table_schema(self, name: str) -> TableSchema:
        """The columns of one table; raises `NotFittedError` or `SchemaError`."""
        self._require_fitted()
        return self.database_.columns(name)

    @property
    def schema_(self) -> DatabaseSchema:
        """Tables and keys; raises `NotFittedError`."""
        self._require_fitted()
        return self.database_.schema

    def _roots(
        self, scale: float, conditions: Mapping[str, Any] | None, rows: Mapping[str, int] | None
    ) -> dict[str, Roots]:
        """What is asked for of each root table."""
        from raysynth.related.making import Roots

        self._require_fitted()
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < float("inf"):
            raise ParameterError(f"scale must be a number above 0; found {scale!r}")
        known = self.database_.roots
        for name in (*(rows or {}), *(conditions or {})):
            if name not in known:
                raise ParameterError(
                    f"'{name}' is no root table, whose rows can be asked for; these are: {', '.join(known)}"
                )
        for name, n in (rows or {}).items():
            check_whole(f"rows['{name}']", n, 0)
        return {
            name: Roots(int((rows or {}).get(name, max(1, round(n * scale)))), (conditions or {}).get(name))
            for name, n in known.items()
        }

    def _fitting(self, name: str, rows: pa.Table) -> pa.Table:
        """Given rows of a table with its columns and types; raises `SchemaError`."""
        arrays = {}
        for column in self.table_schema(name).columns:
            if column.name not in rows.column_names:
                raise SchemaError(f"table '{name}': the given rows lack column '{column.name}'")
            wanted = column.as_modelled()
            if column.date_format is not None:
                raise SchemaError(f"table '{name}': column '{column.name}' holds dates as text; give them as dates")
            try:
                arrays[column.name] = plain(rows.column(column.name)).cast(wanted.arrow_type)
            except pa.ArrowException as error:
                raise SchemaError(f"table '{name}': column '{column.name}' is no {column.dtype} ({error})") from error
        return pa.table(arrays)

    def _sampling_seed(self, seed: int | None) -> int:
        seed = seed if seed is not None else self.seed
        if seed is None:
            return secrets.randbits(62)
        declared(type(self))["seed"].check(seed)
        return int(seed)

    def _require_fitted(self) -> None:
        if not hasattr(self, "stages_"):
            raise NotFittedError("this RelationalSynthesizer is not fitted; call fit(tables) first")

    # ---- save --------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, whatever its ending: a zip of JSON and safetensors (no pickle), atomically.

        Raises `NotFittedError` before `fit`, `StorageError` where the file cannot be written.
        """
        self._require_fitted()
        write_model(path, self._content())

    def _content(self) -> ModelContent:
        from raysynth.related.state import to_content

        left_out = {"relations", "schemas", "parameters"}
        return to_content(self.database_, {k: v for k, v in self.get_params().items() if k not in left_out})

    @classmethod
    def _from_content(cls, content: ModelContent) -> Self:
        from raysynth.related.state import from_content

        model = cls(**content.meta["parameters"])
        model._check_parameters()
        model.database_, model.stages_, model.versions_ = from_content(content), (), written_by(content)
        model.sample_arrow(rows=dict.fromkeys(model.database_.roots, 2), seed=0)  # parts that do not fit are found now
        return model
