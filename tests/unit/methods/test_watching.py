"""A look at a model while it trains: it sees a whole model, and the training does not notice."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import TINY

from raysynth.api import new_synthesizer
from raysynth.fitting.method import Watcher
from raysynth.methods.base import Synthesizer

THIRDS = (Fraction(1, 3), Fraction(2, 3))
METHODS: dict[str, dict[str, Any]] = {
    "tvae": {"epochs": 6},
    "ctgan": {"epochs": 3, "batch_size": 100},
    "conditional_gan": {"epochs": 3, "batch_size": 100, "conditional_columns": ["c"]},
    "autoregressive": {"epochs": 3},
}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    return pd.DataFrame({"x": x, "c": np.where(x > 0, "yes", "no")})


@pytest.mark.parametrize("method", METHODS)
def test_what_is_seen_samples_and_the_fit_is_the_same(table: pd.DataFrame, method: str) -> None:
    seen: list[tuple[Fraction, pd.DataFrame]] = []

    def look(model: Synthesizer, share: Fraction) -> None:
        seen.append((share, model.sample(100, seed=1)))

    given = {**TINY[method], **METHODS[method]}
    watched, alone = (new_synthesizer(method, seed=3, verbose=False, **given) for _ in range(2))
    watched._watcher = Watcher(THIRDS, look)
    watched.fit(table)
    assert [share for share, _ in seen] == list(THIRDS)
    last = alone.fit(table).sample(100, seed=1)
    pd.testing.assert_frame_equal(watched.sample(100, seed=1), last)
    assert not seen[0][1].equals(seen[1][1]) and not seen[1][1].equals(last), "each was another model"
    assert len(watched.history_) == METHODS[method]["epochs"]  # type: ignore[attr-defined]


def test_a_private_training_can_be_watched(table: pd.DataFrame) -> None:
    rows: list[int] = []
    model = new_synthesizer("tvae", epsilon=5.0, epochs=3, verbose=False, about_rows=300)
    model._watcher = Watcher(THIRDS, lambda seen, share: rows.append(len(seen.sample(20, seed=0))))
    model.fit(table)
    assert rows == [20, 20] and model.privacy_spent_ is not None


def test_what_a_look_raises_ends_the_training(table: pd.DataFrame) -> None:
    def stop(model: Synthesizer, share: Fraction) -> None:
        raise SystemExit

    model = new_synthesizer("tvae", seed=0, epochs=6, verbose=False)
    model._watcher = Watcher(THIRDS, stop)
    with pytest.raises(SystemExit):
        model.fit(table)
    assert not hasattr(model, "stages_"), "a fit that was stopped is no fit"


def test_a_method_without_epochs_is_never_looked_at(table: pd.DataFrame) -> None:
    model = new_synthesizer("copula", seed=0, verbose=False)
    model._watcher = Watcher(THIRDS, lambda seen, share: pytest.fail("no training in epochs"))
    model.fit(table)


def test_epochs_are_the_first_that_reach_a_share() -> None:
    watcher = Watcher((Fraction(1, 9), Fraction(1, 3)), lambda model, share: None)
    assert [watcher.epochs(n) for n in (90, 9, 2, 1)] == [{10, 30}, {1, 3}, {1}, set()]
