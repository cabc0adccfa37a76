"""Tests of sampling from the any-order network: against the probabilities of all rows, which are few enough to list.

Chi-square tests reject at 1e-4; seeds are fixed.
"""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from raysynth.errors import ConditionError
from raysynth.methods.autoregressive.network import AnyOrderNetwork, CodeLayout, NetworkSettings
from raysynth.methods.autoregressive.sampler import AnyOrderSampler

LAYOUT = CodeLayout((3, 4, 3), (0, 0, 0))
ROWS = np.array(list(itertools.product(*map(range, LAYOUT.cardinalities))))
ORDERS = list(itertools.permutations(range(3)))


def strong_network() -> AnyOrderNetwork:
    """Random weights, large enough that columns depend on each other."""
    model = AnyOrderNetwork(
        LAYOUT,
        NetworkSettings(width=16, hidden=8),
        [np.full(k, 1 / k) for k in LAYOUT.cardinalities],
        torch.Generator().manual_seed(3),
    )
    with torch.no_grad():
        model.head.own_KH.mul_(6)
    return model


NETWORK = strong_network()


def sampler(possible: list[np.ndarray] | None = None, **settings: object) -> AnyOrderSampler:
    made = AnyOrderSampler.of(NETWORK, possible or [np.ones(k) for k in LAYOUT.cardinalities])
    return AnyOrderSampler(LAYOUT, made.arrays, **{"bfloat16": False, **settings})  # type: ignore[arg-type]


def probabilities(order: tuple[int, ...]) -> np.ndarray:
    """Of all rows in one order, by the network itself."""
    with torch.no_grad():
        loss = NETWORK(torch.tensor(ROWS), torch.tensor([order]).argsort(1)).sum(0)
    return (-loss).exp().numpy().astype(float)


def counts(codes_NC: np.ndarray) -> np.ndarray:
    return np.bincount(np.ravel_multi_index(codes_NC.T.astype(int), LAYOUT.cardinalities), minlength=len(ROWS))


def agrees(seen: np.ndarray, p: np.ndarray) -> bool:
    p = p / p.sum()
    assert not seen[p == 0].any()
    return bool(chisquare(seen[p > 0], p[p > 0] * seen.sum()).pvalue > 1e-4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_each_block_of_rows_has_the_distribution_of_one_order() -> None:
    """Six tests for each of 24 blocks, of which the true order's rejects falsely at 1e-4."""
    codes = sampler(order_rows=2048).generate(24 * 2048, rng()).codes_NC
    fitting = [[agrees(counts(block), probabilities(o)) for o in ORDERS] for block in np.split(codes, 24)]
    assert all(any(f) for f in fitting)
    assert len({np.argmax(f) for f in fitting}) > 3  # not always the same order


@pytest.mark.parametrize("weights", [{}, {1: np.array([0.1, 0.0, 1.0, 0.4])}], ids=["free", "conditioned"])
def test_rows_are_a_mixture_of_many_orders(weights: dict[int, np.ndarray]) -> None:
    """768 orders against the even mixture of all; total variation, since orders are drawn, too (about .015)."""
    orders = [o for o in ORDERS if not weights or o[0] == 1]
    target = sum(probabilities(o) for o in orders) * np.prod([w[ROWS[:, c]] for c, w in weights.items()], axis=0)
    mixture, made = target / target.sum(), sampler(order_rows=48)
    seen = sum(counts(made.generate(3072, rng(s), weights or None).codes_NC) for s in range(12)) / 36_864
    assert np.abs(seen - mixture).sum() / 2 < 0.03
    if not weights:
        assert all(np.abs(probabilities(o) - mixture).sum() / 2 > 0.06 for o in orders)  # so the test can fail


@pytest.mark.parametrize(
    ("order_rows", "n", "rows"), [(256, 0, 256), (256, 32_767, 256), (256, 65_536, 1024), (4096, 10**6, 4096)]
)
def test_a_large_call_has_orders_of_more_rows(order_rows: int, n: int, rows: int) -> None:
    assert sampler(order_rows=order_rows)._rows_of_an_order(n) == rows


def test_one_order_of_a_block_draws_as_files_without_the_number_do() -> None:
    """Column by column in one order for 4,096 rows, written out."""
    made, stream = sampler(order_rows=4096), rng(5)
    codes = np.concatenate([by_hand(made, min(4096, 6000 - start), stream) for start in (0, 4096)])
    assert np.array_equal(made.generate(6000, rng(5)).codes_NC, codes)


def by_hand(made: AnyOrderSampler, n: int, stream: np.random.Generator) -> np.ndarray:
    codes_NC, context_NH, count = np.zeros((n, 3), np.int64), torch.zeros(n, 16), 0
    for c in stream.permutation(3):
        uniform_N = torch.from_numpy(stream.random(n, np.float32))
        codes_N = made.next_code(c, context_NH * max(count, 1) ** -0.5, uniform_N)
        context_NH, count = context_NH + made.embedding(c)[codes_N], count + 1
        codes_NC[:, c] = codes_N
    return codes_NC


@pytest.mark.parametrize("bfloat16", [False, True])
def test_rows_depend_on_the_stream_alone(bfloat16: bool) -> None:
    made = sampler(bfloat16=bfloat16)
    again = pickle.loads(pickle.dumps(made))
    assert np.array_equal(made.generate(5000, rng(1)).codes_NC, again.generate(5000, rng(1)).codes_NC)
    assert not np.array_equal(made.generate(5000, rng(1)).codes_NC, made.generate(5000, rng(2)).codes_NC)


def test_bfloat16_has_the_same_distribution() -> None:
    fixed = {0: np.array([1.0, 0, 0]), 1: np.array([1.0, 0, 0, 0])}
    p = probabilities((0, 1, 2)) * (ROWS[:, 0] == 0) * (ROWS[:, 1] == 0)
    assert agrees(counts(sampler(bfloat16=True).generate(20_000, rng(), fixed).codes_NC), p)


def test_one_soft_condition_and_fixed_codes_are_exact() -> None:
    weights = {0: np.array([0.0, 1, 0]), 1: np.array([0.1, 0.0, 1.0, 0.4])}
    target = probabilities((0, 1, 2)) * weights[0][ROWS[:, 0]] * weights[1][ROWS[:, 1]]
    assert agrees(counts(sampler().generate(50_000, rng(), weights).codes_NC), target)


def test_several_soft_conditions_are_resampled_to_the_exact_distribution() -> None:
    weights = {0: np.array([0.05, 1.0, 0.3]), 1: np.array([0.1, 0.0, 1.0, 0.4])}
    shares = {0: 0.45, 1: 0.375}  # column 1 is the more restrictive one and comes first
    assert shares[1] < shares[0]
    target = probabilities((1, 0, 2)) * weights[0][ROWS[:, 0]] * weights[1][ROWS[:, 1]]
    seen = counts(sampler().generate(16_384, rng(), weights).codes_NC) / (16_384)
    assert np.abs(seen - target / target.sum()).sum() / 2 < 0.02
    naive = probabilities((1, 0, 2)).reshape(3, 4, 3)
    drawn_without = (naive.sum((0, 2)) * weights[1]) / (naive.sum((0, 2)) * weights[1]).sum()
    wanted = (target / target.sum()).reshape(3, 4, 3).sum((0, 2))
    assert np.abs(drawn_without - wanted).sum() / 2 > 0.03  # without resampling the test above would fail


def test_a_rare_combination_is_met() -> None:
    p = probabilities((0, 1, 2))
    rarest = ROWS[p.argmin()]
    weights = {c: np.eye(k)[rarest[c]] for c, k in enumerate(LAYOUT.cardinalities)}
    assert (sampler().generate(10, rng(), weights).codes_NC == rarest).all()


def test_codes_that_no_row_had_are_never_drawn_and_cannot_be_asked_for() -> None:
    made = sampler([np.ones(3), np.array([1.0, 0, 1, 0]), np.ones(3)])
    assert set(np.unique(made.generate(5000, rng()).codes_NC[:, 1])) == {0, 2}
    with pytest.raises(ConditionError, match="no row satisfies"):
        made.generate(10, rng(), {1: np.array([0.0, 1, 0, 1])})


def test_no_rows() -> None:
    assert sampler().generate(0, rng()).codes_NC.shape == (0, 3)


def test_temperature_sharpens_or_flattens() -> None:
    def entropy(temperature: float) -> float:
        share = counts(sampler(temperature=temperature).generate(20_000, rng()).codes_NC) / 20_000
        return float(-(share[share > 0] * np.log(share[share > 0])).sum())

    assert entropy(0.5) < entropy(1.0) - 0.1
    assert entropy(2.0) > entropy(1.0) + 0.1


def test_completion_keeps_known_cells_and_has_the_conditional_distribution() -> None:
    n, known = 30_000, np.array([True, False, True])
    codes = np.tile([2, 0, 1], (n, 1))
    done = sampler().complete(codes, np.tile(known, (n, 1)), rng())
    assert (done[:, known] == [2, 1]).all()
    p = probabilities((0, 2, 1)) * (ROWS[:, 0] == 2) * (ROWS[:, 2] == 1) * (ROWS[:, 1] != 3)  # code 3: missing
    assert agrees(counts(done), p)


def test_completion_of_rows_with_different_gaps() -> None:
    known = np.array([[True, False, True], [False, False, True], [True, True, True], [False, True, False]])
    codes = np.array([[0, 9, 1], [9, 9, 0], [1, 2, 0], [9, 1, 9]])
    done = sampler().complete(np.where(known, codes, 0), known, rng())
    assert (done[known] == codes[known]).all()
    assert (done < np.array(LAYOUT.cardinalities) - (~known)).all()  # a gap is never filled with 'missing'


def test_conditionals_are_those_of_the_known_cells() -> None:
    codes, known = np.array([[2, 0, 1]]), np.array([[True, False, False]])
    found = {c: p[0] for c, _, p in sampler().conditionals(codes, known)}
    assert set(found) == {1, 2}
    p = (probabilities((0, 1, 2)) * (ROWS[:, 0] == 2)).reshape(3, 4, 3).sum((0, 2))[:3]
    np.testing.assert_allclose(found[1], [*(p / p.sum()), 0], atol=1e-4)


def test_log_prob_of_an_order_is_that_of_the_network() -> None:
    by_order = sampler().log_prob(ROWS, 6, rng(4))
    stream = rng(4)
    for found in by_order:
        order = tuple(stream.permutation(3).tolist())
        np.testing.assert_allclose(np.exp(found), probabilities(order), rtol=1e-3, atol=1e-6)


def test_a_sampler_read_from_arrays_of_the_wrong_shape_is_refused() -> None:
    arrays = dict(sampler().arrays)
    assert AnyOrderSampler.from_arrays(LAYOUT, arrays).arrays.keys() == arrays.keys()
    with pytest.raises(ValueError, match="head"):
        AnyOrderSampler.from_arrays(LAYOUT, {**arrays, "head": arrays["head"][:, :-1]})
    with pytest.raises(KeyError):
        AnyOrderSampler.from_arrays(LAYOUT, {k: v for k, v in arrays.items() if k != "bias"})
    with pytest.raises(ValueError, match="order"):
        AnyOrderSampler.from_arrays(LAYOUT, arrays, order_rows=0)
