"""Releases of counts and sums: noise and the mechanisms that add it."""
