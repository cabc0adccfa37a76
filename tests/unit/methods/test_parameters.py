"""Parameters: names and defaults that users rely on, ranges, words, and what a wrongly declared class is told."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from ray.train import ScalingConfig

from raysynth.errors import ParameterError
from raysynth.methods.base import Synthesizer
from raysynth.methods.conformance import values_out_of_range
from raysynth.methods.parameters import Computed, Parameter, Parameterised, declared, search_space
from raysynth.methods.registry import METHODS, synthesizer_class

RELIED_ON = json.loads((Path(__file__).parents[2] / "data" / "parameters.json").read_text(encoding="utf-8"))
OF_GANS = ("gan", "ctgan", "conditional_gan")


@pytest.mark.parametrize("method", RELIED_ON)
def test_names_and_defaults_are_those_that_users_rely_on(method: str) -> None:
    """A parameter may be added; one that is renamed, dropped or given another default breaks scripts and models."""
    found = json.loads(json.dumps(synthesizer_class(method)().get_params()))
    assert {name: found.get(name, "missing") for name in RELIED_ON[method]} == RELIED_ON[method]


def test_every_method_is_in_the_list() -> None:
    assert set(METHODS) <= set(RELIED_ON)


@pytest.mark.parametrize("method", METHODS)
def test_the_constructor_shows_every_argument_and_help_its_meaning(method: str) -> None:
    cls = synthesizer_class(method)
    arguments = dict(list(inspect.signature(cls.__init__).parameters.items())[1:])
    assert set(arguments) == set(declared(cls)) == set(cls().get_params())
    for name, argument in arguments.items():
        assert argument.kind is inspect.Parameter.KEYWORD_ONLY
        assert argument.default == declared(cls)[name].default
        text = " ".join((cls.__doc__ or "").split())
        assert f"{name}: {' '.join(declared(cls)[name].describe().split())}" in text


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_refuses_what_is_out_of_its_range_and_is_named(method: str) -> None:
    """Before any row is read: there is no table here."""
    cls = synthesizer_class(method)
    for name, one in declared(cls).items():
        for value in values_out_of_range(one):
            with pytest.raises(ParameterError, match=rf"^{name} must ") as refused:
                cls(verbose=False, **{name: value}).fit(None)
            assert repr(value) in str(refused.value) or value in ((), "name"), "what was found is shown"


@pytest.mark.parametrize("method", METHODS)
def test_defaults_and_values_that_a_search_tries_are_in_range(method: str) -> None:
    cls = synthesizer_class(method)
    for name, one in declared(cls).items():
        one.check(one.default)
        values = [v for v in (one.parameter.otherwise, one.parameter.under_budget) if not isinstance(v, Computed)]
        for value in (*values, *search_space(cls).get(name, [])):
            if value is not None:
                one.check(value)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"at_least": 1}, " of at least 1"),
        ({"above": 0}, " > 0"),
        ({"at_most": 9}, " <= 9"),
        ({"below": 1e6}, " < 1e+06"),
        ({"at_least": 4, "at_most": 10**8}, " from 4 to 100,000,000"),
        ({"above": 0, "at_most": 0.5}, " above 0 and at most 0.5"),
        ({"above": 0, "below": 1}, " between 0 and 1"),
        ({"at_least": 0, "below": 1}, " from 0 to below 1"),
        ({}, ""),
    ],
)
def test_ranges_in_words(bounds: dict[str, float], words: str) -> None:
    assert Parameter("of a test", **bounds).range_in_words == words


class Small(Parameterised):
    """Has one parameter."""

    size: Annotated[int | None, Parameter("how large", at_least=1, otherwise=7, under_budget=Computed("by n"))] = None


class Smaller(Small):
    """Has another default, and a second parameter."""

    size: Annotated[int, Parameter("how large", at_least=1)] = 2
    units: Annotated[tuple[int, ...], Parameter("of layers", at_least=1)] = (3,)


def test_what_was_left_open_is_settled_with_and_without_a_budget() -> None:
    assert Small()._settled(under_budget=False).size == 7
    assert Small()._settled(under_budget=True).size is None, "the fit computes it"
    assert Small(size=3)._settled(under_budget=True).size == 3
    assert Smaller(units=[4, 5])._settled(under_budget=False).units == (4, 5)


def test_a_subclass_has_its_own_default_and_its_own_parameters_first() -> None:
    assert Smaller().get_params() == {"size": 2, "units": (3,)}
    assert list(declared(Smaller)) == ["size", "units"]
    with pytest.raises(ParameterError, match="Smaller has no parameter 'length'; it has: size, units"):
        Smaller().set_params(length=3)


def test_a_class_that_declares_wrongly_is_told_when_it_is_made() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.size is annotated without a Parameter"):

        class Wrong(Synthesizer):
            size: int = 3

    with pytest.raises(TypeError, match="leave out __init__"):

        class Own(Synthesizer):
            def __init__(self) -> None:
                self.size = 3


@pytest.mark.parametrize("method", OF_GANS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 1},
        {"batch_size": 4, "accumulation": 4},
        {"batch_size": 6, "scaling_config": ScalingConfig(num_workers=6)},
        {"batch_size": 9, "scaling_config": ScalingConfig(num_workers=(1, 5))},
        {"batch_size": 1, "epsilon": 1.0},
    ],
)
def test_a_batch_that_leaves_a_network_single_rows_is_refused(method: str, parameters: dict[str, Any]) -> None:
    given = {"conditional_columns": ["a"]} if method == "conditional_gan" else {}
    with pytest.raises(ParameterError, match=r"batch_size \d+.* batch normalisation .* choose batch_size=\d+ or more"):
        synthesizer_class(method)(pac=1, **given, **parameters).fit(None)
