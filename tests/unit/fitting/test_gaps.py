"""Columns that are missing in the same rows are so in drawn ones, whatever a method draws."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth import load_synthetic_model
from raysynth.api import new_synthesizer
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.fitting.gaps import GapGroup, GapsGenerator, with_gaps
from raysynth.methods.base import Synthesizer

N = 600


def answers() -> pd.DataFrame:
    """Three answers missing together in a third of the rows, one missing by itself in as many."""
    rng = np.random.default_rng(3)
    a = rng.normal(50, 9, N).round(1)
    frame = pd.DataFrame({"a": a, "b": (2 * a).round(), "c": np.where(a > 50, "high", "low"), "own": rng.random(N)})
    frame.loc[rng.permutation(N)[:200], ["a", "b", "c"]] = None
    frame.loc[rng.permutation(N)[:200], "own"] = None
    return frame


@pytest.fixture(scope="module")
def model() -> Synthesizer:
    return new_synthesizer("tvae", seed=0, verbose=False, epochs=1).fit(answers())


def gaps_differ(rows: pd.DataFrame) -> bool:
    gone = rows[["a", "b", "c"]].isna()
    return bool((gone.any(axis=1) != gone.all(axis=1)).any())


def test_columns_missing_together_are_so_and_others_are_free(model: Synthesizer, tmp_path: Path) -> None:
    assert model.gaps_ == (GapGroup((0, 1, 2)),)
    made = model.sample(800, seed=1)
    assert not gaps_differ(made) and made["a"].isna().any() and made["a"].notna().any()
    assert (made["own"].isna() != made["a"].isna()).any()
    assert (model.sample(60, {"b": (80, 120)}, seed=2)["a"].notna()).all()
    model.save(tmp_path / "m")
    pd.testing.assert_frame_equal(load_synthetic_model(tmp_path / "m").sample(800, seed=1), made)


@pytest.mark.parametrize(("method", "options"), [("autoregressive", {"width": 8, "layers": 1}), ("ctgan", {})])
def test_other_networks_keep_them_together_too(method: str, options: dict[str, int]) -> None:
    made = new_synthesizer(method, seed=0, verbose=False, epochs=1, **options).fit(answers()).sample(300, seed=1)
    assert not gaps_differ(made)


@dataclass(frozen=True)
class AtRandom:
    """Draws every code of every column alike; completes rows the same way."""

    encoder: TableEncoder
    exact_conditions = True

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        codes = np.stack([rng.integers(0, k, n) for k in self.encoder.cardinalities], axis=1).astype(np.uint16)
        return EncodedBlock(codes, rng.random((n, self.encoder.n_values)).astype(np.float32))

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        drawn = self.generate(len(codes_NC), rng).codes_NC
        drawn[:, list(known)] = codes_NC[:, list(known)]
        return drawn


def test_what_is_known_leads_the_others(model: Synthesizer) -> None:
    encoder = model.encoder_
    generator = pickle.loads(pickle.dumps(with_gaps(AtRandom(encoder), encoder, (GapGroup((0, 1, 2)),))))
    assert isinstance(generator, GapsGenerator) and generator.exact_conditions and generator.completes([2])
    last = np.array(encoder.cardinalities) - 1
    given = np.zeros((400, len(last)), np.uint16)
    given[::2, 2] = last[2]
    made = generator.generate_given(given, [2], np.random.default_rng(0))
    assert (made[:, 2] == given[:, 2]).all()
    assert ((made[:, :2] == last[:2]) == (given[:, 2] == last[2])[:, None]).all()


def test_a_value_in_a_gap_s_place_comes_from_a_row_like_it(model: Synthesizer) -> None:
    encoder = model.encoder_
    generator = with_gaps(AtRandom(encoder), encoder, (GapGroup((0, 1)),))
    raw, made = (g.generate(3_000, np.random.default_rng(5)).codes_NC for g in (AtRandom(encoder), generator))
    last = np.array(encoder.cardinalities) - 1
    mended = (raw[:, 1] == last[1]) & (raw[:, 0] != last[0])
    pairs = set(zip(*raw[(raw[:, 1] != last[1]) & (raw[:, 0] != last[0])][:, :2].T.tolist(), strict=True))
    assert mended.any() and set(zip(*made[mended][:, :2].T.tolist(), strict=True)) <= pairs
    assert with_gaps(generator, encoder, ()) is generator


def either_or() -> pd.DataFrame:
    """Just one of two amounts is there, a rebate only beside the first, and a column with gaps of its own."""
    rng = np.random.default_rng(4)
    net = rng.normal(90, 20, N).round(1)
    by_net, other = rng.random(N) < 0.6, rng.random(N)
    rebate = pd.Series(rng.integers(1, 9, N)).where(by_net & (net > 80))
    frame = pd.DataFrame({"net": net, "gross": (net * 1.2).round(1), "rebate": rebate, "own": rng.random(N)})
    return frame.assign(net=frame.net.where(by_net), gross=frame.gross.where(~by_net), own=frame.own.where(other > 0.3))


@pytest.mark.parametrize("method", ["copula", "bayesian_network", "trees", "tvae"])
def test_patterns_that_are_rules_hold_and_keep_their_shares(method: str, tmp_path: Path) -> None:
    """Neither amount or both stand in no row; a copula alone has it in 2 % of them."""
    frame = either_or()
    fitted = new_synthesizer(method, seed=0, verbose=False, **({"epochs": 1} if method == "tvae" else {})).fit(frame)
    assert [g.columns for g in fitted.gaps_] == [(0, 1, 2)]
    fitted.save(tmp_path / "m")
    model = load_synthetic_model(tmp_path / "m")
    made = model.sample(1500, seed=1)
    asked = model.sample(200, {"gross": (90, 120)}, seed=2)
    for rows in (
        made,
        asked,
        model.sample(conditions=frame.loc[frame.own.between(0.2, 0.8), ["own"]].head(20), seed=3),
    ):
        assert (rows.net.isna() != rows.gross.isna()).all()
        assert rows.net[rows.rebate.notna()].notna().all()
    assert asked.gross.between(90, 120).all()
    assert method == "tvae" or abs(made.net.isna().mean() - frame.net.isna().mean()) < 0.06
    assert (made.own.isna() & made.net.isna()).any() and (made.own.isna() & made.net.notna()).any()


def test_a_pattern_of_few_rows_is_protected_and_chance_makes_no_rule() -> None:
    """Three rows have both amounts, fewer than `rare_threshold`: such a row is no rule and never drawn. Two columns
    that are seldom missing are never so together by chance alone."""
    frame = either_or()
    frame.loc[:2, ["net", "gross"]] = 100.0
    rng = np.random.default_rng(0)
    free = pd.DataFrame({"a": rng.random(N), "b": rng.random(N)})
    free.loc[:20, "a"] = free.loc[30:60, "b"] = None
    fit = new_synthesizer("copula", seed=0, verbose=False).fit
    assert all(g.patterns is None or (False, False, True) not in g.patterns for g in fit(frame).gaps_)
    assert new_synthesizer("copula", seed=0, verbose=False).fit(free).gaps_ == ()


def test_a_key_of_persons_that_some_rows_lack_beside_columns_that_lack_values_too() -> None:
    """Its gaps are learned, and persons are counted: the column was read twice."""
    rng = np.random.default_rng(1)
    n = 1_200
    real = pd.DataFrame({"player_id": [f"p{i:07d}x" for i in rng.integers(0, 400, n)], "a": rng.normal(size=n)})
    real["b"] = rng.normal(size=n)
    real.loc[rng.random(n) < 0.2, ["player_id", "a", "b"]] = None
    for max_rows in (200_000, 500):
        made = new_synthesizer("trees", seed=0, verbose=False, max_rows=max_rows).fit(real).sample(600, seed=1)
        assert np.allclose(made[["player_id", "a", "b"]].isna().mean(), real.isna().mean(), atol=0.06)
