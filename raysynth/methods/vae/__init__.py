"""Variational autoencoders for tables."""
