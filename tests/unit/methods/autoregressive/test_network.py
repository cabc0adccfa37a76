"""Tests of the any-order network: a proper distribution in every order, and folded weights are the same function."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedColumn
from raysynth.methods.autoregressive.network import (
    AnyOrderNetwork,
    CodeLayout,
    CodeTable,
    NetworkSettings,
    random_places,
)
from raysynth.methods.autoregressive.sampler import AnyOrderSampler
from raysynth.schema import Kind

LAYOUT = CodeLayout((3, 4, 2), (0, 0, 0))


def network(layout: CodeLayout = LAYOUT, seed: int = 0, **settings: float) -> AnyOrderNetwork:
    frequencies = [np.full(k, 1 / k) for k in layout.cardinalities]
    made = NetworkSettings(**{"width": 16, "hidden": 8, **settings})  # type: ignore[arg-type]
    return AnyOrderNetwork(layout, made, frequencies, torch.Generator().manual_seed(seed))


def all_rows(layout: CodeLayout = LAYOUT) -> np.ndarray:
    return np.array(list(itertools.product(*map(range, layout.cardinalities))))


def places(*order: int) -> torch.Tensor:
    return torch.tensor([order]).argsort(1)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_probabilities_of_all_rows_sum_to_one_in_every_order(order: tuple[int, ...]) -> None:
    with torch.no_grad():
        loss = network()(torch.tensor(all_rows()), places(*order)).sum(0)
    assert (-loss).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_a_column_depends_on_the_columns_before_it_alone() -> None:
    model, rows = network(), torch.tensor([[0, 1, 0], [0, 1, 1], [2, 1, 0]])
    with torch.no_grad():
        loss = model(rows, places(0, 1, 2))
    assert torch.equal(loss[1, 0], loss[1, 1])  # column 2 differs, and comes later
    assert not torch.isclose(loss[1, 0], loss[1, 2])  # column 0 differs, and came before


def test_rows_do_not_influence_each_other() -> None:
    model, rows = network(), torch.tensor(all_rows())
    with torch.no_grad():
        together = model(rows, places(2, 0, 1))
        alone = torch.cat([model(rows[i : i + 1], places(2, 0, 1)) for i in range(len(rows))], 1)
    torch.testing.assert_close(together, alone)


def test_groups_of_rows_have_orders_of_their_own() -> None:
    model, rows = network(), torch.tensor(all_rows())
    orders = torch.cat([places(0, 1, 2), places(2, 1, 0)])
    with torch.no_grad():
        loss = model(rows, orders)
        half = len(rows) // 2
        torch.testing.assert_close(loss[:, :half], model(rows[:half], places(0, 1, 2)))
        torch.testing.assert_close(loss[:, half:], model(rows[half:], places(2, 1, 0)))


def test_random_places_are_permutations() -> None:
    drawn = random_places(50, 7, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sort(1).values, torch.arange(7).expand(50, 7))
    assert len({tuple(p.tolist()) for p in drawn}) > 40


def test_neighbouring_codes_of_a_number_resemble_each_other_and_categories_do_not() -> None:
    layout = CodeLayout((101, 101), (100, 0))
    vectors = CodeTable(layout, 64, 1.0, torch.Generator().manual_seed(0))()
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    near = (vectors[1:] * vectors[:-1]).sum(1)
    assert near[:99].mean() > 0.4  # two of three parts are shared, but for the step to the next knot
    assert near[101:].mean().abs() < 0.05


def test_layout_leaves_missing_out_of_the_order() -> None:
    columns = [
        EncodedColumn("age", Kind.CONTINUOUS, 12, 11, ordered=True),
        EncodedColumn("city", Kind.CATEGORICAL, 5, 4),
    ]
    assert CodeLayout.of(columns) == CodeLayout((12, 5), (11, 0))


def test_logits_start_from_the_frequencies() -> None:
    frequencies = [np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.5])]
    model = AnyOrderNetwork(LAYOUT, NetworkSettings(width=16), frequencies, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        model.bias_K.exp(), torch.tensor(np.concatenate(frequencies), dtype=torch.float32), atol=1e-3, rtol=0
    )


def test_dropout_acts_in_training_only() -> None:
    model, rows = network(dropout=0.5), torch.tensor(all_rows())
    with torch.no_grad():
        plain = model(rows, places(0, 1, 2))
        dropped = model(rows, places(0, 1, 2), torch.Generator().manual_seed(1))
        again = model(rows, places(0, 1, 2), torch.Generator().manual_seed(1))
    assert torch.equal(dropped, again)
    assert not torch.allclose(plain, dropped)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_folded_form_is_the_same_function(layers: int) -> None:
    layout = CodeLayout((3, 40, 2), (0, 39, 0))
    model = network(layout, layers=layers)
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, k, 50) for k in layout.cardinalities], 1)
    sampler = AnyOrderSampler.of(model, [np.ones(k) for k in layout.cardinalities])
    folded = sampler.log_prob(codes, 1, np.random.default_rng(5))[0]
    order = np.random.default_rng(5).permutation(3)
    with torch.no_grad():
        direct = -model(torch.tensor(codes), places(*order)).sum(0)
    np.testing.assert_allclose(folded, direct.numpy(), atol=1e-4)
