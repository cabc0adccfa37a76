"""AutoregressiveSequences: arrays and long tables, row after row, by a network with a recurrent state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from raysynth.data.sequences import held_back
from raysynth.encoding.table_encoder import NumericForm, TableEncoder
from raysynth.fitting.checks import is_private
from raysynth.methods.autoregressive_sequences.encoded_changes import (
    coded_steps,
    few_values,
    fixed_codes,
    step_form,
    steps_of_codes,
)
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted, Tempered
from raysynth.methods.parameters import (
    FEWEST_EPOCHS,
    CheckpointEvery,
    ClipNorm,
    Computed,
    Dropout,
    Hidden,
    Layers,
    Parameter,
    Patience,
    Temperature,
    ValidationShare,
    WeightDecay,
    Width,
)
from raysynth.methods.sequences.data import SequenceTables, WindowRows, vector_layout
from raysynth.methods.sequences.rows import Coders, Keep, SequenceMaker
from raysynth.methods.sequences.synthesizer import SequenceSynthesizer
from raysynth.training.window_shards import NONE_FIRST

if TYPE_CHECKING:
    from raysynth.dp.gradients.release import DpSgdPlan
    from raysynth.methods.autoregressive_sequences.encoded_changes import CodedSteps
    from raysynth.methods.autoregressive_sequences.recipe import SequenceJob
    from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler
    from raysynth.methods.sequences.private import PrivateSequences
    from raysynth.training.loop import TrainResult, TrainSettings

ROWS_OF_BATCH = (256, 1024)
PRIVATE_EPOCHS, PRIVATE_RATE = 20, 10.0
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

    With `epsilon` the guarantee is by sequence, as of `TimeSeriesGAN`: declare `sequence_length` and `static_columns`
    of a table. Numbers are bins then, nothing is held back, the network of rows is taught by DP-SGD, and a Bayesian
    network learns the sequences' own columns (`methods/sequences/private.py`). Noise grows with the number of weights
    and steps are few, so `units`, `width`, `hidden` and `n_bins` are a quarter of what is given (at least 8, or what is
    given), `learning_rate` is ten times it, and there is neither dropout nor weight decay.
    """

    method: ClassVar[str] = "autoregressive_sequences"
    numeric_encoding: ClassVar[NumericForm] = "scaled"
    private_encoding: ClassVar[NumericForm] = "bins"
    joins_windows: ClassVar[bool] = True

    epochs: Annotated[
        int | None,
        Parameter(
            "passes over the rows (of overlapping windows each shows a few), see `patience`",
            at_least=1,
            otherwise=Computed("as many as `AutoregressiveSynthesizer` makes of so many rows"),
            under_budget=PRIVATE_EPOCHS,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            "sequences of a step",
            at_least=1,
            otherwise=Computed("as many as have about 1,024 rows (256 in a small table), 4 to 256"),
            under_budget=Computed("a 25th of them (256 to 4,096), since the noise of a step does not grow with it"),
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
    clip_norm: ClipNorm = 1.0

    sampler_: AutoregressiveSequenceSampler = field(init=False)
    _tempered: Tempered[AutoregressiveSequenceSampler] = field(default=None, init=False)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _encoder_options(self) -> dict[str, Any]:
        return {"n_bins": _within_budget(self.n_bins)}

    def _entity_class(self) -> type[Synthesizer]:
        from raysynth.methods.autoregressive.synthesizer import AutoregressiveSynthesizer
        from raysynth.methods.bayesian_network.synthesizer import BayesianNetworkSynthesizer

        return BayesianNetworkSynthesizer if is_private(self) else AutoregressiveSynthesizer

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
        coded = coded_steps(rows, coders.step, tables.ordered.starts, self.n_bins, tables.rare_rows)
        return self._trained(self._job(coded, tables, coders, seed), coded, fitted)

    def _fit_privately(self, data: Any) -> Fitted:
        from raysynth.methods.sequences.private import fit_privately

        return fit_privately(self, data, self._train_privately)

    def _train_privately(self, opened: PrivateSequences) -> Fitted:
        coded = steps_of_codes(opened.rows, opened.coders.step)
        return self._trained(self._private_job(coded, opened), coded, opened.fitted)

    def _trained(self, job: SequenceJob, coded: CodedSteps, fitted: Keep) -> Fitted:
        from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler
        from raysynth.methods.sequences.training import train_sequences
        from raysynth.training.job import CPU, trained

        def learned(result: TrainResult) -> Fitted:
            network = trained(job.trainable(CPU), result.state).network
            sampler = AutoregressiveSequenceSampler.of(network, coded.form, coded.changes, job.frequencies)
            return fitted(sampler, result.history)

        return train_sequences(self, job, coded.rows, learned, first=job.held)

    def _private_job(self, coded: CodedSteps, opened: PrivateSequences) -> SequenceJob:
        """The plan of DP-SGD, charged, and what it trains."""
        from raysynth.fitting.private_run import charged_plan, private_batch_size
        from raysynth.methods.autoregressive.synthesizer import PRIVATE_EMA
        from raysynth.training.loop import TrainSettings

        epochs = self._settled(under_budget=True).epochs
        batch_size = self.batch_size or private_batch_size(opened.privacy.n_rows)
        how = {"batch_size": batch_size, "epochs": epochs, "clip_norm": self.clip_norm}
        plan = charged_plan(opened, "gradients of the network", releases=opened.releases(), **how)
        settings = TrainSettings(
            epochs, batch_size, opened.seed, checkpoint_every=self.checkpoint_every, ema_decay=PRIVATE_EMA
        )
        return self._job_of(coded, opened.coders, settings, plan.steps, plan=plan)

    def _job(self, coded: CodedSteps, tables: SequenceTables, coders: Coders, seed: int) -> SequenceJob:
        from raysynth.methods.autoregressive.synthesizer import default_epochs
        from raysynth.methods.sequences.training import divided_batch, most_workers
        from raysynth.training.batches import MAX_VALIDATION_ROWS
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
        rng = np.random.default_rng([seed, 2])
        held, left_out = held_back(tables.ordered, tables.windows, self.validation_share, MAX_VALIDATION_ROWS, rng)
        if len(held) < workers:  # each has to have one: a loss is averaged over all of them
            held, left_out = held[:0], left_out[:0]
        settings = TrainSettings(
            epochs,
            batch_size,
            seed,
            checkpoint_every=self.checkpoint_every,
            validation_share=self.validation_share,
            patience=self.patience,
        )
        steps = epochs * max(1, round(n // batch_size / passes))
        return self._job_of(coded, coders, settings, steps, passes, held, left_out)

    def _job_of(
        self,
        coded: CodedSteps,
        coders: Coders,
        settings: TrainSettings,
        steps: int,
        passes: float = 1.0,
        held: np.ndarray = NONE_FIRST,
        left_out: np.ndarray = NONE_FIRST,
        plan: DpSgdPlan | None = None,
    ) -> SequenceJob:
        """The network and its optimiser, over so many steps; under a plan of DP-SGD without dropout and decay."""
        from raysynth.methods.autoregressive.network import NetworkSettings
        from raysynth.methods.autoregressive.recipe import AnyOrderSettings
        from raysynth.methods.autoregressive_sequences.network import SequenceCodes
        from raysynth.methods.autoregressive_sequences.recipe import SequenceJob

        units, width, hidden = self.units, self.width, self.hidden
        rate, dropout, decay = self.learning_rate, self.dropout, self.weight_decay
        if plan is not None:
            units, width, hidden = (_within_budget(size) for size in (units, width, hidden))
            rate, dropout, decay = min(1.0, PRIVATE_RATE * rate), 0.0, 0.0
        return SequenceJob(
            SequenceCodes(coders.length, coded.layout, coded.form.n_numbers, vector_layout(coders.context)),
            NetworkSettings(width, hidden, self.layers, dropout),
            units,
            AnyOrderSettings(learning_rate=rate, weight_decay=decay, total_steps=steps),
            coded.frequencies,
            coded.knots_VQ,
            passes,
            held,
            left_out,
            settings=settings,
            plan=plan,
        )

    def _sampler_of(
        self, network: Mapping[str, Any], arrays: Mapping[str, np.ndarray], coders: Coders
    ) -> SequenceMaker:
        from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler

        return AutoregressiveSequenceSampler.from_state(network, arrays)

    def _fits_encoders(self) -> bool:
        form, own = self.sampler_.form, step_form(self.encoder_)
        same = (form.cardinalities, form.number_columns) == (own.cardinalities, own.number_columns)
        # in files of before all columns may be fixed
        fixed = form.fixed_codes in (own.fixed_codes, fixed_codes(self.encoder_))
        return same and fixed and self.sampler_.codes.context == vector_layout(self.context_encoder_)


def _within_budget(size: int) -> int:
    """Of a network, or bins, under a budget."""
    return min(size, max(8, size // 4))
