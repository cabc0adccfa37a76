"""The protocol that a method fulfils, and the opened table that it is given.

An opened table is one behind its door: what was read of it, exactly or with noise, and what encoders are built from,
and how.

Whoever watches a training sees the model that it would be if training ended now: a copy that samples as any fitted
model does; the training does not notice. Under a privacy budget the copy comes from noised gradients like the model
itself, but whatever is then computed from it and real rows is a release of its own, which no ledger holds: such figures
are for the data's holder.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from raysynth.encoding.table_encoder import NumericForm, TableEncoder, build_encoder

if TYPE_CHECKING:
    import os

    from ray.train import RunConfig, ScalingConfig

    from raysynth.data.fragments import Table
    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.dp.mechanisms.noise import NoiseSource
    from raysynth.encoding.block import EncodedBlock
    from raysynth.encoding.table_encoder import ReleasedColumn
    from raysynth.files.storage import Place
    from raysynth.schema.columns import Kind
    from raysynth.schema.constraints import ConstraintSet
    from raysynth.schema.table import TableSchema
    from raysynth.statistics.noised import NoisedStatistics
    from raysynth.statistics.table_statistics import TableStatistics
    from raysynth.statistics.units import UnitIndex
    from raysynth.training.kept_releases import Keeping
    from raysynth.training.loop import TrainResult, Watch


@dataclass(frozen=True)
class OpenedTable:
    """What either door gives.

    Args:
        table: the rows, after the constraints' change of columns.
        schema: what the user sees.
        modelled_schema: after the constraints' change of columns.
        rules: the constraints, None without any.
        statistics: exact, or noised.
        encoded: encoders that were built, and rows encoded, beforehand for several fits (`tuning/one_trial.py`); never
            under a budget.
        keeping: under a budget, where encoded rows are to be kept.
        units: which rows a privacy unit has, where training draws units of several rows.
        said: of persons with several rows, line by line; never under a budget.
        constant: modelled columns that are the same in all rows of each person; likewise.
    """

    table: Table
    schema: TableSchema
    modelled_schema: TableSchema
    rules: ConstraintSet | None
    statistics: TableStatistics | NoisedStatistics
    encoded: Mapping[EncoderForm, EncodedTable] = field(default_factory=dict)
    keeping: Keeping | None = None
    units: UnitIndex | None = None
    said: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowsOfUnits:
    """The column of the privacy unit, the most rows of one that count (None: to be chosen), whether they are drawn."""

    column: str
    most_rows: int | None
    are_drawn: bool


def as_modelled(table: Table, schema: TableSchema) -> tuple[Table, TableSchema, ConstraintSet | None]:
    """A table with the types of its public schema, after the constraints' change of columns; no row is read.

    Of keys nothing is learned, whatever their `in_order` says.

    Returns the table, the schema of its columns, and the constraints (None without any).
    """
    from raysynth.schema.constraints import ConstraintSet
    from raysynth.statistics.dated_table import declared_forms, with_forms
    from raysynth.statistics.public_schema import as_declared, public_schema

    table = with_forms(as_declared(table, schema), declared_forms(schema))
    schema = replace(schema, columns=tuple(replace(c, in_order=None) for c in schema.columns)).as_modelled()
    if not schema.constraints:
        return table, schema, None
    rules = ConstraintSet(schema.constraints, schema)
    rules.validate(schema)
    table = table.mapped(rules.forward)
    modelled = public_schema(table, rules.forward_schema(schema), {})
    return as_declared(table, modelled), modelled, rules


@dataclass(frozen=True)
class EncoderForm:
    """The form of the numbers ('bins', 'modes' ...), and `build_encoder`'s options in the order of their names."""

    numeric: NumericForm
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, model: Method) -> EncoderForm:
        """What a model asks for."""
        return cls(model.numeric_encoding, tuple(sorted(model._encoder_options().items())))

    @property
    def described(self) -> dict[str, Any]:
        """As values of JSON."""
        return {"numeric": self.numeric, **dict(self.options)}

    def build(self, schema: TableSchema, columns: Mapping[str, ReleasedColumn]) -> TableEncoder:
        """The encoder of a table's modelled columns, from their statistics (by column) alone."""
        return build_encoder(schema, columns, numeric=self.numeric, **dict(self.options))


@dataclass(frozen=True)
class EncodedTable:
    """An encoder and the rows behind it; None where they take too much memory to be kept."""

    encoder: TableEncoder
    block: EncodedBlock | None


class Method(Protocol):
    """A synthesizer, as a fit sees it; `raysynth.methods.base.Synthesizer` says what each attribute means."""

    numeric_encoding: ClassVar[NumericForm]
    can_resume: ClassVar[bool]
    has_differential_privacy: ClassVar[bool]
    has_privacy_unit: ClassVar[bool]
    usual_statistics_share: ClassVar[float]
    learns_sequences: ClassVar[bool]

    seed: int | None
    verbose: bool | int
    scaling_config: ScalingConfig | None
    run_config: RunConfig | None
    keep_shards: bool | str | os.PathLike[str]
    differential_privacy: bool
    epsilon: float | None
    delta: float | None
    about_rows: float | None
    public_types: bool
    statistics_share: float | None
    privacy_unit: str | None
    max_rows_per_unit: int | None
    secure_mode: bool
    entity: str | None
    odometer: str | os.PathLike[str] | None
    rules: str | None
    _noise: NoiseSource | None
    _resume: Place | None

    def _declared_schema(self) -> TableSchema | None:
        """What the user declared of the columns."""
        ...

    def _listed_kinds(self) -> dict[Kind, Any]:
        """The columns that the user listed by kind."""
        ...

    def _encoder_options(self) -> dict[str, Any]:
        """Arguments for `build_encoder` beside the form of the numbers."""
        ...

    def _fit_seed(self) -> int:
        """Seed of the initial weights."""
        ...

    def _saved_parameters(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        ...

    def _fit_with(self, learn: Callable[[], Any], resume: str | os.PathLike[str] | None = None) -> Self:
        """Check the parameters, then `learn`."""
        ...

    def _learn(self, opened: OpenedTable, scope: PrivacyScope | None) -> Any:
        """The fitted value: the encoder, and what the method learns."""
        ...


@dataclass(frozen=True)
class Watcher:
    """Who looks, and when.

    Args:
        shares: of the training, after which the model is looked at; before its end.
        look: called with the model so far, and the share of the training that is done.
    """

    shares: tuple[Fraction, ...]
    look: Callable[[Any, Fraction], None]

    def epochs(self, total: int) -> set[int]:
        """After which epochs the model is looked at: the first that reach a share."""
        return {math.ceil(total * share) for share in self.shares} - {total}


class Watched(Protocol):
    """A model that may be looked at while it trains."""

    _state: Any
    _watcher: Watcher | None


def watching(model: Watched, epochs: int, fitted: Callable[[TrainResult], Any]) -> Watch | None:
    """What a training in this process calls after each epoch; None where nobody looks.

    Args:
        model: in the middle of its fit.
        epochs: of the whole training.
        fitted: what a training that ended with this result would have fitted.
    """
    from raysynth.training.loop import TrainResult

    watcher = model._watcher
    if watcher is None:
        return None
    due = watcher.epochs(epochs)

    def watch(epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        if epoch in due:
            seen = copy.copy(model)
            seen._state = fitted(TrainResult(state(), []))
            watcher.look(seen, Fraction(epoch, epochs))

    return watch
