"""The second look at undeclared categories: which column gets it, what it names, and by how much one row changes it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.dp import InsecureSeededNoise, Mechanism, PrivacyBudget, PrivacyScope
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.noised import NoisedStatistics, public_cells, release_statistics
from raysynth.statistics.noised_atoms import _nameable
from raysynth.statistics.public_schema import as_declared, public_schema

ROWS = 4000


def people() -> pd.DataFrame:
    """Fifty states, a text of its own in each row, a choice of two, and nine numbers."""
    rng = np.random.default_rng(0)
    texts = {"state": rng.choice([f"S{i:02d}" for i in range(50)], ROWS), "note": [f"note {i}" for i in range(ROWS)]}
    numbers = {f"x{i}": rng.normal(size=ROWS) for i in range(9)}
    return pd.DataFrame({**texts, "plan": rng.choice(["yes", "no"], ROWS), **numbers})


def released(seed: int, share: float = 0.2) -> tuple[NoisedStatistics, PrivacyScope]:
    table = as_table(people())
    schema = public_schema(table, None, {})
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(seed))
    return value_of(lambda: release_statistics(as_declared(table, schema), schema, scope, share=share)), scope


@pytest.mark.parametrize("seed", range(3))
def test_fifty_values_of_eighty_rows_are_named_and_free_text_is_not(seed: int) -> None:
    """Without the second look none passes. A value is named with a chance of .8: 30 of 50 but for 1e-4."""
    columns = released(seed)[0].columns
    state, note, plan = (columns[n].categories().value for n in ("state", "note", "plan"))
    assert len(state.values) >= 30 and not note.values and set(plan.values) == {"yes", "no"}
    assert state.counts.sum() + state.other == pytest.approx(ROWS, rel=0.1)


def test_it_is_charged_whatever_the_rows_hold_and_all_shares_add_up() -> None:
    """Rho of all statistics is that of one Gaussian release with their share (Bun and Steinke 2016, lemma 2.4)."""
    scope = released(0)[1]
    names = [e.released for e in scope.ledger]
    assert {"which column has further values", "counts of that column's values", "which further values occur"} <= set(
        names
    )
    rho = sum(
        0.0 if e.composition == "basic" or e.mechanism is Mechanism.APPROXIMATE
        else e.epsilon**2 / 8 if e.mechanism is Mechanism.EXPONENTIAL and e.epsilon
        else 0.5 / e.noise_multiplier**2 if e.noise_multiplier else 0.0
        for e in scope.ledger
    )  # fmt: skip
    whole = scope.share_multiplier(0.2, 0.2)
    assert rho == pytest.approx(0.5 / whole**2, rel=0.03)


def test_columns_of_more_public_cells_have_less_noise() -> None:
    """The total error of counts is least where rho grows with cells^(2/3)."""
    data = pd.DataFrame({"state": ["S1"] * ROWS, "plan": ["yes"] * ROWS})
    domains = {"state": [f"S{i}" for i in range(50)], "plan": ["yes", "no"]}
    declared = TableSchema(
        tuple(ColumnSchema(n, Kind.CATEGORICAL, "string", categories=tuple(v)) for n, v in domains.items())
    )
    table = as_table(data)
    schema = public_schema(table, declared, {})
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(0))
    release_statistics(as_declared(table, schema), schema, scope, share=0.1)
    sigma = {e.released: e.noise_multiplier for e in scope.ledger}
    cells = {n: public_cells(schema[n]) for n in domains}
    assert cells == {"state": 51, "plan": 3}
    ratio = (sigma["counts of 'plan'"] or 0) / (sigma["counts of 'state'"] or 1)
    assert ratio == pytest.approx((51 / 3) ** (1 / 3), rel=0.02)


def test_one_row_changes_the_score_of_a_column_by_at_most_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        counts: dict[str | None, int] = {v: int(n) for v, n in zip("abcdef", rng.integers(0, 12, 6), strict=True)}
        counts[None] = int(rng.integers(0, 9))
        needed, named = float(rng.uniform(0, 9)), ["a"] if rng.random() < 0.5 else []
        for value in [*counts, "new"]:
            more = {**counts, value: counts.get(value, 0) + 1}
            change = _nameable(more, named, needed) - _nameable(counts, named, needed)
            assert 0 <= change <= 1 + 1e-12
            assert change == 0 or value not in (None, *named)
