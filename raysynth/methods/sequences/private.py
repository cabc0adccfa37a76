"""A fit of sequences under a privacy budget: bounded sequences, releases in order, then DP-SGD with what is left.

A fit that goes on takes all that was released from the record of its run (`fitting/private_run.py`), and draws the
windows of long entities anew, which each release may see others of (`statistics/units.py`, 'Several draws').

Unit: one sequence, added or removed (`private_tables.py` bounds what one is). Every release counts sequences
or their rows, by public schemas, and all are in one ledger, composed together; each may depend on those before it:

1. The number of sequences: Laplace noise, joined by basic composition.
2. Each column's own distribution. Of entities: a sequence is one row, sensitivity 1. Of steps: a sequence is at most
   k = `sequence_length` rows, so each histogram changes by at most k in L2 norm, and the delta of naming a category is
   divided among the k that one sequence could bring (`statistics/noised.py`). How many steps there are follows from 1.
   and the released lengths.
3. A Bayesian network of entities, where they have columns beside the length (`methods/bayesian_network/private.py`).
4. Of `timegan`: the sum of the sequences' summaries, each clipped to norm C: L2 sensitivity C, Gaussian noise.
5. Gradients by DP-SGD over Poisson samples of sequences: of `timegan` those of the discriminator
   (`methods/timegan/private_recipe.py`), of `autoregressive_sequences` those of the network of rows
   (`methods/autoregressive_sequences/recipe.py`).

The split: `statistics_share` of the budget's rho (None: a fifth) goes to the distributions, in equal parts for all
columns of steps and entities. Of the rest, `NETWORK_SHARE` goes to the network where there is one, `SUMMARY_SHARE` to
summaries where they are released, and DP-SGD is calibrated to spend whatever that leaves.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from raysynth.data.sequences import LENGTH
from raysynth.data.table import as_table
from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import gaussian_vector
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.numeric import ModeEncoder
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.errors import DataError, ParameterError
from raysynth.files.model_file import ModelContent, under
from raysynth.fitting.method import OpenedTable
from raysynth.fitting.opening import earlier_run, fit_opened, kept_run, privacy_scope, spending_told
from raysynth.fitting.prepared import Prepared
from raysynth.fitting.private_run import as_json
from raysynth.fitting.released_schema import pay_for_schema
from raysynth.methods.bayesian_network.edge_rules import EdgeRules
from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.private import Workload, learn_privately
from raysynth.methods.bayesian_network.synthesizer import BayesianNetworkSynthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.registry import with_ledger
from raysynth.methods.sequences.data import WindowRows, vector_layout
from raysynth.methods.sequences.private_tables import BoundedSequences, LongTable, sequences_of_array
from raysynth.methods.sequences.rows import Coders, Learned, SequenceMaker, drawn_entities
from raysynth.methods.shared.grouping import Grouping
from raysynth.methods.timegan.network import SequenceLayout, VectorLayout, Vectors
from raysynth.methods.timegan.private_recipe import ReleasedSequences, summed_summaries
from raysynth.methods.timegan.summary import SequenceSummary
from raysynth.running.stages import stage
from raysynth.schema.table import TableSchema
from raysynth.statistics.noised import NoisedStatistics, earlier_statistics, release_statistics

if TYPE_CHECKING:
    from raysynth.fitting.private_run import PrivateRun, Releases
    from raysynth.methods.sequences.synthesizer import SequenceSynthesizer

STATISTICS_SHARE = 0.2  # of rho, where the user says nothing
NETWORK_SHARE = 0.1  # of the rho that the columns' distributions leave
SUMMARY_SHARE = 0.35
QUANTILES = 2048  # of each released distribution that the generator is held to
CONTEXTS = 4096  # lengths and contexts that are drawn from the released model of entities for training


@dataclass(frozen=True)
class PrivateSequences:
    """What a method learns sequences from under a budget.

    Args:
        rows: encoded sequences; private.
        coders: of steps and of the sequences' own columns.
        privacy: pays for the rest. private_run: the record of the fit; None where nothing is kept.
        seed: of initial weights and of sampling.
        entities, entity_schema: the model of the sequences' own columns, and what it makes.
        begun: the fit's value without what the method learns.
        static: names of the static columns.
    """

    rows: WindowRows
    coders: Coders
    privacy: PrivacyScope
    private_run: PrivateRun | None
    seed: int
    entities: BayesianNetworkSynthesizer | None
    entity_schema: TableSchema
    begun: Fitted
    static: tuple[str, ...]

    def fitted(self, sampler: SequenceMaker, history: list[dict[str, float]]) -> Fitted:
        """The fit's value with what makes the steps."""
        wholes = (self.coders.context, self.entity_schema, self.entities, self.static, self.coders.length)
        done = self.begun.with_learned(Learned(sampler, history, *wholes))
        return replace(done, privacy_spent=PrivacySpent.of(self.privacy.ledger, self.privacy.budget))

    def releases(self, **arrays: np.ndarray) -> Releases:
        """What a fit that goes on must take as it is, beside the encoder of steps; with `arrays` of the method."""
        context, context_arrays = self.coders.context.to_state()
        content = None if self.entities is None else self.entities._content()
        meta: dict[str, Any] = {"context": context, "entity_schema": self.entity_schema.to_dict()}
        meta["entities"] = None if content is None else content.meta
        parts = {"context": context_arrays, "entities": {} if content is None else content.arrays, "own": arrays}
        return meta, {f"{part}.{k}": v for part, own in parts.items() for k, v in own.items()}

    def released(self, name: str) -> np.ndarray | None:
        """An array of the method that the fit which this one resumes has released."""
        run = self.private_run
        return None if run is None or run.releases is None else run.releases[1].get(f"own.{name}")


def fit_privately(model: SequenceSynthesizer, data: Any, train: Callable[[PrivateSequences], Fitted]) -> Fitted:
    """Releases, then DP-SGD with the rest.

    Args:
        model: with the parameters of the fit. data: an array or a long table.
        train: learns the steps within what is left.
    """
    scope = sequence_scope(model)
    run = earlier_run(model, scope)
    scope = scope if run is None else run.scope
    with spending_told(scope):
        opened = opened_privately(model, data, scope, run)
        with stage("fit", scope.n_rows):
            return train(opened)


def sequence_scope(model: SequenceSynthesizer) -> PrivacyScope:
    """What a fit may spend; the unit of every event is a sequence."""
    asked = privacy_scope(model)
    assert asked is not None
    share = STATISTICS_SHARE if model.statistics_share is None else asked.preprocessing_share
    return PrivacyScope(asked.budget, unit=asked.unit, preprocessing_share=share, noise=asked.noise)


def opened_privately(
    model: SequenceSynthesizer, data: Any, scope: PrivacyScope, run: PrivateRun | None
) -> PrivateSequences:
    """Everything before the method's own releases: what a model knows of columns and entities, by releases alone.

    Args:
        model: in the middle of its fit.
        data: an array or a long table.
        scope: from `sequence_scope`, or of the run.
        run: of the fit that this one resumes.

    Raises:
        ParameterError: the budget is too small. SchemaError, DataError: about names and types.
    """
    seed = model._fit_seed() if run is None else run.seed
    with stage("statistics") as done:
        sequences = bounded_sequences(model, data, scope.noise)
        opened = partial(OpenedTable, sequences.steps, sequences.schema, sequences.step_schema, None)
        if run is None:
            pay_for_schema(model._declared_schema(), scope)
            encoder, context, entities = _released(model, sequences, scope, seed)
            run = kept_run(model, scope, opened(earlier_statistics(scope)), encoder, seed)
        else:
            run.check_schema(opened(earlier_statistics(scope)))
            encoder, context, entities = _earlier(run, sequences)
        done.rows = scope.n_rows
    if (warning := scope.budget.warning(scope.n_rows)) is not None:
        warnings.warn(warning, stacklevel=6)
    begun = Fitted(
        schema=sequences.schema,
        modelled_schema=sequences.step_schema,
        encoder=encoder,
        rules=None,
        n_rows=scope.n_rows,
        identifier_key=model._new_identifier_key(),
    )
    if model.verbose:
        print(f"about {scope.n_rows:,} sequences of at most {sequences.length} rows\n{sequences.schema.describe()}")
    with stage("encoding", scope.n_rows):
        rows = WindowRows(
            encoder.encode(sequences.steps.to_arrow()),
            context.encode(sequences.entities.to_arrow()),
            sequences.windows,
            sequences.length,
        )
    coders, own = Coders(encoder, context, sequences.length), (entities, sequences.entity_schema)
    return PrivateSequences(rows, coders, scope, run, seed, *own, begun, sequences.static)


def with_summary(opened: PrivateSequences) -> tuple[SequenceLayout, ReleasedSequences, Releases]:
    """What a generator learns from beside a discriminator, released now or by the fit that this one resumes."""
    coders, scope = opened.coders, opened.privacy
    layout = SequenceLayout(coders.length, vector_layout(coders.step), vector_layout(coders.context))
    drawn = drawn_entities(opened.entities, opened.entity_schema, CONTEXTS, None, opened.seed % 2**62)
    released = _drawn_context(drawn, coders.context, ranked_vectors(coders.step, layout.step))
    moments_D = opened.released("moments")
    if moments_D is None:
        share = (1 - scope.preprocessing_share) * SUMMARY_SHARE
        with stage("summaries", scope.n_rows):
            moments_D = learn_summary(opened.rows, layout, released.summary(layout), scope, share=share)
    return layout, replace(released, moments_D=moments_D), opened.releases(moments=moments_D)


def bounded_sequences(model: SequenceSynthesizer, data: Any, noise: NoiseSource) -> BoundedSequences:
    """The sequences that a fit learns, in the order in which they come: private.

    Args:
        model: with the parameters of the fit.
        data: an array or a long table.
        noise: draws the windows of long entities.

    Raises:
        ParameterError, SchemaError, DataError: about names, types and parameters, never about a row.
    """
    from raysynth.methods.sequences.synthesizer import is_array

    if is_array(data):
        for name in ("sequence_key", "time_column", "static_columns"):
            if getattr(model, name) is not None:
                raise ParameterError(f"{name} belongs to a long table; for an array leave it out")
        return sequences_of_array(
            data, length=model.sequence_length, features=model.features, declared=model._declared_schema()
        )
    if model.features is not None:
        raise ParameterError("features belongs to an array; a long table has its columns, so leave it out")
    length = model.sequence_length
    return LongTable(
        model.sequence_key,
        model.time_column,
        tuple(model.static_columns or ()),
        0 if length is None else length,  # without a key, which is refused by name
        model._declared_schema(),
        model._listed_kinds(),
        model.public_types,
    ).sequences(data, noise)


def learn_summary(
    rows: WindowRows, layout: SequenceLayout, summary: SequenceSummary, scope: PrivacyScope, *, share: float
) -> np.ndarray:
    """The noised mean of the sequences' summaries (D).

    Sensitivity: each summary is clipped to norm C and a sequence has one, so the sum changes by at most C in L2 norm.
    Theorem: the Gaussian mechanism. The noised sum is divided by the noised number of sequences: post-processing.
    """
    (event,) = scope.charge(
        events.gaussian("mean summary of a sequence", scope.share_multiplier(share), sensitivity=summary.clip)
    )
    assert event.noise_multiplier is not None
    exact = summed_summaries(rows, layout, summary)
    noised = gaussian_vector(exact, event.noise_multiplier, scope.noise, sensitivity=summary.clip)
    mean: np.ndarray = noised / scope.n_rows
    return mean


def ranked_vectors(encoder: TableEncoder, layout: VectorLayout) -> np.ndarray:
    """The numbers of a step's vector at evenly spaced ranks (M, W), from the released distributions; no row is read."""
    ranks = (np.arange(QUANTILES) + 0.5) / QUANTILES
    codes = np.zeros((QUANTILES, len(encoder.columns)), np.int64)
    values = np.zeros((QUANTILES, encoder.n_values), np.float32)
    for i, (column, place, shares) in enumerate(
        zip(encoder.columns, encoder.layout, encoder.frequencies(), strict=True)
    ):
        if not isinstance(column, ModeEncoder):
            codes[:, i] = np.minimum(np.searchsorted(np.cumsum(shares), ranks), column.cardinality - 1)
            continue
        missing = round(float(shares[-1]) * QUANTILES)
        inside = (np.arange(QUANTILES - missing) + 0.5) / max(1, QUANTILES - missing)
        numbers = column.to_arrow(column.distribution.quantile(inside), np.zeros(len(inside), bool))
        codes[:, i] = column.cardinality - 1
        codes[missing:, i], values[missing:, place.value_index] = column.encode(numbers)
    vectors = Vectors(layout)(torch.from_numpy(codes), torch.from_numpy(values))
    ranked: np.ndarray = vectors.sort(0).values.numpy()
    return ranked


# ---- stages of `opened_privately` ------------------------------------------------------------------------------------


def _released_columns(
    sequences: BoundedSequences, scope: PrivacyScope, share: float
) -> tuple[tuple[NoisedStatistics, NoisedStatistics], int]:
    """Of steps and of entities, each column with the same part of a share; and how many columns there are."""
    own, steps = (sum(c.kind.is_modelled for c in s.columns) for s in (sequences.entity_schema, sequences.step_schema))
    each = share / max(1, own + steps)
    entities = release_statistics(sequences.entities, sequences.entity_schema, scope, share=each * max(own, 1))
    length = sequences.length
    of_rows = PrivacyScope(
        scope.budget, unit=scope.unit, rows_per_unit=length, ledger=scope.ledger, noise=scope.noise, n_rows=scope.n_rows
    )
    mean = entities.columns[LENGTH].distribution().value.mean if LENGTH in entities.columns else float(length)
    n_steps = max(1, round(scope.n_rows * mean))
    of_steps = release_statistics(
        sequences.steps, sequences.step_schema, of_rows, share=each * max(steps, 1), n_rows=n_steps
    )
    return (of_steps, entities), own + steps


def _released(
    model: SequenceSynthesizer, sequences: BoundedSequences, scope: PrivacyScope, seed: int
) -> tuple[TableEncoder, TableEncoder, BayesianNetworkSynthesizer | None]:
    """Encoders of steps and of the sequences' own columns, and the model of the latter."""
    (steps, own), n_columns = _released_columns(sequences, scope, scope.preprocessing_share)
    encoder = build_encoder(
        sequences.step_schema, steps.columns, numeric=model.private_encoding, **model._encoder_options()
    )
    if not encoder.columns:
        raise DataError("no column of the steps can be modelled: all are identifiers, personal data or constants")
    context = build_encoder(_context_schema(sequences), own.columns, numeric="scaled")
    share = (1 - scope.preprocessing_share) * NETWORK_SHARE
    return encoder, context, _entities(sequences, own, scope, n_columns, share, seed)


def _earlier(
    run: PrivateRun, sequences: BoundedSequences
) -> tuple[TableEncoder, TableEncoder, BayesianNetworkSynthesizer | None]:
    """The same as the fit that this one resumes released them."""
    assert run.releases is not None
    meta, arrays = run.releases
    if meta["entity_schema"] != as_json(sequences.entity_schema.to_dict()):
        raise ParameterError(f"resume: the fit in '{run.folder}' had other columns; give it the same table and schema")
    context = TableEncoder.from_state(_context_schema(sequences), meta["context"], under("context.", arrays))
    if meta["entities"] is None:
        return run.encoder, context, None
    content = ModelContent(meta["entities"], under("entities.", arrays))
    return run.encoder, context, BayesianNetworkSynthesizer._from_content(content)


def _context_schema(sequences: BoundedSequences) -> TableSchema:
    schema = sequences.entity_schema
    return replace(schema, columns=tuple(c for c in schema.columns if c.name != LENGTH))


def _entities(
    sequences: BoundedSequences,
    statistics: NoisedStatistics,
    scope: PrivacyScope,
    n_columns: int,
    share: float,
    seed: int,
) -> BayesianNetworkSynthesizer | None:
    """The model of the sequences' own columns, within a share of the budget; None where they are the same for all."""
    schema = sequences.entity_schema
    own = sum(c.kind.is_modelled for c in schema.columns)
    if not own:
        return None
    of_entities = PrivacyScope(
        scope.budget,
        unit=scope.unit,
        preprocessing_share=scope.preprocessing_share * own / n_columns,
        ledger=scope.ledger,
        noise=scope.noise,
        n_rows=scope.n_rows,
    )
    model = _EntityNetwork(schema=schema, seed=seed % 2**62, verbose=False)
    model.share = share
    fit_opened(model, OpenedTable(sequences.entities, schema, schema, None, statistics), of_entities)
    return with_ledger(model, None)  # the ledger is that of the whole


class _EntityNetwork(BayesianNetworkSynthesizer):
    """A network that takes a share of a budget, not all of it; its file is that of any other network."""

    share: float = field(init=False)

    def _learned_privately(
        self, prepared: Prepared, scope: PrivacyScope, rules: EdgeRules, workload: Workload | None
    ) -> tuple[Network, Grouping | None]:
        return learn_privately(prepared, scope, rules, share=self.share, workload=workload)


def _drawn_context(drawn: pa.Table, encoder: TableEncoder, quantiles_MW: np.ndarray) -> ReleasedSequences:
    """Lengths and context as sampling will draw them."""
    lengths = drawn.column(LENGTH).to_numpy().astype(np.int64)
    if encoder.columns:
        context = encoder.encode(as_table(drawn).to_arrow())
    else:
        context = EncodedBlock(np.zeros((CONTEXTS, 0), np.uint16), np.zeros((CONTEXTS, 0), np.float32))
    return ReleasedSequences(quantiles_MW, lengths, context.codes_NC, context.values_NV)
