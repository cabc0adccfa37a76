"""TabularVAE and DPTabularVAE: a variational autoencoder on modes of numbers and one-hot categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from raysynth.encoding.table_encoder import NumericForm
from raysynth.errors import ModelFileError, NotFittedError, ParameterError
from raysynth.fitting.checks import check_compile_step
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Epsilon, Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import (
    Accumulation,
    CalibrateMarginals,
    CheckpointEvery,
    ClipNorm,
    CompileStep,
    Computed,
    Parameter,
    Patience,
    Schedule,
    ValidationShare,
    WeightDecay,
    shown_by_default,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from raysynth.methods.vae.network import Rebuilder
    from raysynth.methods.vae.recipe import VaeJob
    from raysynth.methods.vae.sampler import VaeSampler
    from raysynth.training.loop import TrainResult

ROWS_TO_SEE = 1_000_000  # by default, rows that training looks at, repeats counted
MOST_EPOCHS = 600


HiddenLayers = Annotated[
    tuple[int, ...] | None,
    Parameter("units of each hidden layer", at_least=1, otherwise=(128, 128), under_budget=(128,)),
]


@dataclass(frozen=True)
class Learned:
    """The decoder, the losses of its epochs, and both networks for who rebuilds rows, which are in no file."""

    sampler: VaeSampler
    history: list[dict[str, float]]
    rebuilder: Rebuilder | None = None


class TabularVAE(Synthesizer):
    """Variational autoencoder (TVAE; Xu, Skoularidou, Cuesta-Infante, Veeramachaneni, NeurIPS 2019, section 4.4).

    Numbers are modes of a mixture with a place inside the mode, categories are one-hot; an encoder gives each row a
    distribution over latent places, and a decoder gives each place a distribution over rows. Places are drawn from a
    mixture that is learned with the two (see `methods/vae/network.py`), and marginals are calibrated after training.

    Under a privacy budget defaults are others, no row is held back and all epochs run: in the few hundred steps that a
    budget pays for, noise moves every weight about as far as learning does, and hidden layers multiply it (on Adult at
    epsilon 3 networks of (128, 64) gave an AUC from 0.56 to 0.82 by chance).

    Attributes:
        history_: for each epoch a dict of 'epoch', 'reconstruction', 'divergence' (nats a row; with differential
            privacy their weighted sum 'loss', which is private and not in the model file) and 'seconds'.
    """

    has_differential_privacy: ClassVar[bool] = True
    has_privacy_unit: ClassVar[bool] = True
    method: ClassVar[str] = "tvae"
    numeric_encoding: ClassVar[NumericForm] = "modes"
    can_resume: ClassVar[bool] = True
    mends_gaps: ClassVar[bool] = True  # columns missing together are made so after drawing

    latent_dim: Annotated[
        int | None,
        Parameter("dimensions of the latent space", at_least=1, otherwise=24, under_budget=12, tried=(8, 12, 24, 48)),
    ] = None
    encoder_layers: HiddenLayers = None
    decoder_layers: HiddenLayers = None
    prior_components: Annotated[
        int | None,
        Parameter(
            "Gaussians of the learned distribution of places; 0: the paper's standard normal",
            at_least=0,
            otherwise=128,
            under_budget=0,
        ),
    ] = None
    loss_factor: Annotated[
        float | None,
        Parameter(
            "weight of the reconstruction beside the divergence: 1 is the bound, 2 as in the paper's code",
            above=0,
            at_most=100,
            otherwise=2.0,
            under_budget=5.0,
            tried=(1.0, 2.0, 5.0),
        ),
    ] = None
    warm_up: Annotated[
        float | None,
        Parameter(
            "share of the training over which the divergence rises from nothing to its full weight",
            at_least=0,
            at_most=1,
            otherwise=0.3,
            under_budget=0.0,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        Parameter(
            "passes over the table",
            at_least=1,
            otherwise=Computed(
                "as many as show a million rows, at most 600; beyond 333,333 rows epochs of so many, "
                "3 * (rows / 333,333)^(1/2)"
            ),
            under_budget=25,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            "rows of a step, over all workers together",
            at_least=1,
            otherwise=Computed("by the size of the table, 32 to 250"),
            under_budget=Computed("a 25th of the rows (256 to 4,096)"),
        ),
    ] = None
    learning_rate: Annotated[
        float | None,
        Parameter(
            "learning rate of AdamW", above=0, at_most=1, otherwise=2e-3, under_budget=1e-2, tried=(1e-3, 2e-3, 5e-3)
        ),
    ] = None
    weight_decay: WeightDecay = 1e-5
    schedule: Schedule = "cosine"
    ema_decay: Annotated[
        float | None,
        Parameter(
            "of the moving average of the weights that rows are sampled with; 0: the last weights",
            at_least=0,
            at_most=0.99999,
            otherwise=0.995,
            under_budget=0.98,
        ),
    ] = None
    accumulation: Accumulation = 1
    validation_share: ValidationShare = 0.0
    patience: Patience = 0
    calibrate_marginals: CalibrateMarginals = True
    checkpoint_every: CheckpointEvery = 10
    compile_step: CompileStep = False
    clip_norm: ClipNorm = 1.0

    sampler_: VaeSampler = field(init=False)
    history_: list[dict[str, float]] = field(init=False)
    rebuilder_: Rebuilder | None = field(init=False)

    # ---- what attackers with the whole model ask -------------------------------------------------------------------

    def reconstruction_error(self, data: Any) -> np.ndarray:
        """How badly the autoencoder rebuilds each of the N rows of `data` (N,), in nats; for attacks on the model.

        Only right after `fit`: a model file holds no encoder (it looks at real rows and serves no sampling).
        """
        if (rebuilder := getattr(self, "rebuilder_", None)) is None:
            raise NotFittedError("the encoder exists only right after fit(data); a model file does not hold it")
        from raysynth.fitting.prepared import encoded_blocks

        return np.concatenate([rebuilder.errors(block) for block in encoded_blocks(self, data, min_rows=1)])

    def invert(self, data: Any, unknown: Sequence[str], *, seed: int = 0) -> pa.Table:
        """The rows of `data`, their `unknown` columns read out of the decoder by a search of its places from `seed`.

        For attacks on the model. Raises `ParameterError`; see `methods/shared/inversion.py`.
        """
        from raysynth.methods.shared.inversion import completed_by_inversion

        self._require_fitted()
        return completed_by_inversion(self, self.sampler_, data, unknown, seed)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_together(self) -> None:
        check_compile_step(self)
        if self.patience and not self.validation_share:
            raise ParameterError("patience needs rows that are held back; set validation_share, for example to 0.05")

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        from raysynth.methods.shared.neural import calibrate, train_model
        from raysynth.methods.vae.network import Rebuilder
        from raysynth.methods.vae.sampler import VaeSampler, decoder_arrays
        from raysynth.training.job import CPU, trained

        job = self._job(prepared)

        def fitted(result: TrainResult) -> Fitted:
            networks = trained(job.trainable(CPU), result.state).model
            sampler = VaeSampler(
                spans=job.spans,
                arrays=decoder_arrays(networks),
                code_bias_S=np.zeros(job.spans.n_codes),
                latent_dim=job.networks.latent_dim,
            )
            sampler = calibrate(sampler, prepared) if self.calibrate_marginals else sampler
            return begun.with_learned(Learned(sampler, result.history, Rebuilder(networks)))

        return train_model(self, job, prepared, fitted)

    def _job(self, prepared: Prepared) -> VaeJob:
        from raysynth.fitting.private_run import charged_plan, private_batch_size
        from raysynth.methods.shared.neural import released_quantiles
        from raysynth.methods.shared.spans import Spans
        from raysynth.methods.vae.network import VaeNetworks
        from raysynth.methods.vae.recipe import VaeJob, VaeSettings
        from raysynth.training.loop import TrainSettings

        scope, plan = prepared.privacy, None
        sizes = self._settled(under_budget=scope is not None)
        shown = default_epochs(prepared.n_rows)
        epochs, epoch_rows = (sizes.epochs, None) if sizes.epochs or scope is not None else shown
        batch_size = self.batch_size or (default_batch_size if scope is None else private_batch_size)(prepared.n_units)
        if scope is not None:
            released = "gradients of encoder and decoder"
            plan = charged_plan(prepared, released, batch_size=batch_size, epochs=epochs, clip_norm=self.clip_norm)
        accumulation = self.accumulation if scope is None else 1
        settings = TrainSettings(
            epochs,
            batch_size,
            prepared.seed,
            self.schedule,
            self.checkpoint_every,
            accumulation,
            self.compile_step,
            epoch_rows,
            sizes.ema_decay,
            self.validation_share if scope is None else 0.0,
            self.patience if scope is None else 0,
        )
        steps = epochs * settings.steps_of(prepared.n_rows) if plan is None else plan.steps
        networks = VaeNetworks(sizes.latent_dim, sizes.encoder_layers, sizes.decoder_layers, sizes.prior_components)
        training = VaeSettings(
            learning_rate=sizes.learning_rate,
            weight_decay=self.weight_decay,
            loss_factor=sizes.loss_factor,
            warm_up_steps=int(sizes.warm_up * steps),
        )
        has_spread = tuple(bool(s) for q in released_quantiles(prepared.encoder) for s in ~np.isnan(q[:, 0]))
        spans = Spans.of(prepared.encoder.layout)
        return VaeJob(spans, has_spread, networks, training, settings=settings, plan=plan)

    def _generator(self) -> VaeSampler:
        return self.sampler_

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        from raysynth.fitting.private_run import releasable_history

        meta, arrays = self.sampler_.to_state()
        return {**meta, "history": releasable_history(self.history_, self.privacy_spent_)}, arrays

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        from raysynth.methods.vae.sampler import VaeSampler

        sampler = VaeSampler.from_state(meta, arrays)
        if sampler.spans.cardinalities != begun.encoder.cardinalities:
            raise ModelFileError("the model file's decoder and encoder do not belong together; refit the model")
        return begun.with_learned(Learned(sampler, list(meta["history"])))


def default_epochs(n_rows: int) -> tuple[int, int | None]:
    """Passes that show a million rows, 600 at most; of a large table parts (`shown_by_default`)."""
    epochs, epoch_rows = shown_by_default(n_rows, ROWS_TO_SEE)
    return min(epochs, MOST_EPOCHS), epoch_rows


def default_batch_size(n_rows: int) -> int:
    """250; less for a small table, so that an epoch has some fifty steps."""
    return int(np.clip(n_rows // 50, 32, 250))


class DPTabularVAE(TabularVAE):
    """The variational autoencoder trained by DP-SGD: each row's gradient is clipped, and their sum is noised.

    `TabularVAE` that always needs `epsilon`. No rows are held back, and the weights are those of the last epoch.
    """

    method: ClassVar[str] = "dp_tvae"

    epsilon: Epsilon = 1.0

    def _check_together(self) -> None:
        super()._check_together()
        if self.epsilon is None:
            raise ParameterError("DPTabularVAE trains within a budget only: give epsilon, or take TabularVAE")
