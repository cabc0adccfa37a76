"""The noised search: sensitivity of what it releases, shrinkage, and agreement of measured tables."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth import load_synthetic_model
from raysynth.dp import InsecureSeededNoise
from raysynth.methods.bayesian_network.denoising import shrunk, with_margin
from raysynth.methods.bayesian_network.edge_rules import edge_rules
from raysynth.methods.bayesian_network.noised import Candidate, Measured, NoisedSearch, Rounds, agreeing_weights
from raysynth.methods.bayesian_network.private import bins_shown, told_apart
from raysynth.methods.bayesian_network.synthesizer import BayesianNetworkSynthesizer
from raysynth.schema import ColumnSchema, Kind, TableSchema

N = 6000


def chain(seed: int = 0) -> np.ndarray:
    """Codes (N, 4): 0 -> 1 -> 2 strongly, 3 by itself."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 3, N)
    b = np.where(rng.random(N) < 0.9, a, rng.integers(0, 3, N))
    c = np.where(rng.random(N) < 0.9, b, rng.integers(0, 3, N))
    return np.stack([a, b, c, rng.integers(0, 4, N)], axis=1)


def counter(codes_NC: np.ndarray):  # type: ignore[no-untyped-def]
    def count(sets: Sequence[tuple[int, ...]]) -> Mapping[tuple[int, ...], np.ndarray]:
        cards = [3, 3, 3, 4]
        found = {}
        for columns in sets:
            table = np.zeros([cards[c] for c in columns])
            np.add.at(table, tuple(codes_NC[:, c] for c in columns), 1)
            found[columns] = table
        return found

    return count


def search(codes_NC: np.ndarray, rounds: Rounds) -> NoisedSearch:
    shares = [np.bincount(codes_NC[:, c], minlength=k) / len(codes_NC) for c, k in enumerate((3, 3, 3, 4))]
    rules = edge_rules("abcd", max_parents=2)
    noise, rng = InsecureSeededNoise(0), np.random.default_rng(0)
    return NoisedSearch(counter(codes_NC), shares, [10.0] * 4, float(N), rounds, rules, noise, rng)


def test_a_strong_chain_is_found_and_learned() -> None:
    network = search(chain(), Rounds(2, 1.0, 5.0)).run()
    assert {frozenset(e) for e in network.edges} == {frozenset((0, 1)), frozenset((1, 2))}
    fresh, other = chain(1), np.random.default_rng(2).permuted(chain(1), axis=0)
    assert network.log_prob(fresh).mean() > network.log_prob(other).mean() + 0.5


def test_one_row_changes_no_score_by_more_than_one() -> None:
    """The sensitivity that the exponential mechanism is charged for, on random tables and rows."""
    codes = chain()
    candidates = [
        Candidate(1, (0,), (0,)),
        Candidate(2, (0, 1), (1,)),
        Candidate(3, (0, 1), (0, 1)),
        Candidate(0, (3,), (3,)),
    ]
    drawn = np.asfortranarray(chain(5), dtype=np.int32)
    for row in np.random.default_rng(3).integers(0, [3, 3, 3, 4], (10, 4)):
        scores = [search(c, Rounds(1, 1.0, 5.0))._scores(candidates, drawn) for c in (codes, np.vstack([codes, row]))]
        # same shares and noised n: what differs is the exact tables alone
        assert np.abs(scores[0] - scores[1]).max() <= 1 + 1e-9


@pytest.mark.parametrize("absent", [(0,), (1,), (0, 1)])
def test_a_table_fitted_to_a_part_keeps_its_margins_and_what_the_absent_parents_do(absent: tuple[int, ...]) -> None:
    before = np.random.default_rng(7).gamma(4.0, 100.0, (2, 3, 4, 5))
    part = before.sum(axis=absent, keepdims=True)
    part[..., :2, :2] += 60 * np.array([[1, -1], [-1, 1]])  # rows of parents and of the child stay
    fitted = with_margin(before, part, absent)
    assert fitted.sum(axis=-1) == pytest.approx(before.sum(axis=-1), rel=1e-4)
    assert fitted.sum(axis=absent, keepdims=True) == pytest.approx(part, rel=1e-4)
    kept = tuple(i for i in range(3) if i not in absent)
    assert fitted.sum(axis=kept) == pytest.approx(before.sum(axis=kept), rel=1e-4)
    odds = np.log(fitted / before)
    odds -= odds[..., :1] + odds[..., :1, :] - odds[..., :1, :1]  # of codes 1 and more of the last parent and the child
    assert np.ptp(odds, axis=absent).max() < 1e-6 < np.ptp(odds)  # the same beside each code of the absent ones


def test_pairs_are_measured_where_a_table_of_all_parents_has_more_cells_than_rows() -> None:
    """1,728 cells for 1,500 rows: with whole tables alone the child could have one parent."""
    rng = np.random.default_rng(8)
    a, b = rng.integers(0, 12, (2, 1500))
    codes = np.stack([a, b, np.where(rng.random(1500) < 0.5, a, b)], axis=1)

    def count(sets: Sequence[tuple[int, ...]]) -> Mapping[tuple[int, ...], np.ndarray]:
        return {s: np.histogramdd(codes[:, s], bins=[np.arange(13)] * len(s))[0] for s in sets}

    rules = edge_rules("abc", order="abc", forbidden=[("a", "b")], max_parents=2)
    shares, noise = [np.full(12, 1 / 12)] * 3, InsecureSeededNoise(0)
    rounds = Rounds(4, 5.0, 3.0)  # the last two measure tables of these edges again
    found = NoisedSearch(count, shares, [10.0] * 3, 1500.0, rounds, rules, noise, np.random.default_rng(0))
    network = found.run()
    assert set(network.edges) == {(0, 2), (1, 2)}
    assert [len(m.columns) for m in found.measured] == [2] * 4
    p_ABC = network.tables[2].reshape(12, 12, 12)
    own = np.arange(12)
    assert p_ABC[own, own, own].mean() > 0.8  # both say so
    assert 0.3 < p_ABC[own[:-1], own[1:], own[:-1]].mean() < 0.6


def test_shrinkage_keeps_what_is_noise_and_takes_what_is_not() -> None:
    rng = np.random.default_rng(4)
    expected = np.full(2000, 50.0)
    only_noise = shrunk(expected + 20 * rng.standard_normal(2000), expected, 20.0)
    assert np.abs(only_noise - expected).mean() < 3
    truth = rng.gamma(1.0, 50.0, 2000) * 10
    estimate = shrunk(truth + 20 * rng.standard_normal(2000), np.full(2000, 500.0), 20.0)
    assert np.abs(estimate - truth).mean() < 25
    assert shrunk(np.array([-50.0]), np.array([1.0]), 1.0).min() >= 0


def test_shares_of_categories_are_told_apart_as_far_as_the_noise_lets_them() -> None:
    rng, even = np.random.default_rng(0), np.append(np.full(60, 1 / 60), 0.0)
    noisy = np.maximum(even + np.append(rng.normal(0, 180, 60), 0) / 10_000, 0)
    found = told_apart(noisy / noisy.sum(), 10_000, 180)
    assert np.abs(found - even).sum() / 2 < 0.1 < 0.25 < np.abs(noisy / noisy.sum() - even).sum() / 2
    clear = np.array([0.6, 0.3, 0.05, 0.0, 0.05])
    assert np.abs(told_apart(clear, 10_000, 20) - clear).max() < 0.005
    assert told_apart(clear, 10_000, 20)[-1] == pytest.approx(0.05, abs=1e-3)  # 'missing' is no category among others


def test_weights_bring_drawn_rows_to_the_measured_table() -> None:
    drawn = np.random.default_rng(5).integers(0, 3, (20_000, 2)).astype(np.int32)
    wanted = np.array([[3000.0, 100, 100], [100, 3000, 100], [100, 100, 3000]])
    weights = agreeing_weights(drawn, [Measured((0, 1), wanted, 5.0)], [3, 3], wanted.sum())
    found = np.zeros((3, 3))
    np.add.at(found, (drawn[:, 0], drawn[:, 1]), weights)
    assert found == pytest.approx(wanted, abs=60)


def test_no_more_bins_than_the_noise_relates() -> None:
    assert bins_shown(26_000, 27.0) == 21  # Adult at epsilon 1: as without
    assert bins_shown(4000, 29.0) == 8
    assert bins_shown(100, 100.0) == 6


def test_numbers_that_follow_each_other_do_so_within_a_small_budget(tmp_path: Path) -> None:
    """4,000 rows at epsilon 1: with 20 bins the table of the two numbers costs nearly what it shows."""
    rng = np.random.default_rng(0)
    minutes = rng.normal(180, 50, 4000).clip(0, 400)
    others = {f"p{i}": rng.random(4000) for i in range(12)}
    data = pd.DataFrame({"minutes": minutes, "charge": minutes * 0.17, **others})
    bounds = {"minutes": (0.0, 400.0), "charge": (0.0, 68.0)}
    schema = TableSchema(
        tuple(
            ColumnSchema(c, Kind.CONTINUOUS, "double", bounds=bounds.get(c, (0.0, 1.0)), nullable=False) for c in data
        )
    )
    model = BayesianNetworkSynthesizer(epsilon=1.0, delta=1e-5, schema=schema, seed=0, verbose=False)
    model._noise = InsecureSeededNoise(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = model.fit(data).sample(4000, seed=1)
    assert model.grouping_ is not None
    assert made["minutes"].corr(made["charge"]) > 0.65  # 0.46 with bins as they were
    assert np.isfinite(model.log_prob(data.head(50))).all()
    model.save(tmp_path / "m.raysynth")
    again = load_synthetic_model(tmp_path / "m.raysynth")
    pd.testing.assert_frame_equal(again.sample(4000, seed=1), made)
    assert again.sample(200, conditions={"minutes": (150, 160)}, seed=2)["minutes"].between(150, 160).all()
