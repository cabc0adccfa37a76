"""AutoregressiveSequences: arrays and long tables, row after row, by a network with a recurrent state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from raysynth.data.sequences import held_back
from raysynth.encoding.table_encoder import NumericForm, TableEncoder
from raysynth.errors import ParameterError
from raysynth.fitting.checks import check_between, check_whole, is_private
from raysynth.methods.autoregressive_sequences.encoded_changes import coded_steps, few_values, step_form
from raysynth.methods.base import Synthesizer
from raysynth.methods.sequences.data import SequenceTables, WindowRows, vector_layout
from raysynth.methods.sequences.rows import SequenceMaker
from raysynth.methods.sequences.synthesizer import SequenceSynthesizer

if TYPE_CHECKING:
    from raysynth.methods.autoregressive_sequences.encoded_changes import CodedSteps
    from raysynth.methods.autoregressive_sequences.recipe import SequenceJob
    from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler
    from raysynth.training.loop import TrainResult

ROWS_OF_BATCH = (256, 1024)
STEPS_OF_EPOCH = 50  # smaller batches for small tables, so that an epoch has about so many steps


class AutoregressiveSequences(SequenceSynthesizer):
    """Sequences row after row: p(row | the rows before it, the sequence's own columns) as a product of conditionals.

    Each column of a row is told from the columns before it in the row, and from a recurrent state over the rows before
    (see `methods/autoregressive_sequences/network.py`). Numbers are told as what a linear prediction leaves over, in
    fine bins (`methods/autoregressive_sequences/changes.py`), so that prices keep their cents and a close stays below
    its high. What a sequence has of its own (static columns, time of the first row, length) is learned by an
    `AutoregressiveSynthesizer` and drawn first: conditions on it are exact. The length is drawn with it, and not as a
    sign 'last row' along the way, so that it can be asked for, and the rows know from the first how many are to come.
    What it takes and gives is told by `SequenceSynthesizer`.

    Args:
        epochs: passes over the rows (of overlapping windows each shows a few); None: as many as
            `AutoregressiveSynthesizer` makes of so many rows. Training ends earlier where the loss of sequences that
            are held back has not fallen for `patience` epochs; the best weights are kept.
        batch_size: sequences of a step; None: as many as have about 1,024 rows (256 in a small table), 4 to 256.
        units: of the recurrent state.
        width: of the contexts. hidden: units of a residual layer. layers: residual layers of each column.
        dropout: share of units, and of inputs of the recurrent state, dropped in training.
        learning_rate, weight_decay: of AdamW.
        validation_share: share of the sequences held back to choose the best weights; windows of one series by whole
            stretches of it, without those that overlap them. 0: none, the last weights are kept.
        patience: see `epochs`; 0: never end early.
        n_bins: bins of a number's change.
        temperature: of sampling; may be changed after the fit.
        checkpoint_every: epochs between checkpoints, where `run_config.storage_path` says where to put them.
        common: `sequence_length`, `features`, `sequence_key`, `time_column`, `static_columns` and `window_step` of
            `SequenceSynthesizer`, and the arguments of `Synthesizer`.
    """

    method: ClassVar[str] = "autoregressive_sequences"
    numeric_encoding: ClassVar[NumericForm] = "scaled"
    joins_windows: ClassVar[bool] = True
    sampler_: AutoregressiveSequenceSampler

    def __init__(
        self,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        units: int = 64,
        width: int = 64,
        hidden: int = 32,
        layers: int = 2,
        dropout: float = 0.35,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.3,
        validation_share: float = 0.05,
        patience: int = 5,
        n_bins: int = 100,
        temperature: float = 1.0,
        checkpoint_every: int = 10,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.epochs = epochs
        self.batch_size = batch_size
        self.units = units
        self.width = width
        self.hidden = hidden
        self.layers = layers
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_share = validation_share
        self.patience = patience
        self.n_bins = n_bins
        self.temperature = temperature
        self.checkpoint_every = checkpoint_every

    def sample_arrow(self, n_sequences: int | None = None, conditions: Any = None, seed: int | None = None) -> pa.Table:
        """As `sample`, as an Arrow table of all steps."""
        self._require_fitted()
        if self.sampler_.first.temperature != self.temperature:
            self._check_parameters()
            self.sampler_ = self.sampler_.at_temperature(float(self.temperature))
        return super().sample_arrow(n_sequences, conditions, seed)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if is_private(self):
            raise ParameterError(
                "AutoregressiveSequences has no differential privacy yet; leave out differential_privacy and epsilon, "
                "take TimeSeriesGAN, or make one row of each entity and give that table to AutoregressiveSynthesizer "
                "or DPTabularVAE"
            )
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        for name in ("units", "width", "hidden", "layers", "n_bins", "checkpoint_every"):
            check_whole(name, getattr(self, name))
        check_whole("patience", self.patience, low=0)
        for name, high in (("dropout", 0.95), ("validation_share", 0.5), ("weight_decay", 10)):
            check_between(name, getattr(self, name), 0, high)
        for name, high in (("learning_rate", 1), ("temperature", 100)):
            check_between(name, getattr(self, name), 0, high, open_low=True)

    def _entity_class(self) -> type[Synthesizer]:
        from raysynth.methods.autoregressive.synthesizer import AutoregressiveSynthesizer

        return AutoregressiveSynthesizer

    def _step_encoder(self, tables: SequenceTables) -> TableEncoder:
        return tables.step_encoder(binned=few_values(tables.step_encoder()))

    def _train(self, tables: SequenceTables, rows: WindowRows, seed: int) -> None:
        from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler
        from raysynth.methods.sequences.training import train_sequences

        coded = coded_steps(rows, self.encoder_, tables.ordered.starts, self.n_bins, tables.step_schema.rare_threshold)
        job = self._job(coded, tables, seed)

        def keep(model: AutoregressiveSequences, trained: TrainResult) -> None:
            model.history_ = trained.history
            network = job.network_of(trained.state)
            model.sampler_ = AutoregressiveSequenceSampler.of(network, coded.form, coded.changes, job.frequencies)

        train_sequences(self, job, coded.rows, keep, first=job.held)

    def _job(self, coded: CodedSteps, tables: SequenceTables, seed: int) -> SequenceJob:
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
        epochs = self.epochs or default_epochs(n_rows)
        training = AnyOrderSettings(
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            validation_share=self.validation_share,
            patience=self.patience,
            total_steps=epochs * max(1, round(n // batch_size / passes)),
        )
        rng = np.random.default_rng([seed, 2])
        held, left_out = held_back(tables.ordered, tables.windows, self.validation_share, MAX_VALIDATION_ROWS, rng)
        if len(held) < workers:  # each has to have one: a loss is averaged over all of them
            held, left_out = held[:0], left_out[:0]
        layout = SequenceCodes(
            self.sequence_length_, coded.layout, coded.form.n_numbers, vector_layout(self.context_encoder_)
        )
        return SequenceJob(
            layout,
            NetworkSettings(self.width, self.hidden, self.layers, self.dropout),
            self.units,
            training,
            TrainSettings(epochs, batch_size, seed, checkpoint_every=self.checkpoint_every),
            coded.frequencies,
            coded.knots_VQ,
            passes,
            held,
            left_out,
        )

    def _sampler_of(self, network: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SequenceMaker:
        from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler

        return AutoregressiveSequenceSampler.from_state(network, arrays)

    def _fits_encoders(self) -> bool:
        form, own = self.sampler_.form, step_form(self.encoder_)
        same = (form.cardinalities, form.fixed_codes, form.number_columns)
        context = self.sampler_.codes.context == vector_layout(self.context_encoder_)
        return context and same == (own.cardinalities, own.fixed_codes, own.number_columns)
