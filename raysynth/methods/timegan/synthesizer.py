"""TimeSeriesGAN: sequences from an array or from a long table, by TimeGAN (Yoon et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from raysynth.encoding.table_encoder import NumericForm
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import CheckpointEvery, ClipNorm, Computed, Parameter, Schedule
from raysynth.methods.sequences.data import SequenceTables, WindowRows, vector_layout
from raysynth.methods.sequences.rows import Coders, Keep, SequenceMaker
from raysynth.methods.sequences.synthesizer import SequenceSynthesizer

if TYPE_CHECKING:
    from raysynth.methods.sequences.private import PrivateSequences
    from raysynth.methods.timegan.private_recipe import PrivateTimeGanJob
    from raysynth.methods.timegan.recipe import TimeGanJob, TimeGanSettings
    from raysynth.methods.timegan.sampler import SequenceSampler
    from raysynth.training.loop import TrainResult

EPOCHS, BATCH_SIZE = (150, 400), 128
UPDATES = 11_200  # that the default number of epochs makes, within its bounds
PRIVATE_EPOCHS = 20
COMPARED = 4096  # sequences whose levels are compared with made ones


LearningRate = Annotated[float, Parameter("learning rate of Adam", above=0, below=1, tried=(1e-3, 2e-3, 4e-3))]


class TimeSeriesGAN(SequenceSynthesizer):
    """TimeGAN (Yoon, Jarrett and van der Schaar 2019): a generator of sequences in the latent space of an autoencoder.

    Learns an array (sequences, steps, features), or a long table of many rows for each entity, and gives back the same
    form (see `SequenceSynthesizer`).

    The five networks and their losses are in `methods/timegan/network.py` and `methods/timegan/recipe.py`. The static
    columns, the time of the first row and the length are learned together by a Bayesian network, so that conditions on
    static columns are exact; the networks see them as context, in training and in sampling. Made sequences get the
    levels of real ones (`methods/timegan/sampler.py`; not under a privacy budget).

    With `epsilon` the guarantee is by sequence (all rows of an entity, or one sequence of an array): declare
    `sequence_length` and `static_columns` of a table. Of longer entities one window, drawn at random, is learned;
    `window_step` is not used. There is no embedding then: the discriminator, taught by DP-SGD, sees the steps, and the
    generator is held to a noised mean of summaries of the sequences (`methods/sequences/private.py` says how the
    budget is divided; `statistics_share` None: a fifth). `schema` may declare bounds of an array's 'feature 1' ....
    """

    method: ClassVar[str] = "timegan"
    numeric_encoding: ClassVar[NumericForm] = "scaled"

    hidden_dim: Annotated[int, Parameter("units of each network", at_least=1, tried=(16, 24, 48))] = 24
    epochs: Annotated[
        int | None,
        Parameter(
            "passes over the sequences",
            at_least=1,
            otherwise=Computed("400 (of up to about 3,700 sequences) to 150 (from about 9,600 on)"),
            under_budget=PRIVATE_EPOCHS,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            "sequences of a step, over all workers together; without a budget distributions are matched within a "
            "worker's share of it, and less finely within a small one: with more workers, take more sequences",
            at_least=1,
            otherwise=BATCH_SIZE,
            under_budget=Computed("a 25th of them (256 to 4,096), since the noise of a step does not grow with it"),
        ),
    ] = None
    layers: Annotated[int, Parameter("of each recurrent network", at_least=1)] = 1
    noise_dim: Annotated[int, Parameter("noise numbers of each step, and of a whole sequence", at_least=1)] = 8
    learning_rate: LearningRate = 2e-3
    discriminator_lr: LearningRate = 2e-3
    supervised_weight: Annotated[
        float, Parameter("weight of the loss of the supervisor (the paper's eta)", at_least=0, below=1e6)
    ] = 10.0
    distance_weight: Annotated[
        float,
        Parameter(
            "weight of the loss that matches the distribution of whole sequences (the paper: moments); with "
            "differential privacy, of the distance from what was released",
            at_least=0,
            below=1e6,
        ),
    ] = 3.0
    ema_decay: Annotated[
        float,
        Parameter("of the moving average of the weights that sequences are sampled with", at_least=0, below=1),
    ] = 0.995
    schedule: Schedule = "cosine"
    checkpoint_every: CheckpointEvery = 10
    clip_norm: ClipNorm = 1.0

    sampler_: SequenceSampler = field(init=False)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _fit_privately(self, data: Any) -> Fitted:
        from raysynth.methods.sequences.private import fit_privately

        return fit_privately(self, data, self._train_privately)

    def _train_privately(self, opened: PrivateSequences) -> Fitted:
        from raysynth.methods.sequences.training import train_sequences
        from raysynth.methods.timegan.sampler import SequenceSampler
        from raysynth.training.job import CPU, trained

        job = self._private_job(opened)

        def learned(result: TrainResult) -> Fitted:
            networks = trained(job.trainable(CPU), result.state)
            sampler = SequenceSampler.of(job.layout, job.sizes, networks.generator, networks.autoencoder)
            return opened.fitted(sampler, result.history)

        return train_sequences(self, job, opened.rows, learned)

    def _private_job(self, opened: PrivateSequences) -> PrivateTimeGanJob:
        """The plan of DP-SGD, charged, and what it trains."""
        from raysynth.fitting.private_run import charged_plan, private_batch_size
        from raysynth.methods.sequences.private import with_summary
        from raysynth.methods.timegan.private_recipe import PrivateTimeGanJob
        from raysynth.training.loop import TrainSettings

        layout, released, kept = with_summary(opened)
        epochs = self._settled(under_budget=True).epochs
        how = {"batch_size": self.batch_size or private_batch_size(opened.privacy.n_rows), "epochs": epochs}
        gradients = "gradients of the discriminator"
        plan = charged_plan(opened, gradients, clip_norm=self.clip_norm, releases=kept, **how)
        settings = TrainSettings(
            epochs, how["batch_size"], opened.seed, self.schedule, self.checkpoint_every, ema_decay=self.ema_decay
        )
        return PrivateTimeGanJob(layout, self._networks(), released, settings=settings, plan=plan)

    def _entity_class(self) -> type[Synthesizer]:
        from raysynth.methods.bayesian_network.synthesizer import BayesianNetworkSynthesizer

        return BayesianNetworkSynthesizer

    def _sampler_of(
        self, network: Mapping[str, Any], arrays: Mapping[str, np.ndarray], coders: Coders
    ) -> SequenceMaker:
        from raysynth.methods.timegan.sampler import SequenceSampler

        return SequenceSampler.from_state(network, arrays)

    def _fits_encoders(self) -> bool:
        layout = self.sampler_.layout
        return (vector_layout(self.encoder_), vector_layout(self.context_encoder_)) == (layout.step, layout.context)

    def _train(self, tables: SequenceTables, rows: WindowRows, coders: Coders, seed: int, fitted: Keep) -> Fitted:
        from raysynth.methods.sequences.training import train_sequences
        from raysynth.methods.timegan.sampler import SequenceSampler
        from raysynth.training.job import CPU, trained

        job = self._job(coders, seed, len(rows))
        rng = np.random.default_rng([seed, 4])
        compared = rows.take(rng.choice(len(rows), min(len(rows), COMPARED), replace=False))

        def learned(result: TrainResult) -> Fitted:
            networks = trained(job.trainable(CPU), result.state)
            sampler = SequenceSampler.of(job.layout, job.sizes, networks.generator, networks.autoencoder)
            return fitted(sampler.with_levels_of(compared, seed), result.history)

        return train_sequences(self, job, rows, learned)

    def _job(self, coders: Coders, seed: int, n_sequences: int) -> TimeGanJob:
        from raysynth.methods.sequences.training import divided_batch
        from raysynth.methods.timegan.network import SequenceLayout
        from raysynth.methods.timegan.recipe import TimeGanJob
        from raysynth.training.loop import TrainSettings

        layout = SequenceLayout(coders.length, vector_layout(coders.step), vector_layout(coders.context))
        batch_size = divided_batch(self, self._settled(under_budget=False).batch_size, n_sequences)
        epochs = self.epochs or default_epochs(n_sequences, batch_size)
        settings = TrainSettings(
            epochs, batch_size, seed, self.schedule, self.checkpoint_every, ema_decay=self.ema_decay
        )
        return TimeGanJob(layout, self._networks(), settings=settings)

    def _networks(self) -> TimeGanSettings:
        from raysynth.methods.timegan.recipe import TimeGanSettings

        return TimeGanSettings(
            hidden=self.hidden_dim,
            layers=self.layers,
            noise=self.noise_dim,
            learning_rate=self.learning_rate,
            discriminator_rate=self.discriminator_lr,
            supervised_weight=self.supervised_weight,
            distance_weight=self.distance_weight,
        )


def default_epochs(n_sequences: int, batch_size: int) -> int:
    """Passes over the sequences: about as many updates for tables of any size, within bounds."""
    return int(np.clip(round(UPDATES / max(1, n_sequences // batch_size)), *EPOCHS))
