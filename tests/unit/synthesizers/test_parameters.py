"""Parameters of every method: the names and defaults that users rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raysynth.synthesizers.registry import METHODS, synthesizer_class

RELIED_ON = json.loads((Path(__file__).parents[2] / "data" / "parameters.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", RELIED_ON)
def test_names_and_defaults_are_those_that_users_rely_on(method: str) -> None:
    """A parameter may be added; one that is renamed, dropped or given another default breaks scripts and models."""
    found = json.loads(json.dumps(synthesizer_class(method)().get_params()))
    assert {name: found.get(name, "missing") for name in RELIED_ON[method]} == RELIED_ON[method]


def test_every_method_is_in_the_list() -> None:
    assert set(METHODS) <= set(RELIED_ON)
