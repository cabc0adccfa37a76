"""TimeSeriesGAN under a budget: its ledger, what leaves, what one sequence can change, and an audit of the summaries.

`tests/unit/attacks/audit/test_units.py` audits whole files and the gradients.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtri

from raysynth import TimeSeriesGAN, load_synthetic_model
from raysynth.attacks.audit.results import game_bound
from raysynth.data.sequences import Windows
from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.noise import InsecureSeededNoise, OsNoise
from raysynth.encoding.block import EncodedBlock
from raysynth.errors import ParameterError, RaysynthError, SchemaError
from raysynth.evaluation.sequence_metrics import autocorrelations, pair_arrays
from raysynth.files.model_file import read_model
from raysynth.methods.sequences.data import WindowRows
from raysynth.methods.sequences.private import learn_summary
from raysynth.methods.timegan.network import SequenceLayout, VectorLayout
from raysynth.methods.timegan.private_recipe import summed_summaries
from raysynth.methods.timegan.summary import SequenceSummary
from raysynth.schema import ColumnSchema, Kind, TableSchema

QUICK = {"epsilon": 3.0, "delta": 1e-4, "hidden_dim": 8, "noise_dim": 3, "epochs": 2, "seed": 0, "verbose": False}
OF_STAYS = {"sequence_key": "stay", "time_column": "hour", "static_columns": ["ward"], "sequence_length": 5}


def stays(n: int = 800) -> pd.DataFrame:
    """One to eight rows of each stay: hours, a pulse that depends on the ward and on itself, a state, some missing."""
    rng = np.random.default_rng(0)
    length = rng.integers(1, 9, n)
    stay = np.repeat(np.arange(n), length)
    ward = np.where(np.arange(n) % 3 == 0, "icu", "low")[stay]
    pulse = 70 + 20 * (ward == "icu") + np.repeat(rng.normal(0, 8, n), length) + rng.normal(0, 2, len(stay))
    frame = pd.DataFrame({"stay": stay, "ward": ward, "pulse": pulse})
    frame["hour"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(1, 4, len(stay)).cumsum(), unit="h")
    frame["state"] = rng.choice(["asleep", "awake"], len(stay))
    frame.loc[rng.random(len(stay)) < 0.1, "pulse"] = np.nan
    return frame


def fitted(data: Any, **parameters: Any) -> TimeSeriesGAN:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # delta over the noised number of sequences
        return TimeSeriesGAN(**{**QUICK, **parameters}).fit(data)


@pytest.fixture(scope="module")
def of_stays() -> TimeSeriesGAN:
    return fitted(stays(), **OF_STAYS)


def test_a_long_table_comes_back_as_one(of_stays: TimeSeriesGAN) -> None:
    made = of_stays.sample(200)
    assert list(made) == ["stay", "ward", "pulse", "hour", "state"]
    by_stay = made.groupby("stay")
    assert by_stay.ngroups == 200 and by_stay.size().between(1, 5).all() and by_stay.size().nunique() == 5
    assert (by_stay["ward"].nunique() <= 1).all()
    assert made["state"].dropna().isin(["asleep", "awake"]).mean() > 0.9, "noise may leave a few '(rare)' ones"
    assert by_stay["hour"].apply(lambda t: t.is_monotonic_increasing).all()
    assert 600 < of_stays.n_rows_ < 1000
    kept = of_stays.sample(20, conditions={"ward": "icu", "sequence length": (2, 4)})
    assert set(kept["ward"]) == {"icu"} and kept.groupby("stay").size().between(2, 4).all()


def test_every_release_is_in_one_ledger_by_sequence(of_stays: TimeSeriesGAN) -> None:
    spent = of_stays.privacy_spent_
    assert spent is not None and spent.guarantee and 2.7 < spent.epsilon <= 3.0 and spent.delta == 1e-4
    assert {e.unit for e in spent.ledger} == {"value of 'stay' with all its rows (at most 5 of which count)"}
    sensitivity = {e.released: e.sensitivity for e in spent.ledger}
    of_rows = [
        "counts of 'state'",
        "histogram of 'pulse'",
        "range of 'pulse'",
        "histogram of 'time since the last 'hour''",
    ]
    assert [sensitivity[name] for name in of_rows] == [5] * 4, "a stay has up to five rows among the steps"
    of_stay = ["number of rows", "counts of 'ward'", "histogram of 'sequence length'", "histogram of 'hour'"]
    assert [sensitivity[name] for name in of_stay] == [1] * 4
    assert {"table of a column with its parents", "mean summary of a sequence"} <= sensitivity.keys()
    last = spent.ledger.events[-1]
    assert last.released == "gradients of the discriminator" and last.sampling_rate < 1 and last.sensitivity == 1.0


def test_the_file_holds_what_was_released_and_gives_the_same_rows(of_stays: TimeSeriesGAN, tmp_path: Path) -> None:
    of_stays.save(tmp_path / "model")
    loaded = load_synthetic_model(tmp_path / "model")
    assert loaded.privacy_spent_.to_dict() == of_stays.privacy_spent_.to_dict()  # type: ignore[union-attr]
    assert loaded.sample(30, seed=4).equals(of_stays.sample(30, seed=4))
    assert len(of_stays.history_) == 2 and loaded.history_ == [], "losses are exact, and stay here"
    content = read_model(tmp_path / "model")
    assert content.meta["model"]["entities"]["privacy"] is None, "the one ledger is that of the whole"
    names = {k.removeprefix("model.network.").split(".")[0] for k in content.arrays if k.startswith("model.network.")}
    assert names == {"generator", "recovery"}, "no discriminator"


def test_a_published_seed_tells_nothing_of_the_noise(waves: np.ndarray) -> None:
    first, second = (fitted(waves, seed=7, epochs=1) for _ in range(2))
    assert first.n_rows_ != second.n_rows_ or first.n_rows_ != len(waves)
    assert first._content().digest() != second._content().digest()
    spent = fitted(waves, epochs=1, secure_mode=True).privacy_spent_
    assert spent is not None and spent.guarantee


def test_seeded_noise_says_that_it_guarantees_nothing(waves: np.ndarray) -> None:
    model = TimeSeriesGAN(**{**QUICK, "epochs": 1})
    model._noise = InsecureSeededNoise(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spent = model.fit(waves).privacy_spent_
    assert spent is not None and not spent.guarantee


def test_no_row_raises_and_few_sequences_are_no_error() -> None:
    odd = stays(60).astype({"stay": float, "ward": object})
    odd.loc[0, "stay"], odd.loc[1, "hour"], odd.loc[2, "ward"] = np.nan, pd.NaT, "a third"
    odd.loc[3:5, "pulse"] = [np.inf, -1e300, np.nan]
    words = [ColumnSchema(n, Kind.CATEGORICAL, "string") for n in ("ward", "state")]
    pulse = ColumnSchema("pulse", Kind.CONTINUOUS, "double", bounds=(20.0, 220.0), nullable=False)
    schema = TableSchema((pulse, *words))
    made = fitted(odd, schema=schema, **OF_STAYS).sample(50)
    assert made["pulse"].between(20, 220).all()
    assert "a third" not in json.dumps(fitted(odd, schema=schema, **OF_STAYS)._content().meta)
    for rows in (0, 1):
        assert fitted(odd.iloc[:rows], schema=schema, **OF_STAYS, epochs=1).sample(5)["stay"].nunique() == 5
    assert fitted(np.full((3, 4, 1), np.nan), epochs=1).sample(2).shape == (2, 4, 1)


@pytest.mark.slow  # half a minute of training; `test_synthesizer.py` of timegan learns without a budget
def test_it_learns_how_steps_hang_together() -> None:
    """Autocorrelations come back where independent steps have none."""
    rng = np.random.default_rng(0)
    phase, height = rng.uniform(0, 2 * np.pi, (1000, 1, 1)), rng.uniform(0.5, 1, (1000, 1, 2))
    waves = 10 + height * np.sin(np.arange(12)[None, :, None] / 2 + phase)
    made = fitted(waves, hidden_dim=16, epochs=25, batch_size=400).sample(1000)
    shuffled = rng.permuted(waves, axis=1)
    real, learned, independent = (autocorrelations(pair_arrays(waves, x)[1], 3) for x in (waves, made, shuffled))
    assert np.abs(learned - real).mean() < 0.5 * np.abs(independent - real).mean()
    assert abs(made.mean() - waves.mean()) < 0.1 and 0.7 < made.std() / waves.std() < 1.3
    assert np.corrcoef(made[:, :, 0].ravel(), made[:, :, 1].ravel())[0, 1] > 0.7


BAD: list[tuple[dict[str, Any], type[RaysynthError], str]] = [
    ({"sequence_length": None}, ParameterError, "sequence_length is missing: under a privacy budget"),
    ({"epsilon": 0}, ParameterError, "epsilon must be a number > 0"),
    ({"delta": 1.0}, ParameterError, "delta must be a number between 0 and 1"),
    ({"epsilon": 1e-3, "batch_size": 10**9}, ParameterError, "too small to train"),
    ({"epsilon": None}, ParameterError, "delta belongs to differential privacy"),
    ({"privacy_unit": "ward"}, ParameterError, "protects whole sequences, which sequence_key names"),
    ({"clip_norm": 0.0}, ParameterError, "clip_norm must be a number above 0"),
    ({"statistics_share": 1.5}, ParameterError, "statistics_share must be"),
    ({"sequence_key": None}, ParameterError, "sequence_key is missing"),
    ({"static_columns": ["room"]}, SchemaError, "static_columns: 'room'"),
    ({"features": 2}, ParameterError, "features belongs to an array"),
    ({"keep_shards": "/tmp/x"}, ParameterError, "keep_shards"),
]


@pytest.mark.parametrize(("parameters", "error", "message"), BAD, ids=[m[:30] for _, _, m in BAD])
def test_bad_input_is_refused(parameters: dict[str, Any], error: type[RaysynthError], message: str) -> None:
    with pytest.raises(error, match=message):
        fitted(stays(50), **{**OF_STAYS, **parameters})


# ---- what one sequence can change ------------------------------------------------------------------------------------

LAYOUT = SequenceLayout(4, VectorLayout((2,), (0,), (0,), (0,)), VectorLayout((), (), (), ()))


def encoded(n: int) -> WindowRows:
    """Sequences of up to four numbers; the last one is extreme."""
    rng = np.random.default_rng(0)
    length = rng.integers(1, 5, n)
    length[-1] = 4
    values = np.clip(rng.normal(0, 0.1, (4 * n, 1)), -1, 1).astype(np.float32)
    values[-4:, 0] = [1, 1, 1, 0.9]
    steps = EncodedBlock(np.zeros((4 * n, 1), np.uint16), values)
    none = EncodedBlock(np.zeros((n, 0), np.uint16), np.zeros((n, 0), np.float32))
    return WindowRows(steps, none, Windows(4 * np.arange(n), length), 4)


def one_less(rows: WindowRows) -> WindowRows:
    return WindowRows(rows.steps, rows.context, Windows(rows.windows.start[:-1], rows.windows.length[:-1]), 4)


def summary() -> SequenceSummary:
    return SequenceSummary(4, torch.zeros(1), torch.full((1,), 0.1), 1)


@pytest.mark.parametrize("n", [2, 300, 513])
def test_a_sequence_changes_the_sum_by_at_most_the_clip(n: int) -> None:
    whole, less = (summed_summaries(rows, LAYOUT, summary()) for rows in (encoded(n), one_less(encoded(n))))
    changed = float(np.linalg.norm(whole - less))
    assert 0.9 * summary().clip < changed <= summary().clip, "the extreme one is clipped"


def test_the_noise_of_the_summary_is_what_was_charged_and_hides_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A membership game by the best direction: its bound stays below the event's epsilon, and not without the noise."""
    confidence, budget, trials = 1 - 1e-4, PrivacyBudget(1.0, 1e-5), 300
    worlds = one_less(encoded(40)), encoded(40)
    sums = [summed_summaries(rows, LAYOUT, summary()) for rows in worlds]
    middle, direction = (sums[0] + sums[1]) / 2, sums[1] - sums[0]

    def bound() -> tuple[float, float, np.ndarray]:
        said = np.zeros((2, trials), bool)
        found = []
        for world in (0, 1):
            for trial in range(trials):
                scope = PrivacyScope(budget, n_rows=40)
                mean = learn_summary(worlds[world], LAYOUT, summary(), scope, share=0.9)
                found.append(mean * 40 - sums[world])
                said[world, trial] = (mean * 40 - middle) @ direction > 0
        claim = total_epsilon(scope.ledger, budget.delta)
        hits, alarms = int(said[1].sum()), int(said[0].sum())
        return (
            game_bound(hits, trials, alarms, trials, delta=budget.delta, confidence=confidence),
            claim,
            np.array(found),
        )

    lower, claim, noise = bound()
    assert lower <= claim <= 1.0
    (event,) = _charged()
    wanted = event.noise_multiplier * summary().clip
    off = -ndtri(1e-7) / np.sqrt(2 * noise.size)  # of a standard deviation from so many draws
    assert abs(noise.std() / wanted - 1) < off
    monkeypatch.setattr(OsNoise, "normal", lambda self, shape: np.zeros(shape))
    assert bound()[0] > 1.0


def _charged() -> tuple[events.Event, ...]:
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), n_rows=40)
    learn_summary(encoded(40), LAYOUT, summary(), scope, share=0.9)
    return scope.ledger.events
