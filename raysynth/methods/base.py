"""The one base class of all synthesizers: fit, sample, save; a method fills in four hooks."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd

from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.encoding.table_encoder import NumericForm, TableEncoder
from raysynth.errors import ModelFileError, NotFittedError
from raysynth.files.model_file import ModelContent, under, write_model
from raysynth.files.storage import Target, place
from raysynth.fitting.checks import begin_spending, check_storage, listed, resumed_folder, try_out
from raysynth.fitting.gaps import gaps_of, with_gaps
from raysynth.fitting.opening import open_for_fit, prepare, privacy_scope, spending_told
from raysynth.fitting.persons import regenerators
from raysynth.fitting.prepared import Prepared
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import Computed, KeptRules, OdometerFolder, Parameter, declared
from raysynth.methods.shown import Shown
from raysynth.running.plain_lines import told
from raysynth.running.stages import collect_stages, stage
from raysynth.sampling.effects import Rules, with_rules, with_thinning
from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset
    from ray.train import RunConfig, ScalingConfig

    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.dp.mechanisms.noise import NoiseSource
    from raysynth.fitting.method import OpenedTable, Watcher
    from raysynth.fitting.private_run import PrivateRun
    from raysynth.running.stages import Stage
    from raysynth.sampling.chunks import Generator, SamplingModel
    from raysynth.sampling.conditions import Segment
    from raysynth.sampling.writer import Chunks, Manifest
    from raysynth.schema.constraints.rules import ConstraintSet
else:
    ScalingConfig = RunConfig = Any  # annotations of arguments are read when the class is made, and need no Ray

Epsilon = Annotated[
    float | None,
    Parameter(
        "of the guarantee (1 is strict, 10 is weak); giving it turns differential privacy on", above=0, under_budget=1.0
    ),
]


class Synthesizer(Shown):
    """The public calls of every method, and the arguments that all have.

    It holds its parameters and, once fitted, one `Fitted`, whose fields are attributes that end in an underscore.
    """

    method: ClassVar[str]
    numeric_encoding: ClassVar[NumericForm]
    can_resume: ClassVar[bool] = False  # whether a fit keeps checkpoints that `fit(resume=...)` resumes from
    has_differential_privacy: ClassVar[bool] = False
    has_privacy_unit: ClassVar[bool] = False
    usual_statistics_share: ClassVar[float] = 0.1  # of the budget's rho, where `statistics_share` is None
    learns_sequences: ClassVar[bool] = False  # whether what it protects is a sequence, not a row

    categorical_columns: Annotated[
        Sequence[str] | None, Parameter("columns to take as categories; the rest is inferred")
    ] = None
    continuous_columns: Annotated[Sequence[str] | None, Parameter("columns to take as numbers")] = None
    schema: Annotated[
        TableSchema | str | os.PathLike[str] | None,
        Parameter("a `TableSchema`, or the path of its JSON; columns it does not name are inferred"),
    ] = None
    seed: Annotated[
        int | None,
        Parameter("of initial weights, and of `sample` without one; None draws one", at_least=0, at_most=2**62 - 1),
    ] = None
    verbose: Annotated[bool | int, Parameter("print what inference took each column for, and why")] = True
    scaling_config: Annotated[
        ScalingConfig | None, Parameter("`ray.train.ScalingConfig`: how a fit is spread; None: this process")
    ] = None
    run_config: Annotated[
        RunConfig | None, Parameter("`ray.train.RunConfig`: where checkpoints go, retries of a failed worker")
    ] = None
    keep_shards: Annotated[
        bool | str | os.PathLike[str],
        Parameter(
            "neural methods: a bucket, or a folder for all workers (True: STORAGE_PATH/shards), where encoded rows "
            "stay, private, for further fits of the table; under a budget these pay for its releases"
        ),
    ] = False
    differential_privacy: Annotated[
        bool, Parameter("every release from the rows is noised, within `epsilon` and `delta` together")
    ] = False
    epsilon: Epsilon = None
    delta: Annotated[
        float | None,
        Parameter(
            "delta of the guarantee",
            above=0,
            below=1,
            under_budget=Computed("1e-5, or min(1e-5, 1 / about_rows^1.1)"),
        ),
    ] = None
    about_rows: Annotated[float | None, Parameter("the publicly known number of rows, roughly", at_least=1)] = None
    public_types: Annotated[
        bool,
        Parameter(
            "with differential privacy: the table's types (whole numbers, dtypes) are public; what else a `schema` "
            "does not declare is never read from the rows"
        ),
    ] = False
    statistics_share: Annotated[
        float | None,
        Parameter(
            "share of the budget (of its rho) for the statistics of single columns",
            above=0,
            below=1,
            under_budget=Computed("a tenth, of `bayesian_network` a fifth"),
        ),
    ] = None
    privacy_unit: Annotated[
        str | None,
        Parameter(
            "with differential privacy: the column whose value names the person, a key that is made anew; the "
            "guarantee is then under all rows of one person more or less; None: one row. Every method of tables has it"
        ),
    ] = None
    max_rows_per_unit: Annotated[
        int | None,
        Parameter(
            "most rows of a person that count, drawn at random; noise grows with it",
            at_least=1,
            otherwise=Computed("chosen from 1, 2, 4 ... 512 by a noised count of persons, which is charged"),
        ),
    ] = 1
    secure_mode: Annotated[
        bool, Parameter("with differential privacy: cryptographic noise, hardened against floating-point attacks")
    ] = False
    odometer: OdometerFolder = None
    entity: Annotated[
        str | None,
        Parameter("the column that says whose each row is: protection counts persons; None: one that looks like it"),
    ] = None
    rules: KeptRules = None

    schema_: TableSchema = field(init=False)
    modelled_schema_: TableSchema = field(init=False)
    encoder_: TableEncoder = field(init=False)
    rules_: ConstraintSet | None = field(init=False)
    n_rows_: int = field(init=False)
    identifier_key_: int = field(init=False)
    privacy_spent_: PrivacySpent | None = field(init=False)
    stages_: tuple[Stage, ...] = field(init=False)
    versions_: dict[str, str] | None = field(init=False)
    _state: Fitted | None = field(default=None, init=False)
    _noise: NoiseSource | None = field(default=None, init=False)  # a seeded one, in tests, voids the guarantee
    _watcher: Watcher | None = field(default=None, init=False)  # looks at the model while it trains

    # ---- hooks of a method -------------------------------------------------------------------------------------------

    def _encoder_options(self) -> dict[str, Any]:
        """Arguments for `build_encoder` beside the form of the numbers (n_bins, n_modes)."""
        return {}

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        """Learn from the prepared table: `begun.with_learned(...)` with a frozen dataclass of what was learned."""
        raise NotImplementedError

    def _generator(self) -> Generator:
        """A picklable generator of encoded rows."""
        raise NotImplementedError

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `_from_state` reads."""
        raise NotImplementedError

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        """As `_fit_encoded`, from a file."""
        raise NotImplementedError

    # ---- fit ---------------------------------------------------------------------------------------------------------

    def fit(self, data: Any, *, resume: str | os.PathLike[str] | None = None) -> Self:
        """Learn the table.

        Args:
            data: a DataFrame, an Arrow table, a path or URI (Parquet file or folder, CSV), or a Ray Dataset.
            resume: neural methods: STORAGE_PATH/NAME of a lost run (same table, parameters, seed) to resume from.

        Raises `DataError`, `SchemaError`, `ConstraintError` or `ParameterError` that names the column and the cure.
        """
        return self._fit_with(lambda: self._fit_table(data), resume)

    def _fit_with(self, learn: Callable[[], Fitted], resume: str | os.PathLike[str] | None = None) -> Self:
        """Check the parameters, then `learn`."""
        self._check_parameters()
        self._resume = resumed_folder(self, resume)
        check_storage(self)
        self._sampling_seed(self.seed)
        begin_spending(self, scope := privacy_scope(self))  # raises for parameters out of range
        self._state = None  # a fit that fails half-way leaves no fitted model
        with collect_stages() as stages, told(quiet=not self.verbose, only_public=scope is not None):
            fitted = learn()
        self._state = fitted.ended(tuple(stages))
        if fitted.rules is not None:
            self._state = replace(self._state, rules=with_thinning(self._fitted()))
        return self

    def _fit_table(self, data: Any) -> Fitted:
        return self._learn(*open_for_fit(self, data))

    def _learn(self, opened: OpenedTable, scope: PrivacyScope | None, run: PrivateRun | None = None) -> Fitted:
        """The encoder, and what the method learns."""
        prepared = prepare(self, opened, scope, run)
        schemas = prepared.written_schema(opened.schema), opened.modelled_schema
        key, gaps = self._new_identifier_key(), gaps_of(self, prepared)
        begun = Fitted(*schemas, prepared.encoder, opened.rules, opened.statistics.n_rows, key, gaps=gaps)
        with stage("fit", begun.n_rows), spending_told(scope):
            fitted = self._fit_encoded(prepared, begun)
        if scope is None:
            return fitted
        return replace(fitted, privacy_spent=PrivacySpent.of(scope.ledger, scope.budget, scope.joint))

    if not TYPE_CHECKING:  # what a fit learns is declared above and by each method

        def __getattr__(self, name: str) -> Any:
            """What was fitted; raises `AttributeError` before, and for anything else that is not there."""
            state = self.__dict__.get("_state")
            if state is None or not name.endswith("_"):
                raise AttributeError(f"this {type(self).__name__} has no {name}; fit(data) comes first")
            return state.attribute(name[:-1])

    def validate(self, data: Any) -> TableSchema:
        """Check the rows of a table, `data`, as `fit` does without a privacy budget; under one, `fit` checks no row.

        What it raises and returns (the schema, its kinds inferred) tells of single rows: for the data's holder alone.
        """
        from raysynth.fitting.opening import validate_rows

        return validate_rows(data, self._declared_schema(), self._listed_kinds(), self.entity)

    def _listed_kinds(self) -> dict[Kind, Any]:
        return {Kind.CATEGORICAL: listed(self.categorical_columns), Kind.CONTINUOUS: listed(self.continuous_columns)}

    def _declared_schema(self) -> TableSchema | None:
        if self.schema is None or isinstance(self.schema, TableSchema):
            return None if self.schema is None else self.schema.validate(complete=False)
        return TableSchema.load(self.schema)

    def _fit_seed(self) -> int:
        return secrets.randbits(62) if self.seed is None else int(self.seed)

    def _new_identifier_key(self) -> int:
        """What the permutation of made keys follows from; another number than the seed of the networks."""
        return self._fit_seed() ^ 0x5DEECE66D

    # ---- sample ------------------------------------------------------------------------------------------------------

    def sample(
        self, n_samples: int | None = None, conditions: Any = None, seed: int | None = None, constraints: Rules = ()
    ) -> pd.DataFrame:
        """Synthetic rows as a DataFrame; the same (model, seed, n_samples, conditions) gives the same rows.

        Args:
            n_samples: rows; may be left out where `conditions` are quotas or a DataFrame.
            conditions: None; {column: value, [values] or (low, high)}; a list of (conditions, n); or rows to complete.
            seed: 0 .. 2^62; None takes the constructor's, else a fresh one.
            constraints: further rules (`raysynth.constraints`) that every row keeps: others are rejected.

        Raises `ConditionError` (outside the domain, or too rare), `ConstraintError` (constraints too rarely met).
        """
        from raysynth.sampling.frame import to_frame

        return to_frame(self.sample_arrow(n_samples, conditions, seed, constraints), self._require_fitted().schema)

    def sample_arrow(
        self, n_samples: int | None = None, conditions: Any = None, seed: int | None = None, constraints: Rules = ()
    ) -> pa.Table:
        """`sample` (`n_samples`, `conditions`, `seed`, `constraints`) as an Arrow table, text as dictionary codes."""
        from raysynth.sampling.frame import sample_table

        model, segments = self._asked(n_samples, conditions, constraints)
        with told(quiet=not self.verbose):
            return sample_table(model, segments, self._sampling_seed(seed))

    def sample_to(
        self,
        path: str | os.PathLike[str],
        n_samples: int | None = None,
        conditions: Any = None,
        seed: int | None = None,
        constraints: Rules = (),
        *,
        rows_per_file: int | None = None,
        row_group_rows: int = 65_536,
        partition_by: str | None = None,
        compression: str = "zstd",
        where: str = "auto",
    ) -> Manifest:
        """Write a folder of Parquet, from all workers, in constant memory; started again it writes what is missing.

        Args:
            path: folder or URI (s3://); made where missing. A folder that holds another run is refused.
            n_samples, conditions, seed, constraints: as in `sample`; the rows are the same.
            rows_per_file: rounded up to whole chunks of 65,536; None: 32 files or more, of at most a million rows.
            row_group_rows: rows of each row group of a file.
            partition_by: a column of few values: rows go to folders `COLUMN=VALUE/`, as Hive and Spark have it.
            compression: of the Parquet pages ('zstd', 'snappy', 'none' ...).
            where: 'auto', 'local' (this process) or 'ray'.

        Raises `StorageError` where the disk is full or the folder holds another run; finished files stay.
        """
        from raysynth.sampling.writer import FileForm, write_parquet

        chunks = self._chunks(n_samples, conditions, constraints)
        given = None if seed is None and self.seed is None else self._sampling_seed(seed)
        form = FileForm(rows_per_file, row_group_rows, partition_by, compression)
        digest = self._content().digest() + "".join(f" {c}" for c in constraints)
        return write_parquet(chunks, given, place(path), form, digest=digest, where=where)

    def sample_dataset(self, n_samples: int | None = None, conditions: Any = None, seed: int | None = None) -> Dataset:
        """`sample` (`n_samples`, `conditions`, `seed`) as a lazy Ray Dataset: the same rows, made as they are consumed.

        Ray is started where it does not run. Raises `ConditionError`, at once outside the domain, else on execution.
        """
        from raysynth.sampling.dataset import sample_dataset

        return sample_dataset(self._chunks(n_samples, conditions), self._sampling_seed(seed))

    def _chunks(self, n_samples: int | None, conditions: Any, constraints: Rules = ()) -> Chunks:
        from raysynth.sampling.writer import Chunks

        return Chunks.of(*self._asked(n_samples, conditions, constraints))

    def _sampling_seed(self, seed: int | None) -> int:
        seed = seed if seed is not None else self.seed
        if seed is None:
            return secrets.randbits(62)
        declared(Synthesizer)["seed"].check(seed)
        return int(seed)

    def _asked(self, n_samples: int | None, conditions: Any, rules: Rules) -> tuple[SamplingModel, tuple[Segment, ...]]:
        from raysynth.sampling.conditions import parse_conditions

        model = with_rules(self._fitted(), rules)
        return model, parse_conditions(conditions, n_samples, model.schema, model.condition_encoder)

    def _fitted(self) -> SamplingModel:
        from raysynth.sampling.chunks import SamplingModel
        from raysynth.sampling.persons import person_columns

        of = self._require_fitted()
        generator, made = with_gaps(self._generator(), of.encoder, of.gaps), regenerators(of.schema)
        persons = person_columns(of.schema, of.encoder, made, generator)
        return SamplingModel(generator, of.encoder, of.schema, of.rules, made, of.identifier_key, persons)

    def _require_fitted(self) -> Fitted:
        """What was fitted; raises `NotFittedError` where nothing was."""
        if self._state is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(data) first")
        return self._state

    # ---- save and load -----------------------------------------------------------------------------------------------

    def save(self, path: Target) -> None:
        """Write one file, `path` or URI, whatever its ending: a zip of JSON and safetensors (no pickle), atomically.

        Raises `NotFittedError` before `fit`, `StorageError` where the file cannot be written.
        """
        write_model(path, self._content())

    def _content(self) -> ModelContent:
        common, common_arrays = self._require_fitted().to_content()
        meta, arrays = self._model_state()
        content = {"method": self.method, "parameters": self._saved_parameters(), **common, "model": meta}
        return ModelContent(content, {**common_arrays, **{f"model.{k}": v for k, v in arrays.items()}})

    @classmethod
    def _from_content(cls, content: ModelContent) -> Self:
        meta = content.meta
        if unknown := set(meta["parameters"]) - set(cls._parameter_names()):
            raise ModelFileError(f"{cls.__name__} has no parameters {sorted(unknown)}; use a matching raysynth version")
        model = cls(**meta["parameters"])
        model._check_parameters()
        begun = Fitted.from_content(content)
        model._state = model._from_state(meta["model"], under("model.", content.arrays), begun)
        model._try_out()
        return model

    def _try_out(self) -> None:
        """Generate a few rows, so that parts that do not fit together are found on loading; errors as they come."""
        try_out(self._fitted(), self._require_fitted().modelled_schema)
