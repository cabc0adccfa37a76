"""RelationalSynthesizer: several tables with keys between them, learned and made together."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Self

import pyarrow as pa

from raysynth.arguments import check_whole
from raysynth.dp.accounting.ledger import ROW
from raysynth.dp.accounting.odometer import charge_fit
from raysynth.errors import NotFittedError, ParameterError
from raysynth.files.model_file import ModelContent, write_model
from raysynth.methods.fitted import written_by
from raysynth.methods.parameters import OdometerFolder, Parameter, Parameterised, declared
from raysynth.methods.registry import AUTO
from raysynth.running.plain_lines import told
from raysynth.running.stages import collect_stages, stage
from raysynth.schema.relations import DatabaseSchema
from raysynth.schema.table import TableSchema

if TYPE_CHECKING:
    import pandas as pd

    from raysynth.dp.accounting.privacy_spent import PrivacySpent
    from raysynth.dp.mechanisms.noise import NoiseSource
    from raysynth.methods.base import Synthesizer
    from raysynth.related.bounding import Unit
    from raysynth.related.learning import DatabaseModel
    from raysynth.related.making import Roots
    from raysynth.sampling.writer import Manifest

DEFAULT_METHOD, PRIVATE_METHOD = "trees", "bayesian_network"
LEARNED_ROWS = 50_000  # of each table, by a method that has `max_rows`, where `parameters` does not say how many


class RelationalSynthesizer(Parameterised):
    """Several tables with keys between them (parents and children, several parents, composite and nullable keys).

    Tables are made parents first. A parent's row is made together with a summary of its children: how many it has of
    each kind of row, where their numbers lie and which categories are typical, and a code of what these are like,
    learned by clustering. Children are made given their parent's row, the summary, what the parent sees of its own
    ancestors, and a summary of the siblings made before them, or, in a table with an `order` or with a number that
    hardly differs within a family, the row before. Further parents are found by matching on codes. Keys are made anew,
    and foreign keys filled from them, so that every key points to a row. What is protected is the person: a row of a
    root table with all that descends from it counts once for `rare_threshold`.

    With `epsilon` that is a guarantee (`related/bounding.py` has the proof): one row of `root` more or less, with all
    that descends from it. Relations and `caps` are declared, and only methods that count serve.

    After `fit`: `schema_`, the `DatabaseSchema`; `database_`, what was learned; `stages_`; `privacy_spent_`.
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
        Mapping[str, Any] | None,
        Parameter(
            "for the methods of rows that have them, for example {'leaf_rows': 20}; {'rules': 'auto'}, without a "
            "budget: orderings, sums and dependencies that all rows of a table keep are kept"
        ),
    ] = None
    schemas: Annotated[
        Mapping[str, TableSchema | str | os.PathLike[str]] | None,
        Parameter("a `TableSchema`, or the path of its JSON, for some of the tables"),
    ] = None
    dangling: Annotated[
        str,
        Parameter("keys that point to no row: 'error', or 'missing': they are missing", one_of=("error", "missing")),
    ] = "error"
    epsilon: Annotated[
        float | None,
        Parameter("of a guarantee for rows of `root` with all that descends from them; None: no budget", above=0),
    ] = None
    delta: Annotated[float | None, Parameter("of the guarantee", above=0, below=1, under_budget=1e-5)] = None
    root: Annotated[
        str | None, Parameter("with `epsilon`: the table whose rows, each with all below it, are protected")
    ] = None
    caps: Annotated[
        Mapping[str, int] | None,
        Parameter(
            "with `epsilon`: for each table below the root how many rows of one parent count at most, {'orders': 10}; "
            "others are left out, and noise grows with the product along the chain"
        ),
    ] = None
    public_types: Annotated[
        bool, Parameter("with `epsilon`: the types that Parquet and Arrow files store are public")
    ] = False
    odometer: OdometerFolder = None
    seed: Annotated[
        int | None, Parameter("of the fit and of sampling; None draws one", at_least=0, at_most=2**62 - 1)
    ] = None
    verbose: Annotated[bool | int, Parameter("print how each table is made")] = True

    _noise: NoiseSource | None = field(default=None, init=False)  # a seeded one, in tests, voids the guarantee
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
        self._check_parameters()
        self.__dict__.pop("stages_", None)
        unit, is_seeded = self._unit(), self._noise is not None and not self._noise.guarantee
        budget, words = (None, ROW) if unit is None else (unit.budget, unit.words)
        charge_fit(self.odometer, "a fit of RelationalSynthesizer", budget, words, is_seeded=is_seeded)
        seed = secrets.randbits(62) if self.seed is None else int(self.seed)
        with collect_stages() as stages, told(quiet=not self.verbose, only_public=unit is not None):
            self.database_ = self._learned(tables, unit, seed)
        self.stages_ = tuple(stages)
        return self

    def _learned(self, tables: Any, unit: Unit | None, seed: int) -> DatabaseModel:
        """The models of all tables; within a budget nothing is inferred, and no row is checked."""
        from raysynth.data.key_inference import as_database_schema
        from raysynth.data.sources.databases import open_database as open_source
        from raysynth.related.learning import learn
        from raysynth.related.opened import open_tables
        from raysynth.related.private import learn_privately

        with stage("keys"):
            given, known = open_source(tables, private=unit is not None)
            relations = known if self.relations is None else self.relations
            if unit is not None and relations is None:
                raise ParameterError(
                    "under a budget the keys between tables are declared, since inference reads rows; give relations=["
                    "'child.key -> parent.key', ...]"
                )
            schema = as_database_schema(relations, given, verbose=bool(self.verbose))
            schemas, told = self.schemas or {}, bool(self.verbose)
            if unit is not None:
                return learn_privately(given, schema, schemas, unit, self._maker(schema, seed), seed, verbose=told)
            database = open_tables(given, schema, schemas, self.dangling, (self.parameters or {}).get("rules"))
        return learn(database, self._maker(database.schema, seed), seed, told)

    def _unit(self) -> Unit | None:
        """What is protected; None without a budget."""
        from raysynth.related.bounding import unit_of

        return unit_of(self.epsilon, self.delta, self.root, self.caps, self.public_types, self._noise)

    def _check_together(self) -> None:
        self._unit()
        from raysynth.methods.base import Synthesizer

        known = {name for cls in self._classes() for name in declared(cls)}
        of_all, given = dict(declared(Synthesizer)), self.parameters or {}
        if "rules" in given and self.epsilon is None:
            of_all.pop("rules").check(given["rules"])
        if taken := sorted(set(given) & set(of_all)):
            raise ParameterError(
                f"parameters names '{taken[0]}', which is no parameter of rows alone; leave it out there"
            )
        if unknown := sorted(set(given) - known):
            raise ParameterError(f"parameters names '{unknown[0]}', which none of the methods of rows has")

    def _classes(self) -> tuple[type[Synthesizer], type[Synthesizer]]:
        """The methods of root tables and of the others; raises `ParameterError` for one that cannot complete rows."""
        from raysynth.methods.registry import synthesizer_class

        names = (self.method, self.method if self.child_method is None else self.child_method)
        is_private = self.epsilon is not None
        default = PRIVATE_METHOD if is_private else DEFAULT_METHOD
        root, child = (synthesizer_class(default if name == AUTO else name) for name in names)
        for cls in (root, child):
            if is_private and cls.method != PRIVATE_METHOD:
                raise ParameterError(
                    f"method '{cls.method}' has no privacy budget over several tables: what a person's rows in all of "
                    f"them change is proved for counts alone; take '{PRIVATE_METHOD}', or leave out epsilon"
                )
            if not is_private and not getattr(cls, "completes_rows", False):
                raise ParameterError(
                    f"method '{cls.method}' cannot complete rows of which some columns are given, as several tables "
                    "need; take 'trees' or 'autoregressive'"
                )
        return root, child

    def _maker(self, schema: DatabaseSchema, seed: int) -> Callable[..., Synthesizer]:
        root, child = self._classes()

        def make(name: str, settings: Mapping[str, Any] | None = None) -> Synthesizer:
            cls = child if schema.parents_of(name) else root
            chosen = {"max_rows": LEARNED_ROWS, **(settings or {}), **(self.parameters or {}), "rules": "none"}
            own = {k: v for k, v in chosen.items() if k in declared(cls)}
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
        """`sample` (`scale`, `seed`, `conditions`, `rows`) as Arrow tables, text as dictionary codes."""
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
            ParameterError: a name is no root table. SchemaError: a column is missing, or of another type. DataError:
                a key that children are to point to repeats.
        """
        from raysynth.data.table import as_table
        from raysynth.related.making import Roots
        from raysynth.related.writing import fitting

        roots = self._roots(scale, None, dict.fromkeys(parents, 0))
        for name, rows in parents.items():
            given = fitting(as_table(rows, min_rows=0).to_arrow(), name, self.database_)
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
        """Write the rows of `sample`, a folder of Parquet a table, block by block; started again what is missing.

        Args:
            path: folder; made where missing. A folder that holds another run is refused.
            scale, seed, conditions, rows: as in `sample`.
            compression: of the Parquet pages ('zstd', 'snappy', 'none' ...).

        Raises `StorageError`: the disk is full, or the folder holds another run; finished files stay.
        """
        from raysynth.files.storage import place
        from raysynth.related.writing import Blocks, FolderPlan, Request, opened, write_folder

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
        from raysynth.related.writing import Blocks, Request

        with told(quiet=not self.verbose):
            return Blocks.of(self.database_, Request(roots, scale, self._sampling_seed(seed))).tables()

    def _frames(self, tables: Mapping[str, pa.Table]) -> dict[str, pd.DataFrame]:
        from raysynth.sampling.frame import to_frame

        return {n: to_frame(tables[n], self.table_schema(n)) for n in tables}

    def table_schema(self, name: str) -> TableSchema:
        """The columns of the table `name`; raises `NotFittedError` or `SchemaError`."""
        self._require_fitted()
        return self.database_.columns(name)

    @property
    def privacy_spent_(self) -> PrivacySpent | None:
        """The ledger of all tables and its total; None without a budget. Raises `NotFittedError`."""
        self._require_fitted()
        return self.database_.privacy_spent

    @property
    def schema_(self) -> DatabaseSchema:
        """Tables and keys; raises `NotFittedError`."""
        self._require_fitted()
        return self.database_.declared

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
                raise ParameterError(f"'{name}' is no root table; ask for rows of these: {', '.join(known)}")
        for name, n in (rows or {}).items():
            check_whole(f"rows['{name}']", n, 0)
        return {
            name: Roots(int((rows or {}).get(name, max(1, round(n * scale)))), (conditions or {}).get(name))
            for name, n in known.items()
        }

    def _sampling_seed(self, seed: int | None) -> int:
        chosen = seed if seed is not None else self.seed
        declared(type(self))["seed"].check(chosen)
        return secrets.randbits(62) if chosen is None else int(chosen)

    def _require_fitted(self) -> None:
        if not hasattr(self, "stages_"):
            raise NotFittedError("this RelationalSynthesizer is not fitted; call fit(tables) first")

    # ---- save --------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, `path`: a zip of JSON and safetensors, at once; raises `NotFittedError`, `StorageError`."""
        self._require_fitted()
        write_model(path, self._content())

    def _content(self) -> ModelContent:
        from raysynth.related.state import to_content

        left_out = {"relations", "schemas", "parameters", "odometer"}
        return to_content(self.database_, {k: v for k, v in self.get_params().items() if k not in left_out})

    @classmethod
    def _from_content(cls, content: ModelContent) -> Self:
        from raysynth.related.state import from_content

        model = cls(**content.meta["parameters"])
        model._check_parameters()
        model.database_, model.stages_, model.versions_ = from_content(content), (), written_by(content)
        model.sample_arrow(rows=dict.fromkeys(model.database_.roots, 2), seed=0)  # parts that do not fit are found now
        return model
