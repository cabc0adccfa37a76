"""Boosted corrections: what columns say only together, learned by other folds, of enough persons, kept in files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raysynth.errors import ModelFileError
from raysynth.methods.trees.boosting import BoostedTrees, Boosting, corrected, grouped
from raysynth.methods.trees.columns import ColumnView, RowsOfPersons
from raysynth.methods.trees.corrections import (
    FOLDS,
    LEAST_ROWS,
    MOST_GROUPS,
    Correcting,
    groups_of,
    rows_to_learn_from,
)
from raysynth.methods.trees.forest import Forest
from raysynth.methods.trees.grow import GrowthRule
from raysynth.methods.trees.recipe import learn_table
from raysynth.methods.trees.state import from_state, to_state

HOW = Boosting(rate=0.1, leaves=16, trees=80, patience=8, held=0.2)


def number(cardinality: int) -> ColumnView:
    rank = np.append(np.linspace(0, 1, cardinality - 1), 0.5)
    return ColumnView(cardinality, True, rank, 4 * rank - 2, 0.0, None)


def crossed(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups (3, N) of which the first two say only together whether the target (N,) is near 1 or near -1."""
    rng = np.random.default_rng(seed)
    x_FN = rng.integers(0, 40, (3, n)).astype(np.uint8)
    return x_FN, np.where((x_FN[0] < 20) == (x_FN[1] < 20), 1.0, -1.0) + rng.normal(0, 0.3, n)


def correcting(n: int, seed: int = 0, persons: RowsOfPersons | None = None, least: int = 20) -> Correcting:
    x_FN, y_N = crossed(n, seed)
    fold_N = np.arange(n) % 10 if persons is None else persons.person_N % 10
    group = (np.arange(40, dtype=np.uint8),) * 3
    return Correcting(group, list(x_FN), y_N[:, None], np.zeros((n, 1)), fold_N, persons, least, n, 5)


def test_what_two_columns_say_together_is_learned_and_holds_for_fresh_rows() -> None:
    """Alone neither says anything: a line, or a step, leaves all of the variance of 1."""
    found = correcting(4_000)
    addend_N = found.addend(0)
    assert addend_N is not None and np.square(found.targets_NK[:, 0] - addend_N).mean() < 0.2
    learned = found.learned(0)
    x_FN, y_N = crossed(4_000, 9)
    assert learned is not None and np.square(y_N - learned.trees.sums(grouped(learned.group, x_FN))).mean() < 0.2


def test_noise_is_not_corrected() -> None:
    found = correcting(2_000)
    noise = np.random.default_rng(1).normal(size=(2_000, 1))
    assert replace(found, targets_NK=noise).addend(0) is None


def test_a_row_is_corrected_by_rows_of_other_folds_alone() -> None:
    """Targets of one fold, far off, change the corrections of all folds but its own."""
    found = correcting(3_000)
    own = found.fold_N % FOLDS == 2
    other = found.targets_NK.copy()
    other[own] += 0.3
    one, two = found.addend(0), replace(found, targets_NK=other).addend(0)
    assert one is not None and two is not None
    assert np.array_equal(one[own], two[own]) and not np.array_equal(one[~own], two[~own])


def test_leaves_hold_enough_persons() -> None:
    """Six rows of each person: as many rows as 20 persons have stand behind each leaf."""
    n = 3_000
    x_FN, y_N = crossed(n, 0)
    x_NF = np.ascontiguousarray(x_FN.T)
    for persons_N, least in ((np.ones(n), 20.0), (np.full(n, 1 / 6), 20.0), (np.ones(n), 75.0)):
        trees = corrected(x_NF, y_N, np.zeros(n), persons_N, least, HOW, np.random.default_rng(0))
        held = np.random.default_rng(0).random(n) < HOW.held
        for root in trees.roots:
            leaf_N = _walked(trees, int(root), x_NF[~held])
            assert np.bincount(leaf_N)[np.unique(leaf_N)].min() * persons_N[0] >= least - 1e-3


def _walked(trees: BoostedTrees, root: int, x_NF: np.ndarray) -> np.ndarray:
    node = np.full(len(x_NF), root)
    while (at := np.flatnonzero(trees.feature[node] >= 0)).size:
        node[at] = trees.left[node[at]] + (x_NF[at, trees.feature[node[at]]] > trees.threshold[node[at]])
    return node


def test_persons_of_several_rows_weigh_as_one() -> None:
    person_N = np.repeat(np.arange(500), 6)
    found = correcting(3_000, persons=RowsOfPersons(person_N, 500, frozenset()))
    assert found.persons_N == pytest.approx(np.full(3_000, 1 / 6))


def test_what_is_foreseen_is_where_corrections_begin() -> None:
    """Who foresees the targets needs no correction."""
    found = correcting(2_000)
    x_NF, y_N = found.x_NF, found.targets_NK[:, 0]
    rng = np.random.default_rng(2)
    assert np.abs(corrected(x_NF, y_N, y_N, np.ones(2_000), 20, HOW, rng).sums(x_NF)).max() < 1e-6
    assert len(corrected(x_NF, y_N, np.zeros(2_000), np.ones(2_000), 20, HOW, rng).roots) > 3


@pytest.mark.parametrize("cardinality", [2, 40, MOST_GROUPS, MOST_GROUPS + 1, 2_001])
@pytest.mark.parametrize("is_ordered", [False, True])
def test_groups_ascend_along_the_places_that_splits_use(cardinality: int, is_ordered: bool) -> None:
    order = None if is_ordered else np.random.default_rng(0).permutation(cardinality).astype(np.uint16)
    group = groups_of(number(cardinality), order)
    assert group.shape == (cardinality,) and group.max() < MOST_GROUPS
    line = group[np.argsort(order)] if order is not None else group[:-1]
    assert (np.diff(line.astype(int)) >= 0).all()
    assert len(np.unique(group)) == cardinality or len(np.unique(group)) >= MOST_GROUPS - 2


def test_wide_tables_cost_no_more_than_narrow_ones() -> None:
    assert rows_to_learn_from(5) == 12_000 and rows_to_learn_from(20) == 5_000 and rows_to_learn_from(5_000) == 1_000


@pytest.fixture(scope="module")
def table() -> tuple[tuple[ColumnView, ...], tuple[Forest, ...], np.ndarray]:
    """Five numbers, and a sixth that is nearly the sum of two products."""
    rng = np.random.default_rng(4)
    inputs_FN = rng.integers(0, 100, (5, LEAST_ROWS))
    z_FN = inputs_FN / 50 - 1
    last = np.clip(50 + 20 * (z_FN[0] * z_FN[1] + z_FN[2] * z_FN[3]) + rng.normal(0, 2, LEAST_ROWS), 0, 99).astype(int)
    codes_CN = np.stack([*inputs_FN, last]).astype(np.uint16)
    views = (number(101),) * 6
    return views, learn_table(codes_CN, views, tuple(range(6)), GrowthRule(3, 10, 0.6), 5, 1), codes_CN


def _with_corrections(forests: tuple[Forest, ...]) -> list[Forest]:
    return [f for f in forests if any(score.correction is not None for score in f.scores)]


def test_a_column_is_corrected_and_drawn_so(
    table: tuple[tuple[ColumnView, ...], tuple[Forest, ...], np.ndarray],
) -> None:
    views, forests, codes_CN = table
    assert _with_corrections(forests) == [forests[5]]
    drawn = forests[5].draw(codes_CN, codes_CN.shape[1], np.random.default_rng(0))
    z_FN = codes_CN[:4].astype(float) / 50 - 1
    meant = 50 + 20 * (z_FN[0] * z_FN[1] + z_FN[2] * z_FN[3])
    assert np.corrcoef(drawn, meant)[0, 1] > 0.8, "trees alone reach .59"
    assert not _with_corrections(learn_table(codes_CN[:, 1:], views, tuple(range(6)), GrowthRule(3, 10, 0.6), 5, 1))


def test_a_model_file_keeps_corrections(table: tuple[tuple[ColumnView, ...], tuple[Forest, ...], np.ndarray]) -> None:
    views, forests, codes_CN = table
    again, _ = from_state(*to_state(forests, tuple(range(6))), views)
    for one, other in zip(forests, again, strict=True):
        drawn = [f.draw(codes_CN, codes_CN.shape[1], np.random.default_rng(3)) for f in (one, other)]
        assert np.array_equal(*drawn)


def test_a_correction_by_no_input_is_refused(
    table: tuple[tuple[ColumnView, ...], tuple[Forest, ...], np.ndarray],
) -> None:
    views, forests, _ = table
    meta, arrays = to_state(forests, tuple(range(6)))
    name = next(n for n in arrays if n.endswith("boosted.feature"))
    arrays[name] = np.where(arrays[name] >= 0, 5, arrays[name]).astype(np.int16)
    with pytest.raises(ModelFileError, match="no such column"):
        from_state(meta, arrays, views)
