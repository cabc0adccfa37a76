"""Which methods exist: the one table from a method's name to its class, loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from raysynth.errors import ParameterError

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer

METHODS: dict[str, str] = {
    "copula": "raysynth.methods.copula.synthesizer:GaussianCopula",
    "gan": "raysynth.methods.gan.tabular_gan:TabularGAN",
    "ctgan": "raysynth.methods.gan.ctgan:CTGAN",
    "conditional_gan": "raysynth.methods.gan.conditional_gan:ConditionalTabularGAN",
    "tvae": "raysynth.methods.vae.synthesizer:TabularVAE",
    "dp_tvae": "raysynth.methods.vae.synthesizer:DPTabularVAE",
    "bayesian_network": "raysynth.methods.bayesian_network.synthesizer:BayesianNetworkSynthesizer",
    "trees": "raysynth.methods.trees.synthesizer:SequentialTrees",
    "timegan": "raysynth.methods.timegan.synthesizer:TimeSeriesGAN",
    "autoregressive": "raysynth.methods.autoregressive.synthesizer:AutoregressiveSynthesizer",
    "autoregressive_sequences": "raysynth.methods.autoregressive_sequences.synthesizer:AutoregressiveSequences",
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
