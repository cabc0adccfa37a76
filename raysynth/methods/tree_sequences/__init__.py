"""Sequences by trees."""
