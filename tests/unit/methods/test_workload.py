"""A workload: what a private fit measures first, that its ledger says so, and that it costs what any fit costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import BayesianNetworkSynthesizer, TableSchema
from raysynth.errors import ParameterError
from raysynth.schema.columns import ColumnSchema, Kind

NAMES = ["a", "b", "c", "d", "e", "f"]


def table(n: int = 3000) -> pd.DataFrame:
    """Numbers of which only 'a' and 'b' hang together, weakly; the others strongly."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    columns = {name: z + rng.normal(scale=0.3, size=n) for name in NAMES[2:]}
    a = rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": 0.4 * a + rng.normal(size=n), **columns})


def fitted(**given: Any) -> BayesianNetworkSynthesizer:
    schema = TableSchema(tuple(ColumnSchema(n, Kind.CONTINUOUS, "double", bounds=(-5.0, 5.0)) for n in NAMES))
    return BayesianNetworkSynthesizer(schema=schema, verbose=False, seed=0, **{"epsilon": 1.0, **given}).fit(table())


def test_the_network_measures_the_named_pair_first() -> None:
    """One round: without a workload it goes to one of six pairs that hang together strongly (chance of 'a' with 'b' by
    the exponential mechanism below 1e-9); with one, to the pair that is named."""
    plain = fitted(private_rounds=1, n_bins=5)
    named = fitted(private_rounds=1, n_bins=5, workload=[["b", "a"]])
    assert {frozenset(e) for e in named.edges_} == {frozenset("ab")}
    assert {frozenset(e) for e in plain.edges_} != {frozenset("ab")}
    assert named.privacy_spent_ is not None and plain.privacy_spent_ is not None
    released = [e.released for e in named.privacy_spent_.ledger]
    assert sum("first for 'b' with 'a'" in r for r in released) == 2
    assert named.privacy_spent_.epsilon == pytest.approx(plain.privacy_spent_.epsilon, rel=0.01)


def test_a_target_is_measured_with_every_column() -> None:
    model = fitted(private_rounds=5, n_bins=4, workload=["a"], max_parents=5)
    together = {frozenset({*own, child}) for child in NAMES for own in [[p for p, c in model.edges_ if c == child]]}
    assert all(any({"a", other} <= t for t in together) for other in NAMES[1:])


def test_a_target_is_the_parent_of_all_unless_that_is_forbidden() -> None:
    """With one parent a column: as a child it would have one edge that the first round may take, and miss the rest."""
    every = fitted(private_rounds=5, n_bins=4, workload=["a"], max_parents=1)
    assert set(every.edges_) == {("a", other) for other in NAMES[1:]}
    barred = fitted(private_rounds=5, n_bins=4, workload=["a"], max_parents=1, forbidden_edges=[("a", "b")])
    assert set(barred.edges_) == {("b", "a"), *(("a", other) for other in NAMES[2:])}


def test_what_is_no_workload() -> None:
    for workload, message in (
        (["z"], "'z' is no modelled column"),
        ([["a", "a"]], "a pair of two columns"),
        ("a", "a list of names"),
        ([], "a list of columns"),
    ):
        with pytest.raises(ParameterError, match=message):
            fitted(workload=workload)
    with pytest.raises(ParameterError, match="give epsilon"):
        fitted(workload=["a"], epsilon=None)
