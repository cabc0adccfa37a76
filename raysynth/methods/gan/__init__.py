"""Generative adversarial networks for tables."""
