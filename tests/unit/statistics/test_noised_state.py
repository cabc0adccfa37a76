"""Noised statistics survive their state: what is read gives the same encoder, value for value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth.data.table import as_table
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.encoding.table_encoder import build_encoder
from raysynth.errors import ModelFileError
from raysynth.files.model_file import ModelContent, read_model, write_model
from raysynth.fitting.method import OpenedTable
from raysynth.fitting.opening import open_privately
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.noised_state import from_state, to_state


@pytest.fixture(scope="module")
def opened() -> OpenedTable:
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, 600), unit="D")
    data = pd.DataFrame(
        {
            "x": np.where(rng.random(600) < 0.1, np.nan, rng.normal(size=600)),
            "job": rng.choice(["nurse", "baker"], 600),
            "grade": rng.integers(1, 4, 600),
            "day": days,
            "ok": rng.random(600) < 0.3,
        }
    )
    declared = TableSchema((ColumnSchema("grade", Kind.CATEGORICAL, "int64", categories=(1, 2, 3), nullable=False),))
    return open_privately(as_table(data), declared, {}, PrivacyScope(PrivacyBudget(3.0, 1e-5)), public_types=True)


def test_what_is_read_gives_the_same_encoder(opened: OpenedTable, tmp_path: Path) -> None:
    meta, arrays = to_state(opened.statistics, opened.modelled_schema)
    write_model(tmp_path / "s.zip", ModelContent({"statistics": meta}, arrays))
    kept = read_model(tmp_path / "s.zip")
    again = from_state(kept.meta["statistics"], kept.arrays, opened.modelled_schema)
    assert again.n_rows == opened.statistics.n_rows and list(again.columns) == list(opened.statistics.columns)
    for form in ("bins", "modes"):
        first, second = (
            build_encoder(opened.modelled_schema, s.columns, numeric=form).to_state()
            for s in (opened.statistics, again)
        )
        assert first[0] == second[0]
        assert all(np.array_equal(first[1][k], second[1][k]) for k in first[1]) and first[1].keys() == second[1].keys()


def test_events_come_back(opened: OpenedTable) -> None:
    meta, arrays = to_state(opened.statistics, opened.modelled_schema)
    again = from_state(meta, arrays, opened.modelled_schema)
    for name, column in opened.statistics.columns.items():
        if column.counts is not None:
            assert again.columns[name].categories().event == column.counts.event
        if column.numbers is not None:
            assert again.columns[name].distribution().event == column.numbers.event


def test_another_schema_is_an_error(opened: OpenedTable) -> None:
    meta, arrays = to_state(opened.statistics, opened.modelled_schema)
    del arrays["0.low"]
    with pytest.raises(ModelFileError, match="do not fit"):
        from_state(meta, arrays, opened.modelled_schema)
