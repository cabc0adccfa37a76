"""The audit of sequences: what a canary is, the build as it is, and with bugs planted.

`audited` is the one adversary. On the correct build it never refutes the claim, with a false alarm of at most
FALSE_ALARM for each audit (there are three) and 0.0001 for all of them; with each bug planted it does, at epsilon 0.5.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raysynth.api import new_synthesizer
from raysynth.attacks.audit.units import BEYOND_CAP, ArrayUnits, EntityUnits, units_of
from raysynth.data.sequences import OrderedRows
from raysynth.data.table import as_table
from raysynth.dp.gradients.release import clipped_sum
from raysynth.dp.mechanisms.noise import OsNoise
from raysynth.errors import DataError, ParameterError, RaysynthError, SchemaError
from raysynth.methods.sequences import private_tables as private_sequence_tables
from raysynth.methods.sequences.private import bounded_sequences
from raysynth.privacy import EpsilonAudit, audit_epsilon
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.units import CHOICES, bounded
from tests.unit.attacks.conftest import FALSE_ALARM, WITH_BUG, audited

EPSILON, DELTA = 0.5, 1e-8  # as in `test_run.py`
LENGTH = 3  # rows of an entity that count; some have four
STEP: dict[str, Any] = {"epochs": 1, "batch_size": 5000, "seed": 0}  # all sequences in every step
SMALL = {
    "timegan": {"hidden_dim": 8, "noise_dim": 2, **STEP},
    "autoregressive_sequences": {"units": 8, "width": 8, "hidden": 4, "layers": 1, **STEP},
}
OF_STAYS = {"sequence_key": "stay", "time_column": "hour", "static_columns": ["ward"], "sequence_length": LENGTH}


def stays(n: int = 60) -> pd.DataFrame:
    """One to four rows of each stay: a ward, and along it a state and a pulse."""
    rng = np.random.default_rng(0)
    stay = np.repeat(np.arange(n), rng.integers(1, 5, n))
    frame = pd.DataFrame({"stay": stay, "hour": np.arange(len(stay)), "ward": rng.choice(list("xyw"), n)[stay]})
    frame["state"] = rng.choice(list("uvw"), len(stay))
    return frame.assign(pulse=rng.normal(size=len(stay)))


def narrow(n: int = 60) -> pd.DataFrame:
    return stays(n)[["stay", "ward", "pulse"]]


def waves(n: int = 60) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, LENGTH, 1))


def declared(*more: ColumnSchema) -> TableSchema:
    """Column ward has one declared value that no stay has."""
    ward = ColumnSchema("ward", Kind.CATEGORICAL, "string", categories=("x", "y", "w", "z"), nullable=False)
    return TableSchema((ward, *more))


def model_of(data: Any, method: str = "timegan", **parameters: Any) -> Any:
    of_data = {**OF_STAYS, "schema": declared()} if isinstance(data, pd.DataFrame) else {}
    return new_synthesizer(method, **{"epsilon": EPSILON, "delta": DELTA, **SMALL[method], **of_data, **parameters})


def audit(
    data: Any,
    attack: str,
    canary: dict[str, Any] | None = None,
    *,
    false_alarm: float = WITH_BUG,
    n_refits: int = 72,
    **parameters: Any,
) -> EpsilonAudit:
    found = audited(model_of(data, **parameters), data, attack, canary, false_alarm, n_refits)
    print(found)
    return found


# ---- what a canary is ------------------------------------------------------------------------------------------------


def test_a_canary_of_a_table_is_an_entity_of_its_own() -> None:
    units = units_of(model_of(stays()), stays(), None)
    assert isinstance(units, EntityUnits) and units.n_units == 60
    assert units.with_canaries(0).equals(units.rows)
    more = units.with_canaries(1).to_pandas().iloc[len(stays()) :]
    assert len(more) == BEYOND_CAP * LENGTH and more["stay"].nunique() == 1 and more["stay"].iloc[0] not in stays()
    assert set(more["ward"]) == {"z"} and not set(more["state"]) & set("uvw") and (more["pulse"] > 1000).all()
    assert more["hour"].diff().min() > 1000 * 100 and more["hour"].iloc[0] > 1000 * 100, "late, and far apart"


@pytest.mark.parametrize("key", ["text", "number", "float", "category"])
def test_a_fit_counts_canaries_after_all_others(key: str) -> None:
    """Wherever rows without a key or a time are, and whatever keys there are: `GradientCanaries` relies on that."""
    table = stays(40).astype({"hour": float})
    names = table["stay"].map(lambda i: f"canary {i}")
    typed = {"text": names, "number": table["stay"], "float": table["stay"] / 2, "category": names.astype("category")}
    table["stay"] = typed[key]
    table.loc[[0, 5], "hour"] = np.nan
    model = model_of(table)
    units = units_of(model, table, {"pulse": 77.0})
    assert units.n_units == table.dropna()["stay"].nunique()
    found = bounded_sequences(model, units.with_canaries(25), OsNoise())
    pulses = found.steps.to_arrow().column("pulse").to_numpy()
    is_canary = np.array([(pulses[a : a + n] == 77).all() for a, n in zip(*vars(found.windows).values(), strict=True)])
    assert is_canary.sum() == 25 and is_canary[units.n_units :].all() and len(is_canary) == units.n_units + 25
    assert (found.windows.length[units.n_units :] == LENGTH).all()


def test_a_canary_has_more_rows_than_any_choice_of_how_many_count() -> None:
    """Where rows are numbered by a choice with noise, the canaries of gradients have no fixed places."""
    how: dict[str, Any] = {"privacy_unit": "stay", "max_rows_per_unit": None, "epsilon": EPSILON, "delta": DELTA}
    counting = units_of(new_synthesizer("bayesian_network", **how), stays(), None)
    assert isinstance(counting, EntityUnits)
    one = counting.with_canaries(1).to_pandas().iloc[len(stays()) :]
    assert len(one) > CHOICES.max() and one["stay"].nunique() == 1
    with pytest.raises(ParameterError, match=r"attacks=\['file'\]"):
        audit_epsilon(new_synthesizer("dp_tvae", **how), stays(), attacks=["gradients"])


def test_a_canary_of_persons_is_a_person_of_its_own() -> None:
    """One has far more rows than count; of many each has one, which follows the rows that a fit takes of the others."""
    k, data = 2, stays()
    model = new_synthesizer("dp_tvae", epsilon=EPSILON, privacy_unit="stay", max_rows_per_unit=k, schema=declared())
    units = units_of(model, data, None)
    taken = data["stay"].value_counts().clip(upper=k).sum()
    assert units.n_units == taken
    alone, many = units.with_canaries(1).to_pandas(), units.with_canaries(5).to_pandas()
    assert len(alone) == len(data) + BEYOND_CAP * k and alone["stay"].iloc[len(data) :].nunique() == 1
    for table, n in ((alone, k), (many, 5)):
        kept = bounded(as_table(table), "stay", k, OsNoise()).to_arrow().to_pandas()
        assert (kept["ward"].iloc[taken:] == "z").all() and len(kept) == taken + n
    assert many["stay"].iloc[len(data) :].is_unique


def test_a_canary_of_an_array_is_one_sequence() -> None:
    values = waves(9)
    values[0, 0, 0] = np.nan
    units = units_of(model_of(values), values, None)
    assert isinstance(units, ArrayUnits) and units.n_units == 9 and units.with_canaries(2).shape == (11, LENGTH, 1)
    assert (units.with_canaries(2)[9:] >= 1000).all() and np.isfinite(units.canary).all()


def test_the_user_says_what_the_canary_is() -> None:
    bounds = ColumnSchema("pulse", Kind.CONTINUOUS, "double", bounds=(-3, 9))
    model = model_of(stays(), schema=declared(bounds))
    own = units_of(model, stays(), {"state": ["u", "w", "u", "v", "u"], "ward": "x"}).with_canaries(1)
    canary = own.filter(pc.equal(own["stay"], pa.scalar(60))).to_pandas()
    assert list(canary["state"]) == ["u", "w", "u", "v", "u"] and set(canary["ward"]) == {"x"}
    assert set(canary["pulse"]) == {9.0}, "within what is declared"
    of_array = units_of(model_of(waves()), waves(), {"feature 1": [1.0, 2.0, 3.0]})
    assert isinstance(of_array, ArrayUnits) and of_array.canary.ravel().tolist() == [1, 2, 3]


BAD: list[tuple[Any, dict[str, Any], dict[str, Any] | None, type[RaysynthError], str]] = [
    (stays(), {}, {"stay": 7}, ParameterError, "the key of the sequences: leave it out"),
    (stays(), {}, {"state": ["u"], "pulse": [1.0, 2.0]}, ParameterError, "found 1 of 'state', 2 of 'pulse'"),
    (stays(), {}, {"state": []}, ParameterError, "found 0 of 'state'"),
    (stays(), {}, {"age": 1}, ParameterError, "canary names column 'age'"),
    (stays(), {}, {"pulse": ["high"]}, ParameterError, "canary: 'high' is no double"),
    (stays().astype({"hour": float}), {}, {"hour": float("nan")}, ParameterError, "without 'hour' are left out"),
    (stays(100).astype({"stay": "int8"}), {}, None, ParameterError, "int8, which has no further values for"),
    (stays(), {"sequence_length": None}, None, ParameterError, "sequence_length is missing"),
    (stays(), {"sequence_key": None}, None, ParameterError, "sequence_key is missing"),
    (stays(), {"static_columns": ["room"]}, None, SchemaError, "'room' is no column"),
    (stays(), {"epsilon": None, "delta": None}, None, ParameterError, "claims nothing"),
    (waves(), {}, {"feature 1": [1.0]}, ParameterError, "canary has 1 steps, and the array 3"),
    (waves(), {}, {"feature 2": 1.0}, ParameterError, "canary names column 'feature 2'; the table has: feature 1"),
    (waves(), {"sequence_key": "stay", "sequence_length": 3}, None, ParameterError, "belongs to a long table"),
    (waves(0), {}, None, DataError, "holds no sequence"),
    (waves(), {"hidden_dim": 2}, None, ParameterError, "400 gradient canaries needs as many weights"),
]


@pytest.mark.parametrize(("data", "parameters", "canary", "error", "says"), BAD, ids=[b[-1][:40] for b in BAD])
def test_what_cannot_be_audited_is_named(
    data: Any, parameters: dict[str, Any], canary: dict[str, Any] | None, error: type[RaysynthError], says: str
) -> None:
    with warnings.catch_warnings(), pytest.raises(error, match=says):
        warnings.simplefilter("ignore")
        audit_epsilon(model_of(data, **parameters), data, canary=canary, n_canaries=400)


# ---- the build as it is ----------------------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.slow  # the gradients, below, and files of tables (`test_run.py`) are asked each time
def test_the_file_does_not_refute_the_claim() -> None:
    found = audit(stays(), "file", false_alarm=FALSE_ALARM)
    assert not found.refuted, str(found)
    assert found.largest > EPSILON, "a perfect attack would have"
    assert found.unit == "value of 'stay' with all its rows (at most 3 of which count)"


BY_METHOD = pytest.mark.parametrize(
    ("data", "method"),
    [(stays(), "timegan"), (waves(), "timegan"), (stays(), "autoregressive_sequences")],
    ids=["table", "array", "rows of a table"],
)


@pytest.mark.statistical
@BY_METHOD
def test_the_gradients_do_not_refute_the_claim(data: Any, method: str) -> None:
    found = audit(data, "gradients", false_alarm=FALSE_ALARM, epochs=2, method=method)
    assert not found.refuted, str(found)
    assert found.largest > EPSILON and found.attacks[0].figures["steps"] == 2, "all iterates are seen"


# ---- the build with bugs ---------------------------------------------------------------------------------------------


@pytest.mark.slow  # so are the same bug in tables, and another one in sequences
def test_noise_omitted_from_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is noised still, and hides one of few sequences from whoever sees shares alone: so there are 600."""
    silent = "raysynth.dp.mechanisms.counts.discrete_gaussian"
    monkeypatch.setattr(silent, lambda sigma, n, noise: np.zeros(n, np.int64))
    monkeypatch.setattr(OsNoise, "normal", lambda self, shape: np.zeros(shape))
    assert audit(narrow(600), "file", {"ward": "x"}, time_column=None).refuted


@pytest.mark.slow  # `test_private_tables.py` counts the rows of an entity
def test_all_rows_of_an_entity_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unbounded(ordered: OrderedRows, *others: Any) -> OrderedRows:
        return replace(ordered)

    monkeypatch.setattr(private_sequence_tables, "_bounded", unbounded)
    # of few stays, or without declared bounds, what noise alone makes is as wide as what the canary's rows make; with
    # 72 refits one in three runs has too many false alarms, of thresholds that 18 of them chose
    pulse = ColumnSchema("pulse", Kind.CONTINUOUS, "double", bounds=(-4.0, 4.0), decimals=1, nullable=False)
    of_pulse = {"schema": declared(pulse), "time_column": None, "epsilon": 0.5}
    assert audit(narrow(600).round(1), "file", {"pulse": 4.0}, n_refits=240, **of_pulse).refuted


@BY_METHOD
def test_noise_omitted_from_the_gradients(data: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OsNoise, "normal", lambda self, shape: np.zeros(shape))
    assert audit(data, "gradients", epochs=2, method=method).refuted


@BY_METHOD
def test_clipping_omitted(data: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "raysynth.dp.gradients.release.clipped_sum",
        lambda uses, clip, counted_N=None: clipped_sum(uses, 1e9, counted_N),
    )
    assert audit(data, "gradients", epochs=2, method=method).refuted
