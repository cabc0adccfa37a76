"""Which methods exist: the one table from a method's name to its class, loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from raysynth.errors import ParameterError

if TYPE_CHECKING:
    from raysynth.synthesizers.base import Synthesizer

METHODS: dict[str, str] = {
    "copula": "raysynth.synthesizers.copula:GaussianCopula",
    "gan": "raysynth.synthesizers.tabular_gan:TabularGAN",
    "ctgan": "raysynth.synthesizers.ctgan:CTGAN",
    "conditional_gan": "raysynth.synthesizers.conditional_gan:ConditionalTabularGAN",
    "tvae": "raysynth.synthesizers.tabular_vae:TabularVAE",
    "dp_tvae": "raysynth.synthesizers.tabular_vae:DPTabularVAE",
    "bayesian_network": "raysynth.synthesizers.bayesian_network:BayesianNetworkSynthesizer",
    "trees": "raysynth.methods.trees.synthesizer:SequentialTrees",
    "timegan": "raysynth.synthesizers.time_series_gan:TimeSeriesGAN",
    "autoregressive": "raysynth.synthesizers.autoregressive:AutoregressiveSynthesizer",
    "autoregressive_sequences": "raysynth.synthesizers.autoregressive_sequences:AutoregressiveSequences",
}

DEFAULT_METHOD = "autoregressive"  # the closest to the real table; see README, 'Choosing a method'


def synthesizer_class(method: str) -> type[Synthesizer]:
    """The class of a method.

    Args:
        method: a key of `METHODS`.

    Raises:
        ParameterError: an unknown method; the message lists those that exist.
    """
    if method not in METHODS:
        raise ParameterError(f"unknown method {method!r}; this version has: {', '.join(METHODS)}")
    module, _, name = METHODS[method].partition(":")
    found: type[Synthesizer] = getattr(importlib.import_module(module), name)
    return found
