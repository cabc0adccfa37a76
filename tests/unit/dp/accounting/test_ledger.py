"""The ledger: append-only, exact through JSON, strict about what it reads."""

import json

import pytest
from outcome import value_of

from raysynth.dp import Event, Ledger, Mechanism, spent
from raysynth.dp.accounting import ledger
from raysynth.errors import ModelFileError, ParameterError

EVENTS = (
    ledger.laplace("number of rows", 0.02, composition="basic"),
    ledger.gaussian("counts of 'age'", 30.0, sensitivity=2.0, unit="patient"),
    ledger.subsampled_gaussian("gradients", 1.1, sampling_rate=0.02, steps=500),
    ledger.exponential("edge", 0.05, steps=20),
    ledger.approximate("categories of 'job'", 0.0, 1e-7),
    ledger.not_covered("selection: not covered by epsilon"),
)


def test_json_brings_back_the_same_events() -> None:
    assert Ledger.from_json(Ledger(EVENTS).to_json()).events == EVENTS


def test_an_auditor_finds_sensitivity_relation_and_unit_in_every_event() -> None:
    for event in json.loads(Ledger(EVENTS).to_json())["events"]:
        assert {"mechanism", "released", "sensitivity", "steps", "relation", "unit"} <= set(event)


def test_events_cannot_be_changed_or_taken_out() -> None:
    book = Ledger(EVENTS[:1])
    with pytest.raises(AttributeError):
        book.events[0].epsilon = 0.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        book.events = ()  # type: ignore[misc]
    book.append(EVENTS[1])
    assert book.events == EVENTS[:2]


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"format_version": 2, "events": []}', '{"format_version": 1, "events": [{"mechanism": "magic"}]}'],
)
def test_what_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match="privacy ledger"):
        Ledger.from_json(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"mechanism": Mechanism.GAUSSIAN},
        {"mechanism": Mechanism.GAUSSIAN, "noise_multiplier": 0.0},
        {"mechanism": Mechanism.GAUSSIAN, "noise_multiplier": 1.0, "sampling_rate": 0.0},
        {"mechanism": Mechanism.GAUSSIAN, "noise_multiplier": 1.0, "steps": 0},
        {"mechanism": Mechanism.GAUSSIAN, "noise_multiplier": 1.0, "composition": "basic"},
        {"mechanism": Mechanism.EXPONENTIAL},
        {"mechanism": Mechanism.APPROXIMATE, "epsilon": 1.0, "delta": 1.0},
        {"mechanism": Mechanism.LAPLACE, "epsilon": 1.0, "relation": "replace_one"},
    ],
)
def test_an_event_that_no_accountant_could_count_is_refused(fields: dict) -> None:
    with pytest.raises(ParameterError, match="ledger event 'x'"):
        Event(released="x", **fields)


def test_what_is_not_covered_is_said_with_the_total() -> None:
    total = spent(EVENTS, 1e-5)
    assert not total.guarantee and total.not_covered == ("selection: not covered by epsilon",)
    assert "not covered by it: selection" in str(total)
    assert spent(EVENTS[:-1], 1e-5).guarantee


def test_one_step_is_a_release() -> None:
    event = value_of(lambda: Event(Mechanism.GAUSSIAN, "x", noise_multiplier=1.0, steps=1))
    assert event.steps == 1 and spent((event,), 1e-5).epsilon > 0
