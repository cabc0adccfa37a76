"""TimeSeriesGAN: sequences from an array or from a long table, by TimeGAN (Yoon et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from raysynth.encoding.table_encoder import NumericForm
from raysynth.errors import ParameterError
from raysynth.synthesizers.base import Synthesizer
from raysynth.synthesizers.checks import check_whole
from raysynth.synthesizers.sequence_data import SequenceTables, WindowRows, vector_layout
from raysynth.synthesizers.sequence_rows import SequenceMaker
from raysynth.synthesizers.sequence_synthesizer import SequenceSynthesizer

if TYPE_CHECKING:
    from raysynth.models.time_gan_sampler import SequenceSampler
    from raysynth.training.loop import TrainResult
    from raysynth.training.time_gan import TimeGanJob


class TimeSeriesGAN(SequenceSynthesizer):
    """Sequences that a generator makes in the latent space of an autoencoder, taught by a discriminator of sequences.

    Learns an array, or a long table of many rows for each entity; what it takes and gives is told by
    `SequenceSynthesizer`.

    The five networks and their losses are in `models/time_gan.py` and `training/time_gan.py`. The static columns, the
    time of the first row and the length are learned together by a Bayesian network, so that conditions on static
    columns are exact; the networks see them as context, in training and in sampling.

    Args:
        hidden_dim: units of each network.
        epochs: passes over the sequences.
        batch_size: sequences of a step, over all workers together. Distributions are matched within a worker's share of
            it, and less finely within a small one: with more workers, take more sequences.
        layers: of each recurrent network.
        noise_dim: noise numbers of each step, and of a whole sequence.
        learning_rate, discriminator_lr: of Adam.
        supervised_weight: weight of the loss of the supervisor (the paper's eta).
        distance_weight: weight of the loss that matches the distribution of whole sequences (the paper: moments).
        ema_decay: of the moving average of the weights that sequences are sampled with.
        schedule: of the learning rates: 'constant' or 'cosine'.
        checkpoint_every: epochs between checkpoints, where `run_config.storage_path` says where to put them.
        common: `sequence_length`, `features`, `sequence_key`, `time_column`, `static_columns` and `window_step` of
            `SequenceSynthesizer`, and the arguments of `Synthesizer`.
    """

    method: ClassVar[str] = "timegan"
    numeric_encoding: ClassVar[NumericForm] = "scaled"
    sampler_: SequenceSampler

    def __init__(
        self,
        *,
        hidden_dim: int = 24,
        epochs: int = 150,
        batch_size: int = 128,
        layers: int = 1,
        noise_dim: int = 8,
        learning_rate: float = 2e-3,
        discriminator_lr: float = 2e-3,
        supervised_weight: float = 10.0,
        distance_weight: float = 3.0,
        ema_decay: float = 0.995,
        schedule: str = "cosine",
        checkpoint_every: int = 10,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.hidden_dim = hidden_dim
        self.epochs = epochs
        self.batch_size = batch_size
        self.layers = layers
        self.noise_dim = noise_dim
        self.learning_rate = learning_rate
        self.discriminator_lr = discriminator_lr
        self.supervised_weight = supervised_weight
        self.distance_weight = distance_weight
        self.ema_decay = ema_decay
        self.schedule = schedule
        self.checkpoint_every = checkpoint_every

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("hidden_dim", "epochs", "batch_size", "layers", "noise_dim", "checkpoint_every"):
            check_whole(name, getattr(self, name))
        for name in ("learning_rate", "discriminator_lr"):
            if not 0 < getattr(self, name) < 1:
                raise ParameterError(f"{name} must be between 0 and 1; found {getattr(self, name)!r}")
        for name in ("supervised_weight", "distance_weight"):
            if not 0 <= getattr(self, name) < 1e6:
                raise ParameterError(f"{name} must be at least 0; found {getattr(self, name)!r}")
        if not 0 <= self.ema_decay < 1:
            raise ParameterError(f"ema_decay must be at least 0 and below 1; found {self.ema_decay!r}")
        if self.schedule not in ("constant", "cosine"):
            raise ParameterError(f"schedule must be 'constant' or 'cosine'; found {self.schedule!r}")

    def _entity_class(self) -> type[Synthesizer]:
        from raysynth.synthesizers.bayesian_network import BayesianNetworkSynthesizer

        return BayesianNetworkSynthesizer

    def _sampler_of(self, network: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SequenceMaker:
        from raysynth.models.time_gan_sampler import SequenceSampler

        return SequenceSampler.from_state(network, arrays)

    def _fits_encoders(self) -> bool:
        layout = self.sampler_.layout
        return (vector_layout(self.encoder_), vector_layout(self.context_encoder_)) == (layout.step, layout.context)

    def _train(self, tables: SequenceTables, rows: WindowRows, seed: int) -> None:
        from raysynth.models.time_gan_sampler import SequenceSampler
        from raysynth.synthesizers.sequence_training import train_sequences
        from raysynth.training.time_gan import averaged_weights

        job = self._job(seed, len(rows))

        def keep(model: TimeSeriesGAN, trained: TrainResult) -> None:
            model.history_ = trained.history
            model.sampler_ = SequenceSampler.of(job.layout, job.sizes, *averaged_weights(job, trained.state))

        train_sequences(self, job, rows, keep)

    def _job(self, seed: int, n_sequences: int) -> TimeGanJob:
        from raysynth.models.time_gan import SequenceLayout
        from raysynth.synthesizers.sequence_training import divided_batch
        from raysynth.training.loop import TrainSettings
        from raysynth.training.time_gan import TimeGanJob, TimeGanSettings

        layout = SequenceLayout(
            self.sequence_length_, vector_layout(self.encoder_), vector_layout(self.context_encoder_)
        )
        networks = TimeGanSettings(
            hidden=self.hidden_dim,
            layers=self.layers,
            noise=self.noise_dim,
            learning_rate=self.learning_rate,
            discriminator_rate=self.discriminator_lr,
            supervised_weight=self.supervised_weight,
            distance_weight=self.distance_weight,
            ema_decay=self.ema_decay,
        )
        batch_size = divided_batch(self, self.batch_size, n_sequences)
        return TimeGanJob(
            layout, networks, TrainSettings(self.epochs, batch_size, seed, self.schedule, self.checkpoint_every)
        )
