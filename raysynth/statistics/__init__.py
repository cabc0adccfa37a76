"""Mergeable one-pass summaries of a table, and the inference of column kinds from them."""
