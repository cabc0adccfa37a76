"""What the GAN synthesizers share: fit through the one training loop, marginal calibration, generate, save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from raysynth.encoding.table_encoder import NumericForm, TableEncoder
from raysynth.errors import ModelFileError, NotFittedError, ParameterError
from raysynth.fitting.checks import check_compile_step, check_rows_of_part
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import (
    Accumulation,
    CalibrateMarginals,
    CheckpointEvery,
    ClipNorm,
    CompileStep,
    Computed,
    Parameter,
    Schedule,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from raysynth.dp.gradients.release import DpSgdPlan
    from raysynth.fitting.private_run import Releases
    from raysynth.methods.gan.discriminator import Critic
    from raysynth.methods.gan.network import Generator
    from raysynth.methods.gan.recipe import GanJob
    from raysynth.methods.gan.sampler import GanSampler
    from raysynth.training.loop import TrainResult

HiddenLayers = Annotated[
    tuple[int, ...] | None,
    Parameter("units of each hidden layer", at_least=1, otherwise=(256, 256), under_budget=(128,)),
]
LearningRate = Annotated[
    float | None,
    Parameter(
        "learning rate of Adam; at the paper's 0.0002 a GAN without condition vector stands still for so long that "
        "patience runs out before its rows improve",
        above=0,
        below=1,
        otherwise=5e-4,
        under_budget=1e-3,
        tried=(2e-4, 5e-4, 1e-3),
    ),
]
Decay = Annotated[float, Parameter("weight decay of Adam", at_least=0, at_most=10)]
Pac = Annotated[int, Parameter("rows that the discriminator judges together (PacGAN)", at_least=1)]


@dataclass(frozen=True)
class Learned:
    """The generator, the losses of its epochs, and the discriminator, which is in no file."""

    sampler: GanSampler
    history: list[dict[str, float]]
    critic: Critic | None = None


class GanSynthesizer(Synthesizer):
    """A WGAN-GP on modes of numbers and one-hot categories; see `CTGAN` and `TabularGAN` for the two methods.

    Noise is as strong in every weight as it is in one, so a privacy budget asks for few of them, and has its own
    defaults: chosen on an inner split of Adult's training rows at epsilon 1 (AUC 0.86, and 0.83 to 0.86 with twice the
    rows in a batch or half the epochs). Then the discriminator judges rows one by one (`pac` 1), without gradient
    penalty, rows are drawn uniformly, and none is held back. 'bayesian_network' has better rows at every epsilon that
    was tried; take it where it does not have to be a GAN.

    Attributes:
        history_: for each epoch a dict of 'epoch', 'discriminator', 'penalty', 'generator' (losses), 'validation'
            (distance from held rows, where some are held back) and 'seconds'.
    """

    numeric_encoding: ClassVar[NumericForm] = "modes"
    can_resume: ClassVar[bool] = True
    mends_gaps: ClassVar[bool] = True  # columns missing together are made so after drawing
    has_privacy_unit: ClassVar[bool] = True
    all_given: ClassVar[bool] = False  # whether all condition columns are given together

    epochs: Annotated[
        int | None,
        Parameter("passes over the table at most, see `patience`", at_least=1, otherwise=120, under_budget=60),
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            "rows of a step, over all workers together; a multiple of `pac` times `accumulation` times the workers, "
            "and at least two rows in each part",
            at_least=1,
            otherwise=500,
            under_budget=Computed("a 50th of the rows (128 to 2,048)"),
        ),
    ] = None
    embedding_dim: Annotated[int, Parameter("noise numbers of the generator", at_least=1)] = 128
    generator_dim: HiddenLayers = None
    discriminator_dim: HiddenLayers = None
    generator_lr: LearningRate = None
    generator_decay: Decay = 1e-6
    discriminator_lr: LearningRate = None
    discriminator_decay: Decay = 1e-6
    discriminator_steps: Annotated[int, Parameter("discriminator updates for one of the generator", at_least=1)] = 1
    pac: Pac = 10
    ema_decay: Annotated[
        float,
        Parameter(
            "of the moving average of the generator's weights that rows are sampled with; 0: the last weights",
            at_least=0,
            below=1,
        ),
    ] = 0.999
    schedule: Schedule = "constant"
    accumulation: Accumulation = 1
    validation_share: Annotated[
        float,
        Parameter(
            "share of the rows that are held back to choose the epoch whose generator is kept; 0: the last one, as "
            "always under a budget, and where the share would be fewer than 200 rows",
            at_least=0,
            at_most=0.5,
        ),
    ] = 0.1
    patience: Annotated[
        int,
        Parameter(
            "epochs without a better score on the rows held back after which training ends; 0, or no rows held back: "
            "never. A GAN's score can stand still for many epochs and then fall again (Adult: from epoch 10 to 40)",
            at_least=0,
        ),
    ] = 75
    calibrate_marginals: CalibrateMarginals = True
    checkpoint_every: CheckpointEvery = 10
    compile_step: CompileStep = False
    clip_norm: ClipNorm = 1.0

    sampler_: GanSampler = field(init=False)
    history_: list[dict[str, float]] = field(init=False)
    critic_: Critic | None = field(init=False)

    def critic_score(self, data: Any) -> np.ndarray:
        """The critic's score of each of the N rows of `data` (N,), higher for what looks like training rows.

        For attacks on the model, right after `fit`: a model file holds no critic, which was taught on the real rows.
        """
        if (critic := getattr(self, "critic_", None)) is None:
            raise NotFittedError("the critic exists only right after fit(data); a model file does not hold it")
        from raysynth.fitting.prepared import encoded_blocks

        return np.concatenate([critic.score(block) for block in encoded_blocks(self, data, min_rows=1)])

    def invert(self, data: Any, unknown: Sequence[str], *, seed: int = 0) -> pa.Table:
        """The rows of `data`, their `unknown` columns read out of the generator by a search of its input from `seed`.

        For attacks on the model. Raises `ParameterError`; see `methods/shared/inversion.py`.
        """
        from raysynth.methods.shared.inversion import completed_by_inversion

        self._require_fitted()
        return completed_by_inversion(self, self.sampler_, data, unknown, seed)

    # ---- what a method decides ---------------------------------------------------------------------------------------

    def _condition_columns(self, encoder: TableEncoder) -> tuple[int, ...]:
        """Indices of the columns whose codes make the condition vector."""
        raise NotImplementedError

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_together(self) -> None:
        check_compile_step(self)
        sizes = self._settled(under_budget=False)  # what is given is the same under a budget, every default is sound
        if sizes.batch_size % (self.pac * self.accumulation):
            raise ParameterError(
                f"batch_size {sizes.batch_size} is no multiple of pac {self.pac} times accumulation "
                f"{self.accumulation}; choose a multiple, or pac=1"
            )
        check_rows_of_part(self, sizes.batch_size, "the generator's batch normalisation")

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        from raysynth.methods.gan.discriminator import Critic
        from raysynth.methods.shared.neural import calibrate, train_model
        from raysynth.training.job import CPU, trained

        job = self._job(prepared)

        def fitted(result: TrainResult) -> Fitted:
            networks = trained(job.trainable(CPU), result.state)
            sampler = self._sampler(job, networks.generator, prepared)
            sampler = calibrate(sampler, prepared) if self.calibrate_marginals else sampler
            critic = Critic(networks.discriminator, job.spans, job.conditions)
            return begun.with_learned(Learned(sampler, result.history, critic))

        return train_model(self, job, prepared, fitted)

    def _generator(self) -> GanSampler:
        return self.sampler_

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        from raysynth.fitting.private_run import releasable_history

        meta, arrays = self.sampler_.to_state()
        return {**meta, "history": releasable_history(self.history_, self.privacy_spent_)}, arrays

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        sampler = self._sampler_of(meta, arrays, begun)
        if sampler.spans.cardinalities != begun.encoder.cardinalities:
            raise ModelFileError("the model file's generator and encoder do not belong together; refit the model")
        return begun.with_learned(Learned(sampler, list(meta["history"])))

    def _sampler_of(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> GanSampler:
        """The sampler from the arrays of a model file."""
        from raysynth.methods.gan.sampler import GanSampler

        return GanSampler.from_state(meta, arrays)

    # ---- stages of a fit ---------------------------------------------------------------------------------------------

    def _job(self, prepared: Prepared) -> GanJob:
        from raysynth.fitting.private_run import private_batch_size
        from raysynth.methods.gan.network import Conditions
        from raysynth.methods.gan.recipe import GanJob
        from raysynth.methods.gan.training import GanSettings
        from raysynth.methods.shared.spans import Spans
        from raysynth.training.loop import TrainSettings

        spans, private = Spans.of(prepared.encoder.layout), prepared.privacy is not None
        sizes = self._settled(under_budget=private)
        networks = GanSettings(
            embedding_dim=self.embedding_dim,
            generator_dim=sizes.generator_dim,
            discriminator_dim=sizes.discriminator_dim,
            generator_lr=sizes.generator_lr,
            generator_decay=self.generator_decay,
            discriminator_lr=sizes.discriminator_lr,
            discriminator_decay=self.discriminator_decay,
            discriminator_steps=self.discriminator_steps,
            pac=1 if private else self.pac,
        )
        settings = TrainSettings(
            sizes.epochs,
            sizes.batch_size or private_batch_size(prepared.n_units) // 2,
            prepared.seed,
            self.schedule,
            self.checkpoint_every,
            1 if private else self.accumulation,
            self.compile_step,
            ema_decay=self.ema_decay,
            validation_share=0.0 if private else self.validation_share,
            patience=0 if private else self.patience,
        )
        conditions = Conditions.on(spans, self._condition_columns(prepared.encoder))
        job = GanJob(spans, conditions, networks, self.all_given, settings=settings)
        return self._private_job(prepared, job) if private else job

    def _private_job(self, prepared: Prepared, job: GanJob) -> GanJob:
        """The same under a budget: rows judged one by one, conditions from the released marginals."""
        from raysynth.methods.gan.recipe import Asked

        frequencies = prepared.encoder.frequencies()
        shares = [frequencies[c] / frequencies[c].sum() for c in job.conditions.columns]
        asked = Asked(job.settings.batch_size, np.concatenate([np.zeros(0), *shares]))
        return replace(job, plan=self._charged_plan(prepared, job), asked=asked)

    def _charged_plan(self, prepared: Prepared, job: GanJob, releases: Releases | None = None) -> DpSgdPlan:
        """DP-SGD of the discriminator, charged; see `charged_plan`."""
        from raysynth.fitting.private_run import charged_plan

        return charged_plan(
            prepared,
            "gradients of the discriminator",
            batch_size=job.settings.batch_size,
            epochs=job.settings.epochs,
            clip_norm=self.clip_norm,
            releases=releases,
        )

    def _sampler(self, job: GanJob, generator: Generator, prepared: Prepared) -> GanSampler:
        """The generator with the weights that leave, made ready to sample."""
        from raysynth.methods.gan.sampler import GanSampler, drawn_by, folded

        columns = job.conditions.columns
        frequencies = prepared.encoder.frequencies()
        shares = np.concatenate([frequencies[c] for c in columns]) if columns else np.zeros(0)
        seen = [np.log1p(frequencies[c] * prepared.n_rows) for c in columns]
        if job.plan is not None:  # conditions were drawn by the released marginals
            seen = [frequencies[c] for c in columns]
        in_training = np.concatenate([s / s.sum() for s in seen]) if columns else np.zeros(0)
        arrays = folded(generator, drawn_by(in_training), job.settings.batch_size, prepared.seed)
        return GanSampler(
            spans=job.spans,
            arrays=arrays,
            code_bias_S=np.zeros(job.spans.n_codes),
            conditions=job.conditions,
            shares_K=shares,
            hidden=job.networks.generator_dim,
        )


class CTGAN(GanSynthesizer):
    """Conditional tabular GAN (Xu, Skoularidou, Cuesta-Infante, Veeramachaneni, NeurIPS 2019, arXiv 1907.00503).

    Numbers are modes of a mixture with a place inside the mode, categories are one-hot. Every generated row is asked
    for one category of one column, and training draws these by the logarithm of their frequency. Networks, batch and
    optimiser are the paper's; rows are sampled with averaged weights, and marginals are calibrated after training.
    """

    has_differential_privacy: ClassVar[bool] = True
    method: ClassVar[str] = "ctgan"

    def _condition_columns(self, encoder: TableEncoder) -> tuple[int, ...]:
        return tuple(i for i, place in enumerate(encoder.layout) if place.value_index is None)


class TabularGAN(GanSynthesizer):
    """Wasserstein GAN (WGAN-GP, Gulrajani et al. 2017) with CTGAN's encoding and networks, without its conditions.

    Training rows are drawn uniformly, so rare categories are seen rarely; `CTGAN` shows them more often.
    """

    has_differential_privacy: ClassVar[bool] = True
    method: ClassVar[str] = "gan"

    def _condition_columns(self, encoder: TableEncoder) -> tuple[int, ...]:
        return ()
