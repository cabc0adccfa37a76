"""Which attacks exist: the one table from an attack's name to its class, and from a family to its attacks."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from raysynth.errors import ParameterError
from raysynth.privacy.attack import Attack

ATTACKS: dict[str, str] = {
    "distance": "raysynth.privacy.distance:DistanceAttack",
    "proximity": "raysynth.privacy.distance:ProximityAttack",
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "membership_inference": ("distance",),
}
WITHOUT_HOLDOUT = {"membership_inference": ("proximity",)}


def new_attack(name: str) -> Attack:
    """An attack with its default settings; raises `ParameterError` for an unknown name."""
    if name not in ATTACKS:
        raise ParameterError(f"unknown attack {name!r}; families: {', '.join(FAMILIES)}; attacks: {', '.join(ATTACKS)}")
    module, _, cls = ATTACKS[name].partition(":")
    found: type[Attack] = getattr(importlib.import_module(module), cls)
    return found()


def attacks_of(kind: str, has_holdout: bool) -> Sequence[Attack]:
    """The attacks of a family, or the one of a name."""
    if kind in FAMILIES:
        names = FAMILIES[kind] if has_holdout else WITHOUT_HOLDOUT.get(kind, FAMILIES[kind])
        return [new_attack(name) for name in names]
    return [new_attack(kind)]
