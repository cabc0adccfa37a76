"""The ledger: append-only, exact through JSON, strict about what it reads."""

import json
import math

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


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("mechanism", "given", "field", "good", "bad"),
    [
        (Mechanism.GAUSSIAN, {}, "noise_multiplier", [1e-9, 5], [0.0, -1.0, INF, NAN, None, "1"]),
        (Mechanism.GAUSSIAN, {"noise_multiplier": 1.0}, "sampling_rate", [1e-9, 1.0], [0.0, 1.1, -0.1]),
        (Mechanism.GAUSSIAN, {"noise_multiplier": 1.0}, "steps", [1, 7], [0, -1, 1.5]),
        (Mechanism.GAUSSIAN, {"noise_multiplier": 1.0}, "sensitivity", [1e-9, 3], [0.0, -1.0, INF]),
        (Mechanism.GAUSSIAN, {"noise_multiplier": 1.0}, "composition", ["joint"], ["basic", "other"]),
        (Mechanism.LAPLACE, {}, "epsilon", [1e-9, 3], [0.0, -1.0, INF, None]),
        (Mechanism.LAPLACE, {"epsilon": 1.0}, "composition", ["joint", "basic"], ["other"]),
        (Mechanism.LAPLACE, {"epsilon": 1.0}, "relation", ["add_remove"], ["replace_one"]),
        (Mechanism.EXPONENTIAL, {}, "epsilon", [1e-9], [0.0, None]),
        (Mechanism.EXPONENTIAL, {"epsilon": 1.0}, "composition", ["joint"], ["basic"]),
        (Mechanism.APPROXIMATE, {}, "epsilon", [0.0, 1.0], [-1e-9, None]),
        (Mechanism.APPROXIMATE, {"epsilon": 0.0}, "delta", [0.0, 0.999], [1.0, -1e-9]),
        (Mechanism.APPROXIMATE, {"epsilon": 0.0}, "composition", ["basic"], ["other"]),
        (Mechanism.SELECTION, {"epsilon": 1.0, "noise_multiplier": 1.0}, "mean_runs", [1.5], [0.0, None]),
        (Mechanism.SELECTION, {"epsilon": 1.0, "mean_runs": 2.0}, "noise_multiplier", [1.5], [0.0, None]),
        (Mechanism.SELECTION, {"noise_multiplier": 1.0, "mean_runs": 2.0}, "epsilon", [1.5], [0.0, None]),
        (Mechanism.DISCRETE_GAUSSIAN, {"noise_multiplier": 1.0}, "sensitivity", [1.0, 2.5], [0.99]),
        (Mechanism.DISCRETE_GAUSSIAN, {"noise_multiplier": 1.0}, "sampling_rate", [1.0], [0.5]),
        (
            Mechanism.DISCRETE_GAUSSIAN,
            {"noise_multiplier": 1.0, "sensitivity": 2.0},
            "coordinates",
            [0, 4],
            [1, 5, 4.0],
        ),
        (Mechanism.NOT_COVERED, {}, "epsilon", [None], []),
    ],
)
def test_fields_of_an_event_have_their_ranges(
    mechanism: Mechanism, given: dict, field: str, good: list, bad: list
) -> None:
    for value in good:
        event = value_of(lambda value=value: Event(mechanism, "x", **given, **{field: value}))
        assert getattr(event, field) == value and event.is_covered == (mechanism is not Mechanism.NOT_COVERED)
    for value in bad:
        with pytest.raises(ParameterError, match="ledger event 'x'"):
            Event(mechanism, "x", **given, **{field: value})


def test_what_is_not_at_its_default_is_written_down() -> None:
    (plain, told) = json.loads(Ledger((EVENTS[3], EVENTS[1])).to_json())["events"]
    assert plain == {
        "mechanism": "exponential", "released": "edge", "sensitivity": 1.0, "steps": 20, "epsilon": 0.05,
        "relation": "add_remove", "unit": "row",
    }  # fmt: skip
    assert told["noise_multiplier"] == 30.0 and told["unit"] == "patient" and "epsilon" not in told
    book = Ledger(EVENTS)
    assert len(book) == 6 and list(book) == list(EVENTS)
    assert ledger.unit_in_words("who", 3) == "value of 'who' with all its rows (at most 3 of which count)"


@pytest.mark.parametrize(
    ("sigma", "coordinates", "exact"), [(1e3, 1, True), (1.001e3, 1, False), (500.1, 4, False), (500.0, 4, True)]
)
def test_laws_of_known_changes_are_composed_exactly_up_to_a_thousand_rows_of_noise(
    sigma: float, coordinates: int, exact: bool
) -> None:
    assert ledger.is_exact(ledger.discrete_gaussian("x", sigma, coordinates=coordinates)) == exact
    assert not ledger.is_exact(ledger.discrete_gaussian("x", 1.0, rows=2))
    assert not ledger.is_exact(ledger.gaussian("x", 1.0))


@pytest.mark.parametrize(
    ("multiplier", "rows", "steps"), [(3.0, 1, 1), (3.0, 2, 5), (0.9, 1, 2), (1.2, 3, 1), (0.55, 1, 1)]
)
def test_closeness_to_the_continuous_law_is_by_poissons_summation(multiplier: float, rows: int, steps: int) -> None:
    """Noise of sigma is a rounded one of r and a Gaussian of the rest: r is 1.25, or as much as sigma allows."""
    event = ledger.discrete_gaussian("x", multiplier, rows=rows, steps=steps, known=False)
    sigma = multiplier * rows
    r = min(1.25, sigma / math.sqrt(2))
    assert ledger.continuous_multiplier(event) == pytest.approx(math.sqrt(sigma**2 - r**2) / rows)
    h = 2 * sum(math.exp(-2 * (math.pi * r * j) ** 2) for j in range(1, 50))
    near = steps * 4 * rows**2 * (2 * math.log1p(h) - math.log1p(-h))
    assert ledger.closeness(event) == pytest.approx(near)
    assert ledger.closeness(ledger.discrete_gaussian("x", 0.25, known=False)) == math.inf
