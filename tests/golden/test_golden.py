"""Files of earlier versions load for good, and give the rows that they gave then."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from golden.make import (
    CASES,
    as_text,
    model_path,
    rows_path,
    samples,
)

import raysynth

NEURAL_CELLS = 0.99  # networks' sums come out otherwise on another processor; a draw near an edge then changes a cell
CLOSE = 1e-9  # of real numbers, relative: their last digits are the mathematical library's


def equal_cells(made: pd.DataFrame, kept: pd.DataFrame, close: float) -> float:
    """The share of cells that are equal, real numbers up to `close`, both frames read back from CSV."""
    assert list(made.columns) == list(kept.columns)
    assert made.shape == kept.shape
    same = []
    for name in kept.columns:
        a, b = made[name], kept[name]
        if pd.api.types.is_float_dtype(a) and pd.api.types.is_float_dtype(b):
            same.append(np.isclose(a, b, rtol=close, atol=close, equal_nan=True))
        else:
            same.append((a.astype(object).eq(b.astype(object)) | (a.isna() & b.isna())).to_numpy())
    return float(np.mean(same))


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_an_earlier_version_gives_its_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, which the kept rows were made in: processors with bfloat16 round the numbers of networks to it."""
    for room in ("shared.row_sampler", "autoregressive.sampler"):
        monkeypatch.setattr(f"raysynth.methods.{room}.has_bfloat16", lambda: False)
    case = CASES[name]
    model = raysynth.load_synthetic_model(model_path(name))
    for file, frame in samples(name, model).items():
        made = pd.read_csv(io.StringIO(as_text(frame)))
        kept = pd.read_csv(rows_path(file))
        if case.counting:
            assert equal_cells(made, kept, CLOSE) == 1.0, file
        else:
            assert equal_cells(made, kept, 1e-4) >= NEURAL_CELLS, file


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if "epsilon" in case.parameters])
def test_a_file_of_an_earlier_version_keeps_its_ledger(name: str) -> None:
    spent = raysynth.load_synthetic_model(model_path(name)).privacy_spent_
    assert spent is not None
    assert 0 < spent.epsilon <= CASES[name].parameters["epsilon"]
    assert spent.ledger.events
