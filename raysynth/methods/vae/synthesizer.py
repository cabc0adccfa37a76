"""TabularVAE and DPTabularVAE: a variational autoencoder on modes of numbers and one-hot categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from raysynth.encoding.table_encoder import NumericForm
from raysynth.errors import ModelFileError, NotFittedError, ParameterError
from raysynth.fitting.checks import check_between, check_compile_step, check_units, check_whole, settled
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Synthesizer

if TYPE_CHECKING:
    import pyarrow as pa

    from raysynth.methods.vae.recipe import VaeJob
    from raysynth.methods.vae.sampler import VaeSampler
    from raysynth.training.loop import TrainResult

ROWS_TO_SEE = 1_000_000  # by default, rows that training looks at, repeats counted
EPOCHS = (3, 600)
PRIVATE_EPOCHS = 25  # by default, under a privacy budget


@dataclass(frozen=True)
class VaeDefaults:
    """What holds where the user left a parameter open; see `TabularVAE`."""

    latent_dim: int
    encoder_layers: tuple[int, ...]
    decoder_layers: tuple[int, ...]
    prior_components: int
    loss_factor: float
    warm_up: float
    learning_rate: float
    ema_decay: float


OPEN = VaeDefaults(24, (128, 128), (128, 128), 128, 2.0, 0.3, 2e-3, 0.995)
# In the few hundred steps that a budget pays for, noise moves every weight about as far as learning does, and hidden
# layers multiply it: on Adult at epsilon 3 networks of (128, 64) gave an AUC from 0.56 to 0.82 by chance.
PRIVATE = VaeDefaults(12, (128,), (128,), 0, 5.0, 0.0, 1e-2, 0.98)


class TabularVAE(Synthesizer):
    """Variational autoencoder (TVAE; Xu, Skoularidou, Cuesta-Infante, Veeramachaneni, NeurIPS 2019, section 4.4).

    Numbers are modes of a mixture with a place inside the mode, categories are one-hot; an encoder gives each row a
    distribution over latent places, and a decoder gives each place a distribution over rows. Places are drawn from a
    mixture that is learned with the two (see `methods/vae/network.py`), and marginals are calibrated after training.

    Args:
        latent_dim: dimensions of the latent space; None: 24, under a privacy budget 12.
        encoder_layers, decoder_layers: units of the hidden layers; None: (128, 128), under a budget (128,).
        prior_components: Gaussians of the learned distribution of places; 0: the paper's standard normal; None: 128,
            under a budget 0.
        loss_factor: weight of the reconstruction beside the divergence: 1 is the bound, 2 as in the paper's code;
            None: 2, under a budget 5.
        warm_up: share of the training over which the divergence rises from nothing to its full weight; None: 0.3, under
            a budget 0.
        epochs: passes over the table; None: as many as show a million rows, from 3 to 600.
        batch_size: rows of a step, over all workers together; None: by the size of the table, 32 to 250.
        learning_rate, weight_decay: of AdamW; a learning rate of None: 0.002, under a budget 0.01.
        schedule: of the learning rate: 'cosine' or 'constant'.
        ema_decay: of the moving average of the weights that rows are sampled with; 0: the last weights; None: 0.995,
            under a budget 0.98.
        accumulation: parts in which a batch goes through the networks before one update: the same batch in less memory;
            under a budget DP-SGD divides its batches itself.
        validation_share: share of rows held back to choose the best weights; 0: none, the last weights are kept.
        patience: epochs without a better validation loss after which training ends; 0: never.
        calibrate_marginals: after training, correct every column's own distribution by the released one
            (`methods/shared/calibration.py`); rows are not looked at again.
        checkpoint_every: epochs between checkpoints, where `run_config.storage_path` says where to put them.
        compile_step: take a step's arithmetic through `torch.compile`, on a GPU as CUDA graphs: the same model up to
            rounding (`training/compiled.py`). On a CPU it does not pay: Adult's steps take 6.8 ms instead of 8.9, but
            compiling takes 24 s, and the fit wins 9 s at most (`bench_training.py step`). Not under a budget.
        clip_norm: with differential privacy: largest L2 norm of one row's gradient. Then also: `epochs` None is 25,
            `batch_size` None a 25th of the rows (256 to 4,096), no row is held back and all epochs run.
        common: see `Synthesizer`.

    Attributes:
        history_: for each epoch a dict of 'epoch', 'reconstruction', 'divergence' (nats a row; with differential
            privacy their weighted sum 'loss', which is private and not in the model file) and 'seconds'.
    """

    has_differential_privacy: ClassVar[bool] = True
    has_privacy_unit: ClassVar[bool] = True
    method: ClassVar[str] = "tvae"
    numeric_encoding: ClassVar[NumericForm] = "modes"
    can_resume: ClassVar[bool] = True

    def __init__(
        self,
        *,
        latent_dim: int | None = None,
        encoder_layers: Sequence[int] | None = None,
        decoder_layers: Sequence[int] | None = None,
        prior_components: int | None = None,
        loss_factor: float | None = None,
        warm_up: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 1e-5,
        schedule: str = "cosine",
        ema_decay: float | None = None,
        accumulation: int = 1,
        validation_share: float = 0.0,
        patience: int = 0,
        calibrate_marginals: bool = True,
        checkpoint_every: int = 10,
        compile_step: bool = False,
        clip_norm: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.latent_dim = latent_dim
        self.encoder_layers = None if encoder_layers is None else tuple(encoder_layers)
        self.decoder_layers = None if decoder_layers is None else tuple(decoder_layers)
        self.prior_components = prior_components
        self.loss_factor = loss_factor
        self.warm_up = warm_up
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.ema_decay = ema_decay
        self.accumulation = accumulation
        self.validation_share = validation_share
        self.patience = patience
        self.calibrate_marginals = calibrate_marginals
        self.checkpoint_every = checkpoint_every
        self.compile_step = compile_step
        self.clip_norm = clip_norm

    # ---- what attackers with the whole model ask -------------------------------------------------------------------

    def reconstruction_error(self, data: Any) -> np.ndarray:
        """How badly the autoencoder rebuilds each row (N,), in nats; for attacks on the model.

        Only right after `fit`: a model file holds no encoder (it looks at real rows and serves no sampling).
        """
        if getattr(self, "rebuilder_", None) is None:
            raise NotFittedError("the encoder exists only right after fit(data); a model file does not hold it")
        from raysynth.fitting.encoded_rows import encoded_blocks

        return np.concatenate([self.rebuilder_.errors(block) for block in encoded_blocks(self, data, min_rows=1)])

    def invert(self, data: Any, unknown: Sequence[str], *, seed: int = 0) -> pa.Table:
        """Rows with the `unknown` columns read out of the decoder by a search of its place; for attacks on the model.

        Raises `ParameterError`; see `methods/shared/white_box.py`.
        """
        from raysynth.methods.shared.white_box import completed_by_inversion

        self._require_fitted()
        return completed_by_inversion(self, self.sampler_, data, unknown, seed)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        check_compile_step(self)
        sizes = settled(self, OPEN)  # what is given is the same under a budget, and every default is sound
        for name in ("checkpoint_every", "accumulation"):
            check_whole(name, getattr(self, name))
        check_whole("latent_dim", sizes.latent_dim)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        check_whole("prior_components", sizes.prior_components, low=0)
        check_whole("patience", self.patience, low=0)
        check_units("encoder_layers", sizes.encoder_layers)
        check_units("decoder_layers", sizes.decoder_layers)
        check_between("learning_rate", sizes.learning_rate, 0, 1, open_low=True)
        check_between("loss_factor", sizes.loss_factor, 0, 100, open_low=True)
        check_between("weight_decay", self.weight_decay, 0, 10)
        check_between("clip_norm", self.clip_norm, 0, 1e6, open_low=True)
        check_between("ema_decay", sizes.ema_decay, 0, 0.99999)
        check_between("warm_up", sizes.warm_up, 0, 1)
        check_between("validation_share", self.validation_share, 0, 0.5)
        if self.schedule not in ("constant", "cosine"):
            raise ParameterError(f"schedule must be 'constant' or 'cosine'; found {self.schedule!r}")
        if self.patience and not self.validation_share:
            raise ParameterError("patience needs rows that are held back; set validation_share, for example to 0.05")

    def _fit_encoded(self, prepared: Prepared) -> None:
        from raysynth.methods.shared.neural import train_model

        job = self._job(prepared)
        train_model(self, job, prepared, lambda model, trained: model._keep(job, trained, prepared))

    def _keep(self, job: VaeJob, trained: TrainResult, prepared: Prepared) -> None:
        """Set what was learned."""
        from raysynth.methods.shared.neural import calibrate
        from raysynth.methods.vae.rebuilding import Rebuilder
        from raysynth.methods.vae.sampler import VaeSampler, decoder_arrays

        self.history_ = trained.history
        networks = job.model_of(trained.state)
        self.rebuilder_ = Rebuilder(networks)
        sampler = VaeSampler(
            spans=job.spans,
            arrays=decoder_arrays(networks),
            code_bias_S=np.zeros(job.spans.n_codes),
            latent_dim=job.networks.latent_dim,
        )
        self.sampler_ = calibrate(sampler, prepared) if self.calibrate_marginals else sampler

    def _job(self, prepared: Prepared) -> VaeJob:
        from raysynth.fitting.private_training import charged_plan, private_batch_size
        from raysynth.methods.shared.neural import released_quantiles
        from raysynth.methods.shared.spans import Spans
        from raysynth.methods.vae.network import VaeNetworks
        from raysynth.methods.vae.recipe import VaeJob, VaeSettings
        from raysynth.training.loop import TrainSettings

        scope, plan = prepared.privacy, None
        sizes = settled(self, OPEN if scope is None else PRIVATE)
        epochs = self.epochs or (default_epochs(prepared.n_rows) if scope is None else PRIVATE_EPOCHS)
        batch_size = self.batch_size or (default_batch_size if scope is None else private_batch_size)(prepared.n_units)
        steps = epochs * max(1, prepared.n_rows // batch_size)
        if scope is not None:
            released = "gradients of encoder and decoder"
            plan = charged_plan(prepared, released, batch_size=batch_size, epochs=epochs, clip_norm=self.clip_norm)
            steps = plan.steps
        networks = VaeNetworks(sizes.latent_dim, sizes.encoder_layers, sizes.decoder_layers, sizes.prior_components)
        training = VaeSettings(
            learning_rate=sizes.learning_rate,
            weight_decay=self.weight_decay,
            loss_factor=sizes.loss_factor,
            warm_up_steps=int(sizes.warm_up * steps),
            ema_decay=sizes.ema_decay,
            validation_share=self.validation_share if scope is None else 0.0,
            patience=self.patience if scope is None else 0,
        )
        accumulation = self.accumulation if scope is None else 1
        settings = TrainSettings(
            epochs,
            batch_size,
            prepared.seed,
            self.schedule,
            self.checkpoint_every,
            accumulation,
            self.compile_step,
        )
        has_spread = tuple(bool(s) for q in released_quantiles(prepared.encoder) for s in ~np.isnan(q[:, 0]))
        return VaeJob(Spans.of(prepared.encoder.layout), has_spread, networks, training, settings, plan)

    def _generator(self) -> VaeSampler:
        return self.sampler_

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        from raysynth.fitting.private_training import releasable_history

        meta, arrays = self.sampler_.to_state()
        return {**meta, "history": releasable_history(self.history_, self.privacy_spent_)}, arrays

    def _set_model_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        from raysynth.methods.vae.sampler import VaeSampler

        try:
            self.sampler_ = VaeSampler.from_state(meta, arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise ModelFileError(f"the model file's decoder is incomplete ({error}); refit the model") from error
        if self.sampler_.spans.cardinalities != self.encoder_.cardinalities:
            raise ModelFileError("the model file's decoder and encoder do not belong together; refit the model")
        self.history_ = list(meta["history"])


def default_epochs(n_rows: int) -> int:
    """Passes that show a million rows, within bounds."""
    return int(np.clip(-(-ROWS_TO_SEE // max(n_rows, 1)), *EPOCHS))


def default_batch_size(n_rows: int) -> int:
    """250; less for a small table, so that an epoch has some fifty steps."""
    return int(np.clip(n_rows // 50, 32, 250))


class DPTabularVAE(TabularVAE):
    """The autoencoder with a differentially private training: every gradient is clipped by row and noised.

    `TabularVAE` with a budget that it does not train without: no rows are held back and no weights chosen.

    Args:
        epsilon, delta: the budget of the whole fit, statistics included.
        common: see `TabularVAE` (its defaults under a budget) and `Synthesizer`.
    """

    method: ClassVar[str] = "dp_tvae"

    def __init__(self, *, epsilon: float = 1.0, delta: float | None = None, **common: Any) -> None:
        super().__init__(epsilon=epsilon, delta=delta, **common)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.epsilon is None:
            raise ParameterError("DPTabularVAE trains within a budget only: give epsilon, or take TabularVAE")
