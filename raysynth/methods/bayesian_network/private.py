"""A Bayesian network within a privacy budget: the events of its rounds, charged first, then the search.

What the statistics left of the budget goes to the rounds: a seventh of its rho to choices, the rest to tables. The
number of rounds and the noise of each are fixed before the first round, from public values and the noised number of
rows, so that the composition of the ledger holds however the choices turn out.
"""

from __future__ import annotations

import math

import numpy as np

from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.ledger import Event
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.fitting.code_store import open_counts
from raysynth.fitting.prepared import Prepared
from raysynth.methods.bayesian_network.edge_rules import EdgeRules
from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.noised import KnownRows, NoisedSearch, Rounds
from raysynth.methods.bayesian_network.workload import Workload

CHOICE_SHARE = 1 / 7  # of the rounds' rho


def learn_privately(
    prepared: Prepared,
    scope: PrivacyScope,
    rules: EdgeRules,
    rounds: int | None = None,
    *,
    share: float | None = None,
    workload: Workload | None = None,
    known: KnownRows | None = None,
) -> Network:
    """The network of a prepared table.

    Args:
        prepared: its encoder says which columns.
        scope: pays.
        rules: which edges may be.
        rounds: None: `default_rounds`.
        share: of the budget's rho; None: all that the scope has left.
        workload: pairs that are measured first; None: all alike.
        known: columns that are never drawn, as they were released elsewhere.
    """
    encoder = prepared.encoder
    shares = [np.maximum(s, 0.0) for s in encoder.frequencies()]
    shares = [s / s.sum() if s.sum() > 0 else np.full(len(s), 1 / len(s)) for s in shares]
    n_rounds = rounds if rounds is not None else default_rounds(len(shares))
    if len(shares) < 2:
        return Network(encoder.cardinalities, ((),) * len(shares), tuple(s[None, :] for s in shares), scope.n_rows)
    k, n_released = scope.rows_per_unit, len(shares) - (0 if known is None else len(known.columns))
    purpose = "" if workload is None else f", {workload.words}"
    if share is None:
        scale = scope.calibrated(lambda x: planned(n_rounds, x, k), start=5.0)
    else:
        scale = scope.share_multiplier(share * (1 - CHOICE_SHARE))
    choice, table = scope.charge(*planned(n_rounds, scale, k, purpose))
    assert choice.epsilon is not None and table.noise_multiplier is not None
    with open_counts(prepared) as source:
        search = NoisedSearch(
            count=source.count,
            shares=shares,
            share_sigma=k * scope.share_multiplier(scope.preprocessing_share / n_released),
            n_rows=float(scope.n_rows),
            rounds=Rounds(n_rounds, choice.epsilon, k * table.noise_multiplier, k),
            rules=rules,
            noise=scope.noise,
            rng=np.random.default_rng(prepared.seed),
            first=frozenset() if workload is None else workload.pairs,
            known=known,
        )
        return search.run()


def default_rounds(n_columns: int) -> int:
    """Edges that a budget is divided among: nearly three for each column.

    On Adult at epsilon 1, 16 rounds gave an AUC of 0.876, 20 of 0.883, 40 of 0.895 (means of 3 or 4 fits).
    """
    return max(1, min(round(2.7 * n_columns), n_columns * (n_columns - 1) // 2))


def planned(n_rounds: int, scale: float, k: int = 1, purpose: str = "") -> tuple[Event, Event]:
    """The events of all rounds at a scale of noise: choices (their rho is epsilon^2 / 8) and tables.

    A unit of k rows changes a score by at most k, and a table by at most k in L2 norm. `purpose`: what they go to
    first, for the ledger.
    """
    sigma = scale * math.sqrt(n_rounds)
    rho_of_choice = CHOICE_SHARE / (1 - CHOICE_SHARE) / (2 * sigma**2)
    choice = events.exponential(
        f"choice of a further parent{purpose}", math.sqrt(8 * rho_of_choice), steps=n_rounds, sensitivity=k
    )
    table = events.discrete_gaussian(f"table of a column with its parents{purpose}", sigma, rows=k, steps=n_rounds)
    return choice, table
