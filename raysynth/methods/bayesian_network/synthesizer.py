"""BayesianNetworkSynthesizer: a graph of which column depends on which, learned from counts alone.

Two kinds of passes over the rows: the statistics, and a few batches of contingency tables; so memory does not grow with
the rows. Rows are drawn column by column; conditions are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.categorical import CategoricalEncoder
from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import ColumnEncoder, NumericForm, TableEncoder
from raysynth.errors import ConditionError, ModelFileError
from raysynth.fitting.checks import is_private
from raysynth.fitting.code_store import open_counts
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Synthesizer
from raysynth.methods.bayesian_network.counting import SetCounts
from raysynth.methods.bayesian_network.edge_rules import EdgeRules, edge_rules
from raysynth.methods.bayesian_network.network import Network, estimate
from raysynth.methods.bayesian_network.noised import KnownRows
from raysynth.methods.bayesian_network.presence import gaps_together, presence_parents, with_presence
from raysynth.methods.bayesian_network.private import GivenWorkload, Workload, workload_of
from raysynth.methods.bayesian_network.sampler import (
    ImpossibleError,
    Step,
    TooLargeError,
    conditioned_steps,
    draw,
    importance_rows,
    network_steps,
)
from raysynth.methods.bayesian_network.scores import SCORES, SetScores
from raysynth.methods.bayesian_network.search import RESTARTS, STRUCTURES, find_structure
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import Computed, Parameter
from raysynth.methods.shared.grouping import GroupedGenerator, Grouping, group_values
from raysynth.schema.constraints.base import one_array

if TYPE_CHECKING:
    import pyarrow as pa
    from pgmpy.models import DiscreteBayesianNetwork

    from raysynth.dp.accounting.scope import PrivacyScope

KEPT_CONDITIONS = 32
Dropped = tuple[str, tuple[str, ...], str]  # a candidate that was left out: child, parents, reason
CELLS_A_ROW = 8  # of the table of a column with its parents, at most, beyond `edge_rules.SMALL_TABLE`


@dataclass(frozen=True)
class NetworkGenerator:
    """Draws codes from a network; conditions are exact but for the case in `methods/bayesian_network/sampler.py`.

    Args:
        network: parents and tables.
        names: of the columns, for messages.
    """

    network: Network
    names: tuple[str, ...]
    exact_conditions: ClassVar[bool] = True

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows; raises `ConditionError` where no row satisfies the conditions under the model."""
        weights = {c: np.asarray(w, dtype=float) for c, w in (weights or {}).items()}
        with self._naming(weights):
            steps = self._conditioned(weights) if weights else self._steps
            if steps is None:
                codes_NC = importance_rows(self.network, weights, self._steps, n, rng)
            else:
                codes_NC = draw(steps, n, len(self.network), rng)
        return EncodedBlock(codes_NC, np.empty((n, 0), np.float32))

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Rows (N, C) with the codes of the known columns, the others drawn given them: one draw down the graph.

        Exact, since none of the known columns may depend on one that is drawn.

        Raises:
            ConditionError: one does; `forbidden_edges` prevent it.
        """
        for column in known:
            if drawn := set(self.network.parents[column]) - set(known):
                raise ConditionError(
                    f"column '{self.names[column]}' is given and depends on '{self.names[min(drawn)]}', which is "
                    "drawn; refit with forbidden_edges from drawn columns to given ones"
                )
        steps = [s for s in self._steps if s.column not in set(known)]
        return draw(steps, len(codes_NC), len(self.network), rng, codes_NC) if steps else codes_NC

    def completes(self, known: Sequence[int]) -> bool:
        """False: rows of made persons are drawn singly, as in files of earlier versions."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "names": self.names}

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return network_steps(self.network)

    @cached_property
    def _known(self) -> dict[bytes, tuple[Step, ...] | None]:
        return {}

    def _conditioned(self, weights: dict[int, np.ndarray]) -> tuple[Step, ...] | None:
        """Steps under the conditions, kept for the next chunk; None where exact tables would be too large."""
        key = b"".join(np.int64(c).tobytes() + weights[c].tobytes() for c in sorted(weights))
        if key not in self._known:
            while len(self._known) >= KEPT_CONDITIONS:
                self._known.pop(next(iter(self._known)))
            try:
                self._known[key] = conditioned_steps(self.network, weights, self._steps)
            except TooLargeError:
                self._known[key] = None
        return self._known[key]

    @contextmanager
    def _naming(self, weights: Mapping[int, np.ndarray]) -> Iterator[None]:
        try:
            yield
        except ImpossibleError:
            names = ", ".join(f"'{self.names[c]}'" for c in sorted(weights))
            raise ConditionError(
                f"no row satisfies the conditions on {names} together: the table that the model learned has no such "
                "combination; widen or drop one of the conditions"
            ) from None


Edges = Annotated[
    Sequence[tuple[str, str]] | None,
    Parameter(
        "(parent, child) pairs of column names that the network must have "
        "(`required_edges`) or must not have (`forbidden_edges`)"
    ),
]


@dataclass(frozen=True)
class Learned:
    """The network, how values are grouped, and of its search score, passes and candidates left out.

    Under a privacy budget the first two alone: no score of the rows leaves.
    """

    model: Network
    grouping: Grouping | None = None
    score: float = float("nan")
    n_passes: int = 0
    dropped_candidates: tuple[Dropped, ...] = ()


class BayesianNetworkSynthesizer(Synthesizer):
    """A Bayesian network over categories and bins of numbers, learned from counts in a few passes over the table.

    Columns that are missing together stay so (`methods/bayesian_network/presence.py`; not under a budget).

    After `fit`: `edges_`, `score_` (of the graph as the search found it), `n_passes_`, `dropped_candidates_`, and
    `network_`, the network as pgmpy holds it.
    """

    method: ClassVar[str] = "bayesian_network"
    numeric_encoding: ClassVar[NumericForm] = "bins"
    has_differential_privacy: ClassVar[bool] = True
    has_privacy_unit: ClassVar[bool] = True
    usual_statistics_share: ClassVar[float] = 0.2  # columns by themselves bound what pairs can be like

    max_parents: Annotated[
        int,
        Parameter("columns that one column may depend on directly", at_least=1, at_most=20, tried=(1, 2, 3, 4)),
    ] = 3
    score: Annotated[
        str,
        Parameter(
            "what the search maximises: 'bdeu' (the better likelihood on rows held back) or 'bic' (sparser)",
            one_of=tuple(SCORES),
        ),
    ] = "bdeu"
    structure: Annotated[
        str,
        Parameter(
            "'hill_climbing', 'greedy_order' (one climb in the order of a spanning tree) or 'tree' (Chow-Liu)",
            one_of=tuple(STRUCTURES),
        ),
    ] = "hill_climbing"
    n_bins: Annotated[
        int,
        Parameter(
            "quantile bins of a number; values inside a bin come from its protected distribution",
            at_least=2,
            at_most=1000,
            tried=(10, 20, 40),
        ),
    ] = 20
    required_edges: Edges = None
    forbidden_edges: Edges = None
    order: Annotated[Sequence[str] | None, Parameter("columns of which none may depend on a later one")] = None
    smoothing: Annotated[
        float | None,
        Parameter(
            "rows' worth of the family with one parent less that each probability is mixed with",
            at_least=0,
            otherwise=Computed("chosen by leave-one-out likelihood"),
        ),
    ] = None
    equivalent_sample_size: Annotated[float, Parameter("prior rows of 'bdeu'", above=0)] = 10.0
    restarts: Annotated[int, Parameter("perturbed climbs tried after the first; 0: none", at_least=0, at_most=1000)] = (
        RESTARTS
    )
    max_table_cells: Annotated[
        int,
        Parameter(
            "largest table of a column with its parents; candidates beyond it (or beyond 8 cells a row, where that is "
            "less and over 65,536) are dropped, for the reason in `dropped_candidates_`",
            at_least=4,
            at_most=10**8,
        ),
    ] = 1_000_000
    private_rounds: Annotated[
        int | None,
        Parameter(
            "with differential privacy, edges at most (one a round); the scores, searches and priors above are not "
            "used then",
            at_least=1,
            at_most=10_000,
            under_budget=Computed("by the number of columns and the budget"),
        ),
    ] = None
    workload: GivenWorkload = None

    _known: pa.Table | None = field(default=None, init=False)  # rows of columns that are given, released elsewhere
    model_: Network = field(init=False)
    grouping_: Grouping | None = field(init=False)
    score_: float = field(init=False)
    n_passes_: int = field(init=False)
    dropped_candidates_: tuple[Dropped, ...] = field(init=False)

    # ---- what was learned --------------------------------------------------------------------------------------------

    @property
    def network_(self) -> DiscreteBayesianNetwork:
        """The network with its probabilities as a pgmpy `DiscreteBayesianNetwork`: draw it, query it, save it as BIF.

        States are named by category, by value or by the range of a bin; characters that BIF reserves become '_'.
        """
        self._require_fitted()
        from raysynth.methods.bayesian_network.network import to_pgmpy

        encoder = self.encoder_ if self.grouping_ is None else self.grouping_.encoder(self.encoder_)
        return to_pgmpy(self.model_, encoder.names, [code_names(c) for c in encoder.columns])

    @property
    def edges_(self) -> tuple[tuple[str, str], ...]:
        """(parent, child) pairs of column names."""
        self._require_fitted()
        return tuple((self.encoder_.names[p], self.encoder_.names[c]) for p, c in self.model_.edges)

    def log_prob(self, data: Any) -> np.ndarray:
        """Log-probability of the codes of each row, in nats, shape (N,).

        Args:
            data: rows in any form that `fit` takes, or their codes (N, C) by `encoder_` as a NumPy array.
        """
        self._require_fitted()
        if isinstance(data, np.ndarray):
            if self.grouping_ is None:
                return self.model_.log_prob(data)
            return self.model_.log_prob(self.grouping_.codes(data)) + self.grouping_.log_prob_within(data)
        from raysynth.fitting.prepared import encoded_blocks

        parts = [self.log_prob(block.codes_NC) for block in encoded_blocks(self, data, min_rows=0)]
        return np.concatenate(parts) if parts else np.empty(0)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def _encoder_options(self) -> dict[str, Any]:
        from raysynth.methods.bayesian_network.private import FINER

        return {"n_bins": self.n_bins * FINER if is_private(self) else self.n_bins}

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        names = prepared.encoder.names
        rules = self._edge_rules(names)
        workload = workload_of(self.workload, names, is_private=prepared.privacy is not None)
        if prepared.privacy is not None:
            return begun.with_learned(Learned(*self._learned_privately(prepared, prepared.privacy, rules, workload)))
        prepared, encoder, grouping = group_values(prepared, self.verbose)
        rules = rules.bounded(prepared.encoder.cardinalities, CELLS_A_ROW * prepared.n_rows)
        with open_counts(prepared) as source:
            counts = SetCounts(source.count, prepared.encoder.cardinalities, prepared.n_rows)
            prior, effect = self.equivalent_sample_size, prepared.design_effect
            scores = SetScores(counts, self.score, prior, prepared.repeated_columns, effect)
            found = find_structure(self.structure, scores, rules, self.restarts)
            gaps = gaps_together(scores, rules) if self.structure != "tree" else {}  # a tree stays one
            parents, leaders = presence_parents(found.parents, gaps, scores, rules)
            model = with_presence(estimate(counts, parents, self.smoothing), leaders, gaps)
        names = prepared.encoder.names
        dropped = tuple((names[c], tuple(names[p] for p in own), why) for c, own, why in found.dropped)
        learned = Learned(model, grouping, found.score, counts.n_passes, dropped)
        if self.verbose:
            print(self._summary(learned, counts))
        return begun.with_learned(learned, encoder)

    def _learned_privately(
        self, prepared: Prepared, scope: PrivacyScope, rules: EdgeRules, workload: Workload | None
    ) -> tuple[Network, Grouping | None]:
        """Structure and tables by noised rounds; no score of the rows leaves (`score_` is NaN)."""
        from raysynth.methods.bayesian_network.private import learn_privately

        known = None if self._known is None else known_rows(self._known, prepared.encoder)
        if known is not None:  # they are given, so none depends on another column
            allowed_CC = rules.allowed_CC.copy()
            allowed_CC[:, list(known.columns)] = False
            rules = replace(rules, allowed_CC=allowed_CC)
        model, grouping = learn_privately(
            prepared, scope, rules, self.private_rounds, workload=workload, known=known, most_bins=self.n_bins
        )
        if self.verbose:
            print(f"network of {len(model.edges)} edges within {scope.spent}")
        return model, grouping

    def _edge_rules(self, names: Sequence[str]) -> EdgeRules:
        return edge_rules(
            names,
            required=self.required_edges or (),
            forbidden=self.forbidden_edges or (),
            order=self.order,
            max_parents=self.max_parents,
            max_cells=self.max_table_cells,
        )

    def _summary(self, learned: Learned, counts: SetCounts) -> str:
        model, dropped = learned.model, learned.dropped_candidates
        return (
            f"network of {len(model.edges)} edges, {model.n_parameters:,} parameters, {self.score} "
            f"{learned.score:,.0f}; {counts.n_tables:,} tables counted in {counts.n_passes} passes over the codes"
            + (f"; {len(dropped)} candidates dropped, for example {dropped[0]}" if dropped else "")
        )

    def _generator(self) -> NetworkGenerator | GroupedGenerator:
        ready: NetworkGenerator | None = getattr(self, "_ready", None)
        if ready is None or ready.network is not self.model_:
            ready = self._ready = NetworkGenerator(self.model_, tuple(self.encoder_.names))
        return ready if self.grouping_ is None else GroupedGenerator(ready, self.grouping_)

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta, arrays = self.model_.to_state()
        dropped = [[c, list(own), why] for c, own, why in self.dropped_candidates_]
        score = None if np.isnan(self.score_) else self.score_  # under a privacy budget no score leaves
        groups = {} if self.grouping_ is None else self.grouping_.to_arrays()
        return {**meta, "score": score, "n_passes": self.n_passes_, "dropped": dropped}, {**arrays, **groups}

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        model = Network.from_state(meta, arrays)
        grouping = Grouping.from_arrays(begun.encoder, arrays)
        known = begun.encoder.cardinalities if grouping is None else grouping.cardinalities(begun.encoder)
        if model.cardinalities != tuple(known):
            raise ModelFileError("the model file's Bayesian network does not fit its encoder; refit the model")
        score = float("nan") if meta["score"] is None else float(meta["score"])
        dropped = tuple((c, tuple(own), why) for c, own, why in meta["dropped"])
        return begun.with_learned(Learned(model, grouping, score, int(meta["n_passes"]), dropped))


def known_rows(rows: pa.Table, encoder: TableEncoder) -> KnownRows:
    """The codes of rows of some columns."""
    columns = [i for i, c in enumerate(encoder.columns) if c.name in rows.column_names]
    codes_NC = np.zeros((rows.num_rows, len(encoder.columns)), np.uint16)
    for i in columns:
        codes_NC[:, i] = encoder.columns[i].encode(one_array(rows.column(encoder.columns[i].name)))[0]
    return KnownRows(codes_NC, tuple(columns))


def code_names(column: ColumnEncoder) -> list[str]:
    """A readable name for each code of a column: a category, a value, or the range of a bin."""
    if isinstance(column, CategoricalEncoder):
        return [*(str(v) for v in column.values), *(["(other)"] if column.has_tail else []), "(missing)"]
    if isinstance(column, BinEncoder):
        last = np.append(column.first_cell[1:], len(column.distribution.share)) - 1
        edges = np.stack([column.distribution.low[column.first_cell], column.distribution.high[last]], axis=1)
        shown = [str(v) for v in column.to_arrow(edges.reshape(-1), np.zeros(edges.size, dtype=bool)).to_pylist()]
        ranges = zip(shown[::2], shown[1::2], strict=True)
        return [*(low if low == high else f"{low} to {high}" for low, high in ranges), "(missing)"]
    return ["present", "(missing)"]
