"""From data to what encoders are built from: the door without noise, and the door with it.

Behind the private door nothing but the table itself depends on a row without noise: no inference of kinds, no check of
rows, no error about a value (`validate_rows` is for that). A method takes rows from `Prepared.table` only to count or
to train on, and charges `Prepared.privacy` before it does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.dp.accounting.calibration import DEFAULT_EPSILON, PrivacyBudget
from raysynth.dp.accounting.ledger import ROW
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError
from raysynth.files.storage import Folder
from raysynth.fitting import checks
from raysynth.fitting.checks import check_privacy_unit, draws_units, is_private, run_folder, shards_folder, unit_of
from raysynth.fitting.method import EncodedTable, EncoderForm, Method, OpenedTable, RowsOfUnits, as_modelled
from raysynth.fitting.persons import design_effect, known_persons, said_of_constant, sharing
from raysynth.fitting.prepared import Prepared, check_constraints, wanted_shares, with_ranges
from raysynth.fitting.remarks import found_rules, remarks, undeclared
from raysynth.running.runner import executed_once
from raysynth.running.stages import stage
from raysynth.schema.columns import Kind
from raysynth.schema.constraints import ConstraintSet
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import as_written, declared_types
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.table_statistics import collect
from raysynth.training.kept_releases import Keeping, looked_up

if TYPE_CHECKING:
    from raysynth.fitting.private_run import PrivateRun
    from raysynth.statistics.noised import NoisedStatistics

M = TypeVar("M", bound="Method")
BY_ROW = (
    "The guarantee is for one row more or less. Where a person has several rows, it is several times weaker for that "
    "person: name the column of persons, privacy_unit=..."
)


def privacy_scope(model: Method) -> PrivacyScope | None:
    """The scope that a synthesizer's parameters ask for; None without differential privacy.

    Raises:
        ParameterError: the method has none, epsilon or delta is out of range, or the parameters contradict each other.
    """
    if model.rules == "auto" and (is_private(model) or model.learns_sequences):
        what = "sequences" if model.learns_sequences else "a privacy budget"
        raise ParameterError(f"rules='auto' reads single rows and is not for {what}; declare constraints in a schema")
    if not is_private(model):
        for name in ("delta", "about_rows", "statistics_share", "privacy_unit"):
            if getattr(model, name) is not None:
                raise ParameterError(f"{name} belongs to differential privacy: give epsilon, too")
        if model.secure_mode or model.public_types:
            name = "secure_mode" if model.secure_mode else "public_types"
            raise ParameterError(f"{name} belongs to differential privacy: give epsilon, too")
        return None
    if not model.has_differential_privacy:
        others = ("timegan", "autoregressive_sequences") if model.learns_sequences else ("bayesian_network", "copula")
        raise ParameterError(
            f"differential privacy is not in this version of {type(model).__name__}; leave out differential_privacy "
            f"and epsilon, or take {' or '.join(map(repr, others))}"
        )
    if model.entity is not None:
        raise ParameterError("entity is for fits without a privacy budget; under one, name the persons by privacy_unit")
    check_privacy_unit(model)
    epsilon = DEFAULT_EPSILON if model.epsilon is None else model.epsilon
    budget = PrivacyBudget.fixed(epsilon, model.delta, model.about_rows)
    return PrivacyScope(
        budget,
        unit=unit_of(model),
        rows_per_unit=1 if model.privacy_unit is None else model.max_rows_per_unit or 1,
        secure_mode=bool(model.secure_mode),
        preprocessing_share=model.usual_statistics_share if model.statistics_share is None else model.statistics_share,
        noise=model._noise,
    )


def earlier_run(model: Method, scope: PrivacyScope | None) -> PrivateRun | None:
    """What a private fit resumes from; None for one that starts anew, and without a budget.

    Raises:
        ParameterError: nothing to resume from, or a fit anew in the folder of another private one.
    """
    if scope is None or not model.can_resume:
        return None
    from raysynth.fitting.private_run import check_unused, resumed_run

    if model._resume is None:
        check_unused(run_folder(model.run_config))
        return None
    return resumed_run(model, model._resume, scope)


def kept_run(
    model: Method, scope: PrivacyScope | None, opened: OpenedTable, encoder: TableEncoder, seed: int
) -> PrivateRun | None:
    """The record of a private fit that starts anew; None where nothing is kept that a fit could resume from."""
    if scope is None or not model.can_resume:
        return None
    from raysynth.fitting.private_run import started_run

    return started_run(model, scope, opened, encoder, seed)


def prepare(model: Method, opened: OpenedTable, scope: PrivacyScope | None, run: PrivateRun | None) -> Prepared:
    """What a method gets to learn from: an opened table behind the encoder that the method asks for.

    Raises:
        ParameterError: no column is left to model.
    """
    if model.verbose:
        about = "" if scope is None else "about "
        notes = "".join(f"  {note}\n" for note in opened.table.notes)
        print(f"{opened.table.source}: {about}{opened.statistics.n_rows:,} rows\n{notes}{opened.schema.describe()}")
        kept = getattr(model, "completes_rows", False) and not (opened.rules and opened.rules.has_unique)
        for line in (*opened.said, *said_of_constant(opened.constant, kept)):
            print(line)
        if scope is not None:
            print(*undeclared(opened.schema), *([BY_ROW] if scope.unit == ROW else []), sep="\n")
    form = EncoderForm.of(model)
    known = opened.encoded.get(form) if scope is None else None
    resumed = run is not None
    if run is not None:  # released by the fit that this one resumes
        encoder, seed = run.encoder, run.seed
    else:
        encoder, seed = _encoder(form, opened, known), model._fit_seed()
        run = kept_run(model, scope, opened, encoder, seed)
    if model.verbose:
        for line in remarks(encoder, opened.rules, opened.statistics):
            print(line)
    if not encoder.columns:
        raise ParameterError("no column is left to model: all are identifiers, personal data or constants")
    releases = None
    if scope is not None and opened.keeping is not None:
        releases = opened.keeping.releases(encoder, scope, resumed=resumed)
    return Prepared(
        opened.table,
        opened.modelled_schema,
        opened.statistics,
        encoder,
        seed,
        scope,
        resume=model._resume,
        private_run=run,
        keep_shards=shards_folder(model) if scope is None or releases is not None else None,
        releases=releases,
        units=opened.units,
        shared=known,
        entity=opened.schema.entity,
        constant=opened.constant,
        design_effect=design_effect(opened.schema) if scope is None else 1.0,
    )


def _encoder(form: EncoderForm, opened: OpenedTable, known: EncodedTable | None) -> TableEncoder:
    """The one that was built beforehand, or for shards that are kept, or a new one."""
    if known is not None:
        return known.encoder
    if opened.keeping is not None and opened.keeping.found:
        return opened.keeping.found[0].encoder
    return form.build(opened.modelled_schema, opened.statistics.columns)


@contextmanager
def spending_told(scope: PrivacyScope | None) -> Iterator[None]:
    """An interruption inside says what has been charged by then."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if scope is not None and len(scope.ledger):
            interrupt.add_note(f"this fit has spent already: {scope.spent}; that stays spent, whatever follows")
        raise


def open_for_fit(model: Method, data: Any) -> tuple[OpenedTable, PrivacyScope | None, PrivateRun | None]:
    """The table of one fit, the scope that pays, and the run that a private fit resumes from."""
    scope = privacy_scope(model)
    run = earlier_run(model, scope)
    scope = scope if run is None else run.scope
    return open_table(model, data, scope, run=run, is_only=True), scope, run


def open_table(
    model: Method,
    data: Any,
    scope: PrivacyScope | None,
    *,
    run: PrivateRun | None = None,
    released: NoisedStatistics | None = None,
    is_only: bool = False,
) -> OpenedTable:
    """The table that a model is to learn, through the door that its scope asks for.

    Args:
        model: its parameters declare schema and kinds.
        data: any table that `fit` takes.
        scope: None: without noise.
        run: what a private fit resumes from.
        released: noised statistics of the same table that were released before, so that nothing is released now.
        is_only: no other fit shares what is released here.
    """
    declared, kinds = model._declared_schema(), model._listed_kinds()
    is_private = scope is not None
    types = declared_types(declared)
    table = as_table(executed_once(data), min_rows=0 if is_private else 2, declared=types, private=is_private)
    if scope is None:
        return open_exactly(table, declared, kinds, model.entity, rules=model.rules, told=bool(model.verbose))
    unit = None
    if model.privacy_unit is not None:
        unit = RowsOfUnits(model.privacy_unit, model.max_rows_per_unit, draws_units(model))
    kept = checks.kept_by(model)
    earlier = Earlier(run, released, kept, is_first=is_only and run is None and kept is None)
    return open_privately(table, declared, kinds, scope, public_types=model.public_types, unit=unit, earlier=earlier)


def fit_opened(model: M, opened: OpenedTable, scope: PrivacyScope | None) -> M:
    """Fit a model to a table that was opened before, once for several fits; nothing of it is read twice.

    Args:
        model: any that learns one table (not sequences), with the parameters that the table was opened with.
        opened: from `open_table`.
        scope: of this fit; None: without differential privacy.
    """
    return model._fit_with(lambda: model._learn(opened, scope))


def open_exactly(
    table: Table,
    declared: TableSchema | None,
    kinds: Mapping[Kind, Iterable[str] | None],
    entity: str | None = None,
    *,
    rules: str | None = None,
    told: bool = False,
) -> OpenedTable:
    """Exact statistics of a table, its kinds inferred, its rows checked, its persons counted.

    `entity`: the column of persons; None: that of the schema, else one that looks like it. `rules`: 'auto' keeps those
    that are found; where they are `told`, they are looked for in tables that this costs little.
    """
    with stage("statistics") as done:
        known = known_persons(table, declared, kinds, entity)
        statistics = known.statistics
        done.rows = statistics.n_rows
        table, modelled = known.table, known.schema
    kept, lines = found_rules(table, modelled, statistics, rules, told=told)
    modelled = with_ranges(replace(modelled, constraints=(*modelled.constraints, *kept)), statistics)
    schema, modelled = as_written(modelled, table), modelled.as_modelled()
    constraints = ConstraintSet(modelled.constraints, modelled) if modelled.constraints else None
    if constraints is not None:
        with stage("constraints", statistics.n_rows):
            constraints.validate(modelled)
            check_constraints(constraints, table)
            constraints = replace(constraints, shares=wanted_shares(constraints, modelled, statistics))
            modelled = constraints.forward_schema(modelled)
            table = table.mapped(constraints.forward)
            statistics = collect(table, label="statistics of constrained columns")
            modelled = infer_schema(table, statistics, modelled, {})
            statistics = sharing(table, modelled, statistics, schema.entity)
    said = (*known.said, *lines)
    return OpenedTable(table, schema, modelled, constraints, statistics, said=said, constant=known.constant)


@dataclass(frozen=True)
class Earlier:
    """What was released of the table before.

    Args:
        run: that a fit resumes; it has its statistics already.
        released: statistics that several fits share.
        kept: the folder, the form of the encoder, and what is said of the table, of what another fit kept.
        is_first: nothing was, and this fit is the only one: it finds what undeclared columns of a CSV file spell.
    """

    run: PrivateRun | None = None
    released: NoisedStatistics | None = None
    kept: tuple[Folder, Mapping[str, Any], Mapping[str, Any]] | None = None
    is_first: bool = False


def open_privately(
    table: Table,
    declared: TableSchema | None,
    kinds: Mapping[Kind, Iterable[str] | None],
    scope: PrivacyScope,
    *,
    public_types: bool,
    unit: RowsOfUnits | None = None,
    earlier: Earlier | None = None,
) -> OpenedTable:
    """Statistics of a table through the door with noise; warns where delta exceeds one over the noised n.

    With a `unit` its rows beyond the cap, which may be chosen here, are left out first, for every later pass too; where
    training draws units, their number is released as well. What was released `earlier` is not released again; of what
    another fit kept the scope pays the price.
    """
    from raysynth.fitting.released_schema import pay_for_schema
    from raysynth.statistics.families import found_columns, read_as_text, released_columns
    from raysynth.statistics.noised import earlier_statistics, release_statistics
    from raysynth.statistics.public_schema import public_schema
    from raysynth.statistics.units import UnitIndex, bounded, chosen_most

    whole, units, owner = table, None, None if unit is None else unit.column
    earlier = earlier or Earlier()
    if unit is not None and unit.most_rows is None:
        most = chosen_most(whole, unit.column, scope) if earlier.run is None else scope.rows_per_unit
        unit = replace(unit, most_rows=most)
    if unit is not None and unit.most_rows is not None:
        table = bounded(whole, unit.column, unit.most_rows, scope.noise)
        units = UnitIndex.of(table, unit.column) if unit.are_drawn else None
    found = () if earlier.run is None else released_columns(earlier.run.schema)
    if earlier.is_first:
        found = found_columns(table, declared, kinds, scope, owner)
    elif earlier.run is None and (said := read_as_text(table, declared, kinds, "this fit", owner)):
        warnings.warn(said, stacklevel=8)
    schema = public_schema(table, declared, kinds, public_types=public_types, found=found, unit=owner)
    table, modelled, rules = as_modelled(table, schema)
    opened = partial(OpenedTable, table, schema, modelled, rules, units=units)
    if earlier.released is not None:
        return opened(earlier.released)
    keeping = None if earlier.kept is None else _keeping(earlier.kept, whole, schema, modelled, scope, unit)
    if earlier.run is not None:
        resumed = opened(earlier_statistics(scope), keeping=keeping)
        earlier.run.check_schema(resumed)
        return resumed
    if keeping is not None and keeping.found:
        kept = keeping.found[0]
        scope.replay(kept.events, kept.n_rows, kept.n_units)
        statistics = earlier_statistics(scope)
    else:
        n_rows = pay_for_schema(declared, scope)
        with stage("statistics") as done:
            statistics = release_statistics(table, modelled, scope, share=scope.preprocessing_share, n_rows=n_rows)
            done.rows = statistics.n_rows
        if units is not None:
            scope.release_unit_count(len(units))
    if (warning := scope.budget.warning(scope.n_units)) is not None:
        warnings.warn(warning, stacklevel=8)
    return opened(statistics, keeping=keeping)


def _keeping(
    kept: tuple[Folder, Mapping[str, Any], Mapping[str, Any]],
    whole: Table,
    schema: TableSchema,
    modelled: TableSchema,
    scope: PrivacyScope,
    unit: RowsOfUnits | None,
) -> Keeping:
    """What is kept of the same table: of all its rows, since each fit draws those of a unit anew."""
    owners = None if unit is None else whole.select([unit.column])
    folder, form, said = kept
    return looked_up(folder, form, as_modelled(whole, schema)[0], modelled, scope.unit, owners, said)


def validate_rows(
    data: Any, declared: TableSchema | None, kinds: Mapping[Kind, Iterable[str] | None], entity: str | None = None
) -> TableSchema:
    """Every check that depends on rows: a private matter of the data's holder. Returns the schema inferred on the way.

    Raises:
        DataError, SchemaError, ConstraintError: name the column or constraint, the rows concerned and the cure.
    """
    known = known_persons(as_table(data, declared=declared_types(declared)), declared, kinds, entity)
    table, schema = known.table, known.schema
    if schema.constraints:
        rules = ConstraintSet(schema.constraints, schema)
        rules.validate(schema)
        check_constraints(rules, table)
    return as_written(schema, table)
