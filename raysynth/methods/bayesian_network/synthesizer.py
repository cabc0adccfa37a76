"""BayesianNetworkSynthesizer: a graph of which column depends on which, learned from counts alone.

Two kinds of passes over the rows: the statistics, and a few batches of contingency tables; so memory does not grow with
the rows. Rows are drawn column by column; conditions are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.categorical import CategoricalEncoder
from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import ColumnEncoder, NumericForm
from raysynth.errors import ConditionError, ModelFileError, NotFittedError, ParameterError
from raysynth.fitting.code_store import open_counts
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Synthesizer
from raysynth.methods.bayesian_network.conditioning import (
    ImpossibleError,
    TooLargeError,
    conditioned_steps,
    importance_rows,
)
from raysynth.methods.bayesian_network.counting import SetCounts
from raysynth.methods.bayesian_network.edge_rules import EdgeRules, edge_rules
from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.parameters import estimate
from raysynth.methods.bayesian_network.sampler import Step, draw, network_steps
from raysynth.methods.bayesian_network.scores import SCORES, SetScores
from raysynth.methods.bayesian_network.search import RESTARTS, STRUCTURES, find_structure

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

    from raysynth.dp.accounting.scope import PrivacyScope

KEPT_CONDITIONS = 32


@dataclass(frozen=True)
class NetworkGenerator:
    """Draws codes from a network; conditions are exact but for the case in `methods/bayesian_network/conditioning.py`.

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


class BayesianNetworkSynthesizer(Synthesizer):
    """A Bayesian network over categories and quantile bins; fits in seconds, from counts, any number of rows.

    Args:
        max_parents: columns that one column may depend on directly.
        score: what the search maximises: 'bdeu' (the better likelihood on rows held back) or 'bic' (sparser).
        structure: 'hill_climbing', 'greedy_order' (one climb in the order of a spanning tree) or 'tree' (Chow-Liu).
        n_bins: quantile bins of a number, 2 to 1,000; values inside a bin come from its protected distribution.
        required_edges, forbidden_edges: (parent, child) pairs of column names.
        order: columns of which none may depend on a later one.
        smoothing: rows' worth of the family with one parent less that each probability is mixed with; None: chosen by
            leave-one-out likelihood.
        equivalent_sample_size: prior rows of 'bdeu'.
        restarts: perturbed climbs tried after the first; 0: none.
        max_table_cells: largest table of a column with its parents; candidates beyond it are dropped, for the
            reason in `dropped_candidates_`.
        private_rounds: with differential privacy, edges at most (one a round); None: by the number of columns and the
            budget. The scores, searches and priors above are not used then.

    The other arguments are those of `Synthesizer`. After `fit`: `edges_`, `score_`, `n_passes_`, `dropped_candidates_`,
    and `network_`, the network as pgmpy holds it.
    """

    method: ClassVar[str] = "bayesian_network"
    numeric_encoding: ClassVar[NumericForm] = "bins"
    has_differential_privacy: ClassVar[bool] = True
    has_privacy_unit: ClassVar[bool] = True

    def __init__(
        self,
        *,
        max_parents: int = 3,
        score: str = "bdeu",
        structure: str = "hill_climbing",
        n_bins: int = 20,
        required_edges: Sequence[tuple[str, str]] | None = None,
        forbidden_edges: Sequence[tuple[str, str]] | None = None,
        order: Sequence[str] | None = None,
        smoothing: float | None = None,
        equivalent_sample_size: float = 10.0,
        restarts: int = RESTARTS,
        max_table_cells: int = 1_000_000,
        private_rounds: int | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.max_parents = max_parents
        self.score = score
        self.structure = structure
        self.n_bins = n_bins
        self.required_edges = required_edges
        self.forbidden_edges = forbidden_edges
        self.order = order
        self.smoothing = smoothing
        self.equivalent_sample_size = equivalent_sample_size
        self.restarts = restarts
        self.max_table_cells = max_table_cells
        self.private_rounds = private_rounds

    # ---- what was learned --------------------------------------------------------------------------------------------

    @property
    def network_(self) -> DiscreteBayesianNetwork:
        """The network with its probabilities as a pgmpy `DiscreteBayesianNetwork`: draw it, query it, save it as BIF.

        States are named by category, by value or by the range of a bin; characters that BIF reserves become '_'.
        """
        if not hasattr(self, "model_"):
            raise NotFittedError("this BayesianNetworkSynthesizer is not fitted; call fit(data) first")
        from raysynth.methods.bayesian_network.export import to_pgmpy

        return to_pgmpy(self.model_, self.encoder_.names, [code_names(c) for c in self.encoder_.columns])

    @property
    def edges_(self) -> tuple[tuple[str, str], ...]:
        """(parent, child) pairs of column names."""
        if not hasattr(self, "model_"):
            raise NotFittedError("this BayesianNetworkSynthesizer is not fitted; call fit(data) first")
        return tuple((self.encoder_.names[p], self.encoder_.names[c]) for p, c in self.model_.edges)

    def log_prob(self, data: Any) -> np.ndarray:
        """Log-probability of the codes of each row, in nats, shape (N,).

        Args:
            data: rows in any form that `fit` takes, or their codes (N, C) by `encoder_` as a NumPy array.
        """
        if not hasattr(self, "model_"):
            raise NotFittedError("this BayesianNetworkSynthesizer is not fitted; call fit(data) first")
        if isinstance(data, np.ndarray):
            return self.model_.log_prob(data)
        from raysynth.fitting.encoded_rows import encoded_blocks

        parts = [self.model_.log_prob(block.codes_NC) for block in encoded_blocks(self, data, min_rows=0)]
        return np.concatenate(parts) if parts else np.empty(0)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        for name, low, high in (
            ("max_parents", 1, 20),
            ("n_bins", 2, 1000),
            ("restarts", 0, 1000),
            ("max_table_cells", 4, 10**8),
        ):
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not (whole and low <= value <= high):
                raise ParameterError(f"{name} must be a whole number from {low} to {high:,}; found {value!r}")
        rounds = self.private_rounds
        if rounds is not None and not (isinstance(rounds, (int, np.integer)) and 1 <= rounds <= 10_000):
            raise ParameterError(f"private_rounds must be None or a whole number from 1 to 10,000; found {rounds!r}")
        for name, valid in (("score", SCORES), ("structure", STRUCTURES)):
            if getattr(self, name) not in valid:
                raise ParameterError(f"{name} must be one of {', '.join(valid)}; found {getattr(self, name)!r}")
        if self.smoothing is not None and not (_is_number(self.smoothing) and self.smoothing >= 0):
            raise ParameterError(f"smoothing must be None or a number >= 0; found {self.smoothing!r}")
        if not (_is_number(self.equivalent_sample_size) and self.equivalent_sample_size > 0):
            raise ParameterError(f"equivalent_sample_size must be a number > 0; found {self.equivalent_sample_size!r}")

    def _encoder_options(self) -> dict[str, Any]:
        return {"n_bins": self.n_bins}

    def _fit_encoded(self, prepared: Prepared) -> None:
        rules = self._edge_rules(prepared.encoder.names)
        if prepared.privacy is not None:
            self._fit_privately(prepared, prepared.privacy, rules)
            return
        with open_counts(prepared) as source:
            counts = SetCounts(source.count, prepared.encoder.cardinalities, prepared.n_rows)
            scores = SetScores(counts, self.score, self.equivalent_sample_size)
            found = find_structure(self.structure, scores, rules, self.restarts)
            self.model_ = estimate(counts, found.parents, self.smoothing)
        names = prepared.encoder.names
        self.score_ = found.score
        self.n_passes_ = counts.n_passes
        self.dropped_candidates_ = tuple((names[c], tuple(names[p] for p in own), why) for c, own, why in found.dropped)
        if self.verbose:
            print(self._summary(counts))

    def _fit_privately(self, prepared: Prepared, scope: PrivacyScope, rules: EdgeRules) -> None:
        """Structure and tables by noised rounds; no score of the rows leaves (`score_` is NaN)."""
        from raysynth.methods.bayesian_network.private import learn_privately

        self.model_ = learn_privately(prepared, scope, rules, self.private_rounds)
        self.score_, self.n_passes_, self.dropped_candidates_ = float("nan"), 0, ()
        if self.verbose:
            print(f"network of {len(self.model_.edges)} edges within {scope.spent}")

    def _edge_rules(self, names: Sequence[str]) -> EdgeRules:
        return edge_rules(
            names,
            required=self.required_edges or (),
            forbidden=self.forbidden_edges or (),
            order=self.order,
            max_parents=self.max_parents,
            max_cells=self.max_table_cells,
        )

    def _summary(self, counts: SetCounts) -> str:
        dropped = len(self.dropped_candidates_)
        return (
            f"network of {len(self.model_.edges)} edges, {self.model_.n_parameters:,} parameters, {self.score} "
            f"{self.score_:,.0f}; {counts.n_tables:,} tables counted in {counts.n_passes} passes over the codes"
            + (f"; {dropped} candidates dropped, for example {self.dropped_candidates_[0]}" if dropped else "")
        )

    def _generator(self) -> NetworkGenerator:
        ready: NetworkGenerator | None = getattr(self, "_ready", None)
        if ready is None or ready.network is not self.model_:
            ready = self._ready = NetworkGenerator(self.model_, tuple(self.encoder_.names))
        return ready

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta, arrays = self.model_.to_state()
        dropped = [[c, list(own), why] for c, own, why in self.dropped_candidates_]
        score = None if np.isnan(self.score_) else self.score_  # under a privacy budget no score leaves
        return {**meta, "score": score, "n_passes": self.n_passes_, "dropped": dropped}, arrays

    def _set_model_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.model_ = Network.from_state(meta, arrays)
        if self.model_.cardinalities != tuple(self.encoder_.cardinalities):
            raise ModelFileError("the model file's Bayesian network does not fit its encoder; refit the model")
        self.score_ = float("nan") if meta["score"] is None else float(meta["score"])
        self.n_passes_ = int(meta["n_passes"])
        self.dropped_candidates_ = tuple((c, tuple(own), why) for c, own, why in meta["dropped"])


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))
