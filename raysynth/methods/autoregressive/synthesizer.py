"""AutoregressiveSynthesizer: any-order autoregressive network on codes; exact conditions, likelihoods, completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from raysynth.arguments import check_whole
from raysynth.encoding.table_encoder import NumericForm
from raysynth.errors import ModelFileError, ParameterError
from raysynth.fitting.checks import check_compile_step
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted, Tempered
from raysynth.methods.parameters import (
    FEWEST_EPOCHS,
    CheckpointEvery,
    ClipNorm,
    CompileStep,
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
    shown_by_default,
)
from raysynth.methods.shared.grouping import GroupedGenerator, Grouping, group_values

if TYPE_CHECKING:
    from raysynth.methods.autoregressive.recipe import AnyOrderJob
    from raysynth.methods.autoregressive.sampler import AnyOrderSampler
    from raysynth.training.loop import TrainResult

ROWS_TO_SEE = 700_000  # by default, rows that training looks at, repeats counted
SMALL = 26_000  # rows below which the passes grow with the cube root only: more of them are learned by heart
MOST_EPOCHS = 300
EMA, PRIVATE_EMA = 0.995, 0.98  # of the weights' moving average; under a privacy budget trainings take few steps


@dataclass(frozen=True)
class Learned:
    """The network that draws, the losses of its epochs, and how values of columns of many are grouped."""

    sampler: AnyOrderSampler
    history: list[dict[str, float]]
    grouping: Grouping | None


class AutoregressiveSynthesizer(Synthesizer):
    """A neural network that predicts each column given any set of the others, trained on random orders of the columns.

    Every column becomes codes (a number: a bin, or a value of its own), and one small network learns the conditionals
    of all columns in random orders (order-agnostic NADE, Uria, Murray and Larochelle 2014; see
    `methods/autoregressive/network.py`). What follows from that:

    - `sample(conditions=...)` is exact for values, lists and ranges on any columns: conditioned columns are drawn
      first. Where several columns allow several values each, candidates for these columns are drawn from the model and
      resampled by the model's own probabilities (see `methods/autoregressive/sampler.py`).
    - `log_prob` gives the log probability of rows, `impute` completes rows, `sample_rebalanced` gives a column another
      distribution, `temperature` makes rows more typical (below 1) or more diverse (above 1).

    Training ends where the loss of rows that are held back has not fallen for `patience` epochs, and the best weights
    are kept. Under a privacy budget no row is held back and all epochs run, with neither dropout nor weight decay.

    Attributes:
        history_: for each epoch a dict of 'epoch', 'loss' and 'validation' (nats a row) and 'seconds'; private with
            differential privacy, and then not in the model file.
    """

    has_differential_privacy: ClassVar[bool] = True
    has_privacy_unit: ClassVar[bool] = True
    method: ClassVar[str] = "autoregressive"
    numeric_encoding: ClassVar[NumericForm] = "bins"
    completes_rows: ClassVar[bool] = True  # its generator has `generate_given`
    can_resume: ClassVar[bool] = True
    mends_gaps: ClassVar[bool] = True  # columns missing together are made so after drawing

    epochs: Annotated[
        int | None,
        Parameter(
            "passes over the table, see `patience`",
            at_least=1,
            otherwise=Computed(
                "as many as show 700,000 rows; below 26,000 rows 27 * (26,000 / rows)^(1/3), at most 300; beyond "
                "233,333 rows epochs of so many, 3 * (rows / 233,333)^(1/2)"
            ),
            under_budget=10,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            "rows of a step, over all workers together",
            at_least=1,
            otherwise=Computed("by the size of the table, 64 to 512"),
            under_budget=Computed("a 25th of the rows (256 to 4,096)"),
        ),
    ] = None
    width: Width = 64
    hidden: Hidden = 32
    layers: Layers = 2
    dropout: Dropout = 0.2
    learning_rate: Annotated[
        float, Parameter("learning rate of AdamW", above=0, at_most=1, tried=(3e-3, 6e-3, 1e-2))
    ] = 6e-3
    weight_decay: WeightDecay = 0.3
    validation_share: ValidationShare = 0.05
    patience: Patience = 10
    n_bins: Annotated[int, Parameter("bins of a number with many values", at_least=1)] = 100
    temperature: Temperature = 1.0
    precision: Annotated[
        str,
        Parameter(
            "of the products in sampling; 'auto': bfloat16 where the processor has it",
            one_of=("auto", "float32", "bfloat16"),
        ),
    ] = "auto"
    checkpoint_every: CheckpointEvery = 10
    compile_step: CompileStep = False
    clip_norm: ClipNorm = 1.0

    sampler_: AnyOrderSampler = field(init=False)
    history_: list[dict[str, float]] = field(init=False)
    grouping_: Grouping | None = field(init=False)
    _tempered: Tempered[AnyOrderSampler] = field(default=None, init=False)

    # ---- what the model knows ----------------------------------------------------------------------------------------

    def log_prob(self, data: Any, *, n_orders: int = 8, seed: int = 0) -> pd.DataFrame:
        """Log probability of the codes of each row, in nats, over random orders of the columns.

        A number's code is its bin, so this is the probability of the bin, not a density; a missing value is a state of
        its own. Columns that are regenerated (keys, personal data, constants) do not count.

        Args:
            data: rows with all modelled columns, in any form that `fit` takes.
            n_orders: at least 1.
            seed: of the orders.

        Returns:
            'log_prob': mean over the orders; 'spread': standard deviation over the orders (0 for one order).
        """
        from raysynth.fitting.prepared import encoded_blocks

        check_whole("n_orders", n_orders)
        self._fitted()
        codes = [block.codes_NC for block in encoded_blocks(self, data, min_rows=0)]
        if not codes:
            return pd.DataFrame({"log_prob": np.zeros(0), "spread": np.zeros(0)})
        codes_NC = np.concatenate(codes)
        within_N = np.zeros(len(codes_NC))
        if self.grouping_ is not None:
            codes_NC, within_N = self.grouping_.codes(codes_NC), self.grouping_.log_prob_within(codes_NC)
        by_order = self.sampler_.log_prob(codes_NC, n_orders, np.random.default_rng(seed)) + within_N
        return pd.DataFrame({"log_prob": by_order.mean(0), "spread": by_order.std(0)})

    def impute(
        self,
        data: pd.DataFrame,
        *,
        how: Literal["sample", "best"] = "sample",
        seed: int | None = None,
        confidence: bool = False,
    ) -> Any:
        """The rows with every missing cell of the modelled columns filled in; known cells are as they were.

        Args:
            data: rows; missing cells, or whole missing columns, are what is unknown.
            how: 'sample' draws all unknown cells of a row together from p(unknown | known); 'best' gives each cell its
                most probable category or its expected number (the least error, but less variety than real rows).
            seed: of the draws; as in `sample`.
            confidence: also return a frame with the probability of each filled-in cell given the known ones (of the
                bin, for a number), NaN elsewhere.

        Returns:
            A DataFrame, or the pair (DataFrame, confidence).

        Raises:
            DataError: a column is unknown or of another type. ParameterError: the schema has constraints.
        """
        from raysynth.methods.autoregressive.partial_rows import filled, filled_with_best, partial_rows

        if how not in ("sample", "best"):
            raise ParameterError(f"how must be 'sample' or 'best'; found {how!r}")
        model, sampler, groups = self._fitted(), self._sampler(), self.grouping_
        if self.rules_ is not None:
            raise ParameterError("impute cannot complete rows under constraints; fit without them")
        rows = partial_rows(data, model.schema, model.encoder)
        rng = np.random.default_rng(self._sampling_seed(seed))
        codes_NC = rows.codes_NC if groups is None else groups.codes(rows.codes_NC)
        conditionals = list(sampler.conditionals(codes_NC, rows.known_NC)) if confidence or how == "best" else []
        if groups is not None:
            conditionals = [(c, at, groups.spread(c, p)) for c, at, p in conditionals]
        if how == "best":
            result, sure = filled_with_best(rows, conditionals, model.schema, model.encoder, rng)
        else:
            codes_NC = sampler.complete(codes_NC, rows.known_NC, rng)
            if groups is not None:
                codes_NC = np.where(rows.known_NC, rows.codes_NC, groups.values(codes_NC, rng))
            result = filled(rows, codes_NC, model.schema, model.encoder, rng)
            sure = pd.DataFrame(np.nan, index=result.index, columns=list(model.encoder.names))
            for c, at, p_NV in conditionals:
                sure.iloc[at, c] = np.take_along_axis(p_NV, codes_NC[at, c][:, None].astype(int), 1)[:, 0]
        result.index = data.index
        return (result, sure.set_index(data.index)) if confidence else result

    def sample_rebalanced(
        self, n_samples: int, column: str, shares: Mapping[Any, float], seed: int | None = None
    ) -> pd.DataFrame:
        """Rows in which one column has the given distribution, and the others follow from it, in random order.

        Args:
            n_samples: rows.
            column: a modelled column.
            shares: for each value, or (low, high) range, its share; scaled to sum to 1.
            seed: as in `sample`.

        Raises:
            ConditionError: a value is outside the domain. ParameterError: shares are negative or all 0.
        """
        share = np.array(list(shares.values()), float)
        if not len(share) or not np.isfinite(share).all() or share.min() < 0 or share.sum() <= 0:
            raise ParameterError(f"shares must be numbers of at least 0, not all 0; found {dict(shares)!r}")
        exact = share / share.sum() * n_samples
        counts = np.floor(exact).astype(int)
        counts[np.argsort(counts - exact, kind="stable")[: n_samples - counts.sum()]] += 1
        quotas = [({column: v}, int(k)) for v, k in zip(shares, counts, strict=True) if k]
        drawn = self._sampling_seed(seed)
        rows = self.sample(conditions=quotas, seed=drawn)
        return rows.sample(frac=1, random_state=drawn % 2**32).reset_index(drop=True)

    # ---- hooks of the base class -------------------------------------------------------------------------------------

    def _check_together(self) -> None:
        check_compile_step(self)

    def _encoder_options(self) -> dict[str, Any]:
        return {"n_bins": self.n_bins}

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        from raysynth.methods.autoregressive.sampler import AnyOrderSampler
        from raysynth.methods.shared.neural import train_model
        from raysynth.training.job import CPU, trained

        prepared, encoder, grouping = group_values(prepared, self.verbose)
        job = self._job(prepared)

        def fitted(result: TrainResult) -> Fitted:
            network = trained(job.trainable(CPU), result.state).network
            sampler = AnyOrderSampler.of(network, list(job.frequencies))
            return begun.with_learned(Learned(sampler, result.history, grouping), encoder)

        return train_model(self, job, prepared, fitted)

    def _job(self, prepared: Prepared) -> AnyOrderJob:
        from raysynth.fitting.private_run import charged_plan, private_batch_size
        from raysynth.methods.autoregressive.network import CodeLayout, NetworkSettings
        from raysynth.methods.autoregressive.recipe import AnyOrderJob, AnyOrderSettings
        from raysynth.training.loop import TrainSettings

        private, plan = prepared.privacy is not None, None
        (epochs, epoch_rows), groups = (self.epochs, None), 8
        if private:
            batch_size = self.batch_size or private_batch_size(prepared.n_units)
            epochs = self._settled(under_budget=True).epochs
            released = "gradients of the network"
            plan = charged_plan(prepared, released, batch_size=batch_size, epochs=epochs, clip_norm=self.clip_norm)
        else:
            batch_size = self.batch_size or default_batch_size(prepared.n_rows)
            groups = max(g for g in (1, 2, 4, 8) if batch_size % g == 0)
            if epochs is None:
                epochs, epoch_rows = default_epochs(prepared.n_rows)
        settings = TrainSettings(
            epochs,
            batch_size,
            prepared.seed,
            checkpoint_every=self.checkpoint_every,
            compile_step=self.compile_step and not private,
            epoch_rows=epoch_rows,
            ema_decay=PRIVATE_EMA if private else EMA,
            validation_share=0.0 if private else self.validation_share,
            patience=0 if private else self.patience,
        )
        training = AnyOrderSettings(
            learning_rate=self.learning_rate,
            weight_decay=0.0 if private else self.weight_decay,
            groups=groups,
            total_steps=epochs * settings.steps_of(prepared.n_rows) if plan is None else plan.steps,
        )
        return AnyOrderJob(
            CodeLayout.of(prepared.encoder.layout),
            NetworkSettings(self.width, self.hidden, self.layers, 0.0 if private else self.dropout),
            training,
            tuple(prepared.encoder.frequencies()),
            settings=settings,
            plan=plan,
        )

    def _generator(self) -> AnyOrderSampler | GroupedGenerator:
        sampler = self._sampler()
        return sampler if self.grouping_ is None else GroupedGenerator(sampler, self.grouping_)

    def _sampler(self) -> AnyOrderSampler:
        """What draws codes, of groups where values are grouped, at the temperature of now."""
        from dataclasses import replace

        fast = None if self.precision == "auto" else self.precision == "bfloat16"
        learned, (of, found) = self.sampler_, self._tempered or (None, None)
        if found is None or of is not learned or (found.temperature, found.bfloat16) != (self.temperature, fast):
            self._check_parameters()
            found = replace(learned, temperature=float(self.temperature), bfloat16=fast)
            self._tempered = learned, found
        return found

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        from raysynth.fitting.private_run import releasable_history

        layout = self.sampler_.layout
        meta = {
            "cardinalities": list(layout.cardinalities),
            "ordered": list(layout.ordered),
            "order_rows": self.sampler_.order_rows,
            "history": releasable_history(self.history_, self.privacy_spent_),
        }
        return meta, {**self.sampler_.arrays, **({} if self.grouping_ is None else self.grouping_.to_arrays())}

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        from raysynth.methods.autoregressive.network import CodeLayout
        from raysynth.methods.autoregressive.sampler import FIRST_ORDER_ROWS, AnyOrderSampler

        layout = CodeLayout(tuple(map(int, meta["cardinalities"])), tuple(map(int, meta["ordered"])))
        order_rows = int(meta.get("order_rows", FIRST_ORDER_ROWS))  # files of before it stood there keep their rows
        sampler = AnyOrderSampler.from_arrays(layout, arrays, order_rows)
        grouping = Grouping.from_arrays(begun.encoder, arrays)
        known = begun.encoder.cardinalities if grouping is None else grouping.cardinalities(begun.encoder)
        if layout.cardinalities != known:
            raise ModelFileError("the model file's network and encoder do not belong together; refit the model")
        return begun.with_learned(Learned(sampler, list(meta["history"]), grouping))


def default_epochs(n_rows: int) -> tuple[int, int | None]:
    """Passes that show 700,000 rows, fewer of a small table; of a large one parts (see `shown_by_default`)."""
    if n_rows > ROWS_TO_SEE // FEWEST_EPOCHS:
        return shown_by_default(n_rows, ROWS_TO_SEE)
    passes = ROWS_TO_SEE / max(n_rows, SMALL) * max(1.0, SMALL / max(n_rows, 1)) ** (1 / 3)
    return min(int(np.ceil(passes)), MOST_EPOCHS), None


def default_batch_size(n_rows: int) -> int:
    """512; less for a small table, so that an epoch has some fifty steps."""
    return int(np.clip(n_rows // 50 // 8 * 8, 64, 512))
