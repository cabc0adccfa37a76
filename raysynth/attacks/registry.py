"""Which attacks exist: the one table from an attack's name to its class, and from a family to its attacks."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from raysynth.attacks.attack import Attack
from raysynth.errors import ParameterError

ATTACKS: dict[str, str] = {
    "distance": "raysynth.attacks.neighbourhood:DistanceAttack",
    "nearest": "raysynth.attacks.neighbourhood:NearestAttack",
    "density_ratio": "raysynth.attacks.neighbourhood:DensityRatioAttack",
    "local_likelihood": "raysynth.attacks.neighbourhood:LocalLikelihoodAttack",
    "plagiarism": "raysynth.attacks.neighbourhood:PlagiarismAttack",
    "tracing": "raysynth.attacks.tracing:TracingAttack",
    "critic": "raysynth.attacks.white_box:CriticAttack",
    "reconstruction": "raysynth.attacks.white_box:ReconstructionAttack",
    "likelihood_ratio": "raysynth.attacks.white_box:LikelihoodRatioAttack",
    "likelihood": "raysynth.attacks.white_box:NeighbourLikelihoodAttack",
    "shadow": "raysynth.attacks.shadow:ShadowQueryAttack",
    "shadow_summary": "raysynth.attacks.shadow:ShadowSummaryAttack",
    "attribute_nearest": "raysynth.attacks.attribute:NearestAttributeAttack",
    "attribute_model": "raysynth.attacks.attribute:ModelAttributeAttack",
    "attribute_key": "raysynth.attacks.attribute:KeyAttributeAttack",
    "linkability": "raysynth.attacks.linkability:LinkabilityAttack",
    "singling_out_univariate": "raysynth.attacks.singling_out:UnivariateSinglingOut",
    "singling_out_multivariate": "raysynth.attacks.singling_out:MultivariateSinglingOut",
    "inversion_table": "raysynth.attacks.inversion:TableInversionAttack",
    "inversion_model": "raysynth.attacks.inversion:ModelInversionAttack",
    "inversion_input": "raysynth.attacks.inversion:InputInversionAttack",
    "proximity": "raysynth.attacks.neighbourhood:ProximityAttack",
}
# Attacks that fit shadow models cost that many fits: they are run where they are asked for by name.
FAMILIES: dict[str, tuple[str, ...]] = {
    "membership_inference": ("distance", "density_ratio", "tracing", "critic", "reconstruction"),
    "attribute_inference": ("attribute_nearest", "attribute_model", "attribute_key"),
    "linkability": ("linkability",),
    "singling_out": ("singling_out_univariate", "singling_out_multivariate"),
    "model_inversion": ("inversion_table", "inversion_model", "inversion_input"),
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
