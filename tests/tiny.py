"""Every method as small as it can be, for tests that need a model and do not ask how well it learns."""

from __future__ import annotations

from typing import Any

GAN: dict[str, Any] = {"generator_dim": (4,), "discriminator_dim": (8,), "embedding_dim": 4}
VAE: dict[str, Any] = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,)}
TINY: dict[str, dict[str, Any]] = {
    "copula": {},
    "bayesian_network": {},
    "trees": {"n_trees": 2},
    "gan": GAN,
    "ctgan": GAN,
    "conditional_gan": GAN,
    "tvae": {**VAE, "prior_components": 2},
    "dp_tvae": VAE,
    "autoregressive": {"width": 8, "hidden": 4, "layers": 1},
    "tree_sequences": {"n_trees": 2},
    "timegan": {"hidden_dim": 4, "noise_dim": 2},
    "autoregressive_sequences": {"units": 8, "width": 8, "hidden": 4, "layers": 1},
}
BY_SGD = ("gan", "ctgan", "conditional_gan", "tvae", "dp_tvae", "autoregressive")  # of tables


def tiny(methods: tuple[str, ...], **own: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Constructor arguments of methods: sizes, and what some need besides."""
    return {name: {**TINY[name], **own.get(name, {})} for name in methods}
