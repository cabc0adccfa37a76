"""AutoregressiveSequences: arrays and long tables, row after row, by a network with a recurrent state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from raysynth.data.sequences import held_back
from raysynth.encoding.table_encoder import NumericForm, TableEncoder
from raysynth.errors import ParameterError
from raysynth.fitting.checks import is_private
from raysynth.methods.autoregressive_sequences.encoded_changes import coded_steps, few_values, step_form
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted, Tempered
from raysynth.methods.parameters import Computed, Parameter
from raysynth.methods.sequences.data import SequenceTables, WindowRows, vector_layout
from raysynth.methods.sequences.rows import Coders, Keep, SequenceMaker
from raysynth.methods.sequences.synthesizer import SequenceSynthesizer
from raysynth.methods.shared.training_parameters import (
    FEWEST_EPOCHS,
    CheckpointEvery,
    Dropout,
    Hidden,
    Layers,
    Patience,
    Temperature,
    ValidationShare,
    WeightDecay,
    Width,
)

if TYPE_CHECKING:
    from raysynth.methods.autoregressive_sequences.encoded_changes import CodedSteps
    from raysynth.methods.autoregressive_sequences.recipe import SequenceJob
    from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler
    from raysynth.training.loop import TrainResult

ROWS_OF_BATCH = (256, 1024)
STEPS_OF_EPOCH = 50  # smaller batches for small tables, so that an epoch has about so many steps


class AutoregressiveSequences(SequenceSynthesizer):
    """Sequences drawn row after row, each row given the rows before it and the sequence's own columns.

    Each column of a row is predicted from the columns before it in the row, and from a recurrent state over the rows
    before (see `methods/autoregressive_sequences/network.py`). Numbers are modelled as what a linear prediction leaves
    over, in fine bins (`methods/autoregressive_sequences/changes.py`), so that prices keep their cents and a close
    stays below its high. What a sequence has of its own (static columns, time of the first row, length) is learned by
    an `AutoregressiveSynthesizer` and drawn first: conditions on it are exact. The length is drawn with it, and not as
    a sign 'last row' along the way, so that it can be asked for, and the rows know from the first how many are to come.
    It takes and gives arrays or long tables, as `SequenceSynthesizer` describes.

    Training ends where the loss of sequences that are held back has not fallen for `patience` epochs, and the best
    weights are kept. Of one series whole stretches are held back, without the windows that overlap them.
    """

    method: ClassVar[str] = "autoregressive_sequences"
    numeric_encoding: ClassVar[NumericForm] = "scaled"
    joins_windows: ClassVar[bool] = True

    epochs: Annotated[
        int | None,
        Parameter(
            "passes over the rows (of overlapping windows each shows a few), see `patience`",
            at_least=1,
            otherwise=Computed("as many as `AutoregressiveSynthesizer` makes of so many rows"),
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            "sequences of a step",
            at_least=1,
            otherwise=Computed("as many as have about 1,024 rows (256 in a small table), 4 to 256"),
        ),
    ] = None
    units: Annotated[int, Parameter("of the recurrent state", at_least=1, tried=(32, 64, 128))] = 64
    width: Width = 64
    hidden: Hidden = 32
    layers: Layers = 2
    dropout: Dropout = 0.35
    learning_rate: Annotated[
        float, Parameter("learning rate of AdamW", above=0, at_most=1, tried=(2e-3, 4e-3, 8e-3))
    ] = 4e-3
    weight_decay: WeightDecay = 0.3
    validation_share: ValidationShare = 0.05
    patience: Patience = 5
    n_bins: Annotated[int, Parameter("bins of a number's change", at_least=1)] = 100
    temperature: Temperature = 1.0
    checkpoint_every: CheckpointEvery = 10

    sampler_: AutoregressiveSequenceSampler = field(init=False)
    _tempered: Tempered[AutoregressiveSequenceSampler] = field(default=None, init=False)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_together(self) -> None:
        super()._check_together()
        if is_private(self):
            raise ParameterError(
                "AutoregressiveSequences has no differential privacy yet; leave out differential_privacy and epsilon, "
                "take TimeSeriesGAN, or make one row of each entity and give that table to AutoregressiveSynthesizer "
                "or DPTabularVAE"
            )

    def _entity_class(self) -> type[Synthesizer]:
        from raysynth.methods.autoregressive.synthesizer import AutoregressiveSynthesizer

        return AutoregressiveSynthesizer

    def _step_encoder(self, tables: SequenceTables) -> TableEncoder:
        return tables.step_encoder(binned=few_values(tables.step_encoder()))

    def _maker(self) -> SequenceMaker:
        learned, (of, found) = self.sampler_, self._tempered or (None, None)
        if found is None or of is not learned or found.first.temperature != self.temperature:
            self._check_parameters()
            found = learned.at_temperature(float(self.temperature))
            self._tempered = learned, found
        return found

    def _train(self, tables: SequenceTables, rows: WindowRows, coders: Coders, seed: int, fitted: Keep) -> Fitted:
        from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler
        from raysynth.methods.sequences.training import train_sequences
        from raysynth.training.job import CPU, trained

        coded = coded_steps(rows, coders.step, tables.ordered.starts, self.n_bins, tables.rare_rows)
        job = self._job(coded, tables, coders, seed)

        def learned(result: TrainResult) -> Fitted:
            network = trained(job.trainable(CPU), result.state).network
            sampler = AutoregressiveSequenceSampler.of(network, coded.form, coded.changes, job.frequencies)
            return fitted(sampler, result.history)

        return train_sequences(self, job, coded.rows, learned, first=job.held)

    def _job(self, coded: CodedSteps, tables: SequenceTables, coders: Coders, seed: int) -> SequenceJob:
        from raysynth.methods.autoregressive.network import NetworkSettings
        from raysynth.methods.autoregressive.recipe import AnyOrderSettings
        from raysynth.methods.autoregressive.synthesizer import default_epochs
        from raysynth.methods.autoregressive_sequences.network import SequenceCodes
        from raysynth.methods.autoregressive_sequences.recipe import SequenceJob
        from raysynth.methods.sequences.training import divided_batch, most_workers
        from raysynth.training.held_out import MAX_VALIDATION_ROWS
        from raysynth.training.loop import TrainSettings

        n, n_rows = len(coded.rows), tables.ordered.rows.num_rows
        length = float(coded.rows.windows.length.mean())
        passes = max(1.0, n * length / n_rows)
        rows_of_batch = np.clip(n_rows / STEPS_OF_EPOCH, *ROWS_OF_BATCH)
        workers = most_workers(self)
        own = int(np.clip(rows_of_batch // length, 4, 256)) // workers * workers
        batch_size = divided_batch(self, self.batch_size or max(own, workers), n)
        shown, part = default_epochs(n_rows)
        epochs = self.epochs or (shown if part is None else FEWEST_EPOCHS)  # of all windows
        training = AnyOrderSettings(
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            total_steps=epochs * max(1, round(n // batch_size / passes)),
        )
        rng = np.random.default_rng([seed, 2])
        held, left_out = held_back(tables.ordered, tables.windows, self.validation_share, MAX_VALIDATION_ROWS, rng)
        if len(held) < workers:  # each has to have one: a loss is averaged over all of them
            held, left_out = held[:0], left_out[:0]
        layout = SequenceCodes(coders.length, coded.layout, coded.form.n_numbers, vector_layout(coders.context))
        settings = TrainSettings(
            epochs,
            batch_size,
            seed,
            checkpoint_every=self.checkpoint_every,
            validation_share=self.validation_share,
            patience=self.patience,
        )
        return SequenceJob(
            layout,
            NetworkSettings(self.width, self.hidden, self.layers, self.dropout),
            self.units,
            training,
            coded.frequencies,
            coded.knots_VQ,
            passes,
            held,
            left_out,
            settings=settings,
        )

    def _sampler_of(self, network: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SequenceMaker:
        from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler

        return AutoregressiveSequenceSampler.from_state(network, arrays)

    def _fits_encoders(self) -> bool:
        form, own = self.sampler_.form, step_form(self.encoder_)
        same = (form.cardinalities, form.fixed_codes, form.number_columns)
        context = self.sampler_.codes.context == vector_layout(self.context_encoder_)
        return context and same == (own.cardinalities, own.fixed_codes, own.number_columns)
