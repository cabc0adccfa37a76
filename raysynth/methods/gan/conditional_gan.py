"""ConditionalTabularGAN: a GAN that is given several columns at once and makes the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ModelFileError, ParameterError
from raysynth.files.model_file import under
from raysynth.fitting.code_store import open_counts
from raysynth.fitting.prepared import Prepared
from raysynth.methods.bayesian_network.counting import SetCounts
from raysynth.methods.bayesian_network.edge_rules import EdgeRules, edge_rules
from raysynth.methods.bayesian_network.network import Network, estimate
from raysynth.methods.bayesian_network.sampler import draw, network_steps
from raysynth.methods.bayesian_network.scores import SetScores
from raysynth.methods.bayesian_network.search import hill_climb
from raysynth.methods.bayesian_network.synthesizer import NetworkGenerator
from raysynth.methods.fitted import Fitted
from raysynth.methods.gan.synthesizer import GanSynthesizer
from raysynth.methods.parameters import Parameter

if TYPE_CHECKING:
    from raysynth.methods.gan.network import Generator
    from raysynth.methods.gan.recipe import GanJob
    from raysynth.methods.gan.sampler import ConditionalGanSampler

MAX_PARENTS = 3  # of a given column among the given ones
GIVEN_SHARE = 0.3  # of the budget's rho, for the network of the given columns
GIVEN_ROWS = 1 << 15  # drawn from that network, for training to ask for


class ConditionalTabularGAN(GanSynthesizer):
    """Conditional GAN (Mirza and Osindero 2014, arXiv 1411.1784) with CTGAN's encoding, networks and critic.

    The generator is given the values of all `conditional_columns` at once, of any kind, and makes the other columns.
    What it is given comes from a Bayesian network of these columns alone, in which conditions are exact; so a condition
    on them, however rare, costs nothing, and their joint distribution under it is right. Conditions on other columns
    are met by rejection.
    """

    has_differential_privacy: ClassVar[bool] = True
    method: ClassVar[str] = "conditional_gan"
    all_given: ClassVar[bool] = True

    conditional_columns: Annotated[
        Sequence[str] | None, Parameter("the columns to condition on; at least one, and at least one column besides")
    ] = None
    condition_bins: Annotated[
        int,
        Parameter("quantile bins of a conditional column of numbers; the generator is told the bin", at_least=2),
    ] = 50
    pac: Annotated[
        int,
        Parameter(
            "rows judged together; 1, since what is to be learned is how each row follows from what it is told",
            at_least=1,
        ),
    ] = 1

    _given_network: Network = field(init=False)  # under a privacy budget, released before training
    sampler_: ConditionalGanSampler = field(init=False)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def _check_together(self) -> None:
        super()._check_together()
        columns = self.conditional_columns
        if columns is None or isinstance(columns, str) or not list(columns):
            raise ParameterError(
                "conditional_columns must be a list of at least one column to condition on, for example "
                f"['gender', 'age']; found {columns!r}"
            )
        if twice := sorted({c for c in columns if list(columns).count(c) > 1}):
            raise ParameterError(
                f"conditional_columns names {', '.join(map(repr, twice))} twice; name each column once"
            )

    def _encoder_options(self) -> dict[str, Any]:
        return {"binned": frozenset(self.conditional_columns or ()), "n_bins": self.condition_bins}

    def _condition_columns(self, encoder: TableEncoder) -> tuple[int, ...]:
        names = encoder.names
        wanted = list(self.conditional_columns or ())
        if unknown := [c for c in wanted if c not in names]:
            raise ParameterError(
                f"conditional_columns names '{unknown[0]}', which is no modelled column; choose among "
                f"{', '.join(names)}"
            )
        if len(wanted) == len(names):
            raise ParameterError(
                "conditional_columns names every column, which leaves the GAN nothing to make; leave some out"
            )
        return tuple(sorted(names.index(c) for c in wanted))

    def _private_job(self, prepared: Prepared, job: GanJob) -> GanJob:
        """Under a budget: first the network of the given columns, then the discriminator with what that leaves."""
        from raysynth.methods.gan.recipe import Asked

        run = prepared.private_run
        if run is not None and run.plan is not None and run.releases is not None:
            network = Network.from_state(*run.releases)
        else:
            network = private_given_network(prepared, job.conditions.columns)
        plan = self._charged_plan(prepared, job, network.to_state())
        self._given_network = network
        rng = np.random.default_rng(prepared.seed)
        given_SQ = draw(network_steps(network), GIVEN_ROWS, len(network), rng)
        return replace(job, plan=plan, asked=Asked(job.settings.batch_size, given_SQ=given_SQ))

    def _sampler(self, job: GanJob, generator: Generator, prepared: Prepared) -> ConditionalGanSampler:
        from raysynth.methods.gan.sampler import ConditionalGanSampler, folded

        private = prepared.privacy is not None
        network = self._given_network if private else given_network(prepared, job.conditions.columns)
        sampler = ConditionalGanSampler(
            spans=job.spans,
            arrays={},
            code_bias_S=np.zeros(job.spans.n_codes),
            conditions=job.conditions,
            shares_K=np.zeros(0),
            hidden=job.networks.generator_dim,
            given=NetworkGenerator(network, self._given_names(prepared.encoder)),
        )
        return replace(
            sampler, arrays=folded(generator, sampler.draw_conditions, job.settings.batch_size, prepared.seed)
        )

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta, arrays = super()._model_state()
        given = self.sampler_.given
        assert isinstance(given, NetworkGenerator)
        network_meta, network_arrays = given.network.to_state()
        return {**meta, "given": network_meta}, {**arrays, **{f"given.{k}": v for k, v in network_arrays.items()}}

    def _sampler_of(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> ConditionalGanSampler:
        from raysynth.methods.gan.sampler import ConditionalGanSampler

        network = Network.from_state(meta["given"], under("given.", arrays))
        given = NetworkGenerator(network, self._given_names(begun.encoder))
        sampler = ConditionalGanSampler.restored(meta, arrays, given=given)
        if network.cardinalities != sampler.conditions.cardinalities:
            raise ModelFileError("the model file's given columns and generator do not fit together; refit the model")
        return sampler

    def _given_names(self, encoder: TableEncoder) -> tuple[str, ...]:
        return tuple(encoder.names[c] for c in self._condition_columns(encoder))


def private_given_network(prepared: Prepared, columns: Sequence[int]) -> Network:
    """As `given_network`, within a part of the budget; of one column alone its released shares, at no further cost."""
    from raysynth.methods.bayesian_network.private import learn_privately

    assert prepared.privacy is not None
    own, rules = _of_columns(prepared, columns)
    return learn_privately(own, prepared.privacy, rules, share=GIVEN_SHARE)[0]


def given_network(prepared: Prepared, columns: Sequence[int]) -> Network:
    """Bayesian network of some columns, from counts; its columns are numbered from 0 in the given order."""
    own, rules = _of_columns(prepared, columns)
    with open_counts(own) as source:
        counts = SetCounts(source.count, own.encoder.cardinalities, own.n_rows)
        scores = SetScores(counts, "bdeu", 10.0, own.repeated_columns, own.design_effect)
        found = hill_climb(scores, rules)
        return estimate(counts, found.parents, None)


def _of_columns(prepared: Prepared, columns: Sequence[int]) -> tuple[Prepared, EdgeRules]:
    """The same table of some columns, and which edges between them may be."""
    own = replace(prepared, encoder=TableEncoder(tuple(prepared.encoder.columns[c] for c in columns)))
    return own, edge_rules(own.encoder.names, max_parents=MAX_PARENTS)
