"""Sequences under a budget before any door: bounded by entity, public schemas, nothing that depends on a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.data.sequences import LENGTH
from raysynth.dp.mechanisms.noise import InsecureSeededNoise, SecureNoise
from raysynth.errors import DataError, ParameterError, RaysynthError, SchemaError
from raysynth.methods.sequences.private_tables import BoundedSequences, LongTable, sequences_of_array
from raysynth.schema import ColumnSchema, Kind, TableSchema


def long_table(**changes: Any) -> LongTable:
    given: dict[str, Any] = {"key": "patient", "time": "day", "static": ("clinic",), "length": 4, "declared": None}
    return LongTable(**{**given, "kinds": {}, "public_types": False, **changes})


def bounded(frame: pd.DataFrame, seed: int = 0, **changes: Any) -> BoundedSequences:
    return long_table(**changes).sequences(frame, InsecureSeededNoise(seed))


def rows_of(sequences: BoundedSequences, entity: int) -> pd.DataFrame:
    start, length = sequences.windows.start[entity], sequences.windows.length[entity]
    return sequences.steps.to_arrow().slice(start, length).to_pandas()


def test_an_entity_has_one_window_of_consecutive_rows_and_one_row_of_its_own(visits: pd.DataFrame) -> None:
    found = bounded(visits)
    ordered = visits.sort_values(["patient", "day"], kind="stable")
    by_patient = dict(list(ordered.groupby("patient")))
    assert len(found.windows) == len(by_patient) == found.entities.n_rows
    assert found.windows.length.max() == 4 and found.windows.length.sum() == found.steps.n_rows
    first_days = found.entities.to_arrow().to_pandas()
    for entity, patient in enumerate(dict.fromkeys(visits["patient"])):
        own, window = by_patient[patient], rows_of(found, entity)
        pills = own["pills"].to_numpy(float)
        starts = [i for i in range(len(pills)) if np.array_equal(pills[i : i + len(window)], window["pills"])]
        assert len(window) == min(4, len(own)) and starts
        assert first_days["day"][entity] in own["day"].to_numpy()[starts]
        assert first_days["clinic"][entity] == own["clinic"].iloc[0] and first_days[LENGTH][entity] == len(window)
        assert rows_of(found, entity)["time since the last 'day'"].ge(0).all()


def test_windows_are_drawn_evenly() -> None:
    frame = pd.DataFrame({"k": np.repeat(np.arange(3000), 6), "x": np.tile(np.arange(6.0), 3000)})
    found = long_table(key="k", time=None, static=()).sequences(frame, SecureNoise())
    first = found.steps.to_arrow().column("x").to_numpy()[found.windows.start]
    assert set(first) == {0, 1, 2}
    assert np.abs(np.bincount(first.astype(int)) - 1000).max() < 130  # five standard deviations


def test_without_an_entity_all_others_are_as_before(visits: pd.DataFrame) -> None:
    """Given each entity's own draw (here: the same), two tables differ by the rows of one entity alone."""
    last = list(dict.fromkeys(visits["patient"]))[-1]
    whole, less = bounded(visits), bounded(visits[visits["patient"] != last])
    n = less.steps.n_rows
    assert whole.steps.n_rows - n <= 4 and whole.entities.n_rows - less.entities.n_rows == 1
    assert whole.steps.to_arrow().slice(0, n).to_pandas().equals(less.steps.to_arrow().to_pandas())
    assert (whole.schema, whole.step_schema, whole.entity_schema) == (less.schema, less.step_schema, less.entity_schema)


def test_no_row_raises_and_none_changes_the_schema(visits: pd.DataFrame) -> None:
    odd = visits.astype({"pills": float, "drug": object})
    odd.loc[0, ["patient"]] = None
    odd.loc[1, "day"] = pd.NaT
    odd.loc[2, ["pills", "pressure"]] = np.inf
    odd.loc[3, "clinic"] = "elsewhere"  # within one patient: the value of the first row counts
    odd.loc[4, "drug"] = "never seen"
    as_it_is, changed = bounded(visits.astype({"pills": float, "drug": object})), bounded(odd)
    assert changed.schema == as_it_is.schema and changed.step_schema == as_it_is.step_schema
    assert bounded(visits.iloc[:0]).entities.n_rows == 0
    assert long_table().sequences(visits.iloc[:0], SecureNoise()).steps.n_rows == 0


def test_words_of_rows_that_were_left_out_are_not_listed() -> None:
    frame = pd.DataFrame({"k": ["a"] * 60, "w": [f"word {i}" for i in range(60)]}).astype("category")
    found = long_table(key="k", time=None, static=(), length=2).sequences(frame, InsecureSeededNoise(1))
    assert len(found.steps.to_arrow().column("w").combine_chunks().dictionary) == 2


def test_types_are_those_that_are_declared(visits: pd.DataFrame) -> None:
    pills = ColumnSchema("pills", Kind.CONTINUOUS, "int32", bounds=(0, 20), decimals=0, nullable=False)
    key = ColumnSchema("patient", Kind.IDENTIFIER, "string", pattern="P-{digits:5}")
    found = bounded(visits, declared=TableSchema((pills, key)))
    assert found.schema["pills"] == found.step_schema["pills"] == pills
    assert found.schema["patient"].pattern == "P-{digits:5}"
    assert found.schema["born"].dtype == "double" and found.entity_schema[LENGTH].bounds == (1.0, 4.0)
    assert not found.entity_schema["day"].nullable and found.static == ("clinic",)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"key": None}, ParameterError, "sequence_key is missing"),
        ({"key": "patience"}, SchemaError, "sequence_key 'patience' is no column"),
        ({"time": "clinic"}, DataError, "time_column 'clinic' holds"),
        ({"static": ("hospital",)}, SchemaError, "static_columns: 'hospital' is no column"),
        ({"key": "pain"}, SchemaError, "sequence_key 'pain' holds neither text nor numbers"),
    ],
)
def test_names_and_types_are_checked(
    changes: dict[str, Any], error: type[RaysynthError], message: str, visits: pd.DataFrame
) -> None:
    with pytest.raises(error, match=message):
        bounded(visits, **changes)


def test_nothing_left_to_vary_is_told_by_names_alone(visits: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no column is left to vary"):
        bounded(visits[["patient", "clinic"]], time=None)


def test_an_array_has_public_steps_and_numbers_that_are_none_raise_nothing(waves: np.ndarray) -> None:
    odd = waves.copy()
    odd[0, 0], odd[1, 2, 1] = np.nan, -np.inf
    found, as_it_is = (sequences_of_array(x, length=12, features=2) for x in (odd, waves))
    assert found.schema == as_it_is.schema and found.length == 12 and found.steps.n_rows == 200 * 12
    assert found.entity_schema[LENGTH].kind is Kind.CONSTANT and found.entity_schema[LENGTH].value == 12
    assert sequences_of_array(waves[:0], length=None, features=None).entities.n_rows == 0
    for declared, message in (({"length": 24}, "sequence_length is 24"), ({"features": 3}, "features is 3")):
        with pytest.raises(DataError, match=message):
            sequences_of_array(waves, **{"length": None, "features": None, **declared})
    bounds = TableSchema((ColumnSchema("feature 2", Kind.CONTINUOUS, "double", bounds=(8.0, 12.0)),))
    declared = sequences_of_array(waves, length=None, features=None, declared=bounds)
    assert declared.step_schema["feature 2"].bounds == (8.0, 12.0) and declared.schema == declared.step_schema
    other = TableSchema((ColumnSchema("feature 3", Kind.CONTINUOUS, "double"),))
    with pytest.raises(SchemaError, match="'feature 3' is declared"):
        sequences_of_array(waves, length=None, features=None, declared=other)
    with pytest.raises(DataError, match="has the shape"):
        sequences_of_array(waves[0], length=None, features=None)
