"""What a fit under a budget says of the budget follows from what the user declares; its losses are labelled private."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import BayesianNetworkSynthesizer, DPTabularVAE
from raysynth.fitting.opening import BY_ROW


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"who": np.repeat(np.arange(100), 3), "x": rng.normal(size=300)})


def fitted(**given: Any) -> list[str]:
    """The warnings of a fit."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        BayesianNetworkSynthesizer(seed=0, **given).fit(rows())
    return [str(w.message) for w in warned]


def test_epsilon_above_ten_warns() -> None:
    assert any("epsilon = 12 is above 10" in w for w in fitted(epsilon=12.0))
    assert not any("is above" in w for w in fitted(epsilon=10.0))


def test_delta_is_compared_with_the_declared_number_of_rows_and_the_noised_one() -> None:
    told = "exceeds one over the number of units"
    assert any(f"{told} (about 1,000,000)" in w for w in fitted(epsilon=1.0, delta=1e-4, about_rows=1e6))
    assert any(told in w for w in fitted(epsilon=1.0, delta=0.1)), "by the noised number, about 300"
    assert not any(told in w for w in fitted(epsilon=1.0, delta=1e-4, about_rows=1e3))


def test_every_fit_by_row_says_so_and_none_by_person(capsys: pytest.CaptureFixture[str]) -> None:
    fitted(epsilon=1.0)
    assert BY_ROW in capsys.readouterr().out
    fitted(epsilon=1.0, privacy_unit="who")
    assert BY_ROW not in capsys.readouterr().out


def test_losses_of_a_private_fit_are_labelled_and_leave_by_no_copy(capsys: pytest.CaptureFixture[str]) -> None:
    small: dict[str, Any] = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,), "epochs": 2}
    model = DPTabularVAE(epsilon=2.0, seed=0, **small).fit(rows())
    assert len(model.history_) == 2 and repr(model.history_).startswith("<private: exact losses of 2 epochs")
    assert pickle.loads(pickle.dumps(model.history_)) == [] and copy.copy(model.history_) == []
    assert model._content().meta["model"]["history"] == []
