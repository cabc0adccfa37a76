"""Audits: whether the claimed epsilon withstands attack."""
