"""Metrics of sequences: known values, what separates and what does not, lengths, and long tables in an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.evaluation import (
    autocorrelation_difference,
    cross_correlation_difference,
    discriminative_score,
    evaluate_synthetic_data,
    predictive_score,
)
from raysynth.evaluation.sequence_comparison import compare_sequences, pair_long_tables
from raysynth.evaluation.sequence_metrics import PaddedSequences, autocorrelations, cross_correlations
from raysynth.schema.columns import Kind

STEPS = 8


def walks(n: int, seed: int, noise: float = 0.0) -> np.ndarray:
    """Random walks (n, STEPS, 2), the second feature half of the first, both blurred."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(n, STEPS)).cumsum(1)
    return np.stack([first, first / 2], axis=2) + noise * rng.normal(size=(n, STEPS, 2))


def shuffled(values: np.ndarray) -> np.ndarray:
    """The same steps of each sequence in another order: only what hangs together along time is lost."""
    return np.random.default_rng(5).permuted(values, axis=1)


def test_fresh_sequences_are_not_told_apart_and_others_are() -> None:
    quick: dict[str, Any] = {"updates": 120, "hidden": 6}
    # of 2 x 40 tested sequences the accuracy of guessing has a standard deviation of 0.056: 0.2 is passed once in 3,000
    assert discriminative_score(walks(200, 0), walks(200, 1), **quick) < 0.2
    assert discriminative_score(walks(200, 0), walks(200, 1) + 6, **quick) > 0.3


def test_prediction_learned_from_sequences_of_another_level_is_worse() -> None:
    quick: dict[str, Any] = {"updates": 150, "hidden": 6}
    real, fresh = walks(200, 0), walks(200, 1)
    good, bad = predictive_score(real, fresh, **quick), predictive_score(real, fresh + [0, 4], **quick)
    assert good < 1.2 * predictive_score(real, real, **quick)
    assert bad > 1.5 * good


def test_scores_are_the_same_for_the_same_seed() -> None:
    real, made = walks(60, 0), walks(60, 1)
    scores = [discriminative_score(real, made, updates=5, seed=2) for _ in range(2)]
    assert scores[0] == scores[1]


def test_autocorrelations_are_the_textbook_ones() -> None:
    x = np.array([1.0, 4.0, 2.0, 5.0, 3.0])
    centred = x - x.mean()
    wanted = [(centred[k:] * centred[:-k]).sum() / (centred**2).sum() for k in (1, 2)]
    one = PaddedSequences(x[None, :, None], np.array([5]))
    np.testing.assert_allclose(autocorrelations(one, 2)[:, 0], wanted)
    padded = PaddedSequences(np.concatenate([x, [99.0, -99.0]])[None, :, None], np.array([5]))
    np.testing.assert_allclose(autocorrelations(padded, 2)[:, 0], wanted)
    assert np.isnan(autocorrelations(PaddedSequences(np.ones((2, 5, 1)), np.array([5, 5])), 2)).all()


def test_cross_correlations_are_those_of_numpy_over_existing_steps() -> None:
    values, length = walks(50, 0, noise=0.5), np.random.default_rng(0).integers(1, STEPS + 1, 50)
    sequences = PaddedSequences(values, length)
    np.testing.assert_allclose(cross_correlations(sequences), np.corrcoef(values[sequences.mask_NT].T), rtol=1e-6)


def test_differences_are_near_zero_for_fresh_sequences_and_large_for_shuffled_ones() -> None:
    real = walks(400, 0, noise=0.1)
    assert autocorrelation_difference(real, walks(400, 1, noise=0.1)) < 0.05
    assert autocorrelation_difference(real, shuffled(real)) > 0.15
    assert cross_correlation_difference(real, walks(400, 1, noise=0.1)) < 0.02
    apart = np.stack([real[..., 0], walks(400, 3)[..., 1]], axis=2)
    assert cross_correlation_difference(real, apart) > 0.5
    assert np.isnan(cross_correlation_difference(real[..., :1], real[..., :1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: discriminative_score(x, x[:, :4]), "sequence_length is 8, but the array has 4 steps"),
        (lambda x: discriminative_score(x, x[..., :1]), "features is 2, but the array has 1"),
        (lambda x: discriminative_score(x[:5], x), "5 sequences are too few"),
        (lambda x: predictive_score(x[:, :1], x[:, :1]), "no sequence has a second step"),
        (lambda x: predictive_score(x, np.where(x > 0, np.nan, x)), "numbers are missing or infinite"),
        (lambda x: predictive_score(x, x, updates=0), "updates must be a whole number"),
    ],
)
def test_arrays_that_cannot_be_compared_are_refused(call: Any, message: str) -> None:
    with pytest.raises((DataError, ParameterError), match=message):
        call(walks(30, 0))


def long_table(n: int, seed: int) -> pd.DataFrame:
    """Entities of 2 to STEPS rows: a static group, days apart, a walk, and its direction as text."""
    rng = np.random.default_rng(seed)
    parts = []
    for i, values in enumerate(walks(n, seed)[..., 0]):
        length = int(rng.integers(2, STEPS + 1))
        day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(1, 4, length).cumsum(), unit="D")
        trend = np.where(np.diff(values[:length], prepend=0) > 0, "up", "down")
        parts.append(
            pd.DataFrame({"who": f"{seed}-{i}", "group": "ab"[i % 2], "day": day, "x": values[:length], "trend": trend})
        )
    return pd.concat(parts, ignore_index=True)


def test_a_long_table_becomes_states_gaps_and_scaled_numbers() -> None:
    real = long_table(60, 0)
    pair = pair_long_tables(real, long_table(40, 1), "who", "day")
    assert pair.features[-1] == "x" and sum("trend, state" in f for f in pair.features) == 2
    assert not any("group" in f for f in pair.features)  # compared as a column, not along time
    assert pair.entities == (60, 40) and len(pair.real) == 60
    assert np.isclose(pair.lengths[0], real.groupby("who").size().mean())
    there = pair.real.values_NTF[pair.real.mask_NT]
    assert there.min() >= 0 and there.max() <= 1 and (pair.real.values_NTF[~pair.real.mask_NT] == 0).all()


@pytest.fixture
def few_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    from raysynth.evaluation import sequence_comparison

    monkeypatch.setattr(sequence_comparison, "UPDATES", 40)


@pytest.mark.usefixtures("few_updates")
def test_an_evaluation_of_long_tables_has_a_section_along_time(tmp_path: Path) -> None:
    real, made = long_table(150, 0), long_table(150, 1)
    found = evaluate_synthetic_data(
        real, made, metrics=["statistical_similarity"], sequence_key="who", time_column="day"
    )
    assert found.sequences is not None and 0.2 < found.sequences.accuracy.value < 0.8
    assert found.kinds["who"] is Kind.IDENTIFIER and {"group", "day", "x", "trend"} <= set(found.kinds)
    assert "Sequences told from real" in found.summary()
    assert found.to_dict()["sequences"]["predicted"] == "x"
    found.generate_report(tmp_path / "full.html")
    found.generate_report(tmp_path / "shared.html", shareable=True)
    assert 'id="sequences"' in (tmp_path / "full.html").read_text()
    assert 'id="sequences"' not in (tmp_path / "shared.html").read_text()


@pytest.mark.usefixtures("few_updates")
def test_one_long_series_is_evaluated_in_windows_and_by_rows() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(260)

    def series(key: str) -> pd.DataFrame:
        noise = rng.normal(size=260)
        return pd.DataFrame({"who": key, "day": steps, "x": np.sin(steps / 9) + noise, "k": noise > 0})

    found = evaluate_synthetic_data(series("a"), series("b"), sequence_key="who", time_column="day")
    assert found.sequences is not None and found.sequences.n_real == 1 and found.sequences.steps == 13
    assert found.privacy is not None and any("'who' has 1 value only" in note for note in found.notes)


@pytest.mark.usefixtures("few_updates")  # the figures below need no network
def test_rows_in_another_order_of_time_are_found_out() -> None:
    real = long_table(150, 0)
    fresh = compare_sequences(real, long_table(150, 1), sequence_key="who", time_column="day")
    mixed = real.assign(x=real.groupby("who")["x"].transform(lambda x: x.sample(frac=1, random_state=0).to_numpy()))
    told = compare_sequences(real, mixed, sequence_key="who", time_column="day")
    assert told.features[-1] == "x"
    assert abs(fresh.synthetic_lags[0, -1] - fresh.real_lags[0, -1]) < 0.25
    assert told.synthetic_lags[0, -1] < told.real_lags[0, -1] - 0.35


def test_bad_calls_name_the_cure() -> None:
    real = long_table(20, 0)
    with pytest.raises(SchemaError, match="sequence_key 'whom' is no column"):
        evaluate_synthetic_data(real, real, sequence_key="whom")
    with pytest.raises(ParameterError, match="name their sequence_key too"):
        evaluate_synthetic_data(real, real, time_column="day")
    with pytest.raises(DataError, match="different columns"):
        compare_sequences(real, real.drop(columns="x"), sequence_key="who")
    with pytest.raises(DataError, match="'x' holds double in the real table but text"):
        compare_sequences(real, real.assign(x="a"), sequence_key="who")
